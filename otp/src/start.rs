//! Starting a process and waiting for its acknowledgement: [`InitSender`], [`StartError`] (OTP's
//! `proc_lib`).
//!
//! The process that starts a server must learn whether it came up, and must not wait for ever. The
//! child gets an [`InitSender`], with which it acknowledges that it is up, returns `ignore`
//! ([`InitSender::ignore`]), or reports an error ([`InitSender::fail`]). It is monitored from
//! before its first instruction, and an `InitSender` that is dropped with a dying child reports a
//! crash. The starter therefore always gets one of these four results.
//!
//! When a start has failed the child is gone: the starter has waited for its exit, and its names
//! are free. A child that fails or ignores unlinks itself first, so that a starter that does not
//! trap exits survives and gets an error. (A child that panics outside a server's callbacks is a
//! linked process that has crashed, with the usual effects.) A child that takes too long is
//! unlinked before it is killed.
//!
//! A start begins when its future is first polled. If the future is dropped before it resolves, the
//! start is undone (`Undo`): the process is ended, and no monitor or DOWN of it is left.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll};
use core::time::Duration;

use atropos_kernel::task::IntoReason;
use atropos_kernel::{
    Context, Cursor, NoMemory, Peek, Pid, Reason, Reference, Reply, ReplyFuture, SpawnError, SpawnOptions, reply,
};

pub use crate::error::StartError;
use crate::wait::{Deadline, KILL_TIMEOUT, end_of};

/// The acknowledgement of a child's start.
#[derive(Debug)]
pub(crate) enum InitAck {
    Up,
    Ignore,
    Failed(Reason),
}

/// The handle with which a child acknowledges its start. If it is dropped, the start has failed.
#[derive(Debug)]
#[must_use = "the process that started this one waits for it"]
pub struct InitSender {
    reply: Reply<InitAck>,
    parent: Option<Pid>,
}

impl InitSender {
    /// Returns the pid of the starter; `None` is the host.
    pub fn parent(&self) -> Option<Pid> {
        self.parent
    }

    /// Acknowledges that the process is up.
    pub fn up(self) {
        self.reply.send(InitAck::Up);
    }

    /// Acknowledges the start with `ignore`; the process should exit with `normal` now.
    pub fn ignore<M: Send + 'static>(self, cx: &Context<M>) {
        self.unlink(cx);
        self.reply.send(InitAck::Ignore);
    }

    /// Reports that the start has failed; the process should exit with this reason now.
    pub fn fail<M: Send + 'static>(self, cx: &Context<M>, reason: Reason) {
        self.unlink(cx);
        self.reply.send(InitAck::Failed(reason));
    }

    fn unlink<M: Send + 'static>(&self, cx: &Context<M>) {
        if let Some(parent) = self.parent {
            cx.unlink(parent);
        }
    }
}

/// The future of a start from the host. It resolves to `true` if the process is up, and to `false`
/// if `init` returned `ignore`.
#[derive(Debug)]
#[must_use = "await it to learn whether the process is up"]
pub struct StartFuture(pub(crate) ReplyFuture<InitAck>);

impl Future for StartFuture {
    type Output = Result<bool, StartError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(task).map(|said| match said {
            Ok(InitAck::Up) => Ok(true),
            Ok(InitAck::Ignore) => Ok(false),
            Ok(InitAck::Failed(reason)) => Err(StartError::Refused(reason)),
            Err(_) => Err(StartError::Crashed(Reason::NOPROC)),
        })
    }
}

/// A process that was spawned, and may still have to acknowledge its start.
#[derive(Debug)]
pub(crate) struct PendingInit {
    pub(crate) pid: Pid,
    pub(crate) monitor: Reference,
    pub(crate) ack: Option<ReplyFuture<InitAck>>,
    /// Its relation to the starter.
    pub(crate) tie: Tie,
    /// `true` if it was killed and has not died, because its body does not yield.
    pub(crate) stuck: bool,
}

/// The relation of a spawned process to its starter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tie {
    /// A child of a supervisor, whose link and monitor are one record.
    Child,
    /// A child that is a supervisor itself: it exits with its parent, and stops its children in
    /// order.
    ChildSupervisor,
    /// An independent process, perhaps linked.
    Free,
    /// An independent supervisor.
    FreeSupervisor,
}

