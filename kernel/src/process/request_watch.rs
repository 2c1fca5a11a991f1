//! The watch of a request, in transit ([`DeathWatch`]) and at the receiver ([`OpenRequests`]); see
//! `ops::request::open_request`, Q1 and Q2.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::task::Waker;

use crate::memory::pool::Pool;
use crate::process::request_cell::{
    ANSWERED, DOWN, GONE, Orders, RESPONDER_DONE, RequestHead, Requester, Shipped, WATCH_DONE,
};
use crate::reason::Reason;
use crate::sync::Ordering;

/// The watch while no process has received its request: dropping it releases it.
#[derive(Debug)]
pub struct DeathWatch<O: Orders = Shipped>(NonNull<RequestHead>, PhantomData<fn() -> O>);

// SAFETY: A1 to A5: the word decides which party may touch the cell.
unsafe impl<O: Orders> Send for DeathWatch<O> {}

impl<O: Orders> DeathWatch<O> {
    /// Returns the watch of a new cell.
    pub(crate) fn of(head: NonNull<RequestHead>) -> Self {
        Self(head, PhantomData)
    }

    /// Converts the watch into its cell, to travel with a message.
    pub(crate) fn travels(self) -> NonNull<RequestHead> {
        core::mem::ManuallyDrop::new(self).0
    }

    /// Reports the death of the process, as `ops::request::watch` does. Returns the waker to call.
    /// For the models.
    pub fn down(self, reason: &Reason) -> Option<Waker> {
        // SAFETY: this value is the watch, and it is not used again.
        unsafe { send_down::<O>(self.travels(), None, reason) }.and_then(|(_, waker)| waker)
    }

    /// Releases the watch if it is settled, as [`settle`] does. For the models.
    pub fn settle(self) -> Option<Self> {
        let head = self.travels();
        // SAFETY: this value is the watch, and it is not used again if it was settled.
        (!unsafe { settle::<O>(head, None) }).then(|| Self(head, PhantomData))
    }
}

impl<O: Orders> Drop for DeathWatch<O> {
    fn drop(&mut self) {
        // SAFETY: this value is the watch, and it is not used again.
        unsafe { leave::<O>(self.0, None) };
    }
}

/// Releases the watch.
///
/// # Safety
/// The caller has the watch, and does not use it again.
pub(crate) unsafe fn let_go(head: NonNull<RequestHead>, pool: Option<&Pool>) {
    // SAFETY: the caller has the watch and does not use it again (this function's contract).
    unsafe { leave::<Shipped>(head, pool) };
}

/// Releases the watch as [`let_go`] does.
unsafe fn leave<O: Orders>(head: NonNull<RequestHead>, pool: Option<&Pool>) {
    // SAFETY: A3: the watch is not done, so the cell is live.
    let before = unsafe { head.as_ref() }.leave::<O>(WATCH_DONE);
    if RequestHead::is_last(before, WATCH_DONE) {
        // SAFETY: A3: the watch was the last party.
        unsafe { RequestHead::free(head, pool) };
    }
}

/// Releases the watch of an answered or dropped request. Returns `true` if it was.
///
/// # Safety
/// The caller has the watch, and does not use it again after `true`.
unsafe fn settle<O: Orders>(head: NonNull<RequestHead>, pool: Option<&Pool>) -> bool {
    // SAFETY: A3: the watch is not done, so the cell is live.
    let word = unsafe { head.as_ref() }.load(O::SETTLE);
    if word & (GONE | RESPONDER_DONE) == GONE | RESPONDER_DONE {
        // The watch is the last party.
        // SAFETY: A3: both other parties are done, seen with Acquire.
        unsafe { RequestHead::free(head, pool) };
        return true;
    }
    let settled = word & (RESPONDER_DONE | ANSWERED) != 0 || !O::HEEDS_THE_ANSWERER;
    if settled {
        // SAFETY: the caller has the watch and does not use it again.
        unsafe { leave::<O>(head, pool) };
    }
    settled
}

