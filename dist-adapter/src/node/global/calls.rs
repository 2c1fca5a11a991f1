//! Calls to the servers of several nodes at once, and locks on them.

use std::collections::HashMap;
use std::time::Duration;

use atropos::{AliasMode, Peek};

use crate::node::cx::{Destination, MonitorOptions, NodeCx};
use crate::node::identity::atom;
use crate::node::inner::Node;
use crate::node::mail::{Incoming, Mail};
use crate::term::{Atom, Term, TermBuilder};

use super::SERVER;

/// Returns where the server of a node is.
pub(super) fn server_of(cx: &NodeCx, node: &Atom) -> Destination {
    match node == cx.node().name() {
        true => Destination::Name(atom(SERVER)),
        false => Destination::RemoteName(atom(SERVER), node.clone()),
    }
}

/// Calls the servers of these nodes, and waits for all answers. A node that is lost gives none.
pub(super) async fn call_all(cx: &mut NodeCx, nodes: &[Atom], request: &Term) -> Vec<(Atom, Term)> {
    let mut waiting: HashMap<u64, Atom> = HashMap::new();
    for node in nodes {
        let to = server_of(cx, node);
        let options = MonitorOptions { alias: Some(AliasMode::ReplyDemonitor), tag: None };
        let Ok(reference) = cx.monitor(&to, options) else { continue };
        let alias = cx.node().reference(reference);
        let own = cx.own_term();
        let tag = TermBuilder::new().list(1).atom("alias").reference(alias.as_ref()).finish();
        let call = TermBuilder::new().tuple(3).atom("$gen_call").tuple(2).term(&own).term(&tag).term(request);
        cx.send(&to, call.finish()).await;
        waiting.insert(reference, node.clone());
    }
    let mut answers = Vec::new();
    let own = cx.node().clone();
    while !waiting.is_empty() {
        let wanted = |peek: Peek<'_, Mail>| match peek {
            Peek::Message(Mail::Alias(reference, _) | Mail::Down(reference, ..)) => waiting.contains_key(reference),
            Peek::Message(Mail::Term(term)) => answered(&own, term).is_some_and(|it| waiting.contains_key(&it)),
            Peek::Down(down) => waiting.contains_key(&down.reference.to_raw()),
            _ => false,
        };
        match cx.select_once(None, wanted).await.flatten() {
            Some(Incoming::Message(answer)) => {
                let Some(reference) = answered(&own, &answer) else { continue };
                cx.demonitor(reference, true);
                if let (Some(node), Some([_, reply])) = (waiting.remove(&reference), answer.view().as_array()) {
                    answers.push((node, answer.part(reply)));
                }
            }
            Some(Incoming::Down { reference, .. }) => drop(waiting.remove(&reference)),
            _ => {}
        }
    }
    answers
}

/// Returns the number of the call that a message `{[alias | Ref], Reply}` answers.
fn answered(node: &Node, message: &Term) -> Option<u64> {
    let [tag, _] = message.view().as_array()?;
    let (alias, reference) = tag.as_cons()?;
    node.own_reference(reference.as_reference().filter(|_| alias.is_atom("alias"))?)
}

/// Returns `{What, Id}`.
fn about(what: &str, id: &Term) -> Term {
    TermBuilder::new().tuple(2).atom(what).term(id).finish()
}

/// Tries once to set a lock on nodes: on all of them or on none. `id` is `{Resource, Requester}`.
pub(super) async fn set_lock(cx: &mut NodeCx, id: &Term, nodes: &[Atom]) -> bool {
    if nodes.is_empty() {
        return true;
    }
    // A lock that is taken here need not be asked for elsewhere.
    if nodes.len() > 1 && nodes.contains(cx.node().name()) && !can_lock(cx, id) {
        return false;
    }
    let answers = call_all(cx, nodes, &about("set_lock", id)).await;
    let is_set = |answer: &Term| answer.view().as_bool() == Some(true);
    if answers.iter().all(|(_, answer)| is_set(answer)) {
        return true;
    }
    let set: Vec<Atom> = answers.into_iter().filter(|(_, answer)| is_set(answer)).map(|(node, _)| node).collect();
    del_lock(cx, id, &set).await;
    false
}

/// Returns `true` if this node would grant a lock.
pub(super) fn can_lock(cx: &NodeCx, id: &Term) -> bool {
    let parts = id.view().as_array().map(|parts: [_; 2]| parts.map(|part| id.part(part)));
    parts.is_some_and(|[resource, requester]| cx.node().0.global.can_lock(&resource, &requester))
}

/// Releases a lock on nodes.
pub(super) async fn del_lock(cx: &mut NodeCx, id: &Term, nodes: &[Atom]) {
    if !nodes.is_empty() {
        call_all(cx, nodes, &about("del_lock", id)).await;
    }
}

/// Releases the lock `global`: on the greatest node last, since that is where it is set first.
pub(super) async fn del_global_lock(cx: &mut NodeCx, id: &Term, nodes: &[Atom]) {
    let Some(boss) = nodes.iter().max().cloned() else { return };
    let rest: Vec<Atom> = nodes.iter().filter(|node| **node != boss).cloned().collect();
    del_lock(cx, id, &rest).await;
    del_lock(cx, id, &[boss]).await;
}

/// Waits for a random time, at most 8 s, that grows with the number of attempts.
pub(super) async fn random_pause(cx: &mut NodeCx, attempts: u32) {
    let longest = if attempts > 5 { 8000 } else { (1_u64 << attempts) * 125 };
    let mut random = [0; 8];
    // Without randomness the pause is the longest.
    let pause = match getrandom::fill(&mut random) {
        Ok(()) => 1 + u64::from_le_bytes(random) % longest,
        Err(_) => longest,
    };
    cx.select_once(Some(Duration::from_millis(pause)), |_| false).await;
}
