//! Run queues: which process a core runs next.
//!
//! Each core has one [`Shared`], which other cores may read and steal from:
//! - `next`, the LIFO slot: the process that the core has just woken. It runs next, while the data
//!   that it will read is in the cache;
//! - the `newborn_deque`, a deque of newborn processes of normal priority: the owner runs the
//!   youngest first, thieves steal the oldest;
//! - a `ring` for each priority, from which thieves steal half;
//! - an `overflow` for each priority, published where a thief can take it as a whole;
//! - an `inbox` for processes that other threads woke, which thieves may also take as a whole;
//! - `pinned`, an inbox for processes that may run on this core only;
//!
//! and one [`Local`], which only the core uses: the overflow that is not published yet, the pinned
//! processes, and the counters that keep scheduling fair.
//!
//! - **F1, no priority starves.** While more than one priority is queued, every 8th pick tries
//!   normal before high, and every 64th tries low first. Where pinned processes are queued, pinned
//!   and other processes alternate.
//! - **F2, no pair starves other processes.** Popping a process from the queues starts a budget of
//!   two slices: one for that process, and one shared by everything then picked from `next` or the
//!   newborn deque. When the budget is used up (or what is left is not worth a switch), the queues
//!   are served first. Leftover newborns go behind them, oldest first, so no newborn waits for ever
//!   behind younger ones. A group of processes that only wake or spawn one another thus gets at
//!   most twice the share of a process outside the group. A ping-pong pair is limited to a few
//!   turns when the processes that wait use equally short slices (`quantum`). A slice is a fixed
//!   number of reductions, or the time that they are worth.
//! - **F3, no inbox waits for long.** Every 32nd pick drains the inbox, idle or not. So does a core
//!   that has not checked its timers for the time of a slice (`kernel::pace`, Z3).
//!
//! An overflow is a chain in one pointer. The owner swaps the chain out, works on it and stores it
//! back; a thief only swaps it out. So only the owner makes the pointer non-null, and a plain store
//! is enough. A slice's additions are published when the slice ends and after every `RING`
//! additions, so all cores see a million wake-ups of one slice.
//!
//! F4, first come, first served: while an overflow exists the ring is not filled. New processes go
//! behind the overflow, and the empty ring is refilled from it. F5: a thief publishes a stolen
//! overflow before it runs any of it, because its first process may run for long.
//!
//! F6: processes of normal priority that timers wake in one go run on their core in the order of
//! these timers. The LIFO slot is for what a running process wakes. Where several timers fire
//! together, the last process would overtake all the others from there, so it goes behind them
//! ([`Queues::demote_next`]).

pub mod idle;
pub mod inbox;
pub mod newborn_deque;
pub mod node;
pub(crate) mod pop;
pub(crate) mod push;
pub(crate) mod quantum;
pub mod ring;
pub(crate) mod steal;

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::runq::newborn_deque::{DequeOwner, NewbornDeque, Steal};
use crate::shipped::Shipped;
use inbox::Inbox;
use node::{HeldRunNode, PublishedList, RunList, RunNode};
use quantum::Quantum;
use ring::{Ring, RingOwner};

use crate::sync::{AtomicPtr, Ordering};

/// The number of priorities: high, normal, low.
pub(crate) const PRIORITIES: usize = 3;
/// The index of normal priority.
const NORMAL: usize = 1;

/// The part of a core's queues that all cores can see.
#[derive(Debug)]
pub struct Shared {
    next: AtomicPtr<RunNode>,
    newborns: NewbornDeque,
    rings: [Ring; PRIORITIES],
    overflow: [PublishedList; PRIORITIES],
    /// Processes woken from elsewhere.
    pub inbox: Inbox,
    /// Processes that may run on this core only, woken from elsewhere.
    pub pinned: Inbox,
}

impl Shared {
    /// Creates empty queues.
    pub fn new() -> Self {
        Self {
            next: AtomicPtr::new(ptr::null_mut()),
            newborns: NewbornDeque::new(),
            rings: core::array::from_fn(|_| Ring::new()),
            overflow: core::array::from_fn(|_| PublishedList::new()),
            inbox: Inbox::new(),
            pinned: Inbox::new(),
        }
    }

    /// Returns `true` if a process is queued that any core could run.
    pub fn has_stealable(&self) -> bool {
        !self.inbox.is_empty()
            || !self.newborns.is_empty()
            || self.rings.iter().any(|ring| !ring.is_empty())
            || self.overflow.iter().any(|chain| !chain.is_empty())
    }

    /// Returns the number of processes in each queue whose length other threads can see. Only a
    /// hint; wait-free.
    pub fn lengths(&self) -> QueueLengths {
        QueueLengths {
            next: usize::from(!self.next.load(Ordering::Relaxed).is_null()),
            newborns: self.newborns.len(),
            ready: core::array::from_fn(|priority| self.rings[priority].len() + self.overflow[priority].len()),
        }
    }

