//! [`CallerEnd`], the asker's end, and [`ReplyFuture`], which waits by it.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

use super::cell::{ANSWERED, Cell, DROPPED, EVENTS, GONE, RequestHead, OUT_ANSWERER, OUT_WATCH, Orders, Shipped, CellSnapshot};
use super::place::CallSite;

/// Where an answer is waited for: a future. Dropping it is to be no longer interested.
#[must_use = "the answer is in the future"]
pub struct ReplyFuture<T, O: Orders = Shipped>(CallerEnd<T, O>);

/// The asker's end.
pub(super) struct CallerEnd<T, O: Orders> {
    pub(super) head: NonNull<RequestHead>,
    pub(super) stage: CallStage,
    of: PhantomData<fn() -> (T, O)>,
}

/// How far an asker is. A whole word, so that an end is two of them and moves in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum CallStage {
    /// For all that may come.
    Waits,
    /// That a request's reply was dropped was told; there is more to come.
    Told,
    /// There is nothing more to come: the answer was taken, or there is none.
    Ready,
}

/// The answer was dropped instead of given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoReply;

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there will be no reply")
    }
}

impl core::error::Error for NoReply {}

// SAFETY: as for `Reply`.
unsafe impl<T: Send, O: Orders> Send for CallerEnd<T, O> {}
// SAFETY: nothing can be done through `&`.
unsafe impl<T: Send, O: Orders> Sync for CallerEnd<T, O> {}

impl<T, O: Orders> CallerEnd<T, O> {
    pub(super) fn new(head: NonNull<RequestHead>) -> Self {
        Self { head, stage: CallStage::Waits, of: PhantomData }
    }

    pub(super) fn head(&self) -> &RequestHead {
        // SAFETY: the asker is not GONE: it keeps the cell.
        unsafe { self.head.as_ref() }
    }

    /// The answer, which the asker has seen to be there.
    pub(super) fn take(&mut self) -> Option<T> {
        self.stage = CallStage::Ready;
        // SAFETY: ANSWERED was seen, so the asker's.
        unsafe { Cell::replace(self.head, None) }
    }
}

impl<T, O: Orders> Drop for CallerEnd<T, O> {
    #[inline]
    fn drop(&mut self) {
        let all_others = if O::HEEDS_THE_WATCH { OUT_ANSWERER | OUT_WATCH } else { OUT_ANSWERER };
        let before = self.head().load(O::LOOK);
        if before & all_others != all_others || before & ANSWERED != 0 && self.stage != CallStage::Ready {
            return self.let_go(all_others);
        }
        // With both others out nobody else exchanges anything, and there is nothing foreign left.
        let asker = self.head().asker;
        let place = asker.as_ref().map(CallSite::of);
        if let (Some(asker), Some(place)) = (&asker, &place) {
            // SAFETY: the asker's alone, with the answerer out (`cell`, A4).
            unsafe { place.give_back(asker) };
        }
        // SAFETY: the last one, with Acquire.
        unsafe { Cell::<T>::free(self.head, place.as_ref().and_then(CallSite::pool)) };
    }
}

impl<T, O: Orders> CallerEnd<T, O> {
    /// The end of an asker that has not waited for the answer, or is not the last.
    #[inline(never)]
    fn let_go(&mut self, all_others: u8) {
        let (head, asker) = (self.head, self.head().asker);
        let place = asker.map(|asker| CallSite::of(&asker));
        let pool = place.as_ref().and_then(CallSite::pool);
        // Foreign, and dropped at the very end: a panic in there is nothing to the cell. The waker first, contained where that can
        // be: one that panics as well as the answer would end the program.
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
                    // Perhaps not taken, and nobody else will.
                    untaken = self.take();
                    self.head().leave::<O>(GONE)
                }
            };
            last = RequestHead::is_last(before, GONE);
        }
        let is_shared = before & (ANSWERED | DROPPED) != 0 && before & OUT_ANSWERER == 0;
        if !is_shared && let (Some(asker), Some(place)) = (asker, &place) {
            // SAFETY: the asker's alone, before the answerer's event and when the answerer is out (`cell`, A4).
            unsafe { place.give_back(&asker) };
        }
        if last {
            // SAFETY: the last one, with Acquire.
            unsafe { RequestHead::free(head, pool) };
        }
        if let (Some(waker), Some(place)) = (waker, &place) {
            place.catch_panic(|| drop(waker));
        }
        drop(untaken);
    }
}

impl<T, O: Orders> CallerEnd<T, O> {
    /// Leaves a waker for the next event; false when there has been one, which a poll tells of.
    pub(super) fn leave(&mut self, waker: &Waker) -> bool {
        match self.head().look::<O>() {
            CellSnapshot::Nothing => self.head().register::<O>(waker, EVENTS),
            _ => false,
        }
    }
}

impl<T, O: Orders> ReplyFuture<T, O> {
    pub(super) fn new(head: NonNull<RequestHead>) -> Self {
        Self(CallerEnd::new(head))
    }

    /// Has `waker` called when there is something to see, without looking; false when there is already. A poll
    /// afterwards leaves its own instead.
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
        f.debug_struct("Replied").field("stage", &self.0.stage).finish_non_exhaustive()
    }
}
