//! The registrar: the process that changes global names for the processes of its node, one change
//! after the other, under the lock `global` on all known nodes.

use atropos::Reason;

use crate::node::call::{Request, unknown_request};
use crate::node::cx::NodeCx;
use crate::node::mail::Incoming;
use crate::term::{Atom, Term, TermBuilder};

use super::calls::{call_all, del_global_lock, del_lock, random_pause, set_lock};
use super::conflict;

/// Runs the registrar. It answers `{register, Name, Pid}` with `yes` or `no`, and `{unregister,
/// Name}` with `ok`.
pub(super) async fn run(mut cx: NodeCx) -> Reason {
    loop {
        let Incoming::Message(message) = cx.recv().await else { continue };
        let Request::Call(call, request) = Request::read(cx.node(), message) else { continue };
        let reply = match change(&mut cx, &request).await {
            Some(reply) => Term::atom(reply),
            None => unknown_request(&request),
        };
        call.reply(&cx, &reply);
    }
}

async fn change(cx: &mut NodeCx, request: &Term) -> Option<&'static str> {
    let parts: Vec<Term> = request.view().as_tuple()?.iter().map(|part| request.part(part).detached()).collect();
    match (parts.first()?.view().as_atom()?, &parts[1..]) {
        ("register", [name, pid]) => {
            pid.view().as_pid()?;
            let (id, nodes) = lock(cx).await;
            let is_free = cx.node().global_whereis(name).is_none() && !cx.node().0.global.has_name(pid);
            if is_free {
                let method = conflict::default_method();
                let build = TermBuilder::new().tuple(4).atom("register").term(name).term(pid).term(&method);
                call_all(cx, &nodes, &build.finish()).await;
            }
            del_global_lock(cx, &id, &nodes).await;
            Some(if is_free { "yes" } else { "no" })
        }
        ("unregister", [name]) => {
            if cx.node().global_whereis(name).is_some() {
                let (id, nodes) = lock(cx).await;
                let build = TermBuilder::new().tuple(2).atom("unregister").term(name);
                call_all(cx, &nodes, &build.finish()).await;
                del_global_lock(cx, &id, &nodes).await;
            }
            Some("ok")
        }
        _ => None,
    }
}

/// Sets the lock on this node and all that are known, however long it takes. Returns its id and the
/// nodes.
async fn lock(cx: &mut NodeCx) -> (Term, Vec<Atom>) {
    let id = Term::tuple([&Term::atom("global"), &cx.own_term()]);
    let mut attempts = 0;
    loop {
        let known = cx.node().0.global.known();
        let mut nodes = known.clone();
        nodes.push(cx.node().name().clone());
        let boss: Vec<Atom> = nodes.iter().max().cloned().into_iter().collect();
        if set_lock(cx, &id, &boss).await {
            if set_lock(cx, &id, &nodes).await {
                // A node that came in between is not locked.
                if cx.node().0.global.known().iter().all(|node| known.contains(node)) {
                    return (id, nodes);
                }
                del_lock(cx, &id, &nodes).await;
            }
            del_lock(cx, &id, &boss).await;
        }
        random_pause(cx, attempts).await;
        attempts += 1;
    }
}
