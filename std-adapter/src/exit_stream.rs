//! [`ExitStream`]: a stream of every exit of a runtime.
//!
//! Each subscriber has a bounded ring buffer. A dying core puts the exit in the ring or, if the
//! ring is full, counts it as missed: it never waits. The next exit that finds a slot carries the
//! count. So the subscriber learns where in the stream it lagged, and by how many exits
//! ([`ExitEvent::Missed`]), as with Tokio's broadcast channel. With no subscriber, a death pays one
//! relaxed load.
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
//!
//! # The list of rings
//!
//! Dying processes find the rings through one pointer to an immutable list. A change replaces the
//! list; the kernel's epochs (`reclaim`), whose guard every dying core holds, free the old one.

use std::cell::UnsafeCell;
use std::fmt;
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use atropos_kernel::reclaim::{Guard, Limbo, Pool, Retired};
use atropos_kernel::{Pid, Reason};

use crate::panics::catch_panic;
use crate::platform::poll_proceed;
use crate::role::may_block;
use crate::runtime::Handle;
use crate::{block_on, epoch_participant};

/// An event of an exit stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExitEvent {
    /// A process has exited.
    Exited {
        /// The process that has exited.
        pid: Pid,
        /// The exit reason, with the process's result if it had one.
        reason: Reason,
    },
    /// The number of exits that found the ring full at this point of the stream.
    Missed(u64),
}

struct ExitRecord {
    pid: Pid,
    reason: Reason,
    /// The number of exits before this one that found the ring full.
    missed: u64,
}

struct Place {
    number: AtomicUsize,
    exited: UnsafeCell<MaybeUninit<ExitRecord>>,
}

struct Ring {
    places: Box<[Place]>,
    put: AtomicUsize,
    missed: AtomicU64,
    closed: AtomicBool,
    waits: AtomicBool,
    waker: Mutex<Option<Waker>>,
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
    fn new(capacity: usize) -> Self {
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
    fn put(&self, pid: Pid, reason: &Reason) {
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
    unsafe fn take(&self, position: usize) -> Option<ExitRecord> {
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
            let _ = catch_panic(|| waker.wake());
        }
    }

    /// Stores a waker; the consumer checks the ring once more afterwards.
    fn leave(&self, waker: &Waker) {
        // The waker is user code: it is neither cloned nor dropped under the lock.
        let waker = waker.clone();
        let before = self.waker.lock().unwrap_or_else(PoisonError::into_inner).replace(waker);
        drop(before);
        self.waits.store(true, Ordering::Relaxed);
        // Pairs with the fence in `wake`; without the two fences, the producer could miss `waits`
        // while the consumer's check misses the put.
        fence(Ordering::SeqCst);
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }
}

/// An immutable list of all rings. `repr(C)`, because it is retired through its first field.
#[repr(C)]
struct Rings {
    retired: Retired,
    rings: Vec<Arc<Ring>>,
}

/// The exit streams of a runtime.
pub(crate) struct Streams {
    rings: AtomicPtr<Rings>,
    /// The lock for replacing the list. The value is `true` once no further exits will come.
    closed: Mutex<bool>,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self { rings: AtomicPtr::new(ptr::null_mut()), closed: Mutex::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // No code of the user runs under the lock, so a poisoned value is intact.
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the exit in every ring. The guard keeps the list alive.
    pub(crate) fn ended(&self, pid: Pid, reason: &Reason, _guard: &Guard<'_>) {
        // Acquire: pairs with the Release store in `replace`; without it the list could be read
        // before it is written.
        let rings = self.rings.load(Ordering::Acquire);
        // SAFETY: the caller's guard keeps the list from being freed.
        let Some(rings) = (unsafe { rings.as_ref() }) else { return };
        rings.rings.iter().for_each(|ring| ring.put(pid, reason));
    }

    /// Replaces the list by what `change` makes of it. Returns `true` if any ring is left, and the
    /// old list, to be flushed without the lock (freeing it may run user code). The caller holds
    /// the lock.
    fn replace(&self, change: impl FnOnce(&mut Vec<Arc<Ring>>)) -> (bool, Limbo) {
        unsafe fn free(retired: NonNull<Retired>, _: Option<&Pool>) {
            // SAFETY: `retired` is the first field of a `Rings` from the box below, and no thread
            // can reach it any longer.
            drop(unsafe { Box::from_raw(retired.cast::<Rings>().as_ptr()) });
        }
        let old = self.rings.load(Ordering::Relaxed);
        // SAFETY: the list is replaced only under the lock, which the caller holds.
        let mut rings = unsafe { old.as_ref() }.map(|old| old.rings.clone()).unwrap_or_default();
        change(&mut rings);
        let any = !rings.is_empty();
        let new =
            if any { Box::into_raw(Box::new(Rings { retired: Retired::new(free), rings })) } else { ptr::null_mut() };
        // Release: pairs with the Acquire load in `ended`, which otherwise could see the pointer
        // before the list. No thread finds the old list from here on.
        self.rings.store(new, Ordering::Release);
        let mut limbo = Limbo::new();
        if let Some(old) = NonNull::new(old) {
            // SAFETY: a thread that pins from now on finds the new list, and the lock makes sure
            // that the old one is retired once.
            unsafe { limbo.retire(old.cast()) };
        }
        (any, limbo)
    }

    /// Closes all rings, and wakes the consumers that wait: no further exits will come.
    pub(crate) fn close(&self) {
        let mut closed = self.lock();
        *closed = true;
        // SAFETY: the list is replaced only under the lock, which is held here.
        let rings = unsafe { self.rings.load(Ordering::Relaxed).as_ref() }.map(|rings| rings.rings.clone());
        drop(closed);
        // The consumers' wakers are user code, so they run without the lock.
        rings.iter().flatten().for_each(|ring| ring.close());
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        hand_on(self.replace(Vec::clear).1);
    }
}

/// Frees an old list once no thread can see it.
fn hand_on(mut old: Limbo) {
    epoch_participant::with(|participant| old.hand_on(participant, None));
}

/// A stream of the exits of a runtime since it was subscribed: see [`Handle::exits`].
pub struct ExitStream {
    ring: Arc<Ring>,
    handle: Handle,
    position: usize,
    /// An exit that was taken from the ring, and is delivered after its `Missed`.
    next: Option<(Pid, Reason)>,
}

impl fmt::Debug for ExitStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitStream").field("places", &self.ring.places.len()).finish_non_exhaustive()
    }
}

