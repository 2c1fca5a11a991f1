//! The locker: the process that sets the lock `global` for the meetings of its node, one at a time.
//!
//! It gets these messages from the server:
//!
//! | message | |
//! | --- | --- |
//! | `{meet, Node, Locker, Version, TheirTag, OurTag}` | a meeting that needs the lock |
//! | `{cancel, Node, OurTag, News}` | a meeting that is over, or begins anew. If it has the lock, each `{Cast, Nodes}` of the news is sent, and then the lock is released |
//! | `{lock_set, TheirLocker, IsSet, Known, OurTag}` | what the other locker says (an old one without tag) |

use std::time::Duration;

use atropos::{Peek, Reason};

use crate::node::cx::{Destination, NodeCx};
use crate::node::identity::ProcessId;
use crate::node::mail::{Incoming, Mail};
use crate::term::{Atom, Term, TermBuilder};

use super::calls::{can_lock, del_global_lock, del_lock, server_of, set_lock};
use super::server;

/// Versions before this one have no tags.
const TAGS: u64 = 8;
/// Versions before this one send `lock_set` to the locker, not to the server.
const BY_SERVER: u64 = 6;

/// A node that waits for the lock.
#[derive(Clone, Debug)]
struct Waiting {
    node: Atom,
    locker: Term,
    version: u64,
    their_tag: Term,
    our_tag: i64,
}

#[derive(Debug)]
struct Locker {
    waiting: Vec<Waiting>,
    /// The last meeting has succeeded, so the next one need not wait.
    just_met: bool,
}

/// Runs the locker.
pub(super) async fn run(mut cx: NodeCx) -> Reason {
    let mut locker = Locker { waiting: Vec::new(), just_met: false };
    loop {
        let pause = (!locker.waiting.is_empty()).then(|| locker.pause(&cx));
        match cx.select_once(pause, |_| true).await {
            Some(Some(Incoming::Message(message))) => {
                locker.message(&mut cx, &message).await;
            }
            Some(_) => {}
            None => {
                locker.just_met = false;
                let global = Term::atom("global");
                if cx.node().0.global.lock_of(&global).is_none() {
                    locker.try_one(&mut cx).await;
                }
            }
        }
    }
}

impl Locker {
    /// Returns how long to wait for messages before the next attempt. It is longer in a large
    /// cluster, where many lockers try.
    fn pause(&self, cx: &NodeCx) -> Duration {
        let known = cx.node().0.global.known().len() as u64;
        Duration::from_millis(match known {
            _ if self.just_met => 0,
            0 => 200,
            _ => (1000 + 100 * known).min(3000),
        })
    }

    async fn message(&mut self, cx: &mut NodeCx, message: &Term) -> Option<()> {
        let parts: Vec<_> = message.view().as_tuple()?.iter().collect();
        match (parts.first()?.as_atom()?, &parts[1..]) {
            ("meet", [node, locker, version, their_tag, our_tag]) => self.waiting.push(Waiting {
                node: Atom::new(node.as_atom()?).ok()?,
                locker: message.part(*locker).detached(),
                version: version.as_u64()?,
                their_tag: message.part(*their_tag).detached(),
                our_tag: our_tag.as_i64()?,
            }),
            ("cancel", [node, tag, _]) => self.remove(node.as_atom()?, tag.as_i64()?),
            ("lock_set", [locker, is_set, _, rest @ ..]) if is_set.as_bool() == Some(true) => {
                self.asked(cx, &message.part(*locker), rest.first().and_then(|tag| tag.as_i64())).await;
            }
            _ => {}
        }
        Some(())
    }

    fn remove(&mut self, node: &str, tag: i64) {
        self.waiting.retain(|waiting| waiting.node != node || waiting.our_tag != tag);
    }

