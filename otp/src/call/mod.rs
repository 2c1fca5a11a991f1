//! Calls between processes: a request, its reply, and the error in its place ([`PendingCall`],
//! [`CallError`]).
//!
//! The caller puts a `Reply` into its request and sends it by [`atropos_kernel::Cx::request`],
//! which also watches the server as a monitor does. It then waits for the first of three events:
//! the reply, the server's exit or its timeout. So:
//!
//! - the caller learns of the server's exit at once, also if the server was dead before;
//! - a late reply is dropped: it never appears in the caller's mailbox;
//! - everything else that arrives during the call stays in the mailbox, in order;
//! - a server that drops a request without a reply and stays alive is detected
//!   ([`CallError::NoReply`]): the caller queries whether it is alive, ordered behind all earlier
//!   signals.
//!
//! Any process can call, whatever its message type is. Many requests may be open at a time:
//! [`RequestSet`] collects their replies as they arrive.

mod error;
mod many;
mod one;

use alloc::boxed::Box;
use core::future::Future;
use core::pin::Pin;
use core::task::{Poll, Waker};
use core::time::Duration;

use atropos_kernel::{
    CatchDrop, Context, Cursor, DropCatcher, MaybeReady, NoMemory, NoReply, Peek, Pid, ProcessInfo, QueryFuture,
    Reason, Received, Reference, Reply, ReplyFuture, RequestError, RequestFuture, SendError, reply,
};

pub use error::CallError;
pub use many::RequestSet;
pub(crate) use one::Call;

use crate::wait::{Deadline, first, poll_search};

/// The default timeout of a call.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// An open request. Wait for its reply, or abandon it ([`PendingCall::abandon`]).
#[derive(Debug)]
#[must_use = "await the reply, or `abandon` the request"]
pub struct PendingCall<T> {
    to: Pid,
    waits: WaitMode<T>,
    /// The query whether the server is alive, sent after it has dropped the request.
    alive: Option<QueryFuture<Result<Option<Box<ProcessInfo>>, NoMemory>>>,
}

/// The means by which the caller learns of the reply and of the server's exit.
#[derive(Debug)]
enum WaitMode<T> {
    /// The request, which does both.
    Request(RequestFuture<T>),
    /// A reply, and a monitor whose DOWN is searched for from the cursor on. The reply is `None`
    /// after it was dropped. A panic of the destructor of a reply that was not taken is caught.
    Monitored { monitor: Reference, cursor: Cursor, answer: Option<CatchDrop<ReplyFuture<T>>> },
}

/// Sends a request that `make` builds around the reply handle.
// Inlined into its caller, which waits next: moving the result as a struct right after it was
// written would stall on store forwarding.
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

/// Sends a request as [`request`] does, to a server whose exit is awaited as well
/// ([`PendingCall::end`]).
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
        Err(error) => pending.send_failed(cx, &error),
    }
}

/// Sends a request as [`request`] does. Waits for a free slot in the server's mailbox and for the
/// reply, both within one time limit.
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

/// Builds a message with a reply handle, which is not sent yet, and monitors the server.
fn prepare<M, N, T>(
    cx: &Context<M>,
    to: Pid,
    make: impl FnOnce(Reply<T>) -> N,
) -> Result<(N, PendingCall<T>), CallError>
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
    let answer = cx.with(|cx| cx.catch_drop(answer));
    let monitor = cx.monitor(to)?;
    Ok((message, PendingCall::monitored(to, monitor, cursor, answer)))
}

/// An open request that is abandoned when this guard is dropped, wherever it is stored (`wait`,
/// W3).
struct Kept<'c, M: Send + 'static, T: Send + 'static> {
    cx: &'c Context<M>,
    pending: PendingCall<T>,
}

impl<M: Send + 'static, T: Send + 'static> Kept<'_, M, T> {
    async fn wait(&mut self, within: Option<Duration>) -> Result<T, CallError> {
        let mut alarm = Deadline::start(self.cx, within)?;
        self.pending.look_until(self.cx, &mut alarm).await.unwrap_or(Err(CallError::TimedOut))
    }
}

impl<M: Send + 'static, T: Send + 'static> Drop for Kept<'_, M, T> {
    fn drop(&mut self) {
        self.pending.demonitor(self.cx);
    }
}

