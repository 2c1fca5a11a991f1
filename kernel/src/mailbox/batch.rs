//! The private side of a mailbox, [`Queue`]: signals that are fetched and not yet received.
//!
//! The queue is doubly linked, and only the process's owner touches it. A selective receive keeps
//! its position in a [`Cursor`]: it looks at each signal once, however often it is resumed, because
//! new signals are only ever appended. Any number of selective receives may be in progress at once,
//! in one queue.
//!
//! - **C1.** A selective receive numbers the signals that it finds without a number, in their
//!   order. So the numbered signals are the front of the queue, their numbers grow, and each signal
//!   is numbered once. A plain receive numbers nothing and pays nothing.
//! - **C2.** A cursor is the number of the last signal that its receive has looked at. Removals by
//!   other receives change no number, so a cursor is never wrong: its receive continues with the
//!   first signal of a higher number.
//! - **C3.** `seen` is only a hint: the signal where the latest receive has stopped. It is a signal
//!   of this queue, or null. A removal of that signal moves the hint to the one before. The
//!   position of another receive is found by a walk from the hint, the front or the end: from the
//!   nearest one.
//! - **C4.** When the numbers are used up, all signals are numbered anew and the *era* changes. A
//!   cursor of another era, or of another process, starts from the front.

use core::ptr::{self, NonNull};

use crate::mailbox::Segment;
use crate::pid::Pid;
use crate::signal::node::Node;

/// Fetched signals, oldest first. `repr(C)`: the fields that every message touches come first.
#[derive(Debug)]
#[repr(C)]
pub struct Queue {
    head: *mut Node,
    tail: *mut Node,
    len: u32,
    /// The number that was assigned last (C1).
    stamp: u32,
    /// The signal where the latest receive has stopped: a hint (C3).
    seen: *mut Node,
    /// The last signal that [`Queue::take_first`] has skipped; null for none.
    passed: *mut Node,
}

/// The position of a selective receive in the queue: the signals that it has looked at (see the
/// module).
///
/// A cursor that is out of date, or another process's, only makes its receive start from the front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    stamp: u32,
    era: u32,
    of: u64,
}

impl Cursor {
    /// Creates the cursor of a receive that has looked at nothing yet.
    pub const fn new() -> Self {
        Self { stamp: 0, era: 0, of: 0 }
    }
}

/// A snapshot of the numbers at one moment, to tell whether a signal has arrived since (see
/// [`Queue::has_newer`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    era: u32,
    stamp: u32,
}

impl Queue {
    /// Creates an empty queue.
    pub const fn new() -> Self {
        let none = ptr::null_mut();
        Self { head: none, tail: none, len: 0, stamp: 0, seen: none, passed: none }
    }

    /// Returns the number of signals.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns `true` if there is no signal.
    pub fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Returns the oldest signal, or null if there is none.
    pub fn first(&self) -> *mut Node {
        self.head
    }

    /// Returns the newest signal, or null if there is none.
    pub fn last(&self) -> *mut Node {
        self.tail
    }

    /// Numbers the signals that have no number yet (C1). `era` is this queue's. O(1) amortised: a
    /// signal is numbered once.
    pub fn number(&mut self, era: &mut u32) {
        let (mut first, mut at, mut count) = (ptr::null_mut(), self.tail, 0);
        while let Some(node) = NonNull::new(at) {
            // SAFETY: N1: the node is in this queue, so its owner holds it.
            if unsafe { Node::stamp(node) } != 0 {
                break;
            }
            (first, count) = (at, count + 1);
            // SAFETY: N1: the node is in this queue, so its owner holds it.
            at = unsafe { Node::prev(node) };
        }
        if self.stamp.checked_add(count).is_none() {
            // C4: the numbers are used up.
            *era = era.wrapping_add(1).max(1);
            (self.stamp, first) = (0, self.head);
        }
        while let Some(node) = NonNull::new(first) {
            self.stamp += 1;
            // SAFETY: N1: the node is in this queue, so its owner holds it.
            unsafe { Node::set_stamp(node, self.stamp) };
            // SAFETY: N1: the node is in this queue, so its owner holds it.
            first = unsafe { Node::next(node) };
        }
    }

