//! Timers of a body.

use core::time::Duration;

use crate::api::cx::Cx;
use crate::ops::send::{self, SendError};
use crate::ops::timer;
use crate::pid::Reference;
use crate::process::timer_record::{NewTimer, TimerError};
use crate::signal::target::SendTarget;

impl<M: Send + 'static> Cx<'_, M> {
    /// Sends `message` after the time `after`. The timer ends if the receiver dies. O(1).
    ///
    /// # Errors
    /// A [`TimerError`] if the timer was not started; the message is dropped.
    pub fn send_after<'d, N: Send + 'static>(
        &self,
        to: impl Into<SendTarget<'d>>,
        after: Duration,
        message: N,
    ) -> Result<Reference, TimerError> {
        self.start_message(to.into(), after, message, false)
    }

    /// Does the same as [`Cx::send_after`], but the message arrives as a [`crate::Received::Timer`]
    /// with the timer's reference.
    ///
    /// # Errors
    /// A [`TimerError`] if the timer was not started; the message is dropped.
    pub fn start_timer<'d, N: Send + 'static>(
        &self,
        to: impl Into<SendTarget<'d>>,
        after: Duration,
        message: N,
    ) -> Result<Reference, TimerError> {
        self.start_message(to.into(), after, message, true)
    }

    fn start_message<N: Send + 'static>(
        &self,
        to: SendTarget<'_>,
        after: Duration,
        message: N,
        tagged: bool,
    ) -> Result<Reference, TimerError> {
        self.alive(TimerError::Dying)?;
        self.pay(1);
        let kernel_cx = &self.slice.kernel_cx;
        let target = match self.slice.with_owned(|owned| timer::target::<N>(owned, kernel_cx, to)) {
            Err(TimerError::WrongType) => return self.start_boxed(to, after, message, tagged),
            target => target?,
        };
        self.slice.with_owned(|owned| {
            self.room()?;
            let due = timer::due(kernel_cx, after);
            let timer = NewTimer::message(kernel_cx, target, due, tagged, None, message)?;
            let reference = timer.reference;
            timer::start(timer, owned, kernel_cx, self.slice.core);
            Ok(reference)
        })
    }

    /// Starts a timer whose message is not of the type that its target takes: in a box, if the
    /// target takes all types.
    #[cold]
    fn start_boxed<N: Send + 'static>(
        &self,
        to: SendTarget<'_>,
        after: Duration,
        message: N,
        tagged: bool,
    ) -> Result<Reference, TimerError> {
        let SendTarget::Pid(pid) = to else { return Err(TimerError::WrongType) };
        let process = self.slice.kernel_cx.find(pid).ok_or(TimerError::WrongType)?;
        match send::boxed(process.vtable.takes, message) {
            Ok(message) => self.start_message(to, after, message, tagged),
            Err(SendError::WrongType(_)) => Err(TimerError::WrongType),
            Err(_) => Err(TimerError::NoMemory),
        }
    }

    fn room(&self) -> Result<(), TimerError> {
        if self.slice.core.can_add_timer() { Ok(()) } else { Err(TimerError::TooMany) }
    }

    /// Cancels a timer of this or any other process. Returns the time that it had left, or `None`
    /// if no such timer is pending: it has fired, was cancelled, or ended with its target. No
    /// process takes part, and the timer's starter may be dead. O(1), lock-free.
    pub fn cancel_timer(&self, timer: Reference) -> Option<Duration> {
        self.cancel(timer).map(|due| timer::left(&self.slice.kernel_cx, due))
    }

    /// Cancels a timer without reading the clock. Returns `true` if [`Cx::cancel_timer`] would
    /// return a time.
    pub fn end_timer(&self, timer: Reference) -> bool {
        self.cancel(timer).is_some()
    }

    fn cancel(&self, timer: Reference) -> Option<u64> {
        self.alive(()).ok()?;
        self.slice.with_owned(|owned| timer::cancel(owned, &self.slice.kernel_cx, timer))
    }

    /// Returns the time that a timer of this or any other process has left; `None` if no such timer
    /// is pending. O(1), lock-free.
    pub fn read_timer(&self, timer: Reference) -> Option<Duration> {
        self.due(timer).map(|due| timer::left(&self.slice.kernel_cx, due))
    }

    /// Returns `true` if a timer is pending, without reading the clock. O(1).
    pub fn has_timer(&self, timer: Reference) -> bool {
        self.due(timer).is_some()
    }

    fn due(&self, timer: Reference) -> Option<u64> {
        self.alive(()).ok()?;
        self.slice.with_owned(|owned| timer::read(owned, &self.slice.kernel_cx, timer))
    }

    /// Resumes the body after the time `after`, for sleeps and timeouts. The alarm has fired when
    /// [`Cx::has_timer`] no longer finds it. [`Cx::end_timer`] cancels it.
    ///
    /// # Errors
    /// A [`TimerError`] if the alarm was not started.
    pub fn alarm(&self, after: Duration) -> Result<Reference, TimerError> {
        self.alive(TimerError::Dying)?;
        self.room()?;
        let kernel_cx = &self.slice.kernel_cx;
        let due = timer::due(kernel_cx, after);
        let timer = NewTimer::alarm(kernel_cx, self.pid(), due)?;
        let reference = timer.reference;
        self.slice.with_owned(|owned| timer::start(timer, owned, kernel_cx, self.slice.core));
        Ok(reference)
    }
}