    /// The other locker has set its locks: sets ours, says so, and waits for the end of the
    /// meeting.
    async fn asked(&mut self, cx: &mut NodeCx, locker: &Term, tag: Option<i64>) -> Option<()> {
        let node = locker.view().as_pid()?.node.to_owned();
        let found = self.waiting.iter().find(|waiting| waiting.node == node.as_str());
        let Some(them) = found.filter(|waiting| tag.is_none_or(|tag| tag == waiting.our_tag)).cloned() else {
            let them = Waiting {
                node: Atom::new(&node).ok()?,
                locker: locker.clone(),
                version: if tag.is_some() { TAGS } else { 5 },
                their_tag: Term::from(0_i64),
                our_tag: 0,
            };
            tell(cx, &them, false);
            return None;
        };
        let id = lock_id(cx, locker);
        let is_set = self.lock_nodes(cx, &id, None).await;
        tell(cx, &them, is_set);
        if is_set {
            let known = cx.node().0.global.known();
            self.met(cx, &them, &id, known).await;
        }
        Some(())
    }

    /// Tries to set the lock for one of the nodes that wait.
    async fn try_one(&mut self, cx: &mut NodeCx) {
        let known = cx.node().0.global.known();
        self.waiting.retain(|waiting| !known.contains(&waiting.node));
        // Nodes of the same host first: their meetings are short.
        let own_host = cx.node().name().as_str().split_once('@').map(|(_, host)| host.to_owned());
        let host = |waiting: &Waiting| waiting.node.as_str().split_once('@').map(|(_, host)| host.to_owned());
        let near: Vec<_> = self.waiting.iter().filter(|waiting| host(waiting) == own_host).cloned().collect();
        let from = if near.is_empty() { &self.waiting } else { &near };
        let Some(them) = pick(from).cloned() else { return };
        let id = lock_id(cx, &them.locker);
        if !self.lock_nodes(cx, &id, Some(&them.node)).await {
            return;
        }
        tell(cx, &them, true);
        let mut nodes = cx.node().0.global.known();
        nodes.push(them.node.clone());
        if self.confirmed(cx, &them).await {
            self.met(cx, &them, &id, nodes).await;
        } else {
            nodes.push(cx.node().name().clone());
            del_global_lock(cx, &id, &nodes).await;
        }
    }

    /// Waits for the other locker's answer. Returns `true` if it has set its locks.
    async fn confirmed(&mut self, cx: &mut NodeCx, them: &Waiting) -> bool {
        loop {
            let answer = |term: &Term| is_about(term, "lock_set", them) || is_about(term, "cancel", them);
            let wanted = |peek: Peek<'_, Mail>| matches!(peek, Peek::Message(Mail::Term(term)) if answer(term));
            let Some(Incoming::Message(message)) = cx.select_once(None, wanted).await.flatten() else { continue };
            if is_about(&message, "cancel", them) {
                self.remove(them.node.as_str(), them.our_tag);
                return false;
            }
            let is_set = message.view().as_tuple().and_then(|tuple| tuple.iter().nth(2));
            return is_set.and_then(|is_set| is_set.as_bool()) == Some(true);
        }
    }

    /// Both nodes have the lock: lets the servers exchange names, waits until they have, and
    /// releases the lock.
    async fn met(&mut self, cx: &mut NodeCx, them: &Waiting, id: &Term, known: Vec<Atom>) {
        let build = TermBuilder::new().tuple(4).atom("lock_is_set").atom(them.node.as_str()).integer(them.our_tag);
        server::cast(cx, &server_of(cx, cx.node().name()), &build.term(id).finish());
        let wanted =
            |peek: Peek<'_, Mail>| matches!(peek, Peek::Message(Mail::Term(term)) if is_about(term, "cancel", them));
        let end = loop {
            if let Some(Incoming::Message(message)) = cx.select_once(None, wanted).await.flatten() {
                break message;
            }
        };
        let news = end.view().as_tuple().and_then(|tuple| tuple.iter().nth(3)?.as_list());
        for one in news.into_iter().flatten() {
            send_news(cx, &end, one);
        }
        let mut nodes = known;
        nodes.push(cx.node().name().clone());
        del_global_lock(cx, id, &nodes).await;
        self.just_met = true;
        self.remove(them.node.as_str(), them.our_tag);
    }

