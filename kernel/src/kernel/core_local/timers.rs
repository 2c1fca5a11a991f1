//! The core's timer wheel, used by the core itself.

use crate::kernel::Kernel;
use crate::kernel::core_local::{CoreLocal, OwnHalf};
use crate::kernel::custody::Barrier;
use crate::process::timer_record::{CancelledShare, CancelledTimer, TimerMessage, ToWheel};

/// The number of timers that cascade ahead of time in one step.
const TIDY: usize = 64;

impl CoreLocal {
    /// Borrows the half with the arrivals on the wheel (H3), if no rescuer has it.
    #[inline(always)]
    fn wheel(&self) -> Option<OwnHalf<'_>> {
        let mut half = self.half()?;
        if self.barrier != Barrier::Alone && !self.shared().arrivals.is_empty() {
            half.accept_down(&self.pool);
        }
        Some(half)
    }

    /// Returns `true` if the wheel may take one more timer.
    pub(crate) fn can_add_timer(&self) -> bool {
        self.timers() < self.max_timers
    }

    /// Puts a timer of this core on the wheel, even above the limit.
    #[inline]
    pub(crate) fn start(&self, timer: ToWheel) {
        match self.wheel() {
            Some(mut half) => half.put_on(timer, &self.pool),
            None => self.start_later(timer),
        }
    }

    /// Leaves a new timer to the core that has the wheel next (H2).
    #[cold]
    #[inline(never)]
    fn start_later(&self, timer: ToWheel) {
        // SAFETY: H2, the timer is on no wheel, and it is live until it is taken off one.
        unsafe { self.shared().arrivals.push(timer.node()) };
    }

    /// Takes a cancelled timer of this core off the wheel and releases the wheel's reference, or
    /// leaves both to the core that has the wheel next (H2).
    #[inline]
    pub(crate) fn remove_timer(&self, kernel: &Kernel, timer: CancelledShare) {
        match self.wheel() {
            // `wheel` has put the arrivals on the wheel (H3).
            Some(mut half) => half.remove_timer(timer, &self.pool),
            None => kernel.timer_cancelled(timer),
        }
    }

    /// Takes off the timers that other cores have cancelled.
    pub(crate) fn drain_cancelled(&self) {
        if !self.shared().cancelled.is_empty() {
            let _settled = self.half().map(|mut half| half.settle(&self.pool));
        }
    }

    /// Closes the list of cancelled timers when the core ends. From now on each canceller releases
    /// the wheel's reference itself.
    pub(crate) fn close_cancelled(&self) {
        for timer in self.shared().cancelled.close() {
            // `wheel` has put the arrivals on the wheel (H3).
            let _taken = self.wheel().map(|mut half| half.remove_timer(timer, &self.pool));
        }
    }

    /// Takes a due timer off the wheel; see [`HeldHalf::pop_due`].
    pub(crate) fn pop_due(&self, now: u64) -> Option<Option<TimerMessage>> {
        self.wheel()?.pop_due(now)
    }

    /// Takes any timer off the wheel; see [`HeldHalf::pop_any`].
    pub(crate) fn pop_timer(&self) -> Option<Option<CancelledTimer>> {
        self.wheel()?.pop_any()
    }

    /// Cascades some timers ahead of time. Returns `true` if there were any
    /// ([`Wheel::cascade_ahead`]).
    #[inline]
    pub(crate) fn tidy_timers(&self) -> bool {
        self.wheel().is_some_and(|mut half| half.wheel().cascade_ahead(TIDY))
    }

    /// Returns the number of timers on the wheel; 0 while a rescuer has it.
    pub(crate) fn timers(&self) -> usize {
        self.wheel().map_or(0, |mut half| half.wheel().len())
    }

    /// Returns when the wheel must be checked again.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.wheel()?.wheel().next_due()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use alloc::sync::Arc;

    use super::*;
    use crate::kernel::platform::Nowhere;
    use crate::kernel::{Limits, Options};
    use crate::ops::timer_outcome;
    use crate::pid::Pid;
    use crate::process::timer_record::{NewTimer, Settled, Target};
    use crate::reclaim::Domain;

    /// Issue 14, 10 and 21: a timer is cancelled by its reference, and the cancelled timers are
    /// settled, before its core has put the timer on the wheel (H4). The timer never reaches the
    /// wheel.
    #[test]
    fn n10_timer_cancelled_before_arrival_never_reaches_the_wheel() {
        let options = Options { limits: Limits { nodes: 4, ..Limits::default() }, ..Options::default() };
        let kernel = Kernel::new(options, Domain::new(), Arc::new(Nowhere));
        let core = CoreLocal::new(0, kernel.clone(), 1);
        let participant = kernel.register();
        let guard = participant.pin();
        let (here, elsewhere) = (kernel.kernel_cx(&guard, Some(&core)), kernel.kernel_cx(&guard, None));
        for arrives in [false, true] {
            let nobody = Target::Pid(Pid::new(0, 1).expect("a valid pid"));
            let timer = NewTimer::message(&here, nobody, 1 << 30, false, None, ()).expect("enough memory for a timer");
            let reference = timer.reference;
            let Settled::Armed(wheel, starter, None) = timer.settle(0, false) else { panic!("it is armed") };
            assert_eq!(timer_outcome::cancel_named(reference, &elsewhere), Some(1 << 30));
            core.drain_cancelled();
            if arrives {
                // SAFETY: the timer is on no wheel, and is live until it has arrived.
                unsafe { core.shared().arrivals.push(wheel.node()) };
                let _settled = core.half().map(|mut half| half.settle(&core.pool));
            } else {
                core.start(wheel);
            }
            assert_eq!(core.timers(), 0, "the timer is not on the wheel");
            starter.release(None);
            assert_eq!(kernel.nodes_used(), 0, "all nodes are freed");
        }
    }
}
