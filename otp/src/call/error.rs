//! What comes instead of an answer: [`CallError`].

use core::fmt;

use atropos_kernel::{MonitorError, NoMemory, Reason, SendError, TimerError};

/// Why a call brought no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The server died, or was dead (`noproc`).
    Down(Reason),
    /// No answer in time. It may still be worked on; the answer will be dropped.
    TimedOut,
    /// The server lives, and has dropped the request unanswered.
    NoReply,
    /// Nobody has the name.
    NoName,
    /// The server's mailbox is full.
    Full,
    /// The process is no server of this type.
    WrongType,
    /// A process cannot call itself.
    Itself,
    /// There is no memory for the call.
    NoMemory,
    /// The caller is dying.
    Dying,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down(reason) => return write!(f, "the server is down: {reason}"),
            Self::TimedOut => "no answer in time",
            Self::NoReply => "the server dropped the request",
            Self::NoName => "nobody has the name",
            Self::Full => "the server's mailbox is full",
            Self::WrongType => "the process takes other messages",
            Self::Itself => "a process cannot call itself",
            Self::NoMemory => "out of memory",
            Self::Dying => "the caller is dying",
        })
    }
}

impl core::error::Error for CallError {}

impl From<NoMemory> for CallError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl From<MonitorError> for CallError {
    fn from(error: MonitorError) -> Self {
        if error == MonitorError::Dying { Self::Dying } else { Self::NoMemory }
    }
}

impl From<TimerError> for CallError {
    fn from(error: TimerError) -> Self {
        if error == TimerError::Dying { Self::Dying } else { Self::NoMemory }
    }
}

impl<M> From<SendError<M>> for CallError {
    fn from(error: SendError<M>) -> Self {
        match error {
            SendError::NoProc(_) => Self::Down(Reason::NOPROC),
            SendError::WrongType(_) => Self::WrongType,
            SendError::Full(_) => Self::Full,
            SendError::NoName(_) => Self::NoName,
            SendError::Dying(_) => Self::Dying,
            _ => Self::NoMemory,
        }
    }
}
