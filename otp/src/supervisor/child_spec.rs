//! What a supervisor needs to know of a child: its specification ([`ChildSpec`]), or the template
//! of a dynamic supervisor's children.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::future::Future;
use core::time::Duration;

use atropos_kernel::task::IntoReason;
use atropos_kernel::{CatchDrop, Context, Pid};

use super::starter::ChildStarter;
use crate::error::{SpecError, StartError};
use crate::spec::{AutoShutdown, ChildId, ChildKind, Restart, Shutdown};

/// The result of a start function: a child that was started, or `ignore`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "return it to the supervisor"]
pub struct StartedChild(pub(super) Option<Pid>);

impl StartedChild {
    /// The result `ignore`: nothing was started, which is not an error. The child stays without a
    /// process.
    pub const IGNORE: Self = Self(None);

    /// Returns the pid of the child.
    pub fn pid(self) -> Option<Pid> {
        self.0
    }
}

/// A start function, called once for each start of the child.
pub(crate) type StartFn = Box<dyn FnMut(&mut ChildStarter<'_>) -> Result<StartedChild, StartError> + Send>;

/// The properties of a child that its reports show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ChildProps {
    pub(crate) restart: Restart,
    /// The way to stop it; `None` means the default of its kind.
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) kind: ChildKind,
    pub(crate) significant: bool,
}

impl ChildProps {
    pub(crate) fn shutdown(&self) -> Shutdown {
        self.shutdown.unwrap_or(match self.kind {
            ChildKind::Worker => Shutdown::Within(Duration::from_secs(5)),
            ChildKind::Supervisor => Shutdown::Infinity,
        })
    }

    pub(crate) fn check(&self, id: Option<&ChildId>, auto: AutoShutdown) -> Result<(), SpecError> {
        if self.significant && self.restart == Restart::Permanent {
            return Err(SpecError::SignificantPermanent(id.cloned()));
        }
        if self.significant && auto == AutoShutdown::Never {
            return Err(SpecError::SignificantNever(id.cloned()));
        }
        Ok(())
    }
}

/// A child specification: an id, a start function, and the child's properties. By default a child
/// is permanent and not significant. A worker has 5 s to shut down, a supervisor unlimited time.
#[must_use = "give it to a supervisor"]
pub struct ChildSpec {
    pub(crate) id: ChildId,
    pub(crate) traits: ChildProps,
    /// The start function. The catch of the platform is set when the specification is passed to a
    /// supervisor's process.
    pub(crate) factory: CatchDrop<StartFn>,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec").field("id", &self.id).field("traits", &self.traits).finish_non_exhaustive()
    }
}

impl ChildSpec {
    /// Specifies a worker; `start` is called for each start.
    pub fn worker<F>(id: impl Into<ChildId>, start: F) -> Self
    where
        F: FnMut(&mut ChildStarter<'_>) -> Result<StartedChild, StartError> + Send + 'static,
    {
        Self { id: id.into(), traits: ChildProps::default(), factory: CatchDrop::new(Box::new(start)) }
    }

    /// Specifies a supervisor; `start` is called for each start.
    pub fn supervisor<F>(id: impl Into<ChildId>, start: F) -> Self
    where
        F: FnMut(&mut ChildStarter<'_>) -> Result<StartedChild, StartError> + Send + 'static,
    {
        let mut spec = Self::worker(id, start);
        spec.traits.kind = ChildKind::Supervisor;
        spec
    }

    /// Specifies a worker that runs an async body and is up as soon as it is spawned.
    pub fn of<M, B, F>(id: impl Into<ChildId>, body: B) -> Self
    where
        M: Send + 'static,
        B: FnOnce(Context<M>) -> F + Clone + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        Self::worker(id, move |starter: &mut ChildStarter<'_>| starter.spawn(body.clone()))
    }

    /// Sets when the child is restarted.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.traits.restart = restart;
        self
    }

    /// Makes the child transient, see [`Restart::Transient`].
    pub fn transient(self) -> Self {
        self.restart(Restart::Transient)
    }

    /// Makes the child temporary, see [`Restart::Temporary`].
    pub fn temporary(self) -> Self {
        self.restart(Restart::Temporary)
    }

    /// Sets how the child is stopped.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.traits.shutdown = Some(shutdown);
        self
    }

    /// Sets whether the child is significant, i.e. whether its termination may shut its supervisor
    /// down, see [`AutoShutdown`].
    pub fn significant(mut self, significant: bool) -> Self {
        self.traits.significant = significant;
        self
    }

    /// Returns the id of the child.
    pub fn id(&self) -> &ChildId {
        &self.id
    }
}

/// The arguments of a child, of the template's type.
pub(super) type ChildArgs = Box<dyn Any + Send>;

type MakeFn = dyn Fn(&mut ChildStarter<'_>, &mut ChildArgs) -> Result<StartedChild, StartError> + Send + Sync;

/// The template of a dynamic supervisor's children.
pub(super) struct Template {
    pub(super) traits: ChildProps,
    /// Set to the catch of the platform as the start function of a child is.
    pub(super) make: CatchDrop<Arc<MakeFn>>,
    accepts: fn(&ChildArgs) -> bool,
}

impl Template {
    /// Creates the template of temporary children that are started by `start`.
    pub(super) fn new<A, F>(start: F) -> Self
    where
        A: Send + 'static,
        F: Fn(&mut ChildStarter<'_>, &mut A) -> Result<StartedChild, StartError> + Send + Sync + 'static,
    {
        let make = move |starter: &mut ChildStarter<'_>, arguments: &mut ChildArgs| match arguments.downcast_mut::<A>()
        {
            Some(arguments) => start(starter, arguments),
            None => unreachable!("the type was checked when the child was added"),
        };
        let traits = ChildProps { restart: Restart::Temporary, ..ChildProps::default() };
        Self { traits, make: CatchDrop::new(Arc::new(make)), accepts: |arguments| arguments.is::<A>() }
    }

    /// Returns a start function for one child, or the arguments back if they are not of the
    /// template's type.
    pub(super) fn factory(&self, mut arguments: ChildArgs) -> Result<StartFn, ChildArgs> {
        if !(self.accepts)(&arguments) {
            return Err(arguments);
        }
        // Not wrapped: the supervisor drops its children before the template, so this is never the
        // last reference.
        let make = Arc::clone(&self.make);
        Ok(Box::new(move |starter| make(starter, &mut arguments)))
    }
}
