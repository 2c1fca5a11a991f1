//! [`TimerSlots`], the table through which every process, and the host, finds a timer by its
//! reference.
//!
//! A timer's record is shared by its starter, its wheel and its target, and is freed when the last
//! of them releases it. Everything that any thread may read is in a [`Slot`]: whether the timer is
//! still pending, when it is due, and its record. A slot's memory is never freed while a kernel has
//! the table. A timer's reference is its slot's index (26 bits) and the slot's generation (29
//! bits), below a bit that no other reference has. So any thread cancels a timer by a lookup and
//! one exchange. No process gets a request, no core takes part, and the starter may be dead.
//!
//! ```text
//!  free ── begin (1) ──▶ PREPARED ── arm (2) ──▶ ARMED ── fire (4) ──▶ FIRED ─────┐
//!   ▲          │             │                    ▲ │                             │
//!   │          └───────────── begin (1) ──────────┘ │                             │
//!   │                        └───── cancel (3) ─────┴────▶ CANCELLED ─────────────┤
//!   └───────────────────────────────── give_back (5) ◀────────────────────────────┘
//! ```
//!
//! (1) belongs to the starter. It leads straight to ARMED if the timer is already on a wheel.
//! PREPARED timers are started on behalf of a process ([`crate::Caller`]) and are in transit to
//! that process's core, until the core puts them on its wheel (2). (5) happens when the last
//! reference to the record is released.
//!
//! - **S1, one outcome.** (2), (3) and (4) are exchanges of one word, which also holds the
//!   generation. So a thread whose exchange succeeds has changed exactly that timer. Only one of
//!   (3) and (4) succeeds, once; (2) may come before it. A stale reference never affects the slot's
//!   next timer.
//! - **S2, the wheel's reference.** The thread that succeeds in (3) or (4) owns the message and the
//!   wheel's reference to the record from then on. So a canceller needs no reference of its own to
//!   use the record: while the word is PREPARED or ARMED, no thread releases the wheel's reference.
//!   A thread whose (2) fails has the starter's reference only.
//! - **S3, reading.** A reader reads `due`, `kernel` and the generation, then reads the word again.
//!   If the word is still this timer's, so are the values read in between. They are written only by
//!   the claim and (1), after the last timer's outcome.
//! - **S4, which kernel.** Kernels may share a table of slots, as they share the counter of their
//!   references, so that no two kernels have the same reference. A thread that looks a timer up
//!   compares `kernel`, and never dereferences it. Alarms resume their own process and concern no
//!   other process. They have a bit of their own in the word (OWN), and lookups do not find them.
//! - **S5, exhaustion.** A slot with the last generation is not given back.
//!
//! Free slots are linked and kept for reuse. Each core keeps some in its pool; a surplus goes to a
//! common chain that is only ever taken as a whole (no ABA). All operations are lock-free, a lookup
//! is wait-free, and only growth allocates.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Deref;
use core::ptr::{self, NonNull};

use crate::config::{FIRST_TIMERS, TIMER_SLOTS};
use crate::kernel_ptr::KernelPtr;
use crate::memory::NoMemory;
use crate::memory::pool::{KeptSlots, Pool};
use crate::pid::Reference;
use crate::process::timer_record::{CancelledTimer, TimerHead, TimerMessage};
use crate::shipped::Shipped;
use crate::sync::{AtomicPtr, AtomicU32, Ordering};

const INDEX_BITS: u32 = 26;
const GENERATION_BITS: u32 = 29;
/// The bit that distinguishes a timer's reference from every other reference.
const TIMER: u64 = 1 << 55;
const _: () = assert!(1 << (INDEX_BITS + GENERATION_BITS) == TIMER, "a reference has 56 bits");
const MOST: u32 = 1 << INDEX_BITS;
const SEGMENTS: usize = (u32::BITS - (MOST / FIRST_TIMERS).leading_zeros()) as usize;

/// The mask of the state, in the word below the generation.
const STATE: u32 = 0b11;
const PREPARED: u32 = 0;
const ARMED: u32 = 1;
const FIRED: u32 = 2;
const CANCELLED: u32 = 3;
/// The bit of a timer that only its owner can find (S4).
const OWN: u32 = 0b100;
const GENERATION: u32 = 3;
const LAST: u32 = (1 << GENERATION_BITS) - 1;

/// The steps that are easy to forget. A model can omit one and see the failure.
pub trait Steps: 'static {
    /// The thread that fires a timer checks if it was cancelled.
    const ASKS: bool = true;
    /// A thread that cancels by reference compares the generation.
    const HEEDS_THE_GENERATION: bool = true;
    /// A reader reads the word a second time.
    const LOOKS_AGAIN: bool = true;
}

impl Steps for Shipped {}

/// The shared state of one timer; see the module.
#[derive(Debug)]
pub(crate) struct Slot {
    word: AtomicU32,
    index: u32,
    /// The timer's record; in a free slot, the next free slot.
    link: AtomicPtr<()>,
    kernel: AtomicPtr<()>,
    /// The due time: the low half, then the high half.
    due: [AtomicU32; 2],
}

/// A timer that was cancelled by its reference, by the state that it had. Its wheel's reference
/// comes with it (S2).
#[derive(Debug)]
pub(crate) enum CancelledFrom {
    /// In transit to a wheel. The party that has it in transit releases the other reference.
    Transit(TimerMessage),
    /// On its core's wheel.
    Wheel(CancelledTimer),
}

