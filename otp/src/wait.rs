//! Selective receive: waiting for one signal while all others stay in the mailbox, in order.
//!
//! A process that waits here (a supervisor for the exit of one child, a caller for the exit of its
//! server) takes only that signal out of its mailbox. So nothing that arrives during the wait is
//! lost: the process's own loop handles the DOWN of a sibling, the EXIT of a parent or a request
//! afterwards. Each wait examines each signal once (`Cursor`).
//!
//! - **W1.** Every wait here, and in every module of this crate, calls [`Context::poll_proceed`]
//!   first in each poll. So a loop of awaits that are ready at once yields, and a process that was
//!   killed ends there. A loop of the crate itself passes a [`Context::checkpoint`] in each round
//!   between two callbacks.
//! - **W2.** Whatever is pending has registered its waker: a reply's cell has the waker of the
//!   task, and for mail and timeouts there is [`Deadline::poll_rung`].
//! - **W3.** Everything that a wait has set up (a monitor, a timer, a place among the waiters) is
//!   owned by a guard whose destructor removes it: a future that is dropped in the middle leaves
//!   nothing.

use core::task::{Context as TaskContext, Poll};
use core::time::Duration;

use atropos_kernel::{
    Context, Cursor, Listener, MonitorTarget, Peek, Pid, Reason, Received, Reference, SearchResult, TimerError,
};

/// The time to wait for a killed process: a body that never yields does not hang the process that
/// waits for its exit.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A timeout.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimeoutFired {
    Never,
    Already,
    When(Reference),
}

impl TimeoutFired {
    /// Starts a timeout that fires after this time, or never. Fails if there is no memory for a
    /// timer.
    pub(crate) fn start<M: Send + 'static>(cx: &Context<M>, after: Option<Duration>) -> Result<Self, TimerError> {
        match after {
            None => Ok(Self::Never),
            Some(Duration::ZERO) => Ok(Self::Already),
            Some(after) => match cx.with(|cx| cx.alarm(after)) {
                Ok(timer) => Ok(Self::When(timer)),
                // A dying process gets nothing that it waits for.
                Err(TimerError::Dying) => Ok(Self::Never),
                Err(error) => Err(error),
            },
        }
    }

    /// Returns its timer, if it has one.
    fn alarm(self) -> Option<Reference> {
        match self {
            Self::When(timer) => Some(timer),
            Self::Never | Self::Already => None,
        }
    }

    /// Returns `true` if it has fired.
    pub(crate) fn has_fired<M: Send + 'static>(self, cx: &Context<M>) -> bool {
        match self {
            Self::Never => false,
            Self::Already => true,
            Self::When(timer) => cx.with(|cx| !cx.is_dying() && !cx.has_timer(timer)),
        }
    }

    /// Cancels the timeout.
    pub(crate) fn cancel<M: Send + 'static>(self, cx: &Context<M>) {
        if let Self::When(timer) = self {
            // Outside a slice there is no timer left.
            let _ = cx.try_with(|cx| cx.end_timer(timer));
        }
    }
}

/// A timeout ([`TimeoutFired`]) that is cancelled at the end of its scope.
pub(crate) struct Deadline<'c, M: Send + 'static> {
    cx: &'c Context<M>,
    ring: TimeoutFired,
    listener: Listener<'c, M>,
}

impl<'c, M: Send + 'static> Deadline<'c, M> {
    /// Starts a timeout, see [`TimeoutFired::start`].
    pub(crate) fn start(cx: &'c Context<M>, after: Option<Duration>) -> Result<Self, TimerError> {
        TimeoutFired::start(cx, after).map(|ring| Self { cx, ring, listener: cx.listener() })
    }

    /// Creates a timeout that never fires.
    pub(crate) fn never(cx: &'c Context<M>) -> Self {
        Self { cx, ring: TimeoutFired::Never, listener: cx.listener() }
    }

    /// Creates a timeout that has fired already.
    pub(crate) fn already(cx: &'c Context<M>) -> Self {
        Self { cx, ring: TimeoutFired::Already, listener: cx.listener() }
    }

    /// Returns the timeout.
    pub(crate) fn ring(&self) -> TimeoutFired {
        self.ring
    }

    /// Returns `true` if it has fired.
    pub(crate) fn has_fired(&self) -> bool {
        self.ring.has_fired(self.cx)
    }

    /// Ends a poll that found nothing: ready if the timeout has fired. Otherwise the task is woken
    /// when it fires, and with `mail` also when there is mail that was not examined yet (W2).
    #[inline]
    pub(crate) fn poll_rung(&mut self, task: &TaskContext<'_>, mail: bool) -> Poll<()> {
        if self.has_fired() {
            return Poll::Ready(());
        }
        let alarm = self.ring.alarm();
        if mail || alarm.is_some() {
            self.listener.listen(task, mail, alarm);
        }
        Poll::Pending
    }
}