/// Changes the cell when the process is dead. Returns the requester and its waker, if one waits
/// without an answer.
///
/// # Safety
/// The caller has the watch, and does not use it again.
pub(crate) unsafe fn send_down<O: Orders>(
    head: NonNull<RequestHead>,
    pool: Option<&Pool>,
    reason: &Reason,
) -> Option<(Option<Requester>, Option<Waker>)> {
    // SAFETY: A3: the watch is not done, so the cell is live.
    let cell = unsafe { head.as_ref() };
    let asker = cell.asker;
    let unless = if O::HEEDS_GONE { GONE | ANSWERED } else { ANSWERED };
    // Relaxed: only a hint.
    let said = if cell.load(Ordering::Relaxed) & unless == 0 {
        cell.set_reason(reason.clone());
        cell.event::<O>(DOWN, WATCH_DONE, unless)
    } else {
        Err(0)
    };
    if !matches!(said, Ok((_, None))) {
        // The watch is not done with the event: there was a waker, or no event.
        // SAFETY: the caller has the watch and does not use it again.
        unsafe { leave::<O>(head, pool) };
    }
    said.ok().map(|(_, called)| (asker, called))
}

/// The requests that a process has received and not answered, newest first. Only the owner touches
/// it.
///
/// `repr(C)`: every receive checks if there is one.
#[derive(Debug)]
#[repr(C)]
pub struct OpenRequests {
    first: *mut RequestHead,
    count: u32,
    /// The number of requests at which all are checked next.
    sweep: u32,
}

/// The smallest number of requests that are checked together.
const FEW: u32 = 16;

impl Default for OpenRequests {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenRequests {
    /// Creates an empty list.
    pub const fn new() -> Self {
        Self { first: ptr::null_mut(), count: 0, sweep: FEW }
    }

    /// Returns `true` if it is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Returns `true` if `head` is the newest request.
    #[inline]
    pub(crate) fn is_newest(&self, head: NonNull<RequestHead>) -> bool {
        ptr::eq(self.first, head.as_ptr())
    }

    /// Adds a request that the process receives: the process owns the watch now.
    ///
    /// # Safety
    /// The caller has the watch, which moves to the list.
    pub(crate) unsafe fn add(&mut self, head: NonNull<RequestHead>, pool: Option<&Pool>) {
        if self.count >= self.sweep {
            self.sweep(pool);
        }
        // SAFETY: the caller has the watch, which is in no list (this function's contract).
        unsafe { self.put_back(head) };
    }

    /// Adds a request that has been in the list before, as [`OpenRequests::add`] does.
    ///
    /// # Safety
    /// The caller has the watch, which is in no list and moves to this one.
    pub(crate) unsafe fn put_back(&mut self, head: NonNull<RequestHead>) {
        // SAFETY: the caller has the watch, which is in no list (this function's contract).
        unsafe { head.as_ref() }.next.with_mut(|next| unsafe { *next = self.first });
        self.first = head.as_ptr();
        self.count += 1;
    }

    /// Removes and returns the newest request.
    pub(crate) fn pop(&mut self) -> Option<NonNull<RequestHead>> {
        let head = NonNull::new(self.first)?;
        // SAFETY: A3: in the list, so its watch is not done; `next` belongs to the owner.
        self.first = unsafe { head.as_ref() }.next.with(|next| unsafe { *next });
        self.count -= 1;
        Some(head)
    }

    /// Releases the newest request, if it is answered.
    pub(crate) fn settle(&mut self, pool: Option<&Pool>) {
        if let Some(head) = self.pop() {
            self.keep(head, pool);
        }
    }

    /// Puts a request back, unless it is settled.
    fn keep(&mut self, head: NonNull<RequestHead>, pool: Option<&Pool>) {
        // SAFETY: A3: taken out of the list, so its watch is not done.
        let next = unsafe { head.as_ref() }.next.with(|next| unsafe { *next });
        // Checked in release builds too: the rest of the list depends on it.
        assert!(ptr::eq(next, self.first), "the request was the newest one");
        // SAFETY: taken out of the list above, and not used again when it is settled.
        if !unsafe { settle::<Shipped>(head, pool) } {
            self.first = head.as_ptr();
            self.count += 1;
        }
    }

    #[cold]
    fn sweep(&mut self, pool: Option<&Pool>) {
        let mut all = core::mem::take(self);
        while let Some(head) = all.pop() {
            // SAFETY: taken out of the list above, and not used again when it is settled.
            if !unsafe { settle::<Shipped>(head, pool) } {
                // SAFETY: taken out of the list, so it is in none.
                unsafe { self.put_back(head) };
            }
        }
        self.sweep = (2 * self.count).max(FEW);
    }
}
