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
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::config::RING;
use crate::runq::node::{HeldRunNode, RunNode};
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

/// The owner's side of a ring, which stays on the owner's thread.
#[derive(Clone, Copy, Debug)]
pub struct RingOwner<'r>(&'r Ring, PhantomData<*mut ()>);

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

    /// Returns the node of a slot that this core has just claimed, by a change of the head.
    #[inline(always)]
    fn take_claimed(&self, position: Position) -> Option<HeldRunNode> {
        // Relaxed: the owner wrote the slot, or the thief has acquired the tail.
        let node = NonNull::new(self.place(position).load(Ordering::Relaxed))?;
        // SAFETY: R1, the ring has its nodes. The core whose change of the head takes a slot out of
        // the queued ones gets the slot's node, and the owner writes there only after that.
        Some(unsafe { HeldRunNode::new(node) })
    }

    /// Returns the owner's side.
    ///
    /// # Safety
    /// The caller is the ring's owner: no other thread has an owner's side of the ring in the
    /// meantime.
    #[inline(always)]
    pub const unsafe fn owner(&self) -> RingOwner<'_> {
        RingOwner(self, PhantomData)
    }

    /// Takes the older half, calls `take` for each node, and returns their number. Lock-free.
    pub fn steal(&self, mut take: impl FnMut(HeldRunNode)) -> usize {
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
            take(self.take_claimed(first.wrapping_add(i)).expect("a queued slot holds a node"));
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

    /// Returns the number of nodes. Only a hint.
    pub fn len(&self) -> usize {
        let head = RingIndices::unpack(self.head.load(Ordering::Acquire));
        let len = (self.tail.load(Ordering::Acquire) as Position).wrapping_sub(head.real);
        // The two are of different moments: the owner and thieves may have moved both.
        (len as usize).min(RING)
    }

    /// Returns `true` if the ring is empty. Only a hint, unless the fences of the park protocol
    /// surround it.
    pub fn is_empty(&self) -> bool {
        let head = RingIndices::unpack(self.head.load(Ordering::Acquire));
        head.real == self.tail.load(Ordering::Acquire) as Position
    }
}

impl RingOwner<'_> {
    /// Appends a node, or gives it back if the ring is full. Wait-free.
    #[inline(always)]
    pub fn push(self, node: HeldRunNode) -> Result<(), HeldRunNode> {
        let ring = self.0;
        // Acquire: pairs with the exchange that ends a steal. Without it we could overwrite slots
        // that the thief still reads.
        let head = RingIndices::unpack(ring.head.load(Ordering::Acquire));
        // Relaxed: only the owner writes the tail.
        let tail = ring.tail.load(Ordering::Relaxed) as Position;
        if tail.wrapping_sub(head.steal) as usize >= RING {
            return Err(node);
        }
        // Relaxed: published by the tail.
        ring.place(tail).store(node.into_raw().as_ptr(), Ordering::Relaxed);
        // Release: pairs with the Acquire load of the tail in `steal`: the thief sees the slot and
        // the process as written.
        ring.tail.store(tail.wrapping_add(1) as usize, Ordering::Release);
        Ok(())
    }

    /// Takes the first node. Lock-free.
    pub fn pop(self) -> Option<HeldRunNode> {
        let ring = self.0;
        let mut word = ring.head.load(Ordering::Acquire);
        let tail = ring.tail.load(Ordering::Relaxed) as Position;
        loop {
            let head = RingIndices::unpack(word);
            if head.real == tail {
                return None;
            }
            let real = head.real.wrapping_add(1);
            let steal = if head.steal == head.real { real } else { head.steal };
            let next = RingIndices { steal, real }.pack();
            // AcqRel: orders our claim with the thieves' claims.
            match ring.head.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return ring.take_claimed(head.real),
                Err(now) => word = now,
            }
        }
    }

    /// Takes the first node of a ring from which no core steals. Wait-free.
    ///
    /// # Safety
    /// No thread calls [`Ring::steal`] at the same time.
    #[inline]
    pub unsafe fn pop_single_core(self) -> Option<HeldRunNode> {
        let ring = self.0;
        // Relaxed throughout: no other thread writes these words.
        let real = RingIndices::unpack(ring.head.load(Ordering::Relaxed)).real;
        if real == ring.tail.load(Ordering::Relaxed) as Position {
            return None;
        }
        let next = real.wrapping_add(1);
        ring.head.store(RingIndices { steal: next, real: next }.pack(), Ordering::Relaxed);
        ring.take_claimed(real)
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}
