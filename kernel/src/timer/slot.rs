//! [`TimerSlots`], by which every process, and the host, finds a timer by its reference.
//!
//! A timer's record is its starter's, its wheel's and its target's, and is gone when the last of them lets go. What anybody may look at
//! stands in a [`Slot`], whose memory is never freed while a kernel has the slots: whether the timer is still to come, when it is due,
//! and its record. A timer's reference is its slot's index (26 bits) and the slot's generation (29 bits), under a bit that
//! no other reference has. So to cancel a timer, from anywhere, is a lookup and one exchange: no process is asked, no core has
//! to take part, and it does not matter whether the starter lives.
//!
//! ```text
//!  free ── begin (1) ──▶ PREPARED ── arm (2) ──▶ ARMED ── fire (4) ──▶ FIRED ─────┐
//!   ▲          │             │                    ▲ │                             │
//!   │          └───────────── begin (1) ──────────┘ │                             │
//!   │                        └───── cancel (3) ─────┴────▶ CANCELLED ─────────────┤
//!   └───────────────────────────────── give_back (5) ◀────────────────────────────┘
//! ```
//!
//! (1) is the starter's, and ARMED at once where the timer lies on a wheel already: PREPARED are those that are sent to the core of the process for
//! which they are started ([`crate::Caller`]), until that core puts them on its wheel (2). (5) comes when the last share of the record is
//! given up.
//!
//! - **S1, one outcome.** (2), (3) and (4) are exchanges of one word, which holds the generation as well: whoever makes one of them has
//!   met that very timer, and nobody else makes another but (2). A stale reference never meets the slot's next timer.
//! - **S2, the wheel's share.** Whoever makes (3) or (4) has the message and the wheel's share of the record from then on. So the record is there for
//!   a canceller that has no share of its own: as long as the word is PREPARED or ARMED nobody gives up the wheel's share. Who finds (2) refused has
//!   the starter's share only.
//! - **S3, reading.** `due`, `kernel` and the generation are read, and then the word again: what was read in between is
//!   this timer's if the word still is. They are written only by the claim and (1), after the last timer's outcome.
//! - **S4, whose.** Kernels may share their slots, as they share the counter of their references, so that a reference of one is none of
//!   another's; `kernel` is compared, never followed by who looks a timer up. Alarms, which resume their process and are no business of others',
//!   have a bit of their own in the word (OWN), and are not found.
//! - **S5, used up.** A slot whose generation is the last is not given back.
//!
//! Free slots are linked, and stand by: each core keeps some with its pool; what is more goes to a common chain that is only ever taken
//! whole (no ABA). All operations are lock-free, a lookup is wait-free, and only growing allocates.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use crate::config::{FIRST_TIMERS, TIMER_SLOTS};
use crate::kernel::Kernel;
use crate::memory::NoMemory;
use crate::memory::pool::Pool;
use crate::pid::Reference;
use crate::sync::{AtomicPtr, AtomicU32, Cell, Ordering};
use crate::timer::record::TimerHead;

const INDEX_BITS: u32 = 26;
const GENERATION_BITS: u32 = 29;
/// The bit that tells a timer's reference from every other.
const TIMER: u64 = 1 << 55;
const _: () = assert!(1 << (INDEX_BITS + GENERATION_BITS) == TIMER, "a reference has 56 bits");
const MOST: u32 = 1 << INDEX_BITS;
const SEGMENTS: usize = (u32::BITS - (MOST / FIRST_TIMERS).leading_zeros()) as usize;

/// In the word, below the generation.
const STATE: u32 = 0b11;
const PREPARED: u32 = 0;
const ARMED: u32 = 1;
const FIRED: u32 = 2;
const CANCELLED: u32 = 3;
/// Found by nobody but its owner.
const OWN: u32 = 0b100;
const GENERATION: u32 = 3;
const LAST: u32 = (1 << GENERATION_BITS) - 1;

/// The steps that are easy to leave out, a parameter so that a model can leave one out and see it fail.
pub trait Steps: 'static {
    /// Who fires asks whether it was cancelled.
    const ASKS: bool = true;
    /// Who cancels by a reference compares the generation.
    const HEEDS_THE_GENERATION: bool = true;
    /// Who reads looks at the word again.
    const LOOKS_AGAIN: bool = true;
}

/// The steps as they must be.
#[derive(Debug)]
pub struct Shipped;
impl Steps for Shipped {}

