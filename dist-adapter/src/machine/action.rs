//! What the machine asks of its caller: [`Action`], and the signals that it sends, [`Signal`].

use crate::term::{Atom, ErlPid, ErlReference, Term};

use super::spawn::SpawnRequest;

/// One connection to a node, from the first attempt to make it until its end. The caller numbers
/// its connections, and uses no number twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// A process of another node, as a monitor names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Object {
    /// A process.
    Pid(ErlPid),
    /// The process that has a name at a node.
    Name(Atom, Atom),
}

impl Object {
    /// Returns the node of the process.
    pub fn node(&self) -> &Atom {
        match self {
            Self::Pid(pid) => &pid.node,
            Self::Name(_, node) => node,
        }
    }
}

/// A signal to another node. Local processes are raw pids, own references are integers.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields are those of the control message that the variant's line names")]
pub enum Signal {
    /// LINK: the processes are linked.
    Link { from: u64, to: ErlPid },
    /// UNLINK_ID: the link ends.
    Unlink { id: u64, from: u64, to: ErlPid },
    /// UNLINK_ID_ACK: the answer to UNLINK_ID.
    UnlinkAck { id: u64, from: ExternalOrLocal, to: ErlPid },
    /// EXIT or PAYLOAD_EXIT: the end of a linked process. `from` may never have existed.
    Exit { from: ExternalOrLocal, to: ErlPid, reason: Term },
    /// MONITOR_P: the request of a notice.
    Monitor { from: u64, object: Object, reference: u64 },
    /// DEMONITOR_P: the request is withdrawn.
    Demonitor { from: u64, object: Object, reference: u64 },
    /// MONITOR_P_EXIT or PAYLOAD_MONITOR_P_EXIT.
    Down { from: LocalObject, to: ErlPid, reference: ErlReference, reason: Term },
    /// The same for a process that was monitored by name: `from` is the process whose order the
    /// signal keeps.
    DownOf { from: u64, name: Atom, to: ErlPid, reference: ErlReference, reason: Term },
    /// SPAWN_REQUEST: a process is asked for.
    Spawn { node: Atom, reference: u64, request: SpawnRequest },
    /// SPAWN_REPLY: the answer to SPAWN_REQUEST.
    SpawnReply { reference: ErlReference, to: ErlPid, link: bool, monitor: bool, result: Result<u64, Atom> },
}

/// A process of this node, as a peer has named it: the peer may have named one of an earlier life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExternalOrLocal {
    /// A process of this life.
    Local(u64),
    /// A process that the peer has named, and that is not there.
    External(ErlPid),
}

/// The target of a peer's monitor, as the peer has named it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalObject {
    /// By its pid.
    Pid(ExternalOrLocal),
    /// By its name.
    Name(Atom),
}

/// The result of a spawn request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpawnOutcome {
    /// The process.
    Ok(ErlPid),
    /// Why there is none.
    Error(Atom),
}

/// What a subscriber is told of a node.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeEvent {
    /// The node.
    pub node: Atom,
    /// `true` for nodeup.
    pub up: bool,
    /// The list of items that the subscription asks for; `None` for the form without a list.
    pub info: Option<alloc::vec::Vec<(Atom, Term)>>,
}

/// What the machine asks of its caller.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Send a signal on a connection, behind what its local process has sent there before.
    Send {
        /// The only connection that may carry it.
        connection: ConnectionId,
        /// The signal.
        signal: Signal,
    },
    /// Report the end of a local process by [`super::Machine::exited`], also if it has ended
    /// already.
    Watch(u64),
    /// Deliver a DOWN.
    Down {
        /// The process that gets it.
        watcher: u64,
        /// The reference of its monitor.
        reference: u64,
        /// What it monitored.
        object: Object,
        /// The reason.
        reason: Term,
    },
    /// Deliver the exit signal of a link.
    Exit {
        /// The process that gets it: the linked one, or its proxy of the one that has ended.
        to: u64,
        /// The process that has ended.
        from: ErlPid,
        /// The reason.
        reason: Term,
    },
    /// Tell a proxy that the process that it stands for has unlinked a local process.
    Unlinked {
        /// The proxy.
        proxy: u64,
        /// The local process.
        pid: u64,
    },
    /// Deliver the reply of a spawn request.
    Spawned {
        /// The process that asked.
        parent: u64,
        /// The reference of its request.
        reference: u64,
        /// The result.
        outcome: SpawnOutcome,
    },
    /// Deliver the event of a node.
    Node {
        /// The process that gets it.
        to: u64,
        /// The event.
        event: NodeEvent,
    },
    /// End a connection, with a line in the log.
    Close {
        /// The connection.
        connection: ConnectionId,
        /// The text for the log.
        why: &'static str,
    },
}
