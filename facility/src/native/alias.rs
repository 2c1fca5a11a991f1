//! Aliases on a kernel.

use atropos_kernel::{ActAsError, AliasMode, Pid, Reference, SendTarget};

use super::{KernelAccess, KernelFacilities, result, was_born};
use crate::alias::AliasFacility;
use crate::supervision::{MonitorResult, SupervisionError};

impl<G: KernelAccess> AliasFacility for KernelFacilities<G> {
    fn alias(&self, caller: u64, reply: bool) -> Result<u64, SupervisionError> {
        self.supervise(caller, |acting| acting.alias(reply).map(|alias| alias.reference().to_raw()))
    }

    fn unalias(&self, caller: u64, alias: u64) -> Result<Option<bool>, SupervisionError> {
        self.supervise(caller, |acting| {
            was_born(acting)?;
            Reference::from_raw(alias).map_or(Ok(Some(false)), |alias| acting.unalias(alias))
        })
    }

    fn monitor_alias(&self, caller: u64, target: u64, mode: AliasMode) -> Result<MonitorResult, SupervisionError> {
        self.supervise(caller, |acting| {
            was_born(acting)?;
            let target = Pid::from_raw(target).ok_or(ActAsError::NoProc)?;
            acting.monitor_with(SendTarget::Pid(target), Some(mode)).map(result)
        })
    }
}
