//! [`ExitStream`]: every exit of a runtime, for who wants them all.
//!
//! A subscriber has a ring of so many places. A dying core puts the exit in, or, when the ring is full, counts it as
//! missed: it waits for nobody. The next exit that finds a place brings the count with it, so the subscriber is told where
//! in the stream it has missed how many ([`ExitEvent::Missed`]). While nobody subscribes, a death
//! pays one relaxed load.
//!
//! # The ring
//!
//! Many put, one takes. Each place has a number: `position` when it is free for the put at that position, `position + 1`
//! when that put is done; the take makes it `position + places`, which is free for the next round. Who puts claims a
//! position by an exchange of `put`, writes, and sets the number (Release; the taker's load acquires). A put that is
//! claimed and not yet done hides those behind it for that long, from the taker only.
//!
//! # Who waits
//!
//! The taker leaves a waker, says so (`waits`), and looks once more; who puts says what it has put, and looks whether anybody
//! waits: fences between the two steps on either side, so one of them sees the other. The waker is taken under a
//! lock that a core only tries: if it is held, the taker is just leaving a new waker, and has its look yet to
//! come, or another core is waking it.
//!
//! # The rings
//!
//! The dying find the rings through one pointer to a list that is never changed but replaced; the old one is freed by
//! the epochs of the kernel (`reclaim`), whose guard every dying core holds.

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
use crate::role::may_block;
use crate::runtime::Handle;
use crate::world::poll_proceed;
use crate::{join, participant};

/// What a subscriber is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExitEvent {
    /// A process has ended.
    Exited {
        /// Which.
        pid: Pid,
        /// Why; with its result, if it had one.
        reason: Reason,
    },
    /// So many exits have found no place here.
    Missed(u64),
}

