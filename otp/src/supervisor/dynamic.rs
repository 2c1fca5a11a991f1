//! A supervisor of any number of children that are started from one template: [`DynamicSupervisor`]
//! (`simple_one_for_one`).
//!
//! The template is a function of a child's arguments. Each child keeps its arguments for its
//! restarts; those of a temporary child are dropped when it is up. Children have no ids and are
//! identified by their pids.

use alloc::boxed::Box;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

use atropos_kernel::{Context, Host, Pid};

use super::backoff::Backoff;
use super::builder::Supervisor;
use super::child_spec::{ChildArgs, ChildProps, StartedChild, Template};
use super::handle::SupervisorRef;
use super::protocol::{Request, StartChildError};
use super::starter::ChildStarter;
use crate::error::StartError;
use crate::report::ReportHook;
use crate::restart_intensity::Intensity;
use crate::spec::{AutoShutdown, ChildKind, Restart, Shutdown, Strategy};
use crate::start::StartFuture;

/// A supervisor for children that are started from one template with arguments of type `A`.
#[must_use = "start it by `start_link`, `start_from_host`, or a supervisor"]
pub struct DynamicSupervisor<A> {
    supervisor: Supervisor,
    takes: PhantomData<fn(A)>,
}

impl<A> fmt::Debug for DynamicSupervisor<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.supervisor, f)
    }
}

impl<A> From<DynamicSupervisor<A>> for Supervisor {
    fn from(dynamic: DynamicSupervisor<A>) -> Self {
        dynamic.supervisor
    }
}

impl<A: Send + 'static> DynamicSupervisor<A> {
    /// Creates a supervisor whose children are started by `start`, each with its own arguments,
    /// which are the same at every start. The children are temporary by default.
    pub fn new<F>(start: F) -> Self
    where
        F: Fn(&mut ChildStarter<'_>, &mut A) -> Result<StartedChild, StartError> + Send + Sync + 'static,
    {
        let mut supervisor = Supervisor::new(Strategy::Dynamic);
        supervisor.config.template = Some(Template::new(start));
        Self { supervisor, takes: PhantomData }
    }

    fn traits(mut self, change: impl FnOnce(&mut ChildProps)) -> Self {
        if let Some(template) = &mut self.supervisor.config.template {
            change(&mut template.traits);
        }
        self
    }

    fn but(mut self, change: impl FnOnce(Supervisor) -> Supervisor) -> Self {
        self.supervisor = change(self.supervisor);
        self
    }

    /// Sets when its children are restarted.
    pub fn restart(self, restart: Restart) -> Self {
        self.traits(|traits| traits.restart = restart)
    }

    /// Sets how its children are stopped.
    pub fn shutdown(self, shutdown: Shutdown) -> Self {
        self.traits(|traits| traits.shutdown = Some(shutdown))
    }

    /// Sets the kind of its children: workers or supervisors.
    pub fn kind(self, kind: ChildKind) -> Self {
        self.traits(|traits| traits.kind = kind)
    }

    /// Sets whether its children are significant, i.e. whether their termination may shut the
    /// supervisor down.
    pub fn significant(self, significant: bool) -> Self {
        self.traits(|traits| traits.significant = significant)
    }

    /// Sets automatic shutdown, see [`Supervisor::auto_shutdown`].
    pub fn auto_shutdown(self, auto: AutoShutdown) -> Self {
        self.but(|supervisor| supervisor.auto_shutdown(auto))
    }

    /// Sets the restart intensity, see [`Supervisor::intensity`].
    pub fn intensity(self, intensity: Intensity) -> Self {
        self.but(|supervisor| supervisor.intensity(intensity))
    }

    /// Sets the wait before restarts, see [`Supervisor::backoff`].
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.but(|supervisor| supervisor.backoff(backoff))
    }

    /// Sets the report hook, see [`Supervisor::on_report`].
    pub fn on_report(self, hook: ReportHook) -> Self {
        self.but(|supervisor| supervisor.on_report(hook))
    }

    /// Registers the supervisor under a name, see [`Supervisor::name`].
    pub fn name(self, name: impl Into<alloc::borrow::Cow<'static, str>>) -> Self {
        self.but(|supervisor| supervisor.name(name))
    }

    /// Starts the supervisor linked with the caller, see [`Supervisor::start_link`].
    pub async fn start_link<M: Send + 'static>(self, cx: &Context<M>) -> Result<DynamicRef<A>, StartError> {
        self.supervisor.start_link(cx).await.map(DynamicRef::new)
    }

    /// Starts the supervisor from the host, see [`Supervisor::start_from_host`].
    pub fn start_from_host(self, host: &Host<'_>) -> Result<(DynamicRef<A>, StartFuture), StartError> {
        self.supervisor.start_from_host(host).map(|(supervisor, starting)| (DynamicRef::new(supervisor), starting))
    }
}

/// A handle to a dynamic supervisor that starts children there. It dereferences to
/// [`SupervisorRef`] for everything else.
pub struct DynamicRef<A> {
    supervisor: SupervisorRef,
    takes: PhantomData<fn(A)>,
}

impl<A> Clone for DynamicRef<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for DynamicRef<A> {}

impl<A> fmt::Debug for DynamicRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.supervisor, f)
    }
}

impl<A> Deref for DynamicRef<A> {
    type Target = SupervisorRef;

    fn deref(&self) -> &SupervisorRef {
        &self.supervisor
    }
}

impl<A: Send + 'static> DynamicRef<A> {
    /// Creates a handle to a supervisor that the caller knows to take such arguments. The
    /// supervisor checks the type again.
    pub fn new(supervisor: SupervisorRef) -> Self {
        Self { supervisor, takes: PhantomData }
    }

    /// Starts a child with these arguments and waits until it is up. Returns its pid, or `None` if
    /// its start function returned `StartedChild::IGNORE`. If the caller drops the future, the
    /// start is undone, see [`SupervisorRef::start_child`].
    pub async fn start<M: Send + 'static>(self, cx: &Context<M>, arguments: A) -> Result<Option<Pid>, StartChildError> {
        let arguments: ChildArgs = Box::new(arguments);
        self.supervisor.ask_to_add(cx, |reply| Request::StartDynamic(arguments, reply)).await
    }
}
