//! Calls in the manner of `gen_server`: [`Call`] for a server, [`NodeCx::call`] for a client.
//!
//! A call is `{'$gen_call', {From, Tag}, Request}`. The answer is `{Tag, Reply}`. It goes to From,
//! or, if Tag is `[alias | Ref]` or `[[alias | Ref] | _]`, to the alias Ref; then a client that has
//! given up does not get it.

use std::time::Duration;

use atropos::{AliasMode, Peek};

use crate::term::{Kind, Term, TermBuilder, TermRef};

use super::cx::{Destination, MonitorOptions, NodeCx};
use super::identity::ProcessId;
use super::inner::Node;
use super::mail::{Incoming, Mail};

/// A client that waits for an answer.
#[derive(Clone, Debug)]
pub struct Call {
    /// The client.
    pub from: Term,
    tag: Term,
    to: Destination,
}

/// A message to a server.
#[derive(Clone, Debug)]
pub enum Request {
    /// A call, with its request.
    Call(Call, Term),
    /// A cast.
    Cast(Term),
    /// A system message, with what is asked.
    System(Call, Term),
    /// Any other message.
    Other(Term),
}

impl Call {
    fn read(node: &Node, message: &Term, from: TermRef<'_>) -> Option<Self> {
        let [from, tag] = from.as_array()?;
        let to = match alias_of(tag) {
            Some(alias) => node.destination(alias)?,
            None => Destination::Process(node.process(from.as_pid()?)),
        };
        from.as_pid()?;
        Some(Self { from: message.part(from), tag: message.part(tag), to })
    }

    /// Returns where the answer goes, and the answer.
    pub fn answer(&self, reply: &Term) -> (&Destination, Term) {
        (&self.to, Term::tuple([&self.tag, reply]))
    }

    /// Answers, from any process, without being held back ([`NodeCx::send_now`]).
    pub fn reply(&self, cx: &NodeCx, reply: &Term) {
        let (to, answer) = self.answer(reply);
        cx.send_now(to, answer);
    }
}

/// Returns the alias in a tag.
pub(super) fn alias_of(tag: TermRef<'_>) -> Option<TermRef<'_>> {
    let (head, tail) = match tag.kind() {
        Kind::List(list) => {
            let mut items = list.iter();
            let head = items.next()?;
            (head, (list.len() == 1).then(|| items.tail()))
        }
        _ => return None,
    };
    if head.is_atom("alias") {
        let reference = tail?;
        return reference.as_reference().map(|_| reference);
    }
    let Kind::List(list) = head.kind() else { return None };
    let mut items = list.iter();
    let is_alias = items.next()?.is_atom("alias") && list.len() == 1;
    let reference = items.tail();
    (is_alias && reference.as_reference().is_some()).then_some(reference)
}

impl Request {
    /// Reads a message to a server.
    pub fn read(node: &Node, message: Term) -> Self {
        let view = message.view();
        if let Some([tag, from, what]) = view.as_array()
            && let Some(call) = Call::read(node, &message, from)
        {
            match tag.as_atom() {
                Some("$gen_call") => return Self::Call(call, message.part(what)),
                Some("system") => return Self::System(call, message.part(what)),
                _ => {}
            }
        }
        if let Some([tag, what]) = view.as_array()
            && tag.is_atom("$gen_cast")
        {
            return Self::Cast(message.part(what));
        }
        Self::Other(message)
    }
}

/// Returns `{error, {unknown_request, Request}}`.
pub fn unknown_request(request: &Term) -> Term {
    TermBuilder::new().tuple(2).atom("error").tuple(2).atom("unknown_request").term(request).finish()
}

/// Why a call has no answer, as in `exit({Reason, {gen_server, call, _}})`.
#[derive(Clone, PartialEq, Debug)]
pub struct CallError(pub Term);

impl NodeCx {
    /// Calls a server, here or there.
    ///
    /// # Errors
    /// [`CallError`] with `timeout`, `noproc`, `{nodedown, Node}`, or the reason of the server's
    /// end. A late answer reaches nobody.
    pub async fn call(
        &mut self,
        to: &Destination,
        request: &Term,
        patience: Option<Duration>,
    ) -> Result<Term, CallError> {
        let failed = |reason: &str| CallError(Term::atom(reason));
        if matches!(to, Destination::Alias(_)) {
            return Err(failed("noproc"));
        }
        let options = MonitorOptions { alias: Some(AliasMode::ReplyDemonitor), tag: None };
        let reference = self.monitor(to, options).map_err(|_| failed("noproc"))?;
        let alias = self.node().reference(reference);
        let tag = TermBuilder::new().list(1).atom("alias").reference(alias.as_ref()).finish();
        let own = self.own_term();
        let message =
            TermBuilder::new().tuple(3).atom("$gen_call").tuple(2).term(&own).term(&tag).term(request).finish();
        self.send(to, message).await;
        let is_answer = |term: &Term| matches!(term.view().as_array(), Some([head, _]) if head.to_term() == tag);
        let wanted = |peek: Peek<'_, Mail>| match peek {
            Peek::Message(Mail::Term(term)) => is_answer(term),
            Peek::Message(Mail::Alias(number, term)) => *number == reference && is_answer(term),
            Peek::Message(Mail::Down(other, ..)) => *other == reference,
            Peek::Down(down) => down.reference.to_raw() == reference,
            _ => false,
        };
        match self.select_once(patience, wanted).await.flatten() {
            Some(Incoming::Message(answer)) => {
                self.demonitor(reference, true);
                let reply = answer.view().as_array::<2>().map(|[_, reply]| answer.part(reply));
                reply.ok_or_else(|| failed("badarg"))
            }
            Some(Incoming::Down { reason, .. }) => {
                let node = self.node().node_of(to);
                Err(CallError(match node.filter(|_| reason.view().is_atom("noconnection")) {
                    Some(node) => TermBuilder::new().tuple(2).atom("nodedown").atom(node.as_str()).finish(),
                    None => reason,
                }))
            }
            _ => {
                self.demonitor(reference, true);
                Err(failed("timeout"))
            }
        }
    }

    /// Casts to a server.
    pub async fn cast(&self, to: &Destination, message: &Term) {
        self.send(to, TermBuilder::new().tuple(2).atom("$gen_cast").term(message).finish()).await;
    }

    /// Returns a local or remote process of a term.
    pub fn process(&self, term: &Term) -> Option<ProcessId> {
        term.view().as_pid().map(|pid| self.node().process(pid))
    }
}