    /// Sets the lock: on the greatest node, which so decides between lockers, then on this one and
    /// the other one, then on all that are known. On all or on none.
    async fn lock_nodes(&self, cx: &mut NodeCx, id: &Term, other: Option<&Atom>) -> bool {
        let own = cx.node().name().clone();
        let boss = |cx: &NodeCx| cx.node().0.global.known().into_iter().chain([own.clone()]).max();
        let first: Vec<Atom> = boss(cx).into_iter().collect();
        if !first.contains(&own) && !can_lock(cx, id) || !set_lock(cx, id, &first).await {
            return false;
        }
        let without_first = |nodes: Vec<Atom>| nodes.into_iter().filter(|node| !first.contains(node)).collect();
        let second: Vec<Atom> = without_first([own.clone()].into_iter().chain(other.cloned()).collect());
        if !set_lock(cx, id, &second).await {
            del_lock(cx, id, &first).await;
            return false;
        }
        // As they are known now: the table may have changed since the first lock was set.
        let rest: Vec<Atom> = without_first(cx.node().0.global.known());
        if !set_lock(cx, id, &rest).await {
            let so_far: Vec<Atom> = first.into_iter().chain(second).collect();
            del_lock(cx, id, &so_far).await;
            return false;
        }
        true
    }
}

/// Sends the news of a meeting, `{Cast, Nodes}`, to the nodes that are known to the node.
fn send_news(cx: &NodeCx, whole: &Term, news: crate::term::TermRef<'_>) -> Option<()> {
    let [message, nodes] = news.as_array()?;
    let message = whole.part(message);
    for node in nodes.as_list()? {
        let node = Atom::new(node.as_atom()?).ok()?;
        server::cast(cx, &server_of(cx, &node), &message);
    }
    Some(())
}

/// Returns `{global, Lockers}`, which is the same at both nodes.
fn lock_id(cx: &NodeCx, locker: &Term) -> Term {
    let own = cx.own_term();
    let lockers = if own < *locker { [&own, locker] } else { [locker, &own] };
    Term::tuple([&Term::atom("global"), &Term::list(lockers)])
}

/// Tells the other locker if the lock is set here.
fn tell(cx: &NodeCx, them: &Waiting, is_set: bool) {
    let known: Vec<Term> = cx.node().0.global.known().iter().map(Term::from).collect();
    let with_tag = them.version >= TAGS;
    let build = TermBuilder::new().tuple(if with_tag { 5 } else { 4 }).atom("lock_set").term(&cx.own_term());
    let build = build.term(&Term::from(is_set)).term(&Term::list(&known));
    let message = if with_tag { build.term(&them.their_tag) } else { build }.finish();
    if them.version >= BY_SERVER {
        server::cast(cx, &server_of(cx, &them.node), &message);
    } else if let Some(locker @ ProcessId::Remote(_)) = cx.process(&them.locker) {
        cx.send_now(&Destination::Process(locker), message);
    }
}

/// Returns `true` for a message of this kind about a meeting: `{cancel, Node, OurTag, _}`, or
/// `{lock_set, TheirLocker, IsSet, Known, OurTag}`, from an old locker without tag.
fn is_about(message: &Term, kind: &str, them: &Waiting) -> bool {
    let Some(tuple) = message.view().as_tuple() else { return false };
    let parts: Vec<_> = tuple.iter().take(5).collect();
    let is_kind = parts.first().is_some_and(|first| first.is_atom(kind));
    match parts.get(1..) {
        Some([node, tag, _]) if kind == "cancel" => {
            is_kind && node.is_atom(them.node.as_str()) && tag.as_i64() == Some(them.our_tag)
        }
        Some([locker, _, _, rest @ ..]) if kind == "lock_set" => {
            let is_theirs = locker.as_pid().is_some_and(|locker| locker.node == them.node.as_str());
            is_kind && is_theirs && rest.first().is_none_or(|tag| tag.as_i64() == Some(them.our_tag))
        }
        _ => false,
    }
}

/// Returns a random element.
fn pick<T>(all: &[T]) -> Option<&T> {
    let mut random = [0; 8];
    // Without randomness it is the first.
    let _ = getrandom::fill(&mut random);
    all.get((u64::from_le_bytes(random) % all.len().max(1) as u64) as usize)
}
