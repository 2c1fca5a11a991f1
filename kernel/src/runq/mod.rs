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

use crate::runq::newborn_deque::{NewbornDeque, Steal};
use inbox::Inbox;
use node::{RunList, RunNode};
use quantum::Quantum;
use ring::Ring;

use crate::sync::{AtomicPtr, Ordering};

/// The number of priorities: high, normal, low.
pub(crate) const PRIORITIES: usize = 3;
/// The index of normal priority.
const NORMAL: usize = 1;

/// The part of a core's queues that all cores can see.
#[derive(Debug)]
pub struct Shared {
    next: AtomicPtr<RunNode>,
    brood: NewbornDeque,
    rings: [Ring; PRIORITIES],
    overflow: [AtomicPtr<RunNode>; PRIORITIES],
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
            brood: NewbornDeque::new(),
            rings: core::array::from_fn(|_| Ring::new()),
            overflow: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            inbox: Inbox::new(),
            pinned: Inbox::new(),
        }
    }

    /// Returns `true` if a process is queued that any core could run.
    pub fn has_stealable(&self) -> bool {
        !self.inbox.is_empty()
            || !self.brood.is_empty()
            || self.rings.iter().any(|ring| !ring.is_empty())
            || self.overflow.iter().any(|chain| !chain.load(Ordering::Relaxed).is_null())
    }

    /// Takes one stealable process, for a core whose own `Local` a rescuer has taken over
    /// (`kernel::custody`). Lock-free.
    pub fn pop_public(&self) -> Option<NonNull<RunNode>> {
        let mut first = None;
        let mut keep = |node| match first {
            None => first = Some(node),
            // SAFETY: R1, `ring.steal` or `inbox.take` gave us the node.
            Some(_) => unsafe { self.inbox.push(node) },
        };
        for ring in &self.rings {
            if ring.steal(&mut keep) > 0 {
                return first;
            }
        }
        if let Steal::One(node) = self.brood.steal() {
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

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

/// The step that gives an overflow one owner at a time. A model can omit it and see the failure.
pub trait Steps: Default + 'static {
    /// The owner takes the chain by one exchange, not by a load and a store, between which a thief
    /// may take it too.
    const SWAPS: bool = true;
}

/// The step as shipped.
#[derive(Debug, Default)]
pub struct Shipped;
impl Steps for Shipped {}

/// The owner's part of the queues. Only the owner calls its methods, with the `Shared` of the same
/// core.
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

    /// Returns the reduction budget of the process that was taken last (F2), and `true` if it comes
    /// from the queues.
    #[inline]
    pub fn budget(&self) -> (u32, bool) {
        self.quantum.budget()
    }

    /// Charges `reductions` for time that was worth more than the reductions spent in it
    /// (`kernel::pace`, Z1).
    pub fn charge(&mut self, reductions: u32) {
        self.quantum.charge(reductions);
    }

    /// Returns `true` if this core has a process to run.
    pub fn has_work(&self, shared: &Shared) -> bool {
        self.pinned_len > 0 || shared.has_local() || self.overflow.iter().any(|chain| !chain.is_empty())
    }
}
