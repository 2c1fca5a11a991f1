//! The ownership of a process, [`Owned`], and the state that only the owner touches,
//! [`OwnerState`]. What the owner does with its links is in `ops::relations::link`.
//!
//! - **O1, one owner.** At most one [`Owned`] of a process exists at a time. It is made where a
//!   thread becomes the owner (`header`, P1): by a claim, by a push that wakes, by a pop from a run
//!   queue, and by the birth of the process. It ends where the thread gives the process away: it
//!   goes to sleep ([`Owned::sleep`]), to a run queue ([`Owned::into_run_node`]), or dies.
//! - **O2, no exchange of owners.** While a process runs, its slice holds the `Owned` and lends it
//!   (`kernel::slice`). The lifetime of an `Owned` is invariant, and a loan has one of its own. So
//!   the borrower cannot put another process in its place.

use alloc::boxed::Box;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::intrusive::record_set::RecordSet;
use crate::mailbox::limit::OwnerLimit;
use crate::mailbox::queue::Queue;
use crate::mailbox::{Batch, Fifo};
use crate::memory::pool::Pool;
use crate::memory::pool_box::PoolBox;
use crate::mutation::{MutationSwitch, mutant};
use crate::pid::Reference;
use crate::process::alias::AliasRecord;
use crate::process::counted_ref::{TableRef, WakerRef};
use crate::process::header::Header;
use crate::process::process_ref::ProcessRef;
use crate::process::relation::link::EndRef;
use crate::process::relation::monitor::WatcherSide;
use crate::process::request_watch::OpenRequests;
use crate::process::shared_mailbox::Fetching;
use crate::process::timer_record::StarterShare;
use crate::process::waiters::Waiters;
use crate::reason::Reason;
use crate::reclaim::RetiredObject;
use crate::runq::node::HeldRunNode;

/// Proof that this thread owns a process (`header`, P1; see the module).
#[derive(Debug)]
#[must_use = "a process without an owner never runs again"]
pub struct Owned<'a> {
    process: ProcessRef<'a>,
    /// Invariant (O2), and neither Send nor Sync.
    loan: PhantomData<*mut &'a ()>,
}

impl<'a> Owned<'a> {
    /// Creates the proof.
    ///
    /// # Safety
    /// This thread owns the process (P1), and no other `Owned` of it exists (O1).
    #[inline(always)]
    pub(crate) const unsafe fn assume(process: ProcessRef<'a>) -> Self {
        Self { process, loan: PhantomData }
    }

