//! [`ProcessInfo`]: the state of a process as the process itself reports it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::intrusive::list::Chain;
use crate::kernel::kernel_cx::KernelCx;
use crate::mailbox::limit::MailboxLimit;
use crate::memory::{self, NoMemory};
use crate::ops::drain::adopt_links;
use crate::ops::spawn::Priority;
use crate::pid::Pid;
use crate::process::header::{ANY_CORE, Header};
use crate::process::name::{self, Name};
use crate::process::owned::{Owned, OwnerState};
use crate::process::relation::monitor::MonitorTarget;
use crate::sync::Ordering;

/// The state of a process at the moment when it answered the query.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// The pid of the process.
    pub pid: Pid,
    /// The registered name of the process.
    pub name: Option<Name>,
    /// The processes with which it is linked.
    pub links: Vec<Pid>,
    /// The targets that it monitors, one item for each monitor.
    pub monitors: Vec<MonitorTarget>,
    /// The processes that monitor it, one item for each monitor.
    pub monitored_by: Vec<Pid>,
    /// Number of messages, EXITs and DOWNs that wait to be received.
    pub message_queue_len: usize,
    /// Maximum number of messages that may wait; 0 means no limit.
    pub mailbox_limit: u32,
    /// Number of messages that were dropped because its mailbox was full.
    pub dropped: usize,
    /// `true` if EXITs arrive as messages.
    pub trap_exit: bool,
    /// The scheduling priority.
    pub priority: Priority,
    /// Number of suspensions that were not resumed.
    pub suspended: u32,
    /// The core to which the process is pinned.
    pub core: Option<usize>,
    /// Number of reductions spent.
    pub reductions: u64,
    /// Number of slices run.
    pub slices: u64,
    /// Number of timers that it started and that have not fired yet.
    pub timers: usize,
}

impl ProcessInfo {
    /// Collects the state of a process that the caller owns.
    pub(crate) fn try_of(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) -> Result<Box<Self>, NoMemory> {
        adopt_links(owned, kernel_cx);
        let process = owned.header();
        memory::try_box(owned.peek(|private| Self::read(process, private))?)
    }

    fn read(process: &Header, private: &OwnerState) -> Result<Self, NoMemory> {
        let mut links: Vec<Pid> = Vec::new();
        for end in private.links.iter() {
            if end.link().is_live() && !end.is_detached() {
                memory::try_push(&mut links, end.peer)?;
            }
        }
        links.sort_unstable();
        links.dedup();
        let mut monitors = Vec::new();
        for monitor in private.monitors.iter() {
            if monitor.is_armed() {
                memory::try_push(&mut monitors, monitor.monitor_target())?;
            }
        }
        Ok(Self {
            pid: process.pid,
            name: name::name_of(process).map(|entry| entry.name.clone()),
            links,
            monitors,
            monitored_by: watchers(process)?,
            message_queue_len: private.queue.len(),
            mailbox_limit: process.bound().map_or(0, |bound| bound.room.limit()),
            dropped: process.bound().map_or(0, MailboxLimit::dropped),
            trap_exit: process.trap_exit.load(Ordering::Relaxed),
            priority: Priority::of(process),
            suspended: private.suspended,
            core: (process.core != ANY_CORE).then_some(usize::from(process.core)),
            reductions: private.reductions,
            slices: private.slices,
            timers: private.timers.iter().filter(|timer| timer.is_armed()).count(),
        })
    }
}

/// Returns the processes that watch this one. The owner takes its list of watchers, reads it, and
/// puts it back; the process cannot die in between.
fn watchers(process: &Header) -> Result<Vec<Pid>, NoMemory> {
    let (mut pids, mut kept, mut complete) = (Vec::new(), Chain::empty(), Ok(()));
    for watcher in process.watchers.take() {
        if let Some(pid) = watcher.pid() {
            complete = complete.and_then(|()| memory::try_push(&mut pids, pid));
        }
        kept.push(watcher);
    }
    let kept = process.watchers.push_back_chain(kept);
    debug_assert!(kept.is_ok(), "only the owner closes it");
    complete.map(|()| pids)
}
