//! The only door to atomics and locks, so that loom can take their place by one `cfg`.
//!
//! The plane decides who answers a monitor by one compare-exchange on the monitor's own word (`state`). The
//! [`Mutex`] guards maps and nothing else: it is held for one operation on one map, never two at a time, and never
//! while anything foreign runs (a sender, a delivery, a watch, the drop of a reason). So no panic happens under it,
//! none can poison it, and nothing that is called back can find it taken.

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

/// An atomic that no model looks at: statistics and hints.
pub(crate) use core::sync::atomic::AtomicUsize as PlainAtomicUsize;

/// A map's lock: see the module for what may be done under it.
#[derive(Debug)]
pub(crate) struct Mutex<T>(imp::Lock<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Lock::new(value))
    }

    /// Waits its turn, which is at most a few map operations away.
    pub(crate) fn lock(&self) -> impl DerefMut<Target = T> {
        imp::lock(&self.0)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}