    /// Takes one stealable process, for a core whose own `Local` a rescuer has taken over
    /// (`kernel::custody`). Lock-free.
    pub fn pop_public(&self) -> Option<HeldRunNode> {
        let mut first = None;
        let mut keep = |node| match first {
            None => first = Some(node),
            Some(_) => self.inbox.push(node),
        };
        for ring in &self.rings {
            if ring.steal(&mut keep) > 0 {
                return first;
            }
        }
        if let Steal::One(node) = self.newborns.steal() {
            return Some(node);
        }
        let mut chain = self.inbox.take();
        while let Some(node) = chain.pop() {
            keep(node);
        }
        first
    }

    /// Returns `true` if a process is queued that this core could run.
    pub fn has_local(&self) -> bool {
        self.has_stealable() || !self.pinned.is_empty() || !self.next.load(Ordering::Relaxed).is_null()
    }
}

/// The lengths of a core's queues, for dumps. An inbox is missing: only the thread that takes it
/// can count it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct QueueLengths {
    /// Number of processes in the LIFO slot: 0 or 1.
    pub next: usize,
    /// Number of newborn processes of normal priority.
    pub newborns: usize,
    /// Number of other processes, by priority: high, normal, low. Those that the running slice has
    /// queued count once the slice has published them.
    pub ready: [usize; PRIORITIES],
}

impl QueueLengths {
    /// Returns the number of processes in all queues.
    pub fn total(&self) -> usize {
        self.next + self.newborns + self.ready.iter().sum::<usize>()
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

/// The step that gives an overflow one owner at a time. A model can omit it and see the failure.
pub trait Steps: Default + 'static {
    /// The owner takes the chain by one exchange, not by a load and a store, between which a thief
    /// may take it too. (`false` is for models only: then a chain may have two takers.)
    const SWAPS: bool = true;
}

impl Steps for Shipped {}

/// The queues of a core in the hands of the core that may use them: its owner, or a rescuer that
/// has taken its private half (`kernel::custody`). It stays on that core's thread.
#[derive(Debug)]
pub struct Queues<'q, S: Steps = Shipped> {
    local: &'q mut Local<S>,
    shared: OwnShared<'q>,
}

/// The shared part of a core's queues, with the right to do what only one thread at a time may do.
#[derive(Clone, Copy, Debug)]
struct OwnShared<'q>(&'q Shared, PhantomData<*mut ()>);

impl<'q> OwnShared<'q> {
    #[inline(always)]
    fn ring(self, priority: usize) -> RingOwner<'q> {
        // SAFETY: one thread at a time has this right, the core that has the queues (`Queues::of`).
        unsafe { self.0.rings[priority].owner() }
    }

    #[inline(always)]
    fn newborns(self) -> DequeOwner<'q> {
        // SAFETY: one thread at a time has this right, the core that has the queues (`Queues::of`).
        unsafe { self.0.newborns.owner() }
    }

    /// Takes the node out of the LIFO slot, if there is one. Returns `None` if there is one and
    /// `may` returns `false`: then it stays there.
    #[inline(always)]
    fn take_next_if(self, may: impl FnOnce() -> bool) -> Option<Option<HeldRunNode>> {
        // Relaxed: only this core dereferences the pointer.
        let Some(node) = NonNull::new(self.0.next.load(Ordering::Relaxed)) else { return Some(None) };
        if !may() {
            return None;
        }
        self.0.next.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: R1, the slot had the node, and only the core that has the queues takes it out.
        Some(Some(unsafe { HeldRunNode::new(node) }))
    }

    /// Takes the node out of the LIFO slot, and stores `then` there, if there is one.
    #[inline(always)]
    fn take_next_for(self, then: *mut RunNode) -> Option<HeldRunNode> {
        // Relaxed: only this core dereferences the pointer.
        let node = NonNull::new(self.0.next.load(Ordering::Relaxed))?;
        self.0.next.store(then, Ordering::Relaxed);
        // SAFETY: R1, the slot had the node, and only the core that has the queues takes it out.
        Some(unsafe { HeldRunNode::new(node) })
    }

    /// Takes the node out of the LIFO slot.
    #[inline(always)]
    fn take_next(self) -> Option<HeldRunNode> {
        self.take_next_for(ptr::null_mut())
    }

    /// Puts a node into the LIFO slot. Returns the node that it displaces.
    #[inline(always)]
    fn put_next(self, node: HeldRunNode) -> Option<HeldRunNode> {
        let node = node.into_raw().as_ptr();
        let displaced = self.take_next_for(node);
        if displaced.is_none() {
            // Relaxed: only this core dereferences the pointer.
            self.0.next.store(node, Ordering::Relaxed);
        }
        displaced
    }
}

