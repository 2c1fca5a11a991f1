//! The errors of starts: [`StartError`], [`SpecError`].

use core::fmt;

use atropos_kernel::{Context, NoMemory, Pid, Reason, RegisterError, SpawnError};

use crate::spec::ChildId;

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

/// The reason why a process could not be started. Nothing of it is left.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The start function, or the process itself, returned this error.
    Refused(Reason),
    /// The start function panicked, or the process exited before it was up.
    Crashed(Reason),
    /// It was not up in time, and was killed.
    TimedOut,
    /// Another process has its name.
    AlreadyStarted(Pid),
    /// The process could not be spawned.
    Spawn(SpawnError),
    /// The supervisor's child specification is refused.
    Spec(SpecError),
}

impl StartError {
    /// Returns the reason with which another process exits because of this error.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused(reason) | Self::Crashed(reason) => reason.clone(),
            other => Reason::value(other.clone()),
        }
    }

    /// Converts the error of a spawn under a name; if the name is in use, returns the process that
    /// has it.
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
            Self::Refused(reason) => write!(f, "the start was refused: {reason}"),
            Self::Crashed(reason) => write!(f, "the process exited before it was up: {reason}"),
            Self::TimedOut => f.write_str("the process was not up in time"),
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
