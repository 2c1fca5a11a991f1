//! A queue of fired watches, [`ExitQueue`], in transit to the thread that runs their callbacks.
//!
//! Cores push during a death: a push is one exchange, allocates nothing and does not wait. The
//! thread takes all queued watches at once, oldest first. The platform decides how that thread
//! sleeps, and what wakes it. A closed queue returns what is pushed, so nothing is left where no
//! thread takes it.

use core::fmt;

use crate::intrusive::list::{Chain, List};
use crate::process::relation::host_watch::FiredWatch;
use crate::process::relation::watcher::WatcherEntry;

/// A queue of fired watches (see the module).
#[derive(Debug, Default)]
pub struct ExitQueue(List<WatcherEntry>);

impl ExitQueue {
    /// Creates an open, empty queue.
    pub fn new() -> Self {
        Self(List::new())
    }

    /// Adds a watch. Returns it if the queue is closed. Lock-free.
    pub fn push(&self, fired: FiredWatch) -> Result<(), FiredWatch> {
        let watch = fired.into_watch();
        // SAFETY: the watch has fired, so it is on no list, and its reference goes with it.
        unsafe { self.0.push(watch) }.map_err(|_closed| {
            // SAFETY: the push was refused, so the watch is still ours.
            unsafe { FiredWatch::of_watch(watch) }
        })
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
pub struct FiredWatches(Chain<WatcherEntry>);

impl Iterator for FiredWatches {
    type Item = FiredWatch;

    fn next(&mut self) -> Option<FiredWatch> {
        let watch = self.0.next()?;
        // SAFETY: `ExitQueue::push` put it into the queue, with its reference.
        Some(unsafe { FiredWatch::of_watch(watch) })
    }
}

impl Drop for FiredWatches {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

impl fmt::Debug for FiredWatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllFired")
    }
}
