//! `pg`: process groups, in the protocol of OTP 25's `pg`. Each scope is a registered process.
//!
//! A scope knows its local members, and what the scopes of the same name at visible nodes have told
//! of theirs. It monitors those scopes, so the members of a node that is lost leave. A process may
//! join a group several times, and leaves it as often.
//!
//! | to a scope | as | effect |
//! | --- | --- | --- |
//! | `{discover, Peer}`, `{discover, Peer, _}` | message | answered with `sync`; a peer that is new is monitored, and discovered |
//! | `{sync, Peer, [{Group, Pids}]}` | cast | replaces what is known of the peer |
//! | `{join, Peer, Group, PidOrPids}`, `{leave, Peer, PidOrPids, Groups}` | message | of a known peer |
//! | `{join_local, Group, Pid}`, `{leave_local, Group, Pid}`, `{monitor, Group}`, `monitor_scope`, `{demonitor, Ref}`, `{get_members, Group}`, `{get_local_members, Group}`, `which_groups` | call | of processes of this node |

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use atropos::{Pid, Reason};

use crate::machine::Subscription;
use crate::term::{Atom, Term, TermBuilder};

use super::call::{CallError, Request, unknown_request};
use super::cx::{Destination, MonitorOptions, NodeCx};
use super::functions::NodeType;
use super::identity::{ProcessId, atom};
use super::inner::Node;
use super::mail::{Incoming, MonitorObject};

/// The default scope.
pub(super) const DEFAULT: &str = "pg";

/// A local process that is told of joins and leaves.
#[derive(Debug)]
struct Watcher {
    reference: Term,
    process: Pid,
    /// `None` is all groups.
    group: Option<Term>,
    /// The scope's monitor of it.
    monitor: u64,
}

/// What a scope at another node has told: the members of each group.
type Peer = HashMap<Term, Vec<Term>>;

/// A local member.
#[derive(Debug)]
struct Member {
    monitor: u64,
    /// Its groups, as often as it has joined each.
    groups: Vec<Term>,
}

/// The members of a group.
#[derive(Debug, Default)]
struct Group {
    all: Vec<Term>,
    local: Vec<Term>,
}

/// The state of a scope's process.
#[derive(Debug)]
struct Scope {
    name: Atom,
    groups: HashMap<Term, Group>,
    members: HashMap<Pid, Member>,
    peers: HashMap<Term, Peer>,
    watchers: Vec<Watcher>,
}

/// Runs a scope.
pub(super) async fn run(mut cx: NodeCx, name: Atom) -> Reason {
    let mut scope =
        Scope { name, groups: HashMap::new(), members: HashMap::new(), peers: HashMap::new(), watchers: Vec::new() };
    cx.monitor_nodes(true, Subscription::default());
    for node in cx.node().nodes(NodeType::Visible) {
        scope.discover(&cx, &Destination::RemoteName(scope.name.clone(), node));
    }
    loop {
        match cx.recv().await {
            Incoming::Node(event) if event.up => {
                scope.discover(&cx, &Destination::RemoteName(scope.name.clone(), event.node));
            }
            Incoming::Down { object: MonitorObject::Process(ProcessId::Local(pid)), reference, .. } => {
                scope.local_down(&cx, pid, reference);
            }
            Incoming::Down { object: MonitorObject::Process(ProcessId::Remote(pid)), .. } => {
                scope.peer_down(&cx, &Term::from(&pid));
            }
            Incoming::Message(message) => match Request::read(cx.node(), message) {
                Request::Call(call, request) => {
                    let from = cx.process(&call.from);
                    let reply = scope.call(&mut cx, from.as_ref(), &request);
                    call.reply(&cx, &reply.unwrap_or_else(|| unknown_request(&request)));
                }
                Request::Cast(message) | Request::Other(message) => {
                    scope.message(&mut cx, &message);
                }
                Request::System(..) => {}
            },
            _ => {}
        }
    }
}

/// Removes one occurrence.
fn remove_one<T: PartialEq>(all: &mut Vec<T>, one: &T) -> bool {
    let found = all.iter().position(|other| other == one);
    found.map(|index| all.remove(index)).is_some()
}

/// Returns the occurrences of `these` that `those` lack.
fn without(these: &[Term], those: &[Term]) -> Vec<Term> {
    let mut rest: HashMap<&Term, usize> = HashMap::new();
    for term in those {
        *rest.entry(term).or_default() += 1;
    }
    let is_left = |term: &&Term| match rest.get_mut(*term) {
        Some(times) if *times > 0 => {
            *times -= 1;
            false
        }
        _ => true,
    };
    these.iter().filter(is_left).cloned().collect()
}

