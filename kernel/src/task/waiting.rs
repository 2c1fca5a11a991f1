//! The future of [`Context::send_waiting`]: a message that waits for room in a mailbox.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll};
use core::time::Duration;

use crate::in_line::InLine;
use crate::pid::Pid;
use crate::send::SendError;
use crate::task::Context;
use crate::task::coop::may_go_on;
use crate::task::receive::Patience;
use crate::task::waiters::On;

/// See [`Context::send_waiting`].
#[must_use = "it sends when it is awaited"]
pub struct SendWaiting<'c, M: Send + 'static, N> {
    patience: Patience<'c, M>,
    to: Pid,
    /// `None` once it is ready.
    message: Option<N>,
    line: InLine,
}

impl<'c, M: Send + 'static, N> SendWaiting<'c, M, N> {
    pub(super) fn new(context: &'c Context<M>, to: Pid, message: N, patience: Option<Duration>) -> Self {
        Self { patience: Patience::new(context, patience), to, message: Some(message), line: InLine::new() }
    }
}

impl<M: Send + 'static, N> Unpin for SendWaiting<'_, M, N> {}

impl<M: Send + 'static, N: Send + 'static> Future for SendWaiting<'_, M, N> {
    type Output = Result<(), SendError<N>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.patience.context().with(|cx| {
            if !may_go_on(cx, task) {
                return Poll::Pending;
            }
            let Some(message) = this.message.take() else { panic!("polled after it was ready") };
            match cx.send_in_line(&mut this.line, this.to, message) {
                Err(SendError::Full(message)) if !this.patience.is_over(cx) => {
                    this.message = Some(message);
                    let on = this.line.waiter().map_or(On::Slice, On::Line);
                    this.patience.listen(cx, task, on);
                    Poll::Pending
                }
                sent => {
                    this.line = InLine::new();
                    Poll::Ready(sent)
                }
            }
        })
    }
}

impl<M: Send + 'static, N> fmt::Debug for SendWaiting<'_, M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendWaiting")
    }
}
