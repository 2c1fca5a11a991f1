//! Queries that keep their place among the signals: [`QueryNode`].
//!
//! `is_alive` must return `false` to a caller that has sent a `kill` before, and the state of a
//! process belongs to its owner. So a query travels through the mailbox, and the process answers it
//! when it handles the signal (its body need not run). A dead process drops it: the caller learns
//! "dead" either way. The caller waits on a [`crate::ops::request`], through its [`QueryFuture`].
//!
//! Suspending and resuming a process are queries as well; the answer is how often it is then
//! suspended. As signals they keep their place too, and the count belongs to the owner, so a
//! running process pays nothing for it.

use alloc::boxed::Box;
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll};

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::pool::Pool;
use crate::memory::{self, NoMemory};
use crate::ops::info::ProcessInfo;
use crate::ops::relations::link;
use crate::ops::request::{Reply, ReplyFuture, reply};
use crate::pid::Pid;
use crate::process::header::Header;
use crate::signal::node::{Budget, Node, SignalKind};

/// The kind of query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QueryKind {
    /// Asks if the process is alive.
    Alive,
    /// Asks for all information about the process.
    Info,
    /// Suspends the process once more.
    Suspend,
    /// Undoes one suspension.
    Resume,
    /// Asks if the process is linked with this one.
    Linked(Pid),
}

/// The answer to a query; a dead process sends none.
#[derive(Debug)]
pub enum QueryReply {
    /// The process is dead.
    Dead,
    /// The process is alive.
    Alive,
    /// The process is alive, and is now suspended this many times.
    Suspended(u32),
    /// All information about the process. Boxed, so that an answer is small.
    Info(Box<ProcessInfo>),
    /// `true` if the process is linked.
    Linked(bool),
    /// The process had no memory for the answer.
    NoMemory,
}

/// A future of the answer to a query.
#[derive(Debug)]
#[must_use = "the future returns the answer"]
pub struct QueryFuture(ReplyFuture<QueryReply>);

impl Future for QueryFuture {
    type Output = QueryReply;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<QueryReply> {
        Pin::new(&mut self.0).poll(task).map(|said| said.unwrap_or(QueryReply::Dead))
    }
}

/// A query in transit.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct QueryNode {
    node: Node,
    question: QueryKind,
    answer: Reply<QueryReply>,
}

impl QueryNode {
    /// Allocates the query's node, ready to push, and the future of its answer.
    pub(crate) fn try_new(budget: &Budget, question: QueryKind) -> Result<(NonNull<Node>, QueryFuture), NoMemory> {
        unsafe fn release(node: NonNull<Node>, _: Option<&Pool>) {
            // SAFETY: N1: an `QueryNode`'s node, which its holder releases.
            unsafe { QueryNode::refuse(node) }
        }
        let node = budget.node(SignalKind::Ask, release).ok_or(NoMemory)?;
        let (answer, waiting) = reply()?;
        let ask = Self { node, question, answer };
        memory::try_new(ask).map(|ask| (ask.cast(), QueryFuture(waiting))).map_err(|_| NoMemory)
    }

    unsafe fn open(node: NonNull<Node>) -> (QueryKind, Reply<QueryReply>) {
        // SAFETY: N1: the caller holds the node, which heads an `QueryNode` (this function's
        // contract).
        let ask = unsafe { node.cast::<Self>().read() };
        // SAFETY: moved out above; not used again.
        unsafe { memory::free(node.cast::<Self>()) };
        (ask.question, ask.answer)
    }

    /// Answers the query for the process.
    ///
    /// # Safety
    /// The caller owns `process`, holds `node`, and does not use it again.
    pub(crate) unsafe fn answer(node: NonNull<Node>, process: &Header, kernel_cx: &KernelCx<'_>) {
        // SAFETY: N1: the caller holds the node (this function's contract); not used again.
        let (question, answer) = unsafe { Self::open(node) };
        let said = match question {
            QueryKind::Alive => QueryReply::Alive,
            QueryKind::Suspend | QueryKind::Resume => {
                // SAFETY: P1: the caller owns the process (this function's contract).
                let times = &mut unsafe { process.private() }.suspended;
                *times = match question {
                    QueryKind::Suspend => times.saturating_add(1),
                    _ => times.saturating_sub(1),
                };
                QueryReply::Suspended(*times)
            }
            QueryKind::Linked(other) => QueryReply::Linked(link::is_linked(process, kernel_cx, other)),
            QueryKind::Info => ProcessInfo::try_of(process, kernel_cx).map_or(QueryReply::NoMemory, QueryReply::Info),
        };
        let mut answer = Some((answer, said));
        // The waker of the query's caller is foreign: its panic must not hit the answering process.
        kernel_cx.catch_panic(&mut || answer.take().into_iter().for_each(|(answer, said)| answer.send(said)));
    }

    /// Drops the query of a dead process. This runs the waker of the query's caller, so it is
    /// called through [`KernelCx::release`], which catches a panic.
    ///
    /// # Safety
    /// The caller holds `node` and does not use it again.
    unsafe fn refuse(node: NonNull<Node>) {
        // Dropping the reply reports the death.
        // SAFETY: N1: the caller holds the node (this function's contract); not used again.
        drop(unsafe { Self::open(node) });
    }
}
