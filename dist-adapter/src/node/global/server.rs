//! The process `global_name_server`: names, locks, and the meetings with other servers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use atropos::{Pid, Reason};

use crate::machine::Subscription;
use crate::node::call::{Call, Request};
use crate::node::cx::{Destination, NodeCx};
use crate::node::functions::NodeType;
use crate::node::identity::ProcessId;
use crate::node::mail::Incoming;
use crate::node::reason::reason_of;
use crate::term::{Atom, Term, TermBuilder, TermRef};

use super::calls::server_of;
use super::holdings::Monitored;
use super::locker;
use super::meeting::{Change, Entry, Greeting, Meeting, Nodes};
use super::partition::Losses;
use super::tables::Named;

/// The version of the protocol.
pub(super) const VERSION: u64 = 8;
/// Versions before this one are not sent the versions of nodes.
pub(super) const WITH_VERSIONS: u64 = 7;

/// A caller of `sync`, and the nodes that it waits for.
#[derive(Debug)]
struct Syncer {
    call: Call,
    waiting: BTreeSet<Atom>,
}

/// The state of the server. Names, locks and known nodes are in the tables of the node.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) locker: Pid,
    pub(super) monitors: HashMap<u64, Monitored>,
    /// The meetings that this node has begun.
    pub(super) meetings: HashMap<Atom, Meeting>,
    /// Greetings of nodes that this node does not know to be connected yet.
    early: HashMap<Atom, Greeting>,
    /// The nodes that have greeted, with their versions, until the meeting is over.
    pub(super) pending: BTreeMap<Atom, u64>,
    pub(super) synced: BTreeSet<Atom>,
    syncers: Vec<Syncer>,
    /// The lock `global` was last released because its holder ended.
    pub(super) lost_lock: bool,
    next_tag: i64,
    pub(super) losses: Losses,
}

/// Casts to a server.
pub(super) fn cast(cx: &NodeCx, to: &Destination, message: &Term) {
    cx.send_now(to, TermBuilder::new().tuple(2).atom("$gen_cast").term(message).finish());
}

/// Runs the server.
pub(super) async fn run(mut cx: NodeCx) -> Reason {
    let node = cx.node().clone();
    node.0.global.clear();
    // The locker and the server end with each other, and are started again together.
    let locker = match node.spawn(locker::run) {
        Ok(locker) if cx.link(&ProcessId::Local(locker)).is_ok() => locker,
        _ => return reason_of(&Term::atom("no_locker")),
    };
    let mut server = Server {
        locker,
        monitors: HashMap::new(),
        meetings: HashMap::new(),
        early: HashMap::new(),
        pending: BTreeMap::new(),
        synced: BTreeSet::new(),
        syncers: Vec::new(),
        lost_lock: false,
        next_tag: 0,
        losses: Losses::new(node.creation()),
    };
    cx.monitor_nodes(true, Subscription::default());
    // A server that begins anew is not what these nodes have met: they meet it over a new
    // connection.
    for peer in node.nodes(NodeType::Visible) {
        disconnect(&cx, &peer, "global was started again, and meets its peers over new connections");
    }
    loop {
        match cx.recv().await {
            Incoming::Node(event) if event.up => server.node_up(&cx, &event.node),
            Incoming::Node(event) => server.node_down(&mut cx, &event.node),
            Incoming::Down { reference, .. } => server.process_down(&mut cx, reference),
            Incoming::Message(message) => match Request::read(&node, message) {
                Request::Call(call, request) => server.call(&mut cx, call, &request),
                Request::Cast(message) => {
                    server.on_cast(&mut cx, &message);
                }
                Request::Other(message) => {
                    server.on_message(&mut cx, &message);
                }
                Request::System(..) => {}
            },
            _ => {}
        }
    }
}

/// Ends the connection to a node, soon; `text` says why in the log.
pub(super) fn disconnect(cx: &NodeCx, peer: &Atom, text: &'static str) {
    let (node, peer) = (cx.node().clone(), peer.clone());
    cx.node().0.tokio.spawn(async move { node.disconnect_for(&peer, text).await });
}

pub(super) fn read_node(part: TermRef<'_>) -> Option<Atom> {
    Atom::new(part.as_atom()?).ok()
}

impl Server {
    // Calls.

