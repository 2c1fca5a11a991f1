//! [`Encoders`]: how messages to proxies become terms, by their types.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use atropos::otp::server::Envelope;
use atropos::{AnyMessage, Pid};
use serde::Serialize;

use super::server::RemoteServer;
use crate::node::call::alias_of;
use crate::node::inner::Node;
use crate::node::mail::Mail;
use crate::term::{Term, to_term};

/// Makes the term of a message to a proxy. `None` is a message that is not sent on.
type Encode = dyn Fn(&Node, Pid, AnyMessage) -> Result<Option<Term>, String> + Send + Sync;

/// The types of messages that can be sent to proxies.
#[derive(Default)]
pub(super) struct Encoders(RwLock<HashMap<TypeId, Arc<Encode>>>);

impl Encoders {
    fn get(&self, message: TypeId) -> Option<Arc<Encode>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&message).cloned()
    }

    fn add(&self, message: TypeId, encode: impl FnOnce() -> Arc<Encode>) {
        if self.get(message).is_none() {
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(message, encode());
        }
    }

    /// Adds the messages of a type that serde writes.
    pub(super) fn add_messages<M: Serialize + Send + 'static>(&self) {
        self.add(TypeId::of::<M>(), || {
            Arc::new(|_, _, message| match message.downcast::<M>() {
                Ok(message) => to_term(&*message).map(Some).map_err(|error| error.to_string()),
                Err(_) => unreachable!("the encoder was found by the type"),
            })
        });
    }

    /// Adds the messages of a type of servers.
    pub(super) fn add_server<S: RemoteServer>(&self) {
        self.add(TypeId::of::<Envelope<S>>(), || {
            Arc::new(|node, proxy, message| match message.downcast::<Envelope<S>>() {
                // A system request has no meaning for another node: its sender gets `NoReply`.
                Ok(envelope) => envelope.into_message().map_or(Ok(None), |message| {
                    let request = S::to_remote(message).map_err(|error| error.to_string())?;
                    Ok(Some(request.into_term(node, proxy)))
                }),
                Err(_) => unreachable!("the encoder was found by the type"),
            })
        });
    }
}

impl Node {
    /// Returns the term of a message to a proxy. `None` is a message that is not sent on.
    ///
    /// # Errors
    /// A text for the log, for a message that has no term.
    pub(super) fn encode(&self, proxy: Pid, message: AnyMessage) -> Result<Option<Term>, String> {
        let message = match message.downcast::<Term>() {
            Ok(term) => return Ok(Some(*term)),
            Err(message) => message,
        };
        if message.is::<()>() {
            // It comes with the watch of a request, whose message has gone out.
            return Ok(None);
        }
        let message = match message.downcast::<Mail>() {
            Ok(mail) => {
                let Mail::Term(term) = *mail else { return Ok(None) };
                return Ok(self.unanswered(term));
            }
            Err(message) => message,
        };
        let Some(encode) = self.0.proxies.encoders.get((*message).type_id()) else {
            return Err("no process was named with this type of messages (`Node::remote`)".to_owned());
        };
        encode(self, proxy, message)
    }

    /// Returns a term that was sent to a proxy, unless it is the answer to a call through it: a
    /// server of an old node answers to the pid of the caller, which is the proxy.
    fn unanswered(&self, term: Term) -> Option<Term> {
        if let Some([tag, reply]) = term.view().as_array()
            && let Some(number) = alias_of(tag).and_then(|alias| self.own_reference(alias.as_reference()?))
            && let Some(answer) = self.0.proxies.answers.take(number)
        {
            self.complete(answer, &term.part(reply));
            return None;
        }
        Some(term)
    }
}
