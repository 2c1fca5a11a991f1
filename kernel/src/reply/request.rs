//! A request: a message with a [`Reply`] in it, whose asker learns as well of the death of whom it asks.
//!
//! OTP's call is a monitor, a message, an answer, and the monitor taken back. Here the *watch* travels with the message: it is
//! the same node, so it needs no signal of its own and keeps its place by itself. Who receives the message has the
//! watch from then on ([`super::watch::OpenRequests`]), and when it dies every request that it has not answered says so to its asker, also one
//! that still waits in its mailbox. An answer ends the watch where it is: a process that answers what it has received last is out
//! with the answer, in one exchange; of what is answered later, or by others, it lets go when it receives.
//!
//! - **Q1.** The watch is in the message's node until the message is received, then among the receiver's requests. It is let
//!   go of with a message that is dropped on the way, with the answer, or when it is found answered. Only a death says DOWN.
//! - **Q2.** A process looks at the newest of its requests each time it receives, and at all of them when their number
//!   has doubled: so what is answered later by others is let go of in amortised O(1), and no more linger than twice as many
//!   as once waited together.
//! - **Q3.** DOWN comes to the asker after the EXITs of the same death, and after what the dead had sent it: a process that
//!   finds it takes what has come first, and if it dies of that, has not seen it.
//!
//! A reply that is dropped may be so because the process dies: an asker that finds it dropped with the watch still in
//! asks whether the process is alive, and waits for DOWN when it is not ([`RequestError::ReplyDropped`]).

use core::fmt;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

use super::Reply;
use super::asking::{CallerEnd, CallStage};
use super::cell::{ANSWERED, Caller, Cell, DOWN, EVENTS, RequestHead, OUT_ANSWERER, OUT_WATCH, Orders, Shipped, CellSnapshot};
use super::place::CallSite;
use super::watch::DeathWatch;
use crate::hand::KernelCx;
use crate::memory::{self, NoMemory};
use crate::process::header::Header;
use crate::reason::Reason;

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// The process has dropped the reply, and lives.
    NoReply,
    /// The reply was dropped, perhaps because the process dies: then `Down` comes next. Said once.
    ReplyDropped,
    /// The process is dead.
    Down(Reason),
}

/// Where the answer to a request is waited for. Dropping it is to be no longer interested, also in the death.
#[must_use = "the answer comes here"]
pub struct RequestFuture<T, O: Orders = Shipped> {
    asking: CallerEnd<T, O>,
}

impl<T, O: Orders> RequestFuture<T, O> {
    /// The same, put together anew: what may have to be dropped lies in memory, and a copy of it would wait for its parts.
    #[inline(always)]
    pub(crate) fn begins(self) -> Self {
        Self { asking: CallerEnd::new(core::mem::ManuallyDrop::new(self).asking.head) }
    }

    /// See [`super::ReplyFuture::leave`].
    pub fn leave(&mut self, waker: &Waker) -> bool {
        self.asking.leave(waker)
    }

    /// The answer, or why there is none. Pending, the process that has asked is resumed when there is more to see, and so is
    /// another task that polls it, by its waker. Lock-free.
    ///
    /// # Panics
    /// After it was ready, but for [`RequestError::ReplyDropped`].
    #[inline]
    pub fn poll(&mut self, task: &mut Context<'_>) -> Poll<Result<T, RequestError>> {
        let asking = &mut self.asking;
        assert!(asking.stage != CallStage::Ready, "polled after it was ready");
        let word = asking.head().load(O::LOOK);
        if word & ANSWERED != 0 {
            return Poll::Ready(asking.take().ok_or(RequestError::NoReply));
        }
        if word & EVENTS == 0 && asking.head().is_of(task.waker()) {
            // What comes resumes it.
            return Poll::Pending;
        }
        self.poll_others(task)
    }

    /// [`RequestFuture::poll`], where there is something other than an answer, or somebody other than the asker polls.
    #[inline(never)]
    fn poll_others(&mut self, task: &mut Context<'_>) -> Poll<Result<T, RequestError>> {
        let asking = &mut self.asking;
        loop {
            match asking.head().look::<O>() {
                CellSnapshot::Answered => return Poll::Ready(asking.take().ok_or(RequestError::NoReply)),
                CellSnapshot::Down => {
                    if asking.head().asker.is_some_and(|asker| CallSite::of(&asker).dies_of_what_came(&asker)) {
                        return Poll::Pending;
                    }
                    asking.stage = CallStage::Ready;
                    return Poll::Ready(Err(RequestError::Down(asking.head().reason())));
                }
                CellSnapshot::Dropped if asking.head().load(O::LOOK) & (OUT_WATCH | DOWN) == OUT_WATCH => {
                    asking.stage = CallStage::Ready;
                    return Poll::Ready(Err(RequestError::NoReply));
                }
                CellSnapshot::Dropped if asking.stage == CallStage::Waits => {
                    asking.stage = CallStage::Told;
                    return Poll::Ready(Err(RequestError::ReplyDropped));
                }
                CellSnapshot::Dropped | CellSnapshot::Nothing => {}
            }
            if asking.head().is_of(task.waker()) {
                return Poll::Pending;
            }
            if asking.stage == CallStage::Told && O::HEEDS_OUT && asking.head().load(O::LOOK) & OUT_ANSWERER == 0 {
                // In the middle of its exit: a moment, and the waker has its place again (`cell`, A1).
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            if asking.head().register::<O>(task.waker(), if asking.stage == CallStage::Told { DOWN } else { EVENTS }) {
                return Poll::Pending;
            }
        }
    }
}

impl<T, O: Orders> fmt::Debug for RequestFuture<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requested").field("stage", &self.asking.stage).finish_non_exhaustive()
    }
}

/// The three ends of a request, with whatever orderings.
pub type Triple<T, O> = (Reply<T, O>, DeathWatch<O>, RequestFuture<T, O>);

/// The three ends of a request of nobody, with other orderings: for the models.
pub fn request_with<T: Send, O: Orders>() -> Result<Triple<T, O>, NoMemory> {
    let head = memory::try_new(Cell::<T>::new(None, true)).map_err(|_| NoMemory)?.cast();
    Ok(ends(head))
}

fn ends<T, O: Orders>(head: NonNull<RequestHead>) -> Triple<T, O> {
    let requested = RequestFuture { asking: CallerEnd::new(head) };
    (Reply::new(head), DeathWatch::of(head), requested)
}

/// The three ends of a request of a process that runs on this core.
#[inline(always)]
pub(crate) fn request<T: Send>(process: &Header, hand: &KernelCx<'_>) -> Result<Triple<T, Shipped>, NoMemory> {
    // The cell is whole before it has the share: nobody has to give it back.
    let (kernel, here) = (process.kernel, hand.kernel.here);
    let asker = Caller { pid: process.pid, process: process.whole(), kernel, here };
    let head: NonNull<RequestHead> = hand.try_new(Cell::<T>::new(Some(asker), true)).map_err(|_| NoMemory)?.cast();
    // SAFETY: the caller runs the process's slice.
    let private = unsafe { process.private() };
    if !core::mem::take(&mut private.spare) {
        process.share_with_waker();
    }
    Ok(ends(head))
}
