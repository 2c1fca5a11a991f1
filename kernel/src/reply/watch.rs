//! The watch of a request, in the hands of who receives it ([`DeathWatch`], [`OpenRequests`]); see `request`, Q1 and Q2.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::task::Waker;

use super::cell::{ANSWERED, Caller, DOWN, GONE, RequestHead, OUT_ANSWERER, OUT_WATCH, Orders, Shipped};
use crate::hand::KernelCx;
use crate::memory::pool::Pool;
use crate::reason::Reason;
use crate::sync::Ordering;

/// The watch, while nobody has it: it is let go of when it is dropped.
#[derive(Debug)]
pub struct DeathWatch<O: Orders = Shipped>(NonNull<RequestHead>, PhantomData<fn() -> O>);

// SAFETY: the word decides who may touch the cells (see `cell`).
unsafe impl<O: Orders> Send for DeathWatch<O> {}

impl<O: Orders> DeathWatch<O> {
    /// The watch of a new cell.
    pub(super) fn of(head: NonNull<RequestHead>) -> Self {
        Self(head, PhantomData)
    }

    /// It travels on.
    pub(crate) fn travels(self) -> NonNull<RequestHead> {
        core::mem::ManuallyDrop::new(self).0
    }

    /// The process is dead: what [`down`] does with the cell, and the waker that is to be called. For the models.
    pub fn down(self, reason: &Reason) -> Option<Waker> {
        // SAFETY: the watch's, not used again.
        unsafe { say_down::<O>(self.travels(), None, reason) }.and_then(|(_, waker)| waker)
    }

    /// The process answers itself; the watch, if it is not out then. For the models.
    pub fn answer<T>(self, reply: super::Reply<T, O>, answer: T) -> (Option<Self>, Result<(), T>) {
        let mut open = OpenRequests::new();
        // SAFETY: the watch's.
        unsafe { open.put_back(self.travels()) };
        let answered = reply.answer(answer, None, Some(&mut open));
        (open.pop().map(|head| Self(head, PhantomData)), answered)
    }

    /// Lets go if it is settled, as [`settle`]. For the models.
    pub fn settle(self) -> Option<Self> {
        let head = self.travels();
        // SAFETY: the watch's, not used again if it was.
        (!unsafe { settle::<O>(head, None) }).then(|| Self(head, PhantomData))
    }
}

impl<O: Orders> Drop for DeathWatch<O> {
    fn drop(&mut self) {
        // SAFETY: the watch's, not used again.
        unsafe { leave::<O>(self.0, None) };
    }
}

/// The watch lets go.
///
/// # Safety
/// The caller has the watch, and does not use it again.
pub(crate) unsafe fn let_go(head: NonNull<RequestHead>, pool: Option<&Pool>) {
    // SAFETY: by contract.
    unsafe { leave::<Shipped>(head, pool) };
}

/// As [`let_go`].
unsafe fn leave<O: Orders>(head: NonNull<RequestHead>, pool: Option<&Pool>) {
    // SAFETY: the watch is not out.
    let before = unsafe { head.as_ref() }.leave::<O>(OUT_WATCH);
    if RequestHead::is_last(before, OUT_WATCH) {
        // SAFETY: the last one.
        unsafe { RequestHead::free(head, pool) };
    }
}

/// Lets go of what is answered or dropped; whether it was.
///
/// # Safety
/// The caller has the watch, and does not use it again after `true`.
unsafe fn settle<O: Orders>(head: NonNull<RequestHead>, pool: Option<&Pool>) -> bool {
    // SAFETY: the watch is not out.
    let word = unsafe { head.as_ref() }.load(O::SETTLE);
    if word & (GONE | OUT_ANSWERER) == GONE | OUT_ANSWERER {
        // The last one.
        // SAFETY: both others are out, by Acquire.
        unsafe { RequestHead::free(head, pool) };
        return true;
    }
    let settled = word & (OUT_ANSWERER | ANSWERED) != 0 || !O::HEEDS_THE_ANSWERER;
    if settled {
        // SAFETY: the watch, not used again.
        unsafe { leave::<O>(head, pool) };
    }
    settled
}

/// Says to the asker that the process is dead.
///
/// # Safety
/// The caller has the watch, and does not use it again. With a hand of the asker's kernel.
pub(crate) unsafe fn down(head: NonNull<RequestHead>, hand: &KernelCx<'_>, reason: &Reason) {
    // SAFETY: by contract.
    let Some((asker, called)) = (unsafe { say_down::<Shipped>(head, hand.pool(), reason) }) else { return };
    if let Some(asker) = asker {
        asker.wake(hand);
    }
    if let Some(called) = called {
        let mut called = Some(called);
        hand.catch_panic(&mut || called.take().into_iter().for_each(Waker::wake));
    }
}

