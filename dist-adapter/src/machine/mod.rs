//! [`Machine`]: the relations between the processes of a node and those of other nodes, as a state
//! machine without I/O.
//!
//! The machine keeps, for each connection, the links, monitors and spawn requests that go over it.
//! Its methods are the events: a process links or monitors, a signal arrives, a process ends, a
//! connection begins or ends. Each method changes the state and appends [`Action`]s, which the
//! caller performs in their order before it calls the next method, or hands to a queue that keeps
//! their order.
//!
//! The machine has no lock, thread or clock. Its caller serialises the events; messages, which have
//! no state here, do not pass through it.
//!
//! # Invariants
//!
//! - **M1.** A link is in the map of its local process and in the set of its connection, or in
//!   neither. The same holds for a monitor. So the end of the process and the end of the connection
//!   each find it, in time linear in what they find.
//! - **M2.** A monitor leaves both maps in the event that answers or withdraws it. So it is
//!   answered once, or withdrawn, and never both.
//! - **M3.** An answer counts only on the connection that the request went out on, for the process
//!   that asked. A connection that has ended is unknown to the machine, and what comes late on it
//!   has no effect.
//! - **M4.** A local process is in the map of processes from its first relation until the event of
//!   its end. The machine requests one watch of it ([`Action::Watch`]) when it enters. So a process
//!   that dies before, during or after that is reported, and [`Machine::exited`] finds all of its
//!   relations.
//! - **M5.** What a peer makes this node keep (its links with and its monitors of local processes)
//!   is counted, and one too many ends the connection ([`Action::Close`]).
//!
//! | noun | module |
//! | --- | --- |
//! | what the machine asks of its caller | `action` |
//! | a local process and its relations | `local` |
//! | a connection and what goes over it | `peer` |
//! | links and the unlink protocol | `link` |
//! | monitors in both directions | `monitor` |
//! | spawn requests to other nodes | `spawn` |
//! | which processes are told of nodes | `subscription` |

mod action;
mod link;
mod local;
mod monitor;
mod peer;
mod spawn;
mod subscription;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;

pub use action::{Action, ConnectionId, ExternalOrLocal, LocalObject, NodeEvent, Object, Signal, SpawnOutcome};
pub use peer::Abilities;
pub use spawn::SpawnRequest;
pub use subscription::{NodeTypes, Subscription};

use crate::term::{Atom, ErlPid, Term};
use local::Local;
use peer::Peer;
use subscription::Subscriptions;

/// The first reference that a machine allocates. The kernel's own references are below it.
pub const FIRST_REFERENCE: u64 = 1 << 56;

/// The number of node names that are remembered after their connection has ended.
const REMEMBERED: usize = 4096;

/// Returns the atom of a literal, which is short enough.
fn atom(text: &'static str) -> Atom {
    Atom::new(text).unwrap_or_else(|_| unreachable!("a literal of at most 255 characters"))
}

/// How many relations a node has with other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Connections that are up.
    pub connections: usize,
    /// Active links between local and remote processes.
    pub links: usize,
    /// Monitors of remote processes by local ones.
    pub monitors: usize,
    /// Monitors of local processes by remote ones.
    pub monitored_by: usize,
}

/// The relations of one node's processes with other nodes; see the module. `C` is what the caller
/// keeps for a connection.
#[derive(Clone, Debug)]
pub struct Machine<C> {
    /// The current connection to each node, pending or up.
    peers: BTreeMap<Atom, Peer<C>>,
    /// The node of each connection that has not ended.
    nodes: BTreeMap<ConnectionId, Atom>,
    locals: BTreeMap<u64, Local>,
    subscriptions: Subscriptions,
    /// Nodes to which there was a connection.
    known: BTreeSet<Atom>,
    next_reference: u64,
    next_unlink: u64,
    quota: usize,
    actions: Vec<Action>,
}

