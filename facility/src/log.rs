//! [`CallLog`]: what a mock was asked, in order. Written from any thread, without a lock.
//!
//! A stack of boxed entries: a push is one exchange, and a drain takes the whole stack by another. Nobody looks into an
//! entry that can still be taken, so there is nothing to reclaim late, and no ABA.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr;

use crate::sync::{AtomicPtr, Ordering};

struct LogNode<T> {
    entry: T,
    before: *mut LogNode<T>,
}

/// See the module.
pub(crate) struct CallLog<T>(AtomicPtr<LogNode<T>>);

// SAFETY: the log owns its entries, and hands each to one drain.
unsafe impl<T: Send> Send for CallLog<T> {}
// SAFETY: by `&` entries are only moved in and out.
unsafe impl<T: Send> Sync for CallLog<T> {}

impl<T> core::fmt::Debug for CallLog<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Log")
    }
}

impl<T> Default for CallLog<T> {
    fn default() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }
}

impl<T> CallLog<T> {
    /// Writes an entry. Lock-free.
    pub(crate) fn write(&self, entry: T) {
        let written = Box::into_raw(Box::new(LogNode { entry, before: ptr::null_mut() }));
        // Relaxed: only compared, never followed.
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: ours until the exchange succeeds.
            unsafe { (*written).before = head };
            // Release: pairs with the Acquire of `drain`, which reads the entry.
            match self.0.compare_exchange_weak(head, written, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// What was written since the last time, oldest first.
    pub(crate) fn drain(&self) -> Vec<T> {
        // Acquire: pairs with the Release of `write`.
        let mut head = self.0.swap(ptr::null_mut(), Ordering::Acquire);
        let mut entries = Vec::new();
        while !head.is_null() {
            // SAFETY: taken by the exchange, so ours, and made by `Box::into_raw`.
            let written = unsafe { Box::from_raw(head) };
            head = written.before;
            entries.push(written.entry);
        }
        entries.reverse();
        entries
    }
}

impl<T> Drop for CallLog<T> {
    fn drop(&mut self) {
        drop(self.drain());
    }
}
