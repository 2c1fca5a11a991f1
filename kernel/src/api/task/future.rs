//! `FutureBody`, a future as a body, and [`IntoReason`], the trait of its output.

use core::any::Any;
use core::convert::Infallible;
use core::fmt::Display;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll};

use alloc::boxed::Box;

use crate::api::body::Body;
use crate::api::cx::Cx;
use crate::api::task::Context;
use crate::memory::{self, NoMemory};
use crate::ops::waiters;
use crate::ops::waker;
use crate::process::vtable::BodyPoll;
use crate::reason::Reason;

/// The output of an async body.
pub trait IntoReason {
    /// Converts the output into the reason with which the process ends.
    fn into_reason(self) -> Reason;
}

impl IntoReason for () {
    fn into_reason(self) -> Reason {
        Reason::NORMAL
    }
}

/// The output of an async body that has a result: the process ends normally, and its watchers may
/// read the value ([`Reason::result`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WithResult<T>(pub T);

impl<T: Any + Send + Sync> IntoReason for WithResult<T> {
    fn into_reason(self) -> Reason {
        Reason::normal_with(self.0)
    }
}

impl IntoReason for Reason {
    fn into_reason(self) -> Reason {
        self
    }
}

/// Names the return type of a function type. `!` can be written as a return type, and through this
/// trait as a type.
#[doc(hidden)]
pub trait Returns {
    /// The return type.
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

/// The output of a body that loops for ever.
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
    /// Converts an error into a crash reason with its text, unless the error is itself a
    /// [`Reason`].
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

/// A body whose future is made by the first slice, in its final place.
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
    /// Creates a body that will run the future returned by `start`.
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

    fn resume(&mut self, cx: &Cx<'_, M>) -> BodyPoll {
        if let State::Start(start) = &mut self.state {
            let Some(start) = start.take() else {
                return BodyPoll::Exit(Reason::crash("resumed after its start had panicked"));
            };
            self.state = State::Runs(start(Context::new(cx)));
        }
        let State::Runs(future) = &mut self.state else {
            unreachable!("the future was made above");
        };
        // SAFETY: only `spawn` makes a `FutureBody`, and moves it into the process's memory before
        // the first slice. There it stays until it is dropped in place.
        let future = unsafe { Pin::new_unchecked(future) };
        poll(future, cx)
    }
}

#[inline(always)]
fn poll<M, F>(future: Pin<&mut F>, cx: &Cx<'_, M>) -> BodyPoll
where
    M: Send + 'static,
    F: Future<Output: IntoReason>,
{
    if cx.has_waiters() {
        waiters::wake(cx.slice());
    }
    // SAFETY: the process outlives the poll, and `borrowed`'s result is not dropped.
    let waker = unsafe { waker::borrowed(cx.process()) };
    match future.poll(&mut TaskContext::from_waker(&waker)) {
        Poll::Ready(exit) => BodyPoll::Exit(exit.into_reason()),
        Poll::Pending if cx.take_yield() => BodyPoll::Yield,
        Poll::Pending => BodyPoll::Wait,
    }
}

/// The size in bytes above which a future runs in a [`LargeBody`].
const LARGE: usize = 8 << 10;

/// Returns `true` if a process's future gets a box of its own.
pub(crate) const fn is_large<F>() -> bool {
    size_of::<F>() > LARGE
}

/// A body like [`FutureBody`] for a large future, which is made in a box. A spawn moves the body
/// through several functions, and without optimisation each of them has a copy on its stack. Here
/// they move only `start`.
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
    /// Creates a body that will run the future returned by `start`.
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

    fn resume(&mut self, cx: &Cx<'_, M>) -> BodyPoll {
        if let Some(start) = self.start.take() {
            match memory::try_box_with(|| start(Context::new(cx))) {
                Ok(future) => self.runs = Some(Box::into_pin(future)),
                Err(NoMemory) => return BodyPoll::Exit(Reason::crash("no memory for the process's future")),
            }
        }
        match &mut self.runs {
            Some(future) => poll(future.as_mut(), cx),
            None => BodyPoll::Exit(Reason::crash("resumed after its start had panicked")),
        }
    }
}
