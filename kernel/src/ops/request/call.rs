//! The requester's end of a reply, `RequesterEnd`, and the future [`ReplyFuture`] that waits on
//! it.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

use crate::ops::request::call_site::CallSite;
use crate::process::request_cell::{
    ANSWERED, Cell, CellSnapshot, DROPPED, EVENTS, GONE, Orders, RESPONDER_DONE, RequestHead, Shipped, WATCH_DONE,
};

/// The requester's end: a future of the answer. Dropping it cancels the interest in the answer.
#[must_use = "the future returns the answer"]
pub struct ReplyFuture<T, O: Orders = Shipped>(RequesterEnd<T, O>);

/// The requester's end, common to [`ReplyFuture`] and to a request.
pub(crate) struct RequesterEnd<T, O: Orders> {
    pub(crate) head: NonNull<RequestHead>,
    pub(crate) stage: CallStage,
    of: PhantomData<fn() -> (T, O)>,
}

/// The stage of a requester. A whole word, so that an end is two words and moves in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum CallStage {
    /// It waits for every event.
    Waits,
    /// It has reported that a request's reply was dropped; more may follow.
    Told,
    /// It expects nothing more: the answer was taken, or there is none.
    Ready,
}

/// The error of a reply that was dropped instead of sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoReply;

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there will be no reply")
    }
}

impl core::error::Error for NoReply {}

// SAFETY: A1 to A5: the word decides which party may touch the cell, and a `T` moves from one party
// to another.
unsafe impl<T: Send, O: Orders> Send for RequesterEnd<T, O> {}
// SAFETY: no method changes anything through `&`.
unsafe impl<T: Send, O: Orders> Sync for RequesterEnd<T, O> {}

impl<T, O: Orders> RequesterEnd<T, O> {
    pub(crate) fn new(head: NonNull<RequestHead>) -> Self {
        Self { head, stage: CallStage::Waits, of: PhantomData }
    }

    pub(crate) fn head(&self) -> &RequestHead {
        // SAFETY: A3: the requester is not GONE, so the cell is live.
        unsafe { self.head.as_ref() }
    }

    /// Takes the answer, which the requester has seen to be there.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.stage = CallStage::Ready;
        // SAFETY: A2: ANSWERED was seen, so the answer belongs to the requester.
        unsafe { Cell::replace(self.head, None) }
    }
}

impl<T, O: Orders> Drop for RequesterEnd<T, O> {
    #[inline]
    fn drop(&mut self) {
        let all_others = if O::HEEDS_THE_WATCH { RESPONDER_DONE | WATCH_DONE } else { RESPONDER_DONE };
        let before = self.head().load(O::LOOK);
        if before & all_others != all_others || before & ANSWERED != 0 && self.stage != CallStage::Ready {
            return self.let_go(all_others);
        }
        // Both other parties are done, so no exchange follows, and nothing foreign is left.
        let asker = self.head().asker;
        let place = asker.as_ref().map(CallSite::of);
        if let (Some(asker), Some(place)) = (&asker, &place) {
            // SAFETY: A4: the responder is done, so only the requester owns the reference.
            unsafe { place.give_back(asker) };
        }
        // SAFETY: A3: the requester is the last party, seen with Acquire.
        unsafe { Cell::<T>::free(self.head, place.as_ref().and_then(CallSite::pool)) };
    }
}

impl<T, O: Orders> RequesterEnd<T, O> {
    /// Ends a requester that has not taken the answer, or is not the last party.
    #[inline(never)]
    fn let_go(&mut self, all_others: u8) {
        let (head, asker) = (self.head, self.head().asker);
        let place = asker.map(|asker| CallSite::of(&asker));
        let pool = place.as_ref().and_then(CallSite::pool);
        // Both are foreign, and dropped at the very end: their panics must not affect the cell. The
        // waker goes first, with its panic caught where that is possible: if it panicked as well as
        // the answer, the program would abort.
        let (mut untaken, mut waker) = (None, None);
        let mut before = self.head().load(O::LOOK);
        let mut last = before & all_others == all_others;
        if last {
            if before & ANSWERED != 0 && self.stage != CallStage::Ready {
                untaken = self.take();
            }
        } else {
            waker = self.head().unregister::<O>();
            before = match self.head().go::<O>() {
                Ok(before) => before,
                Err(()) => {
                    // The answer may not have been taken, and no other party will take it.
                    untaken = self.take();
                    self.head().leave::<O>(GONE)
                }
            };
            last = RequestHead::is_last(before, GONE);
        }
        let is_shared = before & (ANSWERED | DROPPED) != 0 && before & RESPONDER_DONE == 0;
        if !is_shared && let (Some(asker), Some(place)) = (asker, &place) {
            // SAFETY: A4: only the requester owns the reference before the responder's event, and
            // when the responder is done.
            unsafe { place.give_back(&asker) };
        }
        if last {
            // SAFETY: A3: the requester is the last party, seen with Acquire.
            unsafe { RequestHead::free(head, pool) };
        }
        if let (Some(waker), Some(place)) = (waker, &place) {
            place.catch_panic(|| drop(waker));
        }
        drop(untaken);
    }
}

impl<T, O: Orders> RequesterEnd<T, O> {
    /// Registers a waker for the next event. Returns `false` if one has happened, which a poll will
    /// report.
    pub(crate) fn leave(&mut self, waker: &Waker) -> bool {
        match self.head().look::<O>() {
            CellSnapshot::Nothing => self.head().register::<O>(waker, EVENTS),
            _ => false,
        }
    }
}

impl<T, O: Orders> ReplyFuture<T, O> {
    pub(crate) fn new(head: NonNull<RequestHead>) -> Self {
        Self(RequesterEnd::new(head))
    }

    /// Registers `waker` to be called when there is something to see, without polling. Returns
    /// `false` if there is already. A later poll registers its own waker instead.
    pub fn leave(&mut self, waker: &Waker) -> bool {
        self.0.leave(waker)
    }
}

impl<T, O: Orders> Future for ReplyFuture<T, O> {
    type Output = Result<T, NoReply>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let asking = &mut self.0;
        assert!(asking.stage != CallStage::Ready, "polled after it was ready");
        loop {
            match asking.head().look::<O>() {
                CellSnapshot::Answered => return Poll::Ready(asking.take().ok_or(NoReply)),
                CellSnapshot::Dropped | CellSnapshot::Down => {
                    asking.stage = CallStage::Ready;
                    return Poll::Ready(Err(NoReply));
                }
                CellSnapshot::Nothing if asking.head().register::<O>(task.waker(), EVENTS) => return Poll::Pending,
                CellSnapshot::Nothing => {}
            }
        }
    }
}

impl<T, O: Orders> fmt::Debug for ReplyFuture<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyFuture").field("stage", &self.0.stage).finish_non_exhaustive()
    }
}