impl<T: Send + 'static> PendingCall<T> {
    /// Creates an open request whose server is monitored.
    pub(crate) fn monitored(to: Pid, monitor: Reference, cursor: Cursor, answer: CatchDrop<ReplyFuture<T>>) -> Self {
        Self { to, waits: WaitMode::Monitored { monitor, cursor, answer: Some(answer) }, alive: None }
    }

    /// Abandons the request, because its message was not sent.
    fn send_failed<M, N, R>(self, cx: &Context<M>, error: &SendError<N>) -> Result<R, CallError>
    where
        M: Send + 'static,
    {
        self.abandon(cx);
        Err(error.without_message().into())
    }

    /// Returns the pid of the server.
    pub fn server(&self) -> Pid {
        self.to
    }

    /// Returns the platform's way to catch the panics of destructors, for what is kept with it.
    fn drop_catcher(&mut self) -> DropCatcher {
        match &mut self.waits {
            WaitMode::Request(requested) => requested.drop_catcher(),
            WaitMode::Monitored { answer, .. } => answer.as_ref().map_or(DropCatcher::new(None), CatchDrop::catcher),
        }
    }

    /// Returns the server's monitor, if it has one.
    fn monitor(&self) -> Option<Reference> {
        match self.waits {
            WaitMode::Request(_) => None,
            WaitMode::Monitored { monitor, .. } => Some(monitor),
        }
    }

    /// Waits for the reply. If the future is dropped, no monitor, reply or DOWN is left.
    pub async fn answer<M: Send + 'static>(
        self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Result<T, CallError> {
        Kept { cx, pending: self }.wait(within.into()).await
    }

    /// Polls for the reply until the timeout fires; returns `None` then.
    pub(crate) async fn look_until<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        alarm: &mut Deadline<'_, M>,
    ) -> Option<Result<T, CallError>> {
        let mail = self.monitor().is_some();
        core::future::poll_fn(|task| {
            // W1: yields if the reductions are used up.
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

    /// Waits for the exit of a monitored server, which its reply announces; returns the exit
    /// reason.
    pub(crate) async fn end<M: Send + 'static>(
        self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Result<Reason, CallError> {
        let mut kept = Kept { cx, pending: self };
        let mut alarm = Deadline::start(cx, within.into())?;
        kept.pending.end_until(cx, &mut alarm).await
    }

    async fn end_until<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        alarm: &mut Deadline<'_, M>,
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

    /// Abandons the request: no reply and no DOWN of it arrives.
    pub fn abandon<M: Send + 'static>(self, cx: &Context<M>) {
        self.demonitor(cx);
    }

    fn demonitor<M: Send + 'static>(&self, cx: &Context<M>) {
        if let Some(monitor) = self.monitor() {
            // Outside a slice there is no monitor left, or its process no longer acts on it.
            let _ = cx.try_with(|cx| cx.demonitor(monitor, true));
        }
    }

    /// Returns the reply, if it has arrived.
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

    /// Polls as [`PendingCall::poll`], if a monitor reports the server's exit.
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
            Poll::Ready(Some(Received::Down(down))) => Poll::Ready(self.take_final_reply(cx, task, down.reason)),
            _ => Poll::Pending,
        }
    }

    /// Returns the result after the server's DOWN. The server may have replied after the last poll
    /// and died then: what it did before its exit is visible with its DOWN.
    fn take_final_reply<M: Send + 'static>(
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

    /// Registers a waker for the reply. Returns `false` if a result is there already, which a poll
    /// then returns.
    fn leave(&mut self, waker: &Waker) -> bool {
        match &mut self.waits {
            WaitMode::Request(requested) => requested.leave(waker),
            WaitMode::Monitored { answer: Some(answer), .. } => answer.leave(waker),
            WaitMode::Monitored { .. } => true,
        }
    }

    /// Polls for everything except the monitor's DOWN.
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

    /// Handles a reply that was lost.
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
            // The query is ordered behind the request. A server that dropped the request because it
            // is dying drops the query as well, and then its DOWN is on the way.
            RequestError::ReplyDropped => match cx.with(|cx| cx.info(self.to)) {
                MaybeReady::Pending(waiting) => {
                    self.alive = Some(waiting);
                    self.poll_alive(task)
                }
                MaybeReady::Ready(Ok(_)) => self.poll_down(task),
                MaybeReady::Ready(Err(NoMemory)) => Poll::Ready(Err(CallError::NoMemory)),
            },
        }
    }

    /// Polls the query whether the server that dropped the request is alive.
    #[cold]
    fn poll_alive(&mut self, task: &mut core::task::Context<'_>) -> Poll<Result<T, CallError>> {
        let Some(alive) = self.alive.as_mut() else { return Poll::Pending };
        let Poll::Ready(said) = Pin::new(alive).poll(task) else { return Poll::Pending };
        self.alive = None;
        if matches!(said, Ok(None)) { self.poll_down(task) } else { Poll::Ready(Err(CallError::NoReply)) }
    }

    /// Returns the result for a dead server: its DOWN is on the way, or has arrived since the last
    /// poll.
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
                let polled = Pin::new(&mut **waits).poll(task);
                if let Poll::Ready(Err(_)) = polled {
                    *answer = None;
                }
                polled.map_err(|NoReply| RequestError::ReplyDropped)
            }
        }
    }
}
