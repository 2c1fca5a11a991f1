//! [`NameFacility`]: registered names, and monitors by name. Beside [`crate::SupervisionFacility`], which knows pids only.

use core::fmt;

use crate::supervision::MonitorResult;

/// Why nothing was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NameError {
    /// The caller is dead, or never was.
    NoCaller,
    /// The process that was to have the name is dead, or never was.
    NoProc,
    /// Another process, or this one, has the name.
    InUse,
    /// The process has a name already.
    AlreadyNamed,
    /// The limit of names is reached.
    TooMany,
    /// There is no memory for it. The caller goes on.
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

/// Registered names, for processes named by raw pids.
pub trait NameFacility: Send + Sync {
    /// Gives a process a name: the caller itself, or another.
    fn register(&self, caller: u64, name: &str, pid: u64) -> Result<(), NameError>;

    /// Takes a name from whoever has it; false when nobody did.
    fn unregister(&self, caller: u64, name: &str) -> Result<bool, NameError>;

    /// Who has the name.
    fn whereis(&self, name: &str) -> Option<u64>;

    /// Monitors whoever has the name now. Its DOWN gives the name, not the pid; when nobody has it, the DOWN waits already, with
    /// `noproc`. A monitor like any other to [`crate::SupervisionFacility::demonitor`].
    fn monitor_name(&self, caller: u64, name: &str) -> Result<MonitorResult, NameError>;
}
