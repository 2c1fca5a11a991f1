//! Spawn options, [`SpawnOptions`], and the results of a spawn.

use core::fmt;

use crate::mailbox::limit::Overflow;
use crate::pid::{Pid, Reference};
use crate::process::header::Header;
use crate::process::name::RegisterError;
use crate::process::table::TableFull;

/// The urgency of a process. No priority starves (`runq`, F1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Priority {
    /// Runs before the other priorities, except in every 8th turn.
    High,
    /// The priority of most processes.
    #[default]
    Normal,
    /// Runs when no process of another priority wants to run, and in every 64th turn.
    Low,
}

impl Priority {
    pub(crate) fn of(process: &Header) -> Self {
        [Self::High, Self::Normal, Self::Low][process.run.priority()]
    }
}

/// The options of a new process.
#[derive(Clone, Debug, Default)]
pub struct SpawnOptions<'n> {
    pub(crate) link: bool,
    pub(crate) monitor: bool,
    pub(crate) supervised: bool,
    pub(crate) trap_exit: bool,
    pub(crate) proxy: bool,
    pub(crate) priority: Priority,
    pub(crate) core: Option<usize>,
    pub(crate) mailbox_limit: u32,
    pub(crate) overflow: Overflow,
    pub(crate) name: Option<&'n str>,
}

impl<'n> SpawnOptions<'n> {
    /// Creates the default options: neither linked, monitored nor named, of normal priority.
    pub fn new() -> Self {
        Self::default()
    }

    /// Links the process with its parent. The host has no process to link: there it is an error.
    pub fn link(mut self) -> Self {
        self.link = true;
        self
    }

    /// Has the parent monitor the process. From the host this is an error, as for
    /// [`SpawnOptions::link`].
    pub fn monitor(mut self) -> Self {
        self.monitor = true;
        self
    }

    /// Links the process with its parent, which gets the child's end as a DOWN and not as an EXIT,
    /// whether or not the parent traps exits. It is a link and a monitor in one record, for a
    /// parent with many children. The child dies with its parent as by any link. If the child
    /// unlinks, its parent is still notified of its end; the parent ends both by
    /// [`crate::Cx::unlink`]. (A process that is spawned on behalf of another one gets a link and a
    /// monitor.) From the host this is an error, as for [`SpawnOptions::link`].
    pub fn supervised(mut self) -> Self {
        self.supervised = true;
        self
    }

    /// Sets whether the process traps exits from birth.
    pub fn trap_exit(mut self, trap: bool) -> Self {
        self.trap_exit = trap;
        self
    }

    /// Makes the process a proxy: it stands for a process elsewhere, for example of another node,
    /// and passes on what it gets. A proxy traps exits. In addition to what other processes get,
    /// EXITs tell it ([`crate::Exit::cause`]):
    ///
    /// - of a `kill` by a process, which does not end the proxy (one by the host does);
    /// - of each process that links with it, or ends its link, in order with what that process
    ///   sends.
    ///
    /// Where there is no memory for such an EXIT, the proxy is killed.
    pub fn proxy(mut self) -> Self {
        self.proxy = true;
        self.trap_exit = true;
        self
    }

    /// Sets the urgency of the process.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the only core that may run the process.
    pub fn core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Sets how many messages may wait at a time. A send beyond that returns the message, unless
    /// [`SpawnOptions::overflow`] says otherwise. EXITs, DOWNs and timers are not counted: a full
    /// mailbox neither rejects nor delays nor drops them. 0 means no limit.
    pub fn mailbox_limit(mut self, messages: u32) -> Self {
        self.mailbox_limit = messages;
        self
    }

    /// Sets the fate of a message that exceeds the limit, if there is one. By default it returns to
    /// its sender, which may wait for capacity. With [`Overflow::DropNewest`] it is dropped. With
    /// [`Overflow::DropOldest`] it is accepted, and the oldest messages are dropped when the
    /// process fetches; after that at most the limit waits. Between two fetches twice as many may
    /// wait; beyond that the newest is dropped. The sender learns of neither drop.
    /// [`crate::ProcessInfo::dropped`] counts them, and a requester that waits for a
    /// [`crate::Reply`] in a dropped message is notified.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Registers the process under a name.
    pub fn name(mut self, name: &'n str) -> Self {
        self.name = Some(name);
        self
    }
}

/// The result of a spawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spawned {
    /// The pid of the new process.
    pub pid: Pid,
    /// The parent's monitor of it, if one was requested.
    pub monitor: Option<Reference>,
}

/// The reason why no process was started; nothing of it is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// The limit of processes is reached.
    TooMany,
    /// There is no memory for the process.
    NoMemory,
    /// The name could not be registered.
    Name(RegisterError),
    /// There is no core with this number.
    NoSuchCore,
    /// The host requested a link or monitor, but has no process that could hold one.
    NoParent,
    /// The parent is dying.
    Dying,
    /// The runtime is shutting down.
    Closing,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => f.write_str("the limit of processes is reached"),
            Self::NoMemory => f.write_str("out of memory"),
            Self::Name(error) => write!(f, "{error}"),
            Self::NoSuchCore => f.write_str("there is no such core"),
            Self::NoParent => f.write_str("the host can neither link nor monitor: spawn from a process"),
            Self::Dying => f.write_str("the process is dying"),
            Self::Closing => f.write_str("the runtime is shutting down"),
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
