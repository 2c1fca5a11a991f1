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
use core::task::{Context, Poll, Waker};

use crate::catch_drop::DropCatcher;
use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::ops::request::Reply;
use crate::ops::request::call::{CallStage, RequesterEnd};
use crate::ops::request::call_site::CallSite;
use crate::ops::request::reply::ReplyEnd;
use crate::process::counted_ref::WakerRef;
use crate::process::owned::Owned;
use crate::process::request_cell::{Cell, CellSnapshot, DOWN, EVENTS, Orders, RESPONDER_DONE, Requester, WATCH_DONE};
use crate::process::request_watch::DeathWatch;
use crate::reason::Reason;
use crate::shipped::Shipped;

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
pub struct RequestFuture<T>(RequesterEnd<T, Shipped>);

impl<T> RequestFuture<T> {
    /// Rebuilds the value; see `RequesterEnd::begins`.
    #[inline(always)]
    pub(crate) fn begins(self) -> Self {
        Self(self.0.begins())
    }

    /// Registers a waker; see [`crate::ops::request::ReplyFuture::leave`].
    pub fn leave(&mut self, waker: &Waker) -> bool {
        self.0.leave(waker)
    }

    /// Returns the platform's way to catch the panics of destructors, for values that are kept with
    /// the request. Away from the cores of the requester's kernel nothing is caught.
    pub fn drop_catcher(&mut self) -> DropCatcher {
        let requester = self.0.party().requester;
        requester.map_or(DropCatcher::new(None), |requester| CallSite::of(&requester).drop_catcher())
    }

    /// Returns the answer, or the reason why there is none. While it is pending, the process that
    /// made the request is resumed when there is more to see, and another task that polls it is
    /// woken by its waker. Lock-free.
    ///
    /// # Panics
    /// If it was ready before, except with [`RequestError::ReplyDropped`].
    #[inline]
    pub fn poll(&mut self, task: &mut Context<'_>) -> Poll<Result<T, RequestError>> {
        self.0.poll_request(task)
    }
}

impl<T> fmt::Debug for RequestFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestFuture").field("stage", &self.0.stage).finish_non_exhaustive()
    }
}

impl<T, O: Orders> RequesterEnd<T, O> {
    /// Polls a request; see [`RequestFuture::poll`].
    #[inline]
    pub fn poll_request(&mut self, task: &mut Context<'_>) -> Poll<Result<T, RequestError>> {
        assert!(self.stage != CallStage::Ready, "polled after it was ready");
        match self.party().look::<O>() {
            CellSnapshot::Answered(answer) => {
                self.stage = CallStage::Ready;
                Poll::Ready(answer.ok_or(RequestError::NoReply))
            }
            // Every event resumes that process.
            CellSnapshot::Nothing if self.party().is_of(task.waker()) => Poll::Pending,
            _ => self.drain_others(task),
        }
    }

    /// Polls as [`RequestFuture::poll`] does, when there is something other than an answer, or when
    /// a task other than the requester's process polls.
    #[inline(never)]
    fn drain_others(&mut self, task: &mut Context<'_>) -> Poll<Result<T, RequestError>> {
        loop {
            match self.party().look::<O>() {
                CellSnapshot::Answered(answer) => {
                    self.stage = CallStage::Ready;
                    return Poll::Ready(answer.ok_or(RequestError::NoReply));
                }
                CellSnapshot::Down => {
                    let requester = self.party().requester;
                    if requester.is_some_and(|requester| CallSite::of(&requester).died_while_draining(&requester)) {
                        return Poll::Pending;
                    }
                    self.stage = CallStage::Ready;
                    // SAFETY: `look` has just seen DOWN.
                    let reason = unsafe { self.party().reason() };
                    return Poll::Ready(Err(RequestError::Down(reason)));
                }
                CellSnapshot::Dropped if self.party().load(O::LOOK) & (WATCH_DONE | DOWN) == WATCH_DONE => {
                    self.stage = CallStage::Ready;
                    return Poll::Ready(Err(RequestError::NoReply));
                }
                CellSnapshot::Dropped if self.stage == CallStage::Waits => {
                    self.stage = CallStage::Told;
                    return Poll::Ready(Err(RequestError::ReplyDropped));
                }
                CellSnapshot::Dropped | CellSnapshot::Nothing => {}
            }
            let told = self.stage == CallStage::Told;
            let party = self.party();
            if party.is_of(task.waker()) {
                return Poll::Pending;
            }
            if told && O::HEEDS_OUT && party.load(O::LOOK) & RESPONDER_DONE == 0 {
                // The responder has dropped the reply but is not done. Try again in a moment: then
                // the waker can be registered (`request_cell`, A1).
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            if party.register::<O>(task.waker(), if told { DOWN } else { EVENTS }) {
                return Poll::Pending;
            }
        }
    }
}

/// The three ends of a request, with the orderings `O`.
pub type Triple<T, O> = (ReplyEnd<T, O>, DeathWatch, RequesterEnd<T, O>);

/// Creates the three ends of a request without a requesting process, with other orderings: for the
/// models.
pub fn request_with<T: Send, O: Orders>() -> Result<Triple<T, O>, NoMemory> {
    let (responder, watch, requester) = Cell::try_watched(None, None)?;
    Ok((ReplyEnd::new(responder), DeathWatch::of(watch), RequesterEnd::new(requester)))
}

/// Creates the three ends of a request by a process that runs on this core.
#[inline(always)]
pub(crate) fn request<T: Send>(
    owned: &mut Owned<'_>,
    kernel_cx: &KernelCx<'_>,
) -> Result<(Reply<T>, DeathWatch, RequestFuture<T>), NoMemory> {
    // The cell is complete before it gets the reference, so no error path has to return it.
    let (kernel, current_slot) = (owned.kernel, kernel_cx.kernel.current_slot);
    let requester = Requester { pid: owned.pid, process: owned.process().as_ptr(), kernel, current_slot };
    let (responder, watch, requester) = Cell::try_watched(Some(requester), kernel_cx.pool())?;
    // The cell has it from here on (`Requester::reference`).
    let _held = owned.take_spare().unwrap_or_else(|| WakerRef::new(owned)).into_raw();
    let (reply, end) = (ReplyEnd::new(responder), RequesterEnd::new(requester));
    Ok((Reply::of(reply), DeathWatch::of(watch), RequestFuture(end)))
}
