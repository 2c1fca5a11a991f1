//! A monitor, [`Monitor`]: one process waits for the death of another.
//!
//! A monitor is one record, made by the watcher, and one word that decides every race:
//!
//! ```text
//! ARMED ── target dies: fire (1) ──▶ FIRED ── watcher fetches (3) ──▶ delivered, or
//!   └───── demonitor: cancel (2) ──▶ CANCELLED                        dropped if withdrawn
//! ```
//!
//! (1) and (2) are exchanges of the same word, so one of them wins: exactly one DOWN, or none. The
//! thread that wins (1) owns the record's node and pushes it, as the DOWN, to the watcher. A
//! demonitor that loses to (1) marks the record *withdrawn*, which only the watcher reads when the
//! DOWN arrives (3). So it is at the moment of receipt that the watcher drops the DOWN of a monitor
//! that it has ended with flush.
//!
//! References: the watcher's set holds one, and the target's side the other: its list, the request
//! on its way there, or the DOWN on its way back. Releasing the last one frees the record.
//!
//! The node travels twice, never at once: as a request to a target whose mailbox is not clear (so
//! that the monitor keeps its place among the watcher's signals), and as the DOWN.

use core::mem::offset_of;
use core::ptr::NonNull;

use crate::intrusive::record_set::{Member, SetLinks};
use crate::intrusive::refcount::RefCount;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::mutation::{Mutation, MutationSwitch};
use crate::pid::{Pid, Reference};
use crate::process::name::{Name, NameEntry};
use crate::process::relation::watcher::{WatcherEntry, WatcherKind};
use crate::reason::Reason;
use crate::signal::node::{Budget, Node, SignalKind};
use crate::sync::{AtomicU8, Cell, Ordering, UnsafeCell};

const ARMED: u8 = 0;
const FIRED: u8 = 1;
const CANCELLED: u8 = 2;

/// The target of a monitor, as the caller named it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MonitorTarget {
    /// A process.
    Pid(Pid),
    /// The process that held this name when the monitor was made.
    Name(Name),
}

/// The record of a monitor (see the module). `repr(C)`: the node comes first.
#[derive(Debug)]
#[repr(C)]
pub struct Monitor {
    node: Node,
    watch: WatcherEntry,
    state: AtomicU8,
    shares: RefCount,
    /// `true` if the DOWN must not be delivered. Only the watcher touches it.
    withdrawn: Cell<bool>,
    /// `true` if the DOWN is in the watcher's private queue. Only the watcher touches it.
    delivered: Cell<bool>,
    /// The reference that names the monitor.
    pub reference: Reference,
    /// The watching process.
    pub watcher: Pid,
    target: Option<Pid>,
    name: Option<NonNull<NameEntry>>,
    /// Written by the thread that fires, before the push; read by the watcher, which fetches.
    reason: UnsafeCell<Reason>,
    joint: SetLinks<Monitor>,
}

impl Member for Monitor {
    fn joint(&self) -> &SetLinks<Self> {
        &self.joint
    }

    fn key(&self) -> u64 {
        self.reference.to_raw()
    }
}

/// The state in which `cancel` found the monitor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CancelOutcome {
    /// It was armed, and no longer is.
    InTime,
    /// The target is dead; the DOWN is on its way and will be dropped.
    OnItsWay,
    /// The DOWN has been fetched and is in the private queue.
    Delivered,
}

unsafe fn release_node(node: NonNull<Node>, pool: Option<&Pool>) {
    // SAFETY: the node heads a monitor, and the reference that travels with it is released.
    unsafe { Monitor::release(node.cast(), pool) }
}

impl Monitor {
    /// Creates an armed monitor with two references: one of the watcher, one of the target's side.
    #[inline(always)]
    pub(crate) fn new(
        nodes: &Budget,
        reference: Reference,
        watcher: Pid,
        target: Option<Pid>,
        name: Option<&NameEntry>,
    ) -> Result<Self, NoMemory> {
        Ok(Self {
            node: nodes.node(SignalKind::MonitorRequest, release_node).ok_or(NoMemory)?,
            watch: WatcherEntry::new(WatcherKind::Monitor),
            state: AtomicU8::new(ARMED),
            shares: RefCount::new(2),
            withdrawn: Cell::new(false),
            delivered: Cell::new(false),
            reference,
            watcher,
            target,
            name: name.map(NonNull::from),
            reason: UnsafeCell::new(Reason::NOPROC),
            joint: SetLinks::new(),
        })
    }

