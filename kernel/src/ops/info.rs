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
use crate::process::header::Header;
use crate::process::name::{self, Name};
use crate::process::relation::link::LinkEnd;
use crate::process::relation::monitor::MonitorTarget;
use crate::process::relation::watcher::WatcherEntry;
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
    pub(crate) fn try_of(process: &Header, kernel_cx: &KernelCx<'_>) -> Result<Box<Self>, NoMemory> {
        adopt_links(process, kernel_cx);
        // SAFETY: P1 — the caller owns the process.
        let private = unsafe { process.private() };
        let mut links: Vec<Pid> = Vec::new();
        for half in private.links.iter() {
            // SAFETY: the half is in the owner's set, whose reference keeps it live.
            let fields = unsafe { half.as_ref() };
            // SAFETY: the set's reference to the half also keeps the link live.
            if unsafe { LinkEnd::link(half).as_ref() }.is_live() && !fields.is_detached() {
                memory::try_push(&mut links, fields.peer)?;
            }
        }
        links.sort_unstable();
        links.dedup();
        let mut monitors = Vec::new();
        for monitor in private.monitors.iter() {
            // SAFETY: the monitor is in the owner's set, whose reference keeps it live.
            let monitor = unsafe { monitor.as_ref() };
            if monitor.is_armed() {
                memory::try_push(&mut monitors, monitor.object())?;
            }
        }
        let info = Self {
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
            core: (process.core != u32::MAX).then_some(process.core as usize),
            reductions: private.reductions,
            slices: private.slices,
            timers: private
                .timers
                .iter()
                .filter(|timer| {
                    // SAFETY: the timer is in the owner's set, whose reference keeps it live.
                    unsafe { timer.as_ref() }.is_armed()
                })
                .count(),
        };
        memory::try_box(info)
    }
}

/// Returns the processes that watch this one. The owner takes its list of watchers, reads it, and
/// puts it back; the process cannot die in between.
fn watchers(process: &Header) -> Result<Vec<Pid>, NoMemory> {
    let (mut pids, mut kept, mut complete) = (Vec::new(), Chain::empty(), Ok(()));
    for watch in process.watchers.take() {
        // SAFETY: the watch came from the list together with the list's reference, which keeps it
        // live.
        if let Some(pid) = unsafe { WatcherEntry::watcher(watch) } {
            complete = complete.and_then(|()| memory::try_push(&mut pids, pid));
        }
        // SAFETY: `take` gave this call the watch and the list's reference, and both pass to
        // `kept`.
        unsafe { kept.push(watch) };
    }
    let kept = process.watchers.push_back_chain(kept);
    // If this failed, the references would leak and nothing else would happen.
    debug_assert!(kept.is_ok(), "only the owner closes it");
    complete.map(|()| pids)
}
