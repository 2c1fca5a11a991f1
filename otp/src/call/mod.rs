//! Questions between processes: a request, its answer, and what comes instead ([`PendingCall`], [`CallError`]).
//!
//! The caller puts a `Reply` into its request, sends it by [`atropos_kernel::Cx::request`], which watches the server as a monitor
//! does, and waits for the answer, the server's death, or the end of its patience, whichever comes first. So:
//!
//! - the death of the server is noticed at once, also of one that was dead before;
//! - an answer that comes late finds nobody and is dropped: it never turns up in the caller's mailbox;
//! - whatever else comes meanwhile stays in the mailbox, in its order;
//! - a server that drops a request unanswered and lives is found out ([`CallError::NoReply`]): the caller asks it, behind
//!   everything else, whether it is alive.
//!
//! Any process can call, whatever messages it takes. Many requests may be under way at a time: [`RequestSet`] gathers the
//! answers as they come.

mod error;
mod many;
mod one;

use core::future::Future;
use core::pin::Pin;
use core::task::{Poll, Waker};
use core::time::Duration;

use atropos_kernel::{
    MaybeReady, Context, Cursor, RequestError, NoMemory, NoReply, Peek, Pid, Reason, Received, Reference, ReplyFuture, Reply, RequestFuture,
    QueryReply, SendError, QueryFuture, reply,
};

pub use error::CallError;
pub use many::RequestSet;
pub(crate) use one::Call;

use crate::wait::{Alarm, first, poll_search};

/// How long a call waits if nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A request under way. Wait for it, or give it up ([`PendingCall::abandon`]).
#[derive(Debug)]
#[must_use = "the answer is waited for"]
pub struct PendingCall<T> {
    to: Pid,
    waits: WaitMode<T>,
    /// The question whether the server is alive, which has dropped the request.
    alive: Option<QueryFuture>,
}

/// By what the caller learns of the answer, and of the server's death.
#[derive(Debug)]
enum WaitMode<T> {
    /// The request does both.
    Request(RequestFuture<T>),
    /// A reply, and a monitor whose DOWN is looked for from the cursor on. The reply is `None` once it was dropped.
    Monitored { monitor: Reference, cursor: Cursor, answer: Option<ReplyFuture<T>> },
}

/// Sends a request that `make` puts together with where its answer is to go.
// In the code of its caller, which waits next: what is moved as a whole right after it was written is waited for.
#[inline(always)]
pub(crate) fn request<M, N, T>(
    cx: &Context<M>,
    to: Pid,
    make: impl FnOnce(Reply<T>) -> N,
) -> Result<PendingCall<T>, CallError>
where
    M: Send + 'static,
    N: Send + 'static,
    T: Send + 'static,
{
    if to == cx.pid() {
        return Err(CallError::Itself);
    }
    let requested = cx.with(|cx| cx.request(to, make))?;
    Ok(PendingCall { to, waits: WaitMode::Request(requested), alive: None })
}

/// As [`request`], of a server whose end is waited for as well ([`PendingCall::end`]).
pub(crate) fn request_monitored<M, N, T>(
    cx: &Context<M>,
    to: Pid,
    make: impl FnOnce(Reply<T>) -> N,
) -> Result<PendingCall<T>, CallError>
where
    M: Send + 'static,
    N: Send + 'static,
    T: Send + 'static,
{
    let (message, pending) = prepare(cx, to, make)?;
    match cx.send(to, message) {
        Ok(()) => Ok(pending),
        Err(error) => pending.not_sent(cx, &error),
    }
}

/// As [`request`], and waits for room in the server's mailbox and for the answer, both within a time.
pub(crate) async fn request_waiting<M, N, T>(
    cx: &Context<M>,
    to: Pid,
    within: Option<Duration>,
    make: impl FnOnce(Reply<T>) -> N,
) -> Result<T, CallError>
where
    M: Send + 'static,
    N: Send + 'static,
    T: Send + 'static,
{
    let now = || cx.with(|cx| cx.now());
    let start = now();
    cx.checkpoint().await;
    let (message, pending) = prepare(cx, to, make)?;
    let mut kept = Kept { cx, pending };
    if let Err(error) = cx.send_wait(to, message, within).await {
        return Err(error.without_message().into());
    }
    let spent = Duration::from_nanos(now().saturating_sub(start));
    kept.wait(within.map(|within| within.saturating_sub(spent))).await
}

/// A message with a reply in it that is still to be sent to a server, which is monitored.
fn prepare<M, N, T>(cx: &Context<M>, to: Pid, make: impl FnOnce(Reply<T>) -> N) -> Result<(N, PendingCall<T>), CallError>
where
    M: Send + 'static,
    T: Send + 'static,
{
    if to == cx.pid() {
        return Err(CallError::Itself);
    }
    let (reply, answer) = reply()?;
    let message = make(reply);
    let cursor = cx.cursor_at_end();
    let monitor = cx.monitor(to)?;
    Ok((message, PendingCall::monitored(to, monitor, cursor, answer)))
}

