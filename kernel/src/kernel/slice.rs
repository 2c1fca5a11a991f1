//! [`Slice`], one turn of one process on one core, and the state of the code that runs in it.
//!
//! A core runs several turns under one epoch guard and stores them in one place ([`Turns`]), so the
//! slice of the next turn is the same value with another process in it. Between two turns the
//! kernel runs, and code that finds the slice then is refused.
//!
//! - **S1, where the ownership is** ([`Phase`]). The core's loop has the process's [`Owned`]
//!   between two slices of the body. While the body or its destructor runs, the slice has it. A
//!   kernel operation of the body borrows it from the slice ([`Slice::with_owned`]) and gives it
//!   back when it ends. A second loan during the first one is refused by a panic: foreign code that
//!   the operation calls does not get through to the process's state.
//! - **S2, nothing is stored.** Code that finds the slice as the current one sees it with a shorter
//!   lifetime than it has. Only [`Turns`], which such code does not see, stores anything with the
//!   slice's lifetime.

use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::config;
use crate::kernel::core_local::{CoreLocal, Outside};
use crate::kernel::kernel_cx::KernelCx;
use crate::process::header::Header;
use crate::process::owned::{Owned, OwnerState};
use crate::process::process_ref::ProcessRef;
use crate::process::vtable::{BodyPoll, SlicePtr};
use crate::sync::Cell;

/// The most reductions that one call spends.
const MOST: u32 = 1 << 24;

/// The code that runs in a slice, and so the place of the process's ownership (S1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The body or its destructor: the slice has the ownership.
    Body,
    /// The core's loop, which has the ownership. Foreign code in there (a destructor) must not
    /// re-enter through a `Context`.
    Kernel,
    /// A kernel operation of the body, which borrows the ownership. Foreign code in there must not
    /// re-enter either.
    Operation,
}

/// The running turn, the basis of [`crate::Cx`].
#[derive(Debug)]
pub(crate) struct Slice<'a> {
    pub(crate) kernel_cx: KernelCx<'a>,
    pub(crate) core: &'a CoreLocal,
    /// A process whose memory exists for `'a`. Only [`Turns`] changes it (S2).
    process: Cell<NonNull<Header>>,
    lives: PhantomData<&'a Header>,
    /// The reductions left in this turn until the core reads its clock (`kernel::pace`); negative
    /// if more were spent.
    budget: Cell<i64>,
    /// The reductions left in this turn after that clock read.
    rest: Cell<i64>,
    /// The budget when the turn began, or at its last clock read.
    window: Cell<i64>,
    phase: Cell<Phase>,
    /// `true` while a closure of the body inspects a signal in the queue, so that no signal may be
    /// taken out.
    pub(crate) looking: Cell<bool>,
    /// `true` while the body runs: a panic is its own.
    resumed: Cell<bool>,
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
pub(crate) struct Restore<'s, T: Copy = bool>(&'s Cell<T>, T);

impl<T: Copy> Drop for Restore<'_, T> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// The turns of a core under one guard: the slice, and the right to give it another process.
#[derive(Debug)]
pub(crate) struct Turns<'a> {
    slice: Slice<'a>,
    /// Invariant: a process that is stored in the slice lives for all of `'a` (S2).
    stores: PhantomData<Cell<&'a ()>>,
}

pub(crate) fn set(flag: &Cell<bool>, value: bool) -> Restore<'_> {
    Restore(flag, flag.replace(value))
}

impl<'s> SlicePtr<'s> {
    /// Returns the pointer to a slice.
    #[inline(always)]
    pub(crate) const fn of(slice: &'s Slice<'_>) -> Self {
        // SAFETY: it is a pointer to a slice, which lasts for `'s`.
        unsafe { Self::from_erased(NonNull::from_ref(slice).cast()) }
    }

    /// Returns the slice.
    #[inline(always)]
    pub(crate) const fn get(self) -> &'s Slice<'s> {
        // SAFETY: `of` made the pointer from a reference that lasts for `'s`, and what the slice
        // refers to lasts longer. Nothing can be stored through the result (S2).
        unsafe { self.erased().cast().as_ref() }
    }
}

