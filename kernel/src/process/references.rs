//! The source of a kernel's references, [`References`].
//!
//! References come from blocks that a core takes from one shared counter. Creating one touches no
//! shared data. References grow within a core, but not across cores. The slots of timers, which
//! name the timers, belong to the same source.

use crate::pid::Reference;
use crate::process::timer_slot::TimerSlots;
use crate::sync::{AtomicUsize, Ordering};

/// Number of low bits that number the references within a block.
const BLOCK_BITS: u32 = 16;

/// The counter from which cores take blocks of references. It belongs to one kernel, or to all
/// kernels that share it ([`crate::Options::references`]).
#[derive(Debug)]
pub struct References {
    next_block: AtomicUsize,
    /// The next reference of the block that all threads that are not cores share. It is a multiple
    /// of the block's length when no block is open.
    shared: AtomicUsize,
    /// The slots of timers. A timer is named by its slot.
    pub(crate) timers: TimerSlots,
}

impl References {
    /// Creates a counter that has given out no reference.
    pub fn new() -> Self {
        Self { next_block: AtomicUsize::new(0), shared: AtomicUsize::new(0), timers: TimerSlots::new() }
    }

    /// Returns the next reference of `block`, and refills the block when it is used up. Wait-free.
    ///
    /// Returns `None` when all 2^55 references (2^48 where pointers have 32 bits) have been given
    /// out. At ten million references a second this takes a century (a year with 32-bit pointers).
    pub(crate) fn next(&self, block: &mut ReferenceBlock) -> Option<Reference> {
        if block.next == block.end {
            // Relaxed: the counter orders nothing but itself.
            let number = self.next_block.fetch_add(1, Ordering::Relaxed) as u64;
            if number >= 1 << (55 - BLOCK_BITS) || number == usize::MAX as u64 {
                // Keep the counter exhausted: it must not wrap into blocks that were used.
                self.next_block.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
            block.next = number << BLOCK_BITS;
            block.end = block.next + (1 << BLOCK_BITS);
            if block.next == 0 {
                block.next = 1;
            }
        }
        let reference = Reference::from_raw(block.next);
        block.next += 1;
        reference
    }

    /// Returns the next reference of the block that all threads that are not cores share.
    /// Lock-free.
    pub(crate) fn next_of_all(&self) -> Option<Reference> {
        // Relaxed throughout: the counter orders nothing but itself.
        let mut next = self.shared.load(Ordering::Relaxed);
        loop {
            let mut taken = next;
            if next.is_multiple_of(1 << BLOCK_BITS) {
                // If this thread loses the exchange below, the block that it took is lost. The
                // first reference of each block is never used.
                let mut block = ReferenceBlock::default();
                taken = usize::try_from(self.next(&mut block)?.to_raw()).ok()? | 1;
            }
            match self.shared.compare_exchange_weak(next, taken.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Reference::from_raw(taken as u64),
                Err(now) => next = now,
            }
        }
    }
}

impl Default for References {
    fn default() -> Self {
        Self::new()
    }
}

/// The block of references that one core owns.
#[derive(Debug, Default)]
pub(crate) struct ReferenceBlock {
    next: u64,
    end: u64,
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn references_never_repeat_and_end_for_good() {
        let references = References::new();
        let (mut one, mut two) = (ReferenceBlock::default(), ReferenceBlock::default());
        let mut seen = alloc::collections::BTreeSet::new();
        for _ in 0..100_000 {
            assert!(seen.insert(references.next(&mut one).expect("plenty")));
            assert!(seen.insert(references.next(&mut two).expect("plenty")));
        }
        assert!(seen.iter().all(|r| r.to_raw() < 1 << 56));
        for _ in 0..200_000 {
            assert!(seen.insert(references.next_of_all().expect("plenty")));
        }
        if usize::BITS == 64 {
            references.next_block.store(1 << (55 - BLOCK_BITS), Ordering::Relaxed);
            let mut late = ReferenceBlock::default();
            assert_eq!(references.next(&mut late), None);
            assert_eq!(references.next(&mut late), None);
        }
    }
}
