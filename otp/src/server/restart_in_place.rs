//! The restart of a server in place, whose address survives its crashes:
//! [`super::Start::restart_in_place`], [`MailboxPolicy`]. OTP has none; it applies only if set.
//!
//! A supervisor's restart is a new process: the holders of the old address must look it up again,
//! and the mail that waited is lost. A server that restarts *in place* keeps its process. When a
//! callback panics, its state is dropped, a new one is made, and `init` is called on it, in the
//! same process, with the same links, monitors, timers and name. [`MailboxPolicy`] says in advance
//! what happens to the mail. Each restart in place counts against an intensity of its own. If that
//! is exceeded, or `init` does not succeed, the server exits with the crash as any other server
//! does, and its supervisor handles the rest.
//!
//! It covers only panics. An exit signal still ends the process, and so does a `Next::Stop`, which
//! is deliberate.

use alloc::boxed::Box;

use atropos_kernel::CatchDrop;

use super::Server;
use crate::restart_intensity::{History, Intensity};

/// The treatment of the mail when a server restarts in place.
#[derive(Debug)]
pub enum MailboxPolicy<M> {
    /// All waiting messages are dropped; their callers get an error.
    Drop,
    /// Waiting messages are kept; the message that caused the crash is not handled again.
    SkipPoison,
    /// Waiting messages are kept, and the message that caused the crash is handled again, first.
    /// This function copies each message before it is handled. (The reply handle of a call cannot
    /// be copied: `None` skips such a message.)
    Keep(fn(&M) -> Option<M>),
}

impl<M> Clone for MailboxPolicy<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for MailboxPolicy<M> {}

/// A function that makes the next state.
pub(super) type MakeFn<S> = Box<dyn FnMut() -> S + Send>;

/// The parts of a restart in place.
pub(super) struct RestartInPlace<S: Server> {
    /// The catch of the platform is set when the server's process is started.
    pub(super) make: CatchDrop<MakeFn<S>>,
    pub(super) mail: MailboxPolicy<S::Message>,
    pub(super) intensity: Intensity,
    pub(super) history: History,
}

impl<S: Server> RestartInPlace<S> {
    /// Returns a copy of a message that is about to be handled, if it is handled again after a
    /// crash.
    pub(super) fn copy(&self, message: &S::Message) -> Option<S::Message> {
        match self.mail {
            MailboxPolicy::Keep(copy) => copy(message),
            MailboxPolicy::Drop | MailboxPolicy::SkipPoison => None,
        }
    }
}
