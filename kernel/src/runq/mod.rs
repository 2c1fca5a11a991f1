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
//!   talk in turn no more than a few turns if those that wait want no more either (`quantum`).
//! - **F3, no inbox waits for ever.** Every 32nd pick drains it, idle or not.
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
mod quantum;
pub mod ring;

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use brood::{Brood, Stolen};
use inbox::Inbox;
use node::{Chain, RunNode};
use quantum::Quantum;
use ring::Ring;

use crate::config::RING;
use crate::sync::{AtomicPtr, Ordering};

/// High, normal, low.
pub(crate) const PRIORITIES: usize = 3;
/// The middle one.
const NORMAL: usize = 1;

/// A core's queues, as all cores see them.
#[derive(Debug)]
pub struct Shared {
    next: AtomicPtr<RunNode>,
    brood: Brood,
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
            brood: Brood::new(),
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
pub struct Real;
impl Steps for Real {}

/// The owner's half; every method is the owner's, with the `Shared` of the same core.
#[derive(Debug, Default)]
pub struct Local<S: Steps = Real> {
    steps: PhantomData<S>,
    overflow: [Chain; PRIORITIES],
    pinned: [Chain; PRIORITIES],
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
    Hidden,
    /// Others may take it.
    Visible,
}

impl<S: Steps> Local<S> {
    /// Of one of so many cores, nothing queued.
    pub fn of(cores: usize) -> Self {
        Self { alone: cores == 1, ..Self::default() }
    }

    /// Queues a node behind the others. Wait-free.
    ///
    /// # Safety
    /// The caller is this core and has the node (R1).
    pub unsafe fn push(&mut self, shared: &Shared, node: NonNull<RunNode>) {
        // SAFETY: the caller's.
        let priority = unsafe { node.as_ref() }.priority();
        self.mixed |= priority != NORMAL;
        let overflow = &mut self.overflow[priority];
        // Behind what overflowed before, checked in or not (F4). Relaxed: only the owner makes it non-null.
        let first = overflow.is_empty() && shared.overflow[priority].load(Ordering::Relaxed).is_null();
        // SAFETY: the caller is the owner, and has the node.
        if first && unsafe { shared.rings[priority].push(node) } {
            return;
        }
        // SAFETY: the caller's.
        unsafe { overflow.push(node) };
        self.unpublished = true;
        if overflow.len() >= RING {
            self.check_in(shared, priority);
        }
    }

    /// Queues a process that this core has just woken, or started (`newborn`): it runs next. Wait-free.
    ///
    /// # Safety
    /// As for [`Local::push`].
    pub unsafe fn push_next(&mut self, shared: &Shared, node: NonNull<RunNode>, newborn: bool) -> Queued {
        // SAFETY: the caller's.
        if unsafe { node.as_ref() }.priority() != NORMAL {
            // SAFETY: by contract.
            unsafe { self.push(shared, node) };
            return Queued::Visible;
        }
        // Relaxed: only this core looks behind the pointer.
        let displaced = shared.next.load(Ordering::Relaxed);
        shared.next.store(node.as_ptr(), Ordering::Relaxed);
        let was_newborn = core::mem::replace(&mut self.next_is_newborn, newborn);
        match NonNull::new(displaced) {
            None => Queued::Hidden,
            Some(displaced) => {
                // SAFETY: it was in `next`, so it is the queue's to move.
                if !was_newborn || !unsafe { shared.brood.push(displaced) } {
                    // SAFETY: likewise.
                    unsafe { self.push(shared, displaced) };
                }
                Queued::Visible
            }
        }
    }

    /// Queues a process that may run here only.
    ///
    /// # Safety
    /// As for [`Local::push`].
    pub unsafe fn push_pinned(&mut self, node: NonNull<RunNode>) {
        // SAFETY: the caller's.
        let priority = unsafe { node.as_ref() }.priority();
        // SAFETY: the caller's.
        unsafe { self.pinned[priority].push(node) };
        self.pinned_len += 1;
        self.mixed |= priority != NORMAL;
    }

    /// The owner's own overflow, or what a thief has left of it.
    fn take_out(place: &AtomicPtr<RunNode>) -> Chain {
        let head = if S::SWAPS {
            // Acquire: pairs with our own Release; a thief stores only null.
            place.swap(ptr::null_mut(), Ordering::Acquire)
        } else {
            let head = place.load(Ordering::Acquire);
            place.store(ptr::null_mut(), Ordering::Relaxed);
            head
        };
        // SAFETY: checked in by `into_raw`, taken once by the swap.
        unsafe { Chain::from_raw(head) }
    }

