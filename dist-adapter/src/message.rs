//! What nodes tell each other about monitors: [`MonitorControlMessage`], and where it goes: [`Routed`].
//!
//! The three messages and their numbers are those of Erlang's distribution protocol. A [`Connection`] is one life of the
//! link to a node: what was sent or received under one means nothing under the next, because in between each side has
//! answered or forgotten all that the other asked for. So a message always travels with its connection.

use atropos_kernel::Reason;

use crate::pid::{Node, RemotePid};
use crate::reference::RemoteReference;

/// One life of the link to a node. Made by [`crate::ControlPlane::connected`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Connection {
    pub(crate) node: Node,
    pub(crate) generation: u64,
}

impl Connection {
    /// To whom.
    pub const fn node(self) -> Node {
        self.node
    }

    /// Which of the plane's connections: they are counted from 1, whoever they lead to.
    pub const fn generation(self) -> u64 {
        self.generation
    }
}

/// A message about a monitor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MonitorControlMessage {
    /// The watcher wants to know when the target ends.
    MonitorP {
        /// The watcher's name for the monitor.
        reference: RemoteReference,
        /// A process of the sender.
        watcher: RemotePid,
        /// A process of the receiver.
        target: RemotePid,
    },
    /// It no longer does.
    DemonitorP {
        /// As in the request.
        reference: RemoteReference,
        /// As in the request.
        watcher: RemotePid,
        /// As in the request.
        target: RemotePid,
    },
    /// The target has ended.
    MonitorPExit {
        /// As in the request.
        reference: RemoteReference,
        /// As in the request: a process of the receiver.
        watcher: RemotePid,
        /// As in the request: a process of the sender.
        target: RemotePid,
        /// Why it ended.
        reason: Reason,
    },
}

impl MonitorControlMessage {
    /// Its number in Erlang's distribution protocol.
    pub const fn opcode(&self) -> u8 {
        match self {
            Self::MonitorP { .. } => 19,
            Self::DemonitorP { .. } => 20,
            Self::MonitorPExit { .. } => 21,
        }
    }

    /// The node that it is for: requests go to the target's, answers to the watcher's.
    pub const fn destination(&self) -> Node {
        match self {
            Self::MonitorP { target, .. } | Self::DemonitorP { target, .. } => target.node,
            Self::MonitorPExit { watcher, .. } => watcher.node,
        }
    }
}

/// A message and the connection that it must take, or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routed {
    /// By which connection: a sender that has a newer one to the same node refuses.
    pub connection: Connection,
    /// What.
    pub message: MonitorControlMessage,
}

impl Routed {
    /// To whom.
    pub const fn destination(&self) -> Node {
        self.connection.node
    }
}
