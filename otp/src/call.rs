//! Questions between processes: a request, its answer, and what comes instead ([`Pending`], [`CallError`]).
//!
//! The caller monitors the server, puts a `Reply` into its request, sends it, and waits for the answer, the DOWN, or the end of
//! its patience, whichever comes first. So:
//!
//! - the death of the server is noticed at once, also of one that was dead before;
//! - an answer that comes late finds nobody and is dropped: it never turns up in the caller's mailbox;
//! - whatever else comes meanwhile stays in the mailbox, in its order;
//! - a server that drops a request unanswered and lives is found out ([`CallError::NoReply`]): the caller asks it, behind
//!   everything else, whether it is alive.
//!
//! Any process can call, whatever messages it takes. Many requests may be under way at a time: [`Calls`] gathers the
//! answers as they come.

use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;

use atropos_kernel::{
    Asked, Context, Cursor, MonitorError, NoMemory, NoReply, Peek, Pid, Reason, Received, Reference, Replied, Reply,
    Said, SendError, TimerError, Waiting, reply,
};

use crate::wait::{Alarm, first};

/// How long a call waits if nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Why a call brought no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The server died, or was dead (`noproc`).
    Down(Reason),
    /// No answer in time. It may still be worked on; the answer will be dropped.
    TimedOut,
    /// The server lives, and has dropped the request unanswered.
    NoReply,
    /// Nobody has the name.
    NoName,
    /// The server's mailbox is full.
    Full,
    /// The process is no server of this type.
    WrongType,
    /// A process cannot call itself.
    Itself,
    /// There is no memory for the call.
    NoMemory,
    /// The caller is dying.
    Dying,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down(reason) => return write!(f, "the server is down: {reason}"),
            Self::TimedOut => "no answer in time",
            Self::NoReply => "the server dropped the request",
            Self::NoName => "nobody has the name",
            Self::Full => "the server's mailbox is full",
            Self::WrongType => "the process takes other messages",
            Self::Itself => "a process cannot call itself",
            Self::NoMemory => "out of memory",
            Self::Dying => "the caller is dying",
        })
    }
}

impl core::error::Error for CallError {}

impl From<NoMemory> for CallError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl From<MonitorError> for CallError {
    fn from(error: MonitorError) -> Self {
        if error == MonitorError::Dying { Self::Dying } else { Self::NoMemory }
    }
}

impl From<TimerError> for CallError {
    fn from(error: TimerError) -> Self {
        if error == TimerError::Dying { Self::Dying } else { Self::NoMemory }
    }
}

impl<M> From<SendError<M>> for CallError {
    fn from(error: SendError<M>) -> Self {
        match error {
            SendError::NoProc(_) => Self::Down(Reason::NOPROC),
            SendError::WrongType(_) => Self::WrongType,
            SendError::Full(_) => Self::Full,
            SendError::NoName(_) => Self::NoName,
            SendError::Dying(_) => Self::Dying,
            _ => Self::NoMemory,
        }
    }
}

/// A request under way. Wait for it, or give it up ([`Pending::abandon`]): a DOWN may come for one that is dropped.
#[derive(Debug)]
#[must_use = "the answer is waited for"]
pub struct Pending<T> {
    to: Pid,
    monitor: Reference,
    cursor: Cursor,
    /// `None` once it is known that there will be no answer.
    answer: Option<Replied<T>>,
    /// The question whether the server is alive, which has dropped the request.
    alive: Option<Waiting>,
}

