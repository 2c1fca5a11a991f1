//! What a body asks of others, and what it knows of itself.

use super::Cx;
use crate::hand::KernelCx;
use crate::info::ProcessInfo;
use crate::memory::NoMemory;
use crate::pid::Pid;
use crate::process::fetch::FetchedBy;
use crate::process::header::Header;
use crate::reply::request;
use crate::reply::{Reply, RequestFuture};
use crate::send::{self, SendError};
use crate::signal::ask::{QueryNode, QueryKind, QueryFuture};

/// An answer that is at hand, or has to be waited for.
#[derive(Debug)]
pub enum MaybeReady<T> {
    /// It is known.
    Ready(T),
    /// It will come.
    Pending(QueryFuture),
}

impl<M: Send + 'static> Cx<'_, M> {
    /// Whether a process is alive, after all that the caller has sent it before.
    pub fn is_alive(&self, pid: Pid) -> Result<MaybeReady<bool>, NoMemory> {
        if pid == self.pid() {
            return Ok(MaybeReady::Ready(!self.is_dying()));
        }
        self.pay(1);
        let hand = &self.slice.hand;
        match hand.find(pid) {
            None => Ok(MaybeReady::Ready(false)),
            Some(process) if process.mailbox.is_closed() => Ok(MaybeReady::Ready(false)),
            Some(process) if process.mailbox.is_clear() => Ok(MaybeReady::Ready(true)),
            Some(process) => {
                self.ask(process, QueryKind::Alive).map(|later| later.map_or(MaybeReady::Ready(false), MaybeReady::Pending))
            }
        }
    }

    /// Whether a process is known to be dead, by a look and without a question. A process that has been sent what it will die
    /// of, and has not met that, is not known to be dead; nor is one whose destructors run. Whatever the caller has been told of a
    /// death (a DOWN, an EXIT, the answer of its supervisor), it is known here. Wait-free.
    pub fn is_gone(&self, pid: Pid) -> bool {
        self.pay(1);
        self.slice.hand.find(pid).is_none_or(|process| process.mailbox.is_closed())
    }

    /// Sends a message with a [`Reply`] in it, and waits for the answer, or for the receiver's death, where the result is polled.
    /// `make` puts the message together; without a receiver it is not called, and with an error the message is dropped. Lock-free.
    pub fn request<N, T>(&self, to: Pid, make: impl FnOnce(Reply<T>) -> N) -> Result<RequestFuture<T>, SendError<()>>
    where
        N: Send + 'static,
        T: Send + 'static,
    {
        if self.is_dying() {
            return Err(SendError::Dying(()));
        }
        let hand = &self.slice.hand;
        let Some(process) = hand.find(to) else {
            self.pay(1);
            return Err(SendError::NoProc(()));
        };
        self.pay(1 + process.mailbox.charge());
        let (reply, watch, requested) =
            request::request(self.process(), hand).map_err(|NoMemory| SendError::NoMemory(()))?;
        let message = make(reply);
        match send::send_request(hand, process, watch, message) {
            Ok(()) => Ok(requested.begins()),
            Err(error) => {
                // First: nobody is to be woken for the reply that goes with the message.
                drop(requested);
                Err(error.without_message())
            }
        }
    }

    /// What a process knows of itself; `None` when it is dead.
    pub fn info(&self, pid: Pid) -> Result<MaybeReady<Option<ProcessInfo>>, NoMemory> {
        if pid == self.pid() {
            if self.is_dying() {
                return Ok(MaybeReady::Ready(None));
            }
            self.fetch(FetchedBy::Core);
            return Ok(MaybeReady::Ready(Some(*ProcessInfo::try_of(self.slice.process(), &self.slice.hand)?)));
        }
        self.pay(1);
        match self.slice.hand.find(pid) {
            None => Ok(MaybeReady::Ready(None)),
            Some(process) => {
                self.ask(process, QueryKind::Info).map(|later| later.map_or(MaybeReady::Ready(None), MaybeReady::Pending))
            }
        }
    }

    fn ask(&self, process: &Header, question: QueryKind) -> Result<Option<QueryFuture>, NoMemory> {
        ask(&self.slice.hand, process, question)
    }
}

/// Puts a question to a process; `None` when it is dead.
pub(crate) fn ask(hand: &KernelCx<'_>, process: &Header, question: QueryKind) -> Result<Option<QueryFuture>, NoMemory> {
    let (node, answer) = QueryNode::try_new(&hand.kernel.nodes, question)?;
    // SAFETY: new, so ours.
    if unsafe { hand.push(process, node) } {
        return Ok(Some(answer));
    }
    // SAFETY: still ours.
    unsafe { hand.release(node) };
    Ok(None)
}
