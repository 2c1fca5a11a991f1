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
use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::mutation::Mutation;
use crate::pid::{Pid, Reference};
use crate::process::name::{Name, NameEntry};
use crate::process::relation::watcher::{WatchVtable, WatcherEntry};
use crate::reason::Reason;
use crate::signal::node::{Node, SignalKind};
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

const VTABLE: &WatchVtable = &WatchVtable { live, fire, release: release_watch, watcher, outside: false };

fn of_watch(watch: NonNull<WatcherEntry>) -> NonNull<Monitor> {
    // SAFETY: the vtable is only given to the `watch` of a `Monitor`.
    unsafe { watch.byte_sub(offset_of!(Monitor, watch)).cast() }
}

unsafe fn live(watch: NonNull<WatcherEntry>) -> bool {
    // SAFETY: the target's list holds a reference.
    unsafe { of_watch(watch).as_ref() }.state.load(Ordering::Relaxed) == ARMED
}

unsafe fn watcher(watch: NonNull<WatcherEntry>) -> Option<Pid> {
    // SAFETY: the target's list holds a reference.
    let monitor = unsafe { of_watch(watch).as_ref() };
    (monitor.state.load(Ordering::Relaxed) == ARMED).then_some(monitor.watcher)
}

unsafe fn fire(watch: NonNull<WatcherEntry>, hand: &KernelCx<'_>, reason: &Reason) {
    // SAFETY: the caller passes the list's reference.
    unsafe { Monitor::fire(of_watch(watch), hand, reason) };
}

unsafe fn release_watch(watch: NonNull<WatcherEntry>, pool: Option<&Pool>) {
    // SAFETY: the caller passes the list's reference.
    unsafe { Monitor::give_up(of_watch(watch), pool) }
}

unsafe fn release_node(node: NonNull<Node>, pool: Option<&Pool>) {
    // SAFETY: the node heads a monitor, and the reference that travels with it is released.
    unsafe { Monitor::give_up(node.cast(), pool) }
}

impl Monitor {
    /// Allocates an armed monitor with two references: one of the watcher, one of the target's
    /// side.
    pub fn try_new(
        hand: &KernelCx<'_>,
        reference: Reference,
        watcher: Pid,
        target: Option<Pid>,
        name: Option<&NameEntry>,
    ) -> Result<NonNull<Self>, NoMemory> {
        let monitor = Self {
            node: hand.kernel.nodes.node(SignalKind::MonitorRequest, release_node).ok_or(NoMemory)?,
            watch: WatcherEntry::new(VTABLE),
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
        };
        hand.try_new(monitor).map_err(|_| NoMemory)
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

    /// (1) Fires the monitor because the target died, or did not exist. Returns `true` if the
    /// watcher's mailbox has the DOWN. Consumes the target side's reference. Lock-free.
    ///
    /// # Safety
    /// The caller holds that reference, and the node is in no queue.
    pub unsafe fn fire(this: NonNull<Self>, hand: &KernelCx<'_>, reason: &Reason) -> bool {
        // SAFETY: the caller's reference keeps the record live.
        let monitor = unsafe { this.as_ref() };
        // AcqRel: pairs with the exchange of `cancel`, in either order.
        let fired = monitor.state.compare_exchange(ARMED, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if fired.is_err() && !hand.kernel.mutated(Mutation::FiresAnyway) {
            // SAFETY: the reference is the caller's; not used again.
            unsafe { Self::give_up(this, hand.pool()) };
            return false;
        }
        // SAFETY: the thread whose exchange fired the monitor owns the node and the reason until
        // the push.
        monitor.reason.with_mut(|place| unsafe { *place = reason.clone() });
        // SAFETY: the thread whose exchange fired the monitor owns the node until the push.
        unsafe { Node::become_kind(this.cast(), SignalKind::Down) };
        // SAFETY: the node is ours until the push, and takes the reference with it.
        unsafe { hand.deliver(monitor.watcher, this.cast()) }
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
    pub fn arrive(&self) -> bool {
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
    pub unsafe fn give_up(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the caller's reference keeps the record live.
        let monitor = unsafe { this.as_ref() };
        if monitor.shares.give_up() {
            // A no-op, except that a model checks here that the other side no longer uses it.
            monitor.reason.with_mut(|_| ());
            // SAFETY: that was the last reference.
            unsafe { pool::drop_and_free(this, pool) };
        }
    }
}
