//! What a process of a node receives: [`Mail`] in its mailbox, [`Incoming`] from its [`NodeCx`].
//!
//! [`NodeCx`]: super::NodeCx

use crate::machine::{NodeEvent, SpawnOutcome};
use crate::term::{Atom, ErlPid, Term, TermBuilder};

use super::identity::{ProcessId, atom};
use super::inner::Node;

/// A message in the mailbox of a process of a node.
#[derive(Debug)]
pub enum Mail {
    /// A message.
    Term(Term),
    /// A message through the alias with this number.
    Alias(u64, Term),
    /// The exit signal of a process of another node, to a process that traps exits.
    Exit(ErlPid, Term),
    /// The DOWN of a process of another node.
    Down(u64, MonitorObject, Term),
    /// The reply of a spawn request to another node.
    Spawned(u64, SpawnOutcome),
    /// A node that came or went.
    Node(NodeEvent),
    /// A process that a peer asked for may begin.
    Begin,
}

/// What a monitor was set up for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MonitorObject {
    /// A process.
    Process(ProcessId),
    /// The process that has a name at a node.
    Name(Atom, Atom),
}

/// What a process receives.
#[derive(Clone, PartialEq, Debug)]
pub enum Incoming {
    /// A message.
    Message(Term),
    /// An exit signal, while the process traps exits. `None` is a sender that is no process.
    Exit(Option<ProcessId>, Term),
    /// The end of a monitored process.
    Down {
        /// The monitor.
        reference: u64,
        /// What was monitored.
        object: MonitorObject,
        /// The reason.
        reason: Term,
        /// What stands in place of `'DOWN'`, if the monitor has such an option.
        tag: Option<Term>,
    },
    /// The reply of a spawn request.
    Spawned {
        /// The request.
        reference: u64,
        /// The process, or why there is none.
        result: Result<ProcessId, Atom>,
        /// What stands in place of `spawn_reply`, if the request has such an option.
        tag: Option<Term>,
    },
    /// A node that came or went.
    Node(NodeEvent),
}

impl Incoming {
    /// Returns the message that a process of Erlang would receive.
    pub fn to_term(&self, node: &Node) -> Term {
        let build = TermBuilder::new();
        match self {
            Self::Message(term) => term.clone(),
            Self::Exit(from, reason) => {
                let from = from.as_ref().map_or_else(|| Term::atom("undefined"), |from| node.pid_term(from));
                build.tuple(3).atom("EXIT").term(&from).term(reason).finish()
            }
            Self::Down { reference, object, reason, tag } => {
                let tag = tag.clone().unwrap_or_else(|| Term::atom("DOWN"));
                let reference = node.reference(*reference);
                let build = build.tuple(5).term(&tag).reference(reference.as_ref()).atom("process");
                let build = match object {
                    MonitorObject::Process(process) => build.term(&node.pid_term(process)),
                    MonitorObject::Name(name, at) => build.tuple(2).atom(name.as_str()).atom(at.as_str()),
                };
                build.term(reason).finish()
            }
            Self::Spawned { reference, result, tag } => {
                let tag = tag.clone().unwrap_or_else(|| Term::atom("spawn_reply"));
                let reference = node.reference(*reference);
                let build = build.tuple(4).term(&tag).reference(reference.as_ref());
                match result {
                    Ok(process) => build.atom("ok").term(&node.pid_term(process)).finish(),
                    Err(why) => build.atom("error").atom(why.as_str()).finish(),
                }
            }
            Self::Node(NodeEvent { node, up, info }) => {
                let what = if *up { "nodeup" } else { "nodedown" };
                let Some(info) = info else { return build.tuple(2).atom(what).atom(node.as_str()).finish() };
                let mut build = build.tuple(3).atom(what).atom(node.as_str());
                if !info.is_empty() {
                    build = build.list(info.len());
                }
                for (key, value) in info {
                    build = build.tuple(2).atom(key.as_str()).term(value);
                }
                build.nil().finish()
            }
        }
    }
}

/// Returns the object of a monitor of another node's process.
pub(super) fn remote_object(object: crate::machine::Object) -> MonitorObject {
    match object {
        crate::machine::Object::Pid(pid) => MonitorObject::Process(ProcessId::Remote(pid)),
        crate::machine::Object::Name(name, node) => MonitorObject::Name(name, node),
    }
}

/// Returns the object of a monitor of a process of this node.
pub(super) fn local_object(object: &atropos::MonitorTarget, node: &Node) -> MonitorObject {
    match object {
        atropos::MonitorTarget::Pid(pid) => MonitorObject::Process(ProcessId::Local(*pid)),
        atropos::MonitorTarget::Name(name) => MonitorObject::Name(atom(name.as_str()), node.name().clone()),
    }
}
