//! What a process sends: messages and exit signals.

use std::sync::Arc;

use atropos::{Alias, Pid, Reason, Reference};

use crate::term::{Atom, ErlPid, ErlReference, Term};

use super::NodeCx;
use crate::node::connection::{Connection, Ending, Outgoing};
use crate::node::identity::ProcessId;
use crate::node::inner::Node;
use crate::node::mail::Mail;
use crate::node::reason::reason_of;

/// The receiver of a message.
#[derive(Clone, PartialEq, Debug)]
pub enum Destination {
    /// A process.
    Process(ProcessId),
    /// The process of this node that has the name.
    Name(Atom),
    /// The process of another node that has the name: the name, and the node.
    RemoteName(Atom, Atom),
    /// The process that has the alias.
    Alias(ErlReference),
}

impl From<ProcessId> for Destination {
    fn from(process: ProcessId) -> Self {
        Self::Process(process)
    }
}

/// The options of a send.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SendOptions {
    /// A node that is not connected is not connected to.
    pub noconnect: bool,
    /// A sender that would be held back is not.
    pub nosuspend: bool,
}

/// What became of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendOutcome {
    /// The message is on its way, or was dropped because there is no such process.
    Ok,
    /// The node is not connected; the message was not sent.
    NoConnect,
    /// The sender would have been held back; the message was not sent.
    NoSuspend,
}

impl NodeCx {
    /// Sends a message, and returns when the process may go on: at once, unless more waits for the
    /// receiver's node than the limit.
    pub async fn send(&self, to: &Destination, message: Term) {
        if let Some(connection) = self.node.post(self.pid(), to, message) {
            connection.room().await;
        }
    }

    /// Sends a message without being held back, for a service that many peers share. A peer for
    /// which far more waits than the limit is taken not to read, and its connection is ended.
    pub fn send_now(&self, to: &Destination, message: Term) {
        self.node.post_now(self.pid(), to, message);
    }

    /// Sends a message with options.
    pub async fn send_with(&self, to: &Destination, message: Term, options: SendOptions) -> SendOutcome {
        if let Some(node) = self.node.node_of(to) {
            if options.noconnect && !self.node.event(|machine| machine.is_up(&node)) {
                return SendOutcome::NoConnect;
            }
            if options.nosuspend && self.node.connection(&node).is_some_and(|connection| connection.is_busy()) {
                return SendOutcome::NoSuspend;
            }
        }
        let held_back = self.node.post(self.pid(), to, message);
        if let (Some(connection), false) = (held_back, options.nosuspend) {
            connection.room().await;
        }
        SendOutcome::Ok
    }

    /// Sends an exit signal.
    pub fn exit(&self, to: &ProcessId, reason: &Term) {
        match to {
            ProcessId::Local(pid) => {
                let reason = match reason.view().as_atom() {
                    Some("kill") => Reason::KILL,
                    _ => reason_of(reason),
                };
                let _ = self.cx.exit(*pid, reason);
            }
            ProcessId::Remote(pid) => self.node.post_exit(self.pid(), pid, reason),
        }
    }
}

impl Node {
    /// Returns the node of a receiver at another node.
    pub(in crate::node) fn node_of(&self, to: &Destination) -> Option<Atom> {
        let node = match to {
            Destination::Process(ProcessId::Local(_)) | Destination::Name(_) => return None,
            Destination::Process(ProcessId::Remote(pid)) => &pid.node,
            Destination::RemoteName(_, node) => node,
            Destination::Alias(alias) => &alias.node,
        };
        (node != self.name()).then(|| node.clone())
    }

    /// Sends a message for a process. Returns the connection if the connection is busy, so that its
    /// sender must wait.
    pub(in crate::node) fn post(&self, from: Pid, to: &Destination, message: Term) -> Option<Arc<Connection>> {
        let from = from.to_raw();
        let (node, outgoing) = match to {
            Destination::Process(ProcessId::Local(pid)) => {
                self.receive(*pid, message);
                return None;
            }
            Destination::Name(name) => {
                self.receive_name(name.as_str(), message);
                return None;
            }
            Destination::Alias(alias) if alias.node == *self.name() => {
                self.post_alias(alias, message);
                return None;
            }
            Destination::Process(ProcessId::Remote(pid)) => {
                (&pid.node, Outgoing::Send { from, to: pid.clone(), message })
            }
            Destination::RemoteName(name, node) => (node, Outgoing::SendName { from, name: name.clone(), message }),
            Destination::Alias(alias) => (&alias.node, Outgoing::SendAlias { from, alias: alias.clone(), message }),
        };
        // A node has no connection to itself, so a pid of an earlier life gets nothing (W4).
        let connection = self.connect_to(node)?;
        connection.push(outgoing).then_some(connection)
    }

    /// Sends a message without being held back; see [`NodeCx::send_now`].
    pub(in crate::node) fn post_now(&self, from: Pid, to: &Destination, message: Term) {
        if let Some(connection) = self.post(from, to, message)
            && connection.is_hopeless()
        {
            let text = "it does not read what services answer".to_owned();
            connection.close(Ending { text, reason: Term::atom("connection_closed") });
        }
    }

    /// Delivers a message through an alias of this node.
    pub(in crate::node) fn post_alias(&self, alias: &ErlReference, message: Term) {
        let Some(number) = self.own_reference(alias.as_ref()) else { return };
        if self.answered(number, &message) {
            return;
        }
        let (Some(pid), Some(reference)) = (self.alias(number), Reference::from_raw(number)) else { return };
        let _ = self.runtime().send_alias(Alias::new(pid, reference), Mail::Alias(number, message));
    }

    /// Sends an exit signal to a process of another node.
    pub(in crate::node) fn post_exit(&self, from: Pid, to: &ErlPid, reason: &Term) {
        if let Some(connection) = self.connect_to(&to.node) {
            connection.push(Outgoing::Exit { from: from.to_raw(), to: to.clone(), reason: reason.clone() });
        }
    }

    /// Makes a process the group leader of another.
    pub fn give_leader(&self, leader: &ProcessId, to: &ProcessId) {
        match to {
            ProcessId::Local(pid) => self.set_group_leader(*pid, leader.clone()),
            ProcessId::Remote(pid) => {
                let leader = match leader {
                    ProcessId::Local(leader) => self.external(*leader),
                    ProcessId::Remote(leader) => leader.clone(),
                };
                if let Some(connection) = self.connect_to(&pid.node) {
                    connection.push(Outgoing::GroupLeader { leader, to: pid.clone() });
                }
            }
        }
    }
}
