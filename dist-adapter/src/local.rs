//! [`Local`]: a process of ours that watches remote ones, or is watched by them.
//!
//! It is made when a process is first tied to a monitor, and lives until the process ends. Before anything is tied to it
//! the runtime is asked to watch the process ([`Watchers::watch`]); so a process that dies before, during or after that is
//! reported, and [`Local::close`] then finds every tie or refuses it: nobody looks whether a process lives and ties it
//! afterwards.
//!
//! Where a watch can't be had (no memory, a panic) the local is retired, if nothing is tied to it: else a peer could
//! have us keep one for each pid it makes up. Who has a retired one in hand gets a new one and watches anew.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use crate::record::{Inbound, Key, Outbound};
use crate::reference::RemoteReference;
use crate::rules::Rules;
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::table::Table;
use crate::watchers::Watchers;

/// See the module.
#[derive(Debug)]
pub(crate) struct Local {
    watched: AtomicBool,
    ties: Mutex<Ties>,
}

#[derive(Debug)]
enum Ties {
    Open(Tied),
    /// The process has ended.
    Gone,
    /// Nobody watches the process: to be replaced.
    Retired,
}

/// A process's monitors: its own by reference, those of others by the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Tied {
    pub(crate) outbound: BTreeMap<RemoteReference, Arc<Outbound>>,
    pub(crate) inbound: BTreeMap<u64, Arc<Inbound>>,
}

/// What is tied.
#[derive(Debug)]
pub(crate) enum Tie<'a> {
    Outbound(&'a Arc<Outbound>),
    Inbound(&'a Arc<Inbound>),
}

/// Why it was not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Untied {
    /// The process has ended.
    Gone,
    /// There is no memory for a watch.
    NoMemory,
}

enum Placed {
    Yes,
    Gone,
    Retired,
}

impl Local {
    fn new() -> Self {
        Self { watched: AtomicBool::new(false), ties: Mutex::new(Ties::Open(Tied::default())) }
    }

    fn place<R: Rules>(&self, tie: &Tie<'_>) -> Placed {
        match &mut *self.ties.lock() {
            Ties::Open(tied) => {
                match tie {
                    Tie::Outbound(record) => drop(tied.outbound.insert(record.key.reference, Arc::clone(record))),
                    Tie::Inbound(record) => drop(tied.inbound.insert(record.order, Arc::clone(record))),
                }
                Placed::Yes
            }
            Ties::Gone if R::REFUSE_GONE => Placed::Gone,
            Ties::Gone => Placed::Yes,
            Ties::Retired => Placed::Retired,
        }
    }

    fn with<T: Default>(&self, f: impl FnOnce(&mut Tied) -> T) -> T {
        match &mut *self.ties.lock() {
            Ties::Open(tied) => f(tied),
            Ties::Gone | Ties::Retired => T::default(),
        }
    }

    pub(crate) fn take_outbound(&self, reference: RemoteReference) -> Option<Arc<Outbound>> {
        self.with(|tied| tied.outbound.remove(&reference))
    }

    pub(crate) fn take_inbound(&self, order: u64) -> Option<Arc<Inbound>> {
        self.with(|tied| tied.inbound.remove(&order))
    }

    pub(crate) fn outbound(&self) -> Vec<Key> {
        self.with(|tied| tied.outbound.values().map(|record| record.key).collect())
    }

    pub(crate) fn inbound(&self) -> Vec<Key> {
        self.with(|tied| tied.inbound.values().map(|record| record.key).collect())
    }

    /// The process has ended: what was tied to it, once.
    #[must_use = "the monitors must be answered or withdrawn"]
    fn close(&self) -> Tied {
        match mem::replace(&mut *self.ties.lock(), Ties::Gone) {
            Ties::Open(tied) => tied,
            Ties::Gone | Ties::Retired => Tied::default(),
        }
    }

    fn retire(&self) -> bool {
        let mut ties = self.ties.lock();
        let unused = matches!(&*ties, Ties::Open(tied) if tied.outbound.is_empty() && tied.inbound.is_empty());
        if unused {
            *ties = Ties::Retired;
        }
        unused
    }
}

/// All of them, by raw pid.
#[derive(Debug)]
pub(crate) struct Locals {
    table: Table<Local>,
}

/// Retires a local whose watch has failed, or panicked.
struct Unwatched<'a> {
    locals: &'a Locals,
    pid: u64,
    local: &'a Arc<Local>,
}

impl Drop for Unwatched<'_> {
    fn drop(&mut self) {
        if self.local.retire() {
            self.locals.remove_retired(self.pid, self.local);
        }
    }
}

impl Locals {
    pub(crate) fn new() -> Self {
        Self { table: Table::new() }
    }

    pub(crate) fn get(&self, pid: u64) -> Option<Arc<Local>> {
        self.table.get(pid)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    fn remove_retired(&self, pid: u64, local: &Arc<Local>) {
        // It is closed already, and whoever still has it sees that.
        let _retired = self.table.take_if(pid, |held| Arc::ptr_eq(held, local));
    }

    /// Ties a monitor to a process, which is watched from before. Lock-free but for the maps: it is repeated only
    /// when another's watch of the same process has failed.
    pub(crate) fn tie<R: Rules>(&self, watchers: &dyn Watchers, pid: u64, tie: &Tie<'_>) -> Result<(), Untied> {
        loop {
            let local = self.table.get_or_add(pid, Local::new);
            // Acquire, Release: who ties without a watch of its own comes after the other's.
            if !local.watched.load(Ordering::Acquire) {
                let unwatched = Unwatched { locals: self, pid, local: &local };
                watchers.watch(pid).map_err(|_| Untied::NoMemory)?;
                mem::forget(unwatched);
                local.watched.store(true, Ordering::Release);
            }
            match local.place::<R>(tie) {
                Placed::Yes => return Ok(()),
                Placed::Gone => return Err(Untied::Gone),
                Placed::Retired => self.remove_retired(pid, &local),
            }
        }
    }

    /// The process has ended: what was tied to it.
    #[must_use = "the monitors must be answered or withdrawn"]
    pub(crate) fn close(&self, pid: u64) -> Tied {
        self.table.take(pid).map(|local| local.close()).unwrap_or_default()
    }
}
