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
//! - **C5.** A place (`Place`) is a node of this queue, or none: places come only from the queue
//!   and from the links of its nodes, stay inside this module, and a removal leaves none behind.
//!   The queue's owner holds its nodes (`node`, N1).

use core::ptr::{self, NonNull};

use crate::mailbox::Segment;
use crate::pid::Pid;
use crate::signal::held::{HeldNode, NodeRef};
use crate::signal::node::Node;

/// A node of a queue, or none (C5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place(*mut Node);

impl Place {
    const NONE: Self = Self(ptr::null_mut());

    #[inline(always)]
    fn is_none(self) -> bool {
        self.0.is_null()
    }

    /// Returns the node here. The queue's owner uses it before it changes the queue.
    #[inline(always)]
    fn node<'q>(self) -> Option<NodeRef<'q>> {
        // SAFETY: C5, N1: the node is in the queue, so the queue's owner holds it.
        NonNull::new(self.0).map(|node| unsafe { NodeRef::of(node) })
    }

    /// Returns the place before this one.
    #[inline(always)]
    fn before(self) -> Self {
        self.node().map_or(Self::NONE, |node| Self(node.prev()))
    }

    /// Returns the node's number; 0 for none.
    #[inline(always)]
    fn stamp(self) -> u32 {
        self.node().map_or(0, NodeRef::stamp)
    }

    /// Returns the right to the node here, which the caller has taken out of the queue.
    ///
    /// # Safety
    /// No place of the queue is this one from here on (C5).
    #[inline(always)]
    unsafe fn take(self) -> Option<HeldNode> {
        // SAFETY: H1: the queue's owner holds its nodes, and this one is no longer in the queue
        // (this function's contract).
        NonNull::new(self.0).map(|node| unsafe { HeldNode::from_raw(node) })
    }
}