impl<C: Clone> Machine<C> {
    /// Creates a machine without connections. `quota` is how many relations a peer may have here.
    pub fn new(quota: usize) -> Self {
        Self {
            peers: BTreeMap::new(),
            nodes: BTreeMap::new(),
            locals: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            known: BTreeSet::new(),
            next_reference: FIRST_REFERENCE,
            next_unlink: 1,
            quota,
            actions: Vec::new(),
        }
    }

    /// Returns the actions since the last call, in order.
    #[must_use = "the actions have to be performed"]
    pub fn take_actions(&mut self) -> Vec<Action> {
        mem::take(&mut self.actions)
    }

    /// Returns a reference that names no other object of this node.
    pub fn new_reference(&mut self) -> u64 {
        let reference = self.next_reference;
        self.next_reference += 1;
        reference
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn send(&mut self, connection: ConnectionId, signal: Signal) {
        self.act(Action::Send { connection, signal });
    }

    /// Returns the entry of a local process. A new entry requests a watch of the process (M4).
    fn local(&mut self, pid: u64) -> &mut Local {
        let actions = &mut self.actions;
        self.locals.entry(pid).or_insert_with(|| {
            actions.push(Action::Watch(pid));
            Local::default()
        })
    }

    /// Returns the peer of a connection that has not ended (M3).
    fn peer_of(&mut self, connection: ConnectionId) -> Option<&mut Peer<C>> {
        self.peers.get_mut(self.nodes.get(&connection)?)
    }

    /// Charges a peer for a relation that it makes here (M5). Returns `false` beyond the quota: the
    /// connection then ends.
    fn charge(&mut self, connection: ConnectionId) -> bool {
        let quota = self.quota;
        let within = self.peer_of(connection).is_some_and(|peer| peer.charges() < quota);
        if !within {
            self.act(Action::Close { connection, why: "the peer has more links and monitors here than its quota" });
        }
        within
    }

    /// Reports a connection that is being set up, or has been. What is sent on it from now on waits
    /// until it is up. An older connection to the node ends with this call.
    /// `handle` is kept for [`Machine::handle`].
    pub fn opened(&mut self, connection: ConnectionId, node: &Atom, handle: C) {
        if let Some(old) = self.peers.get(node).map(|peer| peer.connection) {
            self.lost(old, Term::atom("connection_closed"));
        }
        self.nodes.insert(connection, node.clone());
        self.peers.insert(node.clone(), Peer::new(connection, handle));
    }

    /// Returns what the caller keeps for a connection that has not ended.
    pub fn handle(&self, connection: ConnectionId) -> Option<C> {
        self.peers.get(self.nodes.get(&connection)?).map(|peer| peer.handle.clone())
    }

    /// Reports that a connection is up, and what the two nodes have agreed on. What the peer cannot
    /// answer is answered here.
    pub fn up(&mut self, connection: ConnectionId, abilities: Abilities) {
        let Some(node) = self.nodes.get(&connection).cloned() else { return };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.abilities = Some(abilities);
        if self.known.len() < REMEMBERED {
            self.known.insert(node.clone());
        }
        for (pid, event) in self.subscriptions.up(&node, abilities.hidden) {
            self.act(Action::Node { to: pid, event });
        }
        if !abilities.monitors {
            self.refuse_monitors(&node);
        }
        if !abilities.spawns {
            self.refuse_spawns(&node);
        }
        if !abilities.unlink_ids {
            self.forget_unlinks(&node);
        }
    }

    /// Reports the end of a connection, or of the attempt to make it: everything over it is
    /// answered with `noconnection`, once. Returns `false` if it had ended already.
    pub fn lost(&mut self, connection: ConnectionId, why: Term) -> bool {
        let Some(node) = self.nodes.remove(&connection) else { return false };
        let Some(peer) = self.peers.remove(&node) else { return false };
        let hidden = peer.abilities.map(|abilities| abilities.hidden);
        self.lose_monitors(&node, &peer);
        self.lose_links(&peer);
        self.lose_spawns(&node, peer);
        for (pid, event) in self.subscriptions.down(&node, hidden, &why) {
            self.act(Action::Node { to: pid, event });
        }
        true
    }

    /// Reports the end of a local process: its links and watchers are told the reason, its monitors
    /// are withdrawn.
    pub fn exited(&mut self, pid: u64, reason: &Term) {
        self.exited_except(pid, reason, |_| false);
    }

    /// Reports the end of a local process, except to nodes to which messages of the process are
    /// still on their way. Returns those of them that have to be told later, by another call.
    pub fn exited_except(&mut self, pid: u64, reason: &Term, later: impl Fn(&Atom) -> bool) -> BTreeSet<Atom> {
        let Some(local) = self.locals.remove(&pid) else { return BTreeSet::new() };
        let Local { mut links, outbound, mut inbound, spawns, subscribed } = local;
        let kept_links: BTreeMap<_, _> = links.extract_if(.., |remote, _| later(&remote.node)).collect();
        let kept_inbound: BTreeMap<_, _> = inbound.extract_if(.., |(watcher, _), _| later(&watcher.node)).collect();
        let nodes = kept_links.keys().map(|remote| remote.node.clone());
        let nodes: BTreeSet<Atom> = nodes.chain(kept_inbound.keys().map(|(watcher, _)| watcher.node.clone())).collect();
        if !nodes.is_empty() {
            self.locals.insert(pid, Local { links: kept_links, inbound: kept_inbound, ..Local::default() });
        }
        if subscribed {
            self.subscriptions.forget(pid);
        }
        self.end_links(pid, links, reason);
        self.end_watched(pid, inbound, reason);
        self.end_monitors(pid, outbound);
        self.orphan_spawns(spawns, reason);
        nodes
    }

    /// Returns the current connection to a node, if it is up.
    pub fn is_up(&self, node: &Atom) -> bool {
        self.peers.get(node).is_some_and(|peer| peer.abilities.is_some())
    }

    /// Returns the nodes with a connection that is up, with `true` for the hidden ones.
    pub fn connected(&self) -> Vec<(Atom, bool)> {
        let up = |(node, peer): (&Atom, &Peer<C>)| peer.abilities.map(|abilities| (node.clone(), abilities.hidden));
        self.peers.iter().filter_map(up).collect()
    }

    /// Returns the nodes to which there is or was a connection.
    pub fn known(&self) -> Vec<Atom> {
        self.known.iter().cloned().collect()
    }

    /// Returns the remote processes with which a local one is linked.
    pub fn links_of(&self, pid: u64) -> Vec<ErlPid> {
        self.locals.get(&pid).map(Local::active_links).unwrap_or_default()
    }

    /// Returns what a local process monitors at other nodes.
    pub fn monitors_of(&self, pid: u64) -> Vec<Object> {
        let objects = |local: &Local| local.outbound.values().map(|monitor| monitor.object.clone()).collect();
        self.locals.get(&pid).map(objects).unwrap_or_default()
    }

    /// Returns `true` if a local process monitors something at another node.
    pub fn has_monitors(&self, pid: u64) -> bool {
        self.locals.get(&pid).is_some_and(|local| !local.outbound.is_empty())
    }

    /// Returns the remote processes that monitor a local one, one item for each monitor.
    pub fn monitored_by(&self, pid: u64) -> Vec<ErlPid> {
        let watchers = |local: &Local| local.inbound.keys().map(|(watcher, _)| watcher.clone()).collect();
        self.locals.get(&pid).map(watchers).unwrap_or_default()
    }

    /// Returns how many relations there are. The cost is linear in the number of relations.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { connections: self.connected().len(), ..Counts::default() };
        for local in self.locals.values() {
            counts.links += local.active_links().len();
            counts.monitors += local.outbound.len();
            counts.monitored_by += local.inbound.len();
        }
        counts
    }
}
