//! [`Ring`]: a bounded queue with one owner, from which other cores steal.
//!
//! The owner pushes at the tail and pops at the head; a thief takes half from the head. The head is
//! one word with two positions, `(steal, real)`:
//!
//! ```text
//!      steal        real             tail
//!        │ being copied │   queued     │    free (up to steal + RING)
//! ```
//!
//! `steal == real` unless a thief is copying. A thief claims slots by moving `real` (so that no
//! other core takes those slots), copies them, then moves `steal` up to `real` (so that the owner
//! may write there again). One thief at a time: another thief that finds `steal != real` goes to
//! the next ring. Positions are half a word and wrap: on 64 bits a thief would have to sleep
//! through 2^32 pushes to mistake an old head for a new one.
//!
//! Progress: `push` is wait-free; `pop` and `steal` are lock-free. A thief that is suspended while
//! it copies makes the ring smaller, and has no other effect.

use alloc::boxed::Box;
use core::ptr::{self, NonNull};

use crate::config::RING;
use crate::runq::node::RunNode;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering};

/// A position in the ring, half a word.
#[cfg(target_pointer_width = "64")]
type Position = u32;
#[cfg(not(target_pointer_width = "64"))]
type Position = u16;

const _: () = assert!(RING.is_power_of_two() && RING <= 1 << 15);

/// A bounded single-owner queue with stealing; see the module.
#[derive(Debug)]
pub struct Ring {
    head: AtomicUsize,
    tail: AtomicUsize,
    places: Box<[AtomicPtr<RunNode>; RING]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct RingIndices {
    steal: Position,
    real: Position,
}

impl RingIndices {
    fn unpack(word: usize) -> Self {
        Self { steal: (word >> Position::BITS) as Position, real: word as Position }
    }

    fn pack(self) -> usize {
        (self.steal as usize) << Position::BITS | self.real as usize
    }
}

impl Ring {
    /// Creates an empty ring.
    pub fn new() -> Self {
        Self {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            places: Box::new(core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()))),
        }
    }

    fn place(&self, position: Position) -> &AtomicPtr<RunNode> {
        &self.places[position as usize & (RING - 1)]
    }

    /// Appends a node. Returns `false` if the ring is full. Wait-free.
    ///
    /// # Safety
    /// The caller is the ring's owner and has the node (R1).
    pub unsafe fn push(&self, node: NonNull<RunNode>) -> bool {
        // Acquire: pairs with the exchange that ends a steal. Without it we could overwrite slots
        // that the thief still reads.
        let head = RingIndices::unpack(self.head.load(Ordering::Acquire));
        // Relaxed: only the owner writes the tail.
        let tail = self.tail.load(Ordering::Relaxed) as Position;
        if tail.wrapping_sub(head.steal) as usize >= RING {
            return false;
        }
        // Relaxed: published by the tail.
        self.place(tail).store(node.as_ptr(), Ordering::Relaxed);
        // Release: pairs with the Acquire load of the tail in `steal`: the thief sees the slot and
        // the process as written.
        self.tail.store(tail.wrapping_add(1) as usize, Ordering::Release);
        true
    }

    /// Takes the first node. Lock-free.
    ///
    /// # Safety
    /// The caller is the ring's owner.
    pub unsafe fn pop(&self) -> Option<NonNull<RunNode>> {
        let mut word = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Relaxed) as Position;
        loop {
            let head = RingIndices::unpack(word);
            if head.real == tail {
                return None;
            }
            let real = head.real.wrapping_add(1);
            let steal = if head.steal == head.real { real } else { head.steal };
            let next = RingIndices { steal, real }.pack();
            // AcqRel: orders our claim with the thieves' claims.
            match self.head.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return NonNull::new(self.place(head.real).load(Ordering::Relaxed)),
                Err(now) => word = now,
            }
        }
    }

    /// Takes the first node of a ring from which no core steals. Wait-free.
    ///
    /// # Safety
    /// The caller is the ring's owner, and no thread calls [`Ring::steal`] at the same time.
    #[inline]
    pub unsafe fn pop_single_core(&self) -> Option<NonNull<RunNode>> {
        // Relaxed throughout: no other thread writes these words.
        let real = RingIndices::unpack(self.head.load(Ordering::Relaxed)).real;
        if real == self.tail.load(Ordering::Relaxed) as Position {
            return None;
        }
        let next = real.wrapping_add(1);
        self.head.store(RingIndices { steal: next, real: next }.pack(), Ordering::Relaxed);
        NonNull::new(self.place(real).load(Ordering::Relaxed))
    }

    /// Takes the older half, calls `take` for each node, and returns their number. Lock-free.
    pub fn steal(&self, mut take: impl FnMut(NonNull<RunNode>)) -> usize {
        let mut word = self.head.load(Ordering::Acquire);
        let (first, count) = loop {
            let head = RingIndices::unpack(word);
            // Acquire: pairs with the Release store in `push`.
            let tail = self.tail.load(Ordering::Acquire) as Position;
            if head.steal != head.real {
                return 0;
            }
            let queued = tail.wrapping_sub(head.real);
            let count = queued - queued / 2;
            if count == 0 || queued as usize > RING {
                return 0;
            }
            let next = RingIndices { steal: head.steal, real: head.real.wrapping_add(count) }.pack();
            match self.head.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break (head.real, count),
                Err(now) => word = now,
            }
        };
        for i in 0..count {
            // Relaxed: `tail` was acquired, and the slots are ours until `steal` moves.
            let node = self.place(first.wrapping_add(i)).load(Ordering::Relaxed);
            take(NonNull::new(node).expect("a queued slot holds a node"));
        }
        let mut word = self.head.load(Ordering::Acquire);
        loop {
            let head = RingIndices::unpack(word);
            let next = RingIndices { steal: head.real, real: head.real }.pack();
            // Release: pairs with the Acquire load in `push`. Our reads of the slots come before
            // the owner's next writes there.
            match self.head.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return count as usize,
                Err(now) => word = now,
            }
        }
    }

    /// Returns `true` if the ring is empty. Only a hint, unless the fences of the park protocol
    /// surround it.
    pub fn is_empty(&self) -> bool {
        let head = RingIndices::unpack(self.head.load(Ordering::Acquire));
        head.real == self.tail.load(Ordering::Acquire) as Position
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}
