//! `net_kernel`: what `net_adm:ping` asks, and what nodes without spawn requests ask to spawn.

use atropos::Reason;

use crate::term::{Term, TermRef};

use super::call::{Request, unknown_request};
use super::cx::{MonitorOptions, NodeCx};
use super::identity::{ProcessId, atom};
use super::inner::Node;
use super::mail::{Incoming, Mail};

pub(super) async fn run(mut cx: NodeCx) -> Reason {
    loop {
        let Incoming::Message(message) = cx.recv().await else { continue };
        let node = cx.node().clone();
        if let Request::Call(call, request) = Request::read(&node, message) {
            let reply = answer(&mut cx, &node, &call.from, &request).unwrap_or_else(|| unknown_request(&request));
            call.reply(&cx, &reply);
        }
    }
}

fn answer(cx: &mut NodeCx, node: &Node, from: &Term, request: &Term) -> Option<Term> {
    if let Some([what, _]) = request.view().as_array()
        && what.is_atom("is_auth")
    {
        return Some(Term::atom("yes"));
    }
    let parts: Vec<TermRef<'_>> = request.view().as_tuple()?.iter().collect();
    let (link, monitor, parts) = match (parts.first()?.as_atom()?, &parts[1..]) {
        ("spawn", parts) => (false, false, parts),
        ("spawn_link", parts) => (true, false, parts),
        ("spawn_opt", [module, function, arguments, options, rest @ ..]) => {
            let has = |option: &str| options.as_list().is_some_and(|mut all| all.any(|one| one.is_atom(option)));
            let (link, monitor) = match rest {
                // `{spawn_opt, M, F, A, Options, Link, Leader}`: an older form.
                [old, _] => (old.as_bool() == Some(true) || has("link"), has("monitor")),
                _ => (has("link"), has("monitor")),
            };
            return start(
                cx,
                node,
                from,
                request,
                [*module, *function, *arguments],
                rest.last().copied(),
                link,
                monitor,
            );
        }
        _ => return None,
    };
    let [module, function, arguments, leader] = parts else { return None };
    start(cx, node, from, request, [*module, *function, *arguments], Some(*leader), link, monitor)
}

#[allow(clippy::too_many_arguments, reason = "the parts of one request")]
fn start(
    cx: &mut NodeCx,
    node: &Node,
    from: &Term,
    request: &Term,
    [module, function, arguments]: [TermRef<'_>; 3],
    leader: Option<TermRef<'_>>,
    link: bool,
    monitor: bool,
) -> Option<Term> {
    let parent = from.view().as_pid()?;
    let (module, function) = (atom(module.as_atom()?), atom(function.as_atom()?));
    arguments.as_list()?;
    let leader = leader.and_then(|leader| leader.as_pid()).unwrap_or(parent);
    let child = node.start_exported(module, function, request.part(arguments), node.process(leader)).ok()?;
    let child_term = Term::from(&node.external(child));
    if link && let ProcessId::Remote(parent) = node.process(parent) {
        node.connect_to(&parent.node);
        node.event(|machine| machine.link(child.to_raw(), &parent));
    }
    let reply = if monitor {
        let reference = cx.monitor(&super::cx::Destination::Process(child.into()), MonitorOptions::default()).ok()?;
        Term::tuple([&child_term, &Term::from(&node.reference(reference))])
    } else {
        child_term
    };
    node.deliver(child.to_raw(), Mail::Begin);
    Some(reply)
}