/// See the module.
#[derive(Debug)]
pub(crate) struct Slot {
    word: AtomicU32,
    index: u32,
    /// The timer's record; of a free one, the next free slot.
    link: AtomicPtr<()>,
    kernel: AtomicPtr<Kernel>,
    /// When it is due: the low half, and the high one.
    due: [AtomicU32; 2],
}

/// What a timer was when it was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Was {
    /// On its way to a wheel.
    Prepared,
    /// On its core's wheel.
    Armed,
}

impl Slot {
    fn new(index: u32) -> Self {
        Self {
            // Over: a name of generation 0, which nobody is given but anybody can make up, leads to no timer.
            word: AtomicU32::new(CANCELLED),
            index,
            link: AtomicPtr::new(ptr::null_mut()),
            kernel: AtomicPtr::new(ptr::null_mut()),
            due: [AtomicU32::new(0), AtomicU32::new(0)],
        }
    }

    /// The kernel that has claimed it. By its holder.
    #[inline]
    pub(crate) fn kernel(&self) -> *const Kernel {
        // Relaxed: written by `claim`, which came with the slot.
        self.kernel.load(Ordering::Relaxed)
    }

    /// The generation that the next timer here has. The slot is the caller's.
    #[inline]
    fn next_generation(&self) -> u32 {
        // Relaxed: written by the slot's last holder, which gave it to this one.
        (self.word.load(Ordering::Relaxed) >> GENERATION) + 1
    }

    /// The name of the timer that begins here next. The slot is the caller's.
    #[inline]
    pub(crate) fn reference(&self) -> Option<Reference> {
        Reference::from_raw(TIMER | u64::from(self.next_generation()) << INDEX_BITS | u64::from(self.index))
    }

    /// (1) From now on the reference leads to the timer: PREPARED, or `armed`. The slot is the caller's, and the name its next one's.
    #[inline]
    pub(crate) fn begin(&self, timer: NonNull<TimerHead>, due: u64, name: Name, armed: bool) {
        let word = name.0 | if armed { ARMED } else { PREPARED };
        // Release, both: pair with `read`, which sees the last timer's outcome with what it finds here (S3).
        self.due[0].store(due as u32, Ordering::Release);
        self.due[1].store((due >> 32) as u32, Ordering::Release);
        // Relaxed: made visible by the word.
        self.link.store(timer.as_ptr().cast(), Ordering::Relaxed);
        // Release: pairs with the exchanges, hands over the record.
        self.word.store(word, Ordering::Release);
    }

    /// An exchange of the state of a timer, by one that has a share of it.
    #[inline]
    fn turn(&self, name: Name, from: u32, to: u32) -> bool {
        // AcqRel: pairs with the other exchanges, whichever came first.
        self.word.compare_exchange(name.0 | from, name.0 | to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// (2) It is on a wheel; false when it was cancelled on the way. By one that has a share of it.
    pub(crate) fn arm(&self, name: Name) -> bool {
        self.turn(name, PREPARED, ARMED)
    }

    /// (4) It is due; false when it was cancelled. By one that has a share of it.
    #[inline]
    pub(crate) fn fire(&self, name: Name) -> bool {
        self.turn(name, ARMED, FIRED)
    }

    /// (3) It is not wanted any more; false when it is over already. By one that has a share of it, of a timer that is on a wheel.
    #[inline]
    pub(crate) fn cancel(&self, name: Name) -> bool {
        self.turn(name, ARMED, CANCELLED)
    }

    /// (3) It never came to a wheel; false when it was cancelled on the way. By one that has a share of it.
    pub(crate) fn give_up(&self, name: Name) -> bool {
        self.turn(name, PREPARED, CANCELLED)
    }

    /// Whether it is still to come. By one that has a share of it.
    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        // Acquire: pairs with the exchanges.
        matches!(self.word.load(Ordering::Acquire) & STATE, PREPARED | ARMED)
    }
}

/// A timer's part of its slot's word: all but the state.
#[derive(Clone, Copy)]
pub(crate) struct Name(u32);

impl Name {
    /// Of a timer that is called so; `own`: only for its owner.
    #[inline]
    pub(crate) fn new(reference: Reference, own: bool) -> Self {
        let generation = (reference.to_raw() >> INDEX_BITS) as u32 & LAST;
        Self(generation << GENERATION | if own { OWN } else { 0 })
    }

