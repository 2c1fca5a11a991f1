//! [`ExitWatch`]: somebody who is no process waits for a death.
//!
//! A record on the target's list of watchers, as a monitor is, that has what is to be done then inside. It is made
//! before anything happens ([`PreparedWatch`]), so that what can fail has not failed once a process is there to be
//! watched. One word decides:
//!
//! ```text
//! PREPARED ── install (1) ──▶ ARMED ── target dies: fire (2) ──▶ FIRED
//!     └── given up, refused       └────── withdraw (3) ────────▶ WITHDRAWN
//!         (WITHDRAWN)
//! ```
//!
//! - **W1.** (2) and (3) are exchanges of the same word: what is to be done is done once, or dropped, by who won.
//!   Before (1) it is the `PreparedWatch`'s.
//! - **W2.** Who wins (2) writes the reason and hands the record, with the list's share, to the world
//!   ([`crate::Platform::on_watch_fired`]), which puts it where a thread of its own takes it ([`crate::ExitQueue`]) or runs it; what is *prompt*, and only
//!   wakes somebody, is run there and then. A
//!   record that fires has left the target's list, so its place is free to be in that queue: a death
//!   allocates nothing, and waits for nobody.
//! - **W3.** Watches fire when all else of the death is done: the body is dropped, the names are free, links and
//!   monitors have been told, and the slot has the reason. So who is told finds everything gone; only the memory may
//!   stay for a while (`reclaim`). A watch that is installed, or held by a sweep, in the midst of the death may fire
//!   before links and monitors do.
//!
//! A process that is already dead fires at once, with the reason that its slot remembers, whether or not monitors
//! are told such reasons, or with none when the slot has been used again. A watch is not a signal: it does not wait for what
//! the installer has sent before, and need not, for whatever kills the target fires it.
//!
//! Shares: the list's (or the queue's), and one for each handle. Installing is lock-free, firing wait-free but for
//! the queue, withdrawing O(1) amortised (`roll`).

mod handle;
mod record;

use core::fmt;

use crate::pid::Pid;
use crate::reason::Reason;

pub use handle::{ExitWatch, FiredWatch, PreparedWatch};

/// How a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExitInfo {
    /// Which.
    pub pid: Pid,
    /// Why; `None` when it was dead before it was watched, and its slot has been used again since.
    pub reason: Option<Reason>,
}

/// Where a watch is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchStatus {
    /// Not on any process yet.
    Prepared,
    /// In force: it will fire.
    Installed,
    /// The process has died; what is to be done is done, or on its way.
    Fired,
    /// It will never fire: withdrawn, refused, or given up before it was installed.
    Withdrawn,
}

/// Why nothing is watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchError {
    /// This kernel has never given out this pid.
    NoSuchProcess(Pid),
    /// There is no memory for the watch.
    NoMemory(Pid),
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchProcess(pid) => write!(f, "{pid} is no process of this runtime, and never was"),
            Self::NoMemory(pid) => write!(f, "out of memory: {pid} is not watched"),
        }
    }
}

impl core::error::Error for WatchError {}