/// Sends a request that `make` puts together with where its answer is to go.
pub(crate) fn request<M, N, T>(
    cx: &Context<M>,
    to: Pid,
    make: impl FnOnce(Reply<T>) -> N,
) -> Result<Pending<T>, CallError>
where
    M: Send + 'static,
    N: Send + 'static,
    T: Send + 'static,
{
    if to == cx.pid() {
        return Err(CallError::Itself);
    }
    let (reply, answer) = reply()?;
    let message = make(reply);
    cx.with(|cx| {
        let cursor = cx.cursor_at_end();
        let monitor = cx.monitor(to)?;
        if let Err(error) = cx.send(to, message) {
            cx.demonitor(monitor, true);
            return Err(error.without_message().into());
        }
        Ok(Pending::new(to, monitor, cursor, answer))
    })
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
    if to == cx.pid() {
        return Err(CallError::Itself);
    }
    let now = || cx.with(|cx| cx.now());
    let (start, (reply, answer)) = (now(), reply()?);
    let cursor = cx.cursor_at_end();
    let monitor = cx.monitor(to)?;
    if let Err(error) = cx.send_waiting(to, make(reply), within).await {
        cx.demonitor(monitor, true);
        return Err(error.without_message().into());
    }
    let spent = Duration::from_nanos(now().saturating_sub(start));
    let left = within.map(|within| within.saturating_sub(spent));
    Pending::new(to, monitor, cursor, answer).answer(cx, left).await
}

impl<T: Send + 'static> Pending<T> {
    pub(crate) fn new(to: Pid, monitor: Reference, cursor: Cursor, answer: Replied<T>) -> Self {
        Self { to, monitor, cursor, answer: Some(answer), alive: None }
    }

    /// The server.
    pub fn server(&self) -> Pid {
        self.to
    }

    /// Waits for the answer.
    pub async fn answer<M: Send + 'static>(
        mut self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Result<T, CallError> {
        self.wait(cx, within.into()).await
    }

    /// [`Pending::answer`], where it is. (A future that is moved into another is copied, and again in each layer.)
    pub(crate) async fn wait<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        within: Option<Duration>,
    ) -> Result<T, CallError> {
        let result = match Alarm::start(cx, within) {
            Ok(alarm) => {
                core::future::poll_fn(|task| match self.poll(cx, task) {
                    Poll::Pending if alarm.has_rung() => Poll::Ready(Err(CallError::TimedOut)),
                    poll => poll,
                })
                .await
            }
            Err(error) => Err(error.into()),
        };
        cx.demonitor(self.monitor, true);
        result
    }

    /// Looks for the answer for a while; `None` when it takes longer.
    pub(crate) async fn look<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Option<Result<T, CallError>> {
        match Alarm::start(cx, within.into()) {
            Ok(alarm) => self.look_until(cx, &alarm).await,
            Err(error) => Some(Err(error.into())),
        }
    }

    async fn look_until<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        alarm: &Alarm<'_, M>,
    ) -> Option<Result<T, CallError>> {
        core::future::poll_fn(|task| match self.poll(cx, task) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if alarm.has_rung() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Waits for the server's end, which its answer promises; why it ended.
    pub(crate) async fn end<M: Send + 'static>(
        mut self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Result<Reason, CallError> {
        let ended = match Alarm::start(cx, within.into()) {
            Ok(alarm) => self.end_until(cx, &alarm).await,
            Err(error) => Err(error.into()),
        };
        self.abandon(cx);
        ended
    }

    async fn end_until<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        alarm: &Alarm<'_, M>,
    ) -> Result<Reason, CallError> {
        match self.look_until(cx, alarm).await {
            Some(Ok(_)) => {}
            Some(Err(CallError::Down(reason))) => return Ok(reason),
            Some(Err(error)) => return Err(error),
            None => return Err(CallError::TimedOut),
        }
        let monitor = self.monitor;
        let down = |peek: &Peek<'_, M>| matches!(peek, Peek::Down(down) if down.reference == monitor);
        match first(cx, alarm.ring(), down).await {
            Some(Received::Down(down)) => Ok(down.reason),
            _ => Err(CallError::TimedOut),
        }
    }

    /// Waits no longer: no answer and no DOWN comes for it.
    pub fn abandon<M: Send + 'static>(self, cx: &Context<M>) {
        cx.demonitor(self.monitor, true);
    }

    fn poll<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        task: &mut core::task::Context<'_>,
    ) -> Poll<Result<T, CallError>> {
        let answered = self.poll_answer(cx, task);
        if answered.is_ready() {
            return answered;
        }
        let (monitor, cursor) = (self.monitor, &mut self.cursor);
        let down = |peek: Peek<'_, M>| matches!(peek, Peek::Down(down) if down.reference == monitor);
        match cx.with(|cx| cx.receive_match(cursor, down)) {
            Some(Received::Down(down)) => Poll::Ready(self.last_words(cx, task, down.reason)),
            _ => Poll::Pending,
        }
    }

    /// The server is down. It may have answered since the answer was looked for, and died then: what it did before its end
    /// is seen with its DOWN.
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

    /// All but the DOWN.
    fn poll_answer<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        task: &mut core::task::Context<'_>,
    ) -> Poll<Result<T, CallError>> {
        if let Some(answer) = self.answer.as_mut() {
            match Pin::new(answer).poll(task) {
                Poll::Ready(Ok(answer)) => return Poll::Ready(Ok(answer)),
                Poll::Ready(Err(NoReply)) => {
                    self.answer = None;
                    // A question that keeps its place: a server that has dropped the request because it
                    // dies lets this one fall as well, and then its DOWN is on the way.
                    match cx.with(|cx| cx.info(self.to)) {
                        Ok(Asked::Later(waiting)) => self.alive = Some(waiting),
                        Ok(Asked::Known(_)) => {}
                        Err(NoMemory) => return Poll::Ready(Err(CallError::NoMemory)),
                    }
                }
                Poll::Pending => {}
            }
        }
        if let Some(alive) = self.alive.as_mut()
            && let Poll::Ready(said) = Pin::new(alive).poll(task)
        {
            self.alive = None;
            if !matches!(said, Said::Dead) {
                return Poll::Ready(Err(CallError::NoReply));
            }
        }
        Poll::Pending
    }
}

