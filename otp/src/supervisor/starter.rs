//! What a start function is given: [`ChildStarter`].
//!
//! A start function is a plain closure that runs in the supervisor's process and must be quick: it starts the child's
//! process, linked and monitored, and hands back what the starter gave it. The supervisor then waits for the
//! child to say that it is up, if it is one that says so. So a slow `init` is the child's own time, not the closure's, and a
//! supervisor is never inside foreign code when it waits.
//!
//! Whatever a start function started and did not hand back, because it failed, panicked, or started two, is
//! unlinked and killed.

use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::time::Duration;

use atropos_kernel::task::IntoReason;
use atropos_kernel::{Body, Context, Pid, Reason, SpawnError, SpawnOptions};

use super::builder::Supervisor;
use super::requests::Request;
use super::spec::StartFn;
use crate::report::ReportHook;
use crate::server::{Server, Start};
use crate::start::{Launched, Ready, StartError, Tie, launch};

/// A child that has been started, or had nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "hand it back to the supervisor"]
pub struct StartedChild(Option<Pid>);

impl StartedChild {
    /// There was nothing to start, and that is no error: the child stays without a process.
    pub const IGNORE: Self = Self(None);

    /// Its process.
    pub fn pid(self) -> Option<Pid> {
        self.0
    }
}

/// See the module.
pub struct ChildStarter<'a> {
    cx: &'a Context<Request>,
    hook: Option<&'a ReportHook>,
    /// What was started last, and what before that: as a rule there is one.
    last: Option<Launched>,
    others: Vec<Launched>,
    /// How long the one that is handed back may take.
    init_timeout: Option<Duration>,
}

impl fmt::Debug for ChildStarter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Starter").field("supervisor", &self.cx.pid()).finish_non_exhaustive()
    }
}

impl<'a> ChildStarter<'a> {
    /// The supervisor.
    pub fn supervisor_pid(&self) -> Pid {
        self.cx.pid()
    }

    /// Who has a name.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.cx.whereis(name)
    }

    /// The child must be up in this time, or it is killed and its start has failed.
    pub fn init_timeout(&mut self, time: Duration) -> &mut Self {
        self.init_timeout = Some(time);
        self
    }

    fn room(&mut self) -> Result<(), StartError> {
        match self.last {
            None => Ok(()),
            Some(_) => self.others.try_reserve(1).map_err(|_| StartError::Spawn(SpawnError::NoMemory)),
        }
    }

    fn keep(&mut self, launched: Launched) -> StartedChild {
        let started = StartedChild(Some(launched.pid));
        self.others.extend(self.last.replace(launched));
        started
    }

    /// Starts a process that runs an async body; it is up at once.
    pub fn spawn<M, S, F>(&mut self, body: S) -> Result<StartedChild, StartError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        self.spawn_with(&SpawnOptions::new(), body)
    }

    /// As [`ChildStarter::spawn`], with options.
    pub fn spawn_with<M, S, F>(&mut self, options: &SpawnOptions<'_>, body: S) -> Result<StartedChild, StartError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        self.room()?;
        let (child, monitor) = self.cx.spawn_with(&options.clone().supervised(), body)?;
        let monitor = monitor.ok_or(SpawnError::NoMemory)?;
        Ok(self.keep(Launched::up(child.pid(), monitor)))
    }

    /// Starts a process that runs any body; it is up at once.
    pub fn spawn_body<B: Body>(&mut self, options: &SpawnOptions<'_>, body: B) -> Result<StartedChild, StartError> {
        self.room()?;
        let spawned = self.cx.spawn_body(&options.clone().supervised(), body)?;
        let monitor = spawned.monitor.ok_or(SpawnError::NoMemory)?;
        Ok(self.keep(Launched::up(spawned.pid, monitor)))
    }

    /// Starts a process that says itself when it is up ([`Ready`]).
    pub fn spawn_ready<M, S, F>(&mut self, options: &SpawnOptions<'_>, body: S) -> Result<StartedChild, StartError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>, Ready) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        self.room()?;
        let launched = launch(self.cx, &options.clone().supervised(), Tie::Child, body)?;
        Ok(self.keep(launched))
    }

    /// Starts a server; it is up when its `init` is done.
    pub fn server<'n, S: Server>(&mut self, server: impl Into<Start<'n, S>>) -> Result<StartedChild, StartError> {
        self.room()?;
        let start = server.into().inherit(self.hook).supervised();
        self.init_timeout = self.init_timeout.or(start.patience());
        let launched = start.launch(self.cx, Tie::Child)?;
        Ok(self.keep(launched))
    }

    /// Starts a supervisor; it is up when its children are.
    pub fn supervisor(&mut self, supervisor: impl Into<Supervisor>) -> Result<StartedChild, StartError> {
        self.room()?;
        let options = SpawnOptions::new().supervised();
        let launched = supervisor.into().inherit(self.hook).launch(self.cx, options, Tie::ChildSupervisor)?;
        Ok(self.keep(launched))
    }

    /// Takes over a process that is there already: it is linked and monitored from now on. One that
    /// is dead already has died of `noproc`.
    pub fn adopt(&mut self, pid: impl Into<Pid>) -> Result<StartedChild, StartError> {
        self.room()?;
        let pid = pid.into();
        let no_memory = |_| StartError::Spawn(SpawnError::NoMemory);
        let monitor = self.cx.monitor(pid).map_err(no_memory)?;
        // To the supervisor, which traps exits, a dead one is no error: its DOWN is here.
        if self.cx.link(pid).is_err() {
            self.cx.demonitor(monitor, true);
            return Err(StartError::Spawn(SpawnError::NoMemory));
        }
        Ok(self.keep(Launched::up(pid, monitor)))
    }
}

