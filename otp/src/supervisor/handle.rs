//! Who asks a supervisor: [`SupervisorRef`].
//!
//! A request is met in its turn. A supervisor that is busy with a slow child answers late, so these calls wait
//! for as long as it lives, as in OTP.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::TypeId;
use core::fmt;
use core::task::{Context as TaskContext, Poll, Waker};

use atropos_kernel::{Context, Host, Pid, Reply};

use super::intensity::RestartHistory;
use super::requests::{Added, Request, Which};
use super::spec::{ChildId, ChildKind, ChildSpec, SpecError};
use crate::call::{CallError, PendingCall, request};
use crate::start::StartError;
use crate::wait::Alarm;

/// A supervisor's process. Cheap to copy; it outlives the supervisor.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SupervisorRef(Pid);

impl fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Supervisor({})", self.0)
    }
}

impl From<SupervisorRef> for Pid {
    fn from(supervisor: SupervisorRef) -> Self {
        supervisor.0
    }
}

/// How a child is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChildState {
    /// It has a process.
    Up(Pid),
    /// It has none: it was stopped, has ended, or had nothing to do.
    Down,
    /// It has none, and will be started again.
    Restarting,
}

/// A child, as `which_children` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildInfo {
    /// Its id; `None` for a dynamic one.
    pub id: Option<ChildId>,
    /// How it is.
    pub state: ChildState,
    /// What it is.
    pub kind: ChildKind,
}

/// How many children there are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Specifications: children, or the one template.
    pub specs: usize,
    /// Processes.
    pub active: usize,
    /// Children that are supervisors, whether alive or not.
    pub supervisors: usize,
    /// Children that are workers, likewise.
    pub workers: usize,
}

/// Why a child was not added.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StartChildError {
    /// A child of this id is there: its process, if it is not about to be restarted.
    AlreadyStarted(Option<Pid>),
    /// A child of this id is there, without a process: restart or delete it.
    AlreadyPresent,
    /// The specification is refused.
    Spec(SpecError),
    /// It did not start; nothing of it is kept.
    Start(StartError),
    /// The supervisor takes arguments for its template, of its type, and no specifications; or the other way round.
    KindMismatch,
    /// There was no answer.
    Call(CallError),
}

/// Why nothing was done to a child.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no such child.
    NotFound,
    /// It has a process: terminate it first.
    Running,
    /// It is about to be restarted.
    Restarting,
    /// It did not start.
    Start(StartError),
    /// A dynamic supervisor's children have no ids: name the process.
    Dynamic,
    /// There was no answer.
    Call(CallError),
}

impl fmt::Display for StartChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyStarted(_) => f.write_str("a child of this id has been started"),
            Self::AlreadyPresent => f.write_str("a child of this id is there, without a process"),
            Self::Spec(error) => write!(f, "{error}"),
            Self::Start(error) => write!(f, "{error}"),
            Self::KindMismatch => f.write_str("this is not what the supervisor starts"),
            Self::Call(error) => write!(f, "{error}"),
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such child"),
            Self::Running => f.write_str("the child is running"),
            Self::Restarting => f.write_str("the child is about to be restarted"),
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

/// A request to add a child that is given up when it is dropped. The supervisor finds that out by itself, unless it has answered
/// and the answer was not read.
struct Undo<'c, M: Send + 'static> {
    cx: &'c Context<M>,
    to: Pid,
    pending: Option<PendingCall<Added>>,
}

impl<M: Send + 'static> Drop for Undo<'_, M> {
    fn drop(&mut self) {
        let Some(mut pending) = self.pending.take() else { return };
        // Outside the caller's own slice nothing can be asked.
        if self.cx.try_with(|_| ()).is_none() {
            return;
        }
        let answer = pending.poll(self.cx, &mut TaskContext::from_waker(Waker::noop()));
        if let Poll::Ready(Ok(Ok(Some(pid)))) = answer {
            let _ = self.cx.with(|cx| cx.send(self.to, Request::GiveUp(pid)));
        }
    }
}

impl SupervisorRef {
    /// A process that the caller knows to be a supervisor; requests check it again.
    pub const fn new(pid: Pid) -> Self {
        Self(pid)
    }

