//! Requests: a message with a [`Reply`] in it, whose requester also learns of the receiver's death.
//!
//! OTP's call is a monitor, a message, an answer, and a demonitor. Here the *watch* travels with
//! the message. It is the same node, so it needs no signal of its own and keeps its place in the
//! signal order. The process that receives the message owns the watch from then on
//! (`process::request_watch::OpenRequests`). When it dies, every request that it has not
//! answered reports this to its requester, also a request that still waits in its mailbox. An
//! answer ends the watch on the spot: when a process answers the request that it received last, one
//! exchange answers and ends the watch. Watches of requests that are answered later, or by another
//! process, are released when the process receives.
//!
//! - **Q1.** The watch is in the message's node until the message is received, then among the
//!   receiver's requests. It is released with a message that is dropped on the way, with the
//!   answer, or when the request is found answered. Only a death reports DOWN.
//! - **Q2.** On each receive, a process checks its newest open request. When the number of open
//!   requests has doubled since the last sweep, it checks them all. Requests that another process
//!   answered are therefore released in amortised O(1), and at most twice the peak number of
//!   unanswered requests is kept.
//! - **Q3.** DOWN reaches the requester after the EXITs of the same death, and after everything
//!   that the dead process had sent it. A process that finds DOWN first drains what has arrived,
//!   and if that is fatal, it has not seen the DOWN.
//!
//! A reply may be dropped because the process dies. A requester that finds it dropped, with the
//! watch not done, checks if the process is alive, and waits for DOWN if it is not
//! ([`RequestError::ReplyDropped`]).

use core::fmt;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::{self, NoMemory};
use crate::ops::request::Reply;
use crate::ops::request::call::{CallStage, RequesterEnd};
use crate::ops::request::call_site::CallSite;
use crate::process::header::Header;
use crate::process::request_cell::{
    ANSWERED, Cell, CellSnapshot, DOWN, EVENTS, Orders, RESPONDER_DONE, RequestHead, Requester, Shipped, WATCH_DONE,
};
use crate::process::request_watch::DeathWatch;
use crate::reason::Reason;

/// The reason why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// The process has dropped the reply, and lives.
    NoReply,
    /// The reply was dropped, perhaps because the process dies: then `Down` comes next. Reported
    /// once.
    ReplyDropped,
    /// The process is dead.
    Down(Reason),
}

/// The requester's end of a request: a poll returns the answer. Dropping it cancels the interest in
/// the answer and in the death.
#[must_use = "a poll returns the answer"]
pub struct RequestFuture<T, O: Orders = Shipped> {
    asking: RequesterEnd<T, O>,
}

impl<T, O: Orders> RequestFuture<T, O> {
    /// Rebuilds the value. The old one may have to be dropped, so it lies in memory, and copying it
    /// would wait for its parts to be stored.
    #[inline(always)]
    pub(crate) fn begins(self) -> Self {
        Self { asking: RequesterEnd::new(core::mem::ManuallyDrop::new(self).asking.head) }
    }

    /// Registers a waker; see [`crate::ops::request::ReplyFuture::leave`].
    pub fn leave(&mut self, waker: &Waker) -> bool {
        self.asking.leave(waker)
    }

    /// Returns the answer, or the reason why there is none. While it is pending, the process that
    /// made the request is resumed when there is more to see, and another task that polls it is
    /// woken by its waker. Lock-free.
    ///
    /// # Panics
    /// If it was ready before, except with [`RequestError::ReplyDropped`].
    #[inline]
    pub fn poll(&mut self, task: &mut Context<'_>) -> Poll<Result<T, RequestError>> {
        let asking = &mut self.asking;
        assert!(asking.stage != CallStage::Ready, "polled after it was ready");
        let word = asking.head().load(O::LOOK);
        if word & ANSWERED != 0 {
            return Poll::Ready(asking.take().ok_or(RequestError::NoReply));
        }
        if word & EVENTS == 0 && asking.head().is_of(task.waker()) {
            // Every event resumes that process.
            return Poll::Pending;
        }
        self.drain_others(task)
    }

    /// Polls as [`RequestFuture::poll`] does, when there is something other than an answer, or when
    /// a task other than the requester's process polls.
    #[inline(never)]
    fn drain_others(&mut self, task: &mut Context<'_>) -> Poll<Result<T, RequestError>> {
        let asking = &mut self.asking;
        loop {
            match asking.head().look::<O>() {
                CellSnapshot::Answered => return Poll::Ready(asking.take().ok_or(RequestError::NoReply)),
                CellSnapshot::Down => {
                    if asking.head().asker.is_some_and(|asker| CallSite::of(&asker).died_while_draining(&asker)) {
                        return Poll::Pending;
                    }
                    asking.stage = CallStage::Ready;
                    return Poll::Ready(Err(RequestError::Down(asking.head().reason())));
                }
                CellSnapshot::Dropped if asking.head().load(O::LOOK) & (WATCH_DONE | DOWN) == WATCH_DONE => {
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
            if asking.stage == CallStage::Told && O::HEEDS_OUT && asking.head().load(O::LOOK) & RESPONDER_DONE == 0 {
                // The responder has dropped the reply but is not done. Try again in a moment: then
                // the waker can be registered (`request_cell`, A1).
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
        f.debug_struct("RequestFuture").field("stage", &self.asking.stage).finish_non_exhaustive()
    }
}

/// The three ends of a request, with the orderings `O`.
pub type Triple<T, O> = (Reply<T, O>, DeathWatch<O>, RequestFuture<T, O>);

/// Creates the three ends of a request without a requesting process, with other orderings: for the
/// models.
pub fn request_with<T: Send, O: Orders>() -> Result<Triple<T, O>, NoMemory> {
    let head = memory::try_new(Cell::<T>::new(None, true)).map_err(|_| NoMemory)?.cast();
    Ok(ends(head))
}

fn ends<T, O: Orders>(head: NonNull<RequestHead>) -> Triple<T, O> {
    let requested = RequestFuture { asking: RequesterEnd::new(head) };
    (Reply::new(head), DeathWatch::of(head), requested)
}

/// Creates the three ends of a request by a process that runs on this core.
#[inline(always)]
pub(crate) fn request<T: Send>(process: &Header, kernel_cx: &KernelCx<'_>) -> Result<Triple<T, Shipped>, NoMemory> {
    // The cell is complete before it gets the reference, so no error path has to return it.
    let (kernel, current_slot) = (process.kernel, kernel_cx.kernel.current_slot);
    let asker = Requester { pid: process.pid, process: process.whole(), kernel, current_slot };
    let head: NonNull<RequestHead> = kernel_cx.try_new(Cell::<T>::new(Some(asker), true)).map_err(|_| NoMemory)?.cast();
    // SAFETY: P1: the caller runs the process's slice, so it owns the process.
    let private = unsafe { process.private() };
    if !core::mem::take(&mut private.spare) {
        process.acquire_waker_ref();
    }
    Ok(ends(head))
}
