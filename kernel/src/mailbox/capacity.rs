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
use core::ops::Deref;
use core::ptr::NonNull;

use crate::config::SWEEP_AT_LEAST;
use crate::intrusive::counted::{Counted, Ref};
use crate::intrusive::handle::Handle;
use crate::intrusive::list::{Chain, Linked, Links, List};
use crate::intrusive::refcount::RefCount;
use crate::memory::NoMemory;
use crate::pid::Pid;
use crate::shipped::Shipped;
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

impl Orders for Shipped {}

const HAS_WAITERS: u32 = 1;
const UNIT: u32 = 2;

/// The largest number of messages that can be counted, and so the largest limit.
pub const MAX_CAPACITY: u32 = u32::MAX / UNIT / 2;

const WAITING: u8 = 0;
const NOTIFIED: u8 = 1;
const CANCELLED: u8 = 2;

/// The record of a waiting sender. The sender holds one reference, the waiter queue the other
/// ([`QueuedWaiter`]).
#[derive(Debug)]
pub struct Waiter {
    place: Links<Waiter>,
    state: AtomicU8,
    shares: RefCount,
    pid: Pid,
}

// SAFETY: the links are a field of the record, and only the waiter queue uses them.
unsafe impl Linked for Waiter {
    fn place(&self) -> &Links<Self> {
        &self.place
    }
}

// SAFETY: `try_new` counts two references. The orderings are `RefCount`'s.
unsafe impl Counted for Waiter {
    const BORN: usize = 2;

    fn add_ref(&self) {
        self.shares.add();
    }

    fn drop_ref(&self) -> bool {
        self.shares.release()
    }
}

// SAFETY: the fields are constant or atomic, except for the links, which belong to the one
// `QueuedWaiter`.
unsafe impl Sync for Waiter {}
// SAFETY: the record is not tied to a thread.
unsafe impl Send for Waiter {}

/// The waiter queue's reference to a record: the right to be in the queue. A record is born with
/// one.
#[derive(Debug)]
pub struct QueuedWaiter(Ref<Waiter>);

impl Deref for QueuedWaiter {
    type Target = Waiter;

    fn deref(&self) -> &Waiter {
        &self.0
    }
}

// SAFETY: E1: a record has one `QueuedWaiter`. E2: the reference keeps the record live.
unsafe impl Handle for QueuedWaiter {
    type Record = Waiter;

    fn into_raw(self) -> NonNull<Waiter> {
        self.0.into_raw()
    }

    unsafe fn from_raw(record: NonNull<Waiter>) -> Self {
        // SAFETY: the pointer came from `into_raw`, with the reference (this function's contract).
        Self(unsafe { Ref::from_raw(record) })
    }
}

// Relaxed for `state` throughout: it decides which of two threads acts, once. The word, or the
// mailbox that the notification goes through, orders what they act on.
impl Waiter {
    /// Allocates a record that is in no waiter queue yet. Returns the sender's reference and the
    /// queue's.
    pub fn try_new(pid: Pid) -> Result<(Ref<Self>, QueuedWaiter), NoMemory> {
        let waiter = Self { place: Links::new(), state: AtomicU8::new(WAITING), shares: RefCount::new(2), pid };
        let (sender, queue) = Ref::try_pair(waiter, None).map_err(|_| NoMemory)?;
        Ok((sender, QueuedWaiter(queue)))
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
}

/// The capacity of a mailbox: message count and waiters (see the module).
#[derive(Debug)]
pub struct Capacity<O = Shipped> {
    limit: u32,
    word: AtomicU32,
    line: List<QueuedWaiter>,
    /// The number of cancelled waiters since the last sweep. Relaxed: it decides only when to
    /// sweep.
    gone: AtomicU32,
    front: UnsafeCell<WaiterFifo>,
    orders: PhantomData<O>,
}

/// The waiters that the owner has taken off the list.
#[derive(Debug)]
struct WaiterFifo {
    waiters: Chain<QueuedWaiter>,
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

