//! A single call, which sends its request on the first poll and waits for the reply: [`Call`].
//!
//! It is a hand-written future instead of an async function around others. Each of those would be a
//! layer that every call passes through twice, and one more move of the result.

use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll};
use core::time::Duration;

use atropos_kernel::{Context, Pid, Reply};

use super::{CallError, PendingCall, request};
use crate::wait::Deadline;

/// The future of a call. It resolves to the reply or the error; if it is dropped, the request is
/// abandoned.
pub(crate) struct Call<'c, M: Send + 'static, N, T, F> {
    cx: &'c Context<M>,
    to: Pid,
    within: Option<Duration>,
    // Two fields instead of one enum: changing the variant of an enum would move the request.
    /// The function that builds the request, until it is sent.
    asks: Option<F>,
    /// The open request, after it is sent.
    waits: Option<PendingCall<T>>,
    alarm: Option<Deadline<'c, M>>,
    of: PhantomData<fn() -> N>,
}

impl<'c, M, N, T, F> Call<'c, M, N, T, F>
where
    M: Send + 'static,
    N: Send + 'static,
    T: Send + 'static,
    F: FnOnce(Reply<T>) -> N,
{
    /// Creates a call that sends what `make` builds, and waits for this long; `None` waits without
    /// a limit.
    #[inline(always)]
    pub(crate) fn new(cx: &'c Context<M>, to: Pid, within: Option<Duration>, make: F) -> Self {
        Self { cx, to, within, asks: Some(make), waits: None, alarm: None, of: PhantomData }
    }

    /// Ends the request and the time limit.
    #[inline(always)]
    fn end(&mut self) {
        self.waits = None;
        if self.alarm.is_some() {
            self.alarm = None;
        }
    }
}

impl<M: Send + 'static, N, T, F> Unpin for Call<'_, M, N, T, F> {}

impl<M, N, T, F> Future for Call<'_, M, N, T, F>
where
    M: Send + 'static,
    N: Send + 'static,
    T: Send + 'static,
    F: FnOnce(Reply<T>) -> N,
{
    type Output = Result<T, CallError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.asks.is_some() && this.cx.poll_proceed(task).is_pending() {
            return Poll::Pending;
        }
        if let Some(make) = this.asks.take() {
            this.waits = Some(request(this.cx, this.to, make)?);
            if this.within.is_some() {
                this.alarm = Some(Deadline::start(this.cx, this.within)?);
            }
        }
        let Some(pending) = &mut this.waits else { panic!("polled after it was ready") };
        match pending.poll(this.cx, task) {
            // The answer moves alone. As a part of a result, it would be copied together with the
            // result's tag, and the copy would wait for both to be stored.
            Poll::Ready(Ok(answer)) => {
                this.end();
                Poll::Ready(Ok(answer))
            }
            Poll::Ready(Err(error)) => {
                this.end();
                Poll::Ready(Err(error))
            }
            Poll::Pending => match this.alarm.as_mut().map(|alarm| alarm.poll_rung(task, false)) {
                Some(Poll::Ready(())) => {
                    this.end();
                    Poll::Ready(Err(CallError::TimedOut))
                }
                _ => Poll::Pending,
            },
        }
    }
}
