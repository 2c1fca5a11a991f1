//! [`Slice`], one turn of one process on one core, and the state of the code that runs in it.
//!
//! A core runs several turns under one epoch guard and stores them in one place, so the slice of
//! the next turn is the same value with another process in it. Between two turns the kernel runs,
//! and code that finds the slice then is refused.

use core::ptr::NonNull;

use crate::config;
use crate::kernel::core_local::{CoreLocal, Outside};
use crate::kernel::kernel_cx::KernelCx;
use crate::process::header::Header;
use crate::process::vtable::SlicePtr;
use crate::sync::Cell;

/// The most reductions that one call spends.
const MOST: u32 = 1 << 24;

/// The running turn, the basis of [`crate::Cx`].
#[derive(Debug)]
pub(crate) struct Slice<'a> {
    pub(crate) kernel_cx: KernelCx<'a>,
    pub(crate) core: &'a CoreLocal,
    process: Cell<&'a Header>,
    /// The reductions left in this turn until the core reads its clock (`kernel::pace`); negative
    /// if more were spent.
    budget: Cell<i64>,
    /// The reductions left in this turn after that clock read.
    rest: Cell<i64>,
    /// The budget when the turn began, or at its last clock read.
    window: Cell<i64>,
    /// `true` while the kernel runs for the process. Foreign code in there (a destructor) must not
    /// re-enter through a `Context`.
    pub(crate) inside: Cell<bool>,
    /// `true` while a closure of the body inspects a signal in the queue, so that no signal may be
    /// taken out.
    pub(crate) looking: Cell<bool>,
    /// `true` while the body runs: a panic is its own.
    pub(crate) resumed: Cell<bool>,
    /// The reductions left when the body was resumed, less those charged for time since.
    granted: Cell<i64>,
    /// The budget when the mailbox was last checked.
    looked: Cell<i64>,
    /// `true` if the body wants to go on, behind the queued processes.
    pub(crate) yields: Cell<bool>,
    /// `true` if a receive has found nothing that it wants since the body was resumed. It has not
    /// seen the signals that another receive fetches now.
    pub(crate) hungry: Cell<bool>,
    /// `true` if the process dies within the slice of another process (`exit_inline`).
    within: bool,
}

/// A guard that restores a flag when it is dropped, also by a panic.
#[must_use]
pub(crate) struct Restore<'s>(&'s Cell<bool>, bool);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// A guard for the time that the body runs: kernel operations are allowed, and other code may use
/// the core's private half.
#[must_use]
pub(crate) struct Left<'s> {
    _inside: Restore<'s>,
    _half: Outside<'s>,
}

pub(crate) fn set(flag: &Cell<bool>, value: bool) -> Restore<'_> {
    Restore(flag, flag.replace(value))
}

impl<'s> SlicePtr<'s> {
    /// Returns the pointer to a slice.
    #[inline(always)]
    pub(crate) const fn of(slice: &'s Slice<'_>) -> Self {
        Self::from_erased(NonNull::from_ref(slice).cast())
    }

    /// Returns the slice.
    ///
    /// # Safety
    /// The caller stores nothing into the slice: what is stored there must last as long as the
    /// slice, which may be longer than `'s`.
    #[inline(always)]
    pub(crate) const unsafe fn get(self) -> &'s Slice<'s> {
        // SAFETY: `of` made the pointer from a reference that lasts for `'s`, and what the slice
        // refers to lasts longer. The caller stores nothing into it (this function's contract).
        unsafe { self.erased().cast().as_ref() }
    }
}

