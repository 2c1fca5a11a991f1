//! [`Ring`]: the bounded buffer in which dying cores put the exits of one subscriber.
//!
//! # The ring
//!
//! Many producers, one consumer (Vyukov's bounded queue). Each slot has a sequence number:
//! `position` when the slot is free for the put at that position, `position + 1` when that put is
//! complete. The take sets it to `position + places`, which makes the slot free for the next lap. A
//! producer claims a position by a compare-exchange on `put`, writes the slot, and sets the
//! sequence number (Release; the consumer's load acquires). A put that is claimed and not yet
//! complete hides the puts behind it for that long, from the consumer only.
//!
//! # Waiting
//!
//! The consumer stores its waker, sets `waits`, and checks the ring once more. A producer publishes
//! its put, then checks `waits`. A fence between the two steps on either side makes at least one of
//! them see the other. The waker is under a lock that a core only tries. If the lock is held, the
//! consumer is just storing a new waker and has not yet made its check, or another core is waking
//! it.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use atropos_kernel::{CatchDrop, Pid, Reason};

use crate::panics::{DROPS, catch_panic};

/// An exit in a ring.
pub(crate) struct ExitRecord {
    pub(crate) pid: Pid,
    pub(crate) reason: Reason,
    /// The number of exits before this one that found the ring full.
    pub(crate) missed: u64,
}

struct Place {
    number: AtomicUsize,
    exited: UnsafeCell<MaybeUninit<ExitRecord>>,
}

/// The ring of one subscriber.
pub(crate) struct Ring {
    places: Box<[Place]>,
    put: AtomicUsize,
    missed: AtomicU64,
    closed: AtomicBool,
    waits: AtomicBool,
    waker: Mutex<Option<CatchDrop<Waker>>>,
}

// SAFETY: the sequence number gives a slot to one thread at a time (see "The ring"), and the slot's
// content is `Send`.
unsafe impl Send for Ring {}
// SAFETY: shared access goes through the slots, which the sequence numbers guard as for `Send`, and
// through atomics and a mutex.
unsafe impl Sync for Ring {}

/// The largest ring, whatever capacity a subscriber asks for: the slots are allocated up front.
const MOST: usize = 1 << 20;

