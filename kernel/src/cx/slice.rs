//! [`Slice`], one process in the hands of one core, for one turn; and what is at work in it.
//!
//! A core runs several turns under one guard and notes them in one place, so the slice of the next turn is the same value
//! with another process in it. Between two turns the kernel is at work, and whoever finds the slice then is refused.

use crate::config;
use crate::hand::KernelCx;
use crate::process::header::Header;
use crate::sched::local::{CoreLocal, Outside};
use crate::sync::Cell;
use crate::world::CurrentSlot;

/// Reductions that are spent at once, at most.
const MOST: u32 = 1 << 24;

/// See [`crate::Cx`].
#[derive(Debug)]
pub struct Slice<'a> {
    pub(crate) hand: KernelCx<'a>,
    pub(crate) core: &'a CoreLocal,
    process: Cell<&'a Header>,
    /// Reductions that are left of this turn until the core looks at its clock (`sched::pace`); below 0 when more were spent.
    budget: Cell<i64>,
    /// Reductions that are left of it after that.
    rest: Cell<i64>,
    /// The budget when the turn began, or at its last look at the clock.
    window: Cell<i64>,
    /// The kernel is at work for the process, and what is foreign in there (a destructor) must not come in again
    /// through a `Context`.
    pub(crate) inside: Cell<bool>,
    /// A closure of the body's looks at a signal in the queue: nothing may be taken out.
    pub(crate) looking: Cell<bool>,
    /// The body runs: a panic is its own.
    pub(crate) resumed: Cell<bool>,
    /// What was left when it was resumed, less what was charged for time since.
    granted: Cell<i64>,
    /// The budget when the mailbox was looked into last.
    looked: Cell<i64>,
    /// The body wants to go on, behind the others.
    pub(crate) yields: Cell<bool>,
    /// A receive has found nothing that it wants since the body was resumed: what is fetched now, for
    /// another receive, it has not seen.
    pub(crate) hungry: Cell<bool>,
    /// Its process dies within the slice of another (`at_once`).
    within: bool,
}

/// Sets a flag back when it goes, also when it goes by a panic.
#[must_use]
pub(crate) struct Restore<'s>(&'s Cell<bool>, bool);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// The body is at work until this goes: what it asks is done, and the private half of its core is free for others.
#[must_use]
pub(crate) struct Left<'s> {
    _inside: Restore<'s>,
    _half: Outside<'s>,
}

pub(super) fn set(flag: &Cell<bool>, value: bool) -> Restore<'_> {
    Restore(flag, flag.replace(value))
}

