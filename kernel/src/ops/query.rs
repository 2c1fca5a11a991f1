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
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::memory::pool_box::PoolBox;
use crate::ops::info::ProcessInfo;
use crate::ops::relations::link;
use crate::ops::request::{Reply, ReplyFuture, reply};
use crate::pid::Pid;
use crate::process::owned::{Owned, OwnerState};
use crate::signal::held::{BoxedSignal, Headed};
use crate::signal::node::{Budget, Node, SignalKind};

/// A kind of query.
pub(crate) trait Query: Sized {
    /// The type of its answer.
    type Answer: Send + 'static;

    /// Wraps the query with its reply, to travel in a node.
    const WRAP: fn(Asked<Self>) -> Question;

    /// Returns the answer of a dead process.
    fn dead() -> Self::Answer;

    /// Returns the answer of a live process.
    fn live(self, owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) -> Self::Answer;
}

/// Asks if the process is alive.
#[derive(Debug)]
pub(crate) struct IsAlive;

impl Query for IsAlive {
    type Answer = bool;

    const WRAP: fn(Asked<Self>) -> Question = Question::Alive;

    fn dead() -> bool {
        false
    }

    fn live(self, _: &mut Owned<'_>, _: &KernelCx<'_>) -> bool {
        true
    }
}

/// Asks for all information about the process. Boxed, so that an answer is small.
#[derive(Debug)]
pub(crate) struct GetInfo;

impl Query for GetInfo {
    type Answer = Result<Option<Box<ProcessInfo>>, NoMemory>;

    const WRAP: fn(Asked<Self>) -> Question = Question::Info;

    fn dead() -> Self::Answer {
        Ok(None)
    }

    fn live(self, owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) -> Self::Answer {
        ProcessInfo::try_of(owned, kernel_cx).map(Some)
    }
}

/// Changes how often the process is suspended, and asks for the new count; `None` if it is dead.
#[derive(Debug)]
pub(crate) enum ChangeSuspension {
    /// Suspends the process once more.
    Suspend,
    /// Undoes one suspension.
    Resume,
}

impl Query for ChangeSuspension {
    type Answer = Option<u32>;

    const WRAP: fn(Asked<Self>) -> Question = Question::Suspension;

    fn dead() -> Option<u32> {
        None
    }

    fn live(self, owned: &mut Owned<'_>, _: &KernelCx<'_>) -> Option<u32> {
        owned.state(|OwnerState { suspended, .. }| {
            *suspended = match self {
                Self::Suspend => suspended.saturating_add(1),
                Self::Resume => suspended.saturating_sub(1),
            };
            Some(*suspended)
        })
    }
}

/// Asks if the process is linked with this one.
#[derive(Debug)]
pub(crate) struct IsLinked(pub(crate) Pid);

impl Query for IsLinked {
    type Answer = bool;

    const WRAP: fn(Asked<Self>) -> Question = Question::Linked;

    fn dead() -> bool {
        false
    }

    fn live(self, owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) -> bool {
        link::is_linked(owned, kernel_cx, self.0)
    }
}

/// A future of the answer to a query. If the process dies before it answers, the future resolves to
/// the answer of a dead process.
#[must_use = "the future returns the answer"]
pub struct QueryFuture<T> {
    answer: ReplyFuture<T>,
    dead: fn() -> T,
}

impl<T> Future for QueryFuture<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<T> {
        let dead = self.dead;
        Pin::new(&mut self.answer).poll(task).map(|answer| answer.unwrap_or_else(|_| dead()))
    }
}

impl<T> fmt::Debug for QueryFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QueryFuture").field(&self.answer).finish()
    }
}

/// A query, and the reply through which it is answered.
#[derive(Debug)]
pub(crate) struct Asked<Q: Query> {
    query: Q,
    reply: Reply<Q::Answer>,
}

impl<Q: Query> Asked<Q> {
    fn answer(self, owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) {
        let answer = self.query.live(owned, kernel_cx);
        let mut answer = Some((self.reply, answer));
        // The waker of the query's caller is foreign: its panic must not hit the answering process.
        kernel_cx.catch_panic(&mut || answer.take().into_iter().for_each(|(reply, answer)| reply.send(answer)));
    }
}

/// All kinds of queries.
#[derive(Debug)]
pub(crate) enum Question {
    Alive(Asked<IsAlive>),
    Info(Asked<GetInfo>),
    Suspension(Asked<ChangeSuspension>),
    Linked(Asked<IsLinked>),
}

/// A query in transit.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct QueryNode {
    node: Node,
    question: Question,
}

// SAFETY: `repr(C)`, and the node is first. `QueryNode::try_new` makes it for this type. A reply is
// `Send`.
unsafe impl BoxedSignal for QueryNode {
    const KIND: SignalKind = SignalKind::Ask;
}

// SAFETY: `repr(C)`, and the node is first. Only nodes of a `QueryNode` are of this kind, and their
// holder owns it.
unsafe impl Headed for QueryNode {
    fn is_headed_by(kind: SignalKind) -> bool {
        kind == SignalKind::Ask
    }
}

// A query that is dropped drops its reply, which reports the death. That runs the waker of the
// query's caller, so it is done through [`KernelCx::release`], which catches a panic.
impl QueryNode {
    /// Allocates the query, ready to push, and the future of its answer.
    pub(crate) fn try_new<Q: Query>(
        budget: &Budget,
        query: Q,
    ) -> Result<(PoolBox<Self>, QueryFuture<Q::Answer>), NoMemory> {
        let node = budget.node_of::<Self>().ok_or(NoMemory)?;
        let (reply, answer) = reply()?;
        let asked = PoolBox::try_new(Self { node, question: Q::WRAP(Asked { query, reply }) }, None);
        asked.map(|asked| (asked, QueryFuture { answer, dead: Q::dead })).map_err(|_| NoMemory)
    }

    /// Answers the query for the process.
    pub(crate) fn answer(query: PoolBox<Self>, owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) {
        match query.into_inner(None).question {
            Question::Alive(asked) => asked.answer(owned, kernel_cx),
            Question::Info(asked) => asked.answer(owned, kernel_cx),
            Question::Suspension(asked) => asked.answer(owned, kernel_cx),
            Question::Linked(asked) => asked.answer(owned, kernel_cx),
        }
    }
}