struct ExitRecord {
    pid: Pid,
    reason: Reason,
    /// So many before it have found no place.
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

// SAFETY: a place is one party's at a time, as its number says (see the module); what is in it is Send.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

/// More places than these are not made, whatever a subscriber asks for: each takes memory from the start.
const MOST: usize = 1 << 20;

impl Ring {
    fn new(capacity: usize) -> Self {
        // With one place its number would be the same when it is full and when it is free for the next round.
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

    /// Puts an exit, or counts it. Lock-free.
    fn put(&self, pid: Pid, reason: &Reason) {
        let mut position = self.put.load(Ordering::Relaxed);
        loop {
            // Acquire: the taker is done with the place.
            let ahead = self.place(position).number.load(Ordering::Acquire).wrapping_sub(position) as isize;
            if ahead < 0 {
                self.missed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if ahead > 0 {
                position = self.put.load(Ordering::Relaxed);
                continue;
            }
            // Relaxed: only claims; the place's number hands over.
            let next = position.wrapping_add(1);
            match self.put.compare_exchange_weak(position, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => position = now,
            }
        }
        // Looked at first: it is rarely anything.
        let missed = match self.missed.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.missed.swap(0, Ordering::Relaxed),
        };
        let place = self.place(position);
        // SAFETY: claimed: ours until the number says that it is done.
        unsafe { (*place.exited.get()).write(ExitRecord { pid, reason: reason.clone(), missed }) };
        // Release: pairs with `take`.
        place.number.store(position.wrapping_add(1), Ordering::Release);
        self.wake();
    }

    /// Takes the exit at `position`, which is the taker's.
    ///
    /// # Safety
    /// There is one taker, and it takes at one position after the other.
    unsafe fn take(&self, position: usize) -> Option<ExitRecord> {
        let place = self.place(position);
        // Acquire: pairs with `put`.
        if place.number.load(Ordering::Acquire) != position.wrapping_add(1) {
            return None;
        }
        // SAFETY: put, and the taker's.
        let exited = unsafe { &*place.exited.get() };
        // SAFETY: likewise, and read once: the number goes on.
        let exited = unsafe { exited.assume_init_read() };
        // Release: pairs with the next round's put.
        place.number.store(position.wrapping_add(self.places.len()), Ordering::Release);
        Some(exited)
    }

    /// Wakes who waits, if anybody does.
    fn wake(&self) {
        // Pairs with the fence in `leave`: either we see that it waits, or it sees what is here.
        fence(Ordering::SeqCst);
        if !self.waits.load(Ordering::Relaxed) || !self.waits.swap(false, Ordering::AcqRel) {
            return;
        }
        // A core does not wait for a lock: see the module.
        let waker = self.waker.try_lock().ok().and_then(|mut waker| waker.take());
        if let Some(waker) = waker {
            // Foreign; its panic is its own.
            let _ = catch_panic(|| waker.wake());
        }
    }

    /// Leaves a waker; the taker looks once more afterwards.
    fn leave(&self, waker: &Waker) {
        // Foreign: not cloned or dropped under the lock.
        let waker = waker.clone();
        let before = self.waker.lock().unwrap_or_else(PoisonError::into_inner).replace(waker);
        drop(before);
        self.waits.store(true, Ordering::Relaxed);
        // Pairs with the fence in `wake`.
        fence(Ordering::SeqCst);
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }
}

/// All rings at a moment. `repr(C)`: it is retired by its first field.
#[repr(C)]
struct Rings {
    retired: Retired,
    rings: Vec<Arc<Ring>>,
}

/// The rings of a runtime.
pub(crate) struct Streams {
    rings: AtomicPtr<Rings>,
    /// Held by who replaces the list: whether there will be no exits any more.
    closed: Mutex<bool>,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self { rings: AtomicPtr::new(ptr::null_mut()), closed: Mutex::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // Nothing foreign runs under the lock, so a poisoned one is whole.
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process has ended. The guard keeps the list.
    pub(crate) fn ended(&self, pid: Pid, reason: &Reason, _guard: &Guard<'_>) {
        // Acquire: pairs with `replace`.
        let rings = self.rings.load(Ordering::Acquire);
        // SAFETY: freed only when the guards of its time are gone.
        let Some(rings) = (unsafe { rings.as_ref() }) else { return };
        rings.rings.iter().for_each(|ring| ring.put(pid, reason));
    }

    /// Replaces the list by what `change` makes of it; whether anybody is left on it, and the old one, to be handed on
    /// without the lock (what is freed then may be foreign). The caller holds the lock.
    fn replace(&self, change: impl FnOnce(&mut Vec<Arc<Ring>>)) -> (bool, Limbo) {
        unsafe fn free(retired: NonNull<Retired>, _: Option<&Pool>) {
            // SAFETY: a `Rings` from the box below, out of everybody's reach.
            drop(unsafe { Box::from_raw(retired.cast::<Rings>().as_ptr()) });
        }
        let old = self.rings.load(Ordering::Relaxed);
        // SAFETY: replaced under the lock, which the caller holds.
        let mut rings = unsafe { old.as_ref() }.map(|old| old.rings.clone()).unwrap_or_default();
        change(&mut rings);
        let any = !rings.is_empty();
        let new =
            if any { Box::into_raw(Box::new(Rings { retired: Retired::new(free), rings })) } else { ptr::null_mut() };
        // Release: pairs with `ended`. Nobody finds the old one from here on.
        self.rings.store(new, Ordering::Release);
        let mut limbo = Limbo::new();
        if let Some(old) = NonNull::new(old) {
            // SAFETY: who pins from now on finds the new list; once, under the lock.
            unsafe { limbo.retire(old.cast()) };
        }
        (any, limbo)
    }

    /// There will be no exits any more: those who wait are told.
    pub(crate) fn close(&self) {
        let mut closed = self.lock();
        *closed = true;
        // SAFETY: replaced under the lock.
        let rings = unsafe { self.rings.load(Ordering::Relaxed).as_ref() }.map(|rings| rings.rings.clone());
        drop(closed);
        // Their wakers are foreign: not under the lock.
        rings.iter().flatten().for_each(|ring| ring.close());
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        hand_on(self.replace(Vec::clear).1);
    }
}

/// Frees an old list when nobody sees it any more.
fn hand_on(mut old: Limbo) {
    participant::with(|participant| old.hand_on(participant, None));
}

/// The exits of a runtime since it was made: see [`Handle::exits`].
pub struct ExitStream {
    ring: Arc<Ring>,
    handle: Handle,
    position: usize,
    /// Taken, and behind a mark.
    next: Option<(Pid, Reason)>,
}

impl fmt::Debug for ExitStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exits").field("places", &self.ring.places.len()).finish_non_exhaustive()
    }
}

impl ExitStream {
    /// The next event, if there is one now.
    pub fn try_next(&mut self) -> Option<ExitEvent> {
        if let Some((pid, reason)) = self.next.take() {
            return Some(ExitEvent::Exited { pid, reason });
        }
        // SAFETY: `&mut self` makes us the one taker, and the position goes on by one for each that is taken.
        match unsafe { self.ring.take(self.position) } {
            Some(ExitRecord { pid, reason, missed }) => {
                self.position = self.position.wrapping_add(1);
                if missed == 0 {
                    return Some(ExitEvent::Exited { pid, reason });
                }
                self.next = Some((pid, reason));
                Some(ExitEvent::Missed(missed))
            }
            // What was missed last has nobody to bring the count.
            None => match self.ring.missed.swap(0, Ordering::Relaxed) {
                0 => None,
                missed => Some(ExitEvent::Missed(missed)),
            },
        }
    }

