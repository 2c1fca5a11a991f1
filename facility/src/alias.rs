//! Aliases of a process: [`AliasFacility`]. A process can deactivate its alias, so that a late
//! reply that is sent through it is dropped.

pub use atropos_kernel::AliasMode;

use crate::supervision::{MonitorResult, SupervisionError};

/// Aliases, for processes identified by raw pids. A sender through an alias names the process and
/// the alias: `Handle::send_alias`.
pub trait AliasFacility: Send + Sync {
    /// Creates an alias of the caller; returns its reference. With `reply` the first message
    /// through it deactivates it.
    fn alias(&self, caller: u64, reply: bool) -> Result<u64, SupervisionError>;

    /// Deactivates an alias of the caller; that of another process is unchanged. No message that is
    /// sent through it from now on is received. Returns `Some(true)` if it was active,
    /// `Some(false)` if not, and `None` if the caller does not run here.
    fn unalias(&self, caller: u64, alias: u64) -> Result<Option<bool>, SupervisionError>;

    /// Monitors `target` as [`crate::SupervisionFacility::monitor`] does; the reference is also an
    /// alias, which is deactivated as `mode` says.
    fn monitor_alias(&self, caller: u64, target: u64, mode: AliasMode) -> Result<MonitorResult, SupervisionError>;
}
