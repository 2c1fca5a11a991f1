//! Run queues: what a core runs next.
//!
//! Each core has, in [`Shared`], which others may look into:
//! - `next`, the process it has just woken: it runs next, while what it is to read is in the cache;
//! - the `brood`, its newborn of normal priority: the youngest runs first, others steal the oldest;
//! - a `ring` for each priority, from which others steal half;
//! - an `overflow` for each priority, checked in where others can take it whole;
//! - an `inbox` for processes woken from elsewhere, which others may take whole as well;
//! - `pinned`, an inbox for those that may run on this core only;
//!
//! and, in [`Local`], its own: what has not been checked in, the pinned, and the counts that
//! keep things fair.
//!
//! - **F1, no priority starves.** Of the picks from queues of more than one priority every 8th looks at normal before high, every 64th at low
//!   first. Where there are pinned ones, they and the others take turns.
//! - **F2, no pair starves the rest.** A process from the queues brings two slices: one of its own, and one for all those
//!   that are picked from `next` and the brood after it. When both are used up, but for a rest not worth a switch, the queues
//!   come first, and whoever is left of the brood goes behind them, the oldest first: no newborn waits for younger ones for
//!   ever. So many as talk in turn, or are born one of the other, get at most twice what one gets that does not; and those that
//!   talk in turn no more than a few turns if those that wait want no more either (`quantum`). A slice is so many reductions, or
//!   the time that they are worth.
//! - **F3, no inbox waits for long.** Every 32nd pick drains it, idle or not, and so does a core that has not looked at its timers for a
//!   slice's time (`sched::pace`, Z3).
//!
//! An overflow is a chain in one pointer. The owner takes it out by a swap to work on it and
//! stores it back; a thief only swaps it out. So only the owner makes it non-null, and a
//! plain store is enough. What a slice adds is checked in when it ends, and every `RING`
//! additions, so a million wake-ups in one slice are seen by all cores. While there is any overflow the ring is not
//! filled up: what comes goes behind it, and the ring runs empty and is refilled from it (F4, first come, first served).
//! What a thief takes it checks in before it runs any of it (F5): its first process may run for long.

pub mod brood;
pub mod idle;
pub mod inbox;
pub mod node;
mod pick;
mod push;
mod quantum;
pub mod ring;
mod steal;

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use brood::{NewbornDeque, Steal};
use inbox::Inbox;
use node::{RunList, RunNode};
use quantum::Quantum;
use ring::Ring;

use crate::sync::{AtomicPtr, Ordering};

/// High, normal, low.
pub(crate) const PRIORITIES: usize = 3;
/// The middle one.
const NORMAL: usize = 1;

/// A core's queues, as all cores see them.
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
    /// Empty queues.
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

    /// Whether there is something that any core could run.
    pub fn has_stealable(&self) -> bool {
        !self.inbox.is_empty()
            || !self.brood.is_empty()
            || self.rings.iter().any(|ring| !ring.is_empty())
            || self.overflow.iter().any(|chain| !chain.load(Ordering::Relaxed).is_null())
    }

    /// Takes one that all may take, for a core whose own half is in a rescuer's hands (`sched::custody`). Lock-free.
    pub fn pop_public(&self) -> Option<NonNull<RunNode>> {
        let mut first = None;
        let mut keep = |node| match first {
            None => first = Some(node),
            // SAFETY: taken, so ours.
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

    /// Whether there is something for its own core.
    pub fn has_own(&self) -> bool {
        self.has_stealable() || !self.pinned.is_empty() || !self.next.load(Ordering::Relaxed).is_null()
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

/// The step by which an overflow has one owner at a time, a parameter so that a model can leave it out and see it fail.
pub trait Steps: Default + 'static {
    /// The owner takes it out by one exchange, and not by a look and a store, between which a thief may take it as well.
    const SWAPS: bool = true;
}

/// The step as it must be.
#[derive(Debug, Default)]
pub struct Shipped;
impl Steps for Shipped {}

/// The owner's half; every method is the owner's, with the `Shared` of the same core.
#[derive(Debug, Default)]
pub struct Local<S: Steps = Shipped> {
    steps: PhantomData<S>,
    overflow: [RunList; PRIORITIES],
    pinned: [RunList; PRIORITIES],
    pinned_len: usize,
    /// Whose turn it is, at each priority.
    pinned_turn: [bool; PRIORITIES],
    tick: u32,
    /// Some of high or low priority may be queued.
    mixed: bool,
    /// Picks from the queues where they are: what `next` gets does not count.
    picks: u32,
    /// How long others than those from the queues may go on (F2).
    quantum: Quantum,
    /// `next` has not run yet.
    next_is_newborn: bool,
    /// Who was in `next` went behind others, of whom some are pinned: it may run elsewhere now.
    went_behind: bool,
    /// There is something to check in.
    unpublished: bool,
    /// There is no other core.
    alone: bool,
}

/// Whether others could help with what was queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "visible work may need a core to be woken"]
pub enum Queued {
    /// It runs next, here.
    Local,
    /// Others may take it.
    Stealable,
}

impl<S: Steps> Local<S> {
    /// Of one of so many cores, nothing queued.
    pub fn of(cores: usize) -> Self {
        Self { alone: cores == 1, ..Self::default() }
    }

    /// The reductions that the process gets that was taken last (F2), and whether it comes from the queues.
    #[inline]
    pub fn budget(&self) -> (u32, bool) {
        self.quantum.budget()
    }

    /// Time was taken that so many reductions are worth more than those that were spent in it (`sched::pace`, Z1).
    pub fn charge(&mut self, reductions: u32) {
        self.quantum.charge(reductions);
    }

    /// Whether this core has something to run.
    pub fn has_work(&self, shared: &Shared) -> bool {
        self.pinned_len > 0 || shared.has_own() || self.overflow.iter().any(|chain| !chain.is_empty())
    }
}