    fn call(&mut self, cx: &mut NodeCx, call: Call, request: &Term) {
        if request.view().is_atom("sync") {
            let is_hidden = cx.node().0.options.hidden;
            let visible = cx.node().nodes(NodeType::Visible).into_iter();
            let waiting = visible.filter(|node| !is_hidden && !self.synced.contains(node)).collect();
            self.syncers.push(Syncer { call, waiting });
            self.answer_syncers(cx);
        } else if let Some(reply) = self.reply(cx, &call.from, request) {
            call.reply(cx, &reply);
        }
    }

    /// Answers the callers of `sync` that wait for no node.
    fn answer_syncers(&mut self, cx: &NodeCx) {
        self.syncers.retain(|syncer| {
            if syncer.waiting.is_empty() {
                syncer.call.reply(cx, &Term::atom("ok"));
            }
            !syncer.waiting.is_empty()
        });
    }

    /// Callers of `sync` no longer wait for a node.
    pub(super) fn settled(&mut self, cx: &NodeCx, node: &Atom) {
        for syncer in &mut self.syncers {
            syncer.waiting.remove(node);
        }
        self.answer_syncers(cx);
    }

    pub(super) fn add_synced(&mut self, cx: &NodeCx, node: &Atom) {
        self.synced.insert(node.clone());
        self.settled(cx, node);
    }

    /// Returns the version of a node that is known or greets.
    pub(super) fn version(&self, cx: &NodeCx, node: &Atom) -> u64 {
        let known = cx.node().0.global.version(node);
        known.or_else(|| self.pending.get(node).copied()).unwrap_or_default()
    }

    // Nodes that come and go.

    fn node_up(&mut self, cx: &NodeCx, node: &Atom) {
        // A hidden node takes no part. One that is known came through a third.
        if cx.node().0.options.hidden || cx.node().0.global.version(node).is_some() || self.meetings.contains_key(node)
        {
            return;
        }
        self.begin(cx, node);
        if let Some(greeting) = self.early.remove(node) {
            self.greeted(cx, node, greeting);
        }
    }

    /// Begins a meeting.
    fn begin(&mut self, cx: &NodeCx, node: &Atom) {
        self.next_tag += 1;
        let tag = self.next_tag;
        let known = cx.node().0.global.known_versions();
        let known = known.iter().fold(TermBuilder::new().map(known.len()), |build, (node, version)| {
            build.atom(node.as_str()).integer(*version)
        });
        let locker = Term::from(&cx.node().external(self.locker));
        let build = TermBuilder::new().tuple(4).atom("init_connect").tuple(2).integer(VERSION).integer(tag);
        let build = build.atom(cx.node().name().as_str()).tuple(4).atom("locker").atom("no_longer_a_pid");
        cast(cx, &server_of(cx, node), &build.term(&known.finish()).term(&locker).finish());
        self.meetings.insert(node.clone(), Meeting::new(tag));
    }

    fn node_down(&mut self, cx: &mut NodeCx, node: &Atom) {
        self.settled(cx, node);
        self.lost(cx, node);
    }

    /// Forgets a node, and its meeting.
    pub(super) fn forget(&mut self, cx: &NodeCx, node: &Atom) {
        self.cancel(cx, node, None);
        self.early.remove(node);
        self.pending.remove(node);
        self.synced.remove(node);
        cx.node().0.global.remove_known(node);
    }

    /// Ends the meeting with a node, if there is one. The locker sends the news, if it has the lock
    /// for the meeting, and releases the lock.
    pub(super) fn cancel(&mut self, cx: &NodeCx, node: &Atom, news: Option<Term>) -> Option<Meeting> {
        let meeting = self.meetings.remove(node)?;
        self.tell_locker(cx, node, meeting.tag, news);
        Some(meeting)
    }

    /// Tells the locker that a meeting is over.
    fn tell_locker(&self, cx: &NodeCx, node: &Atom, tag: i64, news: Option<Term>) {
        let build = TermBuilder::new().tuple(4).atom("cancel").atom(node.as_str()).integer(tag);
        let message = build.term(&news.unwrap_or(Term::NIL)).finish();
        cx.send_now(&Destination::Process(ProcessId::Local(self.locker)), message);
    }

    /// Begins a meeting anew, after the other node has.
    fn restart(&mut self, cx: &NodeCx, node: &Atom) {
        let is_begun = self.cancel(cx, node, None).is_some();
        self.pending.remove(node);
        if is_begun {
            self.begin(cx, node);
        }
    }

