//! [`Meeting`]: how far two servers have come in agreeing on one table of names.

use crate::node::identity::ProcessId;
use crate::term::{Term, TermRef};

/// Nodes that take part, as atoms, with the versions of their protocol.
pub(super) type Nodes = Vec<(Term, u64)>;

/// A meeting with a node, from this node's `init_connect` to the end.
#[derive(Debug)]
pub(super) struct Meeting {
    /// This node's tag, which the other node's messages carry.
    pub(super) tag: i64,
    /// What the other node's `init_connect` said.
    pub(super) other: Option<Greeting>,
    /// The lock `global`, as `{global, Lockers}`, once it is set for this meeting.
    pub(super) lock: Option<Term>,
    /// The other node's names, until they are compared with this node's.
    pub(super) names: Option<Vec<Entry>>,
    /// The changes that this node must make, once it has compared the names.
    pub(super) changes: Option<Vec<Change>>,
    /// The other node's `resolved`: changes that this node must make, and its known nodes.
    pub(super) resolved: Option<(Vec<Change>, Nodes)>,
}

/// What an `init_connect` says.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    /// The version of the protocol that both nodes speak.
    pub(super) version: u64,
    /// The other node's tag, which this node's messages carry.
    pub(super) tag: Term,
    pub(super) locker: ProcessId,
}

/// A name with its process and its method.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: Term,
    pub(super) pid: Term,
    pub(super) method: Term,
}

/// A change of the table.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Insert(Entry),
    Delete(Term),
}

impl Meeting {
    pub(super) fn new(tag: i64) -> Self {
        Self { tag, other: None, lock: None, names: None, changes: None, resolved: None }
    }
}

impl Entry {
    /// Reads `{Name, Pid, Method}`, a part of `whole`.
    pub(super) fn read(whole: &Term, part: TermRef<'_>) -> Option<Self> {
        let [name, pid, method] = part.as_array()?;
        pid.as_pid()?;
        // Kept for long, so not in the buffer of the message.
        let [name, pid, method] = [name, pid, method].map(|part| whole.part(part).detached());
        Some(Self { name, pid, method })
    }

    /// Returns `{Name, Pid, Method}`.
    pub(super) fn to_term(&self) -> Term {
        Term::tuple([&self.name, &self.pid, &self.method])
    }
}

impl Change {
    /// Reads `{insert, {Name, Pid, Method}}` or `{delete, Name}`, a part of `whole`.
    pub(super) fn read(whole: &Term, part: TermRef<'_>) -> Option<Self> {
        let [what, of] = part.as_array()?;
        match what.as_atom()? {
            "insert" => Entry::read(whole, of).map(Self::Insert),
            "delete" => Some(Self::Delete(whole.part(of).detached())),
            _ => None,
        }
    }

    /// Reads a list of changes, a part of `whole`.
    pub(super) fn read_all(whole: &Term, part: TermRef<'_>) -> Option<Vec<Self>> {
        part.as_list()?.map(|change| Self::read(whole, change)).collect()
    }

    fn to_term(&self) -> Term {
        match self {
            Self::Insert(entry) => Term::tuple([&Term::atom("insert"), &entry.to_term()]),
            Self::Delete(name) => Term::tuple([&Term::atom("delete"), name]),
        }
    }

    /// Returns a list of changes.
    pub(super) fn list(changes: &[Self]) -> Term {
        let changes: Vec<Term> = changes.iter().map(Self::to_term).collect();
        Term::list(&changes)
    }
}
