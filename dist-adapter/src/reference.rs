//! The names of remote monitors: [`RemoteReference`], and where they come from.
//!
//! They begin at 2^56, where the kernel's own references end, and end with the small integers of the BEAM, so the two
//! never meet and both fit a small term. They grow strictly, none is used twice, and when the last has been given out
//! that is for good: the counter stands still, however often it is asked.

use core::fmt;

use crate::sync::{AtomicU64, Ordering};

/// Names one remote monitor of one node, for ever. A peer's can be any number: it is the peer's affair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteReference(u64);

impl RemoteReference {
    /// The first that a plane gives out.
    pub const FIRST: Self = Self(1 << 56);
    /// The last: the greatest small integer.
    pub const LAST: Self = Self((1 << 60) - 1);

    /// The reference as an integer.
    pub const fn to_raw(self) -> u64 {
        self.0
    }

    /// The reference that [`RemoteReference::to_raw`] gave, or that a peer has sent.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Display for RemoteReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for RemoteReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The counter.
#[derive(Debug)]
pub(crate) struct References {
    next: AtomicU64,
}

impl References {
    /// The first is `first`, which is nowhere below [`RemoteReference::FIRST`].
    pub(crate) fn starting_at(first: RemoteReference) -> Self {
        Self { next: AtomicU64::new(first.max(RemoteReference::FIRST).to_raw()) }
    }

    /// The next; `None` from the last on. Lock-free.
    pub(crate) fn next(&self) -> Option<RemoteReference> {
        let up = |next| (next <= RemoteReference::LAST.to_raw()).then_some(next + 1);
        // Relaxed: the counter orders nothing but itself. It stops one past the last, so it can't wrap into used ones.
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, up).ok().map(RemoteReference)
    }
}
