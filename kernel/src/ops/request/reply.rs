//! The responder's end of a reply, [`Reply`].

use core::fmt;
use core::marker::PhantomData;
use core::task::Waker;

use crate::ops::request::call_site::{CallSite, ReceivedRequests};
use crate::process::request_cell::{
    ANSWERED, DROPPED, GONE, Orders, RESPONDER_DONE, RequestHead, Requester, ResponderParty, WATCH_DONE,
};
use crate::process::request_watch::OpenRequests;
use crate::shipped::Shipped;
use crate::sync::Ordering;

/// The responder's end, which gives the answer. Dropping it unused notifies the requester that
/// there will be no answer.
#[must_use = "a requester waits for the answer"]
pub struct Reply<T>(ReplyEnd<T, Shipped>);

impl<T> Reply<T> {
    pub(crate) fn of(end: ReplyEnd<T, Shipped>) -> Self {
        Self(end)
    }

    /// Sends the answer. A late answer is dropped. Wait-free.
    pub fn send(self, answer: T) {
        drop(self.try_send(answer));
    }

    /// Sends the answer, or returns it if the requester no longer waits: it has died, or dropped
    /// its end. After `Ok` the requester was still there. Wait-free.
    pub fn try_send(self, answer: T) -> Result<(), T> {
        self.0.try_send(answer)
    }

