//! Questions that keep their place among the signals: [`QueryNode`].
//!
//! `is_alive` must be false for who has sent a `kill` before, and what a process knows of
//! itself is its owner's. So a question travels through the mailbox, the process answers
//! it when it meets it (its body need not run), and a dead one lets it fall: the asker
//! finds "dead" either way. The asker waits on a [`crate::reply`], by its one [`QueryFuture`].
//!
//! To suspend a process, and to resume it, are questions as well, whose answer is how often it is suspended then: as
//! signals they keep their place too, and the count is the owner's, so that a running process pays nothing for it.

use alloc::boxed::Box;
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll};

use super::node::{Budget, SignalKind, Node};
use crate::hand::KernelCx;
use crate::info::ProcessInfo;
use crate::memory::pool::Pool;
use crate::memory::{self, NoMemory};
use crate::pid::Pid;
use crate::process::header::Header;
use crate::process::ties;
use crate::reply::{ReplyFuture, Reply, reply};

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QueryKind {
    /// Are you alive?
    Alive,
    /// What do you know of yourself?
    Info,
    /// Be suspended, once more.
    Suspend,
    /// Be suspended once less.
    Resume,
    /// Are you linked with this one?
    Linked(Pid),
}

/// What the process says; the dead say nothing.
#[derive(Debug)]
pub enum QueryReply {
    /// It is dead.
    Dead,
    /// It is alive.
    Alive,
    /// It is alive, and suspended so many times now.
    Suspended(u32),
    /// All about it. Boxed: an answer is small.
    Info(Box<ProcessInfo>),
    /// Whether it is linked.
    Linked(bool),
    /// It had no memory for the answer.
    NoMemory,
}

/// An answer that will come: a future.
#[derive(Debug)]
#[must_use = "the answer is in the future"]
pub struct QueryFuture(ReplyFuture<QueryReply>);

impl Future for QueryFuture {
    type Output = QueryReply;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<QueryReply> {
        Pin::new(&mut self.0).poll(task).map(|said| said.unwrap_or(QueryReply::Dead))
    }
}

/// A question on its way.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct QueryNode {
    node: Node,
    question: QueryKind,
    answer: Reply<QueryReply>,
}

impl QueryNode {
    /// The question's node, ready to be pushed, and where its answer will be.
    pub(crate) fn try_new(budget: &Budget, question: QueryKind) -> Result<(NonNull<Node>, QueryFuture), NoMemory> {
        unsafe fn release(node: NonNull<Node>, _: Option<&Pool>) {
            // SAFETY: an `QueryNode`'s node, given up.
            unsafe { QueryNode::refuse(node) }
        }
        let node = budget.node(SignalKind::Ask, release).ok_or(NoMemory)?;
        let (answer, waiting) = reply()?;
        let ask = Self { node, question, answer };
        memory::try_new(ask).map(|ask| (ask.cast(), QueryFuture(waiting))).map_err(|_| NoMemory)
    }

    unsafe fn open(node: NonNull<Node>) -> (QueryKind, Reply<QueryReply>) {
        // SAFETY: by the callers' contract an `QueryNode` that nobody else has.
        let ask = unsafe { node.cast::<Self>().read() };
        // SAFETY: moved out above.
        unsafe { memory::free(node.cast::<Self>()) };
        (ask.question, ask.answer)
    }

    /// The process answers.
    ///
    /// # Safety
    /// The caller owns `process`, holds `node`, and does not use it again.
    pub(crate) unsafe fn answer(node: NonNull<Node>, process: &Header, hand: &KernelCx<'_>) {
        // SAFETY: by contract.
        let (question, answer) = unsafe { Self::open(node) };
        let said = match question {
            QueryKind::Alive => QueryReply::Alive,
            QueryKind::Suspend | QueryKind::Resume => {
                // SAFETY: the caller owns it (`header`, P1).
                let times = &mut unsafe { process.private() }.suspended;
                *times = match question {
                    QueryKind::Suspend => times.saturating_add(1),
                    _ => times.saturating_sub(1),
                };
                QueryReply::Suspended(*times)
            }
            QueryKind::Linked(other) => QueryReply::Linked(ties::is_linked(process, hand, other)),
            QueryKind::Info => ProcessInfo::try_of(process, hand).map_or(QueryReply::NoMemory, QueryReply::Info),
        };
        let mut answer = Some((answer, said));
        // The asker's waker is foreign: its panic is not the answerer's.
        hand.catch_panic(&mut || answer.take().into_iter().for_each(|(answer, said)| answer.send(said)));
    }

    /// Nobody answers: the process is dead. Runs the asker's waker: through [`KernelCx::release`], which contains it.
    ///
    /// # Safety
    /// The caller holds `node` and does not use it again.
    unsafe fn refuse(node: NonNull<Node>) {
        // The reply is dropped, which says it.
        // SAFETY: by contract.
        drop(unsafe { Self::open(node) });
    }
}
