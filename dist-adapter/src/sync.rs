//! The crate's only access to atomics and locks, so that one `cfg` can replace them with loom's.
//!
//! The plane decides which thread answers a monitor by one compare-exchange on the monitor's own
//! word (`state`). The [`Mutex`] guards only maps. It is held for one operation on one map, never
//! two at a time, and never while external code runs (a sender, a delivery, a watch, the drop of a
//! reason). So no panic happens under the lock, no panic can poison it, and no re-entrant call
//! finds it held.

use core::ops::DerefMut;

#[cfg(not(loom))]
mod imp {
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
    pub(super) use spin::mutex::{SpinMutex as Lock, SpinMutexGuard as LockGuard};

    #[inline]
    pub(super) fn lock<T>(lock: &Lock<T>) -> LockGuard<'_, T> {
        lock.lock()
    }
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
    pub(super) use loom::sync::{Mutex as Lock, MutexGuard as LockGuard};

    pub(super) fn lock<T>(lock: &Lock<T>) -> LockGuard<'_, T> {
        lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

pub(crate) use imp::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// An atomic that models ignore: for statistics and hints.
pub(crate) use core::sync::atomic::AtomicUsize as PlainAtomicUsize;

/// A map's lock. The module documentation lists what may run under it.
#[derive(Debug)]
pub(crate) struct Mutex<T>(imp::Lock<T>);

impl<T> Mutex<T> {
    /// Creates a lock around `value`.
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Lock::new(value))
    }

    /// Acquires the lock. The wait lasts at most a few map operations.
    pub(crate) fn lock(&self) -> impl DerefMut<Target = T> {
        imp::lock(&self.0)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}
