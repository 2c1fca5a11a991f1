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
//! References: the watcher's set holds one ([`WatcherSide`]), and the target's side the other
//! ([`TargetSide`]): its list, the request on its way there, or the DOWN on its way back
//! ([`DownSignal`]). Releasing the last one frees the record.
//!
//! - **M1.** A record is born as one `WatcherSide` and one `TargetSide`, and (1) turns the
//!   `TargetSide` into the DOWN. So each is the only one of its record. The `WatcherSide`
//!   has the record's links in the set, the other two have its node and its links on the list.
//!
//! The node travels twice, never at once: as a request to a target whose mailbox is not clear (so
//! that the monitor keeps its place among the watcher's signals), and as the DOWN.

use core::mem::offset_of;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::intrusive::counted::{Counted, Ref};
use crate::intrusive::handle::{Embedded, Handle};
use crate::intrusive::record_set::{Member, SetLinks};
use crate::intrusive::refcount::RefCount;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::mutation::{MutationSwitch, mutant};
use crate::pid::{Pid, Reference};
use crate::process::name::{Name, NameEntry, NameRef};
use crate::process::relation::watcher::{WatcherEntry, WatcherKind};
use crate::reason::Reason;
use crate::signal::held::{Headed, Held, HeldNode};
use crate::signal::node::{Budget, Node, SignalKind};
use crate::sync::{AtomicU8, Ordering, PlainAtomicBool, UnsafeCell};

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
    /// `true` if the DOWN must not be delivered. Only the watcher touches it, so Relaxed suffices.
    withdrawn: PlainAtomicBool,
    /// `true` if the DOWN is in the watcher's private queue. Only the watcher touches it, so
    /// Relaxed suffices.
    delivered: PlainAtomicBool,
    /// The reference that names the monitor.
    pub reference: Reference,
    /// The watching process.
    pub watcher: Pid,
    target: Option<Pid>,
    name: Option<NameRef>,
    /// Written by the thread that fires, before the push; read by the watcher, which fetches.
    reason: UnsafeCell<Reason>,
    joint: SetLinks<Monitor>,
}

// SAFETY: the links are a field of the record, and the key is constant.
unsafe impl Member for Monitor {
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

// SAFETY: `new` counts two references. The orderings are `RefCount`'s.
unsafe impl Counted for Monitor {
    const BORN: usize = 2;

    fn add_ref(&self) {
        self.shares.add();
    }

    #[inline]
    fn drop_ref(&self) -> bool {
        self.shares.release()
    }

    unsafe fn free(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the last reference is released (this function's contract), so the record is the
        // caller's, and live until it is freed below.
        // A no-op, except that a model checks here that the other side no longer uses it.
        unsafe { this.as_ref() }.reason.with_mut(|_| ());
        // SAFETY: the record is the caller's, and not used again.
        unsafe { pool::drop_and_free(this, pool) };
    }
}

// SAFETY: the record is not tied to a thread.
unsafe impl Send for Monitor {}
// SAFETY: the fields are constant or atomic, except for the node, the links and the reason, each of
// which belongs to one side at a time (M1).
unsafe impl Sync for Monitor {}

// SAFETY: the field `watch`, which is the only one of its type.
unsafe impl Embedded<Monitor> for WatcherEntry {
    const OFFSET: usize = offset_of!(Monitor, watch);
}

// SAFETY: the field `node`, which is the only one of its type.
unsafe impl Embedded<Monitor> for Node {
    const OFFSET: usize = offset_of!(Monitor, node);
}

/// The watcher's reference, in its set.
#[derive(Debug)]
pub struct WatcherSide(Ref<Monitor>);

/// The reference of the target's side, while the monitor is armed or was cancelled.
#[derive(Debug)]
pub struct TargetSide(Ref<Monitor>);

/// A monitor whose DOWN its holder has fetched: the monitor has fired (M1).
#[derive(Debug)]
#[repr(transparent)]
pub struct DownSignal(Monitor);

// SAFETY: `repr(C)`, and the node is first. Only a monitor on its way to its target has a node of
// this kind, and the reference that travels with the node keeps the record live.
unsafe impl Headed for Monitor {
    fn is_headed_by(kind: SignalKind) -> bool {
        kind == SignalKind::MonitorRequest
    }
}

// SAFETY: it is a `Monitor`. Only a monitor that has fired has a node of this kind, and the
// reference that travels with the node keeps the record live.
unsafe impl Headed for DownSignal {
    fn is_headed_by(kind: SignalKind) -> bool {
        kind == SignalKind::Down
    }
}

unsafe fn release_node(node: NonNull<Node>, pool: Option<&Pool>) {
    // SAFETY: the node heads a monitor, and the reference that travels with it is released.
    unsafe { Ref::<Monitor>::of_field(node) }.release(pool);
}

impl Monitor {
    /// Creates an armed monitor that counts two references: one of the watcher, one of the target's
    /// side.
    #[inline(always)]
    fn new(
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
            withdrawn: PlainAtomicBool::new(false),
            delivered: PlainAtomicBool::new(false),
            reference,
            watcher,
            target,
            name: name.map(NameRef::of),
            reason: UnsafeCell::new(Reason::NOPROC),
            joint: SetLinks::new(),
        })
    }

