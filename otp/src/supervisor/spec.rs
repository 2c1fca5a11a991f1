//! The child specification: [`ChildSpec`] and its parts.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::future::Future;
use core::time::Duration;

use atropos_kernel::Context;
use atropos_kernel::task::IntoReason;

use super::starter::{ChildStarter, StartedChild};
use crate::start::StartError;

/// The id of a child, unique among its siblings.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(Cow<'static, str>);

impl ChildId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for ChildId {
    fn from(id: &'static str) -> Self {
        Self(Cow::Borrowed(id))
    }
}

impl From<String> for ChildId {
    fn from(id: String) -> Self {
        Self(Cow::Owned(id))
    }
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The restart strategy: which children are restarted when one of them terminates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Strategy {
    /// The child that terminated.
    #[default]
    OneForOne,
    /// All children: the rest are stopped, then all are started.
    OneForAll,
    /// The child that terminated and those that were started after it.
    RestForOne,
    /// As `OneForOne`, for any number of children from one template (`simple_one_for_one`).
    Dynamic,
}

/// The restart type: when a terminated child is restarted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Restart {
    /// The child is always restarted.
    #[default]
    Permanent,
    /// Only if it terminated abnormally, i.e. not with `normal`, `shutdown` or `{shutdown, _}`.
    Transient,
    /// Never: the supervisor deletes the child when it terminates.
    Temporary,
}

/// The way in which a child is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shutdown {
    /// It is killed at once (`brutal_kill`).
    Brutal,
    /// It gets an exit signal `shutdown`, and is killed if it has not exited in this time.
    Within(Duration),
    /// It gets an exit signal `shutdown`, and the supervisor waits without a limit.
    Infinity,
}

/// The kind of a child.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ChildKind {
    /// It has no children of its own.
    #[default]
    Worker,
    /// It is a supervisor.
    Supervisor,
}

/// Automatic shutdown, i.e. whether the termination of significant children shuts their supervisor
/// down. It counts only if the child terminates by itself and is not restarted; a requested
/// termination does not count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum AutoShutdown {
    /// No automatic shutdown.
    #[default]
    Never,
    /// Shutdown when any significant child terminates.
    AnySignificant,
    /// Shutdown when the last significant child terminates.
    AllSignificant,
}

/// The reason why a child specification is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SpecError {
    /// Two children have the same id.
    DuplicateId(ChildId),
    /// A permanent child is significant: it is always restarted, so it never terminates for good.
    SignificantPermanent(Option<ChildId>),
    /// A significant child of a supervisor without automatic shutdown.
    SignificantNever(Option<ChildId>),
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateId(id) => write!(f, "two children have the id {id:?}"),
            Self::SignificantPermanent(id) => write!(f, "{id:?} is permanent and cannot be significant"),
            Self::SignificantNever(id) => {
                write!(f, "{id:?} is significant, and its supervisor's auto_shutdown is never")
            }
        }
    }
}

impl core::error::Error for SpecError {}

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
    pub(crate) factory: StartFn,
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
        Self { id: id.into(), traits: ChildProps::default(), factory: Box::new(start) }
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