    /// Pushes a record onto the list. Returns it if the process is dead. Lock-free.
    pub fn push_waiter(&self, waiter: QueuedWaiter) -> Result<(), QueuedWaiter> {
        self.line.push(waiter)
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

    /// Runs `f` with the waiters that the owner has taken.
    ///
    /// # Safety
    /// The caller is the process's owner, and `f` does not use the capacity.
    unsafe fn front<R>(&self, f: impl FnOnce(&mut WaiterFifo) -> R) -> R {
        // SAFETY: P1: the caller is the owner, and accesses do not nest (this function's contract).
        self.front.with_mut(|front| f(unsafe { &mut *front }))
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
            // SAFETY: P1: the caller is the owner (this method's contract).
            if let Some(waiter) = unsafe { self.front(|front| front.waiters.next()) } {
                if waiter.notify_waiters() {
                    call(waiter.pid);
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
            // SAFETY: P1: the caller is the owner (this method's contract).
            unsafe { self.front(|front| front.waiters = taken) };
        }
    }

    /// Checks the waiters after a slot was returned: notifies as many as there are free slots.
    /// Drops the cancelled waiters, when they are many.
    ///
    /// # Safety
    /// The caller is the process's owner.
    pub unsafe fn notify_if_free(&self, mut call: impl FnMut(Pid)) {
        // SAFETY: P1: the caller is the owner (this method's contract).
        if self.gone.load(Ordering::Relaxed) >= unsafe { self.front(|front| front.sweep_at) } {
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
        let (mut kept, mut count) = (Chain::empty(), 0);
        // SAFETY: P1: the caller is the owner (this function's contract).
        let taken = unsafe { self.front(|front| core::mem::replace(&mut front.waiters, Chain::empty())) };
        for waiter in taken.chain(self.line.take().reversed()) {
            if waiter.state.load(Ordering::Relaxed) == WAITING {
                kept.push(waiter);
                count += 1;
            }
        }
        let front = WaiterFifo { waiters: kept.reversed(), sweep_at: count.max(SWEEP_AT_LEAST as u32) };
        // SAFETY: P1: the caller is the owner (this function's contract).
        unsafe { self.front(|place| *place = front) };
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
        // SAFETY: P1: the caller is the last owner (this method's contract).
        let taken = unsafe { self.front(|front| core::mem::replace(&mut front.waiters, Chain::empty())) };
        for waiter in taken.chain(self.line.close().reversed()) {
            if waiter.notify_waiters() {
                call(waiter.pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn waiter(room: &Capacity, number: u32) -> Ref<Waiter> {
        let (waiter, queued) = Waiter::try_new(Pid::new(number, 1).expect("a pid")).expect("memory");
        room.push_waiter(queued).expect("open");
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
        assert!(!waiters[0].cancel());
        for _ in 0..2 {
            assert!(room.release());
            // SAFETY: this one thread owns the capacity.
            assert!(unsafe { room.notify_waiters(|pid| called.push(pid.index())) });
        }
        assert_eq!(called, [2, 3]);
        // One of them is cancelled without having used its slot.
        assert!(waiters[1].cancel());
        // SAFETY: this one thread owns the capacity.
        unsafe { room.notify_if_free(|pid| called.push(pid.index())) };
        assert_eq!(called, [2, 3, 4]);
        // SAFETY: this one thread owns the capacity.
        unsafe { room.close(|pid| panic!("{pid} is notified twice")) };
    }

    #[test]
    fn cancelled_waiters_are_swept() {
        let room = Capacity::<Shipped>::new(1);
        assert!(room.try_reserve(1));
        let mut told = 0;
        for number in 1..=1000 {
            let waiter = waiter(&room, number);
            assert!(!room.reserve_or_wait());
            assert!(!waiter.cancel());
            drop(waiter);
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
