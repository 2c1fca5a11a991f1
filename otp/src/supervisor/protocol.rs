//! The messages of a supervisor's process ([`Request`]) and the replies.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use atropos_kernel::{Pid, Reply};

use super::child_spec::{ChildArgs, ChildSpec};
use super::children::ChildKey;
use crate::call::CallError;
use crate::error::{SpecError, StartError};
use crate::restart_intensity::RestartHistory;
use crate::spec::{ChildId, ChildKind};

/// The child to terminate.
#[derive(Debug)]
pub(super) enum Which {
    Id(ChildId),
    Process(Pid),
}

/// The reply to a request to add a child.
pub(super) type Added = Result<Option<Pid>, StartChildError>;

/// The message type of a supervisor's process.
pub(crate) enum Request {
    StartChild(Box<ChildSpec>, Reply<Added>),
    StartDynamic(ChildArgs, Reply<Added>),
    /// Withdraws a child whose caller was cancelled after the reply was sent and before it was
    /// read: the supervisor stops and deletes the child.
    GiveUp(Pid),
    Terminate(Which, Reply<Result<(), ControlError>>),
    Restart(ChildId, Reply<Result<Option<Pid>, ControlError>>),
    Delete(ChildId, Reply<Result<(), ControlError>>),
    Which(Reply<Vec<ChildInfo>>),
    Count(Reply<ChildCounts>),
    History(Reply<RestartHistory>),
    /// A message of the supervisor to itself: this attempt of a restart, and whether it has been
    /// counted already.
    Try {
        place: ChildKey,
        attempt: u64,
        counted: bool,
    },
}

/// The state of a child.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChildState {
    /// It has a process.
    Up(Pid),
    /// It has no process: it was stopped, has terminated, or its start returned `ignore`.
    Down,
    /// It has no process and will be restarted.
    Restarting,
}

/// A child, as `which_children` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildInfo {
    /// Its id; `None` for a dynamic child.
    pub id: Option<ChildId>,
    /// Its state.
    pub state: ChildState,
    /// Its kind: worker or supervisor.
    pub kind: ChildKind,
}

/// The numbers of children, as `count_children` returns them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ChildCounts {
    /// Child specifications: one for each child, or the one template.
    pub specs: usize,
    /// Children that have a process.
    pub active: usize,
    /// Children that are supervisors, alive or not.
    pub supervisors: usize,
    /// Children that are workers, alive or not.
    pub workers: usize,
}

/// The reason why a child was not added.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StartChildError {
    /// A child with this id exists already: its pid, unless it is restarting.
    AlreadyStarted(Option<Pid>),
    /// A child with this id exists without a process: restart or delete it.
    AlreadyPresent,
    /// The child specification is refused.
    Spec(SpecError),
    /// The child did not start; the supervisor keeps nothing of it.
    Start(StartError),
    /// The supervisor takes template arguments of its own type, not a child specification, or the
    /// other way round.
    KindMismatch,
    /// The call got no reply.
    Call(CallError),
}

/// The reason why a request about a child did nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ControlError {
    /// The supervisor has no such child.
    NotFound,
    /// The child has a process: terminate it first.
    Running,
    /// The child waits for its restart.
    Restarting,
    /// The child did not start.
    Start(StartError),
    /// The children of a dynamic supervisor have no ids: use the pid.
    Dynamic,
    /// The call got no reply.
    Call(CallError),
}

impl fmt::Display for StartChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyStarted(_) => f.write_str("a child with this id is already started"),
            Self::AlreadyPresent => f.write_str("a child with this id exists without a process (use restart_child)"),
            Self::Spec(error) => write!(f, "{error}"),
            Self::Start(error) => write!(f, "{error}"),
            Self::KindMismatch => {
                f.write_str("this supervisor takes template arguments, not a child spec (or vice versa)")
            }
            Self::Call(error) => write!(f, "{error}"),
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such child"),
            Self::Running => f.write_str("the child is running"),
            Self::Restarting => f.write_str("the child waits for its restart"),
            Self::Start(error) => write!(f, "{error}"),
            Self::Dynamic => f.write_str("the children of a dynamic supervisor have no ids"),
            Self::Call(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for StartChildError {}
impl core::error::Error for ControlError {}

impl From<CallError> for StartChildError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<CallError> for ControlError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}
