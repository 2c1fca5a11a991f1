//! One answer, from one who gives it to one who waits: [`Reply`] and [`Replied`].
//!
//! A process takes messages of one type, so an answer to a question it has asked cannot come through its
//! mailbox without everybody's answers being in its type. It comes through a cell of its own: the asker puts the
//! [`Reply`] into its message and awaits the [`Replied`], which is woken like by any waker. What is answered late finds
//! nobody and is dropped: the cell is the asker's alias for this one answer. A `Reply` that is dropped unused, by a
//! server that forgot it or by the mailbox of a dead one, says so.
//!
//! ```text
//!   EMPTY ── asker registers a waker (1) ──▶ WAITING
//!     ├─────── answered, or dropped (2) ───────┼──▶ DONE ── asker takes (3)
//!     └─────── asker lets go (4) ──────────────┴──▶ GONE ── answerer keeps its answer (5)
//! ```
//!
//! (2) and (4) are exchanges of the same word, so who answers by [`Reply::try_send`] knows whether anybody was there: the
//! answer of a process that has died, and so let go of what it waited on, comes back (5).
//!
//! Two parties, a word: the asker writes `waker` only while it alone may (EMPTY, or WAITING
//! taken back to EMPTY by an exchange), the answerer reads it only after it has exchanged
//! WAITING for DONE. The value is written before DONE and read after it. Each party has a share of the
//! cell; the last one frees it.
//!
//! Both operations are wait-free. Making the pair is the only one that allocates.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

use crate::memory::{self, NoMemory};
use crate::sync::{AtomicU8, AtomicUsize, Ordering, UnsafeCell, acquire_by};

/// The orderings of the protocol and the step that is easy to leave out, a parameter so that a model can weaken or drop one
/// and see it fail.
pub trait Orders: 'static {
    /// Of the answerer's exchange for DONE. Release: pairs with the Acquire of `LOOK`, hands over the value. Acquire:
    /// sees the waker that `REGISTER` has published.
    const DONE: Ordering = Ordering::AcqRel;
    /// Of the asker's look, which takes a WAITING back. Acquire, on failure as well: pairs with `DONE`.
    const LOOK: Ordering = Ordering::Acquire;
    /// Of the asker's exchange for WAITING. Release: pairs with `DONE`, hands over the waker.
    const REGISTER: Ordering = Ordering::AcqRel;
    /// An asker that lets go says so (4).
    const SAYS_GONE: bool = true;
}

/// All as it must be.
#[derive(Debug)]
pub struct Real;
impl Orders for Real {}

const EMPTY: u8 = 0;
const WAITING: u8 = 1;
const DONE: u8 = 2;
const GONE: u8 = 3;

struct Cell<T, O> {
    orders: PhantomData<O>,
    state: AtomicU8,
    shares: AtomicUsize,
    value: UnsafeCell<Option<T>>,
    waker: UnsafeCell<Option<Waker>>,
}

impl<T, O: Orders> Cell<T, O> {
    /// Ends a wait; whether there was one who waits, or may yet.
    fn done(&self) -> bool {
        let before = self.state.swap(DONE, O::DONE);
        if before == WAITING {
            // SAFETY: WAITING was exchanged for DONE: the asker touches it no more.
            if let Some(waker) = self.waker.with_mut(|waker| unsafe { (*waker).take() }) {
                waker.wake();
            }
        }
        before != GONE
    }

    /// Takes the answer, or registers who is to be woken.
    ///
    /// # Safety
    /// There is one asker, and it does not call this after it was ready.
    unsafe fn poll(&self, waker: &Waker) -> Poll<Option<T>> {
        // The first look finds EMPTY, or DONE, and exchanges nothing: who leaves EMPTY for WAITING is the asker itself.
        let mut state = self.state.load(O::LOOK);
        if state == WAITING {
            state = self.state.compare_exchange(WAITING, EMPTY, O::LOOK, O::LOOK).map_or_else(|now| now, |_| EMPTY);
        }
        if state != DONE {
            self.waker.with_mut(|place| {
                // SAFETY: EMPTY: the asker's alone.
                let place = unsafe { &mut *place };
                if !place.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
                    *place = Some(waker.clone());
                }
            });
            if self.state.compare_exchange(EMPTY, WAITING, O::REGISTER, O::LOOK).is_ok() {
                return Poll::Pending;
            }
        }
        // SAFETY: DONE: the answerer touches it no more.
        Poll::Ready(self.value.with_mut(|value| unsafe { (*value).take() }))
    }

    /// # Safety
    /// The caller has a share, which ends here.
    unsafe fn give_up(this: NonNull<Self>) {
        // SAFETY: shared, so live.
        let cell = unsafe { this.as_ref() };
        // Release pairs with the fence of the last one: its free comes after every use.
        if cell.shares.fetch_sub(1, Ordering::Release) == 1 {
            acquire_by(|order| cell.shares.load(order));
            // SAFETY: the last share.
            unsafe { memory::drop_and_free(this) };
        }
    }
}

