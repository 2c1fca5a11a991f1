//! The private side of a mailbox: [`Queue`], what has been fetched and not yet received.
//!
//! Doubly linked, touched by the process's owner only. A selective receive keeps its place in a
//! [`Cursor`]: it looks at each signal once, however often it is resumed, because new signals only
//! ever come in behind. Any number of selective receives may be under way at once, in one queue.
//!
//! - **C1.** A selective receive numbers the signals that it finds without a number, in their order:
//!   so the numbered signals are the front of the queue, their numbers grow, and each signal is
//!   numbered once. A plain receive numbers nothing and pays nothing.
//! - **C2.** A cursor is the number of the last signal that its receive has looked at. What other
//!   receives take out changes no number, so a cursor is never wrong: its receive goes on with the
//!   first signal of a higher number.
//! - **C3.** `seen` is only a hint, where the receive that looked last has stopped. It is a signal of
//!   this queue, or null: whatever takes that signal out moves the hint to the one before. Another
//!   receive's place is found by a walk from the hint or from either end, whichever is the nearest.
//! - **C4.** When the numbers are used up, all signals are numbered anew and the *era* changes: a
//!   cursor of another era, and one of another process, looks from the start.

use core::ptr::{self, NonNull};

use super::node::Node;
use crate::mailbox::Segment;
use crate::pid::Pid;

/// Fetched signals, oldest first. `repr(C)`: what every message touches is in front.
#[derive(Debug)]
#[repr(C)]
pub struct Queue {
    head: *mut Node,
    tail: *mut Node,
    len: u32,
    /// The number that was given last (C1).
    stamp: u32,
    /// A hint (C3).
    seen: *mut Node,
    /// The last signal that [`Queue::take_first`] has passed over, null for none.
    passed: *mut Node,
}

/// A selective receive's place in the queue: what it has looked at (see the module).
///
/// A cursor that is out of date, or another process's, only means a look from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    stamp: u32,
    era: u32,
    of: u64,
}

impl Cursor {
    /// A receive that has looked at nothing yet.
    pub const fn new() -> Self {
        Self { stamp: 0, era: 0, of: 0 }
    }
}

/// How far the numbers were at a moment: whether a signal has come since (see [`Queue::has_newer`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    era: u32,
    stamp: u32,
}

impl Queue {
    /// An empty queue.
    pub const fn new() -> Self {
        let none = ptr::null_mut();
        Self { head: none, tail: none, len: 0, stamp: 0, seen: none, passed: none }
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

    /// The newest, null when there is none.
    pub fn last(&self) -> *mut Node {
        self.tail
    }

    /// Numbers what has no number yet (C1). `era` is this queue's. O(1) amortised: a signal is
    /// numbered once.
    pub fn number(&mut self, era: &mut u32) {
        let (mut first, mut at, mut count) = (ptr::null_mut(), self.tail, 0);
        while let Some(node) = NonNull::new(at) {
            // SAFETY: in this queue, so held.
            if unsafe { Node::stamp(node) } != 0 {
                break;
            }
            (first, count) = (at, count + 1);
            // SAFETY: likewise.
            at = unsafe { Node::prev(node) };
        }
        if self.stamp.checked_add(count).is_none() {
            // C4.
            *era = era.wrapping_add(1).max(1);
            (self.stamp, first) = (0, self.head);
        }
        while let Some(node) = NonNull::new(first) {
            self.stamp += 1;
            // SAFETY: in this queue, so held.
            unsafe { Node::set_stamp(node, self.stamp) };
            // SAFETY: likewise.
            first = unsafe { Node::next(node) };
        }
    }

    /// Begins or goes on with the look of a cursor's receive: the last signal that it has looked at
    /// and that is still here, or null; and how many signals were passed to find it. All that is here
    /// is numbered.
    pub fn seek(&mut self, cursor: &mut Cursor, of: Pid, era: u32) -> (*mut Node, u32) {
        if cursor.era != era || cursor.of != of.to_raw() {
            *cursor = Cursor { stamp: 0, era, of: of.to_raw() };
        }
        let wanted = cursor.stamp;
        // SAFETY: null or in this queue (C3), so held.
        let number = |node: *mut Node| NonNull::new(node).map_or(0, |node| unsafe { Node::stamp(node) });
        let newest = number(self.tail);
        if wanted >= newest {
            // Nothing to look at: the hint stays with a receive that has something.
            return (self.tail, 0);
        }
        let hint = number(self.seen);
        let from_here = wanted.abs_diff(hint);
        let mut at = if newest - wanted < from_here {
            self.tail
        } else if wanted < from_here {
            ptr::null_mut()
        } else {
            self.seen
        };
        let mut passed = 0;
        // Back, while it is too far; then on, as far as it goes.
        while number(at) > wanted {
            // SAFETY: not null, its number is not 0; in this queue, so held.
            at = NonNull::new(at).map_or(ptr::null_mut(), |node| unsafe { Node::prev(node) });
            passed += 1;
        }
        loop {
            // SAFETY: null or in this queue.
            let next = unsafe { self.after(at) };
            if next.is_null() || number(next) > wanted {
                break;
            }
            at = next;
            passed += 1;
        }
        self.seen = at;
        (at, passed)
    }

    /// The receive that looks has looked at `node`.
    ///
    /// # Safety
    /// `node` is in this queue, and numbered.
    pub unsafe fn pass(&mut self, cursor: &mut Cursor, node: NonNull<Node>) {
        // SAFETY: by contract, so held.
        cursor.stamp = unsafe { Node::stamp(node) };
        self.seen = node.as_ptr();
    }

    /// Where the receive that looks has stopped (C3).
    pub fn seen(&self) -> *mut Node {
        self.seen
    }

    /// A cursor that has everything behind it that is in the queue now.
    pub fn cursor_at_end(&mut self, of: Pid, era: &mut u32) -> Cursor {
        self.number(era);
        Cursor { stamp: self.stamp, era: *era, of: of.to_raw() }
    }

    /// How far the numbers are.
    pub fn mark(&self, era: u32) -> Mark {
        Mark { era, stamp: self.stamp }
    }

    /// Whether there is a signal that has come since.
    pub fn has_newer(&self, mark: Mark, era: u32) -> bool {
        let Some(tail) = NonNull::new(self.tail) else { return false };
        // SAFETY: in this queue, so held.
        let newest = unsafe { Node::stamp(tail) };
        newest == 0 || era != mark.era || newest > mark.stamp
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
    pub fn append(&mut self, piece: Segment) {
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
