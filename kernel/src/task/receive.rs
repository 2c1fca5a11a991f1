//! The futures of a [`Context`].
//!
//! They ask the running slice when they are polled and keep nothing but what they need to
//! ask again; what they wait for resumes the process, whichever future asked. When the
//! slice has no reductions left they are pending and the process yields: a body that
//! never runs out of messages cannot keep its core. In a dying process they stay pending.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll};
use core::time::Duration;

use crate::cx::{Asked, Cx};
use crate::info::ProcessInfo;
use crate::memory::NoMemory;
use crate::pid::{Pid, Reference};
use crate::reason::Reason;
use crate::received::{Peek, Received};
use crate::signal::ask::{Said, Waiting};
use crate::signal::queue::Cursor;
use crate::task::Context;

/// Whether the future may go on; otherwise the process yields.
pub(super) fn may_go_on<M: Send + 'static>(cx: &Cx<'_, M>) -> bool {
    if cx.is_exhausted() {
        cx.want_yield();
        return false;
    }
    !cx.is_dying()
}

/// An alarm that ends with its future.
pub(super) struct Patience<'c, M: Send + 'static> {
    pub(super) context: &'c Context<M>,
    time: Option<Duration>,
    alarm: Option<Reference>,
}

impl<'c, M: Send + 'static> Patience<'c, M> {
    /// As long as this; `None`: for ever.
    pub(super) fn new(context: &'c Context<M>, time: Option<Duration>) -> Self {
        Self { context, time, alarm: None }
    }

    /// Whether it is at an end. Starts the alarm the first time; without memory for one the
    /// process ends with a crash that says so.
    pub(super) fn is_over(&mut self, cx: &Cx<'_, M>) -> bool {
        match (self.time, self.alarm) {
            (None, _) => false,
            (Some(time), _) if time.is_zero() => true,
            (Some(_), Some(alarm)) => !cx.has_timer(alarm),
            (Some(time), None) => {
                match cx.alarm(time) {
                    Ok(alarm) => self.alarm = Some(alarm),
                    Err(error) => cx.stop(Reason::crash_with(&format_args!("no timer: {error}"))),
                }
                false
            }
        }
    }
}

impl<M: Send + 'static> Drop for Patience<'_, M> {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm {
            // Where there is no slice any more there is no timer any more.
            let _ = self.context.try_with(|cx| cx.end_timer(alarm));
        }
    }
}

/// The oldest signal, as `take` makes it of what lies there.
#[inline(always)]
fn receive<M: Send + 'static, R>(context: &Context<M>, take: impl FnOnce(Received<M>) -> R) -> Poll<R> {
    // As [`Context::with`], without a closure, which would be a function of its own.
    // SAFETY: for this call.
    let Some(cx) = (unsafe { context.view() }) else { context.is_elsewhere() };
    if !may_go_on(cx) {
        return Poll::Pending;
    }
    cx.receive_as(|received| Poll::Ready(take(received)), || Poll::Pending)
}

/// See [`Context::recv`].
pub struct Receive<'c, M: Send + 'static>(&'c Context<M>);

impl<'c, M: Send + 'static> Receive<'c, M> {
    pub(super) fn new(context: &'c Context<M>) -> Self {
        Self(context)
    }
}

impl<M: Send + 'static> Future for Receive<'_, M> {
    type Output = Received<M>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Received<M>> {
        receive(self.0, |received| received)
    }
}

/// See [`Context::recv_with`].
pub struct ReceiveWith<'c, M: Send + 'static, F> {
    context: &'c Context<M>,
    take: F,
}

impl<'c, M: Send + 'static, F> ReceiveWith<'c, M, F> {
    pub(super) fn new(context: &'c Context<M>, take: F) -> Self {
        Self { context, take }
    }
}

impl<M: Send + 'static, F> Unpin for ReceiveWith<'_, M, F> {}

impl<M: Send + 'static, R, F> Future for ReceiveWith<'_, M, F>
where
    F: FnMut(Received<M>) -> R,
{
    type Output = R;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<R> {
        let this = &mut *self;
        receive(this.context, &mut this.take)
    }
}

/// See [`Context::recv_timeout`].
pub struct ReceiveTimeout<'c, M: Send + 'static>(Patience<'c, M>);

impl<'c, M: Send + 'static> ReceiveTimeout<'c, M> {
    pub(super) fn new(context: &'c Context<M>, time: Duration) -> Self {
        Self(Patience::new(context, Some(time)))
    }
}

