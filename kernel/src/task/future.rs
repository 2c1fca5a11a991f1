//! `FutureBody`: a future as a body, and [`IntoReason`], what it may end with.

use core::any::Any;
use core::convert::Infallible;
use core::fmt::Display;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll};

use alloc::boxed::Box;

use crate::cx::Cx;
use crate::memory::{self, NoMemory};
use crate::process::body::{Body, Resumed};
use crate::reason::Reason;
use crate::task::Context;
use crate::task::{waiters, waker};

/// What an async body may end with.
pub trait IntoReason {
    /// Why the process ends, then.
    fn into_reason(self) -> Reason;
}

impl IntoReason for () {
    fn into_reason(self) -> Reason {
        Reason::NORMAL
    }
}

/// What an async body ends with that has a result: the process ends normally, and its watchers may read the value
/// ([`Reason::result`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Returned<T>(pub T);

impl<T: Any + Send + Sync> IntoReason for Returned<T> {
    fn into_reason(self) -> Reason {
        Reason::normal_with(self.0)
    }
}

impl IntoReason for Reason {
    fn into_reason(self) -> Reason {
        self
    }
}

/// Names the type of what a function returns: `!` can be written as a return type, and so, through
/// here, as a type.
#[doc(hidden)]
pub trait Returns {
    /// What is returned.
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

/// A body that loops for ever.
impl IntoReason for <fn() -> ! as Returns>::Output {
    fn into_reason(self) -> Reason {
        self
    }
}

impl IntoReason for Infallible {
    fn into_reason(self) -> Reason {
        match self {}
    }
}

impl<T: IntoReason, E: Display + 'static> IntoReason for Result<T, E> {
    /// An error is a crash with its text; a [`Reason`] is itself.
    fn into_reason(self) -> Reason {
        match self {
            Ok(value) => value.into_reason(),
            Err(error) => match (&error as &dyn Any).downcast_ref::<Reason>() {
                Some(reason) => reason.clone(),
                None => Reason::crash_with(&error),
            },
        }
    }
}

/// A future that is made by the first slice, where it is to stay.
pub(crate) struct FutureBody<M, S, F> {
    state: State<S, F>,
    takes: core::marker::PhantomData<fn(M)>,
}

enum State<S, F> {
    Start(Option<S>),
    Runs(F),
}

impl<M, S, F> FutureBody<M, S, F>
where
    M: Send + 'static,
    S: FnOnce(Context<M>) -> F + Send + 'static,
    F: Future<Output: IntoReason> + Send + 'static,
{
    /// A body that will run what `start` makes.
    pub(crate) fn new(start: S) -> Self {
        Self { state: State::Start(Some(start)), takes: core::marker::PhantomData }
    }
}

impl<M, S, F> Body for FutureBody<M, S, F>
where
    M: Send + 'static,
    S: FnOnce(Context<M>) -> F + Send + 'static,
    F: Future<Output: IntoReason> + Send + 'static,
{
    type Message = M;

    fn resume(&mut self, cx: &Cx<'_, M>) -> Resumed {
        if let State::Start(start) = &mut self.state {
            let Some(start) = start.take() else {
                return Resumed::Exit(Reason::crash("resumed after its start had panicked"));
            };
            self.state = State::Runs(start(Context::new(cx)));
        }
        let State::Runs(future) = &mut self.state else {
            unreachable!("started above");
        };
        // SAFETY: a `FutureBody` is made only by `spawn`, which moves it into the process's
        // memory before the first slice; there it stays until it is dropped in place.
        let future = unsafe { Pin::new_unchecked(future) };
        poll(future, cx)
    }
}

#[inline(always)]
fn poll<M, F>(future: Pin<&mut F>, cx: &Cx<'_, M>) -> Resumed
where
    M: Send + 'static,
    F: Future<Output: IntoReason>,
{
    if cx.has_waiters() {
        waiters::wake(cx.slice());
    }
    // SAFETY: the process outlives the poll, and `borrowed` is not dropped.
    let waker = unsafe { waker::borrowed(cx.process()) };
    match future.poll(&mut TaskContext::from_waker(&waker)) {
        Poll::Ready(exit) => Resumed::Exit(exit.into_reason()),
        Poll::Pending if cx.take_yield() => Resumed::Yield,
        Poll::Pending => Resumed::Wait,
    }
}

/// Futures of more bytes than this are bodies by a [`LargeBody`].
const LARGE: usize = 8 << 10;

/// Whether a process's future is kept in a box of its own.
pub(crate) const fn is_large<F>() -> bool {
    size_of::<F>() > LARGE
}

/// As a [`FutureBody`], for a future that is large: it is made in a box. A spawn moves the body from hand to hand, and without
/// optimisation each hand has it on its stack once more; what it moves here is `start` alone.
pub(crate) struct LargeBody<M, S, F> {
    start: Option<S>,
    runs: Option<Pin<Box<F>>>,
    takes: core::marker::PhantomData<fn(M)>,
}

impl<M, S, F> LargeBody<M, S, F>
where
    M: Send + 'static,
    S: FnOnce(Context<M>) -> F + Send + 'static,
    F: Future<Output: IntoReason> + Send + 'static,
{
    /// A body that will run what `start` makes.
    pub(crate) fn new(start: S) -> Self {
        Self { start: Some(start), runs: None, takes: core::marker::PhantomData }
    }
}

impl<M, S, F> Body for LargeBody<M, S, F>
where
    M: Send + 'static,
    S: FnOnce(Context<M>) -> F + Send + 'static,
    F: Future<Output: IntoReason> + Send + 'static,
{
    type Message = M;

    fn resume(&mut self, cx: &Cx<'_, M>) -> Resumed {
        if let Some(start) = self.start.take() {
            match memory::try_box_with(|| start(Context::new(cx))) {
                Ok(future) => self.runs = Some(Box::into_pin(future)),
                Err(NoMemory) => return Resumed::Exit(Reason::crash("no memory for the process's future")),
            }
        }
        match &mut self.runs {
            Some(future) => poll(future.as_mut(), cx),
            None => Resumed::Exit(Reason::crash("resumed after its start had panicked")),
        }
    }
}