    /// Allocates an armed monitor. Returns the references of its two sides.
    #[inline(always)]
    pub(crate) fn try_new(
        (nodes, pool): (&Budget, Option<&Pool>),
        reference: Reference,
        watcher: Pid,
        target: Option<Pid>,
        name: Option<&NameEntry>,
    ) -> Result<(WatcherSide, TargetSide), NoMemory> {
        let monitor = Self::new(nodes, reference, watcher, target, name)?;
        let (watcher, target) = Ref::try_pair(monitor, pool).map_err(|_| NoMemory)?;
        Ok((WatcherSide(watcher), TargetSide(target)))
    }

    /// Returns the target of the monitor, as the caller named it.
    pub fn monitor_target(&self) -> MonitorTarget {
        match (&self.name, self.target) {
            (Some(entry), _) => MonitorTarget::Name(entry.name.clone()),
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
}

impl WatcherSide {
    /// (2) Cancels the DOWN. Wait-free.
    pub fn cancel(&self) -> CancelOutcome {
        if self.delivered.load(Ordering::Relaxed) {
            return CancelOutcome::Delivered;
        }
        match self.state.compare_exchange(ARMED, CANCELLED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => CancelOutcome::InTime,
            Err(_) => {
                self.withdrawn.store(true, Ordering::Relaxed);
                CancelOutcome::OnItsWay
            }
        }
    }

    /// Returns the monitor's node. Only its holder (N1) uses it.
    pub(crate) fn node(&self) -> NonNull<Node> {
        self.0.field()
    }

    /// Releases the watcher's reference. Wait-free.
    pub fn release(self, pool: Option<&Pool>) {
        self.0.release(pool);
    }
}

impl Deref for WatcherSide {
    type Target = Monitor;

    fn deref(&self) -> &Monitor {
        &self.0
    }
}

// SAFETY: E1: M1. E2: the reference keeps the record live.
unsafe impl Handle for WatcherSide {
    type Record = Monitor;

    fn into_raw(self) -> NonNull<Monitor> {
        self.0.into_raw()
    }

    unsafe fn from_raw(record: NonNull<Monitor>) -> Self {
        // SAFETY: the pointer came from `into_raw`, with the reference (this function's contract).
        Self(unsafe { Ref::from_raw(record) })
    }
}

impl TargetSide {
    /// (1) Decides that the monitor fires. Returns the DOWN, which the caller sends to the watcher;
    /// or the reference, if the monitor was cancelled.
    #[inline(always)]
    pub(crate) fn fire(self, reason: &Reason, mutations: MutationSwitch) -> Result<HeldNode, Self> {
        // AcqRel: pairs with the exchange of `cancel`, in either order.
        let fired = self.state.compare_exchange(ARMED, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if mutant!(mutations, FiresAnyway, right => fired.is_err(), wrong => false) {
            return Err(self);
        }
        // SAFETY: M1: this reference has fired the monitor, so it has the reason until the push.
        self.reason.with_mut(|place| unsafe { *place = reason.clone() });
        let mut node = self.into_request();
        // SAFETY: H2: a monitor heads both kinds of signal, and it has fired.
        unsafe { node.set_kind(SignalKind::Down) };
        Ok(node)
    }

    /// Converts the reference into the node of a request to the target.
    pub(crate) fn into_request(self) -> HeldNode {
        // SAFETY: H1, M1: this reference has the node, which is in no queue, and goes with it.
        unsafe { HeldNode::from_raw(self.0.into_field()) }
    }

    /// Converts a request that was received, or refused, back.
    pub(crate) fn of_request(request: Held<Monitor>) -> Self {
        // SAFETY: the reference travelled with the node.
        Self(unsafe { Ref::from_raw(request.into_raw()) })
    }

    /// Converts the reference into the entry of the target's list.
    pub(super) fn into_entry(self) -> NonNull<WatcherEntry> {
        self.0.into_field()
    }

    /// Converts an entry back.
    ///
    /// # Safety
    /// The entry came from [`TargetSide::into_entry`], with the reference.
    pub(super) unsafe fn of_entry(entry: NonNull<WatcherEntry>) -> Self {
        // SAFETY: `into_entry` made the pointer, with the reference (this function's contract).
        Self(unsafe { Ref::of_field(entry) })
    }

    /// Releases the reference of the target's side. Wait-free.
    pub fn release(self, pool: Option<&Pool>) {
        self.0.release(pool);
    }
}

impl Deref for TargetSide {
    type Target = Monitor;

    fn deref(&self) -> &Monitor {
        &self.0
    }
}

impl DownSignal {
    /// (3) Accepts a fetched DOWN. Returns `true` if it must be delivered. Only the watcher may
    /// call it.
    pub fn accept(&self) -> bool {
        let welcome = !self.withdrawn.load(Ordering::Relaxed);
        self.delivered.store(welcome, Ordering::Relaxed);
        welcome
    }

    /// Returns the exit reason of the target.
    pub fn reason(&self) -> Reason {
        // SAFETY: M1: the reason was written before the push that brought the DOWN, and is not
        // written again.
        self.reason.with(|reason| unsafe { (*reason).clone() })
    }
}

impl Deref for DownSignal {
    type Target = Monitor;

    fn deref(&self) -> &Monitor {
        &self.0
    }
}