    /// Takes a process out of a run queue's node.
    ///
    /// # Safety
    /// The node came from [`Owned::into_run_node`], and the process's memory exists for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn from_run_node(node: HeldRunNode) -> Self {
        // SAFETY: the node lies at this offset in a header (this function's contract).
        let process = unsafe { node.into_raw().byte_sub(offset_of!(Header, run)) }.cast();
        // SAFETY: the pointer of the node has the provenance of the process, as `into_run_node`
        // made it; the memory exists for `'a` (this function's contract).
        let process = unsafe { ProcessRef::new(process) };
        // SAFETY: P1, R1: the party that holds the node owns the process.
        unsafe { Self::assume(process) }
    }

    /// Gives the process to the node by which it is queued.
    #[inline(always)]
    pub(crate) fn into_run_node(self) -> HeldRunNode {
        // SAFETY: the node lies at this offset in the header.
        let node = unsafe { self.process.as_ptr().byte_add(offset_of!(Header, run)) }.cast();
        // SAFETY: R1, P1: the owner holds the node, and gives it up here.
        unsafe { HeldRunNode::new(node) }
    }

    /// Returns the process.
    #[inline(always)]
    pub fn process(&self) -> ProcessRef<'a> {
        self.process
    }

    /// Returns the header.
    #[inline(always)]
    pub fn header(&self) -> &'a Header {
        self.process.header()
    }

    /// Runs `f` with the owner's state. All of `f` is one access of the state's cell, so a model
    /// sees how long the owner uses it. `f` calls no foreign code.
    #[inline(always)]
    pub fn state<R>(&mut self, f: impl FnOnce(&mut OwnerState) -> R) -> R {
        // SAFETY: P1, O1: this thread is the only owner, and `self` is borrowed while `f` runs.
        self.header().private.with_mut(|state| f(unsafe { &mut *state }))
    }

    /// Runs `f` with the owner's state, only to read it.
    #[inline(always)]
    pub fn peek<R>(&self, f: impl FnOnce(&OwnerState) -> R) -> R {
        // SAFETY: P1, O1: this thread is the only owner, and `self` is shared while `f` runs.
        self.header().private.with(|state| f(unsafe { &*state }))
    }

    /// Puts the process to sleep, unless a signal has arrived: then the owner must continue.
    #[inline(always)]
    pub fn sleep(self) -> Result<(), Self> {
        if self.mailbox.of_owner().sleep() { Ok(()) } else { Err(self) }
    }

    /// Returns the mailbox limit, if there is one.
    #[inline(always)]
    pub(crate) fn limit(&mut self) -> Option<OwnerLimit<'_>> {
        // SAFETY: P1, O1: this thread is the only owner, and `self` is borrowed by the result.
        self.bound().map(|limit| unsafe { OwnerLimit::assume(limit) })
    }

    /// Takes the oldest messages beyond the limit out of the private queue.
    #[inline(always)]
    pub(crate) fn drop_oldest_over_limit(&mut self, dropped: &mut Queue) {
        if let Some(limit) = self.header().bound() {
            // SAFETY: P1, O1: this thread is the only owner, and `self` is borrowed here.
            let limit = unsafe { OwnerLimit::assume(limit) };
            self.state(|state| limit.drop_oldest_over_limit(&mut state.queue, dropped));
        }
    }

    /// Runs `f` with the owner's state, as [`Owned::state`] does, and with the steps of a fetch.
    #[inline(always)]
    pub(crate) fn fetch<R>(&mut self, f: impl FnOnce(&mut OwnerState, Fetching<'_>) -> R) -> R {
        let mailbox = &self.header().mailbox;
        self.state(|state| f(state, mailbox.fetching()))
    }

    /// Ends a fetch whose batch had more than plain messages ([`Mailbox::end_fetch`]).
    ///
    /// [`Mailbox::end_fetch`]: crate::mailbox::Mailbox::end_fetch
    pub(crate) fn end_fetch(&mut self) {
        self.mailbox.of_owner().end_fetch();
    }

    /// Records how many signals wait to be received.
    pub(crate) fn record_backlog(&mut self) {
        self.mailbox.of_owner().record_backlog(self.peek(|state| state.queue.len()));
    }

    /// Closes the fast path for good ([`Mailbox::doom`]).
    ///
    /// [`Mailbox::doom`]: crate::mailbox::Mailbox::doom
    pub(crate) fn doom(&mut self) {
        self.mailbox.of_owner().doom();
    }

    /// Closes the mailbox for good and takes what is left.
    pub(crate) fn close_mailbox(&mut self) -> Batch {
        self.mailbox.of_owner().close()
    }

    /// Writes the exit reason (P3), unless the mailbox is closed: then other threads may read it. A
    /// mutant writes it all the same.
    pub(crate) fn set_exit_reason(&mut self, reason: Reason, mutations: MutationSwitch) {
        if mutant!(mutations, ReasonLast, right => !self.mailbox.is_closed(), wrong => true) {
            // SAFETY: P3: the owner writes it while nothing is closed, so no other thread reads it.
            // (In a model with the mutant, the model reports the access.)
            self.header().reason.with_mut(|place| unsafe { *place = reason });
        }
    }

    /// Frees a process that was never published. Returns the tombstone that it took from its slot.
    ///
    /// # Safety
    /// No other thread has seen the process.
    pub(crate) unsafe fn discard_unpublished(self, pool: Option<&Pool>) -> Option<Reason> {
        // SAFETY: this thread alone has the process (this function's contract).
        let tombstone = self.header().predecessor.with_mut(|predecessor| unsafe { (*predecessor).take() });
        // SAFETY: no thread can find the process (this function's contract).
        unsafe { TableRef::take(self.process) }.release(pool);
        tombstone
    }

    /// Prepares to run the body, and counts a slice.
    ///
    /// # Panics
    /// If the body has been dropped.
    #[inline(always)]
    pub(crate) fn begin_resume(&mut self) -> ProcessRef<'a> {
        self.state(|state| {
            assert!(state.fetches, "the body of a dying process does not run");
            state.resume = false;
            state.slices += 1;
        });
        self.process
    }

    /// Returns the destructor of the body, unless there is none or this was called before. From
    /// then on the body does not run.
    ///
    /// By value: the process of a lent `Owned` may be running its body.
    pub(crate) fn take_body(mut self) -> (Self, Option<BodyDestructor<'a>>) {
        let exists = self.state(|state| core::mem::replace(&mut state.fetches, false));
        let process = self.process;
        let destructor = self.vtable.drop_body.filter(|_| exists);
        (self, destructor.map(|drop_body| BodyDestructor { process, drop_body }))
    }

    /// Keeps a waker's reference of this process for its next request, or gives it back if one is
    /// kept already.
    pub(crate) fn keep_spare(&mut self, reference: WakerRef) -> Result<(), WakerRef> {
        if reference.process() != self.process || self.state(|state| core::mem::replace(&mut state.spare, true)) {
            return Err(reference);
        }
        let _kept = reference.into_raw();
        Ok(())
    }

    /// Returns the waker's reference that was kept.
    #[inline]
    pub(crate) fn take_spare(&mut self) -> Option<WakerRef> {
        let process = self.process.as_ptr();
        // SAFETY: `keep_spare` took the reference from `into_raw`; it is taken once.
        self.state(|state| core::mem::take(&mut state.spare)).then(|| unsafe { WakerRef::from_raw(process) })
    }
}

