//! Waiting for one signal among many: the others stay where they are, in their order.
//!
//! Whoever waits here (a supervisor for the end of one child, a caller for the death of its server) takes out of its
//! mailbox what it waits for and nothing else. So nothing that comes meanwhile is lost: the DOWN of a sibling, the
//! EXIT of a parent, a request are met by the process's own loop afterwards. Each signal is looked at once for each
//! wait (`Cursor`).
//!
//! - **W1.** Whatever is awaited here, and in every module of this crate, asks [`Context::poll_proceed`] first in each
//!   poll: so a loop of awaits that are ready at once yields, and a process that was killed ends there. A loop of the
//!   crate's own between two callbacks passes a [`Context::checkpoint`] in each round.
//! - **W2.** What is pending has told by whom it is to be woken: an answer's cell has the waker of the task, and for
//!   mail and alarms there is [`Alarm::poll_rung`].
//! - **W3.** What a wait has set up (a monitor, an alarm, a place in a line) is held by something whose destructor takes it
//!   back: a future that is dropped in the middle leaves nothing.

use core::task::{Context as TaskContext, Poll};
use core::time::Duration;

use atropos_kernel::{Context, Cursor, Listener, MonitorTarget, Peek, Pid, Reason, Received, Reference, Search, TimerError};

/// How long the killed are waited for: a body that never lets go does not hang whoever waits for its end.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// When a patience ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ring {
    Never,
    Already,
    When(Reference),
}

impl Ring {
    /// After the time, or never. An error when there is no room for a timer.
    pub(crate) fn start<M: Send + 'static>(cx: &Context<M>, after: Option<Duration>) -> Result<Self, TimerError> {
        match after {
            None => Ok(Self::Never),
            Some(Duration::ZERO) => Ok(Self::Already),
            Some(after) => match cx.with(|cx| cx.alarm(after)) {
                Ok(timer) => Ok(Self::When(timer)),
                // Nothing that a dying process waits for comes.
                Err(TimerError::Dying) => Ok(Self::Never),
                Err(error) => Err(error),
            },
        }
    }

    /// Its alarm, if it has one.
    fn alarm(self) -> Option<Reference> {
        match self {
            Self::When(timer) => Some(timer),
            Self::Never | Self::Already => None,
        }
    }

    /// Whether it has rung.
    pub(crate) fn has_rung<M: Send + 'static>(self, cx: &Context<M>) -> bool {
        match self {
            Self::Never => false,
            Self::Already => true,
            Self::When(timer) => cx.with(|cx| !cx.is_dying() && !cx.has_timer(timer)),
        }
    }

    /// It is not needed any more.
    pub(crate) fn cancel<M: Send + 'static>(self, cx: &Context<M>) {
        if let Self::When(timer) = self {
            // Where there is no slice any more there is no timer any more.
            let _ = cx.try_with(|cx| cx.end_timer(timer));
        }
    }
}

/// A [`Ring`] that ends with its scope.
pub(crate) struct Alarm<'c, M: Send + 'static> {
    cx: &'c Context<M>,
    ring: Ring,
    listener: Listener<'c, M>,
}

impl<'c, M: Send + 'static> Alarm<'c, M> {
    /// See [`Ring::start`].
    pub(crate) fn start(cx: &'c Context<M>, after: Option<Duration>) -> Result<Self, TimerError> {
        Ring::start(cx, after).map(|ring| Self { cx, ring, listener: cx.listener() })
    }

    /// Rings never.
    pub(crate) fn never(cx: &'c Context<M>) -> Self {
        Self { cx, ring: Ring::Never, listener: cx.listener() }
    }

    /// Has rung already.
    pub(crate) fn already(cx: &'c Context<M>) -> Self {
        Self { cx, ring: Ring::Already, listener: cx.listener() }
    }

    /// The ring.
    pub(crate) fn ring(&self) -> Ring {
        self.ring
    }

    /// Whether it has rung.
    pub(crate) fn has_rung(&self) -> bool {
        self.ring.has_rung(self.cx)
    }

    /// The end of a poll that has found nothing: ready when it has rung. Otherwise the task is woken when it does, and
    /// with `mail` when there is mail that has not been looked at (W2).
    #[inline]
    pub(crate) fn poll_rung(&mut self, task: &TaskContext<'_>, mail: bool) -> Poll<()> {
        if self.has_rung() {
            return Poll::Ready(());
        }
        let alarm = self.ring.alarm();
        if mail || alarm.is_some() {
            self.listener.listen(task, mail, alarm);
        }
        Poll::Pending
    }
}

impl<M: Send + 'static> Drop for Alarm<'_, M> {
    fn drop(&mut self) {
        self.ring.cancel(self.cx);
    }
}

/// Searches the mailbox from the cursor on: what was found, or `None` when all has been looked at. Pending when the rest is to
/// be looked at in the next slice, and in a dying process.
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
        Search::Found(received) => Poll::Ready(Some(received)),
        Search::Nothing => Poll::Ready(None),
        // No reduction is left.
        Search::Unfinished => cx.poll_proceed(task).map(|()| None),
    }
}

/// The first signal that `wanted` accepts, from all that waits and comes; `None` when it rings first.
pub(crate) async fn first<M, W>(cx: &Context<M>, ring: Ring, mut wanted: W) -> Option<Received<M>>
where
    M: Send + 'static,
    W: FnMut(&Peek<'_, M>) -> bool,
{
    let mut cursor = Cursor::new();
    let mut listener = cx.listener();
    core::future::poll_fn(|task| match poll_search(cx, task, &mut cursor, |peek| wanted(&peek)) {
        Poll::Ready(None) if !ring.has_rung(cx) => {
            listener.listen(task, true, ring.alarm());
            Poll::Pending
        }
        poll => poll,
    })
    .await
}

/// Why a monitored process ended; `None` when the alarm rings first. Takes its EXIT too, which comes before.
pub(crate) async fn end_of<M>(cx: &Context<M>, pid: Pid, monitor: Reference, alarm: &Alarm<'_, M>) -> Option<Reason>
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
                Poll::Ready(None) if alarm.has_rung() => return Poll::Ready(None),
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

/// One round of a loop of the library's own (W1).
pub(crate) async fn breathe<M: Send + 'static>(cx: &Context<M>) {
    cx.checkpoint().await;
}

/// The process that a DOWN is about.
pub(crate) fn pid_of(object: &MonitorTarget) -> Option<Pid> {
    match object {
        MonitorTarget::Pid(pid) => Some(*pid),
        MonitorTarget::Name(_) => None,
    }
}
