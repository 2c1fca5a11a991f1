//! [`TimerInbox`]: timers that a core has started while a rescuer had its wheel
//! (`kernel::custody`).
//!
//! A stack, linked through the nodes that the timers will have on the wheel. The wheel's owner
//! pushes timers; the party that has the wheel takes them all. `push` is lock-free (it retries only
//! when a rescuer takes all timers), `take` is wait-free.

use core::ptr::{self, NonNull};

use crate::sync::{AtomicPtr, Ordering};
use crate::timer::wheel::TimerNode;

/// A lock-free stack of timers that are on no wheel yet; see the module.
#[derive(Debug)]
pub struct TimerInbox {
    head: AtomicPtr<TimerNode>,
}

impl TimerInbox {
    /// Creates an empty stack.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Adds a timer.
    ///
    /// # Safety
    /// The timer is on no wheel. It lives until it is taken, put on a wheel and removed from that
    /// wheel.
    pub unsafe fn push(&self, node: NonNull<TimerNode>) {
        // SAFETY: the caller passes a live timer node (this function's contract).
        let inner = unsafe { node.as_ref() };
        debug_assert!(!inner.is_on_wheel(), "a timer is on one wheel");
        // Relaxed: only compared.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            inner.set_next(head);
            // Release: pairs with the Acquire swap in `take`: the taker sees the timer as written.
            match self.head.compare_exchange_weak(head, node.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Returns `true` if no timer is on the stack. Exact for the wheel's owner if it also has the
    /// wheel; a hint for other threads.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// Takes all timers, in the order in which they were started, and calls `each` with each timer.
    pub fn take(&self, mut each: impl FnMut(NonNull<TimerNode>)) {
        // Acquire: pairs with the Release exchange in `push`.
        let mut newest = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut();
        while let Some(node) = NonNull::new(newest) {
            // SAFETY: the swap gave us all nodes of the stack; `push`'s contract keeps them live
            // until taken.
            newest = unsafe { node.as_ref() }.replace_next(oldest);
            oldest = node.as_ptr();
        }
        while let Some(node) = NonNull::new(oldest) {
            // SAFETY: the swap gave us all nodes of the stack; `push`'s contract keeps them live
            // until taken.
            oldest = unsafe { node.as_ref() }.next();
            each(node);
        }
    }
}

impl Default for TimerInbox {
    fn default() -> Self {
        Self::new()
    }
}