/// A pointer to a slot. The slots of a table live as long as the table, which outlives the kernels
/// that use it, and their records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlotRef(NonNull<Slot>);

// SAFETY: a slot is all atomic but for its constant index.
unsafe impl Send for SlotRef {}
// SAFETY: a slot is all atomic but for its constant index.
unsafe impl Sync for SlotRef {}

impl SlotRef {
    /// Returns the slot at a pointer into a segment of the table, or at a link of its chains.
    #[inline]
    fn at(link: *mut Slot) -> Option<Self> {
        NonNull::new(link).map(Self)
    }
}

impl Deref for SlotRef {
    type Target = Slot;

    #[inline(always)]
    fn deref(&self) -> &Slot {
        // SAFETY: `at` got a pointer to a slot of the table, and the slots live as long as the
        // table.
        unsafe { self.0.as_ref() }
    }
}

impl Slot {
    fn new(index: u32) -> Self {
        Self {
            // Cancelled: a forged reference of generation 0, which no timer has, finds no pending
            // timer.
            word: AtomicU32::new(CANCELLED),
            index,
            link: AtomicPtr::new(ptr::null_mut()),
            kernel: AtomicPtr::new(ptr::null_mut()),
            due: [AtomicU32::new(0), AtomicU32::new(0)],
        }
    }

    /// Returns the kernel that has claimed the slot. For the slot's holder.
    ///
    /// # Safety
    /// The slot was claimed.
    #[inline]
    pub(crate) unsafe fn kernel(&self) -> KernelPtr {
        // Relaxed: written by `claim`, which gave the slot to its holder.
        let kernel = self.kernel.load(Ordering::Relaxed);
        // SAFETY: the slot was claimed (this function's contract), and `claim` stored a kernel.
        KernelPtr::from_erased(unsafe { NonNull::new_unchecked(kernel) })
    }

    /// Returns the generation of the slot's next timer. The caller holds the slot.
    #[inline]
    fn next_generation(&self) -> u32 {
        // Relaxed: written by the slot's last holder, which handed the slot over to this one.
        (self.word.load(Ordering::Relaxed) >> GENERATION) + 1
    }

    /// Returns the reference of the slot's next timer. The caller holds the slot.
    #[inline]
    pub(crate) fn reference(&self) -> Option<Reference> {
        Reference::from_raw(TIMER | u64::from(self.next_generation()) << INDEX_BITS | u64::from(self.index))
    }

    /// (1) Publishes the timer under its reference, PREPARED or `armed`. The caller holds the slot,
    /// and `name` is that of its next timer.
    #[inline]
    pub(crate) fn begin(&self, timer: NonNull<TimerHead>, due: u64, name: Name, armed: bool) {
        let word = name.0 | if armed { ARMED } else { PREPARED };
        // Release, both: pair with the loads in `read`. A reader that sees a value from here also
        // sees the last timer's outcome (S3).
        self.due[0].store(due as u32, Ordering::Release);
        self.due[1].store((due >> 32) as u32, Ordering::Release);
        // Relaxed: published by the word.
        self.link.store(timer.as_ptr().cast(), Ordering::Relaxed);
        // Release: pairs with the exchanges, which thereby see the record.
        self.word.store(word, Ordering::Release);
    }

    /// Exchanges a timer's state. The caller has a reference to the record.
    #[inline]
    fn turn(&self, name: Name, from: u32, to: u32) -> bool {
        // AcqRel: pairs with the exchanges of the word that came before or come after.
        self.word.compare_exchange(name.0 | from, name.0 | to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// (2) Marks the timer as on a wheel. Returns `false` if it was cancelled in transit. The
    /// caller has a reference to the record.
    pub(crate) fn arm(&self, name: Name) -> bool {
        self.turn(name, PREPARED, ARMED)
    }

    /// (4) Marks the timer as fired. Returns `false` if it was cancelled. The caller has a
    /// reference to the record.
    #[inline]
    pub(crate) fn fire(&self, name: Name) -> bool {
        self.turn(name, ARMED, FIRED)
    }

    /// (3) Cancels a timer that is on a wheel. Returns `false` if it has already fired or been
    /// cancelled. The caller has a reference to the record.
    #[inline]
    pub(crate) fn cancel(&self, name: Name) -> bool {
        self.turn(name, ARMED, CANCELLED)
    }

    /// (3) Cancels a timer that never reached a wheel. Returns `false` if it was cancelled in
    /// transit. The caller has a reference to the record.
    pub(crate) fn release(&self, name: Name) -> bool {
        self.turn(name, PREPARED, CANCELLED)
    }

    /// Returns `true` if the timer is still pending. The caller has a reference to the record.
    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        // Acquire: pairs with the exchanges of the word.
        matches!(self.word.load(Ordering::Acquire) & STATE, PREPARED | ARMED)
    }
}

/// The part of a slot's word that identifies a timer: everything but the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name(u32);

impl Name {
    /// Creates the name of the timer with this reference. `own`: only its owner can find it.
    #[inline]
    pub(crate) fn new(reference: Reference, own: bool) -> Self {
        let generation = (reference.to_raw() >> INDEX_BITS) as u32 & LAST;
        Self(generation << GENERATION | if own { OWN } else { 0 })
    }

    /// Returns the word in each of the two states of a pending timer.
    fn waits(self) -> [u32; 2] {
        [self.0 | PREPARED, self.0 | ARMED]
    }
}

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
