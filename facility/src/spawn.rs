//! [`SpawnFacility`]: how a process starts another.

use alloc::boxed::Box;
use core::any::Any;
use core::fmt;

/// What a new process is to run. The arguments are the interpreter's own.
pub struct Entry<'a> {
    /// The module.
    pub module: &'a str,
    /// The function in it.
    pub function: &'a str,
    /// What it is called with.
    pub arguments: Box<dyn Any + Send>,
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module, self.function)
    }
}

/// What holds for a new process before its first instruction.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SpawnFlags {
    /// It is linked with the caller.
    pub link: bool,
    /// The caller monitors it.
    pub monitor: bool,
    /// EXITs come to it as messages.
    pub trap_exit: bool,
}

/// What a spawn made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpawnResult {
    /// The process.
    pub pid: u64,
    /// The caller's monitor of it, if one was asked for.
    pub monitor: Option<u64>,
}

/// Why no process was started; nothing of it is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no such entry, or its arguments are not what it takes. No pid was taken.
    Unresolved,
    /// The caller is dead, or never was.
    NoCaller,
    /// The limit of processes is reached.
    TooMany,
    /// There is no memory for it. The caller goes on.
    NoMemory,
    /// The runtime shuts down.
    Closing,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unresolved => "there is no such function to start a process with",
            Self::NoCaller => "there is no such process that could start one",
            Self::TooMany => "the limit of processes is reached",
            Self::NoMemory => "out of memory",
            Self::Closing => "the runtime shuts down",
        })
    }
}

impl core::error::Error for SpawnError {}

/// Starts processes for processes named by raw pids.
pub trait SpawnFacility: Send + Sync {
    /// Starts one. The entry is resolved before anything is taken; link, monitor and flag hold before the new process's first
    /// instruction, and a caller that dies meanwhile has died after the spawn.
    fn spawn(&self, caller: u64, entry: Entry<'_>, flags: SpawnFlags) -> Result<SpawnResult, SpawnError>;
}
