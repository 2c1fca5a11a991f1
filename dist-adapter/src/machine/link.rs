//! Links with processes of other nodes, and the unlink protocol of OTP 23 and later.
//!
//! | event | no entry | active | unlinking with id U |
//! | --- | --- | --- | --- |
//! | [`Machine::link`] | send LINK; active | nothing | send LINK; active, U is forgotten |
//! | [`Machine::unlink`] | nothing | send UNLINK_ID U; unlinking | nothing |
//! | [`Machine::link_arrived`] | active | nothing | nothing |
//! | [`Machine::unlink_arrived`] | acknowledge | remove, acknowledge | acknowledge |
//! | [`Machine::ack_arrived`] | nothing | nothing | remove, if the id is U |
//! | [`Machine::exit_arrived`] | nothing | deliver, remove | remove |
//! | the process ends | | send EXIT | |
//! | the connection ends | | deliver `noconnection` | remove |
//!
//! A link *by a proxy* ([`Machine::link_by`]) is an active link whose EXIT the proxy gets.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::term::{Atom, ErlPid, Term};

use super::Machine;
use super::action::{Action, ConnectionId, ExternalOrLocal, Signal};
use super::local::Link;
use super::peer::Peer;

impl<C: Clone> Machine<C> {
    /// Links a local process with a remote one. Without a connection, even one that is being made,
    /// the process gets the exit signal `noconnection`.
    pub fn link(&mut self, pid: u64, to: &ErlPid) {
        self.link_as(Link::Active, pid, to);
    }

    /// Links a local process with a remote one for which it has a proxy, which gets the EXIT.
    pub fn link_by(&mut self, proxy: u64, pid: u64, to: &ErlPid) {
        self.link_as(Link::Proxied(proxy), pid, to);
    }

    fn link_as(&mut self, link: Link, pid: u64, to: &ErlPid) {
        let Some(connection) = self.peers.get(&to.node).map(|peer| peer.connection) else {
            let (to, from, reason) = (link.receiver(pid).unwrap_or(pid), to.clone(), Term::atom("noconnection"));
            self.act(Action::Exit { to, from, reason });
            return;
        };
        if self.is_linked(pid, to) {
            return;
        }
        self.local(pid).links.insert(to.clone(), link);
        if let Some(peer) = self.peer_of(connection) {
            peer.links.insert((to.clone(), pid));
        }
        self.send(connection, Signal::Link { from: pid, to: to.clone() });
    }

    /// Ends the links by a proxy that ends while the process lives that it stands for.
    pub fn end_proxy(&mut self, proxy: u64, to: &ErlPid) {
        for pid in self.linked_by(proxy, to).collect::<Vec<_>>() {
            self.unlink(pid, to);
        }
    }

    /// Returns `true` if there is a link by a proxy: its end is an EXIT, or UNLINK.
    pub fn is_proxied(&self, proxy: u64, to: &ErlPid) -> bool {
        self.linked_by(proxy, to).next().is_some()
    }

    fn linked_by<'a>(&'a self, proxy: u64, to: &'a ErlPid) -> impl Iterator<Item = u64> + 'a {
        let links = self.peers.get(&to.node).map(|peer| peer.links.range((to.clone(), 0)..=(to.clone(), u64::MAX)));
        let linked = links.into_iter().flatten().map(|(_, pid)| *pid);
        linked.filter(move |pid| self.link_with(*pid, to) == Some(Link::Proxied(proxy)))
    }

    /// Returns `true` if a local process has an active link with a remote one.
    pub fn is_linked(&self, pid: u64, to: &ErlPid) -> bool {
        self.link_with(pid, to).is_some_and(Link::is_active)
    }

    /// Ends a link of a local process.
    pub fn unlink(&mut self, pid: u64, to: &ErlPid) {
        let Some(local) = self.locals.get_mut(&pid) else { return };
        let Some(link) = local.links.get_mut(to).filter(|link| link.is_active()) else { return };
        let id = self.next_unlink;
        *link = Link::Unlinking(id);
        // An id is never 0: the counter would have to wrap around 64 bits.
        self.next_unlink += 1;
        let Some(peer) = self.peers.get(&to.node) else { return };
        let (connection, at_once) = (peer.connection, peer.unlinks_at_once());
        if at_once {
            self.remove_link(connection, to, pid);
        }
        self.send(connection, Signal::Unlink { id, from: pid, to: to.clone() });
    }

    fn remove_link(&mut self, connection: ConnectionId, remote: &ErlPid, pid: u64) {
        if let Some(local) = self.locals.get_mut(&pid) {
            local.links.remove(remote);
        }
        if let Some(peer) = self.peer_of(connection) {
            peer.links.remove(&(remote.clone(), pid));
        }
    }

