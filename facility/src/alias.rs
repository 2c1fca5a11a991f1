//! [`AliasFacility`]: second names of a process, which it can take back: what a late reply is sent to in vain.

pub use atropos_kernel::AliasMode;

use crate::supervision::{MonitorResult, SupervisionError};

/// Aliases, for processes named by raw pids. Who sends through one names the process and the alias: `Handle::send_alias`.
pub trait AliasFacility: Send + Sync {
    /// Makes an alias of the caller: its reference. With `reply` the first message through it ends it.
    fn alias(&self, caller: u64, reply: bool) -> Result<u64, SupervisionError>;

    /// Ends an alias of the caller's; another's stays as it is. `Some` is whether it was in force; `None` when the caller does not
    /// run here: no message that is sent through it from now on is received.
    fn unalias(&self, caller: u64, alias: u64) -> Result<Option<bool>, SupervisionError>;

    /// As [`crate::SupervisionFacility::monitor`], and the reference is an alias as well, which ends as the mode says.
    fn monitor_alias(&self, caller: u64, target: u64, mode: AliasMode) -> Result<MonitorResult, SupervisionError>;
}