/// The owner's part of the queues, which is used through [`Queues`].
#[derive(Debug, Default)]
pub struct Local<S: Steps = Shipped> {
    steps: PhantomData<S>,
    overflow: [RunList; PRIORITIES],
    pinned: [RunList; PRIORITIES],
    pinned_len: usize,
    /// For each priority, `true` if the last pick was a pinned process: the two kinds alternate.
    pinned_turn: [bool; PRIORITIES],
    tick: u32,
    /// `true` if processes of high or low priority may be queued.
    mixed: bool,
    /// The number of picks from the queues while `mixed` is set; picks from `next` do not count.
    picks: u32,
    /// The budget of processes that do not come from the queues (F2).
    quantum: Quantum,
    /// `true` if the process in `next` is newborn and has not run yet.
    next_is_newborn: bool,
    /// `true` if the process from `next` went behind other processes, some of them pinned: another
    /// core may now run it.
    became_stealable: bool,
    /// `true` if some overflow is not published yet.
    unpublished: bool,
    /// `true` if the kernel has no other core.
    alone: bool,
}

/// The visibility of a queued process: could other cores run it?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "visible work may need a core to be woken"]
pub enum Queued {
    /// The process is in `next` and runs here.
    Local,
    /// Other cores may take the process.
    Stealable,
}

impl<S: Steps> Local<S> {
    /// Creates empty queues for one of `cores` cores.
    pub fn of(cores: usize) -> Self {
        Self { alone: cores == 1, ..Self::default() }
    }
}

impl<'q, S: Steps> Queues<'q, S> {
    /// Creates the queues of a core from their two parts.
    ///
    /// # Safety
    /// The two parts are used with each other only, and the caller's core has them both (it is
    /// their owner, or has taken them over) for as long as the result lives. If `local` was made
    /// for a kernel with one core, no other thread steals from `shared`.
    #[inline(always)]
    pub const unsafe fn of(local: &'q mut Local<S>, shared: &'q Shared) -> Self {
        Self { local, shared: OwnShared(shared, PhantomData) }
    }

    /// Queues a node behind those already queued. Wait-free.
    #[inline(always)]
    pub fn push(&mut self, node: HeldRunNode) {
        self.local.push(self.shared, node);
    }

    /// Queues a process that this core has just woken, or started (`newborn`), in the LIFO slot: it
    /// runs next. Wait-free.
    #[inline(always)]
    pub fn push_next(&mut self, node: HeldRunNode, newborn: bool) -> Queued {
        self.local.push_next(self.shared, node, newborn)
    }

    /// Moves the process in the LIFO slot behind those already queued: processes that were woken
    /// one after the other by timers run in the order of their timers (F6). Wait-free.
    pub fn demote_next(&mut self) {
        self.local.demote_next(self.shared);
    }

    /// Queues a process that may run on this core only.
    #[inline(always)]
    pub fn push_pinned(&mut self, node: HeldRunNode) {
        self.local.push_pinned(node);
    }

    /// Ends a slice that has `left` of its budget, and makes all stealable processes that it queued
    /// visible.
    #[inline(always)]
    pub fn end_slice(&mut self, left: u32) {
        self.local.end_slice(self.shared, left);
    }

    /// Takes the next process to run. Lock-free.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<HeldRunNode> {
        self.local.pop(self.shared)
    }

    /// Does the first part of [`Queues::pop`] at the end of a slice: returns the next process that
    /// continues the current budget, and what is left of it. Returns `None`, and does nothing,
    /// where the full [`Queues::pop`] must decide. Wait-free.
    #[inline(always)]
    pub fn pop_continuing(&mut self) -> Option<(HeldRunNode, u32)> {
        self.local.pop_continuing(self.shared)
    }

    /// Returns `true` if a process that was hidden in `next` has become stealable since the last
    /// call.
    #[inline(always)]
    pub fn publish_seen(&mut self) -> bool {
        self.local.publish_seen()
    }

    /// Moves processes that other threads woke into the queues.
    #[inline(always)]
    pub fn drain(&mut self) {
        self.local.drain(self.shared);
    }

    /// Takes work from another core: half of a ring, else half of its newborns, else its inbox,
    /// else an overflow. Returns one process to run and queues the rest here. Lock-free.
    #[inline(always)]
    pub fn steal(&mut self, victim: &Shared) -> Option<HeldRunNode> {
        self.local.steal(self.shared, victim)
    }

    /// Takes everything that another core has queued, behind what this core has. Returns a lower
    /// bound of the number of processes taken. Lock-free.
    #[inline(always)]
    pub fn take_over(&mut self, victim: &Shared) -> usize {
        self.local.take_over(self.shared, victim)
    }

    /// Moves hidden processes to where other cores can take them.
    #[inline(always)]
    pub fn hand_over(&mut self) {
        self.local.hand_over(self.shared);
    }

    /// Returns the reduction budget of the process that was taken last (F2), and `true` if it comes
    /// from the queues.
    #[inline]
    pub fn budget(&self) -> (u32, bool) {
        self.local.quantum.budget()
    }

    /// Charges `reductions` for time that was worth more than the reductions spent in it
    /// (`kernel::pace`, Z1).
    pub fn charge(&mut self, reductions: u32) {
        self.local.quantum.charge(reductions);
    }

    /// Returns `true` if this core has a process to run.
    pub fn has_work(&self) -> bool {
        self.local.pinned_len > 0
            || self.shared.0.has_local()
            || self.local.overflow.iter().any(|chain| !chain.is_empty())
    }
}
