//! The futures of a [`Context`].
//!
//! When polled, they use the running slice, and they keep only what they need for the next poll.
//! The event that a future waits for resumes the whole process. If polled with a waker other than
//! the process's own, a future leaves that waker with the process (`process::waiters`)
//! until it is dropped. If the slice has no reductions left, they are pending and the process
//! yields ([`crate::api::task::coop`]), so a body that never runs out of messages cannot monopolise
//! its core. In a dying process they stay pending.
//!
//! A process may have any number of them at the same time, receives included. A signal goes to the
//! future that is polled while the signal is there, and only in the poll that is ready. So each
//! future can be dropped at any time, and no signal is lost.

use alloc::boxed::Box;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll};
use core::time::Duration;

use crate::api::cx::{Cx, MaybeReady, SearchResult};
use crate::api::task::Context;
use crate::api::task::coop::{Listener, may_go_on, rests};
use crate::mailbox::queue::Cursor;
use crate::memory::NoMemory;
use crate::ops::info::ProcessInfo;
use crate::ops::query::QueryFuture;
use crate::ops::received::{Peek, Received};
use crate::pid::{Pid, Reference};
use crate::process::waiters::On;
use crate::reason::Reason;

/// A timeout whose alarm ends with its future.
pub(crate) struct Deadline<'c, M: Send + 'static> {
    listener: Listener<'c, M>,
    time: Option<Duration>,
    alarm: Option<Reference>,
}

impl<'c, M: Send + 'static> Deadline<'c, M> {
    /// Creates a timeout after `time`; `None`: never.
    pub(crate) fn new(context: &'c Context<M>, time: Option<Duration>) -> Self {
        Self { listener: context.listener(), time, alarm: None }
    }

    pub(crate) fn context(&self) -> &'c Context<M> {
        self.listener.context
    }

    /// Returns `true` if the time is over. The first call starts the alarm. Without memory for one,
    /// the process ends with a crash reason that reports it.
    pub(crate) fn is_over(&mut self, cx: &Cx<'_, M>) -> bool {
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

    /// Registers the pending future for its alarm and for `on`.
    pub(crate) fn listen(&mut self, cx: &Cx<'_, M>, task: &TaskContext<'_>, on: On) {
        self.listener.on(cx, task, on, self.alarm);
    }
}

impl<M: Send + 'static> Drop for Deadline<'_, M> {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm {
            // After the slice has ended, the alarm has ended too.
            let _ = self.context().try_with(|cx| cx.end_timer(alarm));
        }
    }
}

/// Receives the oldest signal, converted in place by `take`.
#[inline(always)]
fn receive<M: Send + 'static, R>(
    listener: &mut Listener<'_, M>,
    task: &TaskContext<'_>,
    take: impl FnOnce(Received<M>) -> R,
) -> Poll<R> {
    // Like [`Context::with`], but without a closure, which would be a separate function.
    // SAFETY: the result is used only during this call, and the slice lasts longer.
    let Some(cx) = (unsafe { listener.context.view() }) else { listener.context.is_elsewhere() };
    if !may_go_on(cx, task) {
        return Poll::Pending;
    }
    cx.receive_as(
        |received| Poll::Ready(take(received)),
        || {
            listener.on(cx, task, On::Mail(cx.mark()), None);
            Poll::Pending
        },
    )
}

/// The future of [`Context::recv`].
pub struct Receive<'c, M: Send + 'static>(Listener<'c, M>);

impl<'c, M: Send + 'static> Receive<'c, M> {
    pub(crate) fn new(context: &'c Context<M>) -> Self {
        Self(context.listener())
    }
}

impl<M: Send + 'static> Future for Receive<'_, M> {
    type Output = Received<M>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Received<M>> {
        receive(&mut self.0, task, |received| received)
    }
}

/// The future of [`Context::recv_with`].
pub struct ReceiveWith<'c, M: Send + 'static, F> {
    listener: Listener<'c, M>,
    take: F,
}