/// Returns a pid, or the pids of a list.
fn pids(whole: &Term, part: crate::term::TermRef<'_>) -> Option<Vec<Term>> {
    if part.as_pid().is_some() {
        return Some(vec![whole.part(part).detached()]);
    }
    part.as_list()?.map(|pid| pid.as_pid().map(|_| whole.part(pid).detached())).collect()
}

impl Scope {
    fn discover(&self, cx: &NodeCx, to: &Destination) {
        let own = cx.own_term();
        cx.send_now(to, TermBuilder::new().tuple(2).atom("discover").term(&own).finish());
    }

    /// Sends a message to all known peers.
    fn broadcast(&self, cx: &NodeCx, message: &Term) {
        for peer in self.peers.keys() {
            if let Some(to) = cx.process(peer) {
                cx.send_now(&to.into(), message.clone());
            }
        }
    }

    /// Returns the entry of a peer, which is monitored from now on; `true` if it is new.
    fn peer(&mut self, cx: &mut NodeCx, peer: &Term) -> Option<(&mut Peer, bool)> {
        let is_new = !self.peers.contains_key(peer);
        if is_new {
            let to = cx.process(peer).filter(|process| matches!(process, ProcessId::Remote(_)))?;
            cx.monitor(&to.into(), MonitorOptions::default()).ok()?;
            self.peers.insert(peer.detached(), Peer::new());
        }
        self.peers.get_mut(peer).map(|entry| (entry, is_new))
    }

