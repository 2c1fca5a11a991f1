//! [`ProcessId`]: a process of the cluster, here or there.

use atropos::Pid;

use crate::term::{Atom, ErlPid, ErlReference, PidRef, ReferenceRef, Term, TermRef};

use super::cx::Destination;
use super::inner::Node;

/// A process of this node, or of another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProcessId {
    /// A process of this node.
    Local(Pid),
    /// A process of another node, or one of an earlier life of this node, which is gone (W4).
    Remote(ErlPid),
}

impl From<Pid> for ProcessId {
    fn from(pid: Pid) -> Self {
        Self::Local(pid)
    }
}

/// Returns the atom of a text that is known to be short.
pub(crate) fn atom(text: &str) -> Atom {
    Atom::new(text).unwrap_or_else(|_| unreachable!("at most 255 characters"))
}

impl Node {
    /// Returns the process that a pid on the wire names.
    pub fn process(&self, pid: PidRef<'_>) -> ProcessId {
        let own = pid.node == self.name().as_str() && pid.creation == self.creation();
        let local = own.then(|| Pid::from_raw(pid.raw())).flatten();
        local.map_or_else(|| ProcessId::Remote(pid.to_owned()), ProcessId::Local)
    }

    /// Returns the local process that a pid on the wire names, dead or alive.
    pub(crate) fn local(&self, pid: PidRef<'_>) -> Option<Pid> {
        match self.process(pid) {
            ProcessId::Local(pid) => Some(pid),
            ProcessId::Remote(_) => None,
        }
    }

    /// Returns a local process as it is on the wire.
    pub fn external(&self, pid: Pid) -> ErlPid {
        self.external_raw(pid.to_raw())
    }

    pub(crate) fn external_raw(&self, raw: u64) -> ErlPid {
        ErlPid::new(self.name().clone(), raw, self.creation())
    }

    /// Returns the term of a process.
    pub fn pid_term(&self, process: &ProcessId) -> Term {
        match process {
            ProcessId::Local(pid) => Term::from(&self.external(*pid)),
            ProcessId::Remote(pid) => Term::from(pid),
        }
    }

    /// Returns a reference of this node as it is on the wire.
    pub fn reference(&self, number: u64) -> ErlReference {
        ErlReference::new(self.name().clone(), number, self.creation())
    }

    /// Returns the number of a reference of this life of this node.
    pub fn own_reference(&self, reference: ReferenceRef<'_>) -> Option<u64> {
        let own = reference.node == self.name().as_str() && reference.creation == self.creation();
        own.then(|| reference.to_owned().number()).flatten()
    }

    /// Returns what `term` names as the receiver of a message: a pid, a registered name, `{Name,
    /// Node}`, or an alias. `None` for any other term.
    pub fn destination(&self, term: TermRef<'_>) -> Option<Destination> {
        if let Some(pid) = term.as_pid() {
            return Some(Destination::Process(self.process(pid)));
        }
        if let Some(name) = term.as_atom() {
            return Some(Destination::Name(atom(name)));
        }
        if let Some(reference) = term.as_reference() {
            return Some(Destination::Alias(reference.to_owned()));
        }
        let [name, node] = term.as_array()?;
        let (name, node) = (name.as_atom()?, node.as_atom()?);
        Some(match node == self.name().as_str() {
            true => Destination::Name(atom(name)),
            false => Destination::RemoteName(atom(name), atom(node)),
        })
    }
}