/// Requests under way, each with a label: sent at once, gathered as the answers come.
#[derive(Debug)]
pub struct Calls<L, T> {
    pending: Vec<(L, Pending<T>)>,
    /// Up to where the mailbox has been searched for DOWNs of all.
    cursor: Cursor,
}

impl<L, T> Default for Calls<L, T> {
    fn default() -> Self {
        Self { pending: Vec::new(), cursor: Cursor::new() }
    }
}

impl<L, T: Send + 'static> Calls<L, T> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    pub fn add(&mut self, label: L, request: Pending<T>) {
        // Its DOWN may be here already.
        self.cursor = Cursor::new();
        self.pending.push((label, request));
    }

    /// Requests that are not answered yet.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The next answer, whosever comes first; `None` when there is no request left. With
    /// [`CallError::TimedOut`] and no label when nothing has come in time: the requests go on.
    pub async fn next<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Option<(Option<L>, Result<T, CallError>)> {
        if self.pending.is_empty() {
            return None;
        }
        let alarm = match Alarm::start(cx, within.into()) {
            Ok(alarm) => alarm,
            Err(error) => return Some((None, Err(error.into()))),
        };
        let Self { pending, cursor } = self;
        let ready = core::future::poll_fn(|task| {
            for (index, (_, request)) in pending.iter_mut().enumerate() {
                if let Poll::Ready(result) = request.poll_answer(cx, task) {
                    return Poll::Ready(Some((index, result)));
                }
            }
            // One search for all: each signal is looked at once.
            let place = |monitor| pending.iter().position(|(_, request)| request.monitor == monitor);
            let down = |peek: Peek<'_, M>| matches!(peek, Peek::Down(down) if place(down.reference).is_some());
            if let Some(Received::Down(down)) = cx.with(|cx| cx.receive_match(cursor, down))
                && let Some(index) = place(down.reference)
            {
                let (_, request) = &mut pending[index];
                return Poll::Ready(Some((index, request.last_words(cx, task, down.reason))));
            }
            if alarm.has_rung() { Poll::Ready(None) } else { Poll::Pending }
        });
        Some(match ready.await {
            Some((index, result)) => {
                let (label, request) = self.pending.remove(index);
                request.abandon(cx);
                (Some(label), result)
            }
            None => (None, Err(CallError::TimedOut)),
        })
    }

    /// Gives up all that is left.
    pub fn abandon<M: Send + 'static>(&mut self, cx: &Context<M>) {
        for (_, request) in self.pending.drain(..) {
            request.abandon(cx);
        }
    }
}
