//! [`Inbox`]: processes that other threads have woken, for one core.
//!
//! A stack onto which any thread pushes. It is only ever taken as a whole, by its core or by a
//! thief, so no ABA problem exists. `push` is lock-free, `take` is wait-free.

use core::ptr::{self, NonNull};

use crate::runq::node::{HeldRunNode, RunList, RunNode};
use crate::sync::{AtomicPtr, Ordering};

/// A lock-free stack of woken processes; see the module.
#[derive(Debug)]
pub struct Inbox {
    head: AtomicPtr<RunNode>,
}

impl Inbox {
    /// Creates an empty inbox.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Adds a node.
    pub fn push(&self, mut node: HeldRunNode) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            node.set_next(head);
            // Release: pairs with the Acquire swap in `take`: the taker sees the process as its
            // waker left it.
            match self.head.compare_exchange_weak(head, node.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all nodes, oldest first.
    pub fn take(&self) -> RunList {
        let mut chain = RunList::new();
        if self.is_empty() {
            return chain;
        }
        // Acquire: pairs with the Release exchange in `push`.
        let mut newest = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        while let Some(node) = NonNull::new(newest) {
            // SAFETY: R1, the swap gave us every node of the stack.
            let node = unsafe { HeldRunNode::new(node) };
            newest = node.next();
            chain.push_front(node);
        }
        chain
    }

    /// Returns `true` if the inbox is empty. Only a hint, unless the fences of the park protocol
    /// surround it.
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null()
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}
