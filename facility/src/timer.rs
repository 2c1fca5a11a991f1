//! [`TimerFacility`]: messages that come after a while.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

/// Why there is no timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TimerError {
    /// The caller is dead, or never was.
    NoCaller,
    /// The target was never given out.
    NoProc,
    /// The target takes other messages.
    WrongType,
    /// The limit of timers is reached.
    TooMany,
    /// There is no memory for it. The caller goes on.
    NoMemory,
}

impl fmt::Display for TimerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCaller => "there is no such process that could have a timer",
            Self::NoProc => "there is no such process for a timer's message",
            Self::WrongType => "the receiver does not take such messages",
            Self::TooMany => "the limit of timers is reached",
            Self::NoMemory => "out of memory",
        })
    }
}

impl core::error::Error for TimerError {}

/// The time that a timer has left, or had when it was cancelled; `None` when it is over. A future, which is ready at once.
#[derive(Debug)]
#[must_use = "the answer is in the future"]
pub enum TimeLeft {
    /// It is known: nobody has to be asked.
    Known(Option<Duration>),
}

impl TimeLeft {
    /// The answer, if it is known at once.
    pub fn known(&self) -> Option<Option<Duration>> {
        let Self::Known(left) = self;
        Some(*left)
    }
}

impl Future for TimeLeft {
    type Output = Option<Duration>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Duration>> {
        let Self::Known(left) = *self;
        Poll::Ready(left)
    }
}

/// Timers whose messages are `M`, for processes named by raw pids.
pub trait TimerFacility<M>: Send + Sync {
    /// Sends `message` to `target` after a while, which counts from this call: the timer's name. It ends with the target, and outlives
    /// its caller if that is another process. A caller that does not run here starts it when it next looks: before
    /// anything that it is sent from now on, and late if it does not look in time.
    fn start(&self, caller: u64, target: u64, after: Duration, message: M) -> Result<u64, TimerError>;

    /// Ends a timer, the caller's or whoever's: the time it had left, or `None` when it is over.
    fn cancel(&self, caller: u64, timer: u64) -> Result<TimeLeft, TimerError>;

    /// The time that a timer, the caller's or whoever's, has left, or `None` when it is over.
    fn read(&self, caller: u64, timer: u64) -> Result<TimeLeft, TimerError>;
}