/// Fetched signals, oldest first. `repr(C)`: the fields that every message touches come first.
///
/// A queue that is dropped leaks what it still has: releasing a signal may run foreign code, which
/// the owner does explicitly.
#[derive(Debug)]
#[repr(C)]
pub struct Queue {
    head: Place,
    tail: Place,
    len: u32,
    /// The number that was assigned last (C1).
    stamp: u32,
    /// The signal where the latest receive has stopped: a hint (C3).
    seen: Place,
    /// The last signal that [`Queue::take_first`] has skipped; none at first.
    passed: Place,
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
        let none = Place::NONE;
        Self { head: none, tail: none, len: 0, stamp: 0, seen: none, passed: none }
    }

    /// Returns the number of signals.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns `true` if there is no signal.
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Returns the address of the oldest signal, or null if there is none.
    pub fn first(&self) -> *mut Node {
        self.head.0
    }

    /// Returns the address of the newest signal, or null if there is none.
    pub fn last(&self) -> *mut Node {
        self.tail.0
    }

    /// Numbers the signals that have no number yet (C1). `era` is this queue's. O(1) amortised: a
    /// signal is numbered once.
    pub fn number(&mut self, era: &mut u32) {
        let (mut first, mut at, mut count) = (Place::NONE, self.tail, 0);
        while let Some(node) = at.node() {
            if node.stamp() != 0 {
                break;
            }
            (first, count) = (at, count + 1);
            at = at.before();
        }
        if self.stamp.checked_add(count).is_none() {
            // C4: the numbers are used up.
            *era = era.wrapping_add(1).max(1);
            (self.stamp, first) = (0, self.head);
        }
        while let Some(node) = first.node() {
            self.stamp += 1;
            node.set_stamp(self.stamp);
            first = self.after(first);
        }
    }

    /// Starts or continues the scan of a cursor's receive. Returns `true` if the queue has a signal
    /// that the receive has not looked at, which is then the candidate ([`Queue::candidate`]), and
    /// the number of signals passed to find it. All signals in the queue are numbered.
    pub fn seek(&mut self, cursor: &mut Cursor, of: Pid, era: u32) -> (bool, u32) {
        if cursor.era != era || cursor.of != of.to_raw() {
            *cursor = Cursor { stamp: 0, era, of: of.to_raw() };
        }
        let wanted = cursor.stamp;
        let newest = self.tail.stamp();
        if wanted >= newest {
            // There is nothing to look at: the hint stays with a receive that has something.
            return (false, 0);
        }
        let from_here = wanted.abs_diff(self.seen.stamp());
        let mut at = if newest - wanted < from_here {
            self.tail
        } else if wanted < from_here {
            Place::NONE
        } else {
            self.seen
        };
        let mut passed = 0;
        // Walk back while it is too far, then forward as far as possible.
        while at.stamp() > wanted {
            at = at.before();
            passed += 1;
        }
        loop {
            let next = self.after(at);
            if next.is_none() || next.stamp() > wanted {
                break;
            }
            at = next;
            passed += 1;
        }
        self.seen = at;
        (true, passed)
    }

    /// Returns the signal that the scanning receive looks at next: the one after the hint (C3), to
    /// which the last [`Queue::seek`] or [`Queue::pass`] has set it.
    pub fn candidate(&self) -> Option<NodeRef<'_>> {
        self.after(self.seen).node()
    }

    /// Records that the scanning receive has looked at the candidate, and does not want it.
    pub fn pass(&mut self, cursor: &mut Cursor) {
        let candidate = self.after(self.seen);
        if let Some(node) = candidate.node() {
            cursor.stamp = node.stamp();
            self.seen = candidate;
        }
    }

    /// Removes and returns the candidate. O(1).
    pub fn take_candidate(&mut self) -> Option<HeldNode> {
        self.remove_at(self.after(self.seen))
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
        let Some(tail) = self.tail.node() else { return false };
        let newest = tail.stamp();
        newest == 0 || era != mark.era || newest > mark.stamp
    }

    /// Returns the place after `at`, or the first one after none.
    fn after(&self, at: Place) -> Place {
        at.node().map_or(self.head, |node| Place(node.next()))
    }

    /// Appends a signal.
    #[inline]
    pub fn push_back(&mut self, node: HeldNode) {
        node.view().set_next(ptr::null_mut());
        node.view().set_prev(self.tail.0);
        let node = Place(node.into_raw().as_ptr());
        match self.tail.node() {
            None => self.head = node,
            Some(tail) => tail.set_next(node.0),
        }
        self.tail = node;
        self.len += 1;
    }

    /// Appends all signals of `piece`. O(1).
    pub fn append(&mut self, piece: Segment) {
        let (first, last, len) = piece.into_raw();
        let (first, last) = (Place(first), Place(last));
        // The piece passes its nodes to the queue.
        let Some(node) = first.node() else { return };
        node.set_prev(self.tail.0);
        match self.tail.node() {
            None => self.head = first,
            Some(tail) => tail.set_next(first.0),
        }
        self.tail = last;
        self.len += len;
    }

    /// Removes and returns the oldest signal.
    #[inline]
    pub fn pop_front(&mut self) -> Option<HeldNode> {
        let first = self.head;
        self.head = Place(first.node()?.next());
        match self.head.node() {
            None => self.tail = Place::NONE,
            Some(head) => head.set_prev(ptr::null_mut()),
        }
        if self.seen == first {
            self.seen = Place::NONE;
        }
        if self.passed == first {
            self.passed = Place::NONE;
        }
        self.len -= 1;
        // SAFETY: C5: the lines above took the node out: it is neither an end, nor a hint, nor a
        // neighbour.
        unsafe { first.take() }
    }

    /// Removes and returns the oldest signal that `is` accepts. `is` must always be the same
    /// predicate: a signal that was skipped once is not checked again. O(1) amortised.
    pub fn take_first(&mut self, is: impl Fn(NodeRef<'_>) -> bool) -> Option<HeldNode> {
        loop {
            let at = self.after(self.passed);
            if is(at.node()?) {
                return self.remove_at(at);
            }
            self.passed = at;
        }
    }

    /// Removes and returns a signal of this queue, wherever it is. O(1).
    ///
    /// # Safety
    /// `node` is in this queue.
    pub unsafe fn remove(&mut self, node: NonNull<Node>) -> Option<HeldNode> {
        self.remove_at(Place(node.as_ptr()))
    }

    fn remove_at(&mut self, at: Place) -> Option<HeldNode> {
        let node = at.node()?;
        let (prev, next) = (Place(node.prev()), Place(node.next()));
        if self.seen == at {
            self.seen = prev;
        }
        if self.passed == at {
            self.passed = prev;
        }
        match prev.node() {
            None => self.head = next,
            Some(prev) => prev.set_next(next.0),
        }
        match next.node() {
            None => self.tail = prev,
            Some(next) => next.set_prev(prev.0),
        }
        self.len -= 1;
        // SAFETY: C5: the lines above took the node out: it is neither an end, nor a hint, nor a
        // neighbour.
        unsafe { at.take() }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}
