//! A queue of fired watches, [`ExitQueue`], in transit to the thread that runs their callbacks.
//!
//! Cores push during a death: a push is one exchange, allocates nothing and does not wait. The
//! thread takes all queued watches at once, oldest first. The platform decides how that thread
//! sleeps, and what wakes it. A closed queue returns what is pushed, so nothing is left where no
//! thread takes it.

use core::fmt;

use crate::intrusive::list::{Chain, List};
use crate::process::relation::host_watch::FiredWatch;

/// A queue of fired watches (see the module).
#[derive(Debug, Default)]
pub struct ExitQueue(List<FiredWatch>);

impl ExitQueue {
    /// Creates an open, empty queue.
    pub fn new() -> Self {
        Self(List::new())
    }

    /// Adds a watch. Returns it if the queue is closed. Lock-free.
    pub fn push(&self, fired: FiredWatch) -> Result<(), FiredWatch> {
        self.0.push(fired)
    }

    /// Takes all queued watches. Lock-free.
    pub fn take(&self) -> FiredWatches {
        FiredWatches(self.0.take().reversed())
    }

    /// Closes the queue for good and takes all queued watches. Wait-free.
    pub fn close(&self) -> FiredWatches {
        FiredWatches(self.0.close().reversed())
    }
}

impl Drop for ExitQueue {
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// The watches that were taken from a queue, oldest first. Watches that are left in it are dropped
/// with it.
#[must_use = "each watch must be run"]
pub struct FiredWatches(Chain<FiredWatch>);

impl Iterator for FiredWatches {
    type Item = FiredWatch;

    fn next(&mut self) -> Option<FiredWatch> {
        self.0.next()
    }
}

impl fmt::Debug for FiredWatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllFired")
    }
}
