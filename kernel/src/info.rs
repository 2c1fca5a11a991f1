//! [`ProcessInfo`]: what a process knows of itself.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::bound::MailboxLimit;
use crate::hand::KernelCx;
use crate::link::LinkEnd;
use crate::list::Chain;
use crate::memory::{self, NoMemory};
use crate::monitor::MonitorTarget;
use crate::name::{self, Name};
use crate::pid::Pid;
use crate::process::fetch::take_up;
use crate::process::header::Header;
use crate::process::spawn::Priority;
use crate::sync::Ordering;
use crate::watch::WatcherEntry;

/// A process as it was when it answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Who.
    pub pid: Pid,
    /// Its registered name.
    pub name: Option<Name>,
    /// With whom it is linked.
    pub links: Vec<Pid>,
    /// What it monitors, an item for each monitor.
    pub monitors: Vec<MonitorTarget>,
    /// Who monitors it, an item for each monitor.
    pub monitored_by: Vec<Pid>,
    /// Messages, EXITs and DOWNs that wait to be received.
    pub message_queue_len: usize,
    /// Messages that may wait; 0 for no limit.
    pub mailbox_limit: u32,
    /// Messages that its full mailbox has dropped.
    pub dropped: usize,
    /// Whether EXITs come as messages.
    pub trap_exit: bool,
    /// How urgent it is.
    pub priority: Priority,
    /// How often it is suspended and not resumed.
    pub suspended: u32,
    /// The core it must run on.
    pub core: Option<usize>,
    /// Reductions spent.
    pub reductions: u64,
    /// Slices run.
    pub slices: u64,
    /// Timers that it started and that are still to come.
    pub timers: usize,
}

impl ProcessInfo {
    /// Of an owned process.
    pub(crate) fn try_of(process: &Header, hand: &KernelCx<'_>) -> Result<Box<Self>, NoMemory> {
        take_up(process, hand);
        // SAFETY: the caller owns the process (P1).
        let private = unsafe { process.private() };
        let mut links: Vec<Pid> = Vec::new();
        for half in private.links.iter() {
            // SAFETY: in the set, so shared.
            let fields = unsafe { half.as_ref() };
            // SAFETY: likewise.
            if unsafe { LinkEnd::link(half).as_ref() }.is_live() && !fields.is_hidden() {
                memory::try_push(&mut links, fields.peer)?;
            }
        }
        links.sort_unstable();
        links.dedup();
        let mut monitors = Vec::new();
        for monitor in private.monitors.iter() {
            // SAFETY: in the set, so shared.
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
                    // SAFETY: in the set, so shared.
                    unsafe { timer.as_ref() }.is_armed()
                })
                .count(),
        };
        memory::try_box(info)
    }
}

/// The owner takes its list of watchers, looks, and puts it back; it cannot die meanwhile.
fn watchers(process: &Header) -> Result<Vec<Pid>, NoMemory> {
    let (mut pids, mut kept, mut complete) = (Vec::new(), Chain::empty(), Ok(()));
    for watch in process.watchers.take() {
        // SAFETY: from the list, with its share.
        if let Some(pid) = unsafe { WatcherEntry::watcher(watch) } {
            complete = complete.and_then(|()| memory::try_push(&mut pids, pid));
        }
        // SAFETY: handed over by the chain.
        unsafe { kept.push(watch) };
    }
    let kept = process.watchers.give_back(kept);
    // Otherwise their shares leak, and nothing else.
    debug_assert!(kept.is_ok(), "only the owner closes it");
    complete.map(|()| pids)
}