impl ExitStream {
    /// Returns the next event, if there is one now. Never blocks.
    pub fn try_next(&mut self) -> Option<ExitEvent> {
        if let Some((pid, reason)) = self.next.take() {
            return Some(ExitEvent::Exited { pid, reason });
        }
        // SAFETY: `&mut self` makes this the one consumer, and the position advances by one for
        // each exit that is taken.
        match unsafe { self.ring.take(self.position) } {
            Some(ExitRecord { pid, reason, missed }) => {
                self.position = self.position.wrapping_add(1);
                if missed == 0 {
                    return Some(ExitEvent::Exited { pid, reason });
                }
                self.next = Some((pid, reason));
                Some(ExitEvent::Missed(missed))
            }
            // The exits missed last have no later exit that would carry their count.
            None => match self.ring.missed.swap(0, Ordering::Relaxed) {
                0 => None,
                missed => Some(ExitEvent::Missed(missed)),
            },
        }
    }

    /// Polls for the next event, like [`Future::poll`]; `None` when the runtime has ended and every
    /// event has been taken.
    pub fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Option<ExitEvent>> {
        self.handle.inner().born.check();
        ready!(poll_proceed(task));
        if let Some(event) = self.try_next() {
            return Poll::Ready(Some(event));
        }
        self.ring.leave(task.waker());
        // Acquire: pairs with the Release store in `close`; the check below then sees every put
        // from before the close.
        let closed = self.ring.closed.load(Ordering::Acquire);
        match self.try_next() {
            None if !closed => Poll::Pending,
            event => Poll::Ready(event),
        }
    }

    /// Waits for the next event; `None` when the runtime has ended and every event has been taken.
    pub async fn next(&mut self) -> Option<ExitEvent> {
        poll_fn(|task| self.poll_next(task)).await
    }

    /// Blocks this thread until the next event; `None` at the timeout, or when the runtime has
    /// ended.
    ///
    /// # Panics
    /// Panics inside a process. A process uses [`ExitStream::next`].
    #[track_caller]
    pub fn next_blocking(&mut self, within: Duration) -> Option<ExitEvent> {
        may_block();
        block_on::wait_until(self.next(), Instant::now().checked_add(within)).flatten()
    }
}

/// The stream as a `Stream` for tasks of any executor.
impl futures_core::Stream for ExitStream {
    type Item = ExitEvent;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<ExitEvent>> {
        ExitStream::poll_next(self.get_mut(), task)
    }
}

impl Drop for ExitStream {
    fn drop(&mut self) {
        if self.handle.inner().born.is_gone() {
            // After a fork, a thread of the parent program may hold the lock.
            return;
        }
        let streams = self.handle.inner().world.streams();
        let closed = streams.lock();
        let (any, old) = streams.replace(|rings| rings.retain(|ring| !Arc::ptr_eq(ring, &self.ring)));
        if !any {
            self.handle.kernel().observe_exits(false);
        }
        drop(closed);
        hand_on(old);
        // Drops the exits that were not taken. A core that found the old list may still put one,
        // which is dropped with the ring.
        while self.try_next().is_some() {}
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

impl Handle {
    /// Subscribes to every exit of this runtime from now on. At most `capacity` exits (at least 2,
    /// at most 1,048,576) wait to be taken; further ones are missed, and counted. Each subscriber
    /// has its own stream, and there may be any number of them.
    pub fn exits(&self, capacity: usize) -> ExitStream {
        self.inner().born.check();
        let ring = Arc::new(Ring::new(capacity));
        let streams = self.inner().world.streams();
        let closed = streams.lock();
        let (_, old) = streams.replace(|rings| rings.push(ring.clone()));
        self.kernel().observe_exits(true);
        if *closed {
            ring.close();
        }
        drop(closed);
        hand_on(old);
        ExitStream { ring, handle: self.clone(), position: 0, next: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
