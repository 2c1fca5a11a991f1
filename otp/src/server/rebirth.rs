//! A server whose address outlives its crashes: [`super::Start::restart_in_place`], [`MailPolicy`]. Beyond OTP, and only when asked for.
//!
//! A supervisor's restart is a new process: whoever kept the old one's address has to look it up again, and the mail that waited is
//! gone. A server that is *reborn* keeps its process: when a callback panics, its state is dropped, a new one is made, and `init` is
//! called on it, in the same process, with the same links, monitors, timers and name. What becomes of the mail is said beforehand
//! ([`MailPolicy`]). Each rebirth counts against an intensity of its own; one too many, or an `init` that does not succeed, and
//! the server ends with the crash, as any other: its supervisor sees to the rest.
//!
//! Only panics are survived. An exit signal ends the process, and a `Next::Stop` is meant.

use alloc::boxed::Box;

use super::Server;
use crate::supervisor::{History, Intensity};

/// What becomes of the mail when a server is reborn.
#[derive(Debug)]
pub enum MailPolicy<M> {
    /// All that waits is dropped; callers are told.
    Drop,
    /// What waits is kept; the message that it died of is not handled again.
    SkipPoison,
    /// What waits is kept, and the message that it died of is handled again, first: a copy is made of each before it is
    /// handled, by this function. (A question's reply cannot be copied: `None` skips such a message.)
    Keep(fn(&M) -> Option<M>),
}

impl<M> Clone for MailPolicy<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for MailPolicy<M> {}

/// How a server is reborn.
pub(super) struct RestartInPlace<S: Server> {
    pub(super) make: Box<dyn FnMut() -> S + Send>,
    pub(super) mail: MailPolicy<S::Message>,
    pub(super) intensity: Intensity,
    pub(super) history: History,
}

impl<S: Server> RestartInPlace<S> {
    /// A copy of a message that is about to be handled, if it is to be handled again should the server die of it.
    pub(super) fn copy(&self, message: &S::Message) -> Option<S::Message> {
        match self.mail {
            MailPolicy::Keep(copy) => copy(message),
            MailPolicy::Drop | MailPolicy::SkipPoison => None,
        }
    }
}