impl Ring {
    pub(crate) fn new(capacity: usize) -> Self {
        // A ring of one slot would have the same sequence number when it is full and when it is
        // free for the next lap.
        let place = |number| Place { number: AtomicUsize::new(number), exited: UnsafeCell::new(MaybeUninit::uninit()) };
        Self {
            places: (0..capacity.clamp(2, MOST)).map(place).collect(),
            put: AtomicUsize::new(0),
            missed: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    fn place(&self, position: usize) -> &Place {
        &self.places[position % self.places.len()]
    }

    /// Puts an exit in the ring, or counts it as missed. Lock-free.
    pub(crate) fn put(&self, pid: Pid, reason: &Reason) {
        let mut position = self.put.load(Ordering::Relaxed);
        loop {
            // Acquire: pairs with the Release store in `take`; without it the write below could
            // overlap the consumer's read of the slot.
            let ahead = self.place(position).number.load(Ordering::Acquire).wrapping_sub(position) as isize;
            if ahead < 0 {
                self.missed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if ahead > 0 {
                position = self.put.load(Ordering::Relaxed);
                continue;
            }
            // Relaxed: the exchange only claims the position; the slot's sequence number publishes
            // the content.
            let next = position.wrapping_add(1);
            match self.put.compare_exchange_weak(position, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => position = now,
            }
        }
        // A load first, since the count is rarely non-zero.
        let missed = match self.missed.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.missed.swap(0, Ordering::Relaxed),
        };
        let place = self.place(position);
        // SAFETY: the exchange above claimed the slot, so this thread has it exclusively until the
        // store below.
        unsafe { (*place.exited.get()).write(ExitRecord { pid, reason: reason.clone(), missed }) };
        // Release: pairs with the Acquire load in `take`; without it the consumer could read the
        // slot before the write above.
        place.number.store(position.wrapping_add(1), Ordering::Release);
        self.wake();
    }

    /// Takes the exit at `position`.
    ///
    /// # Safety
    /// There is one consumer, and it takes at consecutive positions.
    pub(crate) unsafe fn take(&self, position: usize) -> Option<ExitRecord> {
        let place = self.place(position);
        // Acquire: pairs with the Release store in `put`; without it the read below could precede
        // the write.
        if place.number.load(Ordering::Acquire) != position.wrapping_add(1) {
            return None;
        }
        // SAFETY: the sequence number says that the put is complete, so the slot is the consumer's,
        // which is the caller (this function's contract).
        let exited = unsafe { &*place.exited.get() };
        // SAFETY: the put has initialized the slot, and the store below passes it on, so it is read
        // once.
        let exited = unsafe { exited.assume_init_read() };
        // Release: pairs with the Acquire load of the next lap's `put`; without it that put could
        // overwrite the slot during the read above.
        place.number.store(position.wrapping_add(self.places.len()), Ordering::Release);
        Some(exited)
    }

    /// Wakes the consumer, if it waits.
    fn wake(&self) {
        // Pairs with the fence in `leave`: either this thread sees `waits`, or the consumer's check
        // sees the put.
        fence(Ordering::SeqCst);
        if !self.waits.load(Ordering::Relaxed) || !self.waits.swap(false, Ordering::AcqRel) {
            return;
        }
        // A core does not block on a lock (see "Waiting").
        let waker = self.waker.try_lock().ok().and_then(|mut waker| waker.take());
        if let Some(waker) = waker {
            // The waker is user code: its panic must not reach the core.
            let _ = catch_panic(|| waker.into_inner().wake());
        }
    }

    /// Stores a waker; the consumer checks the ring once more afterwards.
    pub(crate) fn leave(&self, waker: &Waker) {
        // The waker is user code: it is neither cloned nor dropped under the lock.
        let waker = DROPS.catch_drop(waker.clone());
        let before = self.waker.lock().unwrap_or_else(PoisonError::into_inner).replace(waker);
        drop(before);
        self.waits.store(true, Ordering::Relaxed);
        // Pairs with the fence in `wake`; without the two fences, the producer could miss `waits`
        // while the consumer's check misses the put.
        fence(Ordering::SeqCst);
    }

    /// Returns the number of exits that have found the ring full since the last exit that was put.
    pub(crate) fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }

    /// Returns the number of slots.
    pub(crate) fn capacity(&self) -> usize {
        self.places.len()
    }

    /// Returns `true` if no further exits come; a take after this call sees every earlier put.
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release store in `close`.
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The exits that were put and not taken are consecutive, and no producer is left.
        let end = *self.put.get_mut();
        // From the first position on: a position before it would name a slot that was never filled.
        for position in (end.saturating_sub(self.places.len())..end).rev() {
            // SAFETY: the ring is being dropped, so this thread has it exclusively, and it takes
            // each position once.
            if unsafe { self.take(position) }.is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Checks that a ring catches the panic of its waker's destructor: the last holder of a ring
    /// may be a core.
    #[test]
    fn n05_ring_outlives_the_panic_of_a_waker() {
        struct Bomb;
        impl std::task::Wake for Bomb {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("bomb");
            }
        }
        let ring = Ring::new(2);
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Bomb));
            // The second call drops the waker of the first.
            ring.leave(&waker);
            drop(waker);
        }
        drop(ring);
    }

    /// Checks that a ring drops its content, for every fill: nothing, some, all, or more than it
    /// has slots.
    #[test]
    fn ring_drops_untaken_exits() {
        let pid = Pid::from_raw(1 << 32).expect("a pid");
        for capacity in 0..40 {
            for puts in 0..=3 * capacity {
                for takes in 0..=puts.min(capacity) {
                    let value = Arc::new(());
                    let reason = Reason::normal_with(value.clone());
                    let ring = Ring::new(capacity);
                    let put = |count| (0..count).for_each(|_| ring.put(pid, &reason));
                    put(puts / 2);
                    for position in 0..takes {
                        // SAFETY: this thread is the one consumer, and takes consecutive positions.
                        if unsafe { ring.take(position) }.is_none() {
                            break;
                        }
                    }
                    put(puts - puts / 2);
                    drop((ring, reason));
                    assert_eq!(Arc::strong_count(&value), 1, "{puts} put, {takes} taken, of {capacity} slots");
                }
            }
        }
    }
}