#[cold]
#[inline(never)]
fn is_lent() -> ! {
    panic!("the kernel is at work for the process: its state is in use")
}

impl<'a> Slice<'a> {
    fn new(kernel_cx: KernelCx<'a>, core: &'a CoreLocal, process: ProcessRef<'a>, within: bool) -> Self {
        Self {
            kernel_cx,
            core,
            process: Cell::new(process.as_ptr()),
            lives: PhantomData,
            budget: Cell::new(config::SLICE as i64),
            rest: Cell::new(0),
            window: Cell::new(config::SLICE as i64),
            phase: Cell::new(Phase::Kernel),
            looking: Cell::new(false),
            resumed: Cell::new(false),
            granted: Cell::new(0),
            looked: Cell::new(0),
            yields: Cell::new(false),
            hungry: Cell::new(false),
            within,
        }
    }

    /// Returns `true` if the process of this turn is the one at this address.
    #[inline(always)]
    pub(crate) fn is_of(&self, process: *const Header) -> bool {
        core::ptr::eq(self.process.get().as_ptr(), process)
    }

    /// Returns `true` while the kernel runs for the process.
    #[inline(always)]
    pub(crate) fn is_inside(&self) -> bool {
        self.phase.get() != Phase::Body
    }

    /// Returns `true` while the body runs and no kernel operation of it.
    #[inline(always)]
    pub(crate) fn is_in_body(&self) -> bool {
        self.resumed.get() && !self.is_inside()
    }

    /// Lends the ownership of the process to a kernel operation of its body (S1).
    ///
    /// # Panics
    /// If the kernel has it already.
    #[inline(always)]
    pub(crate) fn with_owned<R>(&self, f: impl for<'x> FnOnce(&mut Owned<'x>) -> R) -> R {
        if self.is_inside() {
            is_lent();
        }
        self.phase.set(Phase::Operation);
        let _back = Restore(&self.phase, Phase::Body);
        // SAFETY: P1, S1: the slice has the ownership in this phase, and gets it back when `f`
        // ends. `f` cannot keep it or exchange it (`owned`, O2).
        f(&mut unsafe { Owned::assume(self.process()) })
    }

    /// Runs `f` with the owner's state, as [`Slice::with_owned`] and [`Owned::state`] do.
    #[inline(always)]
    pub(crate) fn state<R>(&self, f: impl FnOnce(&mut OwnerState) -> R) -> R {
        self.with_owned(|owned| owned.state(f))
    }

    /// Reads the owner's state. `f` is a function of this file, which does nothing else.
    #[inline(always)]
    fn read<R>(&self, f: impl FnOnce(&OwnerState) -> R) -> R {
        if self.is_inside() {
            is_lent();
        }
        // SAFETY: P1, S1: the slice has the ownership in this phase, and nothing else runs during
        // this access.
        unsafe { Owned::assume(self.process()) }.peek(f)
    }

    /// Returns `true` if the process is bound to die.
    #[inline(always)]
    pub(crate) fn is_dying(&self) -> bool {
        self.read(|state| state.dying.is_some())
    }

    /// Returns `true` if the process has received every signal that it has fetched.
    #[inline(always)]
    pub(crate) fn has_received_all(&self) -> bool {
        self.read(|state| state.queue.is_empty())
    }

    /// Returns `true` if wakers other than the process's own wait for something of the process.
    #[inline(always)]
    pub(crate) fn has_waiters(&self) -> bool {
        self.read(|state| state.waiters.is_some())
    }

    /// Returns `true` if another process's turn surrounds this one.
    pub(crate) fn is_within_another(&self) -> bool {
        self.within
    }

    /// Returns the process of this turn.
    #[inline]
    pub(crate) fn process(&self) -> ProcessRef<'a> {
        // SAFETY: `Turns` stores only processes whose memory exists for `'a` (S2).
        unsafe { ProcessRef::new(self.process.get()) }
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
        self.core.charge(charge.others);
    }

    /// Spends reductions, at most [`MOST`] in one call: with that limit the budget would take
    /// centuries to wrap.
    #[inline(always)]
    pub(crate) fn pay(&self, reductions: u32) {
        self.budget.set(self.budget.get() - i64::from(reductions.min(MOST)));
    }

    /// Takes reductions from the turn that stand for no work: the price of a receiver's backlog.
    /// They shorten the turn like all others, but do not bring the next clock read nearer, which
    /// only work does (`kernel::pace`, Z2).
    #[inline]
    pub(crate) fn surcharge(&self, reductions: u32) {
        let reductions = i64::from(reductions.min(MOST));
        let from_rest = reductions.min(self.rest.get().max(0));
        self.rest.set(self.rest.get() - from_rest);
        self.moves(from_rest - reductions);
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
        self.core.charge(charge.others);
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
}