impl<M: Send + 'static> Future for ReceiveTimeout<'_, M> {
    type Output = Option<Received<M>>;

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.0.context.with(|cx| {
            if !may_go_on(cx) {
                return Poll::Pending;
            }
            match cx.receive() {
                Some(received) => Poll::Ready(Some(received)),
                None if !cx.is_dying() && self.0.is_over(cx) => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
    }
}

/// See [`Context::recv_match`].
pub struct ReceiveMatch<'c, M: Send + 'static, F> {
    patience: Patience<'c, M>,
    cursor: Cursor,
    wanted: F,
}

impl<'c, M: Send + 'static, F> ReceiveMatch<'c, M, F> {
    pub(super) fn new(context: &'c Context<M>, cursor: Cursor, time: Option<Duration>, wanted: F) -> Self {
        Self { patience: Patience::new(context, time), cursor, wanted }
    }
}

impl<M: Send + 'static, F> Unpin for ReceiveMatch<'_, M, F> {}

impl<M: Send + 'static, F> Future for ReceiveMatch<'_, M, F>
where
    F: FnMut(Peek<'_, M>) -> bool,
{
    /// `None` only with a patience.
    type Output = Option<Received<M>>;

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.patience.context.with(|cx| {
            if !may_go_on(cx) {
                return Poll::Pending;
            }
            match cx.receive_match(&mut this.cursor, &mut this.wanted) {
                Some(received) => Poll::Ready(Some(received)),
                None if !cx.is_dying() && this.patience.is_over(cx) => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
    }
}

/// See [`Context::sleep`].
pub struct Sleep<'c, M: Send + 'static>(Patience<'c, M>);

impl<'c, M: Send + 'static> Sleep<'c, M> {
    pub(super) fn new(context: &'c Context<M>, time: Duration) -> Self {
        Self(Patience::new(context, Some(time)))
    }
}

impl<M: Send + 'static> Future for Sleep<'_, M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<()> {
        self.0.context.with(|cx| if may_go_on(cx) && self.0.is_over(cx) { Poll::Ready(()) } else { Poll::Pending })
    }
}

/// See [`Context::yield_now`].
pub struct YieldNow<'c, M: Send + 'static> {
    context: &'c Context<M>,
    yielded: bool,
}

impl<'c, M: Send + 'static> YieldNow<'c, M> {
    pub(super) fn new(context: &'c Context<M>) -> Self {
        Self { context, yielded: false }
    }
}

impl<M: Send + 'static> Future for YieldNow<'_, M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<()> {
        if core::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        self.context.with(|cx| cx.want_yield());
        Poll::Pending
    }
}

/// See [`Context::stop`].
pub struct Stop<'c, M: Send + 'static> {
    context: &'c Context<M>,
    reason: Option<Reason>,
}

impl<'c, M: Send + 'static> Stop<'c, M> {
    pub(super) fn new(context: &'c Context<M>, reason: Reason) -> Self {
        Self { context, reason: Some(reason) }
    }
}

impl<M: Send + 'static> Future for Stop<'_, M> {
    type Output = core::convert::Infallible;

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let Some(reason) = self.reason.take() {
            self.context.with(|cx| cx.stop(reason));
        }
        Poll::Pending
    }
}

/// A question that has been asked, or not yet.
enum Asking {
    NotYet,
    Waits(Waiting),
    Done,
}

impl Asking {
    fn poll<T, M: Send + 'static>(
        &mut self,
        context: &Context<M>,
        task: &mut TaskContext<'_>,
        ask: impl FnOnce(&Cx<'_, M>) -> Result<Asked<T>, NoMemory>,
        said: impl FnOnce(Said) -> T,
    ) -> Poll<T> {
        if let Self::NotYet = self {
            let asked = context.with(|cx| if cx.is_dying() { None } else { Some(ask(cx)) });
            match asked {
                None => return Poll::Pending,
                Some(Ok(Asked::Known(value))) => {
                    *self = Self::Done;
                    return Poll::Ready(value);
                }
                Some(Ok(Asked::Later(answer))) => *self = Self::Waits(answer),
                Some(Err(NoMemory)) => {
                    context.with(|cx| cx.stop(Reason::crash("no memory for a question")));
                    return Poll::Pending;
                }
            }
        }
        let Self::Waits(answer) = self else { panic!("polled after it was ready") };
        match Pin::new(answer).poll(task) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(answer) => {
                *self = Self::Done;
                Poll::Ready(said(answer))
            }
        }
    }
}

/// See [`Context::is_alive`].
pub struct Alive<'c, M: Send + 'static> {
    context: &'c Context<M>,
    pid: Pid,
    asking: Asking,
}

impl<'c, M: Send + 'static> Alive<'c, M> {
    pub(super) fn new(context: &'c Context<M>, pid: Pid) -> Self {
        Self { context, pid, asking: Asking::NotYet }
    }
}

impl<M: Send + 'static> Future for Alive<'_, M> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<bool> {
        let (context, pid) = (self.context, self.pid);
        self.asking.poll(context, task, |cx| cx.is_alive(pid), |said| !matches!(said, Said::Dead))
    }
}

/// See [`Context::info`].
pub struct Info<'c, M: Send + 'static> {
    context: &'c Context<M>,
    pid: Pid,
    asking: Asking,
}

impl<'c, M: Send + 'static> Info<'c, M> {
    pub(super) fn new(context: &'c Context<M>, pid: Pid) -> Self {
        Self { context, pid, asking: Asking::NotYet }
    }
}

impl<M: Send + 'static> Future for Info<'_, M> {
    type Output = Result<Option<ProcessInfo>, NoMemory>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let (context, pid) = (self.context, self.pid);
        self.asking.poll(
            context,
            task,
            |cx| match cx.info(pid)? {
                Asked::Known(info) => Ok(Asked::Known(Ok(info))),
                Asked::Later(answer) => Ok(Asked::Later(answer)),
            },
            |said| match said {
                Said::Info(info) => Ok(Some(*info)),
                Said::NoMemory => Err(NoMemory),
                Said::Dead | Said::Alive | Said::Linked(_) | Said::Suspended(_) => Ok(None),
            },
        )
    }
}

macro_rules! opaque_debug {
    ($($name:ident<$($parameter:ident),*>),* $(,)?) => {$(
        impl<$($parameter),*> fmt::Debug for $name<'_, $($parameter),*>
        where
            PhantomData<($($parameter,)*)>: Sized,
            M: Send + 'static,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

opaque_debug!(Receive<M>, ReceiveWith<M, F>, ReceiveTimeout<M>, ReceiveMatch<M, F>, Sleep<M>, YieldNow<M>, Stop<M>, Alive<M>, Info<M>);