    /// Returns `true` if the requester still waits.
    pub fn is_wanted(&self) -> bool {
        self.0.is_wanted()
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// The responder's end, with the orderings `O`: see [`Reply`].
#[must_use = "a requester waits for the answer"]
pub struct ReplyEnd<T, O: Orders> {
    /// `None` once the end has been used.
    party: Option<ResponderParty<T>>,
    orders: PhantomData<fn() -> O>,
}

// SAFETY: A1 to A5: the word decides which party may touch the cell, and a `T` moves from one party
// to another.
unsafe impl<T: Send, O: Orders> Send for ReplyEnd<T, O> {}
// SAFETY: through `&` it only reads the word.
unsafe impl<T: Send, O: Orders> Sync for ReplyEnd<T, O> {}

impl<T, O: Orders> ReplyEnd<T, O> {
    pub(crate) fn new(party: ResponderParty<T>) -> Self {
        Self { party: Some(party), orders: PhantomData }
    }

    fn is_wanted(&self) -> bool {
        // Relaxed: only a hint.
        self.party.as_ref().is_some_and(|party| party.load(Ordering::Relaxed) & GONE == 0)
    }

    /// Sends the answer; see [`Reply::try_send`].
    pub fn try_send(mut self, answer: T) -> Result<(), T> {
        let Some(party) = self.party.take() else { return Err(answer) };
        let requester = party.requester;
        let place = requester.as_ref().map(CallSite::of);
        let open = place.as_ref().and_then(|place| place.is_newest_request(&party));
        Self::answer(party, answer, requester.as_ref().zip(place.as_ref()), open)
    }

    /// Answers as [`ReplyEnd::try_send`] does, in the process that received the request last, whose
    /// open requests these are. For the models.
    pub(crate) fn answer_in(mut self, answer: T, open: &mut OpenRequests) -> Result<(), T> {
        let Some(party) = self.party.take() else { return Err(answer) };
        assert!(open.is_newest(&party), "received last");
        Self::answer(party, answer, None, Some(ReceivedRequests::OfModel(open)))
    }

    /// Answers at this place. `open` is given if the process that received the request answers, and
    /// the request is the newest of its open ones.
    #[inline]
    fn answer(
        mut party: ResponderParty<T>,
        answer: T,
        at: Option<(&Requester, &CallSite<'_>)>,
        mut open: Option<ReceivedRequests<'_>>,
    ) -> Result<(), T> {
        // The responder answers once, and there was no answer before.
        drop(party.replace_answer(Some(answer)));
        if let (Some((requester, place)), Some(open)) = (at, &mut open) {
            #[cfg(loom)]
            match place.can_complete_inline(requester, party, open) {
                Ok(()) => return Ok(()),
                Err(back) => party = back,
            }
            match place.answers_first::<T, O>(requester, party, open) {
                Ok(()) => return Ok(()),
                Err(back) => party = back,
            }
        }
        let Err(mut party) = Self::event(party, ANSWERED, at, open) else { return Ok(()) };
        // GONE, so not ANSWERED: the answer still belongs to the responder (A2).
        let refused = party.replace_answer(None);
        Self::out(party);
        refused.map_or(Ok(()), Err)
    }

    /// Answers or drops, wakes the requester, and marks the responder as done, and with it the
    /// watch if `open` is given, whose newest request is this one.
    ///
    /// # Errors
    /// The party, with no effect, if the requester is done.
    fn event(
        party: ResponderParty<T>,
        event: u8,
        at: Option<(&Requester, &CallSite<'_>)>,
        mut open: Option<ReceivedRequests<'_>>,
    ) -> Result<(), ResponderParty<T>> {
        let unless = if O::HEEDS_GONE { GONE } else { 0 };
        // Done in the same exchange, unless the reference is needed to wake the requester.
        let out = if at.is_none_or(|(_, place)| place.is_core()) { RESPONDER_DONE } else { 0 };
        let watch_out = if open.is_some() { WATCH_DONE } else { 0 };
        // After the exchange the cell may not be touched, so the watch leaves its list first.
        let mut watch = match &mut open {
            Some(open) if O::TAKES_THE_WATCH_FIRST => open.with(OpenRequests::pop),
            _ => None,
        };
        // SAFETY: this is the responder's right, and the newest request of `open` has the watch's
        // (`is_newest_request`). Both end below if the exchange gives them up.
        let done = unsafe { party.event::<O>(event, out | watch_out, unless) };
        if let Some(mut open) = open {
            if !O::TAKES_THE_WATCH_FIRST && matches!(done, Ok((_, None))) {
                watch = open.with(OpenRequests::pop);
            }
            match watch {
                Some(watch) if matches!(done, Ok((_, None))) || !O::PUTS_THE_WATCH_BACK => {
                    watch.into_party().was_given_up();
                }
                Some(watch) => open.with(|open| open.put_back(watch)),
                None => {}
            }
        }
        let Ok((before, waker)) = done else { return Err(party) };
        if let Some((requester, place)) = at {
            // SAFETY: A4: on a core, or with the reference, which both own until the responder is
            // done.
            unsafe { place.wake(requester) };
        }
        if out == 0 || waker.is_some() {
            Self::out(party);
        } else if RequestHead::is_last(before, out) {
            // SAFETY: A3: the responder was the last party. (Happens only in a model that ignores
            // GONE.)
            unsafe { party.free(None) };
        } else {
            party.was_given_up();
        }
        // The waker is foreign: call it at the very end.
        if let Some(waker) = waker {
            call(waker, at.map(|(_, place)| place));
        }
        Ok(())
    }

    /// Marks the responder as done.
    fn out(party: ResponderParty<T>) {
        let requester = party.requester;
        let before = party.finish::<O>(None);
        if before & GONE != 0
            && before & (ANSWERED | DROPPED) != 0
            && let Some(requester) = requester
        {
            // SAFETY: A4: both own the reference since the event, and the requester was done first.
            drop(unsafe { requester.reference() });
        }
    }
}

impl<T, O: Orders> fmt::Debug for ReplyEnd<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyEnd")
    }
}

impl<T, O: Orders> Drop for ReplyEnd<T, O> {
    fn drop(&mut self) {
        let Some(party) = self.party.take() else { return };
        let requester = party.requester;
        let place = requester.as_ref().map(CallSite::of);
        if let Err(party) = Self::event(party, DROPPED, requester.as_ref().zip(place.as_ref()), None) {
            Self::out(party);
        }
    }
}

/// Calls the waker of the other end. On a core of the requester's kernel its panic is caught, so
/// that it does not hit the responder.
#[cold]
fn call(waker: Waker, place: Option<&CallSite<'_>>) {
    match place {
        Some(place) => place.catch_panic(|| waker.wake()),
        None => waker.wake(),
    }
}