    /// In either of the two states of a timer that is still to come.
    fn waits(self) -> [u32; 2] {
        [self.0 | PREPARED, self.0 | ARMED]
    }
}

/// All slots.
#[derive(Debug)]
pub(crate) struct TimerSlots {
    segments: [AtomicPtr<Slot>; SEGMENTS],
    /// Slots that have ever been handed out lie below.
    fresh: AtomicU32,
    /// The first of the common chain.
    chain: AtomicPtr<Slot>,
}

// SAFETY: the segments are the slots' own, and a slot is all atomic but its constant index.
unsafe impl Send for TimerSlots {}
// SAFETY: as above.
unsafe impl Sync for TimerSlots {}

/// Free slots that a core keeps.
#[derive(Debug)]
pub(crate) struct Kept {
    first: Cell<*mut Slot>,
    count: Cell<u32>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { first: Cell::new(ptr::null_mut()), count: Cell::new(0) }
    }
}

// SAFETY: the slots are the core's alone.
unsafe impl Send for Kept {}

impl Kept {
    #[inline]
    fn pop(&self) -> Option<NonNull<Slot>> {
        let slot = NonNull::new(self.first.get())?;
        // SAFETY: slots live as long as their kernel.
        self.first.set(next_of(unsafe { slot.as_ref() }));
        self.count.set(self.count.get() - 1);
        Some(slot)
    }

    #[inline]
    fn push(&self, slot: NonNull<Slot>) {
        // SAFETY: slots live as long as their kernel. Relaxed: the holder's own.
        unsafe { slot.as_ref() }.link.store(self.first.get().cast(), Ordering::Relaxed);
        self.first.set(slot.as_ptr());
        self.count.set(self.count.get() + 1);
    }
}

/// The next one of a chain, which is the caller's.
#[inline]
fn next_of(slot: &Slot) -> *mut Slot {
    // Relaxed: it came with the slot.
    slot.link.load(Ordering::Relaxed).cast()
}

/// The segment of a slot, the slot's place in it, and the segment's length.
fn locate(index: u32) -> (usize, usize, usize) {
    // Segment s holds FIRST << s slots and starts at FIRST * (2^s - 1).
    let segment = (index / FIRST_TIMERS + 1).ilog2();
    let start = FIRST_TIMERS * ((1 << segment) - 1);
    (segment as usize, (index - start) as usize, (FIRST_TIMERS as usize) << segment)
}

