//! The error of a call without a reply: [`CallError`].

use core::fmt;

use atropos_kernel::{MonitorError, NoMemory, Reason, SendError, TimerError};

/// The reason why a call got no reply.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The server died, or was dead already (`noproc`).
    Down(Reason),
    /// No reply in time. The server may still handle the request; its reply is dropped.
    TimedOut,
    /// The server is alive and has dropped the request without a reply.
    NoReply,
    /// No process has the name.
    NoName,
    /// The server's mailbox is full.
    Full,
    /// The process is not a server of this type.
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
            Self::TimedOut => "no reply in time",
            Self::NoReply => "the server dropped the request",
            Self::NoName => "no process has the name",
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
