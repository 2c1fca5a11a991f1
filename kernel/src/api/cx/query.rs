//! A body's queries and requests to other processes, and its queries about itself.

use alloc::boxed::Box;

use crate::api::cx::Cx;
use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::ops::drain::FetchedBy;
use crate::ops::info::ProcessInfo;
use crate::ops::query::{GetInfo, IsAlive, Query, QueryFuture, QueryNode};
use crate::ops::request::open_request;
use crate::ops::request::{Reply, RequestFuture};
use crate::ops::send::{self, SendError};
use crate::pid::Pid;
use crate::process::process_ref::ProcessRef;
use crate::signal::held::HeldNode;

/// A value that is available now, or must be awaited.
#[derive(Debug)]
pub enum MaybeReady<T> {
    /// The value is available.
    Ready(T),
    /// The value will arrive.
    Pending(QueryFuture<T>),
}

impl<T> MaybeReady<T> {
    /// Returns the value, and waits for it if need be.
    pub async fn get(self) -> T {
        match self {
            Self::Ready(value) => value,
            Self::Pending(answer) => answer.await,
        }
    }
}

impl<M: Send + 'static> Cx<'_, M> {
    /// Returns `true`, now or later, if a process is alive after handling all signals that the
    /// caller has sent it before.
    ///
    /// # Errors
    /// [`NoMemory`] if no memory is left for a query.
    pub fn is_alive(&self, pid: Pid) -> Result<MaybeReady<bool>, NoMemory> {
        if pid == self.pid() {
            return Ok(MaybeReady::Ready(!self.is_dying()));
        }
        self.pay(1);
        let kernel_cx = &self.slice.kernel_cx;
        match kernel_cx.find(pid) {
            None => Ok(MaybeReady::Ready(false)),
            Some(process) if process.mailbox.is_closed() => Ok(MaybeReady::Ready(false)),
            Some(process) if process.mailbox.is_settled() => Ok(MaybeReady::Ready(true)),
            Some(process) => ask(kernel_cx, process, IsAlive),
        }
    }

    /// Returns `true` if a process is known to be dead. The check sends no query. A process that
    /// has not yet handled a fatal signal is not known to be dead, and neither is a process whose
    /// destructors run. After the caller has been notified of a death (by a DOWN, an EXIT, or its
    /// supervisor's answer), this returns `true`. Wait-free.
    pub fn is_gone(&self, pid: Pid) -> bool {
        self.pay(1);
        self.slice.kernel_cx.find(pid).is_none_or(|process| process.mailbox.is_closed())
    }

    /// Sends a message with a [`Reply`] in it. The returned future waits for the answer, or for the
    /// receiver's death. `make` builds the message: it is not called if the receiver is dead, and
    /// the message is dropped on an error. Lock-free.
    ///
    /// # Errors
    /// A [`SendError`] without the message, if it was not sent.
    pub fn request<N, T>(&self, to: Pid, make: impl FnOnce(Reply<T>) -> N) -> Result<RequestFuture<T>, SendError<()>>
    where
        N: Send + 'static,
        T: Send + 'static,
    {
        if self.is_dying() {
            return Err(SendError::Dying(()));
        }
        let kernel_cx = &self.slice.kernel_cx;
        let Some(process) = kernel_cx.find(to) else {
            self.pay(1);
            return Err(SendError::NoProc(()));
        };
        self.pay_for_signal_to(process);
        let block = send::request_block::<N>(kernel_cx, process)?;
        let (reply, watch, requested) = self
            .slice
            .with_owned(|owned| open_request::request(owned, kernel_cx))
            .map_err(|NoMemory| SendError::NoMemory(()))?;
        let Some(block) = block else {
            return match send::send_request(kernel_cx, process, watch, make(reply)) {
                Ok(()) => Ok(requested),
                Err(error) => {
                    // Dropped before the message with its reply, so that the reply wakes no
                    // process.
                    drop(requested);
                    Err(error.without_message())
                }
            };
        };
        match send::send_filled(kernel_cx, process, block.fill(watch, || make(reply))) {
            Ok(()) => Ok(requested.begins()),
            Err(message) => {
                // In this order, for the same reason.
                drop(requested);
                message.release(kernel_cx.pool());
                Err(SendError::NoProc(()))
            }
        }
    }

    /// Returns, now or later, a process's information about itself; `None` if it is dead.
    ///
    /// # Errors
    /// [`NoMemory`] if no memory is left, here or where the process answers.
    pub fn info(&self, pid: Pid) -> MaybeReady<Result<Option<Box<ProcessInfo>>, NoMemory>> {
        if pid == self.pid() {
            if self.is_dying() {
                return MaybeReady::Ready(Ok(None));
            }
            self.fetch(FetchedBy::Core);
            let info = self.slice.with_owned(|owned| ProcessInfo::try_of(owned, &self.slice.kernel_cx));
            return MaybeReady::Ready(info.map(Some));
        }
        self.pay(1);
        let kernel_cx = &self.slice.kernel_cx;
        match kernel_cx.find(pid) {
            None => MaybeReady::Ready(Ok(None)),
            Some(process) => ask(kernel_cx, process, GetInfo).unwrap_or(MaybeReady::Ready(Err(NoMemory))),
        }
    }
}

/// Sends a query to a process.
pub(crate) fn ask<Q: Query>(
    kernel_cx: &KernelCx<'_>,
    process: ProcessRef<'_>,
    query: Q,
) -> Result<MaybeReady<Q::Answer>, NoMemory> {
    let (query, answer) = QueryNode::try_new(&kernel_cx.kernel.nodes, query)?;
    match kernel_cx.push(process, HeldNode::of(query)) {
        Ok(()) => Ok(MaybeReady::Pending(answer)),
        Err(refused) => {
            kernel_cx.release(refused);
            Ok(MaybeReady::Ready(Q::dead()))
        }
    }
}