/// A dead process to which its table no longer leads. It has the table's reference.
#[derive(Debug)]
#[must_use = "its memory must be retired"]
pub struct Vacated(TableRef);

impl Vacated {
    /// Ends the ownership of a dead process.
    ///
    /// # Safety
    /// No thread that pins from now on can find the process in the table.
    pub(super) unsafe fn new(owned: Owned<'_>) -> Self {
        // SAFETY: the owner ends here, so this is done once; no thread can find the process (this
        // function's contract).
        Self(unsafe { TableRef::take(owned.process) })
    }

    /// Gives the process to reclamation.
    #[inline(always)]
    pub(crate) fn into_retired(self) -> RetiredObject {
        // SAFETY: no thread that pins from now on can reach the process (`new`'s contract), and the
        // table's reference, which frees it, goes with the pointer.
        unsafe { RetiredObject::new(self.0.into_retired()) }
    }

    /// Releases the table's reference at once.
    ///
    /// # Safety
    /// No thread uses the process under a guard.
    pub(crate) unsafe fn release(self, pool: Option<&Pool>) {
        self.0.release(pool);
    }
}

/// The right to drop a body, once ([`Owned::take_body`]).
pub(crate) struct BodyDestructor<'a> {
    process: ProcessRef<'a>,
    drop_body: unsafe fn(NonNull<Header>),
}

impl BodyDestructor<'_> {
    /// Drops the body. Its destructor is foreign.
    pub(crate) fn run(self) {
        // SAFETY: `take_body` gives out one destructor of a body, and then no slice runs the body.
        unsafe { (self.drop_body)(self.process.as_ptr()) };
    }
}

impl Deref for Owned<'_> {
    type Target = Header;

    #[inline(always)]
    fn deref(&self) -> &Header {
        self.header()
    }
}

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
    /// slice ([`Owned::keep_spare`]).
    spare: bool,
    /// `true` until its death begins: its body exists, and it fetches signals.
    pub(super) fetches: bool,
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
    /// The era of the queue's numbers (`mailbox::queue`, C4).
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
    pub links: RecordSet<EndRef>,
    /// Its monitors of other processes.
    pub monitors: RecordSet<WatcherSide>,
    /// Timers that it started.
    pub timers: RecordSet<StarterShare>,
    /// Its aliases that are in force.
    pub aliases: RecordSet<PoolBox<AliasRecord>>,
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
    /// Returns `true` until the process's death begins.
    pub fn fetches(&self) -> bool {
        self.fetches
    }

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

    /// Releases requests that another process has answered by now.
    #[inline(always)]
    pub(crate) fn settle_requests(&mut self, pool: Option<&Pool>) {
        if !self.open.is_empty() {
            self.open.settle(pool);
        }
    }

    /// Ends an alias. Returns `true` if it was in force.
    pub fn end_alias(&mut self, reference: Reference) -> bool {
        let Some(alias) = self.aliases.find(reference.to_raw()) else { return false };
        drop(alias.remove());
        true
    }

    /// Ends the alias of a monitor that is over, if its mode says that it ends with the monitor.
    pub fn end_alias_with_monitor(&mut self, reference: Reference) {
        if let Some(alias) = self.aliases.find(reference.to_raw())
            && alias.mode.ends_with_monitor()
        {
            drop(alias.remove());
        }
    }
}
