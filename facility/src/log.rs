//! The call log of a mock: [`CallLog`]. Any thread writes to it, without a lock.
//!
//! It is a stack of boxed entries. A push is one exchange, and a drain takes the whole stack by
//! another exchange. No thread reads an entry that another could still take, so nothing needs
//! deferred reclamation, and there is no ABA problem.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr;

use crate::sync::{AtomicPtr, Ordering};

struct LogNode<T> {
    entry: T,
    before: *mut LogNode<T>,
}

/// A lock-free log of entries, in the order of the calls.
pub(crate) struct CallLog<T>(AtomicPtr<LogNode<T>>);

// SAFETY: the log owns its entries, and one `swap` in `drain` moves each to exactly one thread; so
// `T: Send` suffices.
unsafe impl<T: Send> Send for CallLog<T> {}
// SAFETY: a `&CallLog` only moves entries in and out and never gives out a `&T`; so `T: Send`
// suffices.
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
        // Relaxed: the value is only compared, never dereferenced.
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: `Box::into_raw` made `written` above, and it is ours until the exchange
            // publishes it.
            unsafe { (*written).before = head };
            // Release: pairs with the Acquire of `drain`. Without it `drain` could read an entry
            // that is not fully written.
            match self.0.compare_exchange_weak(head, written, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Returns the entries since the last drain, oldest first.
    pub(crate) fn drain(&self) -> Vec<T> {
        // Acquire: pairs with the Release of `write`. Without it the entries could be read before
        // they are fully written.
        let mut head = self.0.swap(ptr::null_mut(), Ordering::Acquire);
        let mut entries = Vec::new();
        while !head.is_null() {
            // SAFETY: the swap made this thread the only owner of the chain, and `write` made each
            // node with `Box::into_raw`.
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
