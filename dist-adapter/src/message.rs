//! The control messages for monitors, [`MonitorControlMessage`], and their connection,
//! [`RoutedMessage`].
//!
//! The three messages and their numbers are those of Erlang's distribution protocol. A
//! [`Connection`] is one connection to a node, from its set-up to its loss. A message of an old
//! connection is meaningless on the next one, because in between each node has answered or
//! discarded all monitors that the other requested. So a message always carries its connection.

use atropos_kernel::Reason;

use crate::pid::{Node, RemotePid};
use crate::reference::RemoteReference;

/// One connection to a node, from its set-up to its loss. [`crate::ControlPlane::connected`]
/// creates it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Connection {
    pub(crate) node: Node,
    pub(crate) generation: u64,
}

impl Connection {
    /// Returns the node at the other end.
    pub const fn node(self) -> Node {
        self.node
    }

    /// Returns the connection's number. A plane counts all its connections from 1, to any node.
    pub const fn generation(self) -> u64 {
        self.generation
    }
}

/// A control message about a monitor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MonitorControlMessage {
    /// `MONITOR_P`: the watcher requests a notice of the target's end.
    MonitorP {
        /// The watcher's reference for the monitor.
        reference: RemoteReference,
        /// The watcher, a process of the sending node.
        watcher: RemotePid,
        /// The target, a process of the receiving node.
        target: RemotePid,
    },
    /// `DEMONITOR_P`: the watcher withdraws the request.
    DemonitorP {
        /// The reference from the request.
        reference: RemoteReference,
        /// The watcher from the request.
        watcher: RemotePid,
        /// The target from the request.
        target: RemotePid,
    },
    /// `MONITOR_P_EXIT`: the target has ended.
    MonitorPExit {
        /// The reference from the request.
        reference: RemoteReference,
        /// The watcher from the request, a process of the receiving node.
        watcher: RemotePid,
        /// The target from the request, a process of the sending node.
        target: RemotePid,
        /// The target's exit reason.
        reason: Reason,
    },
}

impl MonitorControlMessage {
    /// Returns the message's number in Erlang's distribution protocol.
    pub const fn opcode(&self) -> u8 {
        match self {
            Self::MonitorP { .. } => 19,
            Self::DemonitorP { .. } => 20,
            Self::MonitorPExit { .. } => 21,
        }
    }

    /// Returns the destination: the target's node for a request, the watcher's node for an exit
    /// notice.
    pub const fn destination(&self) -> Node {
        match self {
            Self::MonitorP { target, .. } | Self::DemonitorP { target, .. } => target.node,
            Self::MonitorPExit { watcher, .. } => watcher.node,
        }
    }
}

/// A message and the only connection that may carry it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoutedMessage {
    /// The message's connection. A sender with a newer connection to the same node refuses the
    /// message.
    pub connection: Connection,
    /// The control message.
    pub message: MonitorControlMessage,
}

impl RoutedMessage {
    /// Returns the node at the other end of the connection.
    pub const fn destination(&self) -> Node {
        self.connection.node
    }
}
