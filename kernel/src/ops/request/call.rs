//! The requester's end of a reply, `RequesterEnd`, and the future [`ReplyFuture`] that waits on
//! it.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::ops::request::call_site::CallSite;
use crate::process::request_cell::{ANSWERED, CellSnapshot, DROPPED, EVENTS, Orders, RESPONDER_DONE, RequesterParty};
use crate::shipped::Shipped;

/// The requester's end: a future of the answer. Dropping it cancels the interest in the answer.
#[must_use = "the future returns the answer"]
pub struct ReplyFuture<T>(RequesterEnd<T, Shipped>);

/// The requester's end, with the orderings `O`: common to [`ReplyFuture`] and to a request.
#[must_use = "a poll returns the answer"]
pub struct RequesterEnd<T, O: Orders> {
    /// `None` once the end is dropped, or rebuilt.
    party: Option<RequesterParty<T>>,
    pub(crate) stage: CallStage,
    orders: PhantomData<fn() -> O>,
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
    pub(crate) fn new(party: RequesterParty<T>) -> Self {
        Self { party: Some(party), stage: CallStage::Waits, orders: PhantomData }
    }

    /// Rebuilds the value. The old one may have to be dropped, so it lies in memory, and copying it
    /// would wait for its parts to be stored.
    #[inline(always)]
    pub(crate) fn begins(mut self) -> Self {
        Self { party: self.party.take(), stage: CallStage::Waits, orders: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn party(&mut self) -> &mut RequesterParty<T> {
        match &mut self.party {
            Some(party) => party,
            None => unreachable!("the end has its party until it is dropped"),
        }
    }

    /// Registers a waker for the next event. Returns `false` if one has happened, which a poll will
    /// report.
    pub(crate) fn leave(&mut self, waker: &Waker) -> bool {
        self.party().load(O::LOOK) & EVENTS == 0 && self.party().register::<O>(waker, EVENTS)
    }

    /// Polls a reply that is not a request's; see [`ReplyFuture`].
    pub fn poll_reply(&mut self, task: &mut Context<'_>) -> Poll<Result<T, NoReply>> {
        assert!(self.stage != CallStage::Ready, "polled after it was ready");
        loop {
            match self.party().look::<O>() {
                CellSnapshot::Answered(answer) => {
                    self.stage = CallStage::Ready;
                    return Poll::Ready(answer.ok_or(NoReply));
                }
                CellSnapshot::Dropped | CellSnapshot::Down => {
                    self.stage = CallStage::Ready;
                    return Poll::Ready(Err(NoReply));
                }
                CellSnapshot::Nothing if self.party().register::<O>(task.waker(), EVENTS) => return Poll::Pending,
                CellSnapshot::Nothing => {}
            }
        }
    }
}

impl<T, O: Orders> fmt::Debug for RequesterEnd<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequesterEnd").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl<T, O: Orders> Drop for RequesterEnd<T, O> {
    #[inline]
    fn drop(&mut self) {
        let Some(party) = self.party.take() else { return };
        match party.last::<O>() {
            // Both other parties are done, so no exchange follows, and nothing foreign is left.
            Ok(last) if self.stage == CallStage::Ready || last.word() & ANSWERED == 0 => {
                let requester = last.requester;
                let place = requester.as_ref().map(CallSite::of);
                if let (Some(requester), Some(place)) = (&requester, &place) {
                    // SAFETY: A4: the responder is done, so only the requester owns the reference.
                    unsafe { place.give_back(requester) };
                }
                last.free(place.as_ref().and_then(CallSite::pool));
            }
            Ok(last) => self.abandon(last.into_party()),
            Err(party) => self.abandon(party),
        }
    }
}

impl<T, O: Orders> RequesterEnd<T, O> {
    /// Ends a requester that has not taken the answer, or is not the last party.
    #[inline(never)]
    fn abandon(&self, party: RequesterParty<T>) {
        let requester = party.requester;
        let place = requester.map(|requester| CallSite::of(&requester));
        let pool = place.as_ref().and_then(CallSite::pool);
        // Both are foreign, and dropped at the very end: their panics must not affect the cell. The
        // panics are caught where that is possible, each on its own: a requester may hold many
        // requests in one collection, and a second panic during the unwinding of the first would
        // abort the program.
        let (mut untaken, mut waker) = (None, None);
        let before = match party.last::<O>() {
            Ok(mut last) => {
                let before = last.word();
                if self.stage != CallStage::Ready {
                    untaken = last.take_answer();
                }
                last.free(pool);
                before
            }
            Err(mut party) => {
                waker = party.unregister::<O>();
                match party.go::<O>(pool) {
                    Ok(before) => before,
                    // The answer may not have been taken, and no other party will take it.
                    Err((party, answer)) => {
                        untaken = answer;
                        party.finish::<O>(pool)
                    }
                }
            }
        };
        let is_shared = before & (ANSWERED | DROPPED) != 0 && before & RESPONDER_DONE == 0;
        if !is_shared && let (Some(requester), Some(place)) = (requester, &place) {
            // SAFETY: A4: only the requester owns the reference before the responder's event, and
            // when the responder is done.
            unsafe { place.give_back(&requester) };
        }
        if let (Some(waker), Some(place)) = (waker, &place) {
            place.catch_panic(|| drop(waker));
        }
        match (untaken, &place) {
            (Some(untaken), Some(place)) => place.catch_panic(|| drop(untaken)),
            (untaken, _) => drop(untaken),
        }
    }
}

impl<T> ReplyFuture<T> {
    pub(crate) fn of(end: RequesterEnd<T, Shipped>) -> Self {
        Self(end)
    }

    /// Registers `waker` to be called when there is something to see, without polling. Returns
    /// `false` if there is already. A later poll registers its own waker instead.
    pub fn leave(&mut self, waker: &Waker) -> bool {
        self.0.leave(waker)
    }
}

impl<T> Future for ReplyFuture<T> {
    type Output = Result<T, NoReply>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_reply(task)
    }
}

impl<T> fmt::Debug for ReplyFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyFuture").field("stage", &self.0.stage).finish_non_exhaustive()
    }
}