    fn check_in(&mut self, shared: &Shared, priority: usize) {
        let place = &shared.overflow[priority];
        let mut chain = Self::take_out(place);
        chain.append(core::mem::take(&mut self.overflow[priority]));
        // Release: pairs with the Acquire of the thief's swap: the chain is whole.
        place.store(chain.into_raw(), Ordering::Release);
    }

    /// A slice is over that has so much of its budget left: everything that it has queued and that can be stolen is visible.
    #[inline]
    pub fn end_slice(&mut self, shared: &Shared, left: u32) {
        self.quantum.end_slice(left);
        if self.unpublished {
            self.publish(shared);
        }
    }

    /// Makes everything that can be stolen visible.
    #[cold]
    fn publish(&mut self, shared: &Shared) {
        self.unpublished = false;
        for priority in 0..PRIORITIES {
            if !self.overflow[priority].is_empty() {
                self.check_in(shared, priority);
            }
        }
    }

    #[inline(never)]
    fn refill(&mut self, shared: &Shared, priority: usize) -> Option<NonNull<RunNode>> {
        let place = &shared.overflow[priority];
        let mut chain = Chain::new();
        if !place.load(Ordering::Relaxed).is_null() {
            chain = Self::take_out(place);
        }
        chain.append(core::mem::take(&mut self.overflow[priority]));
        let first = chain.pop()?;
        for _ in 0..RING / 2 {
            let Some(node) = chain.pop() else { break };
            // SAFETY: the caller is the owner, and the node came from its chain.
            if !unsafe { shared.rings[priority].push(node) } {
                let mut back = Chain::new();
                // SAFETY: ours.
                unsafe { back.push(node) };
                back.append(chain);
                chain = back;
                break;
            }
        }
        self.overflow[priority] = chain;
        self.publish(shared);
        Some(first)
    }

    fn pop_at(&mut self, shared: &Shared, priority: usize) -> Option<NonNull<RunNode>> {
        if self.pinned_len > 0 && !self.pinned[priority].is_empty() {
            let turn = &mut self.pinned_turn[priority];
            *turn = !*turn;
            if *turn {
                return self.pop_pinned(priority);
            }
        }
        let ring = &shared.rings[priority];
        // SAFETY: the caller is the owner, and where it is alone nobody steals.
        let first = if self.alone { unsafe { ring.pop_alone() } } else { unsafe { ring.pop() } };
        if first.is_some() {
            return first;
        }
        // Relaxed: only the owner makes it non-null.
        if self.overflow[priority].is_empty() && shared.overflow[priority].load(Ordering::Relaxed).is_null() {
            return if self.pinned_len == 0 { None } else { self.pop_pinned(priority) };
        }
        self.refill(shared, priority).or_else(|| self.pop_pinned(priority))
    }

    fn pop_pinned(&mut self, priority: usize) -> Option<NonNull<RunNode>> {
        let node = self.pinned[priority].pop()?;
        self.pinned_len -= 1;
        Some(node)
    }

    /// Takes what comes from elsewhere into the queues.
    pub fn drain(&mut self, shared: &Shared) {
        let mut chain = shared.inbox.take();
        while let Some(node) = chain.pop() {
            // SAFETY: taken from the inbox by its core.
            unsafe { self.push(shared, node) };
        }
        let mut chain = shared.pinned.take();
        while let Some(node) = chain.pop() {
            // SAFETY: likewise.
            unsafe { self.push_pinned(node) };
        }
    }

    /// What to run next. Lock-free.
    #[inline]
    pub fn pop(&mut self, shared: &Shared) -> Option<NonNull<RunNode>> {
        self.tick = self.tick.wrapping_add(1);
        if self.tick.is_multiple_of(32) {
            self.drain(shared);
        }
        let next = NonNull::new(shared.next.load(Ordering::Relaxed));
        if next.is_some() {
            shared.next.store(ptr::null_mut(), Ordering::Relaxed);
            if self.quantum.lasts() && self.takes_turn(shared) {
                self.quantum.go_on();
                return next;
            }
        }
        self.pop_behind(shared, next)
    }

    /// The same, when it is not the turn of who was in `next`.
    fn pop_behind(&mut self, shared: &Shared, next: Option<NonNull<RunNode>>) -> Option<NonNull<RunNode>> {
        let lasts = self.quantum.lasts();
        if !lasts {
            self.grow_up(shared);
        }
        if let Some(node) = next {
            // SAFETY: it was in `next`.
            unsafe { self.push(shared, node) };
            self.went_behind = self.pinned_len > 0;
        }
        // SAFETY: the caller is the owner.
        if lasts && let Some(node) = unsafe { shared.brood.pop() } {
            self.quantum.go_on();
            return Some(node);
        }
        self.quantum.begin();
        self.pop_queued(shared).or_else(|| {
            self.drain(shared);
            self.pop_queued(shared)
        })
    }