impl<'a> Slice<'a> {
    /// Creates a turn of `process` with the budget of a whole slice.
    pub(crate) fn new(kernel_cx: KernelCx<'a>, core: &'a CoreLocal, process: &'a Header) -> Self {
        Self {
            kernel_cx,
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

    /// Creates a turn of a dying `process` in the middle of another process's turn.
    pub(crate) fn nested(kernel_cx: KernelCx<'a>, core: &'a CoreLocal, process: &'a Header) -> Self {
        Self { within: true, ..Self::new(kernel_cx, core, process) }
    }

    /// Returns `true` if another process's turn surrounds this one.
    pub(crate) fn is_within_another(&self) -> bool {
        self.within
    }

    /// Returns the process of this turn.
    #[inline]
    pub(crate) fn process(&self) -> &'a Header {
        self.process.get()
    }

    /// Starts the turn of the next process.
    pub(crate) fn turn_to(&self, process: &'a Header) {
        self.process.set(process);
        self.yields.set(false);
    }

    /// Grants the turn its reductions. `fresh`: its process comes from the queues.
    #[inline]
    pub(crate) fn grant(&self, reductions: u32, fresh: bool) {
        let reductions = i64::from(reductions);
        let budget = reductions.min(self.core.pace.begins(fresh));
        self.budget.set(budget);
        self.window.set(budget);
        self.rest.set(reductions - budget);
    }

    /// Ends the turn and returns the reductions left.
    #[inline]
    pub(crate) fn end(&self) -> u32 {
        let spent = self.window.get() - self.budget.get();
        if self.core.pace.spends(spent) {
            self.is_looked_at(spent);
        }
        self.left().max(0) as u32
    }

    /// Reads the clock when a turn's end completes a distance (`kernel::pace`, Z2).
    #[cold]
    #[inline(never)]
    fn is_looked_at(&self, spent: i64) {
        let charge = self.core.pace.looks(self.kernel_cx.kernel.world().coarse_now(), spent);
        self.rest.set(self.rest.get() - i64::from(charge.own));
        // This fails while a rescuer has the queues. The quantum is not charged then.
        let _charged = self.core.queues(|queues| queues.charge(charge.others));
    }

    /// Spends reductions, at most [`MOST`] in one call: with that limit the budget would take
    /// centuries to wrap.
    #[inline(always)]
    pub(crate) fn pay(&self, reductions: u32) {
        self.budget.set(self.budget.get() - i64::from(reductions.min(MOST)));
    }

    /// Returns `true` if the turn has no reductions left.
    #[inline(always)]
    pub(crate) fn is_exhausted(&self) -> bool {
        self.budget.get() <= 0 && (self.rest.get() <= 0 || !self.goes_on())
    }

    /// Reads the clock after the budget is used up. Returns `true` if the turn has reductions left
    /// after that.
    #[cold]
    #[inline(never)]
    fn goes_on(&self) -> bool {
        let left = self.left();
        let before = self.budget.get();
        if left <= 0 {
            // From now on the fast path sees the exhaustion.
            self.moves(left - before);
            self.rest.set(0);
            return false;
        }
        let spent = self.window.get() - before;
        let pace = &self.core.pace;
        let _is_due = pace.spends(spent);
        let charge = pace.looks(self.kernel_cx.kernel.world().coarse_now(), spent);
        // This fails while a rescuer has the queues. The quantum is not charged then.
        let _charged = self.core.queues(|queues| queues.charge(charge.others));
        // A charge reduces what is left, but does not count as spent.
        let own = i64::from(charge.own);
        self.granted.set(self.granted.get() - own);
        let left = left - own;
        let budget = left.min(pace.begins(false)).max(0);
        self.moves(budget - before);
        self.window.set(budget);
        self.rest.set(left - budget);
        left > 0
    }

    /// Moves the budget by `by` without changing what counts as spent, or when the mailbox was last
    /// checked.
    fn moves(&self, by: i64) {
        self.budget.set(self.budget.get() + by);
        self.window.set(self.window.get() + by);
        self.looked.set(self.looked.get().saturating_add(by));
    }

    /// Returns the reductions left; negative if too many were spent.
    #[inline]
    fn left(&self) -> i64 {
        self.rest.get() + self.budget.get()
    }

    /// Resets the slice when the body is resumed.
    pub(crate) fn begin(&self) {
        self.granted.set(self.left());
        self.looked.set(self.budget.get());
        self.hungry.set(false);
    }

    /// Returns `true` if it is time to check the mailbox although a signal is already waiting in
    /// the private queue.
    #[inline]
    pub(crate) fn is_due_to_look(&self) -> bool {
        self.budget.get() + i64::from(config::LOOK_EVERY) <= self.looked.get()
    }

    /// Notes that the process may have sent itself a signal: the next receive checks the mailbox,
    /// and so finds it.
    pub(crate) fn has_sent_itself(&self) {
        self.looked.set(i64::MAX);
    }

    /// Notes that the mailbox is checked now.
    pub(crate) fn looks(&self) {
        self.looked.set(self.budget.get());
    }

    /// Returns the reductions spent since the body was resumed.
    #[inline]
    pub(crate) fn spent(&self) -> u64 {
        (self.granted.get() - self.left()) as u64
    }

    /// Marks the kernel as running until the guard is dropped.
    pub(crate) fn enter(&self) -> Restore<'_> {
        set(&self.inside, true)
    }

    /// Marks the body, or its destructor, as running until the guard is dropped.
    pub(crate) fn leave(&self) -> Left<'_> {
        debug_assert!(self.inside.get(), "the kernel is at work until now");
        self.inside.set(false);
        Left { _inside: Restore(&self.inside, true), _half: self.core.outside() }
    }
}
