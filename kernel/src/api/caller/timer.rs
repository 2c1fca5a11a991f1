//! Timers that other code starts for a process, or reads or cancels in its name.
//!
//! A timer lies on a core's wheel, and code that acts for a process elsewhere does not have that
//! core. So the record travels as a queued operation, and the core that handles it starts the timer
//! (`ops::timer`). Its time counts from the call, though a process in a long slice may handle the
//! operation late. Reading and cancelling a timer need no other core, even while it is in transit
//! (`process::timer_slot`).

use core::time::Duration;

use crate::api::caller::{ActAsError, Caller, CallerRoute};
use crate::api::cx::MaybeReady;
use crate::ops::owner_op::OpKind;
use crate::ops::timer;
use crate::pid::{Pid, Reference};
use crate::process::timer_record::{TimerError, TimerHead};
use crate::signal::target::SendTarget;

impl Caller<'_> {
    /// Sends `message` after a delay, as [`crate::Cx::send_after`] does. For a dead caller:
    /// [`TimerError::Dying`].
    pub fn send_after<N: Send + 'static>(&self, to: Pid, after: Duration, message: N) -> Result<Reference, TimerError> {
        let process = match self.way {
            CallerRoute::Running(cx) => return cx.send_after(to, after, message),
            CallerRoute::Elsewhere(process) => process,
            CallerRoute::Dead | CallerRoute::NeverAllocated => return Err(TimerError::Dying),
        };
        let kernel_cx = &self.kernel_cx;
        let target = timer::target::<N>(process, kernel_cx, SendTarget::Pid(to))?;
        let place = kernel_cx.kernel.timers_by_proxy.count().ok_or(TimerError::TooMany)?;
        let due = timer::due(kernel_cx, after);
        let timer = TimerHead::try_message(kernel_cx, target, due, false, message)?;
        // SAFETY: the record is new, so ours.
        let reference = unsafe { timer.as_ref() }.reference;
        // SAFETY: the record is new, so ours.
        unsafe { TimerHead::counted(timer, place) };
        let pushed = self.order(process, OpKind::Start(timer));
        if pushed == Ok(true) {
            return Ok(reference);
        }
        // SAFETY: X2: the operation was refused, so both references are still ours.
        kernel_cx.catch_panic(|| unsafe { TimerHead::abandon(timer, kernel_cx.pool()) });
        Err(if pushed.is_ok() { TimerError::Dying } else { TimerError::NoMemory })
    }

    /// Cancels a timer, of the caller or of another process. Returns the remaining time, if it had
    /// not fired. The result is known immediately: no other core is involved.
    pub fn cancel_timer(&self, timer: Reference) -> Result<MaybeReady<Option<Duration>>, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(MaybeReady::Ready(cx.cancel_timer(timer))),
            CallerRoute::Elsewhere(_) => Ok(MaybeReady::Ready(timer::cancel_named(&self.kernel_cx, timer))),
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// Returns the remaining time of a timer, of the caller or of another process, if it has not
    /// fired. The result is known immediately.
    pub fn read_timer(&self, timer: Reference) -> Result<MaybeReady<Option<Duration>>, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(MaybeReady::Ready(cx.read_timer(timer))),
            CallerRoute::Elsewhere(_) => Ok(MaybeReady::Ready(timer::read_named(&self.kernel_cx, timer))),
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }
}