impl Tie {
    const fn is_child(self) -> bool {
        matches!(self, Self::Child | Self::ChildSupervisor)
    }

    const fn is_supervisor(self) -> bool {
        matches!(self, Self::ChildSupervisor | Self::FreeSupervisor)
    }
}

impl PendingInit {
    /// Creates the record of a supervisor's child that is up as soon as it is spawned.
    pub(crate) fn up(pid: Pid, monitor: Reference) -> Self {
        Self { pid, monitor, ack: None, tie: Tie::Child, stuck: false }
    }
}

/// A guard that ends a spawned process when it is dropped, unless [`Undo::keep`] is called: it
/// undoes a cancelled start.
///
/// A supervisor gets a `shutdown` from its parent, which it handles even while it starts its
/// children; any other process is killed. If it sleeps its name is free when the drop returns.
/// Outside the starter's own slice (the future was moved elsewhere) nothing can be done.
struct Undo<'c, M: Send + 'static> {
    cx: &'c Context<M>,
    launched: PendingInit,
    done: bool,
}

impl<M: Send + 'static> Undo<'_, M> {
    fn keep(&mut self) {
        self.done = true;
    }
}

impl<M: Send + 'static> Drop for Undo<'_, M> {
    fn drop(&mut self) {
        let Self { cx, launched: PendingInit { pid, monitor, tie, .. }, done } = self;
        if *done {
            return;
        }
        let _ = cx.try_with(|cx| {
            cx.demonitor(*monitor, true);
            cx.unlink(*pid);
            if !tie.is_supervisor() || cx.exit(*pid, Reason::SHUTDOWN).is_err() {
                // A kill needs no memory.
                let _ = cx.exit_inline(*pid, Reason::KILL);
            }
        });
    }
}

/// Waits until a process is up that the caller has just spawned and does not supervise. If the
/// future is dropped before, the process is ended.
pub(crate) async fn up<M>(
    cx: &Context<M>,
    launched: PendingInit,
    within: Option<Duration>,
) -> Result<(InitOutcome, Pid), StartError>
where
    M: Send + 'static,
{
    let mut undo = Undo { cx, launched, done: false };
    let confirmed = confirm(cx, &mut undo.launched, within, None).await;
    undo.keep();
    if matches!(confirmed, Ok(InitOutcome::Up)) {
        cx.demonitor(undo.launched.monitor, true);
    }
    confirmed.map(|confirmed| (confirmed, undo.launched.pid))
}

/// The acknowledgement of a child that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InitOutcome {
    Up,
    Ignored,
}

/// Creates a `InitSender` for a child of `parent`, and the future of its acknowledgement.
pub(crate) fn ready(parent: Option<Pid>) -> Result<(InitSender, ReplyFuture<InitAck>), NoMemory> {
    let (reply, ack) = reply()?;
    Ok((InitSender { reply, parent }, ack))
}

/// Spawns a process that acknowledges its start; it is monitored.
pub(crate) fn launch<M, N, S, F>(
    cx: &Context<M>,
    options: &SpawnOptions<'_>,
    tie: Tie,
    start: S,
) -> Result<PendingInit, SpawnError>
where
    M: Send + 'static,
    N: Send + 'static,
    S: FnOnce(Context<N>, InitSender) -> F + Send + 'static,
    F: Future<Output: IntoReason> + Send + 'static,
{
    let (ready, ack) = ready(Some(cx.pid())).map_err(|NoMemory| SpawnError::NoMemory)?;
    let options = options.clone().monitor();
    let (child, monitor) = cx.spawn_with(&options, move |child| start(child, ready))?;
    let monitor = monitor.ok_or(SpawnError::NoMemory)?;
    Ok(PendingInit { pid: child.pid(), monitor, ack: Some(ack), tie, stuck: false })
}

/// The way in which the wait for an acknowledgement ends.
enum Heard {
    Said(Result<InitAck, atropos_kernel::NoReply>),
    TooLate,
    /// The starter is a supervisor, and its own parent shuts it down.
    Told,
}

