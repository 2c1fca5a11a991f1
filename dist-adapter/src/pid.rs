//! The names of processes between nodes: [`Node`], [`RemotePid`].
//!
//! The name of a remote process consists of its node, its number and serial there, and the node's
//! creation (`incarnation`). A restarted node numbers its processes from the beginning. Without the
//! creation, one of its new processes would be mistaken for an old one. All comparisons of
//! processes use all four fields.
//!
//! A local process is sent with its raw pid as the number and serial 0. A raw pid is never reused,
//! so it needs no serial.

use core::fmt;

/// A node, by the number that the embedder has assigned to its name (an atom, an index).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Node(u64);

impl Node {
    /// Returns the node with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the node's number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of one process of one node, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemotePid {
    /// The node of the process.
    pub node: Node,
    /// The process's number on its node.
    pub number: u64,
    /// How often the node's numbers had wrapped around; 0 for a local process.
    pub serial: u32,
    /// The node's `creation`, as in Erlang's distribution protocol: which start of the node it was.
    pub incarnation: u32,
}

impl RemotePid {
    /// Returns the name with these parts.
    pub const fn new(node: Node, number: u64, serial: u32, incarnation: u32) -> Self {
        Self { node, number, serial, incarnation }
    }
}

impl fmt::Display for RemotePid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, number, serial, incarnation } = self;
        write!(f, "<{node}.{number}.{serial}/{incarnation}>")
    }
}

impl fmt::Debug for RemotePid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
