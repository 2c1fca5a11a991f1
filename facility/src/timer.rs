//! Timers that send a message after a time: [`TimerFacility`].

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

/// The reason why no timer was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TimerError {
    /// The caller is dead or was never allocated.
    NoCaller,
    /// The target was never allocated.
    NoProc,
    /// The target has another message type.
    WrongType,
    /// The maximum number of timers is reached.
    TooMany,
    /// There is no memory for it. The caller continues.
    NoMemory,
}

impl fmt::Display for TimerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCaller => "there is no such process that could start a timer",
            Self::NoProc => "there is no such process for a timer's message",
            Self::WrongType => "the receiver has another message type",
            Self::TooMany => "the limit of timers is reached",
            Self::NoMemory => "out of memory",
        })
    }
}

impl core::error::Error for TimerError {}

/// The time that a timer has left, or had when it was cancelled; `None` if it is over. A future
/// that is ready at once.
#[derive(Debug)]
#[must_use = "the answer is in the future"]
pub enum RemainingTime {
    /// The result is known without a query.
    Known(Option<Duration>),
}

impl RemainingTime {
    /// Returns the result if it is known at once.
    pub fn known(&self) -> Option<Option<Duration>> {
        let Self::Known(left) = self;
        Some(*left)
    }
}

impl Future for RemainingTime {
    type Output = Option<Duration>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Duration>> {
        let Self::Known(left) = *self;
        Poll::Ready(left)
    }
}

/// Timers with messages of type `M`, for processes identified by raw pids.
pub trait TimerFacility<M>: Send + Sync {
    /// Starts a timer that sends `message` to `target` after this time, counted from this call;
    /// returns its reference. The timer is cancelled when the target dies, and survives its caller
    /// if that is another process. If the caller does not run here, it starts the timer when it
    /// next checks its mailbox: before it handles anything that is sent to it from now on, and late
    /// if it does not check in time.
    fn start(&self, caller: u64, target: u64, after: Duration, message: M) -> Result<u64, TimerError>;

    /// Cancels a timer of any process; returns the time it had left, or `None` if it is over.
    fn cancel(&self, caller: u64, timer: u64) -> Result<RemainingTime, TimerError>;

    /// Returns the time that a timer of any process has left, or `None` if it is over.
    fn read(&self, caller: u64, timer: u64) -> Result<RemainingTime, TimerError>;
}
