//! One call: a request that is sent where it is first polled, and waited for ([`Call`]).
//!
//! It is written out, and not an async function with others in it: each of those is a layer that is gone through twice for every
//! call, and a result that is moved once more.

use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll};
use core::time::Duration;

use atropos_kernel::{Context, Pid, Reply};

use super::{CallError, PendingCall, request};
use crate::wait::Alarm;

/// A call. It ends with the answer, or with why there is none; dropped, it is given up.
pub(crate) struct Call<'c, M: Send + 'static, N, T, F> {
    cx: &'c Context<M>,
    to: Pid,
    within: Option<Duration>,
    // Side by side, and not one enum: to change that would be to move it.
    /// Until it is sent.
    asks: Option<F>,
    /// From then on.
    waits: Option<PendingCall<T>>,
    alarm: Option<Alarm<'c, M>>,
    of: PhantomData<fn() -> N>,
}

impl<'c, M, N, T, F> Call<'c, M, N, T, F>
where
    M: Send + 'static,
    N: Send + 'static,
    T: Send + 'static,
    F: FnOnce(Reply<T>) -> N,
{
    /// Will send what `make` puts together, and wait for this long; `None`: for ever.
    #[inline(always)]
    pub(crate) fn new(cx: &'c Context<M>, to: Pid, within: Option<Duration>, make: F) -> Self {
        Self { cx, to, within, asks: Some(make), waits: None, alarm: None, of: PhantomData }
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
                this.alarm = Some(Alarm::start(this.cx, this.within)?);
            }
        }
        let Some(pending) = &mut this.waits else { panic!("polled after it was ready") };
        let result = match pending.poll(this.cx, task) {
            Poll::Ready(result) => result,
            Poll::Pending => match this.alarm.as_mut().map(|alarm| alarm.poll_rung(task, false)) {
                Some(Poll::Ready(())) => Err(CallError::TimedOut),
                _ => return Poll::Pending,
            },
        };
        this.waits = None;
        this.alarm = None;
        Poll::Ready(result)
    }
}