impl<'a> Slice<'a> {
    /// The innermost slice on this thread of execution.
    ///
    /// # Safety
    /// The caller uses it no longer than its caller's call lasts. `here` is a world's.
    #[inline(always)]
    pub(crate) unsafe fn noted(here: fn() -> *const CurrentSlot) -> Option<&'a Self> {
        // SAFETY: the place of this thread of execution, by World's contract.
        let slice = unsafe { (*here()).get() }.cast::<Self>();
        // SAFETY: null, or noted for as long as the slice lasts, which is longer than the call that this is for.
        unsafe { slice.as_ref() }
    }

    /// A turn of `process` with a whole slice's budget.
    pub(crate) fn new(hand: KernelCx<'a>, core: &'a CoreLocal, process: &'a Header) -> Self {
        Self {
            hand,
            core,
            process: Cell::new(process),
            budget: Cell::new(config::SLICE as i64),
            rest: Cell::new(0),
            window: Cell::new(config::SLICE as i64),
            inside: Cell::new(true),
            looking: Cell::new(false),
            resumed: Cell::new(false),
            granted: Cell::new(0),
            looked: Cell::new(0),
            yields: Cell::new(false),
            hungry: Cell::new(false),
            within: false,
        }
    }

    /// A turn of `process`, which dies, in the middle of another's.
    pub(crate) fn within_another(hand: KernelCx<'a>, core: &'a CoreLocal, process: &'a Header) -> Self {
        Self { within: true, ..Self::new(hand, core, process) }
    }

    /// Whether another's turn is under way around it.
    pub(crate) fn is_within_another(&self) -> bool {
        self.within
    }

    /// Whose turn it is.
    #[inline]
    pub(crate) fn process(&self) -> &'a Header {
        self.process.get()
    }

    /// The turn of the next one.
    pub(crate) fn turn_to(&self, process: &'a Header) {
        self.process.set(process);
        self.yields.set(false);
    }

    /// The turn has so many reductions; `fresh`: its process comes from the queues.
    #[inline]
    pub(crate) fn grant(&self, reductions: u32, fresh: bool) {
        let reductions = i64::from(reductions);
        let budget = reductions.min(self.core.pace.begins(fresh));
        self.budget.set(budget);
        self.window.set(budget);
        self.rest.set(reductions - budget);
    }

    /// The turn is over: the reductions that are left of it.
    #[inline]
    pub(crate) fn end(&self) -> u32 {
        let spent = self.window.get() - self.budget.get();
        if self.core.pace.spends(spent) {
            self.is_looked_at(spent);
        }
        self.left().max(0) as u32
    }

    /// At its end, and at the end of a distance.
    #[cold]
    #[inline(never)]
    fn is_looked_at(&self, spent: i64) {
        let charge = self.core.pace.looks(self.hand.kernel.world().coarse_now(), spent);
        self.rest.set(self.rest.get() - i64::from(charge.own));
        // Not while a rescuer has the queues: then the quantum is not charged.
        let _charged = self.core.queues(|queues| queues.charge(charge.others));
    }

    /// Spends reductions. So many at once as nobody has, at most: a budget that wraps would take centuries.
    #[inline(always)]
    pub(crate) fn pay(&self, reductions: u32) {
        self.budget.set(self.budget.get() - i64::from(reductions.min(MOST)));
    }

    /// Whether the turn has no reductions left.
    #[inline(always)]
    pub(crate) fn is_exhausted(&self) -> bool {
        self.budget.get() <= 0 && (self.rest.get() <= 0 || !self.goes_on())
    }

    /// What there was until the look at the clock is used up: whether there is more, after it.
    #[cold]
    #[inline(never)]
    fn goes_on(&self) -> bool {
        let left = self.left();
        let before = self.budget.get();
        if left <= 0 {
            // From now on it is seen at once.
            self.moves(left - before);
            self.rest.set(0);
            return false;
        }
        let spent = self.window.get() - before;
        let pace = &self.core.pace;
        let _is_due = pace.spends(spent);
        let charge = pace.looks(self.hand.kernel.world().coarse_now(), spent);
        // Not while a rescuer has the queues: then the quantum is not charged.
        let _charged = self.core.queues(|queues| queues.charge(charge.others));
        // What is charged is not left, and was not spent either.
        let own = i64::from(charge.own);
        self.granted.set(self.granted.get() - own);
        let left = left - own;
        let budget = left.min(pace.begins(false)).max(0);
        self.moves(budget - before);
        self.window.set(budget);
        self.rest.set(left - budget);
        left > 0
    }

    /// The budget is so much more, and nothing else changes by it: what was spent, and when the mailbox was looked into.
    fn moves(&self, by: i64) {
        self.budget.set(self.budget.get() + by);
        self.window.set(self.window.get() + by);
        self.looked.set(self.looked.get().saturating_add(by));
    }

    /// Reductions that are left, or below 0, by how many there were too many.
    #[inline]
    fn left(&self) -> i64 {
        self.rest.get() + self.budget.get()
    }

    /// The body is resumed.
    pub(crate) fn begin(&self) {
        self.granted.set(self.left());
        self.looked.set(self.budget.get());
        self.hungry.set(false);
    }

    /// Whether it is time to look into the mailbox, although there is something to receive already.
    #[inline]
    pub(crate) fn is_due_to_look(&self) -> bool {
        self.budget.get() + i64::from(config::LOOK_EVERY) <= self.looked.get()
    }

    /// The process has sent itself a signal: the next look finds it, as if it had come from itself by another way.
    pub(crate) fn has_sent_itself(&self) {
        self.looked.set(i64::MAX);
    }

    /// The mailbox is looked into.
    pub(crate) fn looks(&self) {
        self.looked.set(self.budget.get());
    }

    /// Reductions spent since it was resumed.
    #[inline]
    pub(crate) fn spent(&self) -> u64 {
        (self.granted.get() - self.left()) as u64
    }

    /// The kernel is at work until the guard goes.
    pub(crate) fn enter(&self) -> Restore<'_> {
        set(&self.inside, true)
    }

    /// The body, or its destructor, is at work until the guard goes.
    pub(crate) fn leave(&self) -> Left<'_> {
        Left { _inside: set(&self.inside, false), _half: self.core.outside() }
    }
}