    /// A process, if it is a supervisor that lives.
    pub fn of_process(host: &Host<'_>, pid: Pid) -> Option<Self> {
        (host.takes(pid) == Some(TypeId::of::<Request>())).then_some(Self(pid))
    }

    /// Who.
    pub const fn pid(self) -> Pid {
        self.0
    }

    /// Whoever has the name.
    pub fn find<M: Send + 'static>(cx: &Context<M>, name: &str) -> Option<Self> {
        cx.whereis(name).map(Self)
    }

    pub(super) async fn ask<M, T>(self, cx: &Context<M>, make: impl FnOnce(Reply<T>) -> Request) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        let request = request(cx, self.0, make)?;
        request.answer(cx, None).await
    }

    /// As [`SupervisorRef::ask`], to add a child. Given up, it is undone: the supervisor stops the child, and forgets it.
    pub(super) async fn ask_to_add<M, F>(self, cx: &Context<M>, make: F) -> Added
    where
        M: Send + 'static,
        F: FnOnce(Reply<Added>) -> Request,
    {
        let mut undo = Undo { cx, to: self.0, pending: Some(request(cx, self.0, make)?) };
        let Some(pending) = undo.pending.as_mut() else { unreachable!("put there just now") };
        let added = pending.look_until(cx, &mut Alarm::never(cx)).await;
        undo.pending = None;
        added.unwrap_or(Err(CallError::NoReply))?
    }

    /// Adds a child, starts it, and waits until it is up; its process, or `None` when it had nothing to do. If the caller gives up
    /// before, because it drops the future or dies, the child is stopped as soon as it is up, and forgotten.
    pub async fn start_child<M: Send + 'static>(
        self,
        cx: &Context<M>,
        child: ChildSpec,
    ) -> Result<Option<Pid>, StartChildError> {
        let child = Box::new(child);
        self.ask_to_add(cx, |reply| Request::StartChild(child, reply)).await
    }

    /// Stops a child and keeps its specification; a temporary one is forgotten. No restart follows.
    pub async fn terminate_child<M: Send + 'static>(
        self,
        cx: &Context<M>,
        id: impl Into<ChildId>,
    ) -> Result<(), ControlError> {
        let which = Which::Id(id.into());
        self.ask(cx, |reply| Request::Terminate(which, reply)).await?
    }

    /// Stops a child by its process, also a dynamic one; one that waits to be restarted, by the process that it had last: it is
    /// not started again then. One that is dead already is no error.
    pub async fn terminate_process<M: Send + 'static>(
        self,
        cx: &Context<M>,
        child: impl Into<Pid>,
    ) -> Result<(), ControlError> {
        let which = Which::Process(child.into());
        self.ask(cx, |reply| Request::Terminate(which, reply)).await?
    }

    /// Starts a child that was terminated or has ended.
    pub async fn restart_child<M: Send + 'static>(
        self,
        cx: &Context<M>,
        id: impl Into<ChildId>,
    ) -> Result<Option<Pid>, ControlError> {
        let id = id.into();
        self.ask(cx, |reply| Request::Restart(id, reply)).await?
    }

    /// Forgets a child that was terminated or has ended.
    pub async fn delete_child<M: Send + 'static>(
        self,
        cx: &Context<M>,
        id: impl Into<ChildId>,
    ) -> Result<(), ControlError> {
        let id = id.into();
        self.ask(cx, |reply| Request::Delete(id, reply)).await?
    }

    /// Its children, in the order of start (OTP's supervisor names the last one first).
    pub async fn which_children<M: Send + 'static>(self, cx: &Context<M>) -> Result<Vec<ChildInfo>, CallError> {
        self.ask(cx, Request::Which).await
    }

    /// Its restarts so far, to be carried over to a successor.
    pub async fn history<M: Send + 'static>(self, cx: &Context<M>) -> Result<RestartHistory, CallError> {
        self.ask(cx, Request::History).await
    }

    /// How many children it has.
    pub async fn count_children<M: Send + 'static>(self, cx: &Context<M>) -> Result<Counts, CallError> {
        self.ask(cx, Request::Count).await
    }
}