    /// Whether one was hidden from the others so far and is not any more.
    #[inline]
    pub fn has_shown(&mut self) -> bool {
        core::mem::take(&mut self.went_behind)
    }

    #[inline]
    fn takes_turn(&mut self, shared: &Shared) -> bool {
        if self.quantum.is_in_turns() {
            return true;
        }
        // Only who would come first: those of low priority have their time (F1), and so has what lies in an inbox (F3).
        // Newborn come before whoever is queued, and for a whole quantum.
        let waits = !self.next_is_newborn
            && shared.brood.is_empty()
            && (0..PRIORITIES - 1).any(|priority| self.waits(shared, priority));
        self.quantum.begins_turns(waits)
    }

    /// Whoever is left of the brood goes behind the others (F2).
    fn grow_up(&mut self, shared: &Shared) {
        loop {
            match shared.brood.steal() {
                // SAFETY: taken, so ours.
                Stolen::One(node) => unsafe { self.push(shared, node) },
                // It was another's gain, and only we add: at most as often as there are members.
                Stolen::Lost => {}
                Stolen::Empty => return,
            }
        }
    }

    /// The reductions that the process gets that was taken last (F2).
    pub fn budget(&self) -> u32 {
        self.quantum.budget()
    }

    #[inline]
    fn pop_queued(&mut self, shared: &Shared) -> Option<NonNull<RunNode>> {
        if self.mixed { self.pop_mixed(shared) } else { self.pop_at(shared, NORMAL) }
    }

    /// [`Local::pop_queued`], where there may be some of high or low priority.
    #[inline(never)]
    fn pop_mixed(&mut self, shared: &Shared) -> Option<NonNull<RunNode>> {
        self.picks = self.picks.wrapping_add(1);
        let order: [usize; PRIORITIES] = match self.picks {
            picks if picks.is_multiple_of(64) => [2, 0, 1],
            picks if picks.is_multiple_of(8) => [1, 0, 2],
            _ => [0, 1, 2],
        };
        let found = order.into_iter().find_map(|priority| self.pop_at(shared, priority));
        self.mixed = (0..PRIORITIES).any(|priority| priority != NORMAL && self.waits(shared, priority));
        found
    }

    /// Whether somebody of this priority is queued.
    fn waits(&self, shared: &Shared, priority: usize) -> bool {
        // Relaxed: only the owner makes it non-null.
        !shared.rings[priority].is_empty()
            || !self.overflow[priority].is_empty()
            || !shared.overflow[priority].load(Ordering::Relaxed).is_null()
            || !self.pinned[priority].is_empty()
    }

    /// Takes work from another core: half a ring, else half its brood, else its inbox, else its overflow.
    /// Returns one process to run and queues the others here. Lock-free.
    pub fn steal(&mut self, shared: &Shared, victim: &Shared) -> Option<NonNull<RunNode>> {
        self.quantum.begin();
        for priority in 0..PRIORITIES {
            let mut first = None;
            victim.rings[priority].steal(|node| match first {
                None => first = Some(node),
                // SAFETY: stolen, so ours.
                Some(_) => unsafe { self.push(shared, node) },
            });
            if first.is_some() {
                return first;
            }
        }
        let half = victim.brood.len().div_ceil(2);
        let mut first = None;
        for _ in 0..half {
            match (victim.brood.steal(), first) {
                (Stolen::One(node), None) => first = Some(node),
                // SAFETY: stolen, so ours.
                (Stolen::One(node), Some(_)) => unsafe { self.push(shared, node) },
                (Stolen::Lost, _) => {}
                (Stolen::Empty, _) => break,
            }
        }
        if first.is_some() {
            return first;
        }
        let mut chain = victim.inbox.take();
        if let Some(first) = chain.pop() {
            while let Some(node) = chain.pop() {
                // SAFETY: taken, so ours.
                unsafe { self.push(shared, node) };
            }
            return Some(first);
        }
        for priority in 0..PRIORITIES {
            let place = &victim.overflow[priority];
            if place.load(Ordering::Relaxed).is_null() {
                continue;
            }
            // Acquire: pairs with the Release of `check_in`.
            // SAFETY: checked in by `into_raw`, taken once by the swap.
            let mut chain = unsafe { Chain::from_raw(place.swap(ptr::null_mut(), Ordering::Acquire)) };
            if let Some(first) = chain.pop() {
                self.overflow[priority].append(chain);
                self.mixed |= priority != NORMAL;
                // Before another searcher is woken for it (F5).
                self.check_in(shared, priority);
                return Some(first);
            }
        }
        None
    }

    /// Whether this core has something to run.
    pub fn has_work(&self, shared: &Shared) -> bool {
        self.pinned_len > 0 || shared.has_own() || self.overflow.iter().any(|chain| !chain.is_empty())
    }
}
