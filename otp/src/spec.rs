//! The words of a specification: ids, strategies, restart types ([`Restart`]), shutdowns, kinds.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

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