/// A request under way, which is given up when this goes, whatever future it is part of (`wait`, W3).
struct Kept<'c, M: Send + 'static, T: Send + 'static> {
    cx: &'c Context<M>,
    pending: PendingCall<T>,
}

impl<M: Send + 'static, T: Send + 'static> Kept<'_, M, T> {
    async fn wait(&mut self, within: Option<Duration>) -> Result<T, CallError> {
        let mut alarm = Alarm::start(self.cx, within)?;
        self.pending.look_until(self.cx, &mut alarm).await.unwrap_or(Err(CallError::TimedOut))
    }
}

impl<M: Send + 'static, T: Send + 'static> Drop for Kept<'_, M, T> {
    fn drop(&mut self) {
        self.pending.unwatch(self.cx);
    }
}

impl<T: Send + 'static> PendingCall<T> {
    /// A reply that is on its way from a process that is monitored.
    pub(crate) fn monitored(to: Pid, monitor: Reference, cursor: Cursor, answer: ReplyFuture<T>) -> Self {
        Self { to, waits: WaitMode::Monitored { monitor, cursor, answer: Some(answer) }, alive: None }
    }

    /// Its message was not sent.
    fn not_sent<M, N, R>(self, cx: &Context<M>, error: &SendError<N>) -> Result<R, CallError>
    where
        M: Send + 'static,
    {
        self.abandon(cx);
        Err(error.without_message().into())
    }

    /// The server.
    pub fn server(&self) -> Pid {
        self.to
    }

    /// Its monitor, if it has one.
    fn monitor(&self) -> Option<Reference> {
        match self.waits {
            WaitMode::Request(_) => None,
            WaitMode::Monitored { monitor, .. } => Some(monitor),
        }
    }

    /// Waits for the answer. Given up in the middle it leaves nothing.
    pub async fn answer<M: Send + 'static>(
        self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Result<T, CallError> {
        Kept { cx, pending: self }.wait(within.into()).await
    }

    /// Looks for the answer until it rings; `None` then.
    pub(crate) async fn look_until<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        alarm: &mut Alarm<'_, M>,
    ) -> Option<Result<T, CallError>> {
        let mail = self.monitor().is_some();
        core::future::poll_fn(|task| {
            // W1.
            if cx.poll_proceed(task).is_pending() {
                return Poll::Pending;
            }
            match self.poll(cx, task) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => alarm.poll_rung(task, mail).map(|()| None),
            }
        })
        .await
    }

    /// Waits for the end of a server that is monitored, which its answer promises; why it ended.
    pub(crate) async fn end<M: Send + 'static>(
        self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Result<Reason, CallError> {
        let mut kept = Kept { cx, pending: self };
        let mut alarm = Alarm::start(cx, within.into())?;
        kept.pending.end_until(cx, &mut alarm).await
    }

    async fn end_until<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        alarm: &mut Alarm<'_, M>,
    ) -> Result<Reason, CallError> {
        match self.look_until(cx, alarm).await {
            Some(Ok(_)) => {}
            Some(Err(CallError::Down(reason))) => return Ok(reason),
            Some(Err(error)) => return Err(error),
            None => return Err(CallError::TimedOut),
        }
        let monitor = self.monitor();
        let down = |peek: &Peek<'_, M>| matches!(peek, Peek::Down(down) if Some(down.reference) == monitor);
        match first(cx, alarm.ring(), down).await {
            Some(Received::Down(down)) => Ok(down.reason),
            _ => Err(CallError::TimedOut),
        }
    }

    /// Waits no longer: no answer and no DOWN comes for it.
    pub fn abandon<M: Send + 'static>(self, cx: &Context<M>) {
        self.unwatch(cx);
    }

    fn unwatch<M: Send + 'static>(&self, cx: &Context<M>) {
        if let Some(monitor) = self.monitor() {
            // Where there is no slice any more there is no monitor any more, or its process does nothing more about it.
            let _ = cx.try_with(|cx| cx.demonitor(monitor, true));
        }
    }

    /// The answer, if it has come.
    #[inline(always)]
    pub(crate) fn poll<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        task: &mut core::task::Context<'_>,
    ) -> Poll<Result<T, CallError>> {
        let WaitMode::Request(requested) = &mut self.waits else { return self.poll_monitored(cx, task) };
        match requested.poll(task) {
            Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
            Poll::Ready(Err(lost)) => self.poll_lost(cx, task, lost),
            Poll::Pending if self.alive.is_none() => Poll::Pending,
            Poll::Pending => self.poll_alive(task),
        }
    }

    /// [`PendingCall::poll`], where a monitor tells of the server's death.
    #[cold]
    fn poll_monitored<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        task: &mut core::task::Context<'_>,
    ) -> Poll<Result<T, CallError>> {
        let answered = self.poll_answer(cx, task);
        if answered.is_ready() {
            return answered;
        }
        let WaitMode::Monitored { monitor, cursor, .. } = &mut self.waits else { return Poll::Pending };
        let monitor = *monitor;
        let down = |peek: Peek<'_, M>| matches!(peek, Peek::Down(down) if down.reference == monitor);
        match poll_search(cx, task, cursor, down) {
            Poll::Ready(Some(Received::Down(down))) => Poll::Ready(self.last_words(cx, task, down.reason)),
            _ => Poll::Pending,
        }
    }

    /// The server is down, by its monitor. It may have answered since the answer was looked for, and died then: what it did
    /// before its end is seen with its DOWN.
    fn last_words<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        task: &mut core::task::Context<'_>,
        reason: Reason,
    ) -> Result<T, CallError> {
        match self.poll_answer(cx, task) {
            Poll::Ready(Ok(answer)) => Ok(answer),
            _ => Err(CallError::Down(reason)),
        }
    }

    /// Leaves a waker where the answer comes; false when there is something there already, which is looked at by a poll.
    fn leave(&mut self, waker: &Waker) -> bool {
        match &mut self.waits {
            WaitMode::Request(requested) => requested.leave(waker),
            WaitMode::Monitored { answer: Some(answer), .. } => answer.leave(waker),
            WaitMode::Monitored { .. } => true,
        }
    }

    /// All but the monitor's DOWN.
    fn poll_answer<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        task: &mut core::task::Context<'_>,
    ) -> Poll<Result<T, CallError>> {
        let lost = match self.waits.poll(task) {
            Poll::Ready(Ok(answer)) => return Poll::Ready(Ok(answer)),
            Poll::Ready(Err(lost)) => Some(lost),
            Poll::Pending if self.alive.is_none() => return Poll::Pending,
            Poll::Pending => None,
        };
        match lost {
            Some(lost) => self.poll_lost(cx, task, lost),
            None => self.poll_alive(task),
        }
    }

    /// There is no answer.
    #[cold]
    fn poll_lost<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        task: &mut core::task::Context<'_>,
        lost: RequestError,
    ) -> Poll<Result<T, CallError>> {
        match lost {
            RequestError::NoReply => Poll::Ready(Err(CallError::NoReply)),
            RequestError::Down(reason) => Poll::Ready(Err(CallError::Down(reason))),
            // A question that keeps its place: a server that has dropped the request because it
            // dies lets this one fall as well, and then its DOWN is on the way.
            RequestError::ReplyDropped => match cx.with(|cx| cx.info(self.to)) {
                Ok(MaybeReady::Pending(waiting)) => {
                    self.alive = Some(waiting);
                    self.poll_alive(task)
                }
                Ok(MaybeReady::Ready(_)) => self.poll_down(task),
                Err(NoMemory) => Poll::Ready(Err(CallError::NoMemory)),
            },
        }
    }

    /// Whether the server is alive that has dropped the request.
    #[cold]
    fn poll_alive(&mut self, task: &mut core::task::Context<'_>) -> Poll<Result<T, CallError>> {
        let Some(alive) = self.alive.as_mut() else { return Poll::Pending };
        let Poll::Ready(said) = Pin::new(alive).poll(task) else { return Poll::Pending };
        self.alive = None;
        if matches!(said, QueryReply::Dead) { self.poll_down(task) } else { Poll::Ready(Err(CallError::NoReply)) }
    }

    /// It is dead, so DOWN comes, or has come since it was looked for.
    fn poll_down(&mut self, task: &mut core::task::Context<'_>) -> Poll<Result<T, CallError>> {
        match self.waits.poll(task) {
            Poll::Ready(Err(RequestError::Down(reason))) => Poll::Ready(Err(CallError::Down(reason))),
            Poll::Ready(Err(_)) => Poll::Ready(Err(CallError::NoReply)),
            Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> WaitMode<T> {
    #[inline]
    fn poll(&mut self, task: &mut core::task::Context<'_>) -> Poll<Result<T, RequestError>> {
        match self {
            Self::Request(requested) => requested.poll(task),
            Self::Monitored { answer, .. } => {
                let Some(waits) = answer else { return Poll::Pending };
                let polled = Pin::new(waits).poll(task);
                if let Poll::Ready(Err(_)) = polled {
                    *answer = None;
                }
                polled.map_err(|NoReply| RequestError::ReplyDropped)
            }
        }
    }
}
