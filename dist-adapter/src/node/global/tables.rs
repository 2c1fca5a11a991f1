//! [`Tables`]: what all processes of a node can read of `global`. Only the server writes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::term::{Atom, Term};

/// Names, locks and known nodes.
#[derive(Debug, Default)]
pub(in crate::node) struct Tables(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    names: HashMap<Term, Named>,
    /// The number of names of each process.
    pids: HashMap<Term, usize>,
    locks: HashMap<Term, Lock>,
    known: BTreeMap<Atom, u64>,
}

/// A name's process.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) pid: Term,
    /// How a conflict is resolved, as the registering node has said it.
    pub(super) method: Term,
    /// The server's monitor of the process.
    pub(super) monitor: u64,
}

/// A lock: its requester, and the processes that hold it with the server's monitors of them.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    pub(super) requester: Term,
    pub(super) holders: Vec<(Term, u64)>,
}

impl Tables {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic inside a lock would be one of this module: the data is whole between statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all, for a server that begins anew.
    pub(super) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    pub(super) fn whereis(&self, name: &Term) -> Option<Term> {
        self.lock().names.get(name).map(|named| named.pid.clone())
    }

    pub(super) fn named(&self, name: &Term) -> Option<Named> {
        self.lock().names.get(name).cloned()
    }

    /// Returns all names with what belongs to them.
    pub(super) fn names(&self) -> Vec<(Term, Named)> {
        self.lock().names.iter().map(|(name, named)| (name.clone(), named.clone())).collect()
    }

    /// Returns `true` if a process has a name.
    pub(super) fn has_name(&self, pid: &Term) -> bool {
        self.lock().pids.contains_key(pid)
    }

    pub(super) fn insert(&self, name: Term, named: Named) {
        let mut inner = self.lock();
        *inner.pids.entry(named.pid.clone()).or_default() += 1;
        inner.names.insert(name, named);
    }

    pub(super) fn remove(&self, name: &Term) -> Option<Named> {
        let mut inner = self.lock();
        let named = inner.names.remove(name)?;
        let count = inner.pids.get_mut(&named.pid).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if count == 0 {
            inner.pids.remove(&named.pid);
        }
        Some(named)
    }

    pub(super) fn lock_of(&self, resource: &Term) -> Option<Lock> {
        self.lock().locks.get(resource).cloned()
    }

    pub(super) fn set_lock(&self, resource: &Term, lock: Option<Lock>) {
        let mut inner = self.lock();
        match lock {
            Some(lock) => drop(inner.locks.insert(resource.clone(), lock)),
            None => drop(inner.locks.remove(resource)),
        }
    }

    /// Returns `true` if the lock is free, or held for this requester.
    pub(super) fn can_lock(&self, resource: &Term, requester: &Term) -> bool {
        self.lock().locks.get(resource).is_none_or(|lock| lock.requester == *requester)
    }

    /// Returns the nodes that take part, without this one.
    pub(super) fn known(&self) -> Vec<Atom> {
        self.lock().known.keys().cloned().collect()
    }

    /// Returns the nodes that take part, with the versions of their protocol.
    pub(super) fn known_versions(&self) -> BTreeMap<Atom, u64> {
        self.lock().known.clone()
    }

    pub(super) fn version(&self, node: &Atom) -> Option<u64> {
        self.lock().known.get(node).copied()
    }

    /// Adds a node. Returns `true` if it is new. A version of 0 is one that is not known.
    pub(super) fn add_known(&self, node: &Atom, version: u64) -> bool {
        let mut inner = self.lock();
        let is_new = !inner.known.contains_key(node);
        let entry = inner.known.entry(node.clone()).or_default();
        if *entry == 0 {
            *entry = version;
        }
        is_new
    }

    pub(super) fn remove_known(&self, node: &Atom) {
        self.lock().known.remove(node);
    }
}
