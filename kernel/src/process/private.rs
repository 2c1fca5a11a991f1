//! [`OwnerState`], what only a process's owner touches.

use alloc::boxed::Box;

use crate::alias::AliasRecord;
use crate::hand::KernelCx;
use crate::link::LinkEnd;
use crate::mailbox::Fifo;
use crate::memory;
use crate::monitor::Monitor;
use crate::pid::{Pid, Reference};
use crate::reason::Reason;
use crate::reply::watch::OpenRequests;
use crate::set::RecordSet;
use crate::signal::queue::Queue;
use crate::task::waiters::Waiters;
use crate::timer::record::TimerHead;

/// See `header`, P1. `repr(C)`: what every message touches lies together, in the first 64 bytes, and then what every slice does.
#[derive(Debug)]
#[repr(C)]
pub struct OwnerState {
    /// The body must see what has come: a signal for it was fetched, or it has not yet run.
    pub resume: bool,
    /// A waker's share of the process that is left of a request, for the next one in the same slice.
    pub spare: bool,
    /// Not once its death has begun.
    pub fetches: bool,
    /// It has had links that others made: with one of them it may have two (`link`, K2).
    pub taken_up: bool,
    /// So many have suspended it and not resumed it: its body is not resumed, whatever has come.
    pub suspended: u32,
    /// Fetched, not yet received.
    pub queue: Queue,
    /// It dies as soon as its slice lets go.
    pub dying: Option<Reason>,
    /// Requests that it has received and not answered.
    pub open: OpenRequests,
    /// Of the numbers of the queue (`queue`, C4).
    pub era: u32,
    /// Tasks of others that wait for something of this process's; `None` until there is one.
    pub(crate) waiters: Option<Box<Waiters>>,
    /// Reductions spent in all slices.
    pub reductions: u64,
    /// Slices run.
    pub slices: u64,
    /// What was fetched and not met, because the process died of what came before.
    pub unmet: Fifo,
    /// Links, own and taken up, in order of age.
    pub links: RecordSet<LinkEnd>,
    /// Its monitors of others.
    pub monitors: RecordSet<Monitor>,
    /// Timers that it started.
    pub timers: RecordSet<TimerHead>,
    /// Its aliases that are in force.
    pub aliases: RecordSet<AliasRecord>,
}

impl OwnerState {
    /// Of a process that has not run.
    pub const fn new() -> Self {
        Self {
            queue: Queue::new(),
            resume: true,
            suspended: 0,
            spare: false,
            fetches: true,
            taken_up: false,
            dying: None,
            unmet: Fifo::empty(),
            links: RecordSet::new(),
            monitors: RecordSet::new(),
            timers: RecordSet::new(),
            aliases: RecordSet::new(),
            open: OpenRequests::new(),
            era: 1,
            waiters: None,
            reductions: 0,
            slices: 0,
        }
    }
}

impl OwnerState {
    /// Whether a death has nothing to give up but what is on its links: no signal, monitor, timer or alias.
    pub fn has_nothing(&self) -> bool {
        self.queue.is_empty()
            && self.unmet.is_empty()
            && self.monitors.is_empty()
            && self.timers.is_empty()
            && self.aliases.is_empty()
            && self.links.len() < crate::config::INDEX_FROM
    }

    /// Ends an alias; whether it was in force.
    pub fn end_alias(&mut self, reference: Reference) -> bool {
        let Some(alias) = self.aliases.find(reference.to_raw()) else { return false };
        // SAFETY: found there.
        unsafe { self.aliases.remove(alias) };
        // SAFETY: the set's own, made by `AliasRecord::try_new`.
        unsafe { memory::drop_and_free(alias) };
        true
    }

    /// Ends the alias of a monitor that is over, if it ends with it.
    pub fn end_alias_with_monitor(&mut self, reference: Reference) {
        if let Some(alias) = self.aliases.find(reference.to_raw()) {
            // SAFETY: in the set.
            if unsafe { alias.as_ref() }.mode.ends_with_monitor() {
                self.end_alias(reference);
            }
        }
    }

    /// Cuts every link with `peer`: none, one, or two (`link`, K2). What has been taken up
    /// is all there is.
    pub fn cut_all(&mut self, peer: Pid, hand: &KernelCx<'_>) -> bool {
        let mut any = false;
        while let Some(half) = self.links.find(peer.to_raw()) {
            if LinkEnd::is_watched(half) {
                // SAFETY: in the set.
                unsafe { self.links.remove(half) };
                // SAFETY: its share is here still.
                unsafe { half.as_ref() }.hide();
                // SAFETY: taken out above, the owner's.
                unsafe { self.links.insert(half) };
                any = true;
                continue;
            }
            // SAFETY: in the set, so shared.
            if !unsafe { LinkEnd::link(half).as_ref() }.cut() {
                // SAFETY: the owner's.
                unsafe { half.as_ref() }.withdraw();
            }
            any = true;
            // SAFETY: in the set; not used afterwards.
            unsafe { self.drop_half(half, hand) };
        }
        any
    }
}