impl<'a> Turns<'a> {
    /// Creates the turns of a core, of which `process` has the first, with the budget of a whole
    /// slice.
    pub(crate) fn new(kernel_cx: KernelCx<'a>, core: &'a CoreLocal, process: ProcessRef<'a>) -> Self {
        Self { slice: Slice::new(kernel_cx, core, process, false), stores: PhantomData }
    }

    /// Creates a turn of a dying `process` in the middle of another process's turn.
    pub(crate) fn nested(kernel_cx: KernelCx<'a>, core: &'a CoreLocal, process: ProcessRef<'a>) -> Self {
        Self { slice: Slice::new(kernel_cx, core, process, true), stores: PhantomData }
    }

    /// Starts the turn of the next process.
    #[inline]
    pub(crate) fn turn_to(&self, process: ProcessRef<'a>) {
        assert!(self.phase.get() == Phase::Kernel, "the core's loop starts a turn");
        self.process.set(process.as_ptr());
        self.yields.set(false);
    }

    /// Runs the body or its destructor, to which the slice gives access to the process (S1). Other
    /// code may use the core's private half in the meantime.
    #[inline(always)]
    pub(crate) fn lend<R>(&self, owned: &mut Owned<'a>, f: impl FnOnce() -> R) -> R {
        struct Lent<'s> {
            _phase: Restore<'s, Phase>,
            _half: Outside<'s>,
        }
        assert!(self.phase.get() == Phase::Kernel, "the core's loop has the ownership");
        self.process.set(owned.process().as_ptr());
        self.phase.set(Phase::Body);
        let _lent = Lent { _phase: Restore(&self.phase, Phase::Kernel), _half: self.core.outside() };
        f()
    }

    /// Runs the body of the owned process until it returns.
    ///
    /// # Panics
    /// If the body panics: then the ownership is lost, and [`Turns::recover`] returns it. If the
    /// body has been dropped.
    #[inline(always)]
    pub(crate) fn resume(&self, mut owned: Owned<'a>) -> (Owned<'a>, BodyPoll) {
        let body = owned.begin_resume();
        let polled = self.lend(&mut owned, || {
            self.resumed.set(true);
            // SAFETY: P1: the owner runs the body, which exists (`begin_resume`), and which no
            // other code can run or drop: the ownership is lent to this slice only.
            unsafe { (body.vtable.resume)(body.as_ptr(), SlicePtr::of(self)) }
        });
        self.resumed.set(false);
        (owned, polled)
    }

    /// Returns the process whose body has panicked, if a body has. [`Turns::resume`] did not
    /// return, so its caller has lost the ownership.
    pub(crate) fn recover(&self) -> Option<Owned<'a>> {
        assert!(self.phase.get() == Phase::Kernel, "no body runs");
        // SAFETY: P1, S1: the slice had the ownership when the body panicked, and `resume`, which
        // lent it, did not return it.
        self.resumed.replace(false).then(|| unsafe { Owned::assume(self.process()) })
    }
}

impl<'a> Deref for Turns<'a> {
    type Target = Slice<'a>;

    #[inline(always)]
    fn deref(&self) -> &Slice<'a> {
        &self.slice
    }
}
