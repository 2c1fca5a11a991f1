//! The future of [`Context::send_wait`]: a message that waits for a free slot in a mailbox.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll};
use core::time::Duration;

use crate::api::send_reservation::SendReservation;
use crate::api::task::Context;
use crate::api::task::coop::may_go_on;
use crate::api::task::receive::Deadline;
use crate::ops::send::SendError;
use crate::pid::Pid;
use crate::process::waiters::On;

/// The future of [`Context::send_wait`].
#[must_use = "sends nothing unless it is awaited"]
pub struct SendWait<'c, M: Send + 'static, N> {
    patience: Deadline<'c, M>,
    to: Pid,
    /// The message; `None` once the future is ready.
    message: Option<N>,
    line: SendReservation,
}

impl<'c, M: Send + 'static, N> SendWait<'c, M, N> {
    pub(crate) fn new(context: &'c Context<M>, to: Pid, message: N, patience: Option<Duration>) -> Self {
        Self { patience: Deadline::new(context, patience), to, message: Some(message), line: SendReservation::new() }
    }
}

impl<M: Send + 'static, N> Unpin for SendWait<'_, M, N> {}

impl<M: Send + 'static, N: Send + 'static> Future for SendWait<'_, M, N> {
    type Output = Result<(), SendError<N>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.patience.context().with(|cx| {
            if !may_go_on(cx, task) {
                return Poll::Pending;
            }
            let Some(message) = this.message.take() else { panic!("polled after it was ready") };
            match cx.send_or_enqueue(&mut this.line, this.to, message) {
                Err(SendError::Full(message)) if !this.patience.is_over(cx) => {
                    this.message = Some(message);
                    let on = this.line.waiter().map_or(On::Slice, On::Line);
                    this.patience.listen(cx, task, on);
                    Poll::Pending
                }
                sent => {
                    this.line = SendReservation::new();
                    Poll::Ready(sent)
                }
            }
        })
    }
}

impl<M: Send + 'static, N> fmt::Debug for SendWait<'_, M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendWaiting")
    }
}