    /// Returns the monitor of an entry on a list of watchers.
    ///
    /// # Safety
    /// The entry is of the kind [`WatcherKind::Monitor`].
    pub(crate) unsafe fn of_watch(watch: NonNull<WatcherEntry>) -> NonNull<Self> {
        // SAFETY: only the `watch` of a `Monitor` is of this kind (this function's contract).
        unsafe { watch.byte_sub(offset_of!(Self, watch)).cast() }
    }

    /// Returns the record's links on a list of watchers.
    pub fn watch(this: NonNull<Self>) -> NonNull<WatcherEntry> {
        // SAFETY: the entry lies within the record.
        unsafe { this.byte_add(offset_of!(Self, watch)).cast() }
    }

    /// Returns the target of the monitor, as the caller named it.
    pub fn object(&self) -> MonitorTarget {
        match (self.name, self.target) {
            // SAFETY: name entries live as long as the kernel.
            (Some(entry), _) => MonitorTarget::Name(unsafe { entry.as_ref() }.name.clone()),
            (None, Some(pid)) => MonitorTarget::Pid(pid),
            (None, None) => unreachable!("a monitor targets a name or a process"),
        }
    }

    /// Returns the process that is monitored; `None` when a name had no holder.
    pub fn target(&self) -> Option<Pid> {
        self.target
    }

    /// Returns `true` if the target lives and the monitor is in force.
    pub fn is_armed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ARMED
    }

    /// (1) Decides that the monitor fires. Returns `true` if it does: the caller then owns the
    /// node, with the target side's reference, and sends it to the watcher as the DOWN.
    ///
    /// # Safety
    /// The caller holds that reference, and the node is in no queue.
    #[inline(always)]
    #[must_use = "after `true` the DOWN must be sent"]
    pub(crate) unsafe fn try_fire(this: NonNull<Self>, reason: &Reason, mutations: MutationSwitch) -> bool {
        // SAFETY: the caller's reference keeps the record live.
        let monitor = unsafe { this.as_ref() };
        // AcqRel: pairs with the exchange of `cancel`, in either order.
        let fired = monitor.state.compare_exchange(ARMED, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if fired.is_err() && !mutations.injects(Mutation::FiresAnyway) {
            return false;
        }
        // SAFETY: the thread whose exchange fired the monitor owns the node and the reason until
        // the push.
        monitor.reason.with_mut(|place| unsafe { *place = reason.clone() });
        // SAFETY: the thread whose exchange fired the monitor owns the node until the push.
        unsafe { Node::set_kind(this.cast(), SignalKind::Down) };
        true
    }

    /// (2) Cancels the DOWN. Only the watcher may call it. Wait-free.
    pub fn cancel(&self) -> CancelOutcome {
        if self.delivered.get() {
            return CancelOutcome::Delivered;
        }
        match self.state.compare_exchange(ARMED, CANCELLED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => CancelOutcome::InTime,
            Err(_) => {
                self.withdrawn.set(true);
                CancelOutcome::OnItsWay
            }
        }
    }

    /// (3) Accepts a fetched DOWN. Returns `true` if it must be delivered. Only the watcher may
    /// call it.
    pub fn accept_down(&self) -> bool {
        let welcome = !self.withdrawn.get();
        self.delivered.set(welcome);
        welcome
    }

    /// Returns the reason in a DOWN that has been fetched.
    pub fn reason(&self) -> Reason {
        // SAFETY: written before the push that brought the DOWN; not written again.
        self.reason.with(|reason| unsafe { (*reason).clone() })
    }

    /// Releases a reference. Wait-free.
    ///
    /// # Safety
    /// The caller holds it and does not use the record again.
    pub unsafe fn release(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the caller's reference keeps the record live.
        let monitor = unsafe { this.as_ref() };
        if monitor.shares.release() {
            // A no-op, except that a model checks here that the other side no longer uses it.
            monitor.reason.with_mut(|_| ());
            // SAFETY: that was the last reference.
            unsafe { pool::drop_and_free(this, pool) };
        }
    }
}
