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

mod slots;

use core::ops::Deref;
use core::ptr::{self, NonNull};

use crate::config::FIRST_TIMERS;
use crate::kernel_ptr::KernelPtr;
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

pub(crate) use self::slots::TimerSlots;

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
