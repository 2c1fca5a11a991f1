//! The report of a receiver's death to the requester, through the watch of the request ([`down`],
//! [`down_unreceived`]), and the resumption of the requester's process.

use core::ptr::NonNull;
use core::task::Waker;

use crate::kernel::kernel_cx::KernelCx;
use crate::ops::request::reply::Reply;
use crate::ops::waker;
use crate::process::request_cell::{Orders, RequestHead, Requester, Shipped};
use crate::process::request_message::take_watch;
use crate::process::request_watch::{DeathWatch, OpenRequests, send_down};
use crate::reason::Reason;
use crate::signal::node::Node;

/// Notifies the requester that the process is dead.
///
/// # Safety
/// The caller has the watch, and does not use it again. `kernel_cx` belongs to the requester's
/// kernel.
pub(crate) unsafe fn down(head: NonNull<RequestHead>, kernel_cx: &KernelCx<'_>, reason: &Reason) {
    // SAFETY: the caller has the watch and does not use it again (this function's contract).
    let Some((asker, called)) = (unsafe { send_down::<Shipped>(head, kernel_cx.pool(), reason) }) else { return };
    if let Some(asker) = asker {
        asker.wake(kernel_cx);
    }
    if let Some(called) = called {
        let mut called = Some(called);
        kernel_cx.catch_panic(&mut || called.take().into_iter().for_each(Waker::wake));
    }
}

/// Notifies the requester of an unreceived request that the process is dead.
///
/// # Safety
/// The caller holds `node` (rule N1), of kind `Request`, once, and releases it afterwards.
pub(crate) unsafe fn down_unreceived(node: NonNull<Node>, kernel_cx: &KernelCx<'_>, reason: &Reason) {
    // SAFETY: N1: the caller holds a `Request`'s node (this function's contract).
    if let Some(watch) = unsafe { take_watch(node) } {
        // SAFETY: Q1: the watch is in the node until here.
        unsafe { down(watch, kernel_cx, reason) };
    }
}

impl Requester {
    /// Wakes the requester from a core of its kernel.
    #[inline]
    pub(crate) fn wake(&self, kernel_cx: &KernelCx<'_>) {
        if let Some(process) = kernel_cx.find(self.pid) {
            waker::resume(process, kernel_cx);
        }
    }
}

impl RequestHead {
    /// Returns `true` if the waker is that of the process that made the request.
    pub(crate) fn is_of(&self, waker: &Waker) -> bool {
        self.asker.as_ref().is_some_and(|asker| waker::is_of(waker, asker.process))
    }
}

impl<O: Orders> DeathWatch<O> {
    /// Answers as the receiving process itself. Returns the watch, if it is not done then. For the
    /// models.
    pub fn answer<T>(self, reply: Reply<T, O>, answer: T) -> (Option<Self>, Result<(), T>) {
        let mut open = OpenRequests::new();
        // SAFETY: this value is the watch, and it is in no list.
        unsafe { open.put_back(self.travels()) };
        let answered = reply.answer(answer, None, Some(&mut open));
        (open.pop().map(Self::of), answered)
    }
}