    /// The next event, as a [`Future`] polls; `None` when the runtime has ended, and all was taken.
    pub fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Option<ExitEvent>> {
        self.handle.inner().born.check();
        ready!(poll_proceed(task));
        if let Some(event) = self.try_next() {
            return Poll::Ready(Some(event));
        }
        self.ring.leave(task.waker());
        // Acquire: pairs with `close`; what was put before is seen by the look that follows.
        let closed = self.ring.closed.load(Ordering::Acquire);
        match self.try_next() {
            None if !closed => Poll::Pending,
            event => Poll::Ready(event),
        }
    }

    /// The next event; `None` when the runtime has ended, and all was taken.
    pub async fn next(&mut self) -> Option<ExitEvent> {
        poll_fn(|task| self.poll_next(task)).await
    }

    /// The next event, for which this thread is blocked; `None` when there is none in time, or the runtime has ended.
    ///
    /// # Panics
    /// Inside a process, which has [`ExitStream::next`].
    #[track_caller]
    pub fn next_blocking(&mut self, within: Duration) -> Option<ExitEvent> {
        may_block();
        join::wait_until(self.next(), Instant::now().checked_add(within)).flatten()
    }
}

/// For any executor's task.
impl futures_core::Stream for ExitStream {
    type Item = ExitEvent;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<ExitEvent>> {
        ExitStream::poll_next(self.get_mut(), task)
    }
}

impl Drop for ExitStream {
    fn drop(&mut self) {
        if self.handle.inner().born.is_gone() {
            // Another program's thread may hold the lock.
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
        // What was not taken. A core that found the old list may still put something: that goes with the ring.
        while self.try_next().is_some() {}
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // All that were put and not taken are behind each other; nobody puts any more.
        let end = *self.put.get_mut();
        // From the first position on: one before it would be a place's that was never filled.
        for position in (end.saturating_sub(self.places.len())..end).rev() {
            // SAFETY: dropped, so ours: nobody takes any more, and no position twice.
            if unsafe { self.take(position) }.is_none() {
                return;
            }
        }
    }
}

impl Handle {
    /// Every exit of this runtime from now on, at most so many waiting to be taken (at least 2, at most 1,048,576): what comes
    /// when as many wait is missed, and counted. Any number of subscribers, each with its own.
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

    /// What a ring holds is dropped with it, whatever it held before: nothing, some, all, or more than it has places.
    #[test]
    fn a_ring_drops_what_was_put_and_not_taken() {
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
                        // SAFETY: one taker, one position after the other.
                        if unsafe { ring.take(position) }.is_none() {
                            break;
                        }
                    }
                    put(puts - puts / 2);
                    drop((ring, reason));
                    assert_eq!(Arc::strong_count(&value), 1, "{puts} put, {takes} taken, of {capacity} places");
                }
            }
        }
    }
}
