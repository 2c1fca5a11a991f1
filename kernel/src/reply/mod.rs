//! One answer, from one who gives it to one who waits: [`Reply`] and [`Replied`], or [`Requested`].
//!
//! A process takes messages of one type, so an answer to a question it has asked cannot come through its
//! mailbox without everybody's answers being in its type. It comes through a cell of its own: the asker puts the
//! [`Reply`] into its message and awaits the [`Replied`], which is woken like by any waker. What is answered late finds
//! nobody and is dropped: the cell is the asker's alias for this one answer. A `Reply` that is dropped unused, by a
//! server that forgot it or by the mailbox of a dead one, says so.
//!
//! A process that asks by [`crate::Cx::request`] has a [`Requested`] instead: the same cell is its monitor of whom it asks.
//! So a request and its answer are two signals, one record, and nothing to be looked up or cancelled.
//!
//! | noun | module |
//! | --- | --- |
//! | the word that all parties share, and who may do what when | `cell` |
//! | a request, and who waits for its answer | `request` |
//! | its watch: on its way, and with who receives it | `watch` |
//! | where its ends are used: on a core of its kernel, or elsewhere | `place` |
//!
//! All operations are wait-free, but for an asker's look at what it waits for ([`Requested::poll`]), which is lock-free. Making
//! the ends is the only one that allocates.

pub mod cell;
mod place;
pub mod request;
pub mod watch;

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

pub use cell::{Head, Orders, Real};
pub use request::{Lost, Requested, request_with};
pub use watch::Watching;

use crate::memory::{self, NoMemory};
use crate::sync::Ordering;
use cell::{ANSWERED, Asker, Cell, DROPPED, EVENTS, GONE, OUT_ANSWERER, OUT_WATCH, Seen};
use place::Place;
use watch::Open;

/// Where an answer is given. Dropping it is no answer, and the asker is told.
#[must_use = "somebody waits for the answer"]
pub struct Reply<T, O: Orders = Real>(NonNull<Head>, PhantomData<fn(T) -> O>);

/// Where an answer is waited for: a future. Dropping it is to be no longer interested.
#[must_use = "the answer is in the future"]
pub struct Replied<T, O: Orders = Real>(Asking<T, O>);

/// The asker's end.
struct Asking<T, O: Orders> {
    head: NonNull<Head>,
    stage: Stage,
    of: PhantomData<fn() -> (T, O)>,
}

/// How far an asker is. A whole word, so that an end is two of them and moves in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
enum Stage {
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

// SAFETY: the word decides who may touch the cells (see `cell`), and a `T` goes from one to the other.
unsafe impl<T: Send, O: Orders> Send for Reply<T, O> {}
// SAFETY: through `&` it only reads a word.
unsafe impl<T: Send, O: Orders> Sync for Reply<T, O> {}
// SAFETY: as for `Reply`.
unsafe impl<T: Send, O: Orders> Send for Asking<T, O> {}
// SAFETY: nothing can be done through `&`.
unsafe impl<T: Send, O: Orders> Sync for Asking<T, O> {}

/// The two ends of one answer, with whatever orderings.
pub type Pair<T, O> = (Reply<T, O>, Replied<T, O>);

/// The two ends of one answer.
pub fn reply<T: Send>() -> Result<(Reply<T>, Replied<T>), NoMemory> {
    reply_with()
}

/// As [`reply`], with other orderings: for the models.
pub fn reply_with<T: Send, O: Orders>() -> Result<Pair<T, O>, NoMemory> {
    let head = memory::try_new(Cell::<T>::new(None, false)).map_err(|_| NoMemory)?.cast();
    Ok((Reply(head, PhantomData), Replied(Asking::new(head))))
}

impl<T, O: Orders> Reply<T, O> {
    fn head(&self) -> &Head {
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
        let place = asker.as_ref().map(Place::of);
        let open = place.as_ref().and_then(|place| place.has_newest(self.0));
        self.answer(answer, asker.as_ref().zip(place.as_ref()), open)
    }

