//! [`RunNode`]: a process's place in a run queue.
//!
//! Rule R1: the fields are used by whoever has the node: its owner before it queues it,
//! then the queue, then whoever popped it. A node is in at most one queue.

use core::ptr::{self, NonNull};

use crate::sync::UnsafeCell;

/// See the module. A part of a process. `repr(C)`: see `Header`.
#[repr(C)]
#[derive(Debug)]
pub struct RunNode {
    next: UnsafeCell<*mut RunNode>,
    /// Of the chain that this node heads, while the chain is checked in: its last.
    tail: UnsafeCell<*mut RunNode>,
    /// Likewise: how many they are.
    len: UnsafeCell<u32>,
    /// 0 is the highest; below [`super::PRIORITIES`].
    priority: u8,
}

impl RunNode {
    /// A node in no queue.
    pub fn new(priority: u8) -> Self {
        assert!((priority as usize) < super::PRIORITIES);
        let none = ptr::null_mut();
        Self { next: UnsafeCell::new(none), tail: UnsafeCell::new(none), len: UnsafeCell::new(0), priority }
    }

    /// Its priority, constant.
    pub fn priority(&self) -> usize {
        self.priority as usize
    }

    /// # Safety
    /// The caller has the node (R1).
    pub(super) unsafe fn next(this: NonNull<Self>) -> *mut RunNode {
        // SAFETY: the caller's, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract.
        this.next.with(|next| unsafe { *next })
    }

    /// # Safety
    /// The caller has the node (R1).
    pub(super) unsafe fn set_next(this: NonNull<Self>, to: *mut RunNode) {
        // SAFETY: the caller's, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract.
        this.next.with_mut(|next| unsafe { *next = to });
    }

    /// # Safety
    /// The caller has the node (R1).
    pub(super) unsafe fn chain(this: NonNull<Self>) -> (*mut RunNode, u32) {
        // SAFETY: the caller's, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract.
        (this.tail.with(|tail| unsafe { *tail }), this.len.with(|len| unsafe { *len }))
    }

    /// # Safety
    /// The caller has the node (R1).
    pub(super) unsafe fn set_chain(this: NonNull<Self>, tail: *mut RunNode, len: u32) {
        // SAFETY: the caller's, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract.
        this.tail.with_mut(|place| unsafe { *place = tail });
        // SAFETY: by contract.
        this.len.with_mut(|place| unsafe { *place = len });
    }
}

/// A queue of nodes that one core has to itself.
#[derive(Debug)]
pub struct RunList {
    head: *mut RunNode,
    tail: *mut RunNode,
    len: u32,
}

// SAFETY: the nodes are the chain's (R1), and processes are Send.
unsafe impl Send for RunList {}

impl RunList {
    /// Empty.
    pub const fn new() -> Self {
        Self { head: ptr::null_mut(), tail: ptr::null_mut(), len: 0 }
    }

    /// Nodes in it.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a node last.
    ///
    /// # Safety
    /// The caller has the node (R1).
    pub unsafe fn push(&mut self, node: NonNull<RunNode>) {
        // SAFETY: by contract.
        unsafe { RunNode::set_next(node, ptr::null_mut()) };
        match NonNull::new(self.tail) {
            None => self.head = node.as_ptr(),
            // SAFETY: the chain's.
            Some(tail) => unsafe { RunNode::set_next(tail, node.as_ptr()) },
        }
        self.tail = node.as_ptr();
        self.len += 1;
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<NonNull<RunNode>> {
        let node = NonNull::new(self.head)?;
        // SAFETY: the chain's.
        self.head = unsafe { RunNode::next(node) };
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        self.len -= 1;
        Some(node)
    }

    /// Puts all of `other` behind. O(1).
    pub fn append(&mut self, other: Self) {
        match NonNull::new(self.tail) {
            None => *self = other,
            Some(_) if other.head.is_null() => {}
            Some(tail) => {
                // SAFETY: the chain's.
                unsafe { RunNode::set_next(tail, other.head) };
                self.tail = other.tail;
                self.len += other.len;
            }
        }
    }

    /// The chain as one pointer: the head carries the rest.
    pub(super) fn into_raw(self) -> *mut RunNode {
        if let Some(head) = NonNull::new(self.head) {
            // SAFETY: the chain's.
            unsafe { RunNode::set_chain(head, self.tail, self.len) };
        }
        self.head
    }

    /// # Safety
    /// `head` is null or came from `into_raw`, and is used once.
    pub(super) unsafe fn from_raw(head: *mut RunNode) -> Self {
        match NonNull::new(head) {
            None => Self::new(),
            Some(node) => {
                // SAFETY: ours since we took it.
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
