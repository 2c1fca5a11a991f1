//! [`Proxies`]: all proxies of a node, by what they stand for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use atropos::facility::KernelAccess;
use atropos::{Pid, Reason};

use super::answers::Answers;
use super::encode::Encoders;
use super::export::Exported;
use super::process::Notice;
use crate::machine::{Object, SpawnOutcome};
use crate::node::inner::Node;
use crate::term::{Atom, Term};

/// The proxies of a node, and what they share.
#[derive(Default)]
pub(in crate::node) struct Proxies {
    table: Mutex<Table>,
    pub(super) encoders: Encoders,
    pub(super) answers: Answers,
    pub(super) exported: Exported,
}

/// The proxies of a node (P1, P5).
#[derive(Default)]
pub(super) struct Table {
    by_object: BTreeMap<Object, Pid>,
    /// Each proxy until its end, and what it stands for, once that is known.
    proxies: HashMap<u64, Standing>,
    counts: HashMap<Atom, usize>,
    /// What the proxies stood for that ended last, for those that are told of it; in order.
    ended: VecDeque<(Pid, Object)>,
}

/// How many proxies are remembered after their end.
const REMEMBERED: usize = 1024;

/// What a proxy stands for.
#[derive(Debug)]
pub(super) enum Standing {
    /// A process of this node has been asked for.
    Asked(Atom),
    /// A process, or the one that has a name.
    For(Object),
}

impl Standing {
    fn node(&self) -> &Atom {
        match self {
            Self::Asked(node) => node,
            Self::For(object) => object.node(),
        }
    }
}

impl Table {
    pub(super) fn find(&self, object: &Object) -> Option<Pid> {
        self.by_object.get(object).copied()
    }

    /// Returns `true` if a peer's processes may have one more proxy.
    pub(super) fn has_room(&self, node: &Atom, limit: usize) -> bool {
        self.counts.get(node).is_none_or(|count| *count < limit)
    }

    pub(super) fn insert(&mut self, pid: Pid, standing: Standing) {
        *self.counts.entry(standing.node().clone()).or_default() += 1;
        if let Standing::For(object) = &standing {
            self.by_object.insert(object.clone(), pid);
        }
        self.proxies.insert(pid.to_raw(), standing);
    }

    /// Notes what a proxy stands for whose process has been asked for.
    fn found(&mut self, raw: u64, object: Object) {
        let Some(pid) = Pid::from_raw(raw) else { return };
        // Another one may have been made for a signal of the new process: then that one is found.
        self.by_object.entry(object.clone()).or_insert(pid);
        self.proxies.insert(raw, Standing::For(object));
    }

    /// Takes a proxy that ends out of what can be found. Returns `false` if it is none.
    fn ends(&mut self, raw: u64) -> bool {
        let Some(standing) = self.proxies.get(&raw) else { return false };
        if let Standing::For(object) = standing
            && self.by_object.get(object).is_some_and(|pid| pid.to_raw() == raw)
        {
            self.by_object.remove(object);
        }
        true
    }

    fn remove(&mut self, raw: u64) {
        self.ends(raw);
        let Some(standing) = self.proxies.remove(&raw) else { return };
        if let (Some(pid), Standing::For(object)) = (Pid::from_raw(raw), &standing) {
            if self.ended.len() == REMEMBERED {
                self.ended.pop_front();
            }
            self.ended.push_back((pid, object.clone()));
        }
        if let Some(count) = self.counts.get_mut(standing.node()) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(standing.node());
            }
        }
    }
}

impl Proxies {
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        // A panic inside the lock would be one of this module: the data is whole between two
        // statements.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what a proxy stands for, or stood for, if it has ended not long ago.
    pub(super) fn object(&self, pid: Pid) -> Option<Object> {
        let table = self.table();
        match table.proxies.get(&pid.to_raw()) {
            Some(Standing::For(object)) => Some(object.clone()),
            Some(Standing::Asked(_)) => None,
            None => {
                // From the newest on: an end is usually looked up as soon as it is told.
                let ended = table.ended.iter().rev().find(|(ended, _)| *ended == pid);
                ended.map(|(_, object)| object.clone())
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.table().proxies.len()
    }

    /// Returns `true` if a proxy has not ended.
    pub(super) fn is_there(&self, pid: Pid) -> bool {
        self.table().proxies.contains_key(&pid.to_raw())
    }

    /// Forgets a proxy that has ended, and what waits for its answers.
    pub(super) fn ended(&self, pid: Pid) {
        self.table().remove(pid.to_raw());
        self.answers.forget(pid);
    }
}

impl Node {
    /// Ends a proxy: what it stands for has ended with this reason. Returns `false` if `raw` is no
    /// proxy. May be called under the machine's lock.
    pub(in crate::node) fn end_proxy(&self, raw: u64, reason: &Term) -> bool {
        if !self.0.proxies.table().ends(raw) {
            return false;
        }
        self.notify_proxy(raw, Notice::Ended(reason.clone()));
        true
    }

    /// Tells a proxy the reply to its spawn request. Returns `false` if `raw` is no proxy. May be
    /// called under the machine's lock.
    pub(in crate::node) fn spawned_for_proxy(&self, raw: u64, outcome: &SpawnOutcome) -> bool {
        {
            let mut table = self.0.proxies.table();
            if !table.proxies.contains_key(&raw) {
                return false;
            }
            if let SpawnOutcome::Ok(child) = outcome {
                table.found(raw, Object::Pid(child.clone()));
            }
        }
        self.notify_proxy(raw, Notice::Spawned(outcome.clone()));
        true
    }

    /// Sends a notice to a proxy, past a full mailbox.
    pub(in crate::node) fn notify_proxy(&self, raw: u64, notice: Notice) {
        let Some(pid) = Pid::from_raw(raw) else { return };
        if self.runtime().exit(pid, Reason::value(notice)).is_err() {
            // Without memory for the notice: a kill needs none.
            let _ = self.runtime().exit(pid, Reason::KILL);
        }
    }

    /// Sends an exit signal to an ordinary process in the name of a proxy, which may have ended.
    pub(super) fn exit_from(&self, from: Pid, to: Pid, reason: &Reason) {
        self.runtime().enter(&mut |host| {
            let _ = host.exit_from(from, to, reason.clone());
        });
    }
}
