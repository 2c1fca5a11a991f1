//! The spawning of processes: [`SpawnFacility`].

use alloc::boxed::Box;
use core::any::Any;
use core::fmt;

/// The entry point of a new process. The arguments have the interpreter's own type.
pub struct EntryPoint<'a> {
    /// The module name.
    pub module: &'a str,
    /// The function name.
    pub function: &'a str,
    /// The arguments of the call.
    pub arguments: Box<dyn Any + Send>,
}

impl fmt::Debug for EntryPoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module, self.function)
    }
}

/// The options that are in force before a new process's first instruction.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SpawnFlags {
    /// `true` to link it with the caller.
    pub link: bool,
    /// `true` to have the caller monitor it.
    pub monitor: bool,
    /// `true` to have it trap exits: EXITs arrive as messages.
    pub trap_exit: bool,
}

/// The result of a spawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpawnResult {
    /// The new process.
    pub pid: u64,
    /// The caller's monitor of it, if one was requested.
    pub monitor: Option<u64>,
}

/// The reason why no process was spawned; nothing of it is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no such entry point, or it does not take these arguments. No pid was allocated.
    Unresolved,
    /// The caller is dead or was never allocated.
    NoCaller,
    /// The maximum number of processes is reached.
    TooMany,
    /// There is no memory for it. The caller continues.
    NoMemory,
    /// The runtime shuts down.
    Closing,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unresolved => "there is no such function to start a process with",
            Self::NoCaller => "there is no such process that could spawn one",
            Self::TooMany => "the limit of processes is reached",
            Self::NoMemory => "out of memory",
            Self::Closing => "the runtime shuts down",
        })
    }
}

impl core::error::Error for SpawnError {}

/// Spawning, for processes identified by raw pids.
pub trait SpawnFacility: Send + Sync {
    /// Spawns a process. The entry point is resolved before anything is allocated. Link, monitor
    /// and flag are in force before the new process's first instruction; if the caller dies during
    /// the call, it has died after the spawn.
    fn spawn(&self, caller: u64, entry: EntryPoint<'_>, flags: SpawnFlags) -> Result<SpawnResult, SpawnError>;
}
