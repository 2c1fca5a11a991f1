//! [`NewTimer`], a timer that has not been started, and its start ([`NewTimer::settle`]).

use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::Deref;
use core::ptr::NonNull;

use super::on_wheel::Live;
use super::{MessageTimer, StarterShare, TargetShare, TimerHead, TimerMessage, ToWheel};
use crate::intrusive::counted::Ref;
use crate::memory::pool::Pool;
use crate::memory::pool_box::PoolBox;
use crate::sync::Ordering;

/// A timer that is on no wheel and in no set yet, with both references. Dropping it ends the timer,
/// and drops its message.
#[derive(Debug)]
pub struct NewTimer(NonNull<TimerHead>);

// SAFETY: the records of timers may be shared, and their messages are Send.
unsafe impl Send for NewTimer {}

/// The outcome of [`NewTimer::settle`].
#[derive(Debug)]
#[must_use = "the timer must be put on the wheel"]
pub enum Settled {
    /// The timer is armed.
    Armed(ToWheel, StarterShare, Option<TargetShare>),
    /// The timer was cancelled in transit, and the canceller has the wheel's reference.
    Cancelled(StarterShare),
}

impl NewTimer {
    /// Puts an alarm into a block of the heap.
    #[inline(always)]
    pub(crate) fn alarm_in(block: PoolBox<MaybeUninit<TimerHead>>, alarm: TimerHead) -> Self {
        Self(PoolBox::write(block, alarm).into_raw())
    }

    /// Puts a timer with a message into a block of the heap, and publishes it if it has a permit.
    #[inline(always)]
    pub(crate) fn message_in<M: Send + 'static>(
        block: PoolBox<MaybeUninit<MessageTimer<M>>>,
        timer: MessageTimer<M>,
    ) -> Self {
        // The head comes first (`repr(C)`).
        let timer = Self(PoolBox::write(block, timer).into_raw().cast());
        if timer.prepared {
            timer.slot.begin(timer.0, timer.due, timer.name, false);
        }
        timer
    }

    /// Makes the references of the wheel and of the starter.
    #[inline(always)]
    fn into_pair(self) -> (Ref<TimerHead>, Ref<TimerHead>) {
        // SAFETY: R1: the record counts two references, and this is the only place that makes them.
        // This value is not dropped.
        unsafe { Ref::pair_from_raw(ManuallyDrop::new(self).0) }
    }

    /// Records the core that will have the timer on its wheel, and whether the target's list will
    /// have it. Then publishes the timer under its reference if that has not happened yet.
    #[inline]
    pub fn settle(self, core: usize, watched: bool) -> Settled {
        let (wheel, starter) = self.into_pair();
        starter.core.store(core, Ordering::Relaxed);
        starter.watched.store(watched, Ordering::Relaxed);
        // R2: the wheel's reference is the word's now. If the timer was cancelled in transit, it is
        // the canceller's already.
        let wheel = wheel.into_raw();
        if !starter.prepared {
            starter.slot.begin(wheel, starter.due, starter.name, true);
        } else if !starter.slot.arm(starter.name) {
            return Settled::Cancelled(StarterShare(starter));
        }
        let listed = watched.then(|| TargetShare(starter.share()));
        Settled::Armed(ToWheel(Live(wheel)), StarterShare(starter), listed)
    }

    /// Ends a timer that was never started, with its message. The destructor is foreign code and
    /// may panic.
    #[cold]
    #[inline(never)]
    pub fn abandon(self, pool: Option<&Pool>) {
        let (wheel, starter) = self.into_pair();
        if starter.prepared && !starter.slot.release(starter.name) {
            // Cancelled in transit: the canceller has the wheel's reference and the message.
            let _the_cancellers = ManuallyDrop::new(wheel);
        } else {
            // The timer has neither fired nor been cancelled, and never will.
            TimerMessage(wheel.into_raw()).release(pool);
        }
        starter.release(pool);
    }
}

impl Deref for NewTimer {
    type Target = TimerHead;

    #[inline(always)]
    fn deref(&self) -> &TimerHead {
        // SAFETY: R1: this value has references, which keep the record live.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for NewTimer {
    fn drop(&mut self) {
        Self(self.0).abandon(None);
    }
}
