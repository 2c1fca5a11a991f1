//! [`CoreShared`], the part of a core that other cores see, and in it the half that a rescuer may
//! take, [`HeldHalf`] (`core_local`, H1 to H5).

use crate::intrusive::list::List;
use crate::kernel::Kernel;
use crate::kernel::core_local::mark::RunningMark;
use crate::kernel::custody::Custody;
use crate::memory::pool::Pool;
use crate::mutation::mutant;
use crate::process::timer_record::{CancelledShare, CancelledTimer, TimerMessage, ToWheel};
use crate::runq::{Local, Queues, Shared};
use crate::shipped::Shipped;
use crate::sync::{MutPtr, Ordering, PlainAtomicBool, UnsafeCell};
use crate::timer::inbox::TimerInbox;
use crate::timer::wheel::Wheel;

/// The part of a core that other cores see, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct CoreShared {
    /// The core's run queues.
    pub queues: Shared,
    /// Timers of this core's wheel that other cores have cancelled.
    pub cancelled: List<CancelledShare>,
    /// Timers that were started while a rescuer had this core's wheel.
    pub(super) arrivals: TimerInbox,
    /// What the core runs, for the cores that monitor it.
    pub mark: RunningMark,
    made: PlainAtomicBool,
    pub(super) custody: Custody,
    pub(super) half: Apart,
}

/// The half, on cache lines of its own: other cores read the fields beside it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Apart(pub(super) UnsafeCell<Half>);

// SAFETY: C1, only the core that has the half by `custody` uses the contents.
unsafe impl Sync for Apart {}

/// The state that a core has to itself, except for rescuers; see the module.
#[derive(Debug)]
pub(super) struct Half {
    queues: Local,
    wheel: Wheel,
}

/// The half in the hands of the core that has it (`custody`, C1), with the shared part that belongs
/// to it.
pub(crate) struct HeldHalf<'h> {
    pub(super) half: MutPtr<Half>,
    pub(super) shared: &'h CoreShared,
}

impl HeldHalf<'_> {
    #[inline(always)]
    fn half(&mut self) -> &mut Half {
        // SAFETY: C1, this core has the half for as long as this value exists, and this value is
        // the core's only access to it.
        self.half.with(|half| unsafe { &mut *half })
    }

    /// Returns the queues.
    #[inline(always)]
    pub(crate) fn queues(&mut self) -> Queues<'_> {
        let shared = &self.shared.queues;
        // SAFETY: C1, this core has the half, whose queues are used with this shared part only.
        // With one core no thread steals.
        unsafe { Queues::of(&mut self.half().queues, shared) }
    }

    /// Returns the wheel.
    #[inline(always)]
    pub(crate) fn wheel(&mut self) -> &mut Wheel {
        &mut self.half().wheel
    }

    /// Puts the arrivals on the wheel (H3).
    #[cold]
    pub(super) fn accept_down(&mut self, pool: &Pool) {
        let shared = self.shared;
        // SAFETY: H3, the arrivals were started and are not on a wheel yet, and we have the wheel.
        shared.arrivals.take(|node| self.put_on(unsafe { ToWheel::of(node) }, pool));
    }

    /// Puts a timer on the wheel, unless it was cancelled before it arrived (H4).
    #[inline]
    pub(super) fn put_on(&mut self, timer: ToWheel, pool: &Pool) {
        if timer.is_refused() {
            return Self::give_up_refused(timer, pool);
        }
        // SAFETY: `ToWheel` says that the timer is on its way to this wheel, and live until it is
        // taken off.
        unsafe { self.wheel().insert(timer.node(), timer.due) };
    }

    /// Releases a refused timer.
    #[cold]
    fn give_up_refused(timer: ToWheel, pool: &Pool) {
        // SAFETY: H4, the timer is refused, and was never on a wheel.
        unsafe { timer.release(Some(pool)) };
    }

    /// Takes a due timer off the wheel and decides that it fires. Returns `None` if no timer is
    /// due, and `Some(None)` for a timer that was cancelled in between.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<Option<TimerMessage>> {
        // SAFETY: we have the wheel (C1), and have just taken the timer off.
        self.wheel().pop_due(now).map(|node| unsafe { ToWheel::of(node) }.fire::<Shipped>())
    }

    /// Takes any timer off the wheel and decides that it is cancelled, as [`HeldHalf::pop_due`]
    /// does.
    pub(super) fn pop_any(&mut self) -> Option<Option<CancelledTimer>> {
        // SAFETY: we have the wheel (C1), and have just taken the timer off.
        self.wheel().pop_any().map(|node| unsafe { ToWheel::of(node) }.cancel())
    }

    /// Takes off the timers that other cores have cancelled.
    pub(crate) fn settle(&mut self, pool: &Pool) {
        // This order matters: a timer that was cancelled by now has arrived, or has not been put
        // anywhere yet (H4).
        let cancelled = self.shared.cancelled.take();
        if !self.shared.arrivals.is_empty() {
            self.accept_down(pool);
        }
        for timer in cancelled {
            self.remove_timer(timer, pool);
        }
    }

    /// Takes a cancelled timer off the wheel, or marks it as refused (H4). There are no arrivals.
    #[inline]
    pub(super) fn remove_timer(&mut self, timer: CancelledShare, pool: &Pool) {
        if timer.is_on_wheel() {
            // SAFETY: the timer is this core's, so its node is on this wheel.
            unsafe { self.wheel().remove(timer.node()) };
        } else if !timer.was_put() {
            // SAFETY: the kernel outlives its nodes (`Budget::node`), of which the record is one.
            mutant!(unsafe { timer.kernel().get() }.mutations, ForgetsTheRefused,
                right => return timer.refuse(),
                wrong => (),
            );
        }
        // SAFETY: the timer is off its wheel for good: taken off above, or before it was cancelled.
        unsafe { timer.release(Some(pool)) };
    }
}

impl CoreShared {
    /// Creates the shared part of one of `cores` cores, at the time `now`.
    pub(crate) fn new(cores: usize, now: u64) -> Self {
        Self {
            queues: Shared::new(),
            cancelled: List::new(),
            arrivals: TimerInbox::new(),
            mark: RunningMark::default(),
            made: PlainAtomicBool::new(false),
            custody: Custody::new(),
            half: Apart(UnsafeCell::new(Half { queues: Local::of(cores), wheel: Wheel::new(now) })),
        }
    }

    /// Lends the half to another core, unless its owner or a rescuer has it. `f` calls no foreign
    /// code.
    pub(crate) fn rescue<R>(&self, kernel: &Kernel, f: impl FnOnce(&mut HeldHalf<'_>) -> R) -> Option<R> {
        if !self.custody.take(kernel.barrier, || kernel.world().heavy_barrier()) {
            return None;
        }
        // C1: `take` succeeded, so the half is ours until `give_back`.
        let result = f(&mut HeldHalf { half: self.half.0.get_mut(), shared: self });
        self.custody.give_back();
        Some(result)
    }

    /// Returns `true` if the caller is the first to create the core. Wait-free.
    pub(crate) fn claim(&self) -> bool {
        !self.made.swap(true, Ordering::AcqRel)
    }
}
