//! [`Proxies`]: all proxies of a node, by what they stand for.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
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
    proxies: HashMap<u64, Entry>,
    /// Those of them for which something waits, by the node of what they stand for.
    waiting: BTreeMap<Atom, BTreeSet<Pid>>,
    counts: HashMap<Atom, usize>,
    /// What the proxies stood for that ended last, for those that are told of it; in order.
    ended: VecDeque<(Pid, Object)>,
}

/// How many proxies are remembered after their end.
const REMEMBERED: usize = 1024;

/// A proxy.
struct Entry {
    standing: Standing,
    /// How many messages and signals wait in its mailbox.
    waiting: usize,
}

/// What a proxy stands for.
#[derive(Clone, Debug)]
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
        self.proxies.insert(pid.to_raw(), Entry { standing, waiting: 0 });
    }

    /// Notes what a proxy stands for whose process has been asked for.
    fn found(&mut self, raw: u64, object: Object) {
        let Some(pid) = Pid::from_raw(raw) else { return };
        // Another one may have been made for a signal of the new process: then that one is found.
        self.by_object.entry(object.clone()).or_insert(pid);
        if let Some(entry) = self.proxies.get_mut(&raw) {
            entry.standing = Standing::For(object);
        }
    }

    /// Takes a proxy that ends out of what can be found. Returns `false` if it is none.
    fn ends(&mut self, raw: u64) -> bool {
        let Some(entry) = self.proxies.get(&raw) else { return false };
        if let Standing::For(object) = &entry.standing
            && self.by_object.get(object).is_some_and(|pid| pid.to_raw() == raw)
        {
            self.by_object.remove(object);
        }
        true
    }

    fn waits_no_more(&mut self, node: &Atom, pid: Pid) {
        let Some(pids) = self.waiting.get_mut(node) else { return };
        pids.remove(&pid);
        if pids.is_empty() {
            self.waiting.remove(node);
        }
    }

    fn remove(&mut self, raw: u64) {
        self.ends(raw);
        let Some(Entry { standing, .. }) = self.proxies.remove(&raw) else { return };
        if let Some(pid) = Pid::from_raw(raw) {
            self.waits_no_more(standing.node(), pid);
        }
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
        match table.proxies.get(&pid.to_raw()).map(|entry| &entry.standing) {
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

    /// Counts a message or signal that goes into the mailbox of a proxy: its sender finds it
    /// counted until the proxy has passed it on.
    pub(super) fn waits(&self, pid: Pid) {
        let mut table = self.table();
        let Some(entry) = table.proxies.get_mut(&pid.to_raw()) else { return };
        entry.waiting += 1;
        if entry.waiting == 1 {
            let node = entry.standing.node().clone();
            table.waiting.entry(node).or_default().insert(pid);
        }
    }

    /// Counts a message or signal that a proxy has passed on.
    pub(super) fn passed_on(&self, pid: Pid) {
        let mut table = self.table();
        let Some(entry) = table.proxies.get_mut(&pid.to_raw()) else { return };
        // A signal whose counting found no entry yet is not counted.
        if entry.waiting == 0 {
            return;
        }
        entry.waiting -= 1;
        if entry.waiting == 0 {
            let node = entry.standing.node().clone();
            table.waits_no_more(&node, pid);
        }
    }

    /// Returns the nodes for which something waits in the mailboxes of proxies.
    pub(in crate::node) fn waiting_nodes(&self) -> BTreeSet<Atom> {
        self.table().waiting.keys().cloned().collect()
    }

    /// Returns the proxies for which something waits that goes to a node.
    pub(super) fn waiting_for(&self, node: &Atom) -> Vec<Pid> {
        self.table().waiting.get(node).into_iter().flatten().copied().collect()
    }

    /// Returns what a proxy stands for, if it is one, and `true` if something waits in its mailbox.
    pub(super) fn route(&self, pid: Pid) -> Option<(Standing, bool)> {
        self.table().proxies.get(&pid.to_raw()).map(|entry| (entry.standing.clone(), entry.waiting > 0))
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

    /// Returns `true` for a proxy. May be called under the machine's lock.
    pub(in crate::node) fn is_proxy(&self, raw: u64) -> bool {
        self.0.proxies.table().proxies.contains_key(&raw)
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
