//! What the server keeps for others: names and locks, each with a monitor of its process.

use crate::node::cx::{MonitorOptions, NodeCx};
use crate::term::{Atom, Term};

use super::meeting::{Change, Entry};
use super::server::{Server, VERSION};
use super::tables::{Lock, Named};

/// What a monitor of the server is for.
#[derive(Clone, Debug)]
pub(super) enum Monitored {
    /// The process of a name.
    Name(Term),
    /// A process that holds the lock on a resource.
    Holder(Term),
}

/// The right to enter a name under the lock `global`.
pub(super) enum Right<'a> {
    /// Of the process that holds the lock.
    Holder(&'a Term),
    /// Of the meeting for which it is set.
    Requester(Option<Term>),
}

impl Server {
    /// Enters a name, unless the lock under which that happens is gone.
    pub(super) fn enter(&mut self, cx: &mut NodeCx, entry: Entry, right: &Right<'_>) {
        self.delete(cx, &entry.name);
        let Entry { name, pid, method } = entry;
        let Some(process) = cx.process(&pid) else { return };
        if !self.is_right(cx, right) {
            return;
        }
        let Ok(monitor) = cx.monitor(&process.into(), MonitorOptions::default()) else { return };
        self.monitors.insert(monitor, Monitored::Name(name.clone()));
        cx.node().0.global.insert(name, Named { pid, method, monitor });
    }

    fn is_right(&self, cx: &NodeCx, right: &Right<'_>) -> bool {
        let lock = cx.node().0.global.lock_of(&Term::atom("global"));
        match (lock, right) {
            (None, _) => !self.lost_lock,
            (Some(lock), Right::Holder(pid)) => lock.holders.iter().any(|(holder, _)| holder == *pid),
            (Some(lock), Right::Requester(requester)) => Some(&lock.requester) == requester.as_ref(),
        }
    }

    pub(super) fn delete(&mut self, cx: &mut NodeCx, name: &Term) {
        if let Some(named) = cx.node().0.global.remove(name) {
            self.monitors.remove(&named.monitor);
            cx.demonitor(named.monitor, true);
        }
    }

    /// Makes the changes of a meeting.
    pub(super) fn make(&mut self, cx: &mut NodeCx, changes: &[Change], right: &Right<'_>) {
        for change in changes {
            if let Change::Insert(entry) = change {
                self.enter(cx, entry.clone(), right);
            }
        }
        for change in changes {
            if let Change::Delete(name) = change {
                self.delete(cx, name);
            }
        }
    }

    fn set_lock(&mut self, cx: &mut NodeCx, resource: &Term, requester: &Term, pid: &Term) -> bool {
        let lock = cx.node().0.global.lock_of(resource);
        let mut lock = match lock {
            Some(lock) if lock.requester != *requester => return false,
            Some(lock) if lock.holders.iter().any(|(holder, _)| holder == pid) => return true,
            Some(lock) => lock,
            None => Lock { requester: requester.detached(), holders: Vec::new() },
        };
        let Some(process) = cx.process(pid) else { return false };
        let Ok(monitor) = cx.monitor(&process.into(), MonitorOptions::default()) else { return false };
        let resource = resource.detached();
        self.monitors.insert(monitor, Monitored::Holder(resource.clone()));
        lock.holders.push((pid.detached(), monitor));
        cx.node().0.global.set_lock(&resource, Some(lock));
        true
    }

    /// Ends the hold that has this monitor. `by_end`: its process has ended.
    fn release(&mut self, cx: &mut NodeCx, resource: &Term, monitor: u64, by_end: bool) {
        self.monitors.remove(&monitor);
        cx.demonitor(monitor, true);
        let Some(mut lock) = cx.node().0.global.lock_of(resource) else { return };
        lock.holders.retain(|(_, other)| *other != monitor);
        let is_free = lock.holders.is_empty();
        if is_free && resource.view().is_atom("global") {
            self.lost_lock = by_end;
        }
        cx.node().0.global.set_lock(resource, (!is_free).then_some(lock));
    }

    fn del_lock(&mut self, cx: &mut NodeCx, resource: &Term, requester: &Term, pid: &Term) {
        let lock = cx.node().0.global.lock_of(resource).filter(|lock| lock.requester == *requester);
        let hold = lock.and_then(|lock| lock.holders.into_iter().find(|(holder, _)| holder == pid));
        if let Some((_, monitor)) = hold {
            self.release(cx, resource, monitor, false);
        }
    }

    pub(super) fn process_down(&mut self, cx: &mut NodeCx, monitor: u64) {
        match self.monitors.remove(&monitor) {
            Some(Monitored::Name(name)) => drop(cx.node().0.global.remove(&name)),
            Some(Monitored::Holder(resource)) => self.release(cx, &resource, monitor, true),
            None => {}
        }
    }

    /// Returns the reply to a call. An unknown request has none, as in Erlang.
    pub(super) fn reply(&mut self, cx: &mut NodeCx, from: &Term, request: &Term) -> Option<Term> {
        let nodes = |nodes: &mut dyn Iterator<Item = &Atom>| Term::list(&nodes.map(Term::from).collect::<Vec<_>>());
        if let Some(request) = request.view().as_atom() {
            return Some(match request {
                "get_known" => nodes(&mut cx.node().0.global.known().iter()),
                "get_synced" => nodes(&mut self.synced.iter()),
                "get_protocol_version" => Term::from(VERSION),
                "get_names_ext" => Term::NIL,
                _ => return None,
            });
        }
        let parts: Vec<_> = request.view().as_tuple()?.iter().collect();
        match (parts.first()?.as_atom()?, &parts[1..]) {
            (what @ ("set_lock" | "del_lock"), [id]) => {
                let [resource, requester] = id.as_array()?.map(|part| request.part(part));
                let is_set = match what {
                    "set_lock" => self.set_lock(cx, &resource, &requester, from),
                    _ => {
                        self.del_lock(cx, &resource, &requester, from);
                        true
                    }
                };
                Some(Term::from(is_set))
            }
            ("register", [name, pid, method]) => {
                pid.as_pid()?;
                let [name, pid, method] = [name, pid, method].map(|part| request.part(*part).detached());
                self.enter(cx, Entry { name, pid, method }, &Right::Holder(from));
                Some(Term::atom("yes"))
            }
            ("register_ext", [name, pid, method, _]) => {
                pid.as_pid()?;
                let [name, pid, method] = [name, pid, method].map(|part| request.part(*part).detached());
                self.enter(cx, Entry { name, pid, method }, &Right::Holder(from));
                Some(Term::atom("yes"))
            }
            ("unregister", [name]) => {
                self.delete(cx, &request.part(*name));
                Some(Term::atom("ok"))
            }
            _ => None,
        }
    }
}
