//! [`Capacity`]: how many messages may wait at a process, and who waits for room.
//!
//! A sender that finds no room may get in line: it leaves a record ([`Waiter`]) with its pid, and is called when a place
//! has become free. One word decides every race between a place that is given up and a sender that gets in line:
//!
//! ```text
//!     word = messages × 2 + LINE
//! ```
//!
//! | event | who | what it does to the word |
//! | --- | --- | --- |
//! | [`Capacity::enter`] | a sender | one message more, if there is room |
//! | [`Capacity::get_in_line`] | a sender whose record is on the list | one message more, if there is room by now; else sets LINE |
//! | [`Capacity::leave`] | the owner, for a message that is received or dropped | one less; told of LINE |
//! | [`Capacity::retract`] | a sender whose message could not be delivered | one less |
//! | [`Capacity::call`] | the owner | clears LINE, then takes the list; sets it again if anybody was there |
//!
//! - **W1, a record first, then LINE.** So whoever sees LINE, or clears it, finds the record on the list.
//! - **W2, LINE is only set while there is no room.** So a message waits that will be received, and its `leave` sees it,
//!   or the owner has cleared it since, and has the record.
//! - **W3, who is in line is called once for each place.** As long as anybody is in line, as many as there are free places
//!   have been called and have not answered yet. Each answers: with a message; by getting in line again, at its end, when
//!   somebody else was quicker; or by going away, which has the owner look at the line again. So has a `retract`.
//!
//! The list is a stack that anybody pushes on and only the owner takes; what it took is its alone (`front`), oldest
//! first, and it takes no more before that is empty. So the line moves in order, but for those who come at the same time.
//! Who has gone stays in the line as a record that says so, until the line comes to it, or there are too many.
//!
//! A process without a bound has no room: nothing of this is touched. One whose mailbox drops counts, but has no line.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::config::SWEEP_AT_LEAST;
use crate::list::{Chain, Closed, List, Linked, Links};
use crate::memory::{self, NoMemory};
use crate::pid::Pid;
use crate::shares::RefCount;
use crate::sync::{AtomicU8, AtomicU32, Ordering, UnsafeCell};

/// The orderings, a parameter so that a model can weaken one and see it fail.
pub trait Orders: 'static {
    /// Of setting LINE. Release: pairs with `LEAVE` and `CLEAR`, whose owner finds the record (W1).
    const LINE: Ordering = Ordering::Release;
    /// Of a message that leaves. Acquire: pairs with `LINE`.
    const LEAVE: Ordering = Ordering::Acquire;
    /// Of clearing LINE. Acquire: pairs with `LINE`, also of one that found it set already.
    const CLEAR: Ordering = Ordering::Acquire;
}

/// The orderings as they must be.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

const LINE: u32 = 1;
const ONE: u32 = 2;

/// The most messages that can be counted, and so the largest bound.
pub const MOST: u32 = u32::MAX / ONE / 2;

const WAITS: u8 = 0;
const CALLED: u8 = 1;
const GONE: u8 = 2;

/// A sender in line. It has one share of the record, the line the other.
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

// Relaxed for `state` throughout: it decides who of two acts, once, and what they act on is ordered by the word or by
// the mailbox that the call goes through.
impl Waiter {
    /// A record that is in no line yet, with two shares.
    pub fn try_new(pid: Pid) -> Result<NonNull<Self>, NoMemory> {
        let waiter = Self { place: Links::new(), state: AtomicU8::new(WAITS), shares: RefCount::new(2), pid };
        memory::try_new(waiter).map_err(|_| NoMemory)
    }

    /// Who still needs the record.
    pub(crate) fn shares(&self) -> &RefCount {
        &self.shares
    }

    /// Whether it has been called.
    pub fn is_called(&self) -> bool {
        self.state.load(Ordering::Relaxed) == CALLED
    }

