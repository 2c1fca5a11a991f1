//! The capacity of a mailbox, [`Capacity`]: a counting semaphore with a waiter list.
//!
//! It counts the messages that wait at a process. A sender that finds no free slot may become a
//! waiter: it leaves a record ([`Waiter`]) with its pid, and is notified when a slot is free. One
//! word decides every race between a slot that is released and a sender that starts to wait:
//!
//! ```text
//!     word = messages × 2 + HAS_WAITERS
//! ```
//!
//! | event | by | effect on the word |
//! | --- | --- | --- |
//! | [`Capacity::try_reserve`] | a sender | one message more, if a slot is free |
//! | [`Capacity::reserve_or_wait`] | a sender whose record is on the list | one message more, if a slot is free by now; else sets HAS_WAITERS |
//! | [`Capacity::release`] | the owner, for a message that is received or dropped | one message less; reports HAS_WAITERS |
//! | [`Capacity::unreserve`] | a sender whose message could not be delivered | one message less |
//! | [`Capacity::notify_waiters`] | the owner | clears HAS_WAITERS, then takes the list; sets it again if a waiter was there |
//!
//! - **W1, the record first, then HAS_WAITERS.** So a thread that sees HAS_WAITERS, or clears it,
//!   finds the record on the list.
//! - **W2, HAS_WAITERS is set only while no slot is free.** So a message is waiting that will be
//!   received. Either its `release` sees HAS_WAITERS, or the owner has cleared HAS_WAITERS since
//!   and has the record.
//! - **W3, one wake-up per free slot.** While senders are waiting, the number of notified waiters
//!   that have not yet responded equals the number of free slots. A waiter responds by sending its
//!   message, by queueing again at the back (another sender took the slot), or by being cancelled.
//!   After a cancellation or an `unreserve`, the owner checks the waiters again.
//!
//! The list is a stack: any thread pushes, and only the owner takes. What the owner took is its
//! alone (`front`), oldest first, and it takes no more before that is empty. So waiters are served
//! in order, except those that arrive at the same time. A cancelled waiter stays in the queue as a
//! record that says so, until the owner reaches it or too many have accumulated.
//!
//! A process without a limit has no `Capacity`: it touches nothing of this. A mailbox that drops
//! messages counts, but has no waiters.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::config::SWEEP_AT_LEAST;
use crate::intrusive::list::{Chain, Closed, Linked, Links, List};
use crate::intrusive::refcount::RefCount;
use crate::memory::{self, NoMemory};
use crate::pid::Pid;
use crate::sync::{AtomicU8, AtomicU32, Ordering, UnsafeCell};

/// The orderings of the protocol. They are a parameter so that a loom model can weaken one of them
/// and show that it then fails.
pub trait Orders: 'static {
    /// The ordering of setting HAS_WAITERS. Release: pairs with `LEAVE` and `CLEAR`, whose owner
    /// then finds the record (W1).
    const HAS_WAITERS: Ordering = Ordering::Release;
    /// The ordering of a message that leaves. Acquire: pairs with `HAS_WAITERS`.
    const LEAVE: Ordering = Ordering::Acquire;
    /// The ordering of clearing HAS_WAITERS. Acquire: pairs with `HAS_WAITERS`, also with a setter
    /// that found HAS_WAITERS set already.
    const CLEAR: Ordering = Ordering::Acquire;
}

/// The orderings that the kernel uses.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

const HAS_WAITERS: u32 = 1;
const UNIT: u32 = 2;

/// The largest number of messages that can be counted, and so the largest limit.
pub const MAX_CAPACITY: u32 = u32::MAX / UNIT / 2;

const WAITING: u8 = 0;
const NOTIFIED: u8 = 1;
const CANCELLED: u8 = 2;

/// The record of a waiting sender. The sender holds one reference, the waiter queue the other.
#[derive(Debug)]
pub struct Waiter {
    place: Links<Waiter>,
    state: AtomicU8,
    shares: RefCount,
    pid: Pid,
}

impl Linked for Waiter {
    fn place(&self) -> &Links<Self> {
        &self.place
    }
}

// Relaxed for `state` throughout: it decides which of two threads acts, once. The word, or the
// mailbox that the notification goes through, orders what they act on.
impl Waiter {
    /// Allocates a record that is in no waiter queue yet, with two references.
    pub fn try_new(pid: Pid) -> Result<NonNull<Self>, NoMemory> {
        let waiter = Self { place: Links::new(), state: AtomicU8::new(WAITING), shares: RefCount::new(2), pid };
        memory::try_new(waiter).map_err(|_| NoMemory)
    }

