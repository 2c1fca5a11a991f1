//! Links and the `trap_exit` flag, which turns EXITs into messages: [`LinkFacility`].

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use atropos_kernel::QueryFuture;

/// The reason why an operation did nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkError {
    /// The target is dead or was never allocated.
    NoProc,
    /// The caller is dead or was never allocated; or its operation ran out of memory, and it is
    /// killed (F4).
    NoCaller,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoProc => "there is no such process to link to",
            Self::NoCaller => "there is no such process that could be linked",
        })
    }
}

impl core::error::Error for LinkError {}

/// The future of the query whether two processes are linked: known, or queried from the caller,
/// which replies between two slices.
#[derive(Debug)]
#[must_use = "the answer is in the future"]
pub enum LinkQuery {
    /// The result is known.
    Known(bool),
    /// The result arrives with the caller's reply.
    Later(QueryFuture<bool>),
}

impl LinkQuery {
    /// Returns the result if it is known at once.
    pub fn known(&self) -> Option<bool> {
        match self {
            Self::Known(linked) => Some(*linked),
            Self::Later(_) => None,
        }
    }
}

impl Future for LinkQuery {
    type Output = bool;

    /// Resolves to `false` if the caller dies before it replies.
    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<bool> {
        match &mut *self {
            Self::Known(linked) => Poll::Ready(*linked),
            Self::Later(waiting) => Pin::new(waiting).poll(task),
        }
    }
}

/// Links, for processes identified by raw pids.
pub trait LinkFacility: Send + Sync {
    /// Links the caller and the target. Linking with itself, or a second time, has no effect. A
    /// dead target is an error, whether the caller traps exits or not; if the target dies during
    /// the call, the caller gets its EXIT.
    fn link(&self, caller: u64, target: u64) -> Result<(), LinkError>;

    /// Links as [`LinkFacility::link`] does, with the semantics of OTP's `link/1`: a caller that
    /// traps exits gets an EXIT with `noproc` from a dead target.
    fn link_as_otp(&self, caller: u64, target: u64) -> Result<(), LinkError>;

    /// Removes the link: neither process gets an EXIT of it that it has not received yet. Returns
    /// `Ok` also if there is no link, and if the target is dead or was never allocated.
    fn unlink(&self, caller: u64, target: u64) -> Result<(), LinkError>;

    /// Sets whether EXITs arrive as messages; returns the old value. It is in force for everything
    /// received from now on.
    fn set_trap_exit(&self, caller: u64, trap: bool) -> Result<bool, LinkError>;

    /// Returns `true` if EXITs arrive as messages.
    fn trap_exit(&self, caller: u64) -> Result<bool, LinkError>;

    /// Returns whether the caller is linked with `other`.
    fn is_linked(&self, caller: u64, other: u64) -> Result<LinkQuery, LinkError>;
}
