//! The owner's part of a process, [`OwnerState`]. What the owner does with its links is in
//! `ops::relations::link`.

use alloc::boxed::Box;

use crate::intrusive::record_set::RecordSet;
use crate::mailbox::Fifo;
use crate::mailbox::batch::Queue;
use crate::memory;
use crate::pid::Reference;
use crate::process::alias::AliasRecord;
use crate::process::relation::link::LinkEnd;
use crate::process::relation::monitor::Monitor;
use crate::process::request_watch::OpenRequests;
use crate::process::timer_record::TimerHead;
use crate::process::waiters::Waiters;
use crate::reason::Reason;

/// The state of a process that only its owner touches (`header`, P1).
///
/// `repr(C)`: the fields that every message touches lie together in the first 64 bytes, followed by
/// those that every slice touches.
#[derive(Debug)]
#[repr(C)]
pub struct OwnerState {
    /// `true` if the body must see what has arrived: a signal for it was fetched, or it has not yet
    /// run.
    pub resume: bool,
    /// `true` if a waker's reference is left over from a request, for the next request in the same
    /// slice.
    pub spare: bool,
    /// `true` until its death begins.
    pub fetches: bool,
    /// `true` if it has adopted links that other processes made: it may have two links with one of
    /// them (`link`, K2).
    pub adopted_links: bool,
    /// The number of suspensions that have not been resumed. While it is above 0 the body is not
    /// resumed, whatever arrives.
    pub suspended: u32,
    /// Signals that are fetched and not yet received.
    pub queue: Queue,
    /// The reason that it dies of as soon as its slice ends.
    pub dying: Option<Reason>,
    /// Requests that it has received and not answered.
    pub open: OpenRequests,
    /// The era of the queue's numbers (`mailbox::batch`, C4).
    pub era: u32,
    /// Tasks of other processes that wait for something from this one; `None` until there is one.
    pub(crate) waiters: Option<Box<Waiters>>,
    /// Reductions spent in all slices.
    pub reductions: u64,
    /// The number of slices run.
    pub slices: u64,
    /// Signals that were fetched and not handled, because an earlier one was fatal.
    pub unhandled: Fifo,
    /// Links, both own and adopted, in order of age.
    pub links: RecordSet<LinkEnd>,
    /// Its monitors of other processes.
    pub monitors: RecordSet<Monitor>,
    /// Timers that it started.
    pub timers: RecordSet<TimerHead>,
    /// Its aliases that are in force.
    pub aliases: RecordSet<AliasRecord>,
}

impl OwnerState {
    /// Creates the state of a process that has not run.
    pub const fn new() -> Self {
        Self {
            queue: Queue::new(),
            resume: true,
            suspended: 0,
            spare: false,
            fetches: true,
            adopted_links: false,
            dying: None,
            unhandled: Fifo::empty(),
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
    /// Returns `true` if a death has only a few links to release: no signal, monitor, timer or
    /// alias.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
            && self.unhandled.is_empty()
            && self.monitors.is_empty()
            && self.timers.is_empty()
            && self.aliases.is_empty()
            && self.links.len() < crate::config::INDEX_FROM
    }

    /// Ends an alias. Returns `true` if it was in force.
    pub fn end_alias(&mut self, reference: Reference) -> bool {
        let Some(alias) = self.aliases.find(reference.to_raw()) else { return false };
        // SAFETY: `find` found the alias in this set.
        unsafe { self.aliases.remove(alias) };
        // SAFETY: the set owned the record, which `AliasRecord::try_new` made.
        unsafe { memory::drop_and_free(alias) };
        true
    }

    /// Ends the alias of a monitor that is over, if its mode says that it ends with the monitor.
    pub fn end_alias_with_monitor(&mut self, reference: Reference) {
        if let Some(alias) = self.aliases.find(reference.to_raw()) {
            // SAFETY: the record is in the set, which owns it.
            if unsafe { alias.as_ref() }.mode.ends_with_monitor() {
                self.end_alias(reference);
            }
        }
    }
}
