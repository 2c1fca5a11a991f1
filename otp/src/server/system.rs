//! What is asked of a server's loop itself (OTP's `sys`): [`Envelope`], [`Statistics`], [`Event`].
//!
//! These requests travel through the same mailbox, so they keep their place among the messages. A suspended
//! server takes only these (and its parent's end); everything else waits.

use alloc::boxed::Box;
use core::fmt;

use atropos_kernel::{Down, Exit, Reason, Reply};

use super::Server;

/// What a server's process takes: its messages, and what is asked of its loop.
pub struct Envelope<S: Server>(pub(crate) Content<S>);

pub(crate) enum Content<S: Server> {
    Message(S::Message),
    System(System<S>),
}

/// A look at the state, in the server's process.
pub(crate) type Look<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Who is told what a server does.
pub(crate) type Tracer<S> = Box<dyn FnMut(Event<'_, S>) + Send>;

pub(crate) enum System<S: Server> {
    Suspend(Reply<()>),
    Resume(Reply<()>),
    Look(Look<S>),
    Statistics(Reply<Statistics>),
    /// In a box, so that the envelope of every message is the smaller.
    Trace(Box<(Tracer<S>, Reply<()>)>),
    TraceNoMore(Reply<()>),
    Stop(Reason, Reply<()>),
}

impl<S: Server> Envelope<S> {
    /// A message of the server's own type.
    pub fn message(message: S::Message) -> Self {
        Self(Content::Message(message))
    }

    pub(crate) fn system(system: System<S>) -> Self {
        Self(Content::System(system))
    }

    /// The message back; `None` for what is asked of the loop.
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

/// What a server has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Statistics {
    /// When it was started, in nanoseconds of the world's clock.
    pub started: u64,
    /// Messages handled.
    pub messages: u64,
    /// EXITs and DOWNs handled.
    pub signals: u64,
    /// Timeouts.
    pub timeouts: u64,
    /// Requests to the loop itself.
    pub system: u64,
    /// Times that it was reborn.
    pub rebirths: u64,
    /// Whether it is suspended.
    pub suspended: bool,
}

/// What a traced server is about to do.
#[non_exhaustive]
pub enum Event<'a, S: Server> {
    /// It handles a message.
    Message(&'a S::Message),
    /// It handles an EXIT.
    Exit(&'a Exit),
    /// It handles a DOWN.
    Down(&'a Down),
    /// Nothing has come in time.
    Timeout,
    /// It was suspended.
    Suspended,
    /// It goes on.
    Resumed,
    /// It ends.
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
