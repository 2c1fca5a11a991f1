//! Exit watches, [`crate::ExitWatch`]: code outside any process waits for a death.
//!
//! A watch is a record on the target's list of watchers, as a monitor is, with the callback inside.
//! It is made before anything happens ([`crate::PreparedWatch`]), so that every step that can fail
//! is over when there is a process to watch. One word decides:
//!
//! ```text
//! PREPARED ── install (1) ──▶ ARMED ── target dies: fire (2) ──▶ FIRED
//!     └── dropped, refused        └────── withdraw (3) ────────▶ WITHDRAWN
//!         (WITHDRAWN)
//! ```
//!
//! - **W1.** (2) and (3) are exchanges of the same word: the side that wins runs the callback once,
//!   or drops it. Before (1) the callback belongs to the `PreparedWatch`.
//! - **W2.** The thread that wins (2) writes the reason and passes the record, with the list's
//!   reference, to the platform ([`crate::Platform::on_watch_fired`]). The platform queues it for a
//!   thread of its own ([`crate::ExitQueue`]) or runs it. A *prompt* watch, which only wakes a
//!   thread or task, runs immediately. A record that fires has left the target's list, so its links
//!   are free for that queue. So a death allocates nothing and does not wait.
//! - **W3.** Watches fire when every other step of the death is done: the body is dropped, the
//!   names are free, links and monitors have been notified, and the slot has the reason. So the
//!   callback finds everything gone; only the memory may stay for a while (`reclaim`). A watch that
//!   is installed, or held by a sweep, during the death may fire before links and monitors do.
//!
//! A watch of a process that is already dead fires immediately. It gets the reason that the slot
//! records, even if monitors are not given such reasons, or none if the slot has been used again. A
//! watch is not a signal: it does not wait for signals that the installer has sent before. It need
//! not, because every death of the target fires it.
//!
//! References: the list's (or the queue's), and one for each handle. Installing is lock-free,
//! firing wait-free except for the queue, withdrawing O(1) amortised (`sweep_list`).

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
    /// It will never fire: withdrawn, refused, or dropped before it was installed.
    Withdrawn,
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