/// Where an answer is given. Dropping it is no answer, and the asker is told.
#[must_use = "somebody waits for the answer"]
pub struct Reply<T, O: Orders = Real>(NonNull<Cell<T, O>>);

/// Where an answer is waited for: a future. Dropping it is to be no longer interested.
#[must_use = "the answer is in the future"]
pub struct Replied<T, O: Orders = Real> {
    cell: NonNull<Cell<T, O>>,
    ready: bool,
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

// SAFETY: the word decides who may touch the cells (see the module), and a `T` goes from one to the other.
unsafe impl<T: Send, O: Orders> Send for Reply<T, O> {}
// SAFETY: through `&` it only reads a count.
unsafe impl<T: Send, O: Orders> Sync for Reply<T, O> {}
// SAFETY: as for `Reply`.
unsafe impl<T: Send, O: Orders> Send for Replied<T, O> {}
// SAFETY: nothing can be done through `&`.
unsafe impl<T: Send, O: Orders> Sync for Replied<T, O> {}

/// The two ends of one answer, with whatever orderings.
pub type Pair<T, O> = (Reply<T, O>, Replied<T, O>);

/// The two ends of one answer.
pub fn reply<T: Send>() -> Result<(Reply<T>, Replied<T>), NoMemory> {
    reply_with()
}

/// As [`reply`], with other orderings: for the models.
pub fn reply_with<T: Send, O: Orders>() -> Result<Pair<T, O>, NoMemory> {
    let cell = Cell {
        orders: PhantomData,
        state: AtomicU8::new(EMPTY),
        shares: AtomicUsize::new(2),
        value: UnsafeCell::new(None),
        waker: UnsafeCell::new(None),
    };
    let cell = memory::try_new(cell).map_err(|_| NoMemory)?;
    Ok((Reply(cell), Replied { cell, ready: false }))
}

impl<T, O: Orders> Reply<T, O> {
    fn cell(&self) -> &Cell<T, O> {
        // SAFETY: its share keeps it.
        unsafe { self.0.as_ref() }
    }

    /// Answers. Late, it is dropped. Wait-free.
    pub fn send(self, answer: T) {
        drop(self.try_send(answer));
    }

    /// Answers, or gives the answer back when who has asked waits no more: it has died, or lost interest. After `Ok` it was
    /// there. Wait-free.
    pub fn try_send(self, answer: T) -> Result<(), T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the answerer's until DONE, and it answers once: `self` ends here.
        this.cell().value.with_mut(|value| unsafe { *value = Some(answer) });
        let refused = if this.cell().done() {
            None
        } else {
            // SAFETY: GONE: the asker looks at it no more.
            this.cell().value.with_mut(|value| unsafe { (*value).take() })
        };
        // SAFETY: the answerer's share, not used again.
        unsafe { Cell::give_up(this.0) };
        refused.map_or(Ok(()), Err)
    }

    /// Whether somebody waits still.
    pub fn is_wanted(&self) -> bool {
        // Relaxed: a hint.
        self.cell().state.load(Ordering::Relaxed) != GONE
    }
}

impl<T, O: Orders> Drop for Reply<T, O> {
    fn drop(&mut self) {
        self.cell().done();
        // SAFETY: the answerer's share, not used again.
        unsafe { Cell::give_up(self.0) };
    }
}

impl<T, O: Orders> Drop for Replied<T, O> {
    fn drop(&mut self) {
        // SAFETY: its share keeps it.
        let cell = unsafe { self.cell.as_ref() };
        if self.ready {
            // DONE, and nobody waits any more.
            // SAFETY: the asker's share, not used again.
            return unsafe { Cell::give_up(self.cell) };
        }
        // AcqRel: the answerer that finds GONE finds the asker done with the cell. What it has answered before is
        // dropped with the cell.
        if O::SAYS_GONE && cell.state.swap(GONE, Ordering::AcqRel) == WAITING {
            // A waker may keep much, and an answerer may keep the cell for long.
            // SAFETY: WAITING was exchanged for GONE: the answerer touches it no more.
            drop(cell.waker.with_mut(|waker| unsafe { (*waker).take() }));
        }
        // SAFETY: the asker's share, not used again.
        unsafe { Cell::give_up(self.cell) };
    }
}

impl<T, O: Orders> Future for Replied<T, O> {
    type Output = Result<T, NoReply>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.ready, "polled after it was ready");
        // SAFETY: its share keeps it.
        let cell = unsafe { self.cell.as_ref() };
        // SAFETY: the one asker, through `&mut`, and not ready before.
        let answer = unsafe { cell.poll(task.waker()) };
        self.ready = answer.is_ready();
        answer.map(|answer| answer.ok_or(NoReply))
    }
}

impl<T, O: Orders> fmt::Debug for Reply<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

impl<T, O: Orders> fmt::Debug for Replied<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replied").field("ready", &self.ready).finish_non_exhaustive()
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