impl<'c, M: Send + 'static, F> ReceiveWith<'c, M, F> {
    pub(crate) fn new(context: &'c Context<M>, take: F) -> Self {
        Self { listener: context.listener(), take }
    }
}

impl<M: Send + 'static, F> Unpin for ReceiveWith<'_, M, F> {}

impl<M: Send + 'static, R, F> Future for ReceiveWith<'_, M, F>
where
    F: FnMut(Received<M>) -> R,
{
    type Output = R;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<R> {
        let this = &mut *self;
        receive(&mut this.listener, task, &mut this.take)
    }
}

/// The future of [`Context::recv_timeout`].
pub struct ReceiveTimeout<'c, M: Send + 'static>(Deadline<'c, M>);

impl<'c, M: Send + 'static> ReceiveTimeout<'c, M> {
    pub(crate) fn new(context: &'c Context<M>, time: Duration) -> Self {
        Self(Deadline::new(context, Some(time)))
    }
}

impl<M: Send + 'static> Future for ReceiveTimeout<'_, M> {
    type Output = Option<Received<M>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.0.context().with(|cx| {
            if !may_go_on(cx, task) {
                return Poll::Pending;
            }
            match cx.receive() {
                Some(received) => Poll::Ready(Some(received)),
                None if !cx.is_dying() && self.0.is_over(cx) => Poll::Ready(None),
                None => {
                    self.0.listen(cx, task, On::Mail(cx.mark()));
                    Poll::Pending
                }
            }
        })
    }
}

/// The future of [`Context::recv_match`].
pub struct ReceiveMatch<'c, M: Send + 'static, F> {
    patience: Deadline<'c, M>,
    cursor: Cursor,
    wanted: F,
}

impl<'c, M: Send + 'static, F> ReceiveMatch<'c, M, F> {
    pub(crate) fn new(context: &'c Context<M>, cursor: Cursor, time: Option<Duration>, wanted: F) -> Self {
        Self { patience: Deadline::new(context, time), cursor, wanted }
    }
}

impl<M: Send + 'static, F> Unpin for ReceiveMatch<'_, M, F> {}

impl<M: Send + 'static, F> Future for ReceiveMatch<'_, M, F>
where
    F: FnMut(Peek<'_, M>) -> bool,
{
    /// The received signal; `None` only with a timeout.
    type Output = Option<Received<M>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.patience.context().with(|cx| {
            if !may_go_on(cx, task) {
                return Poll::Pending;
            }
            match cx.search(&mut this.cursor, &mut this.wanted) {
                SearchResult::Found(received) => Poll::Ready(Some(received)),
                // The search continues in the next slice, from the cursor on.
                SearchResult::Unfinished => {
                    rests(cx.slice(), task.waker());
                    Poll::Pending
                }
                SearchResult::Nothing if !cx.is_dying() && this.patience.is_over(cx) => Poll::Ready(None),
                SearchResult::Nothing => {
                    this.patience.listen(cx, task, On::Mail(cx.mark()));
                    Poll::Pending
                }
            }
        })
    }
}

/// The future of [`Context::sleep`].
pub struct Sleep<'c, M: Send + 'static>(Deadline<'c, M>);

impl<'c, M: Send + 'static> Sleep<'c, M> {
    pub(crate) fn new(context: &'c Context<M>, time: Duration) -> Self {
        Self(Deadline::new(context, Some(time)))
    }
}

impl<M: Send + 'static> Future for Sleep<'_, M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        self.0.context().with(|cx| {
            if !may_go_on(cx, task) {
                return Poll::Pending;
            }
            if self.0.is_over(cx) {
                cx.pay(1);
                return Poll::Ready(());
            }
            self.0.listen(cx, task, On::Alarm);
            Poll::Pending
        })
    }
}

