//! Timers that other code starts for a process, or reads or cancels in its name.
//!
//! A timer lies on a core's wheel, and code that acts for a process elsewhere does not have that
//! core. So the record travels as a queued operation, and the core that handles it starts the timer
//! (`ops::timer`). Its time counts from the call, though a process in a long slice may handle the
//! operation late. Reading and cancelling a timer need no other core, even while it is in transit
//! (`process::timer_slot`).

use core::time::Duration;

use crate::api::caller::{ActAsError, Caller, CallerRoute};
use crate::memory::NoMemory;
use crate::ops::owner_op::OpKind;
use crate::ops::timer;
use crate::pid::{Pid, Reference};
use crate::process::timer_record::{NewTimer, TimerError};
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
        let target = timer::target::<N>(&process, kernel_cx, SendTarget::Pid(to))?;
        let place = kernel_cx.kernel.timers_by_proxy.count().ok_or(TimerError::TooMany)?;
        let due = timer::due(kernel_cx, after);
        let timer = NewTimer::message(kernel_cx, target, due, false, Some(place), message)?;
        let reference = timer.reference;
        match self.order(process, OpKind::Start(timer)) {
            Ok(true) => Ok(reference),
            Ok(false) => Err(TimerError::Dying),
            Err(NoMemory) => Err(TimerError::NoMemory),
        }
    }

    /// Cancels a timer, of the caller or of another process. Returns the remaining time, if it had
    /// not fired. No other core is involved.
    pub fn cancel_timer(&self, timer: Reference) -> Result<Option<Duration>, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(cx.cancel_timer(timer)),
            CallerRoute::Elsewhere(_) => Ok(timer::cancel_named(&self.kernel_cx, timer)),
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// Returns the remaining time of a timer, of the caller or of another process, if it has not
    /// fired. No other core is involved.
    pub fn read_timer(&self, timer: Reference) -> Result<Option<Duration>, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(cx.read_timer(timer)),
            CallerRoute::Elsewhere(_) => Ok(timer::read_named(&self.kernel_cx, timer)),
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }
}