    /// [`Reply::try_send`], at this place, and by the process that was asked if the request is the newest of its `open` ones.
    #[inline]
    fn answer(self, answer: T, at: Option<(&Asker, &Place<'_>)>, open: Option<&mut Open>) -> Result<(), T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the answerer's until ANSWERED, and it answers once: `self` ends here.
        unsafe { Cell::replace(this.0, Some(answer)) };
        // SAFETY: likewise.
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
        head: NonNull<Head>,
        event: u8,
        at: Option<(&Asker, &Place<'_>)>,
        mut open: Option<&mut Open>,
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
        } else if Head::is_last(before, out) {
            // SAFETY: the last one. (Only where GONE is not heeded.)
            unsafe { Head::free(head, None) };
        }
        // Foreign; at the very end.
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// The answerer is out, and does nothing more.
    ///
    /// # Safety
    /// It is not out yet, and uses the cell no more.
    unsafe fn out(head: NonNull<Head>) {
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
        if Head::is_last(before, OUT_ANSWERER) {
            // SAFETY: the last one.
            unsafe { Head::free(head, None) };
        }
    }
}

impl<T, O: Orders> Drop for Reply<T, O> {
    fn drop(&mut self) {
        let asker = self.head().asker;
        let place = asker.as_ref().map(Place::of);
        // SAFETY: the answerer is not out, and this is its end.
        if !unsafe { Self::event(self.0, DROPPED, asker.as_ref().zip(place.as_ref()), None) } {
            // SAFETY: likewise; nothing has happened.
            unsafe { Self::out(self.0) };
        }
    }
}

impl<T, O: Orders> Asking<T, O> {
    fn new(head: NonNull<Head>) -> Self {
        Self { head, stage: Stage::Waits, of: PhantomData }
    }

    fn head(&self) -> &Head {
        // SAFETY: the asker is not GONE: it keeps the cell.
        unsafe { self.head.as_ref() }
    }

    /// The answer, which the asker has seen to be there.
    fn take(&mut self) -> Option<T> {
        self.stage = Stage::Ready;
        // SAFETY: ANSWERED was seen, so the asker's.
        unsafe { Cell::replace(self.head, None) }
    }
}

impl<T, O: Orders> Drop for Asking<T, O> {
    #[inline]
    fn drop(&mut self) {
        let all_others = if O::HEEDS_THE_WATCH { OUT_ANSWERER | OUT_WATCH } else { OUT_ANSWERER };
        let before = self.head().load(O::LOOK);
        if before & all_others != all_others || before & ANSWERED != 0 && self.stage != Stage::Ready {
            return self.let_go(all_others);
        }
        // With both others out nobody else exchanges anything, and there is nothing foreign left.
        let asker = self.head().asker;
        let place = asker.as_ref().map(Place::of);
        if let (Some(asker), Some(place)) = (&asker, &place) {
            // SAFETY: the asker's alone, with the answerer out (`cell`, A4).
            unsafe { place.give_back(asker) };
        }
        // SAFETY: the last one, with Acquire.
        unsafe { Cell::<T>::free(self.head, place.as_ref().and_then(Place::pool)) };
    }
}

impl<T, O: Orders> Asking<T, O> {
    /// The end of an asker that has not waited for the answer, or is not the last.
    #[inline(never)]
    fn let_go(&mut self, all_others: u8) {
        let (head, asker) = (self.head, self.head().asker);
        let place = asker.map(|asker| Place::of(&asker));
        let pool = place.as_ref().and_then(Place::pool);
        // Foreign, and dropped at the very end: a panic in there is nothing to the cell.
        let (mut untaken, mut waker) = (None, None);
        let mut before = self.head().load(O::LOOK);
        let mut last = before & all_others == all_others;
        if last {
            if before & ANSWERED != 0 && self.stage != Stage::Ready {
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
            last = Head::is_last(before, GONE);
        }
        let is_shared = before & (ANSWERED | DROPPED) != 0 && before & OUT_ANSWERER == 0;
        if !is_shared && let (Some(asker), Some(place)) = (asker, &place) {
            // SAFETY: the asker's alone, before the answerer's event and when the answerer is out (`cell`, A4).
            unsafe { place.give_back(&asker) };
        }
        if last {
            // SAFETY: the last one, with Acquire.
            unsafe { Head::free(head, pool) };
        }
        drop((untaken, waker));
    }
}

impl<T, O: Orders> Future for Replied<T, O> {
    type Output = Result<T, NoReply>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let asking = &mut self.0;
        assert!(asking.stage != Stage::Ready, "polled after it was ready");
        loop {
            match asking.head().look::<O>() {
                Seen::Answered => return Poll::Ready(asking.take().ok_or(NoReply)),
                Seen::Dropped | Seen::Down => {
                    asking.stage = Stage::Ready;
                    return Poll::Ready(Err(NoReply));
                }
                Seen::Nothing if asking.head().register::<O>(task.waker(), EVENTS) => return Poll::Pending,
                Seen::Nothing => {}
            }
        }
    }
}

impl<T, O: Orders> fmt::Debug for Reply<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

impl<T, O: Orders> fmt::Debug for Replied<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replied").field("stage", &self.0.stage).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use core::sync::atomic::AtomicUsize as Count;
    use std::task::Wake;

    struct Counting(Count);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn answers_drops_and_late_answers() {
        let woken = Arc::new(Counting(Count::new(0)));
        let waker = Waker::from(woken.clone());
        let mut task = Context::from_waker(&waker);
        let value = Arc::new(7);

        let (give, mut wait) = reply().expect("memory");
        assert!(Pin::new(&mut wait).poll(&mut task).is_pending());
        assert!(Pin::new(&mut wait).poll(&mut task).is_pending());
        assert!(give.is_wanted());
        give.send(value.clone());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(Pin::new(&mut wait).poll(&mut task), Poll::Ready(Ok(value.clone())));

        let (give, mut wait) = reply::<u8>().expect("memory");
        drop(give);
        assert_eq!(Pin::new(&mut wait).poll(&mut task), Poll::Ready(Err(NoReply)));

        let (give, mut wait) = reply().expect("memory");
        assert!(Pin::new(&mut wait).poll(&mut task).is_pending());
        let wakers = Arc::strong_count(&woken);
        drop(wait);
        assert_eq!(Arc::strong_count(&woken), wakers - 1, "who waits no longer leaves no waker");
        assert!(!give.is_wanted());
        give.send(value.clone());
        assert_eq!(Arc::strong_count(&value), 1, "a late answer is dropped");

        let (give, wait) = reply().expect("memory");
        drop(wait);
        assert_eq!(give.try_send(value.clone()), Err(value.clone()), "or given back");
        let (give, wait) = reply().expect("memory");
        assert_eq!(give.try_send(value.clone()), Ok(()));
        assert_eq!(Arc::strong_count(&value), 2);
        drop(wait);
        assert_eq!(Arc::strong_count(&value), 1, "dropped with who could have taken it");
    }

    #[test]
    fn between_threads() {
        for round in 0..1000 {
            let (give, wait) = reply().expect("memory");
            let asker = std::thread::spawn(move || {
                let waker = Waker::from(Arc::new(Counting(Count::new(0))));
                let mut wait = wait;
                loop {
                    if let Poll::Ready(answer) = Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)) {
                        return answer;
                    }
                }
            });
            give.send(round);
            assert_eq!(asker.join().expect("no panic"), Ok(round));
        }
    }
}
