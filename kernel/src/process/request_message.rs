//! The message of a request, [`Request`]: a message with the watch by which its sender learns of
//! the receiver's death.

use core::fmt;

use crate::memory::pool::Pool;
use crate::memory::pool_box::PoolBox;
use crate::process::request_watch::DeathWatch;
use crate::signal::held::{BoxedSignal, Headed};
use crate::signal::message::{Carrier, into_message};
use crate::signal::node::{Node, SignalKind};
use crate::sync::Cell;

/// A message whose sender waits for an answer: the watch for it travels with the message
/// (`ops::request`).
///
/// A request that no process receives drops its watch before its message, and with that the reply
/// in it. So the requester need not check if the process is alive.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Request<M> {
    pub(crate) head: RequestNode,
    pub(crate) value: M,
}

/// The part of a [`Request`] that can be read without its type.
#[repr(C)]
pub(crate) struct RequestNode {
    pub(crate) node: Node,
    /// `None` when the watch has reported a death, or has left the message.
    pub(crate) watch: Cell<Option<DeathWatch>>,
}

impl fmt::Debug for RequestNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestNode").field("node", &self.node).finish_non_exhaustive()
    }
}

// SAFETY: `repr(C)`, and the head is first, with the node first. `Request::try_new` makes it for
// this type, whose watch and value are `Send`.
unsafe impl<M: Send> BoxedSignal for Request<M> {
    const KIND: SignalKind = SignalKind::Request;
}

// SAFETY: `repr(C)`, and the node is first. Nodes of this kind are those of a `Request`, which
// starts with this head. Its holder owns it.
unsafe impl Headed for RequestNode {
    fn is_headed_by(kind: SignalKind) -> bool {
        kind == SignalKind::Request
    }
}

// SAFETY: nodes of this kind, with an `M`, are made for a `Request<M>`, whose two fields these are.
unsafe impl<M: Send> Carrier for Request<M> {
    type Head = RequestNode;
    type Message = M;

    #[inline(always)]
    fn parts(&mut self) -> (&mut RequestNode, &mut M) {
        (&mut self.head, &mut self.value)
    }
}

impl<M: Send> Request<M> {
    /// Moves the watch and the value out, and frees the rest. The watch is there unless it has
    /// reported a death.
    #[inline(always)]
    pub(crate) fn open(request: PoolBox<Self>, pool: Option<&Pool>) -> (Option<DeathWatch>, M) {
        let watch = request.head.watch.take();
        (watch, into_message(request, pool))
    }
}
