//! The report of a receiver's death to the requester, through the watch of the request ([`down`],
//! [`down_unreceived`]), and the resumption of the requester's process.

use core::task::Waker;

use crate::kernel::kernel_cx::KernelCx;
use crate::ops::request::reply::ReplyEnd;
use crate::ops::waker;
use crate::process::request_cell::{Orders, RequestHead, Requester};
use crate::process::request_message::RequestNode;
use crate::process::request_watch::{DeathWatch, OpenRequests};
use crate::reason::Reason;
use crate::shipped::Shipped;

/// Notifies the requester that the process is dead. `kernel_cx` belongs to the kernel of that
/// process.
pub(crate) fn down(watch: DeathWatch, kernel_cx: &KernelCx<'_>, reason: &Reason) {
    let Some((requester, called)) = watch.report::<Shipped>(kernel_cx.pool(), reason) else { return };
    if let Some(requester) = requester {
        requester.wake(kernel_cx);
    }
    if let Some(called) = called {
        kernel_cx.catch_panic(|| called.wake());
    }
}

/// Notifies the requester of an unreceived request that the process is dead.
pub(crate) fn down_unreceived(request: &RequestNode, kernel_cx: &KernelCx<'_>, reason: &Reason) {
    if let Some(watch) = request.watch.take() {
        down(watch, kernel_cx, reason);
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
        self.requester.as_ref().is_some_and(|requester| waker::is_of(waker, requester.process))
    }
}

impl DeathWatch {
    /// Answers as the receiving process itself. Returns the watch, if it is not done then. For the
    /// models.
    pub fn answer<T, O: Orders>(self, reply: ReplyEnd<T, O>, answer: T) -> (Option<Self>, Result<(), T>) {
        let mut open = OpenRequests::new();
        open.put_back(self);
        let answered = reply.answer_in(answer, &mut open);
        (open.pop(), answered)
    }
}