/// Has a start function start its child: the process, and how long it may take to be up.
pub(super) fn start(
    cx: &Context<Request>,
    hook: Option<&ReportHook>,
    factory: &mut StartFn,
) -> Result<(Option<Launched>, Option<Duration>), StartError> {
    let mut starter = ChildStarter { cx, hook, last: None, others: Vec::new(), init_timeout: None };
    // Put where it stays: through `catch_panic` it would be copied, and each time waited for.
    let mut made = Ok(StartedChild(None));
    if let Err(crash) = cx.with(|cx| cx.catch_panic(|| made = factory(&mut starter))) {
        made = Err(StartError::Crashed(crash));
    }
    let ChildStarter { last, others, init_timeout, .. } = starter;
    let wanted = made.as_ref().ok().and_then(|started| started.0);
    if others.is_empty() && wanted.is_some() && wanted == last.as_ref().map(|launched| launched.pid) {
        return Ok((last, init_timeout));
    }
    pick(cx, made, last.into_iter().chain(others), init_timeout)
}

/// As [`start`], of a start function that has failed, or started several, or none.
#[cold]
fn pick(
    cx: &Context<Request>,
    made: Result<StartedChild, StartError>,
    all: impl Iterator<Item = Launched>,
    init_timeout: Option<Duration>,
) -> Result<(Option<Launched>, Option<Duration>), StartError> {
    let wanted = made.as_ref().ok().and_then(|started| started.0);
    let mut child = None;
    for launched in all {
        if child.is_none() && wanted == Some(launched.pid) {
            child = Some(launched);
        } else {
            put_away(cx, &launched);
        }
    }
    match (made?.0, child) {
        (Some(_), Some(child)) => Ok((Some(child), init_timeout)),
        (None, _) => Ok((None, None)),
        // A `StartedChild` of another time: nothing was started now.
        (Some(_), None) => Err(StartError::Refused(Reason::value("a stale Started"))),
    }
}

/// Ends what was started and is not wanted.
#[cold]
fn put_away(cx: &Context<Request>, launched: &Launched) {
    cx.demonitor(launched.monitor, true);
    cx.unlink(launched.pid);
    // A kill needs no memory.
    let _ = cx.exit_inline(launched.pid, Reason::KILL);
}
