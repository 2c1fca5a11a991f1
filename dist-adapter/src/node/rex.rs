//! `rex`: the calls of nodes before OTP 23, of C nodes, and of tools that know no spawn requests.

use atropos::Reason;

use crate::term::{Term, TermBuilder};

use super::call::{Request, unknown_request};
use super::cx::{Destination, NodeCx};
use super::exports::{Raised, some_stack};
use super::identity::{ProcessId, atom};
use super::inner::Node;
use super::mail::Incoming;

pub(super) async fn run(mut cx: NodeCx) -> Reason {
    loop {
        let Incoming::Message(message) = cx.recv().await else { continue };
        let node = cx.node().clone();
        match Request::read(&node, message) {
            Request::Call(call, request) => {
                match Wanted::read(&request, "call").or_else(|| Wanted::read(&request, "block_call")) {
                    Some(wanted) => wanted.run(&node, move |value| {
                        let (to, answer) = call.answer(&value);
                        (to.clone(), answer)
                    }),
                    None => call.reply(&cx, &unknown_request(&request)),
                }
            }
            Request::Cast(request) => {
                if let Some(wanted) = Wanted::read(&request, "cast") {
                    wanted.cast(&node);
                }
            }
            Request::Other(message) => other(&cx, &node, &message).await,
            Request::System(..) => {}
        }
    }
}

async fn other(cx: &NodeCx, node: &Node, message: &Term) {
    let Some([from, what]) = message.view().as_array() else { return };
    let Some(pid) = from.as_pid() else { return };
    let to = Destination::Process(node.process(pid));
    let what = message.part(what);
    if what.view().is_atom("features_request") {
        let own = node.name().as_str();
        let features = TermBuilder::new().tuple(3).atom("features_reply").atom(own).list(1).atom("erpc").nil().finish();
        cx.send(&to, features).await;
        return;
    }
    if let Some(wanted) = Wanted::read(&what, "call") {
        wanted.run(node, move |value| (to, TermBuilder::new().tuple(2).atom("rex").term(&value).finish()));
        return;
    }
    let Some([kind, name, inner]) = what.view().as_array() else { return };
    let (Some(kind), Some(name)) = (kind.as_atom(), name.as_atom()) else { return };
    let inner = what.part(inner);
    match kind {
        "send" => {
            let whole = TermBuilder::new().tuple(2).part(from).term(&inner).finish();
            cx.send(&Destination::Name(atom(name)), whole).await;
        }
        "sbcast" => {
            let own = node.name().as_str();
            let build = TermBuilder::new().tuple(3).atom("rex").atom(own);
            let answer = if node.runtime().whereis(name).is_some() {
                cx.send(&Destination::Name(atom(name)), inner).await;
                build.atom(own).finish()
            } else {
                build.tuple(2).atom("nonexisting_name").atom(name).finish()
            };
            cx.send(&to, answer).await;
        }
        _ => {}
    }
}

/// A function that a peer wants called: `{Kind, M, F, Args, Leader}`.
struct Wanted {
    module: crate::term::Atom,
    function: crate::term::Atom,
    arguments: Term,
    leader: Option<Term>,
}

impl Wanted {
    fn read(request: &Term, kind: &str) -> Option<Self> {
        let [tag, module, function, arguments, leader] = request.view().as_array()?;
        let leader = leader.as_pid().map(|_| request.part(leader));
        tag.is_atom(kind).then_some(())?;
        let (module, function) = (atom(module.as_atom()?), atom(function.as_atom()?));
        Some(Self { module, function, arguments: request.part(arguments), leader })
    }

    fn leader(&self, node: &Node) -> Option<ProcessId> {
        self.leader.as_ref().and_then(|leader| leader.view().as_pid()).map(|leader| node.process(leader))
    }

    /// Calls the function in a process of its own, and sends what `answer` makes of its value.
    fn run(self, node: &Node, answer: impl FnOnce(Term) -> (Destination, Term) + Send + 'static) {
        let leader = self.leader(node);
        let Self { module, function, arguments, .. } = self;
        let _ = node.start(&atropos::SpawnOptions::new(), leader, async move |mut cx: NodeCx| {
            let value = value_of(cx.apply_caught(module, function, arguments).await);
            let (to, answer) = answer(value);
            cx.send(&to, answer).await;
            Reason::NORMAL
        });
    }

    fn cast(self, node: &Node) {
        let leader = self.leader(node);
        let Self { module, function, arguments, .. } = self;
        let _ = node.start(&atropos::SpawnOptions::new(), leader, async move |mut cx: NodeCx| {
            super::exports::end_of(cx.apply(module, function, arguments).await)
        });
    }
}

/// Returns what `rpc:call` returns.
fn value_of(result: Result<Term, Raised>) -> Term {
    let reason = match result {
        Ok(value) | Err(Raised::Throw(value)) => return value,
        Err(Raised::Exit(reason)) => reason,
        Err(Raised::Error(reason)) => Term::tuple([&reason, &some_stack()]),
        Err(Raised::ErrorAt(reason, stack)) => Term::tuple([&reason, &stack]),
    };
    TermBuilder::new().tuple(2).atom("badrpc").tuple(2).atom("EXIT").term(&reason).finish()
}
