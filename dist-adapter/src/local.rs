//! [`Local`]: a local process that monitors remote processes, or is monitored by them.
//!
//! It is created when a process first gets a remote monitor, and lives until the process ends.
//! Before any monitor is attached, the plane requests a watch of the process from the runtime
//! ([`RuntimeHooks::watch`]). So a process that dies before, during or after that is reported, and
//! [`Local::close`] then finds every attached monitor or refuses it. No code checks whether a
//! process is alive and attaches a monitor afterwards.
//!
//! A process that has set up remote monitors of its own is watched until it ends. A process that is
//! watched for peers only becomes idle when the last of their records is removed. The record's
//! account then holds an idle charge (`quota`, A2), and the plane requests that the runtime drop
//! the watch ([`RuntimeHooks::unwatch`]), once until the runtime answers. When the runtime drops
//! the watch ([`Locals::release`]), the local is retired if it is still idle. Until then a new
//! record finds the process watched, and needs no request to the runtime.
//!
//! If a watch fails (no memory, or a panic), the local is retired unless a monitor is attached to
//! it. Otherwise a peer could make the node keep one for each pid that it invents. A thread that
//! holds a retired local gets a new one and requests a new watch.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use crate::hooks::RuntimeHooks;
use crate::model::PlaneRules;
use crate::quota::Charge;
use crate::record::{Inbound, Key, Outbound};
use crate::reference::RemoteReference;
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::table::Table;

/// The remote monitors of one local process, and whether the runtime watches it.
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
    /// The process is not watched, and this entry must be replaced.
    Retired,
}

/// A process's monitors: its own by reference, those of remote watchers in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Attachment {
    pub(crate) outbound: BTreeMap<RemoteReference, Arc<Outbound>>,
    pub(crate) inbound: BTreeMap<u64, Arc<Inbound>>,
    /// The process has set up a monitor of its own. The watch stays until the process ends, on no
    /// peer's account.
    own: bool,
    /// The charge of a watch that no peer's record needs.
    idle: Option<Charge>,
    /// The plane has requested that the runtime drop the watch, and the runtime has not answered.
    asked: bool,
}

impl Attachment {
    fn is_empty(&self) -> bool {
        self.outbound.is_empty() && self.inbound.is_empty()
    }
}

/// The state of a watch after the removal of a record.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[must_use = "the runtime must be asked to drop an idle watch"]
pub(crate) enum Left {
    /// The watch is needed, or a request to drop it is already pending.
    #[default]
    Enough,
    /// No monitor needs the watch: the caller must request that the runtime drop it.
    Idle,
}

/// The monitor to attach to a process.
#[derive(Debug)]
pub(crate) enum AttachGuard<'a> {
    Outbound(&'a Arc<Outbound>),
    Inbound(&'a Arc<Inbound>),
}

/// The reason why a monitor could not be attached.
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

    fn place<R: PlaneRules>(&self, tie: &AttachGuard<'_>) -> Placed {
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
        // A separate binding, so that the record is dropped after the guard.
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

    /// Closes the entry because the process has ended. The first call returns the attached
    /// monitors, and later ones nothing.
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

    /// Drops the watch if it is idle, and returns `true` if it is.
    fn release<R: PlaneRules>(&self) -> bool {
        let mut ties = self.ties.lock();
        let Ties::Open(tied) = &mut *ties else { return true };
        tied.asked = false;
        // A local without an idle charge is still being created, or has monitors of its own.
        let idle = tied.is_empty() && tied.idle.is_some();
        if idle && R::CLOSE_IDLE {
            *ties = Ties::Retired;
        }
        idle
    }
}

/// All local processes with remote monitors, by raw pid.
#[derive(Debug)]
pub(crate) struct Locals {
    table: Table<Local>,
}

/// Retires, when dropped, a local whose watch has failed or panicked.
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
        // The entry is closed already, and each thread that still holds it sees that.
        let _retired = self.table.take_if(pid, |held| Arc::ptr_eq(held, local));
    }

    /// Attaches a monitor to a process, whose watch starts before.
    ///
    /// Lock-free except for the maps' locks: it repeats only when another thread's watch of the
    /// same process has failed.
    pub(crate) fn tie<R: PlaneRules>(
        &self,
        hooks: &dyn RuntimeHooks,
        pid: u64,
        tie: &AttachGuard<'_>,
    ) -> Result<(), AttachError> {
        loop {
            let local = self.table.get_or_add(pid, Local::new);
            // Acquire, Release: a thread that attaches without a watch of its own must see the
            // watch of the thread that has set the flag.
            if !local.watched.load(Ordering::Acquire) {
                let unwatched = Unwatched { locals: self, pid, local: &local };
                hooks.watch(pid).map_err(|_| AttachError::NoMemory)?;
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

    /// Handles the runtime's release of a watch, and returns `true` if no monitor needs the watch.
    pub(crate) fn release<R: PlaneRules>(&self, pid: u64) -> bool {
        let Some(local) = self.table.get(pid) else { return true };
        let idle = local.release::<R>();
        if idle {
            self.remove_retired(pid, &local);
        }
        idle
    }

    /// Closes the entry of a process that has ended, and returns the attached monitors.
    #[must_use = "the monitors must be answered or withdrawn"]
    pub(crate) fn close(&self, pid: u64) -> Attachment {
        self.table.take(pid).map(|local| local.close()).unwrap_or_default()
    }
}
