//! Registered names on a kernel.

use atropos_kernel::{ActAsError, Caller, CallerState, Pid, RegisterError};

use super::{KernelAccess, KernelFacilities, act, result};
use crate::name::{NameError, NameFacility};
use crate::supervision::MonitorResult;

impl<G: KernelAccess> KernelFacilities<G> {
    /// Calls `what` for a caller that is alive.
    fn name<R>(&self, caller: u64, what: impl FnOnce(&Caller<'_>) -> Result<R, NameError>) -> Result<R, NameError> {
        let done = act(&self.0, caller, |acting| match acting.state() {
            CallerState::Dead | CallerState::NeverAllocated => Err(NameError::NoCaller),
            _ => what(acting),
        });
        done.ok_or(NameError::NoCaller)?
    }
}

impl<G: KernelAccess> NameFacility for KernelFacilities<G> {
    fn register(&self, caller: u64, name: &str, pid: u64) -> Result<(), NameError> {
        self.name(caller, |acting| {
            let pid = Pid::from_raw(pid).ok_or(NameError::NoProc)?;
            acting.register(name, pid).map_err(|error| match error {
                RegisterError::InUse => NameError::InUse,
                RegisterError::NoProc => NameError::NoProc,
                RegisterError::AlreadyNamed => NameError::AlreadyNamed,
                RegisterError::TableFull => NameError::TooMany,
                _ => NameError::NoMemory,
            })
        })
    }

    fn unregister(&self, caller: u64, name: &str) -> Result<bool, NameError> {
        self.name(caller, |acting| Ok(acting.unregister(name)))
    }

    fn whereis(&self, name: &str) -> Option<u64> {
        let mut holder = None;
        self.0.enter(&mut |host| holder = host.whereis(name));
        holder.map(Pid::to_raw)
    }

    fn monitor_name(&self, caller: u64, name: &str) -> Result<MonitorResult, NameError> {
        self.name(caller, |acting| {
            acting.monitor_name(name).map(result).map_err(|error| match error {
                ActAsError::TableFull => NameError::TooMany,
                ActAsError::NoMemory => NameError::NoMemory,
                _ => NameError::NoCaller,
            })
        })
    }
}