impl TimerSlots {
    /// None in use.
    pub(crate) fn new() -> Self {
        Self {
            segments: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            fresh: AtomicU32::new(0),
            chain: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// A slot that is the caller's; `None` without memory, or when there are as many timers as references can name. Lock-free.
    #[inline]
    pub(crate) fn claim(&self, kernel: &Kernel, kept: Option<&Kept>) -> Option<NonNull<Slot>> {
        let slot = match kept.and_then(Kept::pop) {
            Some(slot) => slot,
            None => self.claim_elsewhere(kept)?,
        };
        // SAFETY: it lives as long as `self`. Release: as in `Slot::begin`.
        unsafe { slot.as_ref() }.kernel.store(ptr::from_ref(kernel).cast_mut(), Ordering::Release);
        Some(slot)
    }

    #[cold]
    fn claim_elsewhere(&self, kept: Option<&Kept>) -> Option<NonNull<Slot>> {
        // Relaxed: a look. Acquire: pairs with the Release of `give_to_all`.
        if !self.chain.load(Ordering::Relaxed).is_null()
            && let Some(slot) = NonNull::new(self.chain.swap(ptr::null_mut(), Ordering::Acquire))
        {
            // SAFETY: slots live as long as their kernel.
            let mut rest = next_of(unsafe { slot.as_ref() });
            if let Some(kept) = kept {
                while kept.count.get() < TIMER_SLOTS
                    && let Some(more) = NonNull::new(rest)
                {
                    // SAFETY: likewise.
                    rest = next_of(unsafe { more.as_ref() });
                    kept.push(more);
                }
            }
            self.give_back_rest(rest);
            return Some(slot);
        }
        self.claim_fresh()
    }

    fn claim_fresh(&self) -> Option<NonNull<Slot>> {
        // Relaxed: only a counter; the segment orders itself.
        let mut fresh = self.fresh.load(Ordering::Relaxed);
        loop {
            if fresh >= MOST {
                return None;
            }
            self.grow_to(fresh).ok()?;
            match self.fresh.compare_exchange_weak(fresh, fresh + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return self.slot(fresh).map(NonNull::from),
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
        let layout = Layout::array::<Slot>(len).map_err(|_| NoMemory)?;
        // SAFETY: a segment's size is not 0.
        let memory = NonNull::new(unsafe { alloc::alloc::alloc(layout) }.cast::<Slot>()).ok_or(NoMemory)?;
        let first = FIRST_TIMERS * ((1 << segment) - 1);
        for i in 0..len {
            // SAFETY: within the fresh allocation.
            let slot = unsafe { memory.add(i) };
            // SAFETY: likewise, aligned.
            unsafe { slot.write(Slot::new(first + i as u32)) };
        }
        // Release: pairs with `slot`. Acquire on failure: another grew it, and we use theirs.
        let put = place.compare_exchange(ptr::null_mut(), memory.as_ptr(), Ordering::Release, Ordering::Acquire);
        if put.is_err() {
            // SAFETY: ours alone, with this many slots.
            unsafe { free(memory, len) };
        }
        Ok(())
    }

    fn slot(&self, index: u32) -> Option<&Slot> {
        let (segment, offset, _) = locate(index);
        // Acquire: pairs with the Release that published the segment, so its slots are initialised.
        let slots = NonNull::new(self.segments.get(segment)?.load(Ordering::Acquire))?;
        // SAFETY: a published segment has this slot.
        let slot = unsafe { slots.add(offset) };
        // SAFETY: it lives as long as `self`.
        Some(unsafe { slot.as_ref() })
    }

    fn of(&self, reference: Reference) -> Option<&Slot> {
        if reference.to_raw() & TIMER == 0 {
            return None;
        }
        self.slot(reference.to_raw() as u32 & (MOST - 1))
    }

    /// (3) Cancels whatever timer of this kernel `reference` names: its record, with the wheel's share (S2), and what it was. `None` when it is
    /// over, or was never one of the kernel's. Lock-free: an exchange fails only because the timer goes on to its wheel, or ends.
    pub(crate) fn cancel<S: Steps>(&self, reference: Reference, kernel: &Kernel) -> Option<(NonNull<TimerHead>, Was)> {
        let slot = self.of(reference)?;
        let mut wanted = Name::new(reference, false).waits();
        // Acquire: pairs with `begin`.
        let mut word = slot.word.load(Ordering::Acquire);
        if !S::HEEDS_THE_GENERATION {
            wanted = [word & !STATE | PREPARED, word & !STATE | ARMED];
        }
        loop {
            let state = wanted.iter().position(|wanted| *wanted == word)?;
            // Acquire: as in `read`. If it is not this timer's, the exchange fails.
            if !ptr::eq(slot.kernel.load(Ordering::Acquire), kernel) {
                return None;
            }
            // AcqRel: pairs with `begin`, so the record is seen, and with the other exchanges.
            match slot.word.compare_exchange(word, word & !STATE | CANCELLED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // Relaxed: this timer's, by the exchange; and it stays until its last share is given up.
                    let timer = NonNull::new(slot.link.load(Ordering::Relaxed))?.cast();
                    return Some((timer, if state == 0 { Was::Prepared } else { Was::Armed }));
                }
                Err(now) => word = now,
            }
        }
    }

    /// When the timer of this kernel that `reference` names is due, if it is still to come. Wait-free.
    pub(crate) fn read<S: Steps>(&self, reference: Reference, kernel: &Kernel) -> Option<u64> {
        let slot = self.of(reference)?;
        let wanted = Name::new(reference, false).waits();
        // Acquire, all but the last: each sees the outcome of the timer before whose parts it finds (S3).
        if !wanted.contains(&slot.word.load(Ordering::Acquire)) {
            return None;
        }
        let kernel_of = slot.kernel.load(Ordering::Acquire);
        let (low, high) = (slot.due[0].load(Ordering::Acquire), slot.due[1].load(Ordering::Acquire));
        let same = wanted.contains(&slot.word.load(Ordering::Relaxed)) || !S::LOOKS_AGAIN;
        (same && ptr::eq(kernel_of, kernel)).then_some(u64::from(high) << 32 | u64::from(low))
    }

    /// (5) Gives back the slot of a timer whose record ends, or one that was claimed in vain.
    ///
    /// # Safety
    /// The slot is the caller's, of these slots, and so is what `pool` keeps, if there is one.
    #[inline]
    pub(crate) unsafe fn give_back(&self, slot: NonNull<Slot>, name: Name, pool: Option<&Pool>) {
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

    /// Gives to all what a core keeps, but for so many.
    #[cold]
    pub(crate) fn spill(&self, kept: &Kept, but: u32) {
        let Some(first) = NonNull::new(kept.first.get()) else { return };
        let mut last = first;
        let mut taken = 1;
        loop {
            // SAFETY: slots live as long as their kernel.
            let next = next_of(unsafe { last.as_ref() });
            match NonNull::new(next) {
                Some(more) if kept.count.get() - taken > but => {
                    last = more;
                    taken += 1;
                }
                _ => {
                    kept.first.set(next);
                    kept.count.set(kept.count.get() - taken);
                    return self.give_to_all(first, last);
                }
            }
        }
    }

    /// Gives back the rest of the chain, which was taken whole. Its end is looked for only when somebody has given something
    /// meanwhile.
    fn give_back_rest(&self, first: *mut Slot) {
        let Some(first) = NonNull::new(first) else { return };
        // Release: as in `give_to_all`.
        if self.chain.compare_exchange(ptr::null_mut(), first.as_ptr(), Ordering::Release, Ordering::Relaxed).is_ok() {
            return;
        }
        let mut last = first;
        // SAFETY: slots live as long as their kernel.
        while let Some(next) = NonNull::new(next_of(unsafe { last.as_ref() })) {
            last = next;
        }
        self.give_to_all(first, last);
    }

    fn give_to_all(&self, first: NonNull<Slot>, last: NonNull<Slot>) {
        // Relaxed: only compared, and never followed.
        let mut chain = self.chain.load(Ordering::Relaxed);
        loop {
            // SAFETY: slots live as long as their kernel. Relaxed: made visible by the exchange.
            unsafe { last.as_ref() }.link.store(chain.cast(), Ordering::Relaxed);
            // Release: pairs with `claim_elsewhere`, hands over the slots with their generations.
            match self.chain.compare_exchange_weak(chain, first.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => chain = now,
            }
        }
    }
}

/// # Safety
/// A segment of so many slots, which nobody uses again.
unsafe fn free(segment: NonNull<Slot>, len: usize) {
    let Ok(layout) = Layout::array::<Slot>(len) else { return };
    for i in 0..len {
        // SAFETY: within the segment.
        let slot = unsafe { segment.add(i) };
        // SAFETY: initialised, and dropped once.
        unsafe { slot.drop_in_place() };
    }
    // SAFETY: allocated by `grow_to` with this layout.
    unsafe { alloc::alloc::dealloc(segment.as_ptr().cast(), layout) };
}

impl Drop for TimerSlots {
    fn drop(&mut self) {
        for (number, place) in self.segments.iter().enumerate() {
            if let Some(segment) = NonNull::new(place.load(Ordering::Acquire)) {
                // SAFETY: the last use of the slots.
                unsafe { free(segment, (FIRST_TIMERS as usize) << number) };
            }
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::kernel::Options;
    use crate::reclaim::Domain;
    use crate::world::{CurrentSlot, Platform};
    use alloc::sync::Arc;

    struct Nowhere;

    // SAFETY: nothing runs in it.
    unsafe impl Platform for Nowhere {
        fn now(&self) -> u64 {
            0
        }
        fn wake(&self, _: usize) {}
        fn here(&self) -> fn() -> *const CurrentSlot {
            || ptr::null()
        }
    }

    #[test]
    fn an_index_has_its_place() {
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
    fn a_slot_is_used_up_and_never_wraps() {
        let kernel = Kernel::new(Options::default(), Domain::new(), Arc::new(Nowhere));
        let slots = TimerSlots::new();
        let slot = slots.claim(&kernel, None).expect("memory");
        // SAFETY: `slots` lives.
        let word = unsafe { slot.as_ref() };
        word.word.store((LAST - 1) << GENERATION | FIRED, Ordering::Relaxed);
        // SAFETY: claimed above.
        unsafe { slots.give_back(slot, Name((LAST - 1) << GENERATION), None) };
        assert_eq!(slots.claim(&kernel, None), Some(slot));
        let last = word.reference().expect("one is left");
        assert!(last.to_raw() >> 56 == 0 && last.to_raw() & TIMER != 0);
        word.word.store(LAST << GENERATION | CANCELLED, Ordering::Relaxed);
        // SAFETY: claimed above.
        unsafe { slots.give_back(slot, Name(LAST << GENERATION), None) };
        assert_ne!(slots.claim(&kernel, None), Some(slot), "its generations are used up");
    }
}
