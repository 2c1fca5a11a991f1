//! The private side of a mailbox: [`Queue`], what has been fetched and not yet received.
//!
//! Doubly linked, touched by the process's owner only. A selective receive keeps its
//! place in a [`Cursor`]: it looks at each signal once, however often it is resumed,
//! because new signals only ever come in behind.

use core::ptr::{self, NonNull};

use super::node::Node;
use crate::mailbox::Piece;

/// Fetched signals, oldest first. `repr(C)`: what every message touches is in front.
#[derive(Debug)]
#[repr(C)]
pub struct Queue {
    head: *mut Node,
    tail: *mut Node,
    len: u32,
    scanner: u32,
    /// The last signal that the receive `scanner` looked at, null for none.
    seen: *mut Node,
    /// The last signal that [`Queue::take_first`] has passed over, null for none.
    passed: *mut Node,
}

/// A selective receive's claim to the place up to which the queue has been looked at.
///
/// The place itself is the queue's, so a cursor that is out of date, or another
/// process's, only means a look from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u32);

impl Cursor {
    /// A receive that has looked at nothing yet.
    pub const fn new() -> Self {
        Self(0)
    }
}

impl Queue {
    /// An empty queue.
    pub const fn new() -> Self {
        let none = ptr::null_mut();
        Self { head: none, tail: none, len: 0, seen: none, scanner: 0, passed: none }
    }

    /// Signals in it.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// The oldest, null when there is none.
    pub fn first(&self) -> *mut Node {
        self.head
    }

    /// The last signal that the cursor's receive has looked at; null when it is new.
    pub fn seen(&mut self, cursor: &mut Cursor) -> *mut Node {
        if cursor.0 == 0 || cursor.0 != self.scanner {
            self.scanner = self.scanner.wrapping_add(1).max(1);
            cursor.0 = self.scanner;
            self.seen = ptr::null_mut();
        }
        self.seen
    }

    /// The receive of the last [`Queue::seen`] has looked at everything up to `node`.
    ///
    /// # Safety
    /// `node` is null or in this queue.
    pub unsafe fn set_seen(&mut self, node: *mut Node) {
        self.seen = node;
    }

    /// A cursor that has everything behind it that is in the queue now.
    pub fn cursor_at_end(&mut self) -> Cursor {
        let mut cursor = Cursor::new();
        self.seen(&mut cursor);
        self.seen = self.tail;
        cursor
    }

    /// The one behind `node`, or the first when `node` is null.
    ///
    /// # Safety
    /// `node` is null or in this queue.
    pub unsafe fn after(&self, node: *mut Node) -> *mut Node {
        match NonNull::new(node) {
            None => self.head,
            // SAFETY: in this queue, so held by its owner (rule N1).
            Some(node) => unsafe { Node::next(node) },
        }
    }

    /// Puts `node` last.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1); it is in no queue (N2) and lives until removed.
    pub unsafe fn push_back(&mut self, node: NonNull<Node>) {
        // SAFETY: by contract.
        let inner = unsafe { node.as_ref() };
        // SAFETY: held.
        unsafe { Node::set_next(node, ptr::null_mut()) };
        // SAFETY: held.
        inner.prev.with_mut(|prev| unsafe { *prev = self.tail });
        match NonNull::new(self.tail) {
            None => self.head = node.as_ptr(),
            // SAFETY: the tail is in this queue, so held.
            Some(tail) => unsafe { Node::set_next(tail, node.as_ptr()) },
        }
        self.tail = node.as_ptr();
        self.len += 1;
    }

    /// Puts all of `piece` behind. O(1).
    pub fn append(&mut self, piece: Piece) {
        let Some(first) = NonNull::new(piece.first) else { return };
        // SAFETY: the piece's, so held.
        let inner = unsafe { first.as_ref() };
        // SAFETY: held.
        inner.prev.with_mut(|prev| unsafe { *prev = self.tail });
        match NonNull::new(self.tail) {
            None => self.head = piece.first,
            // SAFETY: the tail is in this queue, so held.
            Some(tail) => unsafe { Node::set_next(tail, piece.first) },
        }
        self.tail = piece.last;
        self.len += piece.len;
    }

    /// Takes the oldest.
    #[inline]
    pub fn pop_front(&mut self) -> Option<NonNull<Node>> {
        let node = NonNull::new(self.head)?;
        // SAFETY: in this queue, so held.
        self.head = unsafe { Node::next(node) };
        match NonNull::new(self.head) {
            None => self.tail = ptr::null_mut(),
            // SAFETY: in this queue.
            Some(head) => unsafe { head.as_ref() }.prev.with_mut(|prev| {
                // SAFETY: held.
                unsafe { *prev = ptr::null_mut() }
            }),
        }
        if self.seen == node.as_ptr() {
            self.seen = ptr::null_mut();
        }
        if self.passed == node.as_ptr() {
            self.passed = ptr::null_mut();
        }
        self.len -= 1;
        Some(node)
    }

    /// Takes the oldest that `is` accepts, which is always the same question: what it has passed over once it does not
    /// look at again. O(1) amortised.
    pub fn take_first(&mut self, is: impl Fn(NonNull<Node>) -> bool) -> Option<NonNull<Node>> {
        loop {
            // SAFETY: null or in this queue: a removal would have moved it.
            let node = NonNull::new(unsafe { self.after(self.passed) })?;
            if is(node) {
                // SAFETY: in this queue.
                unsafe { self.remove(node) };
                return Some(node);
            }
            self.passed = node.as_ptr();
        }
    }

    /// Takes `node` out, wherever it is. O(1).
    ///
    /// # Safety
    /// `node` is in this queue.
    pub unsafe fn remove(&mut self, node: NonNull<Node>) {
        // SAFETY: in this queue, so live and held.
        let inner = unsafe { node.as_ref() };
        // SAFETY: held.
        let next = unsafe { Node::next(node) };
        // SAFETY: held.
        let prev = inner.prev.with(|prev| unsafe { *prev });
        if self.seen == node.as_ptr() {
            self.seen = prev;
        }
        if self.passed == node.as_ptr() {
            self.passed = prev;
        }
        match NonNull::new(prev) {
            None => self.head = next,
            // SAFETY: a neighbour is in this queue.
            Some(prev) => unsafe { Node::set_next(prev, next) },
        }
        match NonNull::new(next) {
            None => self.tail = prev,
            // SAFETY: a neighbour is in this queue.
            Some(next) => unsafe { next.as_ref() }.prev.with_mut(|p| {
                // SAFETY: held.
                unsafe { *p = prev }
            }),
        }
        self.len -= 1;
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}
