//! [`Monitor`]: one process waits for another's death.
//!
//! One record, made by the watcher, and one word that decides every race:
//!
//! ```text
//! ARMED ── target dies: fire (1) ──▶ FIRED ── watcher fetches (3) ──▶ delivered, or
//!   └───── demonitor: cancel (2) ──▶ CANCELLED                        dropped if withdrawn
//! ```
//!
//! (1) and (2) are exchanges of the same word, so one wins: exactly one DOWN, or none.
//! Whoever wins (1) owns the record's node and pushes it, as the DOWN, to the watcher.
//! A demonitor that loses to (1) marks the record *withdrawn*, which only the watcher
//! reads, when the DOWN arrives (3): silence after demonitor with flush is decided at the
//! moment of receipt.
//!
//! Shares: the watcher's set has one, the target's side the other: its list, or the
//! request on its way there, or the DOWN on its way back. The record goes with the last.
//!
//! The node travels twice, never at once: as a request to a target whose mailbox is not
//! clear (so that the monitor keeps its place among the watcher's signals), and as the DOWN.

use core::mem::offset_of;
use core::ptr::NonNull;

use crate::hand::KernelCx;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::mutate::Mutation;
use crate::name::{NameEntry, Name};
use crate::pid::{Pid, Reference};
use crate::reason::Reason;
use crate::set::{SetLinks, Member};
use crate::shares::RefCount;
use crate::signal::node::{SignalKind, Node};
use crate::sync::{AtomicU8, Cell, Ordering, UnsafeCell};
use crate::watch::{WatcherEntry, WatchVtable};

const ARMED: u8 = 0;
const FIRED: u8 = 1;
const CANCELLED: u8 = 2;

/// What a monitor is on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MonitorTarget {
    /// A process.
    Pid(Pid),
    /// Whoever had this name when the monitor was made.
    Name(Name),
}

/// See the module. `repr(C)`: the node comes first.
#[derive(Debug)]
#[repr(C)]
pub struct Monitor {
    node: Node,
    watch: WatcherEntry,
    state: AtomicU8,
    shares: RefCount,
    /// The watcher's: the DOWN must not be delivered.
    withdrawn: Cell<bool>,
    /// The watcher's: the DOWN is in its private queue.
    delivered: Cell<bool>,
    /// Its name.
    pub reference: Reference,
    /// Who watches.
    pub watcher: Pid,
    target: Option<Pid>,
    name: Option<NonNull<NameEntry>>,
    /// Written by who fires, before the push; read by who fetches.
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

/// What `cancel` found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CancelOutcome {
    /// It was armed, and is no more.
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
    // SAFETY: the list has a share.
    unsafe { of_watch(watch).as_ref() }.state.load(Ordering::Relaxed) == ARMED
}

unsafe fn watcher(watch: NonNull<WatcherEntry>) -> Option<Pid> {
    // SAFETY: the list has a share.
    let monitor = unsafe { of_watch(watch).as_ref() };
    (monitor.state.load(Ordering::Relaxed) == ARMED).then_some(monitor.watcher)
}

unsafe fn fire(watch: NonNull<WatcherEntry>, hand: &KernelCx<'_>, reason: &Reason) {
    // SAFETY: the caller gives the list's share.
    unsafe { Monitor::fire(of_watch(watch), hand, reason) };
}

unsafe fn release_watch(watch: NonNull<WatcherEntry>, pool: Option<&Pool>) {
    // SAFETY: the caller gives the list's share.
    unsafe { Monitor::give_up(of_watch(watch), pool) }
}

unsafe fn release_node(node: NonNull<Node>, pool: Option<&Pool>) {
    // SAFETY: the node heads a monitor, and the share that travels with it is given up.
    unsafe { Monitor::give_up(node.cast(), pool) }
}

impl Monitor {
    /// An armed monitor with two shares: the watcher's and the target's side's.
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

    /// The record's place on a list of watchers.
    pub fn watch(this: NonNull<Self>) -> NonNull<WatcherEntry> {
        // SAFETY: within the record.
        unsafe { this.byte_add(offset_of!(Self, watch)).cast() }
    }

    /// What it is on.
    pub fn object(&self) -> MonitorTarget {
        match (self.name, self.target) {
            // SAFETY: entries live as long as the kernel.
            (Some(entry), _) => MonitorTarget::Name(unsafe { entry.as_ref() }.name.clone()),
            (None, Some(pid)) => MonitorTarget::Pid(pid),
            (None, None) => unreachable!("a monitor is on a name or a process"),
        }
    }

    /// The process that it is on; `None` when a name had no holder.
    pub fn target(&self) -> Option<Pid> {
        self.target
    }

    /// Whether the target lives and the monitor is in force.
    pub fn is_armed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ARMED
    }

    /// (1) The target died, or there was none: whether the watcher's mailbox has the DOWN. Consumes the target side's
    /// share. Lock-free.
    ///
    /// # Safety
    /// The caller has that share, and the node is in no queue.
    pub unsafe fn fire(this: NonNull<Self>, hand: &KernelCx<'_>, reason: &Reason) -> bool {
        // SAFETY: shared, so live.
        let monitor = unsafe { this.as_ref() };
        // AcqRel: pairs with the exchange of `cancel`, whichever came first.
        let fired = monitor.state.compare_exchange(ARMED, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if fired.is_err() && !hand.kernel.mutated(Mutation::FiresAnyway) {
            // SAFETY: the share is the caller's.
            unsafe { Self::give_up(this, hand.pool()) };
            return false;
        }
        // SAFETY: who fires owns the node and the reason until the push.
        monitor.reason.with_mut(|place| unsafe { *place = reason.clone() });
        // SAFETY: likewise.
        unsafe { Node::become_kind(this.cast(), SignalKind::Down) };
        // SAFETY: the node is ours, and takes the share with it.
        unsafe { hand.deliver(monitor.watcher, this.cast()) }
    }

    /// (2) The watcher wants no DOWN. The watcher's only. Wait-free.
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

    /// (3) The DOWN has been fetched: whether to deliver it. The watcher's only.
    pub fn arrive(&self) -> bool {
        let welcome = !self.withdrawn.get();
        self.delivered.set(welcome);
        welcome
    }

    /// The reason in a DOWN that has been fetched.
    pub fn reason(&self) -> Reason {
        // SAFETY: written before the push that brought the DOWN; not written again.
        self.reason.with(|reason| unsafe { (*reason).clone() })
    }

    /// Gives up a share. Wait-free.
    ///
    /// # Safety
    /// The caller has it and does not use the record again.
    pub unsafe fn give_up(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: shared, so live.
        let monitor = unsafe { this.as_ref() };
        if monitor.shares.give_up() {
            // Nothing; but a model sees here whether the other side is done with it.
            monitor.reason.with_mut(|_| ());
            // SAFETY: the last share.
            unsafe { pool::drop_and_free(this, pool) };
        }
    }
}