    /// Handles what peers send. What has another shape is dropped.
    fn message(&mut self, cx: &mut NodeCx, message: &Term) -> Option<()> {
        let parts: Vec<_> = message.view().as_tuple()?.iter().collect();
        let peer = message.part(*parts.get(1)?);
        peer.view().as_pid()?;
        match (parts.first()?.as_atom()?, &parts[2..]) {
            ("discover", [] | [_]) => {
                let to = Destination::Process(cx.process(&peer)?);
                let sync = self.sync(cx);
                cx.send_now(&to, TermBuilder::new().tuple(2).atom("$gen_cast").term(&sync).finish());
                let (_, is_new) = self.peer(cx, &peer)?;
                if is_new {
                    self.discover(cx, &to);
                }
            }
            ("sync", [groups]) => {
                let mut told: HashMap<Term, Vec<Term>> = HashMap::new();
                for pair in groups.as_list()? {
                    let [group, members] = pair.as_array()?;
                    told.entry(message.part(group).detached()).or_default().extend(pids(message, members)?);
                }
                let (entry, _) = self.peer(cx, &peer)?;
                let old = std::mem::replace(entry, told.clone());
                self.replace(cx, old, told);
            }
            ("join", [group, members]) => {
                let (group, members) = (message.part(*group).detached(), pids(message, *members)?);
                let entry = self.peers.get_mut(&peer)?;
                entry.entry(group.clone()).or_default().extend(members.iter().cloned());
                self.joined(cx, &group, &members, false);
            }
            ("leave", [members, groups]) => {
                let members = pids(message, *members)?;
                for group in groups.as_list()? {
                    let group = message.part(group);
                    let known = self.peers.get_mut(&peer)?.get_mut(&group);
                    let Some(known) = known else { continue };
                    let gone: Vec<Term> = members.iter().filter(|member| remove_one(known, member)).cloned().collect();
                    self.left(cx, &group, &gone, false);
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Returns `{sync, OwnPid, [{Group, Pids}]}` with the local members.
    fn sync(&self, cx: &NodeCx) -> Term {
        let pairs = self.groups.iter().filter(|(_, group)| !group.local.is_empty());
        let pairs: Vec<Term> = pairs.map(|(name, group)| Term::tuple([name, &Term::list(&group.local)])).collect();
        let own = cx.own_term();
        TermBuilder::new().tuple(3).atom("sync").term(&own).term(&Term::list(&pairs)).finish()
    }

    /// Tells what has changed between two accounts of a peer.
    fn replace(&mut self, cx: &NodeCx, old: HashMap<Term, Vec<Term>>, new: HashMap<Term, Vec<Term>>) {
        let none = Vec::new();
        for (group, members) in &old {
            let gone = without(members, new.get(group).unwrap_or(&none));
            self.left(cx, group, &gone, false);
        }
        for (group, members) in &new {
            let come = without(members, old.get(group).unwrap_or(&none));
            self.joined(cx, group, &come, false);
        }
    }

    fn joined(&mut self, cx: &NodeCx, name: &Term, members: &[Term], local: bool) {
        if members.is_empty() {
            return;
        }
        let group = self.groups.entry(name.detached()).or_default();
        group.all.extend(members.iter().cloned());
        if local {
            group.local.extend(members.iter().cloned());
        }
        self.tell(cx, "join", name, members);
    }

    fn left(&mut self, cx: &NodeCx, name: &Term, members: &[Term], local: bool) {
        let Some(group) = self.groups.get_mut(name).filter(|_| !members.is_empty()) else { return };
        for member in members {
            remove_one(&mut group.all, member);
            if local {
                remove_one(&mut group.local, member);
            }
        }
        if group.all.is_empty() {
            self.groups.remove(name);
        }
        self.tell(cx, "leave", name, members);
    }

    fn tell(&self, cx: &NodeCx, what: &str, group: &Term, members: &[Term]) {
        for watcher in &self.watchers {
            if watcher.group.as_ref().is_none_or(|wanted| wanted == group) {
                let build = TermBuilder::new().tuple(4).term(&watcher.reference).atom(what).term(group);
                let to = Destination::Process(watcher.process.into());
                cx.send_now(&to, build.term(&Term::list(members)).finish());
            }
        }
    }

    fn peer_down(&mut self, cx: &NodeCx, peer: &Term) {
        if let Some(groups) = self.peers.remove(peer) {
            self.replace(cx, groups, HashMap::new());
        }
    }

    fn local_down(&mut self, cx: &NodeCx, pid: Pid, monitor: u64) {
        self.watchers.retain(|watcher| watcher.monitor != monitor);
        let Some(member) = self.members.get(&pid).filter(|member| member.monitor == monitor) else { return };
        let groups = member.groups.clone();
        self.members.remove(&pid);
        let own = Term::from(&cx.node().external(pid));
        for group in &groups {
            self.left(cx, group, std::slice::from_ref(&own), true);
        }
        let build = TermBuilder::new().tuple(4).atom("leave").term(&cx.own_term()).term(&own);
        self.broadcast(cx, &build.term(&Term::list(&groups)).finish());
    }

    /// Handles a call; `None` is an unknown request.
    fn call(&mut self, cx: &mut NodeCx, from: Option<&ProcessId>, request: &Term) -> Option<Term> {
        let ok = || Some(Term::atom("ok"));
        if let Some(name) = request.view().as_atom() {
            return match name {
                "which_groups" => {
                    let groups: Vec<Term> = self.groups.keys().cloned().collect();
                    Some(Term::list(&groups))
                }
                "monitor_scope" => {
                    let reference = self.watch(cx, from?, None)?;
                    let lists: Vec<(Term, Term)> =
                        self.groups.iter().map(|(name, group)| (name.clone(), Term::list(&group.all))).collect();
                    let map = Term::map(lists.iter().map(|(name, members)| (name, members)));
                    Some(Term::tuple([&reference, &map]))
                }
                _ => None,
            };
        }
        let parts: Vec<_> = request.view().as_tuple()?.iter().map(|part| request.part(part)).collect();
        match (parts.first()?.view().as_atom()?, &parts[1..]) {
            ("join_local", [group, member]) => {
                let Some(ProcessId::Local(pid)) = cx.process(member) else { return None };
                self.join(cx, pid, group)?;
                ok()
            }
            ("leave_local", [group, member]) => {
                let Some(ProcessId::Local(pid)) = cx.process(member) else { return None };
                Some(Term::atom(if self.leave(cx, pid, group) { "ok" } else { "not_joined" }))
            }
            ("get_members", [group]) => Some(self.groups.get(group).map_or(Term::NIL, |group| Term::list(&group.all))),
            ("get_local_members", [group]) => {
                Some(self.groups.get(group).map_or(Term::NIL, |group| Term::list(&group.local)))
            }
            ("monitor", [group]) => {
                let reference = self.watch(cx, from?, Some(group.detached()))?;
                let members = self.groups.get(group).map_or(Term::NIL, |group| Term::list(&group.all));
                Some(Term::tuple([&reference, &members]))
            }
            ("demonitor", [reference]) => {
                let found = self.watchers.iter().position(|watcher| watcher.reference == *reference);
                let Some(index) = found else { return Some(Term::from(false)) };
                cx.demonitor(self.watchers.remove(index).monitor, true);
                ok()
            }
            _ => None,
        }
    }

    fn watch(&mut self, cx: &mut NodeCx, from: &ProcessId, group: Option<Term>) -> Option<Term> {
        let ProcessId::Local(process) = *from else { return None };
        let monitor = cx.monitor(&process.into_destination(), MonitorOptions::default()).ok()?;
        let number = cx.node().event(|machine| machine.new_reference());
        let reference = Term::from(&cx.node().reference(number));
        self.watchers.push(Watcher { reference: reference.clone(), process, group, monitor });
        Some(reference)
    }

    fn join(&mut self, cx: &mut NodeCx, pid: Pid, group: &Term) -> Option<()> {
        let member = match self.members.entry(pid) {
            Entry::Occupied(member) => member.into_mut(),
            Entry::Vacant(place) => {
                let monitor = cx.monitor(&pid.into_destination(), MonitorOptions::default()).ok()?;
                place.insert(Member { monitor, groups: Vec::new() })
            }
        };
        member.groups.push(group.detached());
        let own = Term::from(&cx.node().external(pid));
        self.joined(cx, group, std::slice::from_ref(&own), true);
        let build = TermBuilder::new().tuple(4).atom("join").term(&cx.own_term()).term(group);
        self.broadcast(cx, &build.term(&own).finish());
        Some(())
    }

    fn leave(&mut self, cx: &mut NodeCx, pid: Pid, group: &Term) -> bool {
        let Some(member) = self.members.get_mut(&pid) else { return false };
        if !remove_one(&mut member.groups, group) {
            return false;
        }
        if member.groups.is_empty() {
            cx.demonitor(member.monitor, true);
            self.members.remove(&pid);
        }
        let own = Term::from(&cx.node().external(pid));
        self.left(cx, group, std::slice::from_ref(&own), true);
        let build = TermBuilder::new().tuple(4).atom("leave").term(&cx.own_term()).term(&own);
        self.broadcast(cx, &build.list(1).term(group).nil().finish());
        true
    }
}

/// A local process as the target of a monitor.
trait IntoDestination {
    fn into_destination(self) -> Destination;
}

impl IntoDestination for Pid {
    fn into_destination(self) -> Destination {
        Destination::Process(ProcessId::Local(self))
    }
}

impl NodeCx {
    /// Asks a scope of `pg`: see the module's table for the requests.
    ///
    /// # Errors
    /// [`CallError`] with `noproc` if there is no such scope.
    pub async fn pg(&mut self, scope: &Atom, request: &Term) -> Result<Term, CallError> {
        self.call(&Destination::Name(scope.clone()), request, None).await
    }
}

impl Node {
    /// Starts a scope of `pg`.
    ///
    /// # Errors
    /// [`atropos::SpawnError`] if it cannot be started, for example because the name is taken.
    pub fn start_pg(&self, scope: &str) -> Result<(), atropos::SpawnError> {
        let name = atom(scope);
        self.keep(scope, move |cx| run(cx, name)).map(drop)
    }
}

/// Adds the functions of `pg` that read groups.
pub(super) fn add(exports: &mut super::exports::Exports) {
    use std::sync::Arc;

    use super::exports::{Arguments, Running};

    fn ask<'a>(cx: &'a mut NodeCx, arguments: &'a Arguments, what: &'static str, group: bool) -> Running<'a> {
        Box::pin(async move {
            let items = arguments.items();
            let with_scope = items.len() > usize::from(group);
            let scope = match with_scope {
                true => items[0].view().as_atom().ok_or_else(|| arguments.badarg())?,
                false => DEFAULT,
            };
            let request = match group {
                true => TermBuilder::new().tuple(2).atom(what).term(&items[items.len() - 1]).finish(),
                false => Term::atom(what),
            };
            cx.pg(&atom(scope), &request).await.map_err(|_| arguments.badarg())
        })
    }
    struct Ask(&'static str, bool);

    impl super::exports::Exported for Ask {
        fn run<'a>(&'a self, cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
            ask(cx, arguments, self.0, self.1)
        }
    }

    for (function, group, arities) in
        [("get_members", true, [1, 2]), ("get_local_members", true, [1, 2]), ("which_groups", false, [0, 1])]
    {
        for arity in arities {
            exports.add("pg", function, arity, Arc::new(Ask(function, group)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_counts_occurrences() {
        let terms = |numbers: &[i64]| numbers.iter().map(|number| Term::from(*number)).collect::<Vec<_>>();
        assert_eq!(without(&terms(&[1, 1, 2, 3]), &terms(&[1, 3, 4])), terms(&[1, 2]));
        let mut all = terms(&[1, 2, 1]);
        assert!(remove_one(&mut all, &Term::from(1_i64)));
        assert_eq!(all, terms(&[2, 1]));
        assert!(!remove_one(&mut all, &Term::from(9_i64)));
    }
}