    fn link_with(&self, pid: u64, remote: &ErlPid) -> Option<Link> {
        self.locals.get(&pid)?.links.get(remote).copied()
    }

    /// Handles LINK to a process of this life, which may have a `proxy` of the other one.
    /// `is_alive` is what the runtime says of the process at this moment. Returns `true` if the
    /// processes have been linked.
    pub fn link_arrived(
        &mut self,
        connection: ConnectionId,
        from: &ErlPid,
        to: u64,
        proxy: Option<u64>,
        is_alive: bool,
    ) -> bool {
        if !is_alive {
            self.link_to_nobody(connection, from, ExternalOrLocal::Local(to));
            return false;
        }
        if self.peer_of(connection).is_none() || self.link_with(to, from).is_some() || !self.charge(connection) {
            return false;
        }
        self.local(to).links.insert(from.clone(), proxy.map_or(Link::Active, Link::Proxied));
        if let Some(peer) = self.peer_of(connection) {
            peer.links.insert((from.clone(), to));
        }
        true
    }

    /// Handles LINK to a process that is not there: it is answered with EXIT `noproc`.
    pub fn link_to_nobody(&mut self, connection: ConnectionId, from: &ErlPid, to: ExternalOrLocal) {
        if self.peer_of(connection).is_some() {
            let reason = Term::atom("noproc");
            self.send(connection, Signal::Exit { from: to, to: from.clone(), reason });
        }
    }

    /// Handles UNLINK_ID, which is acknowledged whether or not there is a link or a process.
    pub fn unlink_arrived(&mut self, connection: ConnectionId, id: u64, from: &ErlPid, to: ExternalOrLocal) {
        if let ExternalOrLocal::Local(to) = to {
            self.old_unlink_arrived(connection, from, to);
        }
        if self.peer_of(connection).is_some() {
            self.send(connection, Signal::UnlinkAck { id, from: to, to: from.clone() });
        }
    }

    /// Handles UNLINK, which is not acknowledged.
    pub fn old_unlink_arrived(&mut self, connection: ConnectionId, from: &ErlPid, to: u64) {
        let Some(link) = self.link_with(to, from).filter(|link| link.is_active()) else { return };
        if self.peer_of(connection).is_some() {
            self.remove_link(connection, from, to);
            if let Link::Proxied(proxy) = link {
                self.act(Action::Unlinked { proxy, pid: to });
            }
        }
    }

    /// Handles UNLINK_ID_ACK.
    pub fn ack_arrived(&mut self, connection: ConnectionId, id: u64, from: &ErlPid, to: u64) {
        if self.peer_of(connection).is_some() && self.link_with(to, from) == Some(Link::Unlinking(id)) {
            self.remove_link(connection, from, to);
        }
    }

    /// Handles the EXIT of a linked process. Without an active link it is no signal.
    pub fn exit_arrived(&mut self, connection: ConnectionId, from: &ErlPid, to: u64, reason: Term) {
        if self.peer_of(connection).is_none() {
            return;
        }
        let Some(link) = self.link_with(to, from) else { return };
        self.remove_link(connection, from, to);
        if let Some(to) = link.receiver(to) {
            self.act(Action::Exit { to, from: from.clone(), reason });
        }
    }

    pub(super) fn end_links(&mut self, pid: u64, links: BTreeMap<ErlPid, Link>, reason: &Term) {
        for (remote, link) in links {
            let Some(peer) = self.peers.get_mut(&remote.node) else { continue };
            peer.links.remove(&(remote.clone(), pid));
            let connection = peer.connection;
            if link.is_active() {
                let from = ExternalOrLocal::Local(pid);
                self.send(connection, Signal::Exit { from, to: remote, reason: reason.clone() });
            }
        }
    }

    pub(super) fn lose_links(&mut self, peer: &Peer<C>) {
        for (remote, pid) in &peer.links {
            let link = self.locals.get_mut(pid).and_then(|local| local.links.remove(remote));
            if let Some(to) = link.and_then(|link| link.receiver(*pid)) {
                let reason = Term::atom("noconnection");
                self.act(Action::Exit { to, from: remote.clone(), reason });
            }
        }
    }

    /// Forgets the unlinks that a peer will not acknowledge.
    pub(super) fn forget_unlinks(&mut self, node: &Atom) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        let locals = &mut self.locals;
        peer.links.retain(|(remote, pid)| {
            let Some(local) = locals.get_mut(pid) else { return false };
            let is_active = local.links.get(remote).is_some_and(|link| link.is_active());
            if !is_active {
                local.links.remove(remote);
            }
            is_active
        });
    }
}