/// The future of [`Context::yield_now`].
pub struct YieldNow<'c, M: Send + 'static> {
    context: &'c Context<M>,
    /// The slice in which the future was first polled.
    since: Option<u64>,
}

impl<'c, M: Send + 'static> YieldNow<'c, M> {
    pub(crate) fn new(context: &'c Context<M>) -> Self {
        Self { context, since: None }
    }
}

impl<M: Send + 'static> Future for YieldNow<'_, M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        self.context.with(|cx| {
            let now = cx.slices();
            // If its task was woken and polled again in the same slice, no other process has run
            // yet.
            if *self.since.get_or_insert(now) != now && !cx.is_dying() {
                return Poll::Ready(());
            }
            rests(cx.slice(), task.waker());
            Poll::Pending
        })
    }
}

/// The future of [`Context::stop`].
pub struct Stop<'c, M: Send + 'static> {
    context: &'c Context<M>,
    reason: Option<Reason>,
}

impl<'c, M: Send + 'static> Stop<'c, M> {
    pub(crate) fn new(context: &'c Context<M>, reason: Reason) -> Self {
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

/// The state of a query to another process.
enum QueryState<T> {
    NotYet,
    Waits(QueryFuture<T>),
    Done,
}

impl<T> QueryState<T> {
    fn poll<M: Send + 'static>(
        &mut self,
        context: &Context<M>,
        task: &mut TaskContext<'_>,
        ask: impl FnOnce(&Cx<'_, M>) -> Result<MaybeReady<T>, NoMemory>,
    ) -> Poll<T> {
        if context.poll_proceed(task).is_pending() {
            return Poll::Pending;
        }
        if let Self::NotYet = self {
            let asked = context.with(|cx| {
                // An immediate answer costs as much as one that must be awaited.
                cx.pay(1);
                if cx.is_dying() { None } else { Some(ask(cx)) }
            });
            match asked {
                None => return Poll::Pending,
                Some(Ok(MaybeReady::Ready(value))) => {
                    *self = Self::Done;
                    return Poll::Ready(value);
                }
                Some(Ok(MaybeReady::Pending(answer))) => *self = Self::Waits(answer),
                Some(Err(NoMemory)) => {
                    context.with(|cx| cx.stop(Reason::crash("no memory for a query")));
                    return Poll::Pending;
                }
            }
        }
        let Self::Waits(answer) = self else { panic!("polled after it was ready") };
        let polled = Pin::new(answer).poll(task);
        if polled.is_ready() {
            *self = Self::Done;
        }
        polled
    }
}

/// The future of [`Context::is_alive`].
pub struct Alive<'c, M: Send + 'static> {
    context: &'c Context<M>,
    pid: Pid,
    asking: QueryState<bool>,
}

impl<'c, M: Send + 'static> Alive<'c, M> {
    pub(crate) fn new(context: &'c Context<M>, pid: Pid) -> Self {
        Self { context, pid, asking: QueryState::NotYet }
    }
}

impl<M: Send + 'static> Future for Alive<'_, M> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<bool> {
        let (context, pid) = (self.context, self.pid);
        self.asking.poll(context, task, |cx| cx.is_alive(pid))
    }
}

/// The future of [`Context::info`].
pub struct Info<'c, M: Send + 'static> {
    context: &'c Context<M>,
    pid: Pid,
    asking: QueryState<Result<Option<Box<ProcessInfo>>, NoMemory>>,
}

impl<'c, M: Send + 'static> Info<'c, M> {
    pub(crate) fn new(context: &'c Context<M>, pid: Pid) -> Self {
        Self { context, pid, asking: QueryState::NotYet }
    }
}

impl<M: Send + 'static> Future for Info<'_, M> {
    type Output = Result<Option<ProcessInfo>, NoMemory>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let (context, pid) = (self.context, self.pid);
        let info = self.asking.poll(context, task, |cx| Ok(cx.info(pid)));
        info.map_ok(|info| info.map(|info| *info))
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