    /// Starts or continues the scan of a cursor's receive. Returns the last signal that it has
    /// looked at and that is still here, or null, and the number of signals passed to find it. All
    /// signals in the queue are numbered.
    pub fn seek(&mut self, cursor: &mut Cursor, of: Pid, era: u32) -> (*mut Node, u32) {
        if cursor.era != era || cursor.of != of.to_raw() {
            *cursor = Cursor { stamp: 0, era, of: of.to_raw() };
        }
        let wanted = cursor.stamp;
        // SAFETY: C3, N1: null, or in this queue, so its owner holds it.
        let number = |node: *mut Node| NonNull::new(node).map_or(0, |node| unsafe { Node::stamp(node) });
        let newest = number(self.tail);
        if wanted >= newest {
            // There is nothing to look at: the hint stays with a receive that has something.
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
        // Walk back while it is too far, then forward as far as possible.
        while number(at) > wanted {
            // SAFETY: N1: its number is not 0, so not null; in this queue, so its owner holds it.
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

    /// Records that the receive which scans has looked at `node`.
    ///
    /// # Safety
    /// `node` is in this queue, and numbered.
    pub unsafe fn pass(&mut self, cursor: &mut Cursor, node: NonNull<Node>) {
        // SAFETY: N1: the node is in this queue (this function's contract), so its owner holds it.
        cursor.stamp = unsafe { Node::stamp(node) };
        self.seen = node.as_ptr();
    }

    /// Returns the signal where the latest receive has stopped (C3).
    pub fn seen(&self) -> *mut Node {
        self.seen
    }

    /// Returns a cursor that is past every signal that is in the queue now.
    pub fn cursor_at_end(&mut self, of: Pid, era: &mut u32) -> Cursor {
        self.number(era);
        Cursor { stamp: self.stamp, era: *era, of: of.to_raw() }
    }

    /// Returns a snapshot of the numbers.
    pub fn mark(&self, era: u32) -> Mark {
        Mark { era, stamp: self.stamp }
    }

    /// Returns `true` if a signal has arrived since the snapshot.
    pub fn has_newer(&self, mark: Mark, era: u32) -> bool {
        let Some(tail) = NonNull::new(self.tail) else { return false };
        // SAFETY: N1: the node is in this queue, so its owner holds it.
        let newest = unsafe { Node::stamp(tail) };
        newest == 0 || era != mark.era || newest > mark.stamp
    }

    /// Returns the signal after `node`, or the first one if `node` is null.
    ///
    /// # Safety
    /// `node` is null or in this queue.
    pub unsafe fn after(&self, node: *mut Node) -> *mut Node {
        match NonNull::new(node) {
            None => self.head,
            // SAFETY: N1: the node is in this queue, so its owner holds it.
            Some(node) => unsafe { Node::next(node) },
        }
    }

    /// Appends `node`.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1); it is in no queue (N2) and lives until removed.
    pub unsafe fn push_back(&mut self, node: NonNull<Node>) {
        // SAFETY: N1: the caller holds the node, so it is live (this function's contract).
        let inner = unsafe { node.as_ref() };
        // SAFETY: N1: the caller holds the node.
        unsafe { Node::set_next(node, ptr::null_mut()) };
        // SAFETY: N1: the caller holds the node.
        inner.prev.with_mut(|prev| unsafe { *prev = self.tail });
        match NonNull::new(self.tail) {
            None => self.head = node.as_ptr(),
            // SAFETY: N1: the tail is in this queue, so its owner holds it.
            Some(tail) => unsafe { Node::set_next(tail, node.as_ptr()) },
        }
        self.tail = node.as_ptr();
        self.len += 1;
    }

    /// Appends all signals of `piece`. O(1).
    pub fn append(&mut self, piece: Segment) {
        let Some(first) = NonNull::new(piece.first) else { return };
        // SAFETY: N1: the node is in the piece, so its holder holds the node.
        let inner = unsafe { first.as_ref() };
        // SAFETY: N1: the node is in the piece, so its holder holds the node.
        inner.prev.with_mut(|prev| unsafe { *prev = self.tail });
        match NonNull::new(self.tail) {
            None => self.head = piece.first,
            // SAFETY: N1: the tail is in this queue, so its owner holds it.
            Some(tail) => unsafe { Node::set_next(tail, piece.first) },
        }
        self.tail = piece.last;
        self.len += piece.len;
    }

    /// Removes and returns the oldest signal.
    #[inline]
    pub fn pop_front(&mut self) -> Option<NonNull<Node>> {
        let node = NonNull::new(self.head)?;
        // SAFETY: N1: the node is in this queue, so its owner holds it.
        self.head = unsafe { Node::next(node) };
        match NonNull::new(self.head) {
            None => self.tail = ptr::null_mut(),
            // SAFETY: N1: the node is in this queue, so its owner holds it.
            Some(head) => unsafe { head.as_ref() }.prev.with_mut(|prev| {
                // SAFETY: N1: the queue's owner holds the node.
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

    /// Removes and returns the oldest signal that `is` accepts. `is` must always be the same
    /// predicate: a signal that was skipped once is not checked again. O(1) amortised.
    pub fn take_first(&mut self, is: impl Fn(NonNull<Node>) -> bool) -> Option<NonNull<Node>> {
        loop {
            // SAFETY: null or in this queue: a removal would have moved it.
            let node = NonNull::new(unsafe { self.after(self.passed) })?;
            if is(node) {
                // SAFETY: `after` found the node in this queue.
                unsafe { self.remove(node) };
                return Some(node);
            }
            self.passed = node.as_ptr();
        }
    }

    /// Removes `node`, wherever it is. O(1).
    ///
    /// # Safety
    /// `node` is in this queue.
    pub unsafe fn remove(&mut self, node: NonNull<Node>) {
        // SAFETY: N1: the node is in this queue (this function's contract), so live and held.
        let inner = unsafe { node.as_ref() };
        // SAFETY: N1: the queue's owner holds the node.
        let next = unsafe { Node::next(node) };
        // SAFETY: N1: the queue's owner holds the node.
        let prev = inner.prev.with(|prev| unsafe { *prev });
        if self.seen == node.as_ptr() {
            self.seen = prev;
        }
        if self.passed == node.as_ptr() {
            self.passed = prev;
        }
        match NonNull::new(prev) {
            None => self.head = next,
            // SAFETY: N1: a neighbour is in this queue, so its owner holds it.
            Some(prev) => unsafe { Node::set_next(prev, next) },
        }
        match NonNull::new(next) {
            None => self.tail = prev,
            // SAFETY: N1: a neighbour is in this queue, so its owner holds it.
            Some(next) => unsafe { next.as_ref() }.prev.with_mut(|p| {
                // SAFETY: N1: the queue's owner holds the node.
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
