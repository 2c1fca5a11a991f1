//! [`RemoteReference`]: the names of remote monitors, and the counter that allocates them.
//!
//! They start at 2^56, where the kernel's own references end, and stop at the BEAM's largest small
//! integer. So the two ranges are disjoint, and both fit a small term. They grow strictly and none
//! is used twice. After the last one the counter stays exhausted for ever, however often it is
//! called.

use core::fmt;

use crate::sync::{AtomicU64, Ordering};

/// The name of one remote monitor of one node, never reused. A peer's reference can be any number,
/// because the peer alone interprets it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteReference(u64);

impl RemoteReference {
    /// The first reference that a plane allocates.
    pub const FIRST: Self = Self(1 << 56);
    /// The last reference: the largest small integer.
    pub const LAST: Self = Self((1 << 60) - 1);

    /// Returns the reference as an integer.
    pub const fn to_raw(self) -> u64 {
        self.0
    }

    /// Returns the reference for an integer from [`RemoteReference::to_raw`] or from a peer.
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

/// The counter that allocates references.
#[derive(Debug)]
pub(crate) struct References {
    next: AtomicU64,
}

impl References {
    /// Creates a counter that starts at `first`, or at [`RemoteReference::FIRST`] if that is
    /// larger.
    pub(crate) fn starting_at(first: RemoteReference) -> Self {
        Self { next: AtomicU64::new(first.max(RemoteReference::FIRST).to_raw()) }
    }

    /// Returns the next reference, or `None` after the last one. Lock-free.
    pub(crate) fn next(&self) -> Option<RemoteReference> {
        let up = |next| (next <= RemoteReference::LAST.to_raw()).then_some(next + 1);
        // Relaxed: the counter orders no other data. It stops one past the last reference, so it
        // cannot wrap around to used ones.
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, up).ok().map(RemoteReference)
    }
}