/// Waits until a spawned process is up. The monitor stays in force only if it is. With `parent`,
/// the starter is a supervisor during its own start: if that process (or, if it is `None`, the
/// host) sends it an exit signal, the start has failed.
pub(crate) async fn confirm<M>(
    cx: &Context<M>,
    launched: &mut PendingInit,
    within: Option<Duration>,
    parent: Option<Option<Pid>>,
) -> Result<InitOutcome, StartError>
where
    M: Send + 'static,
{
    let Some(ack) = launched.ack.as_mut() else { return Ok(InitOutcome::Up) };
    // Without memory for a timer, a start with a time limit has no time at all.
    let alarm = Deadline::start(cx, within).or_else(|_| Deadline::start(cx, Some(Duration::ZERO)));
    let mut alarm = alarm.unwrap_or_else(|_| Deadline::never(cx));
    let mut cursor = Cursor::new();
    let heard = core::future::poll_fn(|task| {
        if cx.poll_proceed(task).is_pending() {
            return Poll::Pending;
        }
        match Pin::new(&mut *ack).poll(task) {
            Poll::Ready(said) => Poll::Ready(Heard::Said(said)),
            Poll::Pending if parent.is_some_and(|parent| is_told(cx, &mut cursor, parent)) => Poll::Ready(Heard::Told),
            Poll::Pending => alarm.poll_rung(task, parent.is_some()).map(|()| Heard::TooLate),
        }
    })
    .await;
    launched.ack = None;
    drop(alarm);
    let failed = match heard {
        Heard::Said(Ok(InitAck::Up)) => return Ok(InitOutcome::Up),
        Heard::Said(Ok(InitAck::Ignore)) => None,
        Heard::Said(Ok(InitAck::Failed(reason))) => Some(StartError::Refused(reason)),
        // The child is exiting, and its DOWN carries the reason.
        Heard::Said(Err(_)) => {
            let reason = put_down(cx, launched, Patience::Grace).await;
            return Err(StartError::Crashed(reason.unwrap_or(Reason::KILLED)));
        }
        Heard::TooLate => {
            if !launched.tie.is_child() {
                // A starter that does not trap exits survives.
                cx.unlink(launched.pid);
            }
            put_down(cx, launched, Patience::None).await;
            return Err(StartError::TimedOut);
        }
        Heard::Told => {
            let told = launched.tie.is_supervisor() && cx.exit(launched.pid, Reason::SHUTDOWN).is_ok();
            put_down(cx, launched, if told { Patience::Any } else { Patience::None }).await;
            return Err(StartError::Refused(Reason::SHUTDOWN));
        }
    };
    put_down(cx, launched, Patience::Grace).await;
    failed.map_or(Ok(InitOutcome::Ignored), Err)
}

/// Returns `true` if an EXIT of the parent or the host is in the mailbox. It stays there.
fn is_told<M: Send + 'static>(cx: &Context<M>, cursor: &mut Cursor, parent: Option<Pid>) -> bool {
    let mut told = false;
    let look = |peek: Peek<'_, M>| {
        told |= matches!(peek, Peek::Exit(exit) if exit.from.is_none() || exit.from == parent);
        false
    };
    let _ = cx.with(|cx| cx.receive_match(cursor, look));
    told
}

/// The time that a process gets to exit.
enum Patience {
    None,
    Grace,
    Any,
}

/// Waits for the exit of a process that should exit now; kills it after its time. A body that never
/// yields is left behind after another [`KILL_TIMEOUT`]; it dies when it yields.
async fn put_down<M>(cx: &Context<M>, launched: &mut PendingInit, patience: Patience) -> Option<Reason>
where
    M: Send + 'static,
{
    let (pid, monitor) = (launched.pid, launched.monitor);
    let time = match patience {
        Patience::None => Some(Duration::ZERO),
        Patience::Grace => Some(KILL_TIMEOUT),
        Patience::Any => None,
    };
    if let Ok(alarm) = Deadline::start(cx, time)
        && let Some(reason) = end_of(cx, pid, monitor, &alarm).await
    {
        return Some(reason);
    }
    // A kill needs no memory.
    let _ = cx.exit_inline(pid, Reason::KILL);
    let alarm = Deadline::start(cx, Some(KILL_TIMEOUT)).unwrap_or_else(|_| Deadline::never(cx));
    let reason = end_of(cx, pid, monitor, &alarm).await;
    if reason.is_none() {
        launched.stuck = true;
        cx.demonitor(monitor, true);
        cx.unlink(pid);
    }
    reason
}
