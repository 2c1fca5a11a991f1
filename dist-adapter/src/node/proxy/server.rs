//! Servers whose handles work across nodes: [`RemoteServer`].

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use atropos::otp::Server;
use atropos::{Pid, Reply, ReplyFuture};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answers::Answer;
use crate::node::call::{Call, Request};
use crate::node::inner::Node;
use crate::term::{SerdeError, Term, TermBuilder, to_term};

/// A server whose messages have terms, so that its handles ([`ServerRef`]) may name a server at
/// another node.
///
/// [`ServerRef`]: atropos::otp::ServerRef
///
/// ```
/// use atropos::otp::{Next, Reply, Server, ServerCx};
/// use atropos_dist::node::{InboundRequest, OutboundRequest, RemoteServer};
/// use atropos_dist::term::{SerdeError, from_term};
/// use serde::{Deserialize, Serialize};
///
/// struct Counter(u64);
///
/// enum Message {
///     Add(u64),
///     Get(Reply<u64>),
/// }
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum Wire {
///     Add(u64),
///     Get,
/// }
///
/// impl Server for Counter {
///     type Message = Message;
///
///     async fn handle(&mut self, message: Message, _: ServerCx<'_, Self>) -> Next<Message> {
///         match message {
///             Message::Add(n) => self.0 += n,
///             Message::Get(reply) => reply.send(self.0),
///         }
///         Next::Wait
///     }
/// }
///
/// impl RemoteServer for Counter {
///     fn to_remote(message: Message) -> Result<OutboundRequest, SerdeError> {
///         match message {
///             Message::Add(n) => OutboundRequest::cast(&Wire::Add(n)),
///             Message::Get(reply) => OutboundRequest::call(&Wire::Get, reply),
///         }
///     }
///
///     fn from_remote(request: InboundRequest) -> Result<Option<Message>, SerdeError> {
///         Ok(match request {
///             InboundRequest::Cast(term) => match from_term(&term)? {
///                 Wire::Add(n) => Some(Message::Add(n)),
///                 Wire::Get => None,
///             },
///             InboundRequest::Call(term, caller) => match from_term(&term)? {
///                 Wire::Get => caller.reply().map(Message::Get),
///                 Wire::Add(_) => None,
///             },
///             InboundRequest::Other(_) => None,
///         })
///     }
/// }
/// ```
pub trait RemoteServer: Server {
    /// Makes the request of a message that goes to a server at another node.
    ///
    /// # Errors
    /// [`SerdeError`] if it has no term. It is counted and dropped, and its caller is told that the
    /// server has dropped the request.
    fn to_remote(message: Self::Message) -> Result<OutboundRequest, SerdeError>;

    /// Makes the message of a request from another node. `None` is a request that the server does
    /// not take.
    ///
    /// # Errors
    /// [`SerdeError`] if the term does not fit. It is counted and dropped, as `None` is.
    fn from_remote(request: InboundRequest) -> Result<Option<Self::Message>, SerdeError>;
}

/// A request to a server at another node.
pub struct OutboundRequest {
    term: Term,
    answer: Option<Box<dyn Answer>>,
}

impl std::fmt::Debug for OutboundRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboundRequest").field("term", &self.term).finish_non_exhaustive()
    }
}

impl OutboundRequest {
    /// Makes a call, whose answer completes `reply`.
    ///
    /// # Errors
    /// [`SerdeError`] if the request has no term.
    pub fn call<T: DeserializeOwned + Send + 'static>(
        request: &(impl Serialize + ?Sized),
        reply: Reply<T>,
    ) -> Result<Self, SerdeError> {
        Ok(Self { term: to_term(request)?, answer: Some(Box::new(reply)) })
    }

    /// Makes a cast.
    ///
    /// # Errors
    /// [`SerdeError`] if the request has no term.
    pub fn cast(request: &(impl Serialize + ?Sized)) -> Result<Self, SerdeError> {
        let term = TermBuilder::new().tuple(2).atom("$gen_cast").term(&to_term(request)?).finish();
        Ok(Self { term, answer: None })
    }

    /// Makes a plain message.
    ///
    /// # Errors
    /// [`SerdeError`] if the message has no term.
    pub fn message(message: &(impl Serialize + ?Sized)) -> Result<Self, SerdeError> {
        Ok(Self { term: to_term(message)?, answer: None })
    }

    /// Returns the term that the server gets from a proxy. The answer is awaited from now on.
    pub(super) fn into_term(self, node: &Node, proxy: Pid) -> Term {
        let Self { term, answer } = self;
        let Some(answer) = answer else { return term };
        let number = node.event(|machine| machine.new_reference());
        node.0.proxies.answers.insert(number, proxy, answer);
        let (own, alias) = (node.external(proxy), node.reference(number));
        let build = TermBuilder::new().tuple(3).atom("$gen_call");
        let build = build.tuple(2).pid(own.as_ref()).list(1).atom("alias").reference(alias.as_ref());
        build.term(&term).finish()
    }
}

