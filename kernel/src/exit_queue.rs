//! [`ExitQueue`]: watches that have fired, on their way to the thread that does what is to be done.
//!
//! Cores put them there in the midst of a death: a push is one exchange, allocates nothing and waits for nobody. The
//! thread takes all there are at once, oldest first. How it sleeps, and who wakes it, is the world's affair. A queue that is
//! closed gives back what is pushed, so nothing is put where nobody looks.

use core::fmt;

use crate::list::{Chain, List};
use crate::watch::WatcherEntry;
use crate::watcher::FiredWatch;

/// See the module.
#[derive(Debug, Default)]
pub struct ExitQueue(List<WatcherEntry>);

impl ExitQueue {
    /// Open and empty.
    pub fn new() -> Self {
        Self(List::new())
    }

    /// Adds a watch; gives it back when the queue has been closed. Lock-free.
    pub fn push(&self, fired: FiredWatch) -> Result<(), FiredWatch> {
        let watch = fired.into_watch();
        // SAFETY: fired, so on no list, and kept by the share that goes with it.
        unsafe { self.0.push(watch) }.map_err(|_closed| {
            // SAFETY: refused, so ours still.
            unsafe { FiredWatch::of_watch(watch) }
        })
    }

    /// All that are there. Lock-free.
    pub fn take(&self) -> FiredWatches {
        FiredWatches(self.0.take().reversed())
    }

    /// All that are there, and no more ever. Wait-free.
    pub fn close(&self) -> FiredWatches {
        FiredWatches(self.0.close().reversed())
    }
}

impl Drop for ExitQueue {
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// Watches that were taken from a queue, oldest first. Those that are left in it are dropped with it.
#[must_use = "each is to be run"]
pub struct FiredWatches(Chain<WatcherEntry>);

impl Iterator for FiredWatches {
    type Item = FiredWatch;

    fn next(&mut self) -> Option<FiredWatch> {
        let watch = self.0.next()?;
        // SAFETY: taken from a queue, which `ExitQueue::push` put it in with its share.
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
