//! The builder of a supervisor that is not started yet: [`Supervisor`].

use alloc::borrow::Cow;
use core::fmt;

use atropos_kernel::{Context, Host, SpawnOptions};

use super::backoff::Backoff;
use super::child_spec::ChildSpec;
use super::config::SupervisorConfig;
use super::handle::SupervisorRef;
use super::protocol::Request;
use super::run::supervise;
use crate::error::StartError;
use crate::report::ReportHook;
use crate::restart_intensity::{Intensity, RestartHistory};
use crate::spec::{AutoShutdown, Strategy};
use crate::start::{InitOutcome, InitSender, PendingInit, StartFuture, Tie, launch, ready, up};
use crate::wait::yield_if_exhausted;

/// A supervisor that is not started yet, and its child specifications. By default it allows one
/// restart in 5 s, as in OTP ([`Intensity::FORGIVING`] allows three).
#[must_use = "start it by `start_link`, `start_from_host`, or a supervisor"]
pub struct Supervisor {
    pub(super) config: SupervisorConfig,
    name: Option<Cow<'static, str>>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("strategy", &self.config.strategy)
            .field("intensity", &self.config.intensity)
            .field("children", &self.config.children)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Creates a supervisor without children.
    pub fn new(strategy: Strategy) -> Self {
        Self { config: SupervisorConfig::new(strategy), name: None }
    }

    /// Creates a supervisor with the strategy [`Strategy::OneForOne`]: only the child that
    /// terminated is restarted.
    pub fn one_for_one() -> Self {
        Self::new(Strategy::OneForOne)
    }

    /// Creates a supervisor with the strategy [`Strategy::OneForAll`]: all children are restarted.
    pub fn one_for_all() -> Self {
        Self::new(Strategy::OneForAll)
    }

    /// Creates a supervisor with the strategy [`Strategy::RestForOne`]: the child that terminated
    /// and those started after it are restarted.
    pub fn rest_for_one() -> Self {
        Self::new(Strategy::RestForOne)
    }

    /// Sets the restart intensity: how many restarts the supervisor allows in which period.
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.config.intensity = intensity;
        self
    }

    /// Sets automatic shutdown, i.e. whether the supervisor shuts down when significant children
    /// terminate.
    pub fn auto_shutdown(mut self, auto: AutoShutdown) -> Self {
        self.config.auto = auto;
        self
    }

    /// Adds a child at the end of the start order.
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.config.children.push(child);
        self
    }

    /// Adds children at the end of the start order.
    pub fn children(mut self, children: impl IntoIterator<Item = ChildSpec>) -> Self {
        self.config.children.extend(children);
        self
    }

    /// Sets the wait before restarts.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = Some(backoff);
        self
    }

    /// Continues the restart history of a supervisor that is gone ([`SupervisorRef::history`]), so
    /// the new one does not get a fresh restart budget.
    pub fn with_history(mut self, carried: RestartHistory) -> Self {
        self.config.carried = carried;
        self
    }

    /// Registers the supervisor under a name.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the hook that receives reports of its children's starts, exits and failures.
    /// Supervisors and servers below it without a hook of their own report to the same hook.
    pub fn on_report(mut self, hook: ReportHook) -> Self {
        self.config.hook = Some(hook);
        self
    }

    pub(crate) fn inherit(mut self, hook: Option<&ReportHook>) -> Self {
        if self.config.hook.is_none() {
            self.config.hook = hook.cloned();
        }
        self
    }

    /// Starts the supervisor, linked with the caller, and waits until its children are up. If the
    /// future is dropped before that, the supervisor shuts down with the children that it has
    /// started; the child whose start is in progress is killed. The caller then receives no signal
    /// from it.
    pub async fn start_link<M: Send + 'static>(self, cx: &Context<M>) -> Result<SupervisorRef, StartError> {
        self.start_as(cx, SpawnOptions::new().link()).await
    }

    /// Starts the supervisor as [`Supervisor::start_link`] does, but without a link. It survives
    /// the caller's exit, and only an exit signal of the caller or the host ends it.
    pub async fn start<M: Send + 'static>(self, cx: &Context<M>) -> Result<SupervisorRef, StartError> {
        self.start_as(cx, SpawnOptions::new()).await
    }

    async fn start_as<M: Send + 'static>(
        mut self,
        cx: &Context<M>,
        ties: SpawnOptions<'_>,
    ) -> Result<SupervisorRef, StartError> {
        self.config.catch_with(cx.with(|cx| cx.drop_catcher()));
        // W1: what is refused is an error at once.
        yield_if_exhausted(cx).await;
        let launched = self.launch(cx, ties, Tie::FreeSupervisor)?;
        match up(cx, launched, None).await? {
            (InitOutcome::Up, pid) => Ok(SupervisorRef::new(pid)),
            (InitOutcome::Ignored, _) => unreachable!("a supervisor ignores nothing"),
        }
    }

    /// Spawns the process, attached to the caller as the options say, and monitored.
    pub(crate) fn launch<M: Send + 'static>(
        mut self,
        cx: &Context<M>,
        ties: SpawnOptions<'_>,
        tie: Tie,
    ) -> Result<PendingInit, StartError> {
        self.config.catch_with(cx.with(|cx| cx.drop_catcher()));
        self.config.check()?;
        let Self { config, name } = self;
        let options = options(ties, name.as_deref());
        let body = move |cx: Context<Request>, ready: InitSender| supervise(cx, ready, config);
        launch(cx, &options, tie, body).map_err(|error| StartError::of_spawn(error, cx, name.as_deref()))
    }

    /// Starts the supervisor from the host. The second value resolves when the supervisor is up.
    pub fn start_from_host(mut self, host: &Host<'_>) -> Result<(SupervisorRef, StartFuture), StartError> {
        self.config.catch_with(host.drop_catcher());
        self.config.check()?;
        let Self { config, name } = self;
        let (ready, ack) = ready(None)?;
        let supervisor =
            host.spawn_async(&options(SpawnOptions::new(), name.as_deref()), move |cx| supervise(cx, ready, config))?;
        Ok((SupervisorRef::new(supervisor.pid()), StartFuture(ack)))
    }
}

fn options<'n>(ties: SpawnOptions<'n>, name: Option<&'n str>) -> SpawnOptions<'n> {
    let options = ties.trap_exit(true);
    match name {
        Some(name) => options.name(name),
        None => options,
    }
}
