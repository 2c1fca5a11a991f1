//! The system requests to a server's loop (OTP's `sys`): [`Envelope`], [`Statistics`], [`Event`].
//!
//! These requests use the same mailbox, so they keep their order among the messages. A suspended
//! server handles only these (and its parent's exit); everything else waits.

use alloc::boxed::Box;
use core::fmt;

use atropos_kernel::{Down, Exit, Reason, Reply};

use super::Server;

/// The message type of a server's process: its own messages, and system requests to its loop.
pub struct Envelope<S: Server>(pub(crate) Content<S>);

pub(crate) enum Content<S: Server> {
    Message(S::Message),
    System(System<S>),
}

/// A function that inspects the state, in the server's process.
pub(crate) type Inspect<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A function that is called before each thing that a server does.
pub(crate) type Tracer<S> = Box<dyn FnMut(Event<'_, S>) + Send>;

pub(crate) enum System<S: Server> {
    Suspend(Reply<()>),
    Resume(Reply<()>),
    Look(Inspect<S>),
    Statistics(Reply<Statistics>),
    /// Boxed, so that the envelope of every message is smaller.
    Trace(Box<(Tracer<S>, Reply<()>)>),
    TraceNoMore(Reply<()>),
    Stop(Reason, Reply<()>),
}

impl<S: Server> Envelope<S> {
    /// Wraps a message of the server's own type.
    pub fn message(message: S::Message) -> Self {
        Self(Content::Message(message))
    }

    pub(crate) fn system(system: System<S>) -> Self {
        Self(Content::System(system))
    }

    /// Returns the message, or `None` for a system request.
    pub fn into_message(self) -> Option<S::Message> {
        match self.0 {
            Content::Message(message) => Some(message),
            Content::System(_) => None,
        }
    }
}

impl<S: Server> fmt::Debug for Envelope<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Content::Message(_) => "Envelope(message)",
            Content::System(_) => "Envelope(system)",
        })
    }
}

/// Counters of what a server has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Statistics {
    /// The time of its start, in nanoseconds of the platform's clock.
    pub started: u64,
    /// The number of messages handled.
    pub messages: u64,
    /// The number of EXITs and DOWNs handled.
    pub signals: u64,
    /// The number of timeouts.
    pub timeouts: u64,
    /// The number of system requests to the loop.
    pub system: u64,
    /// The number of restarts in place.
    pub restarts_in_place: u64,
    /// `true` while it is suspended.
    pub suspended: bool,
}

/// The thing that a traced server is about to do.
#[non_exhaustive]
pub enum Event<'a, S: Server> {
    /// It handles a message.
    Message(&'a S::Message),
    /// It handles an EXIT.
    Exit(&'a Exit),
    /// It handles a DOWN.
    Down(&'a Down),
    /// It handles a timeout.
    Timeout,
    /// It is suspended from now on.
    Suspended,
    /// It is resumed.
    Resumed,
    /// It stops.
    Stopping(&'a Reason),
}

impl<S: Server> fmt::Debug for Event<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(_) => f.write_str("Message"),
            Self::Exit(exit) => write!(f, "{exit:?}"),
            Self::Down(down) => write!(f, "{down:?}"),
            Self::Timeout => f.write_str("Timeout"),
            Self::Suspended => f.write_str("Suspended"),
            Self::Resumed => f.write_str("Resumed"),
            Self::Stopping(reason) => write!(f, "Stopping({reason})"),
        }
    }
}