impl<M: Send + 'static> Drop for Deadline<'_, M> {
    fn drop(&mut self) {
        self.ring.cancel(self.cx);
    }
}

/// Searches the mailbox from the cursor on; returns the signal that was found, or `None` if all
/// were examined. Pending if the rest must be examined in the next slice, and in a dying process.
pub(crate) fn poll_search<M, W>(
    cx: &Context<M>,
    task: &mut TaskContext<'_>,
    cursor: &mut Cursor,
    wanted: W,
) -> Poll<Option<Received<M>>>
where
    M: Send + 'static,
    W: FnMut(Peek<'_, M>) -> bool,
{
    if cx.poll_proceed(task).is_pending() {
        return Poll::Pending;
    }
    match cx.with(|cx| cx.search(cursor, wanted)) {
        SearchResult::Found(received) => Poll::Ready(Some(received)),
        SearchResult::Nothing => Poll::Ready(None),
        // The reductions are used up.
        SearchResult::Unfinished => cx.poll_proceed(task).map(|()| None),
    }
}

/// Waits for the first signal that `wanted` accepts, among those in the mailbox and those that
/// arrive; returns `None` if the timeout fires first.
pub(crate) async fn first<M, W>(cx: &Context<M>, ring: TimeoutFired, mut wanted: W) -> Option<Received<M>>
where
    M: Send + 'static,
    W: FnMut(&Peek<'_, M>) -> bool,
{
    let mut cursor = Cursor::new();
    let mut listener = cx.listener();
    core::future::poll_fn(|task| match poll_search(cx, task, &mut cursor, |peek| wanted(&peek)) {
        Poll::Ready(None) if !ring.has_fired(cx) => {
            listener.listen(task, true, ring.alarm());
            Poll::Pending
        }
        poll => poll,
    })
    .await
}

/// Waits for the exit of a monitored process and returns the reason; `None` if the timeout fires
/// first. It also takes the EXIT, which arrives first.
pub(crate) async fn end_of<M>(cx: &Context<M>, pid: Pid, monitor: Reference, alarm: &Deadline<'_, M>) -> Option<Reason>
where
    M: Send + 'static,
{
    let mut cursor = Cursor::new();
    let mut listener = cx.listener();
    core::future::poll_fn(|task| {
        loop {
            match poll_search(cx, task, &mut cursor, |peek| is_end(&peek, pid, monitor)) {
                Poll::Ready(Some(Received::Down(down))) => return Poll::Ready(Some(down.reason)),
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) if alarm.has_fired() => return Poll::Ready(None),
                Poll::Ready(None) => {
                    listener.listen(task, true, alarm.ring.alarm());
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

fn is_end<M>(peek: &Peek<'_, M>, pid: Pid, monitor: Reference) -> bool {
    match peek {
        Peek::Exit(exit) => exit.from == Some(pid),
        Peek::Down(down) => down.reference == monitor,
        _ => false,
    }
}

/// Marks one round of a loop of this crate (W1): yields if the reductions are used up.
pub(crate) async fn yield_if_exhausted<M: Send + 'static>(cx: &Context<M>) {
    cx.checkpoint().await;
}

/// Returns the process that a DOWN is about.
pub(crate) fn pid_of(target: &MonitorTarget) -> Option<Pid> {
    match target {
        MonitorTarget::Pid(pid) => Some(*pid),
        MonitorTarget::Name(_) => None,
    }
}
