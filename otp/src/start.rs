//! Starting a process and hearing that it is up: [`Ready`], [`StartError`] (OTP's `proc_lib`).
//!
//! Whoever starts a server wants to know whether it came up, and not to wait for ever. The child is given a
//! [`Ready`] and says through it that it is up, that it has nothing to do ([`Ready::ignore`]), or that it could not
//! ([`Ready::fail`]). It is monitored from before its first instruction, and a `Ready` that goes with a dying child
//! says so: the starter hears of one of the four, whichever way the child goes.
//!
//! When a start has failed the child is gone: the starter has waited for its end, and its names are free. A child that
//! fails or ignores unlinks itself first, so that a starter that does not trap exits gets an error and lives. (One
//! that panics outside a server's callbacks is a linked process that has crashed, with all that follows.) So does one that takes
//! too long: it is unlinked before it is killed.
//!
//! A start begins when its future is first polled, and one that is given up, because the future is dropped before it has ended, is
//! undone ([`Undo`]): the process is ended, and neither a monitor of it nor its DOWN is left.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;

use atropos_kernel::task::IntoReason;
use atropos_kernel::{
    Context, Cursor, NoMemory, Peek, Pid, Reason, Reference, RegisterError, ReplyFuture, Reply, SpawnError, SpawnOptions,
    reply,
};

use crate::supervisor::SpecError;
use crate::wait::{Alarm, GRACE, end_of};

/// What a child says of its start.
#[derive(Debug)]
pub(crate) enum Ack {
    Up,
    Ignore,
    Failed(Reason),
}

/// By which a child says how its start went. Dropped, it says that it did not come up.
#[derive(Debug)]
#[must_use = "whoever started the process waits to hear of it"]
pub struct Ready {
    reply: Reply<Ack>,
    parent: Option<Pid>,
}

impl Ready {
    /// Who started it; `None` is the host.
    pub fn parent(&self) -> Option<Pid> {
        self.parent
    }

    /// It is up.
    pub fn up(self) {
        self.reply.send(Ack::Up);
    }

    /// It has nothing to do; it should end with `normal` now.
    pub fn ignore<M: Send + 'static>(self, cx: &Context<M>) {
        self.unlink(cx);
        self.reply.send(Ack::Ignore);
    }

    /// It could not start; it should end with this reason now.
    pub fn fail<M: Send + 'static>(self, cx: &Context<M>, reason: Reason) {
        self.unlink(cx);
        self.reply.send(Ack::Failed(reason));
    }

    fn unlink<M: Send + 'static>(&self, cx: &Context<M>) {
        if let Some(parent) = self.parent {
            cx.unlink(parent);
        }
    }
}

/// Why a process could not be started. Nothing of it is left.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StartError {
    /// It would not: the start function, or the process itself, said why.
    Refused(Reason),
    /// The start function panicked, or the process ended before it was up.
    Crashed(Reason),
    /// It was not up in time, and was killed.
    TimedOut,
    /// Another process has its name.
    AlreadyStarted(Pid),
    /// There was no process to be had.
    Spawn(SpawnError),
    /// The supervisor's specification is refused.
    Spec(SpecError),
}

impl StartError {
    /// The reason that another process would end with because of it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused(reason) | Self::Crashed(reason) => reason.clone(),
            other => Reason::value(other.clone()),
        }
    }

    /// Of a spawn under a name: who has it, if that is what is wrong.
    pub(crate) fn of_spawn<M: Send + 'static>(error: SpawnError, cx: &Context<M>, name: Option<&str>) -> Self {
        match (error, name.and_then(|name| cx.whereis(name))) {
            (SpawnError::Name(RegisterError::InUse), Some(pid)) => Self::AlreadyStarted(pid),
            _ => Self::Spawn(error),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "it would not start: {reason}"),
            Self::Crashed(reason) => write!(f, "it ended before it was up: {reason}"),
            Self::TimedOut => f.write_str("it was not up in time"),
            Self::AlreadyStarted(pid) => write!(f, "{pid} has the name already"),
            Self::Spawn(error) => write!(f, "{error}"),
            Self::Spec(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for StartError {}

impl From<SpawnError> for StartError {
    fn from(error: SpawnError) -> Self {
        Self::Spawn(error)
    }
}

impl From<NoMemory> for StartError {
    fn from(_: NoMemory) -> Self {
        Self::Spawn(SpawnError::NoMemory)
    }
}

impl From<SpecError> for StartError {
    fn from(error: SpecError) -> Self {
        Self::Spec(error)
    }
}

/// A process that has been started, and may have to say that it is up.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: Pid,
    pub(crate) monitor: Reference,
    pub(crate) ack: Option<ReplyFuture<Ack>>,
    /// What it is to its starter.
    pub(crate) tie: Tie,
    /// It was killed, and has not died: its body does not let go.
    pub(crate) stuck: bool,
}

/// What a process that has been started is to its starter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tie {
    /// The child of a supervisor, whose link is its monitor.
    Child,
    /// A child that is a supervisor itself: it ends with its parent, and in its own order.
    ChildSupervisor,
    /// A process of its own, linked perhaps.
    Free,
    /// A supervisor of its own.
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

impl Launched {
    /// A process that is up when it has been spawned, and a supervisor's child.
    pub(crate) fn up(pid: Pid, monitor: Reference) -> Self {
        Self { pid, monitor, ack: None, tie: Tie::Child, stuck: false }
    }
}

/// Ends a launched process when it is dropped, unless [`Undo::keep`] is called: a start that is given up.
///
/// A supervisor is told to shut down, by its parent, which it heeds also while it starts its children; another process is
/// killed. One that sleeps has lost its name then. Outside the starter's own slice (the future was moved elsewhere) nothing can be
/// done.
struct Undo<'c, M: Send + 'static> {
    cx: &'c Context<M>,
    launched: Launched,
    done: bool,
}

