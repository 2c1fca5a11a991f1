//! [`TimerSlots`], the table of all slots, and the chains of free ones.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::{self, NonNull};

use super::{
    ARMED, CANCELLED, CancelledFrom, GENERATION, LAST, MOST, Name, PREPARED, SEGMENTS, STATE, Slot, SlotRef, Steps,
    TIMER,
};
use crate::config::{FIRST_TIMERS, TIMER_SLOTS};
use crate::kernel_ptr::KernelPtr;
use crate::memory::NoMemory;
use crate::memory::pool::{KeptSlots, Pool};
use crate::pid::Reference;
use crate::process::timer_record::{CancelledTimer, TimerMessage};
use crate::sync::{AtomicPtr, AtomicU32, Ordering};

/// The table of all slots.
#[derive(Debug)]
pub(crate) struct TimerSlots {
    segments: [AtomicPtr<Slot>; SEGMENTS],
    /// The number of slots that were ever claimed.
    fresh: AtomicU32,
    /// The first slot of the common chain.
    chain: AtomicPtr<Slot>,
}

// SAFETY: the table owns its segments, and a slot is all atomic but for its constant index.
unsafe impl Send for TimerSlots {}
// SAFETY: threads share only atomics and the constant index of each slot.
unsafe impl Sync for TimerSlots {}

impl KeptSlots {
    #[inline]
    fn pop(&self) -> Option<SlotRef> {
        let slot = SlotRef::at(self.first.get().cast::<Slot>())?;
        self.first.set(next_of(&slot).cast());
        self.count.set(self.count.get() - 1);
        Some(slot)
    }

    #[inline]
    fn push(&self, slot: SlotRef) {
        // Relaxed: only the slot's holder reads `link`.
        slot.link.store(self.first.get(), Ordering::Relaxed);
        self.first.set(slot.0.as_ptr().cast());
        self.count.set(self.count.get() + 1);
    }
}

/// Returns the next slot of a chain that the caller owns.
#[inline]
fn next_of(slot: &Slot) -> *mut Slot {
    // Relaxed: the chain's handover made it visible.
    slot.link.load(Ordering::Relaxed).cast()
}

/// Returns a slot's segment, its offset in the segment, and the segment's length.
fn locate(index: u32) -> (usize, usize, usize) {
    // Segment s holds FIRST << s slots and starts at FIRST * (2^s - 1).
    let segment = (index / FIRST_TIMERS + 1).ilog2();
    let start = FIRST_TIMERS * ((1 << segment) - 1);
    (segment as usize, (index - start) as usize, (FIRST_TIMERS as usize) << segment)
}

