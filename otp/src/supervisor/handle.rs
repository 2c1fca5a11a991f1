//! The handle through which a process calls a supervisor: [`SupervisorRef`].
//!
//! A supervisor handles its requests in order. If it is busy with a slow child it replies late, so
//! these calls wait as long as the supervisor lives, as in OTP.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::TypeId;
use core::fmt;
use core::task::{Context as TaskContext, Poll, Waker};

use atropos_kernel::{Context, Host, Pid, Reply};

use super::child_spec::ChildSpec;
use super::protocol::{Added, ChildCounts, ChildInfo, ControlError, Request, StartChildError, Which};
use crate::call::{CallError, PendingCall, request};
use crate::restart_intensity::RestartHistory;
use crate::spec::ChildId;
use crate::wait::{Deadline, yield_if_exhausted};

/// A handle to a supervisor's process. It is cheap to copy and may outlive the supervisor.
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

/// A request to add a child that is cancelled when it is dropped. The supervisor detects the
/// cancellation by itself, unless it has replied and the reply was not read.
struct Undo<'c, M: Send + 'static> {
    cx: &'c Context<M>,
    to: Pid,
    pending: Option<PendingCall<Added>>,
}

impl<M: Send + 'static> Drop for Undo<'_, M> {
    fn drop(&mut self) {
        let Some(mut pending) = self.pending.take() else { return };
        // Outside the caller's own slice no request can be sent.
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
    /// Creates a handle to a process that the caller knows to be a supervisor; requests check this
    /// again.
    pub const fn new(pid: Pid) -> Self {
        Self(pid)
    }

    /// Returns a handle to a process if it is a live supervisor.
    pub fn of_process(host: &Host<'_>, pid: Pid) -> Option<Self> {
        (host.takes(pid) == Some(TypeId::of::<Request>())).then_some(Self(pid))
    }

    /// Returns the pid of the supervisor.
    pub const fn pid(self) -> Pid {
        self.0
    }

    /// Returns a handle to the process that is registered under the name.
    pub fn find<M: Send + 'static>(cx: &Context<M>, name: &str) -> Option<Self> {
        cx.whereis(name).map(Self)
    }

    pub(super) async fn ask<M, T>(self, cx: &Context<M>, make: impl FnOnce(Reply<T>) -> Request) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        // W1: a supervisor that is dead is an error at once.
        yield_if_exhausted(cx).await;
        let request = request(cx, self.0, make)?;
        request.answer(cx, None).await
    }

    /// Sends a request to add a child, as [`SupervisorRef::ask`] does. If the future is dropped,
    /// the request is undone: the supervisor stops the child and deletes it.
    pub(super) async fn ask_to_add<M, F>(self, cx: &Context<M>, make: F) -> Added
    where
        M: Send + 'static,
        F: FnOnce(Reply<Added>) -> Request,
    {
        // W1: as above.
        yield_if_exhausted(cx).await;
        let mut undo = Undo { cx, to: self.0, pending: Some(request(cx, self.0, make)?) };
        let Some(pending) = undo.pending.as_mut() else { unreachable!("put there just now") };
        let added = pending.look_until(cx, &mut Deadline::never(cx)).await;
        undo.pending = None;
        added.unwrap_or(Err(CallError::NoReply))?
    }

    /// Adds a child, starts it, and waits until it is up. Returns its pid, or `None` if its start
    /// function returned `StartedChild::IGNORE`. If the caller drops the future or dies before
    /// that, the child is stopped as soon as it is up, and its specification is deleted.
    pub async fn start_child<M: Send + 'static>(
        self,
        cx: &Context<M>,
        mut child: ChildSpec,
    ) -> Result<Option<Pid>, StartChildError> {
        child.factory.catch_with(cx.with(|cx| cx.drop_catcher()));
        let child = Box::new(child);
        self.ask_to_add(cx, |reply| Request::StartChild(child, reply)).await
    }

    /// Terminates a child and keeps its specification; that of a temporary child is deleted. The
    /// child is not restarted.
    pub async fn terminate_child<M: Send + 'static>(
        self,
        cx: &Context<M>,
        id: impl Into<ChildId>,
    ) -> Result<(), ControlError> {
        let which = Which::Id(id.into());
        self.ask(cx, |reply| Request::Terminate(which, reply)).await?
    }

    /// Terminates a child by its pid, also a dynamic one. A child that waits for a restart is found
    /// by its last pid, and its restart is cancelled. A process that is dead already is not an
    /// error.
    pub async fn terminate_process<M: Send + 'static>(
        self,
        cx: &Context<M>,
        child: impl Into<Pid>,
    ) -> Result<(), ControlError> {
        let which = Which::Process(child.into());
        self.ask(cx, |reply| Request::Terminate(which, reply)).await?
    }

    /// Starts a child that was terminated or has exited.
    pub async fn restart_child<M: Send + 'static>(
        self,
        cx: &Context<M>,
        id: impl Into<ChildId>,
    ) -> Result<Option<Pid>, ControlError> {
        let id = id.into();
        self.ask(cx, |reply| Request::Restart(id, reply)).await?
    }

    /// Deletes a child that was terminated or has exited.
    pub async fn delete_child<M: Send + 'static>(
        self,
        cx: &Context<M>,
        id: impl Into<ChildId>,
    ) -> Result<(), ControlError> {
        let id = id.into();
        self.ask(cx, |reply| Request::Delete(id, reply)).await?
    }

    /// Returns its children, in start order (OTP's supervisor lists the last one first).
    pub async fn which_children<M: Send + 'static>(self, cx: &Context<M>) -> Result<Vec<ChildInfo>, CallError> {
        self.ask(cx, Request::Which).await
    }

    /// Returns its restart history, which a successor can continue.
    pub async fn history<M: Send + 'static>(self, cx: &Context<M>) -> Result<RestartHistory, CallError> {
        self.ask(cx, Request::History).await
    }

    /// Returns the numbers of its children.
    pub async fn count_children<M: Send + 'static>(self, cx: &Context<M>) -> Result<ChildCounts, CallError> {
        self.ask(cx, Request::Count).await
    }
}
