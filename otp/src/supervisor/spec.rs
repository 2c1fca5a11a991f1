//! What is said about a child: [`ChildSpec`] and its parts.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::future::Future;
use core::time::Duration;

use atropos_kernel::Context;
use atropos_kernel::task::IntoReason;

use super::starter::{StartedChild, ChildStarter};
use crate::start::StartError;

/// What a child is called among its siblings.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(Cow<'static, str>);

impl ChildId {
    /// The text.
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

/// Whom a supervisor starts again when one of its children dies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Strategy {
    /// The one that died.
    #[default]
    OneForOne,
    /// All: the others are stopped, then all are started.
    OneForAll,
    /// The one that died and those that were started after it.
    RestForOne,
    /// As `OneForOne`, for any number of children from one template (simple_one_for_one).
    Dynamic,
}

/// When a child is started again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Unless it ended with `normal`, `shutdown` or `{shutdown, _}`.
    Transient,
    /// Never: its supervisor forgets it when it ends.
    Temporary,
}

/// How a child is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shutdown {
    /// It is killed.
    Brutal,
    /// It is told to shut down, and killed when it has not in this time.
    Within(Duration),
    /// It is told to shut down, and waited for.
    Infinity,
}

/// What a child is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ChildKind {
    /// It has no children of its own.
    #[default]
    Worker,
    /// It supervises.
    Supervisor,
}

/// Whether the end of significant children ends their supervisor: only an end after which the child is not
/// started again counts, and not one that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum AutoShutdown {
    /// No.
    #[default]
    Never,
    /// The end of any.
    AnySignificant,
    /// The end of the last.
    AllSignificant,
}

/// Why a specification is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SpecError {
    /// Two children of one id.
    DuplicateId(ChildId),
    /// A permanent child cannot be significant: it never ends for good.
    SignificantPermanent(Option<ChildId>),
    /// A significant child of a supervisor that does not shut down for it.
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

/// Starts a child, as often as it is called.
pub(crate) type StartFn = Box<dyn FnMut(&mut ChildStarter<'_>) -> Result<StartedChild, StartError> + Send>;

/// The properties of a child that its reports show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Traits {
    pub(crate) restart: Restart,
    /// `None`: by kind.
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) kind: ChildKind,
    pub(crate) significant: bool,
}

impl Traits {
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

/// A child of a supervisor: an id, a start function, and how it is to be treated. By default permanent, not
/// significant; a worker has 5 s to shut down, a supervisor all the time.
#[must_use = "give it to a supervisor"]
pub struct ChildSpec {
    pub(crate) id: ChildId,
    pub(crate) traits: Traits,
    pub(crate) factory: StartFn,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec").field("id", &self.id).field("traits", &self.traits).finish_non_exhaustive()
    }
}

impl ChildSpec {
    /// A worker, started by a function that is called for each start.
    pub fn worker<F>(id: impl Into<ChildId>, start: F) -> Self
    where
        F: FnMut(&mut ChildStarter<'_>) -> Result<StartedChild, StartError> + Send + 'static,
    {
        Self { id: id.into(), traits: Traits::default(), factory: Box::new(start) }
    }

    /// A supervisor, likewise.
    pub fn supervisor<F>(id: impl Into<ChildId>, start: F) -> Self
    where
        F: FnMut(&mut ChildStarter<'_>) -> Result<StartedChild, StartError> + Send + 'static,
    {
        let mut spec = Self::worker(id, start);
        spec.traits.kind = ChildKind::Supervisor;
        spec
    }

    /// A worker that runs an async body, which is up when it has been started.
    pub fn of<M, B, F>(id: impl Into<ChildId>, body: B) -> Self
    where
        M: Send + 'static,
        B: FnOnce(Context<M>) -> F + Clone + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        Self::worker(id, move |starter: &mut ChildStarter<'_>| starter.spawn(body.clone()))
    }

    /// When it is started again.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.traits.restart = restart;
        self
    }

    /// See [`Restart::Transient`].
    pub fn transient(self) -> Self {
        self.restart(Restart::Transient)
    }

    /// See [`Restart::Temporary`].
    pub fn temporary(self) -> Self {
        self.restart(Restart::Temporary)
    }

    /// How it is stopped.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.traits.shutdown = Some(shutdown);
        self
    }

    /// Whether its end may end its supervisor; see [`AutoShutdown`].
    pub fn significant(mut self, significant: bool) -> Self {
        self.traits.significant = significant;
        self
    }

    /// What it is called.
    pub fn id(&self) -> &ChildId {
        &self.id
    }
}
