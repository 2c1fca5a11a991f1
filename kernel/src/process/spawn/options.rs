//! [`SpawnOptions`], how a process is to be started, and what came of it.

use core::fmt;

use crate::bound::Overflow;
use crate::name::RegisterError;
use crate::pid::{Pid, Reference};
use crate::process::header::Header;
use crate::table::TableFull;

/// How urgent a process is. None starves (`runq`, F1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Priority {
    /// Before the others, but for every 8th turn.
    High,
    /// As most are.
    #[default]
    Normal,
    /// When nobody else wants to run, and every 64th turn.
    Low,
}

impl Priority {
    pub(crate) fn of(process: &Header) -> Self {
        [Self::High, Self::Normal, Self::Low][process.run.priority()]
    }
}

/// How a process is to be started.
#[derive(Clone, Debug, Default)]
pub struct SpawnOptions<'n> {
    pub(crate) link: bool,
    pub(crate) monitor: bool,
    pub(crate) supervised: bool,
    pub(crate) trap_exit: bool,
    pub(crate) priority: Priority,
    pub(crate) core: Option<usize>,
    pub(crate) mailbox_limit: u32,
    pub(crate) overflow: Overflow,
    pub(crate) name: Option<&'n str>,
}

impl<'n> SpawnOptions<'n> {
    /// Neither linked, monitored nor named, of normal priority.
    pub fn new() -> Self {
        Self::default()
    }

    /// Linked with its parent. The host has no process to link: it is an error there.
    pub fn link(mut self) -> Self {
        self.link = true;
        self
    }

    /// Monitored by its parent. As for [`SpawnOptions::link`].
    pub fn monitor(mut self) -> Self {
        self.monitor = true;
        self
    }

    /// Linked with its parent, who gets its end as a DOWN and not as an EXIT, whether or not it traps exits: a link and a monitor
    /// in one, for who has many children. It dies with its parent as by any link. If it unlinks itself its parent is told of its
    /// end still; the parent ends both by [`crate::Cx::unlink`]. (Spawned on behalf of a process it is linked and
    /// monitored.) As for [`SpawnOptions::link`].
    pub fn supervised(mut self) -> Self {
        self.supervised = true;
        self
    }

    /// Whether it traps exits from birth.
    pub fn trap_exit(mut self, trap: bool) -> Self {
        self.trap_exit = trap;
        self
    }

    /// How urgent it is.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The only core that may run it.
    pub fn core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Messages that may wait at a time; a send beyond gives the message back, unless [`SpawnOptions::overflow`] says
    /// otherwise. EXITs, DOWNs and timers are not counted: a full mailbox neither refuses nor delays nor drops them. 0
    /// for no limit.
    pub fn mailbox_limit(mut self, messages: u32) -> Self {
        self.mailbox_limit = messages;
        self
    }

    /// What becomes of a message that is one too many, if there is a limit. By default it comes back to its sender, who may
    /// wait for room. With [`Overflow::DropNewest`] it is dropped, and with [`Overflow::DropOldest`] it is let in, and the
    /// oldest dropped when the process fetches what has come: after that at most as many wait as the limit says. Between
    /// two fetches there may be up to twice as many; beyond that the newest is dropped. Of either its sender knows nothing;
    /// [`crate::ProcessInfo::dropped`] counts them, and who waits for a [`crate::Reply`] in one is told.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Registers it under a name.
    pub fn name(mut self, name: &'n str) -> Self {
        self.name = Some(name);
        self
    }
}

/// What a spawn made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spawned {
    /// The process.
    pub pid: Pid,
    /// The parent's monitor of it, if it was asked for.
    pub monitor: Option<Reference>,
}

/// Why no process was started; nothing of it is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// The limit of processes is reached.
    TooMany,
    /// There is no memory for it.
    NoMemory,
    /// Its name could not be registered.
    Name(RegisterError),
    /// There is no core of this number.
    NoSuchCore,
    /// The host asked for a link or monitor, and has no process that could have one.
    NoParent,
    /// The parent is dying.
    Dying,
    /// The runtime shuts down.
    Closing,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => f.write_str("the limit of processes is reached"),
            Self::NoMemory => f.write_str("out of memory"),
            Self::Name(error) => write!(f, "{error}"),
            Self::NoSuchCore => f.write_str("there is no such core"),
            Self::NoParent => f.write_str("the host cannot be linked or monitor: spawn from a process"),
            Self::Dying => f.write_str("the process is dying"),
            Self::Closing => f.write_str("the runtime shuts down"),
        }
    }
}

impl core::error::Error for SpawnError {}

impl From<TableFull> for SpawnError {
    fn from(error: TableFull) -> Self {
        match error {
            TableFull::Full => Self::TooMany,
            TableFull::NoMemory => Self::NoMemory,
        }
    }
}