    /// The other node has greeted.
    fn greeted(&mut self, cx: &NodeCx, node: &Atom, greeting: Greeting) {
        if self.pending.contains_key(node) {
            if greeting.version < VERSION {
                // It knows no way to begin anew on this connection.
                disconnect(cx, node, "global of the peer cannot begin anew on this connection");
                return;
            }
            // It has begun anew, so this node does, too.
            self.send_cancel(cx, node, &greeting.tag);
            self.restart(cx, node);
        }
        let Some(meeting) = self.meetings.get_mut(node) else {
            self.early.insert(node.clone(), greeting);
            return;
        };
        let tag = meeting.tag;
        meeting.other = Some(greeting.clone());
        let locker = cx.node().pid_term(&greeting.locker);
        let build = TermBuilder::new().tuple(6).atom("meet").atom(node.as_str()).term(&locker);
        let message = build.integer(greeting.version).term(&greeting.tag).integer(tag).finish();
        cx.send_now(&Destination::Process(ProcessId::Local(self.locker)), message);
        if greeting.version >= VERSION {
            let build = TermBuilder::new().tuple(4).atom("init_connect_ack").atom(cx.node().name().as_str());
            cx.send_now(&server_of(cx, node), build.term(&greeting.tag).integer(tag).finish());
        }
        self.pending.insert(node.clone(), greeting.version);
    }

    fn send_cancel(&self, cx: &NodeCx, node: &Atom, their_tag: &Term) {
        let build = TermBuilder::new().tuple(3).atom("cancel_connect").atom(cx.node().name().as_str());
        cx.send_now(&server_of(cx, node), build.term(their_tag).finish());
    }

    // Messages of other servers.

    /// Returns the meeting that a message with this tag belongs to.
    fn meeting(&mut self, node: &Atom, tag: TermRef<'_>) -> Option<&mut Meeting> {
        let tag = tag.as_i64()?;
        self.meetings.get_mut(node).filter(|meeting| meeting.tag == tag)
    }

    fn on_cast(&mut self, cx: &mut NodeCx, message: &Term) -> Option<()> {
        let parts: Vec<_> = message.view().as_tuple()?.iter().collect();
        match (parts.first()?.as_atom()?, &parts[1..]) {
            ("init_connect", [versions, node, locker]) => {
                let node = read_node(*node)?;
                let mut versions = versions.as_tuple()?.iter();
                let version = versions.next()?.as_u64()?.min(VERSION);
                let tag = message.part(versions.next()?).detached();
                let [_, _, _, locker] = locker.as_array()?;
                let locker = cx.node().process(locker.as_pid()?);
                self.greeted(cx, &node, Greeting { version, tag, locker });
            }
            // Of this node's locker.
            ("lock_is_set", [node, tag, lock]) => {
                let node = read_node(*node)?;
                let lock = message.part(*lock).detached();
                let Some(meeting) = self.meeting(&node, *tag) else {
                    self.tell_locker(cx, &node, tag.as_i64()?, None);
                    return None;
                };
                meeting.lock = Some(lock);
                let their_tag = meeting.other.as_ref()?.tag.clone();
                self.send_names(cx, &node, &their_tag);
                self.compare(cx, &node);
            }
            ("exchange", [node, names, _, tag]) => {
                let node = read_node(*node)?;
                let names = names.as_list()?.map(|entry| Entry::read(message, entry)).collect::<Option<Vec<_>>>()?;
                self.meeting(&node, *tag)?.names = Some(names);
                self.compare(cx, &node);
            }
            ("resolved", [node, changes, known, _, _, tag]) => {
                let node = read_node(*node)?;
                let changes = Change::read_all(message, *changes)?;
                let known = read_nodes(message, *known)?;
                self.meeting(&node, *tag)?.resolved = Some((changes, known));
                self.conclude(cx, &node);
            }
            ("new_nodes", [node, changes, _, nodes, extra]) => {
                let changes = Change::read_all(message, *changes)?;
                let nodes = read_nodes(message, *nodes)?;
                node.as_atom()?;
                self.new_nodes(cx, &changes, nodes, requester(message, *extra));
            }
            ("in_sync", [node, _]) => {
                let node = read_node(*node)?;
                self.pending.remove(&node);
                self.cancel(cx, &node, None);
                self.add_synced(cx, &node);
            }
            ("lock_set", [locker, _, _, rest @ ..]) => {
                let node = Atom::new(locker.as_pid()?.node).ok()?;
                if let [tag] = rest {
                    self.meeting(&node, *tag)?;
                }
                cx.send_now(&Destination::Process(ProcessId::Local(self.locker)), message.clone());
            }
            _ => {}
        }
        Some(())
    }

