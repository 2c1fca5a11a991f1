//! Starting a process and hearing that it is up: [`Ready`], [`StartError`] (OTP's `proc_lib`).
//!
//! Whoever starts a server wants to know whether it came up, and not to wait for ever. The child is given a
//! [`Ready`] and says through it that it is up, that it has nothing to do ([`Ready::ignore`]), or that it could not
//! ([`Ready::fail`]). It is monitored from before its first instruction, and a `Ready` that goes with a dying child
//! says so: the starter hears of one of the four, whichever way the child goes.
//!
//! When a start has failed the child is gone: the starter has waited for its end, and its names are free. A child that
//! fails or ignores unlinks itself first, so that a starter that does not trap exits gets an error and lives. (One
//! that panics outside a server's callbacks is a linked process that has crashed, with all that follows.)

use core::fmt;
use core::future::Future;
use core::time::Duration;

use atropos_kernel::task::Exit;
use atropos_kernel::{
    Context, NoMemory, Pid, Reason, Reference, RegisterError, Replied, Reply, SpawnError, SpawnOptions, reply,
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
    pub(crate) ack: Option<Replied<Ack>>,
}

/// What a child said that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Confirmed {
    Up,
    Ignored,
}

/// A pair for a child of `parent`.
pub(crate) fn ready(parent: Option<Pid>) -> Result<(Ready, Replied<Ack>), NoMemory> {
    let (reply, ack) = reply()?;
    Ok((Ready { reply, parent }, ack))
}

/// Starts a process that will say how its start went; monitored.
pub(crate) fn launch<M, N, S, F>(cx: &Context<M>, options: &SpawnOptions<'_>, start: S) -> Result<Launched, SpawnError>
where
    M: Send + 'static,
    N: Send + 'static,
    S: FnOnce(Context<N>, Ready) -> F + Send + 'static,
    F: Future<Output: Exit> + Send + 'static,
{
    let (ready, ack) = ready(Some(cx.pid())).map_err(|NoMemory| SpawnError::NoMemory)?;
    let options = options.clone().monitor();
    let (child, monitor) = cx.spawn_with(&options, move |child| start(child, ready))?;
    let monitor = monitor.ok_or(SpawnError::NoMemory)?;
    Ok(Launched { pid: child.pid(), monitor, ack: Some(ack) })
}

/// Waits until a launched process is up. The monitor stays in force only if it is.
pub(crate) async fn confirm<M>(
    cx: &Context<M>,
    launched: &mut Launched,
    within: Option<Duration>,
) -> Result<Confirmed, StartError>
where
    M: Send + 'static,
{
    let Some(ack) = launched.ack.as_mut() else { return Ok(Confirmed::Up) };
    let (pid, monitor) = (launched.pid, launched.monitor);
    // Without room for a timer a start that must be quick has no time at all.
    let alarm = Alarm::start(cx, within).or_else(|_| Alarm::start(cx, Some(Duration::ZERO)));
    let alarm = alarm.unwrap_or_else(|_| Alarm::never(cx));
    let said = core::future::poll_fn(|task| {
        use core::task::Poll;
        match core::pin::Pin::new(&mut *ack).poll(task) {
            Poll::Ready(said) => Poll::Ready(Some(said)),
            Poll::Pending if alarm.has_rung() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    launched.ack = None;
    drop(alarm);
    let failed = match said {
        Some(Ok(Ack::Up)) => return Ok(Confirmed::Up),
        Some(Ok(Ack::Ignore)) => None,
        Some(Ok(Ack::Failed(reason))) => Some(StartError::Refused(reason)),
        // It ends, and its DOWN says why.
        Some(Err(_)) => {
            let reason = put_down(cx, pid, monitor, false).await;
            return Err(StartError::Crashed(reason.unwrap_or(Reason::KILLED)));
        }
        None => {
            put_down(cx, pid, monitor, true).await;
            return Err(StartError::TimedOut);
        }
    };
    put_down(cx, pid, monitor, false).await;
    failed.map_or(Ok(Confirmed::Ignored), Err)
}

/// Waits for the end of a process that should end now; after a while, or at once, it is killed. A body that never
/// lets go is left behind after another while: it dies when it does.
pub(crate) async fn put_down<M>(cx: &Context<M>, pid: Pid, monitor: Reference, at_once: bool) -> Option<Reason>
where
    M: Send + 'static,
{
    let grace = if at_once { Duration::ZERO } else { GRACE };
    if let Ok(alarm) = Alarm::start(cx, Some(grace))
        && let Some(reason) = end_of(cx, pid, monitor, &alarm).await
    {
        return Some(reason);
    }
    // A kill needs no memory.
    let _ = cx.exit(pid, Reason::KILL);
    let alarm = Alarm::start(cx, Some(GRACE)).unwrap_or_else(|_| Alarm::never(cx));
    let reason = end_of(cx, pid, monitor, &alarm).await;
    if reason.is_none() {
        cx.demonitor(monitor, true);
        cx.unlink(pid);
    }
    reason
}
