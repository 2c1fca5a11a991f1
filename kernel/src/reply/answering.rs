//! [`Reply`], the answerer's end.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::task::Waker;

use super::cell::{ANSWERED, Caller, Cell, DROPPED, GONE, RequestHead, OUT_ANSWERER, OUT_WATCH, Orders, Shipped};
use super::place::CallSite;
use super::watch::OpenRequests;
use crate::sync::Ordering;

/// Where an answer is given. Dropping it is no answer, and the asker is told.
#[must_use = "somebody waits for the answer"]
pub struct Reply<T, O: Orders = Shipped>(NonNull<RequestHead>, PhantomData<fn(T) -> O>);

// SAFETY: the word decides who may touch the cells (see `cell`), and a `T` goes from one to the other.
unsafe impl<T: Send, O: Orders> Send for Reply<T, O> {}
// SAFETY: through `&` it only reads a word.
unsafe impl<T: Send, O: Orders> Sync for Reply<T, O> {}
impl<T, O: Orders> Reply<T, O> {
    pub(super) fn new(head: NonNull<RequestHead>) -> Self {
        Self(head, PhantomData)
    }

    fn head(&self) -> &RequestHead {
        // SAFETY: the answerer is not out: it keeps the cell.
        unsafe { self.0.as_ref() }
    }

    /// Answers. Late, it is dropped. Wait-free.
    pub fn send(self, answer: T) {
        drop(self.try_send(answer));
    }

    /// Answers, or gives the answer back when who has asked waits no more: it has died, or lost interest. After `Ok` it was
    /// there. Wait-free.
    pub fn try_send(self, answer: T) -> Result<(), T> {
        let asker = self.head().asker;
        let place = asker.as_ref().map(CallSite::of);
        let open = place.as_ref().and_then(|place| place.has_newest(self.0));
        self.answer(answer, asker.as_ref().zip(place.as_ref()), open)
    }

    /// [`Reply::try_send`], at this place, and by the process that was asked if the request is the newest of its `open` ones.
    #[inline]
    pub(super) fn answer(self, answer: T, at: Option<(&Caller, &CallSite<'_>)>, open: Option<&mut OpenRequests>) -> Result<(), T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the answerer's until ANSWERED, and it answers once: `self` ends here.
        unsafe { Cell::replace(this.0, Some(answer)) };
        let mut open = open;
        if let (Some((asker, place)), Some(open)) = (at, open.as_deref_mut()) {
            #[cfg(loom)]
            // SAFETY: the answerer is not out, and neither is the watch, which is `open`'s newest.
            if unsafe { place.answers_the_sleeping(asker, this.0, open) } {
                return Ok(());
            }
            // SAFETY: likewise.
            if unsafe { place.answers_first::<O>(asker, this.0, open) } {
                return Ok(());
            }
        }
        // SAFETY: the answerer is not out, and this is its end.
        if unsafe { Self::event(this.0, ANSWERED, at, open) } {
            return Ok(());
        }
        // SAFETY: GONE, so not ANSWERED: the answerer's still.
        let refused = unsafe { Cell::replace(this.0, None) };
        // SAFETY: the answerer is not out; nothing has happened.
        unsafe { Self::out(this.0) };
        refused.map_or(Ok(()), Err)
    }

    /// Whether somebody waits still.
    pub fn is_wanted(&self) -> bool {
        // Relaxed: a hint.
        self.head().load(Ordering::Relaxed) & GONE == 0
    }

    /// Answers or drops, wakes who waits, and is out, and the watch with it if it is at hand. False, and nothing has happened,
    /// when nobody is there.
    ///
    /// # Safety
    /// The answerer is not out, and uses the cell no more after `true`. The newest that is `open` is this one.
    unsafe fn event(
        head: NonNull<RequestHead>,
        event: u8,
        at: Option<(&Caller, &CallSite<'_>)>,
        mut open: Option<&mut OpenRequests>,
    ) -> bool {
        // SAFETY: by contract.
        let cell = unsafe { head.as_ref() };
        let unless = if O::HEEDS_GONE { GONE } else { 0 };
        // Out in the same exchange, but where the share is needed to wake the asker.
        let out = if at.is_none_or(|(_, place)| place.is_core()) { OUT_ANSWERER } else { 0 };
        let watch = if open.is_some() { OUT_WATCH } else { 0 };
        if let Some(open) = &mut open
            && O::TAKES_THE_WATCH_FIRST
        {
            // Afterwards the cell is not looked at.
            open.pop();
        }
        let done = cell.event::<O>(event, out | watch, unless);
        if let Some(open) = open {
            match &done {
                Ok((_, None)) if O::TAKES_THE_WATCH_FIRST => {}
                Ok((_, None)) => _ = open.pop(),
                // SAFETY: not out, and taken out above.
                _ if O::PUTS_THE_WATCH_BACK => unsafe { open.put_back(head) },
                _ => {}
            }
        }
        let Ok((before, waker)) = done else { return false };
        if let Some((asker, place)) = at {
            // SAFETY: on a core, or with the share, which is both's until the answerer is out (A4).
            unsafe { place.wake(asker) };
        }
        if out == 0 || waker.is_some() {
            // SAFETY: not out yet.
            unsafe { Self::out(head) };
        } else if RequestHead::is_last(before, out) {
            // SAFETY: the last one. (Only where GONE is not heeded.)
            unsafe { RequestHead::free(head, None) };
        }
        // Foreign; at the very end.
        if let Some(waker) = waker {
            call(waker, at.map(|(_, place)| place));
        }
        true
    }

    /// The answerer is out, and does nothing more.
    ///
    /// # Safety
    /// It is not out yet, and uses the cell no more.
    unsafe fn out(head: NonNull<RequestHead>) {
        // SAFETY: by contract.
        let cell = unsafe { head.as_ref() };
        let asker = cell.asker;
        let before = cell.leave::<O>(OUT_ANSWERER);
        if before & GONE != 0
            && before & (ANSWERED | DROPPED) != 0
            && let Some(asker) = asker
        {
            // SAFETY: both's since the event, and the asker has gone before (A4).
            unsafe { asker.give_up() };
        }
        if RequestHead::is_last(before, OUT_ANSWERER) {
            // SAFETY: the last one.
            unsafe { RequestHead::free(head, None) };
        }
    }
}

/// Calls the waker of the other end. Its panic is not the answerer's, where that can be told: on a core of the asker's kernel.
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
        // SAFETY: the answerer is not out, and this is its end.
        if !unsafe { Self::event(self.0, DROPPED, asker.as_ref().zip(place.as_ref()), None) } {
            // SAFETY: likewise; nothing has happened.
            unsafe { Self::out(self.0) };
        }
    }
}

impl<T, O: Orders> fmt::Debug for Reply<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