impl TimerSlots {
    /// Creates an empty table.
    pub(crate) fn new() -> Self {
        Self {
            segments: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            fresh: AtomicU32::new(0),
            chain: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Claims a slot for the caller. Returns `None` without memory, or if there are already as many
    /// timers as references can name. Lock-free.
    #[inline]
    pub(crate) fn claim(&self, kernel: KernelPtr, kept: Option<&KeptSlots>) -> Option<SlotRef> {
        let slot = match kept.and_then(KeptSlots::pop) {
            Some(slot) => slot,
            None => self.claim_elsewhere(kept)?,
        };
        // Release: as in `Slot::begin`.
        slot.kernel.store(kernel.erased().as_ptr(), Ordering::Release);
        Some(slot)
    }

    #[cold]
    fn claim_elsewhere(&self, kept: Option<&KeptSlots>) -> Option<SlotRef> {
        // Relaxed: a hint. Acquire: pairs with the Release exchange in `give_to_all`.
        if !self.chain.load(Ordering::Relaxed).is_null()
            && let Some(slot) = SlotRef::at(self.chain.swap(ptr::null_mut(), Ordering::Acquire))
        {
            let mut rest = next_of(&slot);
            if let Some(kept) = kept {
                while kept.count.get() < TIMER_SLOTS
                    && let Some(more) = SlotRef::at(rest)
                {
                    rest = next_of(&more);
                    kept.push(more);
                }
            }
            self.give_back_rest(rest);
            return Some(slot);
        }
        self.claim_fresh()
    }

    fn claim_fresh(&self) -> Option<SlotRef> {
        // Relaxed: only a counter; the segment has its own ordering.
        let mut fresh = self.fresh.load(Ordering::Relaxed);
        loop {
            if fresh >= MOST {
                return None;
            }
            self.grow_to(fresh).ok()?;
            match self.fresh.compare_exchange_weak(fresh, fresh + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return self.slot(fresh),
                Err(now) => fresh = now,
            }
        }
    }

    fn grow_to(&self, index: u32) -> Result<(), NoMemory> {
        let (segment, _, len) = locate(index);
        let place = &self.segments[segment];
        if !place.load(Ordering::Acquire).is_null() {
            return Ok(());
        }
        let mut slots = Vec::new();
        slots.try_reserve_exact(len).map_err(|_| NoMemory)?;
        let first = FIRST_TIMERS * ((1 << segment) - 1);
        slots.extend((first..).take(len).map(Slot::new));
        // The vector is full, so the box has its memory.
        let memory = Box::into_raw(slots.into_boxed_slice());
        // Release: pairs with the Acquire load in `slot`. Acquire on failure: another thread
        // allocated the segment, and we use its memory.
        let put = place.compare_exchange(ptr::null_mut(), memory.cast(), Ordering::Release, Ordering::Acquire);
        if put.is_err() {
            // SAFETY: the box of above, which was never published.
            drop(unsafe { Box::from_raw(memory) });
        }
        Ok(())
    }

    fn slot(&self, index: u32) -> Option<SlotRef> {
        let (segment, offset, _) = locate(index);
        // Acquire: pairs with the Release exchange in `grow_to`, so the slots are initialised.
        let slots = NonNull::new(self.segments.get(segment)?.load(Ordering::Acquire))?;
        // A published segment contains this slot.
        SlotRef::at(slots.as_ptr().wrapping_add(offset))
    }

    fn of(&self, reference: Reference) -> Option<SlotRef> {
        if reference.to_raw() & TIMER == 0 {
            return None;
        }
        self.slot(reference.to_raw() as u32 & (MOST - 1))
    }

    /// (3) Cancels the timer of this kernel that `reference` names. Returns `None` if the timer has
    /// ended or never belonged to this kernel. Lock-free: an exchange fails only because the timer
    /// reaches its wheel, or ends.
    pub(crate) fn cancel<S: Steps>(&self, reference: Reference, kernel: KernelPtr) -> Option<CancelledFrom> {
        let slot = self.of(reference)?;
        let mut wanted = Name::new(reference, false).waits();
        // Acquire: pairs with the Release store in `begin`.
        let mut word = slot.word.load(Ordering::Acquire);
        if !S::HEEDS_THE_GENERATION {
            wanted = [word & !STATE | PREPARED, word & !STATE | ARMED];
        }
        loop {
            let state = wanted.iter().position(|wanted| *wanted == word)?;
            // Acquire: as in `read`. If the value is not this timer's, the exchange fails.
            if slot.kernel.load(Ordering::Acquire) != kernel.erased().as_ptr() {
                return None;
            }
            // AcqRel: pairs with `begin`, so that we see the record, and with the other exchanges.
            match slot.word.compare_exchange(word, word & !STATE | CANCELLED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // Relaxed: the exchange showed that the link is this timer's, and it stays
                    // until the record's last reference is released.
                    let timer = NonNull::new(slot.link.load(Ordering::Relaxed))?.cast();
                    return Some(if state == 0 {
                        // SAFETY: S2: the exchange above cancelled it, in transit.
                        CancelledFrom::Transit(unsafe { TimerMessage::of(timer) })
                    } else {
                        // SAFETY: S2: the exchange above cancelled it, while it was ARMED.
                        CancelledFrom::Wheel(unsafe { CancelledTimer::of(timer) })
                    });
                }
                Err(now) => word = now,
            }
        }
    }

    /// Returns the due time of the timer of this kernel that `reference` names, if it is pending.
    /// Wait-free.
    pub(crate) fn read<S: Steps>(&self, reference: Reference, kernel: KernelPtr) -> Option<u64> {
        let slot = self.of(reference)?;
        let wanted = Name::new(reference, false).waits();
        // Acquire, all but the last: a load that sees a later timer's value also sees the outcome
        // of the timer before it (S3).
        if !wanted.contains(&slot.word.load(Ordering::Acquire)) {
            return None;
        }
        let kernel_of = slot.kernel.load(Ordering::Acquire);
        let (low, high) = (slot.due[0].load(Ordering::Acquire), slot.due[1].load(Ordering::Acquire));
        let same = wanted.contains(&slot.word.load(Ordering::Relaxed)) || !S::LOOKS_AGAIN;
        (same && kernel_of == kernel.erased().as_ptr()).then_some(u64::from(high) << 32 | u64::from(low))
    }

    /// (5) Gives back the slot of a timer whose record ends, or a slot that no timer used.
    ///
    /// # Safety
    /// The caller holds the slot, which is one of these slots, and what `pool` keeps, if there is
    /// one.
    #[inline]
    pub(crate) unsafe fn give_back(&self, slot: SlotRef, name: Name, pool: Option<&Pool>) {
        if name.0 >> GENERATION == LAST {
            return;
        }
        let Some(pool) = pool else { return self.give_to_all(slot, slot) };
        let kept = &pool.timer_slots;
        kept.push(slot);
        if kept.count.get() >= 2 * TIMER_SLOTS {
            self.spill(kept, TIMER_SLOTS);
        }
    }

    /// Moves the free slots that a core keeps to the common chain, except `but` of them.
    #[cold]
    pub(crate) fn spill(&self, kept: &KeptSlots, but: u32) {
        let Some(first) = SlotRef::at(kept.first.get().cast::<Slot>()) else { return };
        let mut last = first;
        let mut taken = 1;
        loop {
            let next = next_of(&last);
            match SlotRef::at(next) {
                Some(more) if kept.count.get() - taken > but => {
                    last = more;
                    taken += 1;
                }
                _ => {
                    kept.first.set(next.cast());
                    kept.count.set(kept.count.get() - taken);
                    return self.give_to_all(first, last);
                }
            }
        }
    }

    /// Gives back the rest of a chain that was taken as a whole. Searches for its end only if
    /// another thread has added slots in between.
    fn give_back_rest(&self, first: *mut Slot) {
        let Some(first) = SlotRef::at(first) else { return };
        // Release: as in `give_to_all`.
        if self.chain.compare_exchange(ptr::null_mut(), first.0.as_ptr(), Ordering::Release, Ordering::Relaxed).is_ok()
        {
            return;
        }
        let mut last = first;
        while let Some(next) = SlotRef::at(next_of(&last)) {
            last = next;
        }
        self.give_to_all(first, last);
    }

    fn give_to_all(&self, first: SlotRef, last: SlotRef) {
        // Relaxed: only compared, never dereferenced.
        let mut chain = self.chain.load(Ordering::Relaxed);
        loop {
            // Relaxed: published by the exchange.
            last.link.store(chain.cast(), Ordering::Relaxed);
            // Release: pairs with the Acquire swap in `claim_elsewhere`, which thereby sees the
            // slots and their generations.
            match self.chain.compare_exchange_weak(chain, first.0.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => chain = now,
            }
        }
    }
}

impl Drop for TimerSlots {
    fn drop(&mut self) {
        for (number, place) in self.segments.iter().enumerate() {
            if let Some(segment) = NonNull::new(place.load(Ordering::Acquire)) {
                let slots = ptr::slice_from_raw_parts_mut(segment.as_ptr(), (FIRST_TIMERS as usize) << number);
                // SAFETY: `grow_to` made the segment of a box of this length; no thread uses it
                // again.
                drop(unsafe { Box::from_raw(slots) });
            }
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::super::FIRED;
    use super::*;
    use crate::kernel::platform::Nowhere;
    use crate::kernel::{Kernel, Options};
    use crate::reclaim::Domain;
    use alloc::sync::Arc;

    #[test]
    fn locate_maps_indices_to_consecutive_places() {
        let mut expected = (0, 0);
        for index in 0..10_000 {
            let (segment, offset, len) = locate(index);
            assert_eq!((segment, offset), expected);
            expected = if offset + 1 == len { (segment + 1, 0) } else { (segment, offset + 1) };
        }
        let (segment, offset, len) = locate(MOST - 1);
        assert!(segment < SEGMENTS && offset < len);
    }

    #[test]
    fn slot_with_last_generation_is_not_reused() {
        let kernel = Kernel::new(Options::default(), Domain::new(), Arc::new(Nowhere));
        let slots = TimerSlots::new();
        let slot = slots.claim(KernelPtr::of(&kernel), None).expect("enough memory for a slot");
        slot.word.store((LAST - 1) << GENERATION | FIRED, Ordering::Relaxed);
        // SAFETY: the slot was claimed above and is not used by a timer.
        unsafe { slots.give_back(slot, Name((LAST - 1) << GENERATION), None) };
        assert_eq!(slots.claim(KernelPtr::of(&kernel), None), Some(slot));
        let last = slot.reference().expect("one generation is left");
        assert!(last.to_raw() >> 56 == 0 && last.to_raw() & TIMER != 0);
        slot.word.store(LAST << GENERATION | CANCELLED, Ordering::Relaxed);
        // SAFETY: the slot was claimed above and is not used by a timer.
        unsafe { slots.give_back(slot, Name(LAST << GENERATION), None) };
        assert_ne!(slots.claim(KernelPtr::of(&kernel), None), Some(slot), "the slot has no generation left");
    }
}
