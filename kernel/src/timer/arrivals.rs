//! [`TimerInbox`]: timers that a core has started while its wheel was in a rescuer's hands (`sched::custody`).
//!
//! A stack through the places that the timers will have on the wheel. The owner of the wheel pushes, whoever has the wheel takes
//! all. `push` is lock-free (only a rescuer that takes all can make it try again), `take` is wait-free.

use core::ptr::{self, NonNull};

use super::wheel::TimerNode;
use crate::sync::{AtomicPtr, Ordering};

/// See the module.
#[derive(Debug)]
pub struct TimerInbox {
    head: AtomicPtr<TimerNode>,
}

impl TimerInbox {
    /// None.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Adds a timer that is due at `due` nanoseconds.
    ///
    /// # Safety
    /// The timer is on no wheel, and lives until it is taken and removed from the wheel that it is put on then.
    pub unsafe fn push(&self, node: NonNull<TimerNode>, due: u64) {
        // SAFETY: by contract.
        let inner = unsafe { node.as_ref() };
        inner.arrives(due);
        // Relaxed: only compared.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            inner.set_next(head);
            // Release: pairs with `take`: the timer is written.
            match self.head.compare_exchange_weak(head, node.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Whether there is none. Exact for who has the wheel and is its owner; a hint for others.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// Takes all, in the order in which they were started, each with when it is due.
    pub fn take(&self, mut each: impl FnMut(NonNull<TimerNode>, u64)) {
        // Acquire: pairs with `push`.
        let mut newest = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut();
        while let Some(node) = NonNull::new(newest) {
            // SAFETY: taken by the exchange, and live.
            let inner = unsafe { node.as_ref() };
            newest = inner.next();
            inner.set_next(oldest);
            oldest = node.as_ptr();
        }
        while let Some(node) = NonNull::new(oldest) {
            // SAFETY: likewise.
            let inner = unsafe { node.as_ref() };
            oldest = inner.next();
            each(node, inner.arrives_at());
        }
    }
}

impl Default for TimerInbox {
    fn default() -> Self {
        Self::new()
    }
}
