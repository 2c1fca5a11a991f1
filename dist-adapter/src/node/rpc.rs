//! Remote procedure calls in the manner of `erpc`: [`NodeCx::rpc`], and `erpc:execute_call/4` and
//! `erpc:execute_cast/3` for those of other nodes.

use std::sync::Arc;
use std::time::Duration;

use atropos::Peek;

use crate::term::{Atom, Term, TermBuilder};

use super::cx::{MonitorOptions, NodeCx, SpawnOptions};
use super::exports::{Arguments, Exports, Raised, Running, some_stack};
use super::identity::atom;
use super::mail::{Incoming, Mail};

/// Why a remote call has no value.
#[derive(Clone, PartialEq, Debug)]
pub enum RpcError {
    /// What the function raised.
    Raised(Raised),
    /// The call itself failed: `noconnection`, `timeout`, `notsup` or `system_limit`.
    Failed(Atom),
}

impl NodeCx {
    /// Calls a function at a node.
    ///
    /// # Errors
    /// [`RpcError`] if it raised something, or could not be called.
    pub async fn rpc(
        &mut self,
        node: &Atom,
        (module, function): (Atom, Atom),
        arguments: &Term,
        patience: Option<Duration>,
    ) -> Result<Term, RpcError> {
        let failed = |why: &str| RpcError::Failed(atom(why));
        let number = self.node().event(|machine| machine.new_reference());
        let result = Term::from(&self.node().reference(number));
        let call = [result.clone(), Term::from(&module), Term::from(&function), arguments.clone()];
        let terms = TermBuilder::new().list(2).tuple(2).atom("reply").atom("error_only").atom("monitor").nil().finish();
        let options = SpawnOptions {
            reply_ok: false,
            reply_error: true,
            reply_tag: None,
            monitor: Some(MonitorOptions::default()),
            link: false,
            terms,
        };
        let execute = (atom("erpc"), atom("execute_call"));
        let request = self.spawn_request(node, execute, Term::list(&call), options);
        let request = request.map_err(|_| failed("system_limit"))?;
        let patience = patience.map(|patience| (patience, self.context().with(|cx| cx.now())));
        loop {
            let left = patience.map(|(patience, begun)| {
                let gone = self.context().with(|cx| cx.now()).saturating_sub(begun);
                patience.saturating_sub(Duration::from_nanos(gone))
            });
            let wanted = |peek: Peek<'_, Mail>| match peek {
                Peek::Message(Mail::Down(reference, ..) | Mail::Spawned(reference, _)) => *reference == request,
                _ => false,
            };
            match self.select_once(left, wanted).await {
                None => {
                    self.demonitor(request, true);
                    return Err(failed("timeout"));
                }
                Some(Some(Incoming::Down { reason, .. })) => return outcome(&result, &reason),
                Some(Some(Incoming::Spawned { result: Err(why), .. })) => return Err(RpcError::Failed(why)),
                // The reply of a process that runs is not told.
                Some(_) => {}
            }
        }
    }
}

/// Reads the reason of the end of a process that has run a call.
fn outcome(result: &Term, reason: &Term) -> Result<Term, RpcError> {
    let is_ours = |tag: crate::term::TermRef<'_>| tag.to_term() == *result;
    let part = |term| reason.part(term);
    if let Some([tag, kind, value]) = reason.view().as_array()
        && is_ours(tag)
    {
        match kind.as_atom() {
            Some("return") => return Ok(part(value)),
            Some("throw") => return Err(RpcError::Raised(Raised::Throw(part(value)))),
            Some("exit") => return Err(RpcError::Raised(Raised::Exit(part(value)))),
            _ => {}
        }
    }
    if let Some([tag, kind, value, stack]) = reason.view().as_array()
        && is_ours(tag)
        && kind.is_atom("error")
    {
        return Err(RpcError::Raised(Raised::ErrorAt(part(value), part(stack))));
    }
    match reason.view().as_atom() {
        Some("noconnection") => Err(RpcError::Failed(atom("noconnection"))),
        // The process was ended from outside.
        _ => Err(RpcError::Raised(Raised::Exit(reason.clone()))),
    }
}

/// `erpc:execute_call(Ref, M, F, Args)`.
fn execute_call<'a>(cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async move {
        let [reference, module, function, list] = arguments.items() else { return Err(arguments.badarg()) };
        let names = (module.view().as_atom(), function.view().as_atom());
        let (Some(module), Some(function)) = names else { return Err(arguments.badarg()) };
        let result = cx.apply_caught(atom(module), atom(function), list.clone()).await;
        let build = TermBuilder::new();
        Err(Raised::Exit(match result {
            Ok(value) => build.tuple(3).term(reference).atom("return").term(&value).finish(),
            Err(Raised::Throw(term)) => build.tuple(3).term(reference).atom("throw").term(&term).finish(),
            Err(Raised::Exit(term)) => build.tuple(3).term(reference).atom("exit").term(&term).finish(),
            Err(Raised::Error(term)) => {
                build.tuple(4).term(reference).atom("error").term(&term).term(&some_stack()).finish()
            }
            Err(Raised::ErrorAt(term, stack)) => {
                build.tuple(4).term(reference).atom("error").term(&term).term(&stack).finish()
            }
        }))
    })
}

/// `erpc:execute_cast(M, F, Args)`.
fn execute_cast<'a>(cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async move {
        let [module, function, list] = arguments.items() else { return Err(arguments.badarg()) };
        let names = (module.view().as_atom(), function.view().as_atom());
        let (Some(module), Some(function)) = names else { return Err(arguments.badarg()) };
        cx.apply(atom(module), atom(function), list.clone()).await
    })
}

pub(super) fn add(exports: &mut Exports) {
    exports.add("erpc", "execute_call", 4, Arc::new(execute_call));
    exports.add("erpc", "execute_cast", 3, Arc::new(execute_cast));
}