/// What [`down`] does with the cell; whom to wake, if somebody waits who has no answer.
///
/// # Safety
/// As for [`let_go`].
unsafe fn say_down<O: Orders>(
    head: NonNull<RequestHead>,
    pool: Option<&Pool>,
    reason: &Reason,
) -> Option<(Option<Caller>, Option<Waker>)> {
    // SAFETY: the watch is not out.
    let cell = unsafe { head.as_ref() };
    let asker = cell.asker;
    let unless = if O::HEEDS_GONE { GONE | ANSWERED } else { ANSWERED };
    // Relaxed: a hint.
    let said = if cell.load(Ordering::Relaxed) & unless == 0 {
        cell.set_reason(reason.clone());
        cell.event::<O>(DOWN, OUT_WATCH, unless)
    } else {
        Err(0)
    };
    if !matches!(said, Ok((_, None))) {
        // Not out with the event: it had a waker, or there was none.
        // SAFETY: the watch, not used again.
        unsafe { leave::<O>(head, pool) };
    }
    said.ok().map(|(_, called)| (asker, called))
}

/// The requests that a process has received and not answered, newest first. The owner's. `repr(C)`: every receive looks whether
/// there is one.
#[derive(Debug)]
#[repr(C)]
pub struct OpenRequests {
    first: *mut RequestHead,
    count: u32,
    /// So many are there when all are looked at next.
    sweep: u32,
}

/// So many requests are looked at together at least.
const FEW: u32 = 16;

impl Default for OpenRequests {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenRequests {
    /// None.
    pub const fn new() -> Self {
        Self { first: ptr::null_mut(), count: 0, sweep: FEW }
    }

    /// Whether there is one that may be answered.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Whether it is the newest.
    #[inline]
    pub(super) fn is_newest(&self, head: NonNull<RequestHead>) -> bool {
        ptr::eq(self.first, head.as_ptr())
    }

    /// A request is received: the watch is the process's.
    ///
    /// # Safety
    /// The caller has the watch, which goes over.
    pub(crate) unsafe fn add(&mut self, head: NonNull<RequestHead>, pool: Option<&Pool>) {
        if self.count >= self.sweep {
            self.sweep(pool);
        }
        // SAFETY: by contract.
        unsafe { self.put_back(head) };
    }

    /// As [`OpenRequests::add`], of one that has been there.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn put_back(&mut self, head: NonNull<RequestHead>) {
        // SAFETY: by contract in no list, and the watch's.
        unsafe { head.as_ref() }.next.with_mut(|next| unsafe { *next = self.first });
        self.first = head.as_ptr();
        self.count += 1;
    }

    /// The newest.
    pub(crate) fn pop(&mut self) -> Option<NonNull<RequestHead>> {
        let head = NonNull::new(self.first)?;
        // SAFETY: in the list, so its watch is not out; `next` is the owner's.
        self.first = unsafe { head.as_ref() }.next.with(|next| unsafe { *next });
        self.count -= 1;
        Some(head)
    }

    /// Lets go of the newest, if it is answered.
    pub(crate) fn settle(&mut self, pool: Option<&Pool>) {
        if let Some(head) = self.pop() {
            self.keep(head, pool);
        }
    }

    /// Puts one back, unless it is settled.
    fn keep(&mut self, head: NonNull<RequestHead>, pool: Option<&Pool>) {
        // SAFETY: taken out of the list.
        let next = unsafe { head.as_ref() }.next.with(|next| unsafe { *next });
        // Checked always: what is left of the list hangs on it.
        assert!(ptr::eq(next, self.first), "it was the first one");
        // SAFETY: likewise, not used again when it is settled.
        if !unsafe { settle::<Shipped>(head, pool) } {
            self.first = head.as_ptr();
            self.count += 1;
        }
    }

    #[cold]
    fn sweep(&mut self, pool: Option<&Pool>) {
        let mut all = core::mem::take(self);
        while let Some(head) = all.pop() {
            // SAFETY: taken out of the list.
            if !unsafe { settle::<Shipped>(head, pool) } {
                // SAFETY: taken out of the list, so in none.
                unsafe { self.put_back(head) };
            }
        }
        self.sweep = (2 * self.count).max(FEW);
    }
}
