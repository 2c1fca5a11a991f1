//! [`LinkFacility`]: links, and the flag that turns EXITs into messages.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use atropos_kernel::{QueryReply, QueryFuture};

/// Why nothing was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkError {
    /// The other is dead, or never was.
    NoProc,
    /// The caller is dead, or never was; or there was no memory for what it asked, and it ends (F4).
    NoCaller,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoProc => "there is no such process to link with",
            Self::NoCaller => "there is no such process that could be linked",
        })
    }
}

impl core::error::Error for LinkError {}

/// Whether two are linked: known, or asked of the caller, who answers between two slices. A future.
#[derive(Debug)]
#[must_use = "the answer is in the future"]
pub enum Linked {
    /// It is known.
    Known(bool),
    /// It will be.
    Later(QueryFuture),
}

impl Linked {
    /// The answer, if it is known at once.
    pub fn known(&self) -> Option<bool> {
        match self {
            Self::Known(linked) => Some(*linked),
            Self::Later(_) => None,
        }
    }
}

impl Future for Linked {
    type Output = bool;

    /// A caller that dies before it answers is linked with nobody.
    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<bool> {
        match &mut *self {
            Self::Known(linked) => Poll::Ready(*linked),
            Self::Later(waiting) => Pin::new(waiting).poll(task).map(|said| matches!(said, QueryReply::Linked(true))),
        }
    }
}

/// Links, for processes named by raw pids.
pub trait LinkFacility: Send + Sync {
    /// Links the two; with itself, or with who is linked already, nothing happens. The dead are an error, whether the caller
    /// traps exits or not. A target that dies meanwhile gives its EXIT.
    fn link(&self, caller: u64, target: u64) -> Result<(), LinkError>;

    /// As [`LinkFacility::link`], but as OTP's `link/1`: a caller that traps exits gets an EXIT `noproc` from the dead.
    fn link_as_otp(&self, caller: u64, target: u64) -> Result<(), LinkError>;

    /// Ends the link: neither side gets an EXIT of it that has not come yet. Without a link, for the dead and for who never
    /// was it is `Ok` too.
    fn unlink(&self, caller: u64, target: u64) -> Result<(), LinkError>;

    /// Sets whether EXITs come as messages: the old value. In force for what is received from now on.
    fn set_trap_exit(&self, caller: u64, trap: bool) -> Result<bool, LinkError>;

    /// Whether EXITs come as messages.
    fn trap_exit(&self, caller: u64) -> Result<bool, LinkError>;

    /// Whether the caller is linked with `other`.
    fn is_linked(&self, caller: u64, other: u64) -> Result<Linked, LinkError>;
}
