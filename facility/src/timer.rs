//! [`TimerFacility`]: messages that come after a while.

use core::fmt;
use core::time::Duration;

/// Why there is no timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TimerError {
    /// The caller is dead, or never was.
    NoCaller,
    /// The target was never given out.
    NoProc,
    /// The caller does not run here: a timer is on the wheel of the core that runs who started it, and can be started, read and
    /// cancelled there only.
    NotHere,
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
            Self::NotHere => "a timer is started, read and cancelled by the process that runs, for itself",
            Self::WrongType => "the receiver does not take such messages",
            Self::TooMany => "the limit of timers is reached",
            Self::NoMemory => "out of memory",
        })
    }
}

impl core::error::Error for TimerError {}

/// Timers whose messages are `M`, for processes named by raw pids.
pub trait TimerFacility<M>: Send + Sync {
    /// Sends `message` to `target` after a while: the timer's name. It ends with the target.
    fn start(&self, caller: u64, target: u64, after: Duration, message: M) -> Result<u64, TimerError>;

    /// Ends a timer of the caller's: the time it had left, or `None` when it is over.
    fn cancel(&self, caller: u64, timer: u64) -> Result<Option<Duration>, TimerError>;

    /// The time that a timer of the caller's has left, or `None` when it is over.
    fn read(&self, caller: u64, timer: u64) -> Result<Option<Duration>, TimerError>;
}
