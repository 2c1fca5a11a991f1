//! The context of a start function: [`ChildStarter`].
//!
//! A start function is a plain closure that runs in the supervisor's process and must be quick. It
//! spawns the child's process, linked and monitored, and returns what the starter gave it. The
//! supervisor then waits for the child's acknowledgement, if this kind of child sends one. A slow
//! `init` therefore costs the child's time and not the closure's, and a supervisor never waits
//! inside user code.
//!
//! A process that a start function spawned and did not return (it failed, panicked or spawned two)
//! is unlinked and killed.

use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::time::Duration;

use atropos_kernel::task::IntoReason;
use atropos_kernel::{Body, Context, Pid, Reason, SpawnError, SpawnOptions};

use super::builder::Supervisor;
use super::child_spec::{StartFn, StartedChild};
use super::protocol::Request;
use crate::error::StartError;
use crate::report::ReportHook;
use crate::server::{Server, Start};
use crate::start::{InitSender, PendingInit, Tie, launch};

/// The context that a start function uses to start its child.
pub struct ChildStarter<'a> {
    cx: &'a Context<Request>,
    hook: Option<&'a ReportHook>,
    /// The process that was started last, and those before it: usually there is one.
    last: Option<PendingInit>,
    others: Vec<PendingInit>,
    /// The time limit for the acknowledgement of the returned child.
    init_timeout: Option<Duration>,
}

impl fmt::Debug for ChildStarter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildStarter").field("supervisor", &self.cx.pid()).finish_non_exhaustive()
    }
}

impl<'a> ChildStarter<'a> {
    /// Returns the pid of the supervisor.
    pub fn supervisor_pid(&self) -> Pid {
        self.cx.pid()
    }

    /// Returns the pid that is registered under a name.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.cx.whereis(name)
    }

    /// Sets the time in which the child must be up; otherwise it is killed and its start has
    /// failed.
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

    fn keep(&mut self, launched: PendingInit) -> StartedChild {
        let started = StartedChild(Some(launched.pid));
        self.others.extend(self.last.replace(launched));
        started
    }

    /// Spawns a process that runs an async body; it is up at once.
    pub fn spawn<M, S, F>(&mut self, body: S) -> Result<StartedChild, StartError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        self.spawn_with(&SpawnOptions::new(), body)
    }

    /// Spawns a process as [`ChildStarter::spawn`] does, with options.
    pub fn spawn_with<M, S, F>(&mut self, options: &SpawnOptions<'_>, body: S) -> Result<StartedChild, StartError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        self.room()?;
        let (child, monitor) = self.cx.spawn_with(&options.clone().supervised(), body)?;
        let monitor = monitor.ok_or(SpawnError::NoMemory)?;
        Ok(self.keep(PendingInit::up(child.pid(), monitor)))
    }

    /// Spawns a process that runs any body; it is up at once.
    pub fn spawn_body<B: Body>(&mut self, options: &SpawnOptions<'_>, body: B) -> Result<StartedChild, StartError> {
        self.room()?;
        let spawned = self.cx.spawn_body(&options.clone().supervised(), body)?;
        let monitor = spawned.monitor.ok_or(SpawnError::NoMemory)?;
        Ok(self.keep(PendingInit::up(spawned.pid, monitor)))
    }

    /// Spawns a process that acknowledges its start itself ([`InitSender`]).
    pub fn spawn_ready<M, S, F>(&mut self, options: &SpawnOptions<'_>, body: S) -> Result<StartedChild, StartError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>, InitSender) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        self.room()?;
        let launched = launch(self.cx, &options.clone().supervised(), Tie::Child, body)?;
        Ok(self.keep(launched))
    }

    /// Starts a server; it is up when its `init` has returned.
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

    /// Adopts an existing process: it is linked and monitored from now on. If it is dead already,
    /// its exit reason is `noproc`.
    pub fn adopt(&mut self, pid: impl Into<Pid>) -> Result<StartedChild, StartError> {
        self.room()?;
        let pid = pid.into();
        let no_memory = |_| StartError::Spawn(SpawnError::NoMemory);
        let monitor = self.cx.monitor(pid).map_err(no_memory)?;
        // The supervisor traps exits, so a dead process is not an error here: its DOWN is in the
        // mailbox.
        if self.cx.link(pid).is_err() {
            self.cx.demonitor(monitor, true);
            return Err(StartError::Spawn(SpawnError::NoMemory));
        }
        Ok(self.keep(PendingInit::up(pid, monitor)))
    }
}

/// Calls a start function. Returns the child's process and the time limit for its acknowledgement.
pub(super) fn start(
    cx: &Context<Request>,
    hook: Option<&ReportHook>,
    factory: &mut StartFn,
) -> Result<(Option<PendingInit>, Option<Duration>), StartError> {
    let mut starter = ChildStarter { cx, hook, last: None, others: Vec::new(), init_timeout: None };
    // Built in place: returned through `catch_panic` the result would be copied, and each copy
    // would stall on store forwarding.
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

/// Selects the child as [`start`] does, after a start function that failed, or spawned several
/// processes or none.
#[cold]
fn pick(
    cx: &Context<Request>,
    made: Result<StartedChild, StartError>,
    all: impl Iterator<Item = PendingInit>,
    init_timeout: Option<Duration>,
) -> Result<(Option<PendingInit>, Option<Duration>), StartError> {
    let wanted = made.as_ref().ok().and_then(|started| started.0);
    let mut child = None;
    for launched in all {
        if child.is_none() && wanted == Some(launched.pid) {
            child = Some(launched);
        } else {
            release(cx, &launched);
        }
    }
    match (made?.0, child) {
        (Some(_), Some(child)) => Ok((Some(child), init_timeout)),
        (None, _) => Ok((None, None)),
        // The `StartedChild` is from an earlier call: nothing was started now.
        (Some(_), None) => Err(StartError::Refused(Reason::value("a stale StartedChild"))),
    }
}

/// Kills a process that was started and not returned.
#[cold]
fn release(cx: &Context<Request>, launched: &PendingInit) {
    cx.demonitor(launched.monitor, true);
    cx.unlink(launched.pid);
    // A kill needs no memory.
    let _ = cx.exit_inline(launched.pid, Reason::KILL);
}
