//! Spawn requests of local processes to other nodes.
//!
//! A request is kept until its reply, or until the connection ends. If its parent ends first, the
//! request becomes an orphan, and its reply ends what it set up at the other node.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::mem;

use crate::term::{Atom, ErlPid, ErlReference, Term};

use super::action::{Action, ConnectionId, ExternalOrLocal, Object, Signal, SpawnOutcome};
use super::local::Link;
use super::peer::Peer;
use super::{Machine, atom};

/// A spawn request as it is sent.
#[derive(Clone, PartialEq, Debug)]
pub struct SpawnRequest {
    /// The process that asks.
    pub parent: u64,
    /// The child's group leader, as a term.
    pub leader: Term,
    /// The module.
    pub module: Atom,
    /// The function.
    pub function: Atom,
    /// The arguments, a proper list.
    pub arguments: Term,
    /// The number of arguments.
    pub arity: u32,
    /// The options, a proper list.
    pub options: Term,
}

/// The state of a request without a reply.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Pending {
    /// The parent waits. `true` if it has withdrawn the monitor already.
    Waiting { parent: u64, demonitored: bool },
    /// The parent has ended with this reason.
    Orphan { parent: u64, reason: Term },
}

impl<C: Clone> Machine<C> {
    /// Sends a spawn request, under a reference that is new. Its reply comes as an action.
    pub fn spawn(&mut self, node: &Atom, reference: u64, request: SpawnRequest) {
        let parent = request.parent;
        let refused = match self.peers.get(node).map(|peer| (peer.connection, peer.abilities)) {
            None => "noconnection",
            Some((_, Some(abilities))) if !abilities.spawns => "notsup",
            Some((connection, _)) => {
                self.local(parent).spawns.insert((node.clone(), reference));
                if let Some(peer) = self.peer_of(connection) {
                    peer.spawns.insert(reference, Pending::Waiting { parent, demonitored: false });
                }
                self.send(connection, Signal::Spawn { node: node.clone(), reference, request });
                return;
            }
        };
        self.act(Action::Spawned { parent, reference, outcome: SpawnOutcome::Error(atom(refused)) });
    }

    /// Withdraws the monitor of a request without a reply. Returns `true` if there is such a
    /// request.
    pub(super) fn demonitor_spawn(&mut self, watcher: u64, reference: u64) -> bool {
        let Some(local) = self.locals.get(&watcher) else { return false };
        let Some((node, _)) = local.spawns.iter().find(|(_, spawn)| *spawn == reference) else { return false };
        match self.peers.get_mut(node).and_then(|peer| peer.spawns.get_mut(&reference)) {
            Some(Pending::Waiting { demonitored, .. }) => !mem::replace(demonitored, true),
            _ => false,
        }
    }

    /// Handles SPAWN_REPLY. `link` and `monitor` are what is in force at the other node.
    pub fn spawn_reply_arrived(
        &mut self,
        connection: ConnectionId,
        reference: u64,
        link: bool,
        monitor: bool,
        outcome: SpawnOutcome,
    ) {
        let Some(node) = self.nodes.get(&connection).cloned() else { return };
        let Some(pending) = self.peers.get_mut(&node).and_then(|peer| peer.spawns.remove(&reference)) else { return };
        match pending {
            Pending::Waiting { parent, demonitored } => {
                if let Some(local) = self.locals.get_mut(&parent) {
                    local.spawns.remove(&(node, reference));
                }
                if let SpawnOutcome::Ok(child) = &outcome {
                    self.child_is_there(connection, (parent, reference), child, link, monitor && !demonitored);
                    if monitor && demonitored {
                        let object = Object::Pid(child.clone());
                        self.send(connection, Signal::Demonitor { from: parent, object, reference });
                    }
                }
                self.act(Action::Spawned { parent, reference, outcome });
            }
            Pending::Orphan { parent, reason } => {
                let SpawnOutcome::Ok(child) = outcome else { return };
                if link {
                    let from = ExternalOrLocal::Local(parent);
                    self.send(connection, Signal::Exit { from, to: child.clone(), reason });
                }
                if monitor {
                    let object = Object::Pid(child);
                    self.send(connection, Signal::Demonitor { from: parent, object, reference });
                }
            }
        }
    }

    fn child_is_there(
        &mut self,
        connection: ConnectionId,
        (parent, reference): (u64, u64),
        child: &ErlPid,
        link: bool,
        monitor: bool,
    ) {
        if link {
            self.local(parent).links.insert(child.clone(), Link::Active);
            if let Some(peer) = self.peer_of(connection) {
                peer.links.insert((child.clone(), parent));
            }
        }
        if monitor {
            self.place_outbound(connection, parent, reference, Object::Pid(child.clone()));
        }
    }

    /// Keeps for a parent at another node what a process that was started for it needs: the link
    /// and the monitor, and then sends the reply. The caller lets the process run afterwards.
    pub fn spawned_for(
        &mut self,
        connection: ConnectionId,
        reference: &ErlReference,
        parent: &ErlPid,
        child: u64,
        link: bool,
        monitor: bool,
    ) {
        if link {
            self.link_arrived(connection, parent, child, None, true);
        }
        if monitor {
            self.monitor_arrived(connection, parent, reference, child, None, true);
        }
        let (reference, to, result) = (reference.clone(), parent.clone(), Ok(child));
        if self.peer_of(connection).is_some() {
            self.send(connection, Signal::SpawnReply { reference, to, link, monitor, result });
        }
    }

    /// Sends the reply to a peer's spawn request that has started no process.
    pub fn spawn_refused(
        &mut self,
        connection: ConnectionId,
        reference: &ErlReference,
        parent: &ErlPid,
        why: &'static str,
    ) {
        if self.peer_of(connection).is_some() {
            let (reference, to, result) = (reference.clone(), parent.clone(), Err(atom(why)));
            self.send(connection, Signal::SpawnReply { reference, to, link: false, monitor: false, result });
        }
    }

    pub(super) fn orphan_spawns(&mut self, spawns: BTreeSet<(Atom, u64)>, reason: &Term) {
        for (node, reference) in spawns {
            let pending = self.peers.get_mut(&node).and_then(|peer| peer.spawns.get_mut(&reference));
            if let Some(pending) = pending
                && let Pending::Waiting { parent, .. } = *pending
            {
                *pending = Pending::Orphan { parent, reason: reason.clone() };
            }
        }
    }

    fn fail_spawns(&mut self, node: &Atom, spawns: Vec<(u64, Pending)>, why: &'static str) {
        for (reference, pending) in spawns {
            let Pending::Waiting { parent, .. } = pending else { continue };
            if let Some(local) = self.locals.get_mut(&parent) {
                local.spawns.remove(&(node.clone(), reference));
            }
            self.act(Action::Spawned { parent, reference, outcome: SpawnOutcome::Error(atom(why)) });
        }
    }

    pub(super) fn lose_spawns(&mut self, node: &Atom, peer: Peer<C>) {
        self.fail_spawns(node, peer.spawns.into_iter().collect(), "noconnection");
    }

    /// Answers the requests that were made before the peer turned out to take none.
    pub(super) fn refuse_spawns(&mut self, node: &Atom) {
        let spawns = self.peers.get_mut(node).map(|peer| mem::take(&mut peer.spawns)).unwrap_or_default();
        self.fail_spawns(node, spawns.into_iter().collect(), "notsup");
    }
}
