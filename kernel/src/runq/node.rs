//! [`RunNode`]: the intrusive node of a process in a run queue, and [`HeldRunNode`]: the right to
//! it.
//!
//! - **R1, one holder.** One party at a time has a node, and only that party uses its fields: the
//!   process's owner before it queues the node, then the queue, then the core that pops it. A node
//!   is in at most one queue. A node that is in no queue is a [`HeldRunNode`] in the hands of its
//!   holder: queues take it and give it out by value.

use core::ptr::{self, NonNull};

use crate::sync::{AtomicPtr, Ordering, PlainAtomicU32, UnsafeCell};

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
}

/// A node that is in no queue, held by this thread (R1). Dropping it loses the process, which then
/// never runs again.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "the process of a lost node never runs again"]
pub struct HeldRunNode(NonNull<RunNode>);

// SAFETY: R1, the node's fields are used by its holder only, and processes are Send.
unsafe impl Send for HeldRunNode {}

impl HeldRunNode {
    /// Takes a node.
    ///
    /// # Safety
    /// The caller has the node (R1), which lives for as long as it is held or queued. In a kernel's
    /// queues it is the node of an owned process.
    #[inline(always)]
    pub const unsafe fn new(node: NonNull<RunNode>) -> Self {
        Self(node)
    }

    /// Gives up the node as a pointer, from which [`HeldRunNode::new`] may take it.
    #[inline(always)]
    pub const fn into_raw(self) -> NonNull<RunNode> {
        self.0
    }

    /// Returns the pointer of the node, which the caller still holds.
    #[inline(always)]
    pub(super) const fn as_ptr(&self) -> *mut RunNode {
        self.0.as_ptr()
    }

    fn node(&self) -> &RunNode {
        // SAFETY: R1, this party has the node, which lives (`new`'s contract).
        unsafe { self.0.as_ref() }
    }

    /// Returns the process's priority.
    #[inline(always)]
    pub fn priority(&self) -> usize {
        self.node().priority()
    }

    /// Returns the node that follows in the list.
    #[inline(always)]
    pub(super) fn next(&self) -> *mut RunNode {
        // SAFETY: R1, only the party that has the node uses its fields.
        self.node().next.with(|next| unsafe { *next })
    }

    /// Sets the node that follows in the list.
    #[inline(always)]
    pub(super) fn set_next(&mut self, to: *mut RunNode) {
        // SAFETY: R1, only the party that has the node uses its fields.
        self.node().next.with_mut(|next| unsafe { *next = to });
    }

    /// Returns the last node and the length of the chain that this node heads.
    fn chain(&self) -> (*mut RunNode, u32) {
        // SAFETY: R1, only the party that has the node uses its fields.
        let tail = self.node().tail.with(|tail| unsafe { *tail });
        // SAFETY: R1, only the party that has the node uses its fields.
        (tail, self.node().len.with(|len| unsafe { *len }))
    }

    /// Stores the last node and the length of the chain that this node heads.
    fn set_chain(&mut self, tail: *mut RunNode, len: u32) {
        // SAFETY: R1, only the party that has the node uses its fields.
        self.node().tail.with_mut(|place| unsafe { *place = tail });
        // SAFETY: R1, only the party that has the node uses its fields.
        self.node().len.with_mut(|place| unsafe { *place = len });
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

    /// Puts `first` behind the last node.
    #[inline(always)]
    fn link(&mut self, first: *mut RunNode) {
        match NonNull::new(self.tail) {
            None => self.head = first,
            // SAFETY: R1, the chain has its nodes, and `tail` is one of them.
            Some(tail) => unsafe { HeldRunNode::new(tail) }.set_next(first),
        }
    }

    /// Appends a node.
    pub fn push(&mut self, mut node: HeldRunNode) {
        node.set_next(ptr::null_mut());
        let node = node.into_raw().as_ptr();
        self.link(node);
        self.tail = node;
        self.len += 1;
    }

    /// Puts a node in front of the others.
    pub(super) fn push_front(&mut self, mut node: HeldRunNode) {
        node.set_next(self.head);
        let node = node.into_raw().as_ptr();
        if self.head.is_null() {
            self.tail = node;
        }
        self.head = node;
        self.len += 1;
    }

    /// Takes the first node.
    pub fn pop(&mut self) -> Option<HeldRunNode> {
        // SAFETY: R1, the chain has its nodes, and `head`, which leaves it here, is one of them.
        let node = unsafe { HeldRunNode::new(NonNull::new(self.head)?) };
        self.head = node.next();
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        self.len -= 1;
        Some(node)
    }

    /// Appends all nodes of `other`. O(1).
    pub fn append(&mut self, other: Self) {
        if !other.head.is_null() {
            self.link(other.head);
            self.tail = other.tail;
            self.len += other.len;
        }
    }
}

impl Default for RunList {
    fn default() -> Self {
        Self::new()
    }
}

/// A place for one chain of nodes, which any core may take. The first node stores the last node and
/// the length, so the chain is one pointer.
#[derive(Debug)]
pub(super) struct PublishedList {
    head: AtomicPtr<RunNode>,
    /// The length of the chain that was put there last, for dumps.
    len: PlainAtomicU32,
}

impl PublishedList {
    /// Creates an empty place.
    pub(super) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), len: PlainAtomicU32::new(0) }
    }

    /// Returns the length of the chain. A hint.
    pub(super) fn len(&self) -> usize {
        // Relaxed: a hint, as of the last `put`; a thief takes the chain whole.
        if self.is_empty() { 0 } else { self.len.load(Ordering::Relaxed) as usize }
    }

    /// Returns `true` if there is no chain. A hint, except that only the owner puts a chain there.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        // Relaxed: the value is only compared.
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// Takes the chain, or an empty one if another core took it. `swaps` is `false` only in a model
    /// that shows why the exchange is needed.
    #[inline(always)]
    pub(super) fn take(&self, swaps: bool) -> RunList {
        // Acquire: pairs with the Release store in `put`.
        let head = if swaps {
            self.head.swap(ptr::null_mut(), Ordering::Acquire)
        } else {
            let head = self.head.load(Ordering::Acquire);
            self.head.store(ptr::null_mut(), Ordering::Relaxed);
            head
        };
        let Some(first) = NonNull::new(head) else { return RunList::new() };
        // SAFETY: R1, `put` stored the pointer, and the swap gives the chain to one taker only.
        let first = unsafe { HeldRunNode::new(first) };
        let (tail, len) = first.chain();
        RunList { head: first.into_raw().as_ptr(), tail, len }
    }

    /// Puts a chain there. Only the owner, which has taken out what was there.
    pub(super) fn put(&self, chain: RunList) {
        if let Some(head) = NonNull::new(chain.head) {
            // SAFETY: R1, the chain has its nodes, and `head` is one of them.
            unsafe { HeldRunNode::new(head) }.set_chain(chain.tail, chain.len);
        }
        // Relaxed: a hint.
        self.len.store(chain.len, Ordering::Relaxed);
        // Release: pairs with the Acquire swap of a taker, which sees the whole chain.
        self.head.store(chain.head, Ordering::Release);
    }
}