impl<M: Send + 'static> Undo<'_, M> {
    fn keep(&mut self) {
        self.done = true;
    }
}

impl<M: Send + 'static> Drop for Undo<'_, M> {
    fn drop(&mut self) {
        let Self { cx, launched: Launched { pid, monitor, tie, .. }, done } = self;
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

/// Waits until a process is up that its starter has just launched and does not supervise. Dropped before, it is ended.
pub(crate) async fn up<M>(
    cx: &Context<M>,
    launched: Launched,
    within: Option<Duration>,
) -> Result<(Confirmed, Pid), StartError>
where
    M: Send + 'static,
{
    let mut undo = Undo { cx, launched, done: false };
    let confirmed = confirm(cx, &mut undo.launched, within, None).await;
    undo.keep();
    if matches!(confirmed, Ok(Confirmed::Up)) {
        cx.demonitor(undo.launched.monitor, true);
    }
    confirmed.map(|confirmed| (confirmed, undo.launched.pid))
}

/// What a child said that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Confirmed {
    Up,
    Ignored,
}

/// A pair for a child of `parent`.
pub(crate) fn ready(parent: Option<Pid>) -> Result<(Ready, ReplyFuture<Ack>), NoMemory> {
    let (reply, ack) = reply()?;
    Ok((Ready { reply, parent }, ack))
}

/// Starts a process that will say how its start went; monitored.
pub(crate) fn launch<M, N, S, F>(
    cx: &Context<M>,
    options: &SpawnOptions<'_>,
    tie: Tie,
    start: S,
) -> Result<Launched, SpawnError>
where
    M: Send + 'static,
    N: Send + 'static,
    S: FnOnce(Context<N>, Ready) -> F + Send + 'static,
    F: Future<Output: IntoReason> + Send + 'static,
{
    let (ready, ack) = ready(Some(cx.pid())).map_err(|NoMemory| SpawnError::NoMemory)?;
    let options = options.clone().monitor();
    let (child, monitor) = cx.spawn_with(&options, move |child| start(child, ready))?;
    let monitor = monitor.ok_or(SpawnError::NoMemory)?;
    Ok(Launched { pid: child.pid(), monitor, ack: Some(ack), tie, stuck: false })
}

/// How the wait for a child that starts ends.
enum Heard {
    Said(Result<Ack, atropos_kernel::NoReply>),
    TooLate,
    /// The starter, which is a supervisor, is told to end.
    Told,
}

/// Waits until a launched process is up. The monitor stays in force only if it is. With `parent`, the starter is a supervisor that
/// starts itself: when that process (or, without one, the host) tells it to end, the start has failed.
pub(crate) async fn confirm<M>(
    cx: &Context<M>,
    launched: &mut Launched,
    within: Option<Duration>,
    parent: Option<Option<Pid>>,
) -> Result<Confirmed, StartError>
where
    M: Send + 'static,
{
    let Some(ack) = launched.ack.as_mut() else { return Ok(Confirmed::Up) };
    // Without room for a timer a start that must be quick has no time at all.
    let alarm = Alarm::start(cx, within).or_else(|_| Alarm::start(cx, Some(Duration::ZERO)));
    let mut alarm = alarm.unwrap_or_else(|_| Alarm::never(cx));
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
        Heard::Said(Ok(Ack::Up)) => return Ok(Confirmed::Up),
        Heard::Said(Ok(Ack::Ignore)) => None,
        Heard::Said(Ok(Ack::Failed(reason))) => Some(StartError::Refused(reason)),
        // It ends, and its DOWN says why.
        Heard::Said(Err(_)) => {
            let reason = put_down(cx, launched, Patience::Grace).await;
            return Err(StartError::Crashed(reason.unwrap_or(Reason::KILLED)));
        }
        Heard::TooLate => {
            if !launched.tie.is_child() {
                // A starter that does not trap exits lives on.
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
    failed.map_or(Ok(Confirmed::Ignored), Err)
}

/// Whether an EXIT of the parent's, or the host's, waits in the mailbox. It stays there.
fn is_told<M: Send + 'static>(cx: &Context<M>, cursor: &mut Cursor, parent: Option<Pid>) -> bool {
    let mut told = false;
    let look = |peek: Peek<'_, M>| {
        told |= matches!(peek, Peek::Exit(exit) if exit.from.is_none() || exit.from == parent);
        false
    };
    let _ = cx.with(|cx| cx.receive_match(cursor, look));
    told
}

/// How long a process has that should end now.
enum Patience {
    None,
    Grace,
    Any,
}

/// Waits for the end of a process that should end now; after its time it is killed. A body that never
/// lets go is left behind after another while: it dies when it does.
async fn put_down<M>(cx: &Context<M>, launched: &mut Launched, patience: Patience) -> Option<Reason>
where
    M: Send + 'static,
{
    let (pid, monitor) = (launched.pid, launched.monitor);
    let time = match patience {
        Patience::None => Some(Duration::ZERO),
        Patience::Grace => Some(GRACE),
        Patience::Any => None,
    };
    if let Ok(alarm) = Alarm::start(cx, time)
        && let Some(reason) = end_of(cx, pid, monitor, &alarm).await
    {
        return Some(reason);
    }
    // A kill needs no memory.
    let _ = cx.exit_inline(pid, Reason::KILL);
    let alarm = Alarm::start(cx, Some(GRACE)).unwrap_or_else(|_| Alarm::never(cx));
    let reason = end_of(cx, pid, monitor, &alarm).await;
    if reason.is_none() {
        launched.stuck = true;
        cx.demonitor(monitor, true);
        cx.unlink(pid);
    }
    reason
}
