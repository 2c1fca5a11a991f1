//! Waiting for one signal among many: the others stay where they are, in their order.
//!
//! Whoever waits here (a supervisor for the end of one child, a caller for the death of its server) takes out of its
//! mailbox what it waits for and nothing else. So nothing that comes meanwhile is lost: the DOWN of a sibling, the
//! EXIT of a parent, a request are met by the process's own loop afterwards. Each signal is looked at once for each
//! wait (`Cursor`).

use core::task::Poll;
use core::time::Duration;

use atropos_kernel::{Context, Cursor, Object, Peek, Pid, Reason, Received, Reference, TimerError};

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
}

impl<'c, M: Send + 'static> Alarm<'c, M> {
    /// See [`Ring::start`].
    pub(crate) fn start(cx: &'c Context<M>, after: Option<Duration>) -> Result<Self, TimerError> {
        Ring::start(cx, after).map(|ring| Self { cx, ring })
    }

    /// Rings never.
    pub(crate) fn never(cx: &'c Context<M>) -> Self {
        Self { cx, ring: Ring::Never }
    }

    /// Has rung already.
    pub(crate) fn already(cx: &'c Context<M>) -> Self {
        Self { cx, ring: Ring::Already }
    }

    /// The ring.
    pub(crate) fn ring(&self) -> Ring {
        self.ring
    }

    /// Whether it has rung.
    pub(crate) fn has_rung(&self) -> bool {
        self.ring.has_rung(self.cx)
    }
}

impl<M: Send + 'static> Drop for Alarm<'_, M> {
    fn drop(&mut self) {
        self.ring.cancel(self.cx);
    }
}

/// The first signal that `wanted` accepts, from all that waits and comes; `None` when it rings first.
pub(crate) async fn first<M, W>(cx: &Context<M>, ring: Ring, mut wanted: W) -> Option<Received<M>>
where
    M: Send + 'static,
    W: FnMut(&Peek<'_, M>) -> bool,
{
    let mut cursor = Cursor::new();
    core::future::poll_fn(|_| match cx.with(|cx| cx.receive_match(&mut cursor, |peek| wanted(&peek))) {
        Some(received) => Poll::Ready(Some(received)),
        None if ring.has_rung(cx) => Poll::Ready(None),
        None => Poll::Pending,
    })
    .await
}

/// Why a monitored process ended; `None` when the alarm rings first. Takes its EXIT too, which comes before.
pub(crate) async fn end_of<M>(cx: &Context<M>, pid: Pid, monitor: Reference, alarm: &Alarm<'_, M>) -> Option<Reason>
where
    M: Send + 'static,
{
    let mut cursor = Cursor::new();
    core::future::poll_fn(|_| match taken_end(cx, &mut cursor, pid, monitor) {
        Some(reason) => Poll::Ready(Some(reason)),
        None if alarm.has_rung() => Poll::Ready(None),
        None => Poll::Pending,
    })
    .await
}

/// Why a monitored process ended, if its DOWN has come. Takes that, and its EXIT.
pub(crate) fn taken_end<M>(cx: &Context<M>, cursor: &mut Cursor, pid: Pid, monitor: Reference) -> Option<Reason>
where
    M: Send + 'static,
{
    cx.with(|cx| {
        loop {
            let signal = cx.receive_match(cursor, |peek| match peek {
                Peek::Exit(exit) => exit.from == Some(pid),
                Peek::Down(down) => down.reference == monitor,
                _ => false,
            });
            if let Received::Down(down) = signal? {
                return Some(down.reason);
            }
        }
    })
}

/// Lets the others run when the slice's reductions are used up.
pub(crate) async fn breathe<M: Send + 'static>(cx: &Context<M>) {
    if cx.with(|cx| cx.is_exhausted()) {
        cx.yield_now().await;
    }
}

/// The process that a DOWN is about.
pub(crate) fn pid_of(object: &Object) -> Option<Pid> {
    match object {
        Object::Pid(pid) => Some(*pid),
        Object::Name(_) => None,
    }
}
