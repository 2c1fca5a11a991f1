//! Monitors of remote processes by local ones (outbound), and of local processes by remote ones
//! (inbound).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::term::{Atom, ErlPid, ErlReference, Term};

use super::Machine;
use super::action::{Action, ConnectionId, ExternalOrLocal, LocalObject, Object, Signal};
use super::local::{InboundKey, Outbound};
use super::peer::Peer;

impl<C: Clone> Machine<C> {
    /// Monitors a remote process for a local one, under a reference that is new. Without a
    /// connection, even one that is being made, the DOWN `noconnection` comes at once.
    pub fn monitor(&mut self, watcher: u64, reference: u64, object: Object) {
        let peer = self.peers.get(object.node());
        let takes = |peer: &Peer<C>| peer.abilities.is_none_or(|abilities| abilities.monitors);
        let Some(connection) = peer.filter(|peer| takes(peer)).map(|peer| peer.connection) else {
            let reason = Term::atom("noconnection");
            self.act(Action::Down { watcher, reference, object, reason });
            return;
        };
        self.place_outbound(connection, watcher, reference, object.clone());
        self.send(connection, Signal::Monitor { from: watcher, object, reference });
    }

    pub(super) fn place_outbound(&mut self, connection: ConnectionId, watcher: u64, reference: u64, object: Object) {
        self.local(watcher).outbound.insert(reference, Outbound { object });
        if let Some(peer) = self.peer_of(connection) {
            peer.outbound.insert(reference, watcher);
        }
    }

    fn remove_outbound(&mut self, watcher: u64, reference: u64) -> Option<(Object, Option<ConnectionId>)> {
        let Outbound { object } = self.locals.get_mut(&watcher)?.outbound.remove(&reference)?;
        let peer = self.peers.get_mut(object.node());
        let connection = peer.map(|peer| {
            peer.outbound.remove(&reference);
            peer.connection
        });
        Some((object, connection))
    }

    /// Withdraws a monitor of this watcher. Returns `true` if it was active: no DOWN of it comes
    /// after this call.
    pub fn demonitor(&mut self, watcher: u64, reference: u64) -> bool {
        let Some((object, connection)) = self.remove_outbound(watcher, reference) else {
            return self.demonitor_spawn(watcher, reference);
        };
        if let Some(connection) = connection {
            self.send(connection, Signal::Demonitor { from: watcher, object, reference });
        }
        true
    }

    /// Handles MONITOR_P_EXIT: it counts if this monitor of this watcher went out on this
    /// connection (M3).
    pub fn down_arrived(&mut self, connection: ConnectionId, watcher: u64, reference: u64, reason: Term) {
        let went_out = self.peer_of(connection).is_some_and(|peer| peer.outbound.get(&reference) == Some(&watcher));
        if !went_out {
            return;
        }
        if let Some((object, _)) = self.remove_outbound(watcher, reference) {
            self.act(Action::Down { watcher, reference, object, reason });
        }
    }

    /// Handles MONITOR_P for a process of this life, found by its pid or by the name. `is_alive` is
    /// what the runtime says of the process at this moment.
    pub fn monitor_arrived(
        &mut self,
        connection: ConnectionId,
        watcher: &ErlPid,
        reference: &ErlReference,
        target: u64,
        name: Option<Atom>,
        is_alive: bool,
    ) {
        if !is_alive {
            let object = name.map_or(LocalObject::Pid(ExternalOrLocal::Local(target)), LocalObject::Name);
            self.monitor_of_nobody(connection, watcher, reference, object);
            return;
        }
        let key = (watcher.clone(), reference.clone());
        let Some(peer) = self.peer_of(connection) else { return };
        // The same monitor twice is one registration.
        if peer.inbound.contains_key(&key) || !self.charge(connection) {
            return;
        }
        self.local(target).inbound.insert(key.clone(), name);
        if let Some(peer) = self.peer_of(connection) {
            peer.inbound.insert(key, target);
        }
    }

    /// Handles MONITOR_P for a process or a name that is not there: it is answered with `noproc`.
    pub fn monitor_of_nobody(
        &mut self,
        connection: ConnectionId,
        watcher: &ErlPid,
        reference: &ErlReference,
        from: LocalObject,
    ) {
        if self.peer_of(connection).is_some() {
            let (to, reference, reason) = (watcher.clone(), reference.clone(), Term::atom("noproc"));
            self.send(connection, Signal::Down { from, to, reference, reason });
        }
    }

    /// Handles DEMONITOR_P: it ends the monitor of this watcher on this connection.
    pub fn demonitor_arrived(&mut self, connection: ConnectionId, watcher: &ErlPid, reference: &ErlReference) {
        let key = (watcher.clone(), reference.clone());
        let target = self.peer_of(connection).and_then(|peer| peer.inbound.remove(&key));
        if let Some(local) = target.and_then(|target| self.locals.get_mut(&target)) {
            local.inbound.remove(&key);
        }
    }

    pub(super) fn end_watched(&mut self, pid: u64, inbound: BTreeMap<InboundKey, Option<Atom>>, reason: &Term) {
        for (key, name) in inbound {
            let Some(peer) = self.peers.get_mut(&key.0.node) else { continue };
            peer.inbound.remove(&key);
            let connection = peer.connection;
            let ((to, reference), reason) = (key, reason.clone());
            let signal = match name {
                Some(name) => Signal::DownOf { from: pid, name, to, reference, reason },
                None => {
                    let from = LocalObject::Pid(ExternalOrLocal::Local(pid));
                    Signal::Down { from, to, reference, reason }
                }
            };
            self.send(connection, signal);
        }
    }

    pub(super) fn end_monitors(&mut self, pid: u64, outbound: BTreeMap<u64, Outbound>) {
        for (reference, Outbound { object }) in outbound {
            let Some(peer) = self.peers.get_mut(object.node()) else { continue };
            peer.outbound.remove(&reference);
            let connection = peer.connection;
            self.send(connection, Signal::Demonitor { from: pid, object, reference });
        }
    }

    pub(super) fn lose_monitors(&mut self, node: &Atom, peer: &Peer<C>) {
        debug_assert!(!self.peers.contains_key(node), "the peer is removed before its relations");
        for (key, target) in &peer.inbound {
            if let Some(local) = self.locals.get_mut(target) {
                local.inbound.remove(key);
            }
        }
        for (reference, watcher) in &peer.outbound {
            let outbound = self.locals.get_mut(watcher).and_then(|local| local.outbound.remove(reference));
            if let Some(Outbound { object }) = outbound {
                let (watcher, reference) = (*watcher, *reference);
                self.act(Action::Down { watcher, reference, object, reason: Term::atom("noconnection") });
            }
        }
    }

    /// Answers the monitors that were made before the peer turned out to take none.
    pub(super) fn refuse_monitors(&mut self, node: &Atom) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        let refused: Vec<(u64, u64)> =
            peer.outbound.iter().map(|(reference, watcher)| (*reference, *watcher)).collect();
        for (reference, watcher) in refused {
            if let Some((object, _)) = self.remove_outbound(watcher, reference) {
                self.act(Action::Down { watcher, reference, object, reason: Term::atom("noconnection") });
            }
        }
    }
}
