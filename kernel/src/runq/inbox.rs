//! [`Inbox`]: processes that were woken from elsewhere, for one core.
//!
//! A stack that anybody pushes on and that is only ever taken whole, by its core or by a
//! thief: no ABA. `push` is lock-free, `take` is wait-free.

use core::ptr::{self, NonNull};

use super::node::{RunList, RunNode};
use crate::sync::{AtomicPtr, Ordering};

/// See the module.
#[derive(Debug)]
pub struct Inbox {
    head: AtomicPtr<RunNode>,
}

impl Inbox {
    /// Empty.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Adds a node.
    ///
    /// # Safety
    /// The caller has the node (R1).
    pub unsafe fn push(&self, node: NonNull<RunNode>) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller's until the exchange succeeds.
            unsafe { RunNode::set_next(node, head) };
            // Release: pairs with `take`: the process is as its waker left it.
            match self.head.compare_exchange_weak(head, node.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all, oldest first.
    pub fn take(&self) -> RunList {
        if self.is_empty() {
            return RunList::new();
        }
        // Acquire: pairs with `push`.
        let mut newest = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut();
        while let Some(node) = NonNull::new(newest) {
            // SAFETY: ours since the swap.
            newest = unsafe { RunNode::next(node) };
            // SAFETY: likewise.
            unsafe { RunNode::set_next(node, oldest) };
            oldest = node.as_ptr();
        }
        let mut chain = RunList::new();
        while let Some(node) = NonNull::new(oldest) {
            // SAFETY: ours.
            oldest = unsafe { RunNode::next(node) };
            // SAFETY: ours.
            unsafe { chain.push(node) };
        }
        chain
    }

    /// Whether nothing waits. A hint, but for the fences of the park protocol.
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null()
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}
