//! Timers that another starts for a process, or reads or cancels in its name.
//!
//! A timer lies on a core's wheel, and whoever acts for a process that is elsewhere does not have that core. So the record goes by proxy,
//! and the core that meets it starts it (`timer::start`): its time counts from the call, though a process that does not let
//! go of its slice may meet it late. To read and to cancel one needs nobody, also while it is on its way (`timer::slot`).

use core::time::Duration;

use super::{Caller, ActAsError, CallerRoute};
use crate::cx::{MaybeReady, SendTarget};
use crate::pid::{Pid, Reference};
use crate::proxy::OpKind;
use crate::timer::record::{TimerError, TimerHead};
use crate::timer::start;

impl Caller<'_> {
    /// Sends `message` after a while, as [`crate::Cx::send_after`]. For the dead: [`TimerError::Dying`].
    pub fn send_after<N: Send + 'static>(&self, to: Pid, after: Duration, message: N) -> Result<Reference, TimerError> {
        let process = match self.way {
            CallerRoute::Running(cx) => return cx.send_after(to, after, message),
            CallerRoute::Elsewhere(process) => process,
            CallerRoute::Dead | CallerRoute::NeverAllocated => return Err(TimerError::Dying),
        };
        let hand = &self.hand;
        let target = start::target::<N>(process, hand, SendTarget::Pid(to))?;
        let place = hand.kernel.timers_by_proxy.count().ok_or(TimerError::TooMany)?;
        let due = start::due(hand, after);
        let timer = TimerHead::try_message(hand, target, due, false, message)?;
        // SAFETY: new, so ours.
        let reference = unsafe { timer.as_ref() }.reference;
        // SAFETY: likewise.
        unsafe { TimerHead::counted(timer, place) };
        let pushed = self.order(process, OpKind::Start(timer));
        if pushed == Ok(true) {
            return Ok(reference);
        }
        // SAFETY: ours still (X2).
        hand.catch_panic(|| unsafe { TimerHead::abandon(timer, hand.pool()) });
        Err(if pushed.is_ok() { TimerError::Dying } else { TimerError::NoMemory })
    }

    /// Cancels a timer, the caller's or whoever's: the time it had left, if it was still to come. Known at once: nobody is asked.
    pub fn cancel_timer(&self, timer: Reference) -> Result<MaybeReady<Option<Duration>>, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(MaybeReady::Ready(cx.cancel_timer(timer))),
            CallerRoute::Elsewhere(_) => Ok(MaybeReady::Ready(start::cancel_named(&self.hand, timer))),
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// The time that a timer, the caller's or whoever's, has left, if it is still to come. Known at once.
    pub fn read_timer(&self, timer: Reference) -> Result<MaybeReady<Option<Duration>>, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(MaybeReady::Ready(cx.read_timer(timer))),
            CallerRoute::Elsewhere(_) => Ok(MaybeReady::Ready(start::read_named(&self.hand, timer))),
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }
}
