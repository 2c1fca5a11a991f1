//! A body's timers.

use core::time::Duration;

use super::{Cx, SendTarget};
use crate::pid::Reference;
use crate::timer::record::{TimerError, TimerHead};
use crate::timer::start;

impl<M: Send + 'static> Cx<'_, M> {
    /// Sends `message` after a while. The timer ends with the receiver. O(1).
    pub fn send_after<'d, N: Send + 'static>(
        &self,
        to: impl Into<SendTarget<'d>>,
        after: Duration,
        message: N,
    ) -> Result<Reference, TimerError> {
        self.start_message(to.into(), after, message, false)
    }

    /// As [`Cx::send_after`], but what comes is a [`crate::Received::Timer`] that names the timer.
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
        labelled: bool,
    ) -> Result<Reference, TimerError> {
        self.alive(TimerError::Dying)?;
        self.pay(1);
        let _inside = self.slice.enter();
        let (hand, process) = (&self.slice.hand, self.slice.process());
        let target = start::target::<N>(process, hand, to)?;
        self.room()?;
        let due = start::due(hand, after);
        let timer = TimerHead::try_message(hand, target, due, labelled, message)?;
        // SAFETY: new, so ours.
        let reference = unsafe { timer.as_ref() }.reference;
        // SAFETY: the slice has the process; the timer is new.
        unsafe { start::start(timer, process, hand, self.slice.core) };
        Ok(reference)
    }

    fn room(&self) -> Result<(), TimerError> {
        if self.slice.core.has_room_for_a_timer() { Ok(()) } else { Err(TimerError::TooMany) }
    }

    /// Cancels a timer, its own or whoever's: the time it had left, or `None` when there is no such timer: it has fired, was
    /// cancelled, or ended with its target. Nobody is asked, and its starter may be dead. O(1), lock-free.
    pub fn cancel_timer(&self, timer: Reference) -> Option<Duration> {
        self.cancel(timer).map(|due| start::left(&self.slice.hand, due))
    }

    /// As [`Cx::cancel_timer`], for who does not ask how much time was left: without a look at the clock.
    pub fn end_timer(&self, timer: Reference) -> bool {
        self.cancel(timer).is_some()
    }

    fn cancel(&self, timer: Reference) -> Option<u64> {
        self.alive(()).ok()?;
        let _inside = self.slice.enter();
        start::cancel(self.slice.process(), &self.slice.hand, timer)
    }

    /// The time that a timer, its own or whoever's, has left; `None` when there is no such timer. O(1), lock-free.
    pub fn read_timer(&self, timer: Reference) -> Option<Duration> {
        self.due(timer).map(|due| start::left(&self.slice.hand, due))
    }

    /// Whether a timer is still to come; as [`Cx::read_timer`], without a look at the clock. O(1).
    pub fn has_timer(&self, timer: Reference) -> bool {
        self.due(timer).is_some()
    }

    fn due(&self, timer: Reference) -> Option<u64> {
        self.alive(()).ok()?;
        start::read(self.slice.process(), &self.slice.hand, timer)
    }

    /// Resumes the body after a while: for sleeps and the patience of receives. It has rung
    /// when [`Cx::has_timer`] no longer finds it; [`Cx::end_timer`] ends it.
    pub fn alarm(&self, after: Duration) -> Result<Reference, TimerError> {
        self.alive(TimerError::Dying)?;
        self.room()?;
        let (hand, process) = (&self.slice.hand, self.slice.process());
        let due = start::due(hand, after);
        let timer = TimerHead::try_alarm(hand, self.pid(), due)?;
        // SAFETY: new, so ours.
        let reference = unsafe { timer.as_ref() }.reference;
        // SAFETY: the slice has the process; the timer is new.
        unsafe { start::start(timer, process, hand, self.slice.core) };
        Ok(reference)
    }
}
