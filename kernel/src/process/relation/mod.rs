//! Relations of a process: the records by which its death becomes known to others.
//!
//! | topic | module |
//! | --- | --- |
//! | a link, which gives an EXIT | `link` |
//! | a monitor, which gives a DOWN | `monitor` |
//! | an entry on a process's list of watchers, which is a part of each record that waits for the death | `watcher` |
//! | an exit watch of a host thread | `host_watch` |
//! | the queue of fired exit watches | `exit_queue` |
//!
//! Here are the types that exit watches have in common with their users: [`ExitInfo`],
//! [`WatchStatus`], [`WatchError`].

pub(crate) mod exit_queue;
pub(crate) mod host_watch;
pub(crate) mod link;
pub(crate) mod monitor;
pub(crate) mod watcher;

use core::fmt;

use crate::pid::Pid;
use crate::reason::Reason;

/// The end of a process: its pid and exit reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExitInfo {
    /// The process that ended.
    pub pid: Pid,
    /// The exit reason; `None` if the process was dead before it was watched, and its slot has been
    /// used again since.
    pub reason: Option<Reason>,
}

/// The state of a watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchStatus {
    /// It is not on any process yet.
    Prepared,
    /// It is in force: it will fire.
    Installed,
    /// The process has died; the callback has run, or will run.
    Fired,
    /// It will never fire: cancelled, refused, or dropped before it was installed.
    Cancelled,
}

/// The reason why no watch was installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchError {
    /// This kernel has never allocated this pid.
    NoSuchProcess(Pid),
    /// There is no memory for the watch.
    NoMemory(Pid),
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchProcess(pid) => write!(f, "this runtime never had a process {pid}"),
            Self::NoMemory(pid) => write!(f, "out of memory: {pid} is not watched"),
        }
    }
}

impl core::error::Error for WatchError {}