    fn on_message(&mut self, cx: &mut NodeCx, message: &Term) -> Option<()> {
        let parts: Vec<_> = message.view().as_tuple()?.iter().collect();
        match (parts.first()?.as_atom()?, &parts[1..]) {
            ("whereis", [name, from]) => self.whereis(cx, message, &message.part(*name), *from)?,
            ("init_connect_ack", [node, our_tag, their_tag]) => {
                let node = read_node(*node)?;
                let their_tag = message.part(*their_tag);
                let agrees = self
                    .meeting(&node, *our_tag)
                    .is_some_and(|meeting| meeting.other.as_ref().is_some_and(|other| other.tag == their_tag));
                if !agrees {
                    self.send_cancel(cx, &node, &their_tag);
                    self.restart(cx, &node);
                }
            }
            ("cancel_connect", [node, tag]) => {
                let node = read_node(*node)?;
                self.meeting(&node, *tag)?;
                self.restart(cx, &node);
            }
            ("lost_connection", [node, creation, number, lost]) => {
                let (node, lost) = (read_node(*node)?, read_node(*lost)?);
                let creation = message.part(*creation).detached();
                self.others_loss(cx, message, &node, creation, number.as_integer()?.to_i128()?, &lost);
            }
            ("remove_connection", [node]) => self.removed(cx, &read_node(*node)?),
            // Of this node: a node of the mesh cannot be connected to.
            ("extra_nodedown", [node]) => self.node_down(cx, &read_node(*node)?),
            _ => {}
        }
        Some(())
    }

    /// Answers `{whereis, Name, From}` as a call, when the lock is free.
    fn whereis(&self, cx: &NodeCx, message: &Term, name: &Term, from: TermRef<'_>) -> Option<()> {
        if cx.node().0.global.lock_of(&Term::atom("global")).is_some() {
            let (node, pid, message) = (cx.node().clone(), cx.pid(), message.clone());
            cx.node().0.tokio.spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                node.post(pid, &Destination::Process(ProcessId::Local(pid)), message);
            });
            return Some(());
        }
        // As a call it has the alias in its tag.
        let call = TermBuilder::new().tuple(3).atom("$gen_call").part(from).term(message).finish();
        let Request::Call(call, _) = Request::read(cx.node(), call) else { return None };
        call.reply(cx, &cx.node().global_whereis(name).unwrap_or_else(|| Term::atom("undefined")));
        Some(())
    }

    /// Sends this node's names to the other node of a meeting.
    fn send_names(&self, cx: &NodeCx, node: &Atom, their_tag: &Term) {
        let names: Vec<Term> = cx
            .node()
            .0
            .global
            .names()
            .into_iter()
            .map(|(name, Named { pid, method, .. })| Entry { name, pid, method }.to_term())
            .collect();
        let build = TermBuilder::new().tuple(5).atom("exchange").atom(cx.node().name().as_str());
        let message = build.term(&Term::list(&names)).nil().term(their_tag).finish();
        cast(cx, &server_of(cx, node), &message);
    }
}

/// Reads a list of nodes, or of nodes and versions: `[Node]` or `[{Node, Version}]`.
fn read_nodes(whole: &Term, part: TermRef<'_>) -> Option<Nodes> {
    let mut nodes = Vec::new();
    for item in part.as_list()? {
        let (node, version) = match item.as_array() {
            Some([node, version]) => (node, version.as_u64().unwrap_or_default()),
            None => (item, 0),
        };
        node.as_atom()?;
        nodes.push((whole.part(node).detached(), version));
    }
    Some(nodes)
}

/// Returns the requester of the lock that news were sent under: `[{lock, {global, Requester}},
/// ...]`.
fn requester(whole: &Term, extra: TermRef<'_>) -> Option<Term> {
    let lock = extra.as_list()?.find_map(|item| {
        let [key, lock] = item.as_array()?;
        key.is_atom("lock").then_some(lock)
    })?;
    let [_, requester] = lock.as_array()?;
    Some(whole.part(requester).detached())
}
