//! [`Gate`]: messages to proxies go out in the thread of their sender.
//!
//! Then what the sender does next comes after them on the wire: a process that sends a result and
//! ends is not reported to have ended before the result. A message waits in the mailbox of its
//! proxy only while more waits for the peer than the limit, and while messages or signals wait
//! there before it. The ends of processes of this node wait for such messages
//! ([`Node::after_waiting`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use atropos::{AnyMessage, Forward, Forwarded, Pid};

use super::process::Notice;
use super::table::Standing;
use crate::machine::Object;
use crate::node::connection::Connection;
use crate::node::cx::Destination;
use crate::node::identity::ProcessId;
use crate::node::inner::{Inner, Node};
use crate::term::{Atom, Term};

/// What the runtime calls for each message to a proxy.
pub(super) struct Gate(Weak<Inner>);

/// A message that waits in the mailbox of a proxy.
pub(super) struct Waiting {
    pub(super) sender: Option<Pid>,
    pub(super) message: AnyMessage,
    pub(super) turn: Turn,
}

/// A message that is counted as waiting, until this is dropped.
pub(super) struct Turn(Weak<Inner>, Pid);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.proxies.passed_on(self.1);
        }
    }
}

impl Gate {
    pub(super) fn new(node: &Node) -> Self {
        Self(Arc::downgrade(&node.0))
    }
}

impl Forward for Gate {
    fn forward(&self, proxy: Pid, sender: Option<Pid>, message: AnyMessage) -> Result<Forwarded, AnyMessage> {
        let Some(inner) = self.0.upgrade() else { return Err(message) };
        let node = Node(inner);
        let (object, waits) = match node.0.proxies.route(proxy) {
            None => return Err(message),
            Some((Standing::Asked(_), _)) => return Ok(Forwarded::Queue(message)),
            Some((Standing::For(object), waits)) => (object, waits),
        };
        let is_busy = || node.connection(object.node()).is_some_and(|connection| connection.is_busy());
        if waits || is_busy() {
            node.0.proxies.waits(proxy);
            let turn = Turn(self.0.clone(), proxy);
            return Ok(Forwarded::Queue(Box::new(Waiting { sender, message, turn })));
        }
        node.post_encoded(proxy, sender, &object, message);
        Ok(Forwarded::Sent)
    }

    fn on_proxy_signal(&self, proxy: Pid) {
        if let Some(inner) = self.0.upgrade() {
            inner.proxies.waits(proxy);
        }
    }

    fn not_queued(&self, _: Pid, message: AnyMessage) -> AnyMessage {
        message.downcast::<Waiting>().map_or_else(|message| message, |waiting| waiting.message)
    }
}

/// Does something when it is dropped.
pub(super) struct Then(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Drop for Then {
    fn drop(&mut self) {
        let then = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        then.into_iter().for_each(|then| then());
    }
}

impl Node {
    /// Encodes a message to a proxy, and sends it in the name of its sender. Returns the connection
    /// if it is busy.
    pub(super) fn post_encoded(
        &self,
        proxy: Pid,
        sender: Option<Pid>,
        object: &Object,
        message: AnyMessage,
    ) -> Option<Arc<Connection>> {
        // The code of a message's type is the program's.
        let encoded = catch_unwind(AssertUnwindSafe(|| self.encode(proxy, message)));
        let encoded = encoded.unwrap_or_else(|panic| {
            // The destructor of the panic's value may panic.
            std::mem::forget(panic);
            Err("its type has panicked".to_owned())
        });
        let term: Term = match encoded {
            Ok(term) => term?,
            Err(why) => {
                self.count_unsent(&why);
                return None;
            }
        };
        let to = match object {
            Object::Pid(pid) => Destination::Process(ProcessId::Remote(pid.clone())),
            Object::Name(name, at) => Destination::RemoteName(name.clone(), at.clone()),
        };
        self.post(sender.unwrap_or(proxy), &to, term)
    }

    /// Does something once the messages for a node have gone out that wait in the mailboxes of
    /// proxies now: at once, if there are none.
    pub(in crate::node) fn after_waiting(&self, at: &Atom, then: impl FnOnce() + Send + 'static) {
        let proxies = self.0.proxies.waiting_for(at);
        if proxies.is_empty() {
            return then();
        }
        let then = Arc::new(Then(Mutex::new(Some(Box::new(then)))));
        for proxy in proxies {
            self.notify_proxy(proxy.to_raw(), Notice::Fence(Fence(then.clone())));
        }
    }
}

/// A share of a [`Then`], in the mailbox of a proxy.
#[derive(Clone)]
pub(in crate::node) struct Fence(Arc<Then>);

impl PartialEq for Fence {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fence")
    }
}