    /// It is its turn; false when it has gone. The owner's.
    fn call(&self) -> bool {
        self.state.compare_exchange(WAITS, CALLED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// It waits no more; true when it has been called, so that nobody else will be for that place.
    #[must_use = "a place that was kept for it must be used, or the owner told"]
    pub fn go(&self) -> bool {
        self.state.swap(GONE, Ordering::Relaxed) == CALLED
    }

    /// Gives up a share.
    ///
    /// # Safety
    /// The caller has it, and does not use the record again.
    pub unsafe fn give_up(this: NonNull<Self>) {
        // SAFETY: shared, so live.
        if unsafe { this.as_ref() }.shares.give_up() {
            // SAFETY: the last share; made by `try_new`.
            unsafe { memory::drop_and_free(this) };
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Capacity<O = Shipped> {
    limit: u32,
    word: AtomicU32,
    line: List<Waiter>,
    /// Who has gone since the line was last swept. It decides only when: Relaxed.
    gone: AtomicU32,
    front: UnsafeCell<WaiterFifo>,
    orders: PhantomData<O>,
}

/// What the owner has taken off the line.
#[derive(Debug)]
struct WaiterFifo {
    waiters: Chain<Waiter>,
    sweep_at: u32,
}

impl<O: Orders> Capacity<O> {
    /// For so many messages, but at least one and at most [`MOST`].
    pub fn new(limit: u32) -> Self {
        let front = WaiterFifo { waiters: Chain::empty(), sweep_at: SWEEP_AT_LEAST as u32 };
        Self {
            limit: limit.clamp(1, MOST),
            word: AtomicU32::new(0),
            line: List::new(),
            gone: AtomicU32::new(0),
            front: UnsafeCell::new(front),
            orders: PhantomData,
        }
    }

    /// For so many messages.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Messages that are counted. A hint.
    pub fn messages(&self) -> u32 {
        self.word.load(Ordering::Relaxed) / ONE
    }

    /// Takes a place for a message, if there are fewer than `most`. Lock-free.
    pub fn enter(&self, most: u32) -> bool {
        // Relaxed: the count bounds memory and orders nothing.
        let mut word = self.word.load(Ordering::Relaxed);
        while word / ONE < most {
            match self.word.compare_exchange_weak(word, word + ONE, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Puts a record on the list, with the line's share. Lock-free.
    ///
    /// # Safety
    /// The record is in no line. After an error the line's share is the caller's still: the process is dead.
    pub unsafe fn line_up(&self, waiter: NonNull<Waiter>) -> Result<(), Closed> {
        // SAFETY: by contract.
        unsafe { self.line.push(waiter) }
    }

    /// Takes a place as [`Capacity::enter`] does, or is in line from now on, by a record that is on the list (W1). Lock-free.
    #[must_use = "after `true` a place is taken"]
    pub fn get_in_line(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let enters = word / ONE < self.limit;
            let new = if enters { word + ONE } else { word | LINE };
            // Also when LINE is set already: the owner may be about to clear it, and then this pairs with that.
            match self.word.compare_exchange_weak(word, new, O::LINE, Ordering::Relaxed) {
                Ok(_) => return enters,
                Err(now) => word = now,
            }
        }
    }

    /// A message has left; whether somebody may be in line, so that [`Capacity::call`] must follow. The owner's; wait-free.
    #[must_use = "who is in line must be called"]
    pub fn leave(&self) -> bool {
        self.word.fetch_sub(ONE, O::LEAVE) & LINE != 0
    }

    /// A message that had a place was not delivered. The owner must be told, and [`Capacity::look`] (W3). Wait-free.
    pub fn retract(&self) {
        // Relaxed: who is told is told through the mailbox.
        self.word.fetch_sub(ONE, Ordering::Relaxed);
    }

    /// A waiter has gone that had not been called; whether the owner must be told, and [`Capacity::look`]. Wait-free.
    #[must_use = "the owner must be told, or the line grows"]
    pub fn count_gone(&self) -> bool {
        (self.gone.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(SWEEP_AT_LEAST as u32)
    }

    /// # Safety
    /// The caller is the process's owner, and keeps no other reference to it meanwhile.
    #[allow(clippy::mut_from_ref, reason = "the owner is one")]
    unsafe fn front(&self) -> &mut WaiterFifo {
        // SAFETY: by contract.
        self.front.with_mut(|front| unsafe { &mut *front })
    }

    /// Sets or clears LINE.
    fn mark(&self, line: bool, order: Ordering) {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let new = if line { word | LINE } else { word & !LINE };
            match self.word.compare_exchange_weak(word, new, order, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Calls the first in line; whether there was anybody. `call` gets the pid.
    ///
    /// # Safety
    /// The caller is the process's owner.
    pub unsafe fn call(&self, mut call: impl FnMut(Pid)) -> bool {
        loop {
            // SAFETY: by contract; not kept.
            if let Some(waiter) = unsafe { self.front() }.waiters.next() {
                // SAFETY: the line's share keeps it.
                let record = unsafe { waiter.as_ref() };
                let called = record.call();
                if called {
                    call(record.pid);
                }
                // SAFETY: the line's share.
                unsafe { Waiter::give_up(waiter) };
                if called {
                    return true;
                }
                continue;
            }
            // Who gets in line from here on sets it again; who has before is found below.
            self.mark(false, O::CLEAR);
            let taken = self.line.take().reversed();
            if taken.is_empty() {
                return false;
            }
            // Relaxed: the owner's own, which `front` goes with.
            self.mark(true, Ordering::Relaxed);
            // SAFETY: by contract; not kept.
            unsafe { self.front() }.waiters = taken;
        }
    }

    /// Looks at the line after a place was given back: calls as many as there is room for. Drops who has gone, when they
    /// are many.
    ///
    /// # Safety
    /// The caller is the process's owner.
    pub unsafe fn look(&self, mut call: impl FnMut(Pid)) {
        // SAFETY: by contract; not kept.
        if self.gone.load(Ordering::Relaxed) >= unsafe { self.front() }.sweep_at {
            // SAFETY: by contract.
            unsafe { self.sweep() };
        }
        // Relaxed: what made room was this thread's, or told through the mailbox; who has entered since is only called
        // to find no room.
        let word = self.word.load(Ordering::Relaxed);
        if word & LINE == 0 {
            return;
        }
        for _ in word / ONE..self.limit {
            // SAFETY: by contract.
            if !unsafe { self.call(&mut call) } {
                return;
            }
        }
    }

    /// # Safety
    /// The caller is the process's owner.
    unsafe fn sweep(&self) {
        self.gone.store(0, Ordering::Relaxed);
        // SAFETY: by contract.
        let front = unsafe { self.front() };
        let (mut kept, mut count) = (Chain::empty(), 0);
        let taken = core::mem::replace(&mut front.waiters, Chain::empty());
        for waiter in taken.chain(self.line.take().reversed()) {
            // SAFETY: the line's share keeps it.
            if unsafe { waiter.as_ref() }.state.load(Ordering::Relaxed) == WAITS {
                // SAFETY: handed over by the chain.
                unsafe { kept.push(waiter) };
                count += 1;
            } else {
                // SAFETY: the line's share.
                unsafe { Waiter::give_up(waiter) };
            }
        }
        front.waiters = kept.reversed();
        front.sweep_at = count.max(SWEEP_AT_LEAST as u32);
        if count > 0 {
            // Relaxed: as in `call`.
            self.mark(true, Ordering::Relaxed);
        }
    }

    /// The process is dead: all in line are called, and nobody gets in any more.
    ///
    /// # Safety
    /// The caller is the process's last owner.
    pub unsafe fn close(&self, mut call: impl FnMut(Pid)) {
        // SAFETY: by contract.
        let taken = core::mem::replace(&mut unsafe { self.front() }.waiters, Chain::empty());
        for waiter in taken.chain(self.line.close().reversed()) {
            // SAFETY: the line's share keeps it.
            let record = unsafe { waiter.as_ref() };
            if record.call() {
                call(record.pid);
            }
            // SAFETY: the line's share.
            unsafe { Waiter::give_up(waiter) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn waiter(room: &Capacity, number: u32) -> NonNull<Waiter> {
        let waiter = Waiter::try_new(Pid::new(number, 1).expect("a pid")).expect("memory");
        // SAFETY: new.
        unsafe { room.line_up(waiter) }.expect("open");
        waiter
    }

    #[test]
    fn the_line_moves_in_order_and_passes_over_who_has_gone() {
        let room = Capacity::<Shipped>::new(2);
        assert!(room.enter(2) && room.enter(2) && !room.enter(2));
        let waiters: Vec<_> = (1..=4).map(|number| waiter(&room, number)).collect();
        for _ in &waiters {
            assert!(!room.get_in_line());
        }
        let mut called = Vec::new();
        // SAFETY: live, and one thread owns all.
        assert!(!unsafe { waiters[0].as_ref() }.go());
        for _ in 0..2 {
            assert!(room.leave());
            // SAFETY: one thread owns all.
            assert!(unsafe { room.call(|pid| called.push(pid.index())) });
        }
        assert_eq!(called, [2, 3]);
        // One of them goes without having used its place.
        // SAFETY: live.
        assert!(unsafe { waiters[1].as_ref() }.go());
        // SAFETY: one thread owns all.
        unsafe { room.look(|pid| called.push(pid.index())) };
        assert_eq!(called, [2, 3, 4]);
        // SAFETY: one thread owns all.
        unsafe { room.close(|pid| panic!("{pid} is called twice")) };
        for waiter in waiters {
            // SAFETY: the waiter's own share.
            unsafe { Waiter::give_up(waiter) };
        }
    }

    #[test]
    fn who_has_gone_does_not_stay_for_ever() {
        let room = Capacity::<Shipped>::new(1);
        assert!(room.enter(1));
        let mut told = 0;
        for number in 1..=1000 {
            let waiter = waiter(&room, number);
            assert!(!room.get_in_line());
            // SAFETY: live.
            assert!(!unsafe { waiter.as_ref() }.go());
            // SAFETY: the waiter's own share.
            unsafe { Waiter::give_up(waiter) };
            if room.count_gone() {
                told += 1;
                // SAFETY: one thread owns all.
                unsafe { room.look(|pid| panic!("{pid} has gone")) };
                assert!(room.line.is_empty());
            }
        }
        assert_eq!(told, 1000 / SWEEP_AT_LEAST);
        // SAFETY: one thread owns all.
        unsafe { room.close(|pid| panic!("{pid} has gone")) };
    }
}