/// A request from another node to a server of this one.
#[derive(Debug)]
pub enum InboundRequest {
    /// A call.
    Call(Term, Caller),
    /// A cast.
    Cast(Term),
    /// Any other message.
    Other(Term),
}

/// A caller at another node.
#[derive(Debug)]
pub struct Caller {
    node: Node,
    server: Pid,
    call: Call,
}

impl Caller {
    /// Returns the reply that answers the call: from any thread, at any time, or never. The answer
    /// goes out before [`Reply::send`] returns. `None` if there is no memory for it.
    pub fn reply<T: Serialize + Send + 'static>(self) -> Option<Reply<T>> {
        let (reply, answered) = atropos::reply::<T>().ok()?;
        Arc::new(Answering(Mutex::new(Some((answered, self))))).look();
        Some(reply)
    }

    fn answer<T: Serialize>(self, answer: &T) {
        let Self { node, server, call } = self;
        // The code of the answer's type is the program's.
        let encoded = catch_unwind(AssertUnwindSafe(|| to_term(answer).map_err(|error| error.to_string())));
        let encoded = encoded.unwrap_or_else(|panic| {
            // The destructor of the panic's value may panic.
            std::mem::forget(panic);
            Err("its type has panicked".to_owned())
        });
        match encoded {
            Ok(answer) => {
                let (to, answer) = call.answer(&answer);
                node.post_now(server, to, answer);
            }
            Err(why) => node.count_unsent(&why),
        }
    }
}

/// A reply that is awaited by its own waker: the answer is sent on where it is given.
struct Answering<T>(Mutex<Option<(ReplyFuture<T>, Caller)>>);

impl<T: Serialize + Send + 'static> Answering<T> {
    /// Sends the answer on, if there is one.
    fn look(self: &Arc<Self>) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((answered, _)) = waits.as_mut() else { return };
        let waker = Waker::from(self.clone());
        let Poll::Ready(answer) = Pin::new(answered).poll(&mut Context::from_waker(&waker)) else { return };
        let waited = waits.take();
        drop(waits);
        // A server that ends, or forgets the reply, does not answer.
        if let (Ok(answer), Some((_, caller))) = (answer, waited) {
            caller.answer(&answer);
        }
    }
}

impl<T: Serialize + Send + 'static> Wake for Answering<T> {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

impl Node {
    /// Reads a request for a server of this node.
    pub(super) fn inbound(&self, server: Pid, message: Term) -> InboundRequest {
        match Request::read(self, message) {
            Request::Call(call, request) => InboundRequest::Call(request, Caller { node: self.clone(), server, call }),
            Request::Cast(request) => InboundRequest::Cast(request),
            Request::System(_, term) | Request::Other(term) => InboundRequest::Other(term),
        }
    }

    /// Completes a call with what has been answered.
    pub(super) fn complete(&self, answer: Box<dyn Answer>, reply: &Term) {
        if let Err(why) = answer.complete(reply) {
            self.count_unread(&why.to_string());
        }
    }

    /// Completes the call that an alias of this node belongs to. Returns `false` if it belongs to
    /// none.
    pub(in crate::node) fn answered(&self, number: u64, message: &Term) -> bool {
        let Some(answer) = self.0.proxies.answers.take(number) else { return false };
        match message.view().as_array() {
            Some([_, reply]) => self.complete(answer, &message.part(reply)),
            None => self.count_unread("an answer that is no pair"),
        }
        true
    }
}
