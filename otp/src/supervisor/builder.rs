//! [`Supervisor`]: a supervisor that is to be started.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use atropos_kernel::{Context, Host, SpawnOptions};

use super::backoff::Backoff;
use super::dynamic::Template;
use super::handle::SupervisorRef;
use super::intensity::{RestartHistory, Intensity};
use super::requests::Request;
use super::running::supervise;
use super::spec::{AutoShutdown, ChildSpec, SpecError, Strategy};
use crate::report::ReportHook;
use crate::server::Starting;
use crate::start::{Confirmed, Launched, Ready, StartError, Tie, launch, ready, up};

/// A supervisor that is to be started, and its children. As in OTP it allows one restart in 5 s unless told otherwise
/// ([`Intensity::FORGIVING`] allows three).
#[must_use = "it is started by `link`, `from_host`, or a supervisor"]
pub struct Supervisor {
    pub(super) strategy: Strategy,
    pub(super) intensity: Intensity,
    pub(super) auto: AutoShutdown,
    pub(super) children: Vec<ChildSpec>,
    pub(super) template: Option<Template>,
    pub(super) hook: Option<ReportHook>,
    pub(super) backoff: Option<Backoff>,
    pub(super) carried: RestartHistory,
    name: Option<Cow<'static, str>>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("strategy", &self.strategy)
            .field("intensity", &self.intensity)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Of no child yet.
    pub fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            intensity: Intensity::DEFAULT,
            auto: AutoShutdown::Never,
            children: Vec::new(),
            template: None,
            hook: None,
            backoff: None,
            carried: RestartHistory::default(),
            name: None,
        }
    }

    /// See [`Strategy::OneForOne`].
    pub fn one_for_one() -> Self {
        Self::new(Strategy::OneForOne)
    }

    /// See [`Strategy::OneForAll`].
    pub fn one_for_all() -> Self {
        Self::new(Strategy::OneForAll)
    }

    /// See [`Strategy::RestForOne`].
    pub fn rest_for_one() -> Self {
        Self::new(Strategy::RestForOne)
    }

    /// How many restarts it allows.
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// Whether it ends with its significant children.
    pub fn auto_shutdown(mut self, auto: AutoShutdown) -> Self {
        self.auto = auto;
        self
    }

    /// One more child, behind the others.
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// More children, behind the others.
    pub fn children(mut self, children: impl IntoIterator<Item = ChildSpec>) -> Self {
        self.children.extend(children);
        self
    }

    /// Waits before restarts.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// Goes on with the restarts of one that is gone ([`SupervisorRef::history`]): it has no fresh budget.
    pub fn with_history(mut self, carried: RestartHistory) -> Self {
        self.carried = carried;
        self
    }

    /// Registered under a name.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Who is told of its children's starts, ends and failures. Supervisors and servers below it that have nobody of
    /// their own tell the same.
    pub fn on_report(mut self, hook: ReportHook) -> Self {
        self.hook = Some(hook);
        self
    }

    pub(crate) fn inherit(mut self, hook: Option<&ReportHook>) -> Self {
        if self.hook.is_none() {
            self.hook = hook.cloned();
        }
        self
    }

    /// What is wrong with it.
    fn check(&self) -> Result<(), SpecError> {
        let mut ids = BTreeSet::new();
        for child in &self.children {
            child.traits.check(Some(&child.id), self.auto)?;
            if !ids.insert(&child.id) {
                return Err(SpecError::DuplicateId(child.id.clone()));
            }
        }
        self.template.as_ref().map_or(Ok(()), |template| template.traits.check(None, self.auto))
    }

    /// Starts it, linked with the caller, and waits until its children are up. A future that is dropped before that has the
    /// supervisor shut down, with the children that it has: the one that is on its way to be up is killed. Nothing of it comes
    /// to the caller any more.
    pub async fn start_link<M: Send + 'static>(self, cx: &Context<M>) -> Result<SupervisorRef, StartError> {
        self.start_as(cx, SpawnOptions::new().link()).await
    }

    /// As [`Supervisor::start_link`], not linked: it lives on when the caller dies, and nothing ends it but an exit
    /// signal of the caller's or the host's.
    pub async fn start<M: Send + 'static>(self, cx: &Context<M>) -> Result<SupervisorRef, StartError> {
        self.start_as(cx, SpawnOptions::new()).await
    }

    async fn start_as<M: Send + 'static>(
        self,
        cx: &Context<M>,
        ties: SpawnOptions<'_>,
    ) -> Result<SupervisorRef, StartError> {
        let launched = self.launch(cx, ties, Tie::FreeSupervisor)?;
        match up(cx, launched, None).await? {
            (Confirmed::Up, pid) => Ok(SupervisorRef::new(pid)),
            (Confirmed::Ignored, _) => unreachable!("a supervisor ignores nothing"),
        }
    }

    /// Starts the process, tied to the caller as the options say, and monitored.
    pub(crate) fn launch<M: Send + 'static>(
        mut self,
        cx: &Context<M>,
        ties: SpawnOptions<'_>,
        tie: Tie,
    ) -> Result<Launched, StartError> {
        self.check()?;
        let name = self.name.take();
        let options = options(ties, name.as_deref());
        let body = move |cx: Context<Request>, ready: Ready| supervise(cx, ready, self);
        launch(cx, &options, tie, body).map_err(|error| StartError::of_spawn(error, cx, name.as_deref()))
    }

    /// Starts it from the host. The second value says when it is up.
    pub fn start_from_host(mut self, host: &Host<'_>) -> Result<(SupervisorRef, Starting), StartError> {
        self.check()?;
        let name = self.name.take();
        let (ready, ack) = ready(None)?;
        let supervisor =
            host.spawn_async(&options(SpawnOptions::new(), name.as_deref()), move |cx| supervise(cx, ready, self))?;
        Ok((SupervisorRef::new(supervisor.pid()), Starting(ack)))
    }
}

fn options<'n>(ties: SpawnOptions<'n>, name: Option<&'n str>) -> SpawnOptions<'n> {
    let options = ties.trap_exit(true);
    match name {
        Some(name) => options.name(name),
        None => options,
    }
}
