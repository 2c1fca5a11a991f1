//! Registered names, and monitors by name: [`NameFacility`]. [`crate::SupervisionFacility`] uses
//! pids only.

use core::fmt;

use crate::supervision::MonitorResult;

/// The reason why an operation did nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NameError {
    /// The caller is dead or was never allocated.
    NoCaller,
    /// The process to register is dead or was never allocated.
    NoProc,
    /// The name is registered already, for another process or for this one.
    InUse,
    /// The process has a name already.
    AlreadyNamed,
    /// The maximum number of names is reached.
    TooMany,
    /// There is no memory for it. The caller continues.
    NoMemory,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCaller => "there is no such process that could ask",
            Self::NoProc => "there is no such process that could have a name",
            Self::InUse => "the name is in use",
            Self::AlreadyNamed => "the process has a name already",
            Self::TooMany => "the limit of names is reached",
            Self::NoMemory => "out of memory",
        })
    }
}

impl core::error::Error for NameError {}

/// Registered names, for processes identified by raw pids.
pub trait NameFacility: Send + Sync {
    /// Registers a name for a process: the caller itself, or another.
    fn register(&self, caller: u64, name: &str, pid: u64) -> Result<(), NameError>;

    /// Unregisters a name. Returns `false` if it was not registered.
    fn unregister(&self, caller: u64, name: &str) -> Result<bool, NameError>;

    /// Returns the process that has the name.
    fn whereis(&self, name: &str) -> Option<u64>;

    /// Monitors the process that has the name now. Its DOWN carries the name, not the pid; if no
    /// process has it, the DOWN with `noproc` is in the mailbox already. For
    /// [`crate::SupervisionFacility::demonitor`] it is an ordinary monitor.
    fn monitor_name(&self, caller: u64, name: &str) -> Result<MonitorResult, NameError>;
}
