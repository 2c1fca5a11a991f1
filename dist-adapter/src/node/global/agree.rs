//! The steps of a meeting under the lock: names are compared, changes made, and the nodes of both
//! sides connected.

use crate::node::cx::{Destination, NodeCx};
use crate::node::identity::ProcessId;
use crate::term::{Atom, Term, TermBuilder};

use super::calls::server_of;
use super::conflict;
use super::holdings::Right;
use super::meeting::{Change, Entry, Nodes};
use super::server::{Server, WITH_VERSIONS, cast};

impl Server {
    /// Compares the names of both nodes, once the lock is set and the other node's names have come.
    /// The smaller node resolves conflicts.
    pub(super) fn compare(&mut self, cx: &mut NodeCx, node: &Atom) -> Option<()> {
        let meeting = self.meetings.get_mut(node).filter(|meeting| meeting.lock.is_some())?;
        let names = meeting.names.take()?;
        let their_tag = meeting.other.as_ref()?.tag.clone();
        let decides = cx.node().name() < node;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for entry in names {
            let Some(named) = cx.node().0.global.named(&entry.name) else {
                ours.push(Change::Insert(entry));
                continue;
            };
            if named.pid == entry.pid || !decides {
                continue;
            }
            let name = entry.name.clone();
            match conflict::resolve(cx, &named.method, &name, &entry.pid, &named.pid) {
                Some(kept) if kept == entry.pid => ours.push(Change::Insert(entry)),
                Some(_) => theirs.push(Change::Insert(Entry { name, pid: named.pid, method: named.method })),
                None => {
                    ours.push(Change::Delete(name.clone()));
                    theirs.push(Change::Delete(name));
                }
            }
        }
        let known = nodes_term(&cx.node().0.global.known_versions(), self.version(cx, node));
        let build = TermBuilder::new().tuple(7).atom("resolved").atom(cx.node().name().as_str());
        let build = build.term(&Change::list(&theirs)).term(&known).atom("unused").nil();
        cast(cx, &server_of(cx, node), &build.term(&their_tag).finish());
        self.meetings.get_mut(node)?.changes = Some(ours);
        self.conclude(cx, node)
    }

    /// Ends a meeting, once both nodes have said what must change.
    pub(super) fn conclude(&mut self, cx: &mut NodeCx, node: &Atom) -> Option<()> {
        let meeting = self.meetings.get_mut(node)?;
        if meeting.changes.is_none() || meeting.resolved.is_none() {
            return None;
        }
        let mut changes = meeting.changes.take()?;
        let (their_changes, their_known) = meeting.resolved.take()?;
        changes.extend(their_changes);
        let lock = meeting.lock.clone();
        let version = self.pending.remove(node).unwrap_or_default();
        self.connect_to_others(cx, &their_known);
        let requester = lock.as_ref().and_then(|lock| {
            let [_, requester] = lock.view().as_array()?;
            Some(lock.part(requester))
        });
        self.make(cx, &changes, &Right::Requester(requester));
        // This node meets their known nodes through this one.
        for (other, _) in &their_known {
            if let Some(other) = other.view().as_atom().and_then(|other| Atom::new(other).ok()) {
                self.pending.remove(&other);
                self.cancel(cx, &other, None);
            }
        }
        let mut new: Nodes = vec![(Term::from(node), version)];
        new.extend(their_known);
        let news = self.news(cx, &changes, &new, version, lock.as_ref());
        self.cancel(cx, node, Some(news));
        self.add_known(cx, &new);
        self.add_synced(cx, node);
        Some(())
    }

    /// Returns the news of a meeting for the locker, `[{Cast, Nodes}]`: the nodes that were known
    /// before connect to the new ones, and make the same changes.
    fn news(&self, cx: &NodeCx, changes: &[Change], new: &[(Term, u64)], version: u64, lock: Option<&Term>) -> Term {
        let lock = lock.cloned().unwrap_or_else(|| Term::atom("undefined"));
        let build = TermBuilder::new().list(2).tuple(2).atom("vsn").integer(version).tuple(2).atom("lock").term(&lock);
        let extra = build.nil().finish();
        let changes = Change::list(changes);
        let cast = |with_versions: bool| {
            let node = |(node, version): &(Term, u64)| match with_versions {
                true => Term::tuple([node, &Term::from(*version)]),
                false => node.clone(),
            };
            let nodes = Term::list(&new.iter().map(node).collect::<Vec<_>>());
            let build = TermBuilder::new().tuple(6).atom("new_nodes").atom(cx.node().name().as_str());
            let cast = build.term(&changes).nil().term(&nodes).term(&extra).finish();
            let known = cx.node().0.global.known_versions();
            let to = known.iter().filter(|(_, version)| (**version >= WITH_VERSIONS) == with_versions);
            let to: Vec<Term> = to.map(|(node, _)| Term::from(node)).collect();
            Term::tuple([&cast, &Term::list(&to)])
        };
        Term::list(&[cast(true), cast(false)])
    }

    /// A node of the mesh has met others.
    pub(super) fn new_nodes(&mut self, cx: &mut NodeCx, changes: &[Change], nodes: Nodes, requester: Option<Term>) {
        let added = self.add_known(cx, &nodes);
        self.connect_to_others(cx, &added);
        self.make(cx, changes, &Right::Requester(requester));
    }

    /// Adds nodes to those that are known. Returns those that are new.
    fn add_known(&mut self, cx: &NodeCx, nodes: &[(Term, u64)]) -> Nodes {
        let mut added = Vec::new();
        for (term, version) in nodes {
            let Some(node) = term.view().as_atom().and_then(|node| Atom::new(node).ok()) else { continue };
            if node != *cx.node().name() && cx.node().0.global.add_known(&node, *version) {
                added.push((term.clone(), *version));
            }
        }
        added
    }

    /// Connects to nodes of the mesh, and tells them that they are in the same one.
    fn connect_to_others(&self, cx: &NodeCx, nodes: &[(Term, u64)]) {
        for (term, _) in nodes {
            let Some(peer) = term.view().as_atom().and_then(|node| Atom::new(node).ok()) else { continue };
            if peer == *cx.node().name() {
                continue;
            }
            let (node, server) = (cx.node().clone(), cx.pid());
            let build = TermBuilder::new().tuple(2).atom("$gen_cast").tuple(3).atom("in_sync");
            let in_sync = build.atom(node.name().as_str()).atom("true").finish();
            let to = server_of(cx, &peer);
            cx.node().0.tokio.spawn(async move {
                if node.connect(&peer).await {
                    node.post(server, &to, in_sync);
                    return;
                }
                node.log(peer.as_str(), "global could not connect to a node of the mesh", "it cannot be reached");
                let lost = TermBuilder::new().tuple(2).atom("extra_nodedown").atom(peer.as_str()).finish();
                node.post(server, &Destination::Process(ProcessId::Local(server)), lost);
            });
        }
    }
}

/// Returns known nodes as a node of this version reads them.
fn nodes_term(known: &std::collections::BTreeMap<Atom, u64>, version: u64) -> Term {
    let node = |(node, its_version): (&Atom, &u64)| match version < WITH_VERSIONS {
        true => Term::from(node),
        false => Term::tuple([&Term::from(node), &Term::from(*its_version)]),
    };
    Term::list(&known.iter().map(node).collect::<Vec<_>>())
}
