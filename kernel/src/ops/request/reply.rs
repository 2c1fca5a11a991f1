//! The responder's end of a reply, [`Reply`].

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::task::Waker;

use crate::ops::request::call_site::CallSite;
use crate::process::request_cell::{
    ANSWERED, Cell, DROPPED, GONE, Orders, RESPONDER_DONE, RequestHead, Requester, Shipped, WATCH_DONE,
};
use crate::process::request_watch::OpenRequests;
use crate::sync::Ordering;

/// The responder's end, which gives the answer. Dropping it unused notifies the requester that
/// there will be no answer.
#[must_use = "a requester waits for the answer"]
pub struct Reply<T, O: Orders = Shipped>(NonNull<RequestHead>, PhantomData<fn(T) -> O>);

// SAFETY: A1 to A5: the word decides which party may touch the cell, and a `T` moves from one party
// to another.
unsafe impl<T: Send, O: Orders> Send for Reply<T, O> {}
// SAFETY: through `&` it only reads the word.
unsafe impl<T: Send, O: Orders> Sync for Reply<T, O> {}
impl<T, O: Orders> Reply<T, O> {
    pub(crate) fn new(head: NonNull<RequestHead>) -> Self {
        Self(head, PhantomData)
    }

    fn head(&self) -> &RequestHead {
        // SAFETY: A3: the responder is not done, so the cell is live.
        unsafe { self.0.as_ref() }
    }

    /// Sends the answer. A late answer is dropped. Wait-free.
    pub fn send(self, answer: T) {
        drop(self.try_send(answer));
    }

    /// Sends the answer, or returns it if the requester no longer waits: it has died, or dropped
    /// its end. After `Ok` the requester was still there. Wait-free.
    pub fn try_send(self, answer: T) -> Result<(), T> {
        let asker = self.head().asker;
        let place = asker.as_ref().map(CallSite::of);
        let open = place.as_ref().and_then(|place| place.is_newest_request(self.0));
        self.answer(answer, asker.as_ref().zip(place.as_ref()), open)
    }

    /// Answers as [`Reply::try_send`] does, at this place. `open` is given if the process that
    /// received the request answers, and the request is the newest of its open ones.
    #[inline]
    pub(crate) fn answer(
        self,
        answer: T,
        at: Option<(&Requester, &CallSite<'_>)>,
        open: Option<&mut OpenRequests>,
    ) -> Result<(), T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: A2: the answer belongs to the responder until ANSWERED, and it answers once:
        // `self` ends here.
        unsafe { Cell::replace(this.0, Some(answer)) };
        let mut open = open;
        if let (Some((asker, place)), Some(open)) = (at, open.as_deref_mut()) {
            #[cfg(loom)]
            // SAFETY: A3: the responder is not done, nor is the watch, which is the newest of
            // `open`.
            if unsafe { place.can_complete_inline(asker, this.0, open) } {
                return Ok(());
            }
            // SAFETY: A3: the responder is not done, nor is the watch, which is the newest of
            // `open`.
            if unsafe { place.answers_first::<O>(asker, this.0, open) } {
                return Ok(());
            }
        }
        // SAFETY: A3: the responder is not done, and this is its end.
        if unsafe { Self::event(this.0, ANSWERED, at, open) } {
            return Ok(());
        }
        // SAFETY: A2: GONE, so not ANSWERED: the answer still belongs to the responder.
        let refused = unsafe { Cell::replace(this.0, None) };
        // SAFETY: A3: the responder is not done, and its event did not happen.
        unsafe { Self::out(this.0) };
        refused.map_or(Ok(()), Err)
    }

    /// Returns `true` if the requester still waits.
    pub fn is_wanted(&self) -> bool {
        // Relaxed: only a hint.
        self.head().load(Ordering::Relaxed) & GONE == 0
    }

    /// Answers or drops, wakes the requester, and marks the responder as done, and with it the
    /// watch if `open` is given. Returns `false`, with no effect, if the requester is done.
    ///
    /// # Safety
    /// The responder is not done, and does not use the cell after `true`. If `open` is given, its
    /// newest request is this one.
    unsafe fn event(
        head: NonNull<RequestHead>,
        event: u8,
        at: Option<(&Requester, &CallSite<'_>)>,
        mut open: Option<&mut OpenRequests>,
    ) -> bool {
        // SAFETY: A3: the responder is not done (this function's contract), so the cell is live.
        let cell = unsafe { head.as_ref() };
        let unless = if O::HEEDS_GONE { GONE } else { 0 };
        // Done in the same exchange, unless the reference is needed to wake the requester.
        let out = if at.is_none_or(|(_, place)| place.is_core()) { RESPONDER_DONE } else { 0 };
        let watch = if open.is_some() { WATCH_DONE } else { 0 };
        if let Some(open) = &mut open
            && O::TAKES_THE_WATCH_FIRST
        {
            // After the exchange the cell may not be touched.
            open.pop();
        }
        let done = cell.event::<O>(event, out | watch, unless);
        if let Some(open) = open {
            match &done {
                Ok((_, None)) if O::TAKES_THE_WATCH_FIRST => {}
                Ok((_, None)) => _ = open.pop(),
                // SAFETY: the watch is not done, and was taken out of the list above.
                _ if O::PUTS_THE_WATCH_BACK => unsafe { open.put_back(head) },
                _ => {}
            }
        }
        let Ok((before, waker)) = done else { return false };
        if let Some((asker, place)) = at {
            // SAFETY: A4: on a core, or with the reference, which both own until the responder is
            // done.
            unsafe { place.wake(asker) };
        }
        if out == 0 || waker.is_some() {
            // SAFETY: A3: the responder is not done yet.
            unsafe { Self::out(head) };
        } else if RequestHead::is_last(before, out) {
            // SAFETY: A3: the responder was the last party. (Happens only in a model that ignores
            // GONE.)
            unsafe { RequestHead::free(head, None) };
        }
        // The waker is foreign: call it at the very end.
        if let Some(waker) = waker {
            call(waker, at.map(|(_, place)| place));
        }
        true
    }

    /// Marks the responder as done; it touches the cell no more.
    ///
    /// # Safety
    /// The responder is not done yet, and does not use the cell again.
    unsafe fn out(head: NonNull<RequestHead>) {
        // SAFETY: A3: the responder is not done (this function's contract), so the cell is live.
        let cell = unsafe { head.as_ref() };
        let asker = cell.asker;
        let before = cell.leave::<O>(RESPONDER_DONE);
        if before & GONE != 0
            && before & (ANSWERED | DROPPED) != 0
            && let Some(asker) = asker
        {
            // SAFETY: A4: both own the reference since the event, and the requester was done first.
            unsafe { asker.release() };
        }
        if RequestHead::is_last(before, RESPONDER_DONE) {
            // SAFETY: A3: the responder was the last party.
            unsafe { RequestHead::free(head, None) };
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

impl<T, O: Orders> Drop for Reply<T, O> {
    fn drop(&mut self) {
        let asker = self.head().asker;
        let place = asker.as_ref().map(CallSite::of);
        // SAFETY: A3: the responder is not done, and this is its end.
        if !unsafe { Self::event(self.0, DROPPED, asker.as_ref().zip(place.as_ref()), None) } {
            // SAFETY: A3: the responder is not done, and its event did not happen.
            unsafe { Self::out(self.0) };
        }
    }
}

impl<T, O: Orders> fmt::Debug for Reply<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