    /// Returns the reference count of the record.
    pub(crate) fn shares(&self) -> &RefCount {
        &self.shares
    }

    /// Returns `true` if the waiter has been notified.
    pub fn is_called(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTIFIED
    }

    /// Marks the waiter as notified. Returns `false` if it was cancelled. Only the owner may call
    /// it.
    fn notify_waiters(&self) -> bool {
        self.state.compare_exchange(WAITING, NOTIFIED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Cancels the waiter. Returns `true` if it had been notified, so that no other waiter will be
    /// for that slot.
    #[must_use = "a slot reserved for it must be used, or the owner notified"]
    pub fn cancel(&self) -> bool {
        self.state.swap(CANCELLED, Ordering::Relaxed) == NOTIFIED
    }

    /// Releases a reference.
    ///
    /// # Safety
    /// The caller holds it, and does not use the record again.
    pub unsafe fn release(this: NonNull<Self>) {
        // SAFETY: the caller's reference keeps the record live.
        if unsafe { this.as_ref() }.shares.release() {
            // SAFETY: that was the last reference; the record was made by `try_new`.
            unsafe { memory::drop_and_free(this) };
        }
    }
}

/// The capacity of a mailbox: message count and waiters (see the module).
#[derive(Debug)]
pub struct Capacity<O = Shipped> {
    limit: u32,
    word: AtomicU32,
    line: List<Waiter>,
    /// The number of cancelled waiters since the last sweep. Relaxed: it decides only when to
    /// sweep.
    gone: AtomicU32,
    front: UnsafeCell<WaiterFifo>,
    orders: PhantomData<O>,
}

/// The waiters that the owner has taken off the list.
#[derive(Debug)]
struct WaiterFifo {
    waiters: Chain<Waiter>,
    sweep_at: u32,
}

impl<O: Orders> Capacity<O> {
    /// Creates a capacity of `limit` messages, but at least one and at most [`MAX_CAPACITY`].
    pub fn new(limit: u32) -> Self {
        let front = WaiterFifo { waiters: Chain::empty(), sweep_at: SWEEP_AT_LEAST as u32 };
        Self {
            limit: limit.clamp(1, MAX_CAPACITY),
            word: AtomicU32::new(0),
            line: List::new(),
            gone: AtomicU32::new(0),
            front: UnsafeCell::new(front),
            orders: PhantomData,
        }
    }

    /// Returns the largest number of messages.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns the number of counted messages. Only a hint.
    pub fn messages(&self) -> u32 {
        self.word.load(Ordering::Relaxed) / UNIT
    }

    /// Reserves a slot for a message, if fewer than `most` are counted. Lock-free.
    pub fn try_reserve(&self, most: u32) -> bool {
        // Relaxed: the count bounds memory and orders nothing.
        let mut word = self.word.load(Ordering::Relaxed);
        while word / UNIT < most {
            match self.word.compare_exchange_weak(word, word + UNIT, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Pushes a record onto the list, with the queue's reference. Lock-free.
    ///
    /// # Safety
    /// The record is in no waiter queue. After an error the queue's reference still belongs to the
    /// caller: the process is dead.
    pub unsafe fn push_waiter(&self, waiter: NonNull<Waiter>) -> Result<(), Closed> {
        // SAFETY: the record is in no waiter queue (this function's contract).
        unsafe { self.line.push(waiter) }
    }

    /// Reserves a slot as [`Capacity::try_reserve`] does; otherwise the sender waits from now on,
    /// by a record that is on the list already (W1). Lock-free.
    #[must_use = "after `true` a slot is reserved"]
    pub fn reserve_or_wait(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let enters = word / UNIT < self.limit;
            let new = if enters { word + UNIT } else { word | HAS_WAITERS };
            // The exchange is needed even when HAS_WAITERS is set already: the owner may be about
            // to clear it, and then this exchange pairs with the clearing.
            match self.word.compare_exchange_weak(word, new, O::HAS_WAITERS, Ordering::Relaxed) {
                Ok(_) => return enters,
                Err(now) => word = now,
            }
        }
    }

    /// Releases the slot of a message that has left. Returns `true` if a sender may be waiting, so
    /// that [`Capacity::notify_waiters`] must follow. Only the owner may call it; wait-free.
    #[must_use = "a waiting sender must be notified"]
    pub fn release(&self) -> bool {
        self.word.fetch_sub(UNIT, O::LEAVE) & HAS_WAITERS != 0
    }

    /// Releases the slot of a message that was not delivered. The caller must then notify the
    /// owner, which calls [`Capacity::notify_if_free`] (W3). Wait-free.
    pub fn unreserve(&self) {
        // Relaxed: the notification of the owner goes through the mailbox, which orders it.
        self.word.fetch_sub(UNIT, Ordering::Relaxed);
    }

    /// Counts the cancellation of a waiter that had not been notified. Returns `true` if the caller
    /// must notify the owner, which calls [`Capacity::notify_if_free`]. Wait-free.
    #[must_use = "the owner must be notified, or the waiter queue grows"]
    pub fn count_cancelled(&self) -> bool {
        (self.gone.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(SWEEP_AT_LEAST as u32)
    }

    /// Returns the waiters that the owner has taken.
    ///
    /// # Safety
    /// The caller is the process's owner, and keeps no other reference to them while it uses this
    /// one.
    #[allow(clippy::mut_from_ref, reason = "rule P1 makes the reference unique")]
    unsafe fn front(&self) -> &mut WaiterFifo {
        // SAFETY: P1: the caller is the owner and keeps no other reference (this function's
        // contract).
        self.front.with_mut(|front| unsafe { &mut *front })
    }

    /// Sets or clears HAS_WAITERS.
    fn set_has_waiters(&self, line: bool, order: Ordering) {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let new = if line { word | HAS_WAITERS } else { word & !HAS_WAITERS };
            match self.word.compare_exchange_weak(word, new, order, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Notifies the waiter at the front. Returns `true` if there was one. `notify_waiters` gets its
    /// pid.
    ///
    /// # Safety
    /// The caller is the process's owner.
    pub unsafe fn notify_waiters(&self, mut call: impl FnMut(Pid)) -> bool {
        loop {
            // SAFETY: P1: the caller is the owner (this method's contract); the borrow ends here.
            if let Some(waiter) = unsafe { self.front() }.waiters.next() {
                // SAFETY: the queue's reference keeps the record live.
                let record = unsafe { waiter.as_ref() };
                let called = record.notify_waiters();
                if called {
                    call(record.pid);
                }
                // SAFETY: the queue's reference; not used again.
                unsafe { Waiter::release(waiter) };
                if called {
                    return true;
                }
                continue;
            }
            // A sender that starts to wait from here on sets HAS_WAITERS again; one that did so
            // before is found below.
            self.set_has_waiters(false, O::CLEAR);
            let taken = self.line.take().reversed();
            if taken.is_empty() {
                return false;
            }
            // Relaxed: only the owner needs it set, and `front` belongs to the owner too.
            self.set_has_waiters(true, Ordering::Relaxed);
            // SAFETY: P1: the caller is the owner (this method's contract); the borrow ends here.
            unsafe { self.front() }.waiters = taken;
        }
    }

    /// Checks the waiters after a slot was returned: notifies as many as there are free slots.
    /// Drops the cancelled waiters, when they are many.
    ///
    /// # Safety
    /// The caller is the process's owner.
    pub unsafe fn notify_if_free(&self, mut call: impl FnMut(Pid)) {
        // SAFETY: P1: the caller is the owner (this method's contract); the borrow ends here.
        if self.gone.load(Ordering::Relaxed) >= unsafe { self.front() }.sweep_at {
            // SAFETY: P1: the caller is the owner (this method's contract).
            unsafe { self.sweep() };
        }
        // Relaxed: this thread freed the slot itself, or was notified of it through the mailbox. If
        // a sender has entered since, the notified waiter only finds no free slot.
        let word = self.word.load(Ordering::Relaxed);
        if word & HAS_WAITERS == 0 {
            return;
        }
        for _ in word / UNIT..self.limit {
            // SAFETY: P1: the caller is the owner (this method's contract).
            if !unsafe { self.notify_waiters(&mut call) } {
                return;
            }
        }
    }

    /// Drops the records of cancelled waiters.
    ///
    /// # Safety
    /// The caller is the process's owner.
    unsafe fn sweep(&self) {
        self.gone.store(0, Ordering::Relaxed);
        // SAFETY: P1: the caller is the owner (this function's contract); no other borrow is kept.
        let front = unsafe { self.front() };
        let (mut kept, mut count) = (Chain::empty(), 0);
        let taken = core::mem::replace(&mut front.waiters, Chain::empty());
        for waiter in taken.chain(self.line.take().reversed()) {
            // SAFETY: the queue's reference keeps the record live.
            if unsafe { waiter.as_ref() }.state.load(Ordering::Relaxed) == WAITING {
                // SAFETY: the chain passed the record to this thread.
                unsafe { kept.push(waiter) };
                count += 1;
            } else {
                // SAFETY: the queue's reference; not used again.
                unsafe { Waiter::release(waiter) };
            }
        }
        front.waiters = kept.reversed();
        front.sweep_at = count.max(SWEEP_AT_LEAST as u32);
        if count > 0 {
            // Relaxed: only the owner needs it set, as in `notify_waiters`.
            self.set_has_waiters(true, Ordering::Relaxed);
        }
    }

    /// Closes the capacity of a dead process: notifies all waiters. No sender can wait here
    /// afterwards.
    ///
    /// # Safety
    /// The caller is the process's last owner.
    pub unsafe fn close(&self, mut call: impl FnMut(Pid)) {
        // SAFETY: P1: the caller is the last owner (this method's contract); the borrow ends here.
        let taken = core::mem::replace(&mut unsafe { self.front() }.waiters, Chain::empty());
        for waiter in taken.chain(self.line.close().reversed()) {
            // SAFETY: the queue's reference keeps the record live.
            let record = unsafe { waiter.as_ref() };
            if record.notify_waiters() {
                call(record.pid);
            }
            // SAFETY: the queue's reference; not used again.
            unsafe { Waiter::release(waiter) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn waiter(room: &Capacity, number: u32) -> NonNull<Waiter> {
        let waiter = Waiter::try_new(Pid::new(number, 1).expect("a pid")).expect("memory");
        // SAFETY: the record is new, so it is in no queue.
        unsafe { room.push_waiter(waiter) }.expect("open");
        waiter
    }

    #[test]
    fn waiters_are_notified_in_order_and_cancelled_ones_are_skipped() {
        let room = Capacity::<Shipped>::new(2);
        assert!(room.try_reserve(2) && room.try_reserve(2) && !room.try_reserve(2));
        let waiters: Vec<_> = (1..=4).map(|number| waiter(&room, number)).collect();
        for _ in &waiters {
            assert!(!room.reserve_or_wait());
        }
        let mut called = Vec::new();
        // SAFETY: the test's reference keeps it live, and one thread owns all.
        assert!(!unsafe { waiters[0].as_ref() }.cancel());
        for _ in 0..2 {
            assert!(room.release());
            // SAFETY: this one thread owns the capacity.
            assert!(unsafe { room.notify_waiters(|pid| called.push(pid.index())) });
        }
        assert_eq!(called, [2, 3]);
        // One of them is cancelled without having used its slot.
        // SAFETY: the test's reference keeps it live.
        assert!(unsafe { waiters[1].as_ref() }.cancel());
        // SAFETY: this one thread owns the capacity.
        unsafe { room.notify_if_free(|pid| called.push(pid.index())) };
        assert_eq!(called, [2, 3, 4]);
        // SAFETY: this one thread owns the capacity.
        unsafe { room.close(|pid| panic!("{pid} is notified twice")) };
        for waiter in waiters {
            // SAFETY: the waiter's own reference; not used again.
            unsafe { Waiter::release(waiter) };
        }
    }

    #[test]
    fn cancelled_waiters_are_swept() {
        let room = Capacity::<Shipped>::new(1);
        assert!(room.try_reserve(1));
        let mut told = 0;
        for number in 1..=1000 {
            let waiter = waiter(&room, number);
            assert!(!room.reserve_or_wait());
            // SAFETY: the test's reference keeps it live.
            assert!(!unsafe { waiter.as_ref() }.cancel());
            // SAFETY: the waiter's own reference; not used again.
            unsafe { Waiter::release(waiter) };
            if room.count_cancelled() {
                told += 1;
                // SAFETY: this one thread owns the capacity.
                unsafe { room.notify_if_free(|pid| panic!("{pid} was cancelled")) };
                assert!(room.line.is_empty());
            }
        }
        assert_eq!(told, 1000 / SWEEP_AT_LEAST);
        // SAFETY: this one thread owns the capacity.
        unsafe { room.close(|pid| panic!("{pid} was cancelled")) };
    }
}
