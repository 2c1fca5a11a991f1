//! The names of processes between nodes: [`Node`], [`RemotePid`].
//!
//! A process of another node is named by its node, its number and serial there, and the node's incarnation: a node that
//! has been started anew counts its processes from the beginning, so without the incarnation its new process would be
//! taken for an old one. All four are compared wherever a process is meant.
//!
//! A local process goes out with its raw pid as the number and serial 0: a raw pid is never used again, so nothing is
//! left for a serial to tell apart.

use core::fmt;

/// A node, by the number that the embedder has given to its name (an atom, an index).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Node(u64);

impl Node {
    /// The node with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process of a node, for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemotePid {
    /// Whose process.
    pub node: Node,
    /// Its number there.
    pub number: u64,
    /// How often the numbers had been used up; 0 for a local process.
    pub serial: u32,
    /// Which start of the node (`creation` on Erlang's wire).
    pub incarnation: u32,
}

impl RemotePid {
    /// The process with these names.
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
