//! [`RunNode`]: the intrusive node of a process in a run queue.
//!
//! R1: one party at a time has a node, and only that party uses its fields. This is the process's
//! owner before it queues the node, then the queue, then the core that popped the node. A node is
//! in at most one queue.

use core::ptr::{self, NonNull};

use crate::sync::UnsafeCell;

/// The run-queue links of a process, part of its record. `repr(C)`: see `Header`.
#[repr(C)]
#[derive(Debug)]
pub struct RunNode {
    next: UnsafeCell<*mut RunNode>,
    /// The last node of the chain that this node heads, while the chain is published.
    tail: UnsafeCell<*mut RunNode>,
    /// The length of the chain that this node heads, while the chain is published.
    len: UnsafeCell<u32>,
    /// The priority, below [`crate::runq::PRIORITIES`]; 0 is the highest.
    priority: u8,
}

impl RunNode {
    /// Creates a node that is in no queue.
    pub fn new(priority: u8) -> Self {
        assert!((priority as usize) < crate::runq::PRIORITIES);
        let none = ptr::null_mut();
        Self { next: UnsafeCell::new(none), tail: UnsafeCell::new(none), len: UnsafeCell::new(0), priority }
    }

    /// Returns the process's priority, which never changes.
    pub fn priority(&self) -> usize {
        self.priority as usize
    }

    /// Returns the node that follows in the list.
    ///
    /// # Safety
    /// The caller has the node (R1).
    pub(super) unsafe fn next(this: NonNull<Self>) -> *mut RunNode {
        // SAFETY: R1, the caller has the node, so it is live.
        let this = unsafe { this.as_ref() };
        // SAFETY: R1, only the party that has the node uses its fields (this function's contract).
        this.next.with(|next| unsafe { *next })
    }

    /// Sets the node that follows in the list.
    ///
    /// # Safety
    /// The caller has the node (R1).
    pub(super) unsafe fn set_next(this: NonNull<Self>, to: *mut RunNode) {
        // SAFETY: R1, the caller has the node, so it is live.
        let this = unsafe { this.as_ref() };
        // SAFETY: R1, only the party that has the node uses its fields (this function's contract).
        this.next.with_mut(|next| unsafe { *next = to });
    }

    /// Returns the last node and the length of the chain that this node heads.
    ///
    /// # Safety
    /// The caller has the node (R1).
    pub(super) unsafe fn chain(this: NonNull<Self>) -> (*mut RunNode, u32) {
        // SAFETY: R1, the caller has the node, so it is live.
        let this = unsafe { this.as_ref() };
        // SAFETY: R1, only the party that has the node uses its fields (this function's contract).
        (this.tail.with(|tail| unsafe { *tail }), this.len.with(|len| unsafe { *len }))
    }

    /// Stores the last node and the length of the chain that this node heads.
    ///
    /// # Safety
    /// The caller has the node (R1).
    pub(super) unsafe fn set_chain(this: NonNull<Self>, tail: *mut RunNode, len: u32) {
        // SAFETY: R1, the caller has the node, so it is live.
        let this = unsafe { this.as_ref() };
        // SAFETY: R1, only the party that has the node uses its fields (this function's contract).
        this.tail.with_mut(|place| unsafe { *place = tail });
        // SAFETY: R1, only the party that has the node uses its fields (this function's contract).
        this.len.with_mut(|place| unsafe { *place = len });
    }
}

/// An intrusive list of nodes that one core owns exclusively.
#[derive(Debug)]
pub struct RunList {
    head: *mut RunNode,
    tail: *mut RunNode,
    len: u32,
}

// SAFETY: R1, the chain has its nodes, and processes are Send.
unsafe impl Send for RunList {}

impl RunList {
    /// Creates an empty chain.
    pub const fn new() -> Self {
        Self { head: ptr::null_mut(), tail: ptr::null_mut(), len: 0 }
    }

    /// Returns the number of nodes.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns `true` if the chain is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a node.
    ///
    /// # Safety
    /// The caller has the node (R1).
    pub unsafe fn push(&mut self, node: NonNull<RunNode>) {
        // SAFETY: R1, the caller has the node (this function's contract).
        unsafe { RunNode::set_next(node, ptr::null_mut()) };
        match NonNull::new(self.tail) {
            None => self.head = node.as_ptr(),
            // SAFETY: R1, the chain has its nodes, and `tail` is one of them.
            Some(tail) => unsafe { RunNode::set_next(tail, node.as_ptr()) },
        }
        self.tail = node.as_ptr();
        self.len += 1;
    }

    /// Takes the first node.
    pub fn pop(&mut self) -> Option<NonNull<RunNode>> {
        let node = NonNull::new(self.head)?;
        // SAFETY: R1, the chain has its nodes, and `head` is one of them.
        self.head = unsafe { RunNode::next(node) };
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        self.len -= 1;
        Some(node)
    }

    /// Appends all nodes of `other`. O(1).
    pub fn append(&mut self, other: Self) {
        match NonNull::new(self.tail) {
            None => *self = other,
            Some(_) if other.head.is_null() => {}
            Some(tail) => {
                // SAFETY: R1, the chain has its nodes, and `tail` is one of them.
                unsafe { RunNode::set_next(tail, other.head) };
                self.tail = other.tail;
                self.len += other.len;
            }
        }
    }

    /// Returns the chain as one pointer: the first node stores the last node and the length.
    pub(super) fn into_raw(self) -> *mut RunNode {
        if let Some(head) = NonNull::new(self.head) {
            // SAFETY: R1, the chain has its nodes, and `head` is one of them.
            unsafe { RunNode::set_chain(head, self.tail, self.len) };
        }
        self.head
    }

    /// Restores a chain from its first node.
    ///
    /// # Safety
    /// `head` is null or came from `into_raw`, and is used once.
    pub(super) unsafe fn from_raw(head: *mut RunNode) -> Self {
        match NonNull::new(head) {
            None => Self::new(),
            Some(node) => {
                // SAFETY: R1, the caller took the chain's nodes with `head` (this function's
                // contract).
                let (tail, len) = unsafe { RunNode::chain(node) };
                Self { head, tail, len }
            }
        }
    }
}

impl Default for RunList {
    fn default() -> Self {
        Self::new()
    }
}
