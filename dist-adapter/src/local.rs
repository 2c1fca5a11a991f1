//! [`Local`]: a process of ours that watches remote ones, or is watched by them.
//!
//! It is made when a process is first tied to a monitor, and lives until the process ends. Before anything is tied to it
//! the runtime is asked to watch the process ([`Watchers::watch`]); so a process that dies before, during or after that is
//! reported, and [`Local::close`] then finds every tie or refuses it: nobody looks whether a process lives and ties it
//! afterwards.
//!
//! A process that local ones alone are tied to is watched until it ends. One that is watched for peers is let go when the last of their
//! records is taken away: the record's account pays an idle charge (`account`, A2), and the runtime is asked to take the
//! watch back ([`Watchers::unwatch`]), once until it has. When it does ([`Locals::release`]), the local is retired if
//! it is idle still. Until then a new record finds it watched, and costs the runtime nothing.
//!
//! Where a watch can't be had (no memory, a panic) the local is retired, if nothing is tied to it: else a peer could
//! have us keep one for each pid it makes up. Who has a retired one in hand gets a new one and watches anew.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use crate::account::Charge;
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
    Open(Attachment),
    /// The process has ended.
    Gone,
    /// Nobody watches the process: to be replaced.
    Retired,
}

/// A process's monitors: its own by reference, those of others by the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Attachment {
    pub(crate) outbound: BTreeMap<RemoteReference, Arc<Outbound>>,
    pub(crate) inbound: BTreeMap<u64, Arc<Inbound>>,
    /// A monitor of the process's own was tied to it: it stays until the process ends, on nobody's account.
    own: bool,
    /// What the watch costs a peer while it has no record of a peer.
    idle: Option<Charge>,
    /// The runtime has been asked to take the watch back, and has not answered.
    asked: bool,
}

impl Attachment {
    fn is_empty(&self) -> bool {
        self.outbound.is_empty() && self.inbound.is_empty()
    }
}

/// What the taking of a record leaves.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[must_use = "an idle watch is to be taken back"]
pub(crate) enum Left {
    /// What is needed, or what the runtime has been asked to take back already.
    #[default]
    Enough,
    /// A watch that nobody needs: the runtime is to be asked.
    Idle,
}

/// What is tied.
#[derive(Debug)]
pub(crate) enum AttachGuard<'a> {
    Outbound(&'a Arc<Outbound>),
    Inbound(&'a Arc<Inbound>),
}

/// Why it was not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AttachError {
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
        Self { watched: AtomicBool::new(false), ties: Mutex::new(Ties::Open(Attachment::default())) }
    }

    fn place<R: Rules>(&self, tie: &AttachGuard<'_>) -> Placed {
        match &mut *self.ties.lock() {
            Ties::Open(tied) => {
                match tie {
                    AttachGuard::Outbound(record) => {
                        tied.own = true;
                        drop(tied.outbound.insert(record.key.reference, Arc::clone(record)));
                    }
                    AttachGuard::Inbound(record) => drop(tied.inbound.insert(record.order, Arc::clone(record))),
                }
                tied.idle = None;
                Placed::Yes
            }
            Ties::Gone if R::REFUSE_GONE => Placed::Gone,
            Ties::Gone => Placed::Yes,
            Ties::Retired => Placed::Retired,
        }
    }

    fn with<T: Default>(&self, f: impl FnOnce(&mut Attachment) -> T) -> T {
        match &mut *self.ties.lock() {
            Ties::Open(tied) => f(tied),
            Ties::Gone | Ties::Retired => T::default(),
        }
    }

    pub(crate) fn take_outbound(&self, reference: RemoteReference) -> Option<Arc<Outbound>> {
        self.with(|tied| tied.outbound.remove(&reference))
    }

    pub(crate) fn take_inbound(&self, order: u64) -> Left {
        // Bound, so that the record is dropped after the guard.
        let (_record, left) = self.with(|tied| {
            let Some(record) = tied.inbound.remove(&order) else { return (None, Left::Enough) };
            if tied.own || !tied.is_empty() {
                return (Some(record), Left::Enough);
            }
            tied.idle = Some(record.charge.another());
            let left = if mem::replace(&mut tied.asked, true) { Left::Enough } else { Left::Idle };
            (Some(record), left)
        });
        left
    }

    pub(crate) fn outbound(&self) -> Vec<Key> {
        self.with(|tied| tied.outbound.values().map(|record| record.key).collect())
    }

    pub(crate) fn inbound(&self) -> Vec<Key> {
        self.with(|tied| tied.inbound.values().map(|record| record.key).collect())
    }

    /// The process has ended: what was tied to it, once.
    #[must_use = "the monitors must be answered or withdrawn"]
    fn close(&self) -> Attachment {
        match mem::replace(&mut *self.ties.lock(), Ties::Gone) {
            Ties::Open(tied) => tied,
            Ties::Gone | Ties::Retired => Attachment::default(),
        }
    }

    fn retire(&self) -> bool {
        let mut ties = self.ties.lock();
        let unused = matches!(&*ties, Ties::Open(tied) if tied.is_empty());
        if unused {
            *ties = Ties::Retired;
        }
        unused
    }

    /// The runtime takes the watch back, if it is idle; whether it is.
    fn release<R: Rules>(&self) -> bool {
        let mut ties = self.ties.lock();
        let Ties::Open(tied) = &mut *ties else { return true };
        tied.asked = false;
        // Without a charge a local is one that is being made, or the process's own.
        let idle = tied.is_empty() && tied.idle.is_some();
        if idle && R::CLOSE_IDLE {
            *ties = Ties::Retired;
        }
        idle
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
    pub(crate) fn tie<R: Rules>(
        &self,
        watchers: &dyn Watchers,
        pid: u64,
        tie: &AttachGuard<'_>,
    ) -> Result<(), AttachError> {
        loop {
            let local = self.table.get_or_add(pid, Local::new);
            // Acquire, Release: who ties without a watch of its own comes after the other's.
            if !local.watched.load(Ordering::Acquire) {
                let unwatched = Unwatched { locals: self, pid, local: &local };
                watchers.watch(pid).map_err(|_| AttachError::NoMemory)?;
                mem::forget(unwatched);
                local.watched.store(true, Ordering::Release);
            }
            match local.place::<R>(tie) {
                Placed::Yes => return Ok(()),
                Placed::Gone => return Err(AttachError::Gone),
                Placed::Retired => self.remove_retired(pid, &local),
            }
        }
    }

    /// The runtime takes a watch back; whether nobody needs it.
    pub(crate) fn release<R: Rules>(&self, pid: u64) -> bool {
        let Some(local) = self.table.get(pid) else { return true };
        let idle = local.release::<R>();
        if idle {
            self.remove_retired(pid, &local);
        }
        idle
    }

    /// The process has ended: what was tied to it.
    #[must_use = "the monitors must be answered or withdrawn"]
    pub(crate) fn close(&self, pid: u64) -> Attachment {
        self.table.take(pid).map(|local| local.close()).unwrap_or_default()
    }
}
