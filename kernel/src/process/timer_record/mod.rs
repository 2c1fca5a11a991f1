//! Timers: a message, or an alarm, that is delivered when it is due.
//!
//! A timer has one record and one state word. The word is in the timer's slot (`timer_slot`), where
//! any thread finds it by the timer's reference:
//!
//! ```text
//! ARMED ── wheel: fire (1) ──▶ FIRED ── fetched by the target (3)
//!   └── cancel, or the target's death (2) ──▶ CANCELLED
//! ```
//!
//! The thread that succeeds in (1) or (2) owns the message: it sends the message or drops it. The
//! message was allocated when the timer was started, so firing allocates nothing.
//!
//! The record is reference-counted, and each reference is a type of its own:
//! - the wheel's reference ([`ToWheel`] while it is the wheel's) becomes the signal's when the
//!   timer fires ([`TimerMessage`]), and the canceller's when it is cancelled ([`CancelledTimer`]);
//! - the starter's reference is in the starter's set, found by the timer's reference number
//!   ([`StarterShare`]);
//! - if the target is another process, its list of watchers has a reference, so that the timer ends
//!   with the target ([`TargetShare`]).
//!
//! The slot is given back with the last reference.
//!
//! A core owns its wheel. A timer that another core cancels goes on the owning core's stack of
//! cancelled timers (`kernel::core_local`), with the wheel's reference, and the owning core takes
//! it off the wheel.
//!
//! - **R1.** A record is born as a [`NewTimer`], with the references of the wheel and of the
//!   starter. It is consumed where they become values of their own: [`NewTimer::settle`] makes one
//!   of each type, and [`NewTimer::abandon`] releases both.
//! - **R2.** While the slot's word is ARMED, the wheel's reference belongs to no value: the
//!   exchange that ends the timer makes the one value that has it (`timer_slot`, S2). The record is
//!   live on its way to the wheel, on it, and just off it, because a [`CancelledTimer`] releases
//!   the wheel's reference only through the party that has the wheel.

mod message;
mod new_timer;
mod on_wheel;
mod shares;

use core::any::TypeId;
use core::mem::{MaybeUninit, needs_drop, offset_of};
use core::ptr::NonNull;

use crate::intrusive::counted::Counted;
use crate::intrusive::handle::Embedded;
use crate::intrusive::list::{Linked, Links};
use crate::intrusive::record_set::{Member, SetLinks};
use crate::intrusive::refcount::RefCount;
use crate::kernel_ptr::KernelPtr;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::pid::{Pid, Reference};
use crate::process::name::NameRef;
use crate::process::relation::monitor::MonitorTarget;
use crate::process::relation::watcher::{WatcherEntry, WatcherKind};
use crate::process::timer_slot::{Name, SlotRef};
use crate::signal::held::Headed;
use crate::signal::node::{BudgetPermit, Node, SignalKind};
use crate::sync::{Ordering, PlainAtomicBool, PlainAtomicUsize, UnsafeCell};
use crate::timer::wheel::TimerNode;

pub use self::message::TimerMessage;
pub(crate) use self::message::peek;
pub use self::new_timer::{NewTimer, Settled};
pub use self::on_wheel::{CancelledShare, CancelledTimer, ToWheel};
pub use self::shares::{StarterShare, TargetShare};
pub use crate::process::timer_slot::Steps;

/// The target of a timer.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// A process.
    Pid(Pid),
    /// The process that has the name when the timer is due.
    Name(NameRef),
}

/// The reason why a timer could not be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TimerError {
    /// The core has as many timers as the limit allows.
    TooMany,
    /// The target takes no messages of this type.
    WrongType,
    /// No memory is left for the timer.
    NoMemory,
    /// The process is dying.
    Dying,
}

impl core::fmt::Display for TimerError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooMany => "the limit of timers is reached",
            Self::WrongType => "the target takes no messages of this type",
            Self::NoMemory => "out of memory",
            Self::Dying => "the process is dying",
        })
    }
}

impl core::error::Error for TimerError {}

impl From<NoMemory> for TimerError {
    fn from(NoMemory: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// A timer without its message. `repr(C)`: the node comes first, and the fields used when the timer
/// fires are close together, because many timers have left all caches by then.
#[derive(Debug)]
#[repr(C)]
pub struct TimerHead {
    node: Node,
    wheel: TimerNode,
    shares: RefCount,
    /// What it is called in its slot. An alarm's is its owner's own (`timer_slot`, S4).
    name: Name,
    slot: SlotRef,
    /// `true` if the message arrives as `Received::Timer` rather than as a plain message.
    pub tagged: bool,
    /// `true` if the timer is on another process's list of watchers. Set by [`NewTimer::settle`];
    /// Relaxed, because the slot's word publishes it.
    watched: PlainAtomicBool,
    target: Target,
    takes: Option<TypeId>,
    joint: SetLinks<TimerHead>,
    free: unsafe fn(NonNull<TimerHead>, Option<&Pool>),
    /// The timer's reference.
    pub reference: Reference,
    /// The core that has the timer on its wheel. Set by [`NewTimer::settle`]; Relaxed, because the
    /// slot's word publishes it.
    core: PlainAtomicUsize,
    /// `true` if the timer's reference led to it before it was on a wheel.
    prepared: bool,
    /// The due time, in nanoseconds.
    pub due: u64,
    /// Drops the message; `None` if dropping it does nothing.
    drop_value: Option<unsafe fn(NonNull<TimerHead>)>,
    /// Its entry in the count of timers that were started for a process that ran elsewhere
    /// (`ops::timer`).
    place: BudgetPermit,
    watch: WatcherEntry,
    cancelled: Links<TimerHead>,
}

/// A timer with its message.
#[repr(C)]
pub(crate) struct MessageTimer<M> {
    head: TimerHead,
    value: UnsafeCell<MaybeUninit<M>>,
}

// SAFETY: the links are a field of the record, and the key is constant.
unsafe impl Member for TimerHead {
    fn joint(&self) -> &SetLinks<Self> {
        &self.joint
    }

    fn key(&self) -> u64 {
        self.reference.to_raw()
    }
}

// SAFETY: the links are a field of the record. Only the lists of cancelled timers and of fired ones
// use them, and a timer is one of both, once (S1).
unsafe impl Linked for TimerHead {
    fn place(&self) -> &Links<Self> {
        &self.cancelled
    }
}

// SAFETY: `new` counts two references. The orderings are `RefCount`'s.
unsafe impl Counted for TimerHead {
    const BORN: usize = 2;

    fn add_ref(&self) {
        self.shares.add();
    }

    #[inline]
    fn drop_ref(&self) -> bool {
        self.shares.release()
    }

    #[inline(never)]
    unsafe fn free(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the last reference is released (this function's contract), so no other thread
        // uses the record.
        let timer = unsafe { this.as_ref() };
        let (free, slot, name) = (timer.free, timer.slot, timer.name);
        // SAFETY: the kernel outlives its nodes (`Budget::node`), of which the record is one.
        let slots = unsafe { timer.kernel().timer_slots() };
        // SAFETY: the last reference to the record is gone, so this call owns its slot; the pool is
        // one of this kernel's.
        unsafe { slots.give_back(slot, name, pool) };
        // SAFETY: the last reference was released, so the record is ours to free.
        unsafe { free(this, pool) };
    }
}

// SAFETY: the record is not tied to a thread, and its message is Send.
unsafe impl Send for TimerHead {}
// SAFETY: the fields are constant or atomic, except for the node, the links and the message, each
// of which belongs to one value at a time (R1, R2).
unsafe impl Sync for TimerHead {}

// SAFETY: the field `watch`, which is the only one of its type.
unsafe impl Embedded<TimerHead> for WatcherEntry {
    const OFFSET: usize = offset_of!(TimerHead, watch);
}

// SAFETY: the field `wheel`, which is the only one of its type.
unsafe impl Embedded<TimerHead> for TimerNode {
    const OFFSET: usize = offset_of!(TimerHead, wheel);
}

// SAFETY: the field `node`, which is the only one of its type.
unsafe impl Embedded<TimerHead> for Node {
    const OFFSET: usize = offset_of!(TimerHead, node);
}

// SAFETY: `repr(C)`, and the node is first. Only nodes of timers are of these kinds, and the
// reference that travels with a node keeps the record live.
unsafe impl Headed for TimerHead {
    fn is_headed_by(kind: SignalKind) -> bool {
        matches!(kind, SignalKind::Timer | SignalKind::Alarm)
    }
}

/// Releases the signal of a timer that fired and that no process receives, with its message.
pub(crate) unsafe fn release_fired(node: NonNull<Node>, pool: Option<&Pool>) {
    // SAFETY: the node's holder passes it. A timer's node travels only when it has fired (S2).
    TimerMessage(unsafe { Node::record(node) }).release(pool);
}

fn value_of<M>(timer: NonNull<TimerHead>) -> *mut M {
    // SAFETY: the caller passes the head of a message timer; no reference to the whole record is
    // made.
    let value = unsafe { &(*timer.cast::<MessageTimer<M>>().as_ptr()).value };
    value.with_mut(|value| value.cast())
}

impl<M: Send + 'static> MessageTimer<M> {
    /// Creates a timer with a message, which counts the references of the wheel and of the starter.
    /// `tagged`: see [`TimerHead::tagged`]. With `permit` its reference leads to it from its
    /// creation on, and the permit counts it until it is freed.
    #[inline(always)]
    pub(crate) fn new(
        node: Node,
        (target, due): (Target, u64),
        tagged: bool,
        place: (SlotRef, Reference),
        permit: Option<BudgetPermit>,
        value: M,
    ) -> Self {
        unsafe fn drop_value<M>(timer: NonNull<TimerHead>) {
            // SAFETY: the caller owns the value, and drops it once (S2).
            unsafe { value_of::<M>(timer).drop_in_place() };
        }
        unsafe fn free<M>(timer: NonNull<TimerHead>, pool: Option<&Pool>) {
            // SAFETY: the last reference was released. The value is gone already, and `MaybeUninit`
            // drops nothing.
            unsafe { pool::drop_and_free(timer.cast::<MessageTimer<M>>(), pool) }
        }
        let head = TimerHead {
            tagged,
            takes: Some(TypeId::of::<M>()),
            drop_value: if needs_drop::<M>() { Some(drop_value::<M>) } else { None },
            free: free::<M>,
            prepared: permit.is_some(),
            place: permit.unwrap_or(BudgetPermit::NOT),
            ..TimerHead::new(node, target, due, false, place)
        };
        Self { head, value: UnsafeCell::new(MaybeUninit::new(value)) }
    }
}

impl TimerHead {
    /// Creates a timer without a message, which counts the references of the wheel and of the
    /// starter. `own`: only its owner can find it (`timer_slot`, S4).
    #[inline(always)]
    pub(crate) fn new(
        node: Node,
        target: Target,
        due: u64,
        own: bool,
        (slot, reference): (SlotRef, Reference),
    ) -> Self {
        unsafe fn free(timer: NonNull<TimerHead>, pool: Option<&Pool>) {
            // SAFETY: the last reference to an alarm was released, so the record is the caller's.
            unsafe { pool::drop_and_free(timer, pool) }
        }
        Self {
            node,
            watch: WatcherEntry::new(WatcherKind::Timer),
            wheel: TimerNode::new(),
            joint: SetLinks::new(),
            cancelled: Links::new(),
            slot,
            name: Name::new(reference, own),
            shares: RefCount::new(2),
            tagged: false,
            watched: PlainAtomicBool::new(false),
            core: PlainAtomicUsize::new(0),
            prepared: false,
            due,
            reference,
            place: BudgetPermit::NOT,
            target,
            takes: None,
            drop_value: None,
            free,
        }
    }

    /// Returns `true` if the timer is still pending.
    pub fn is_armed(&self) -> bool {
        self.slot.is_armed()
    }

    /// Returns `true` if the timer is on another process's list of watchers.
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Returns the core that has the timer on its wheel.
    pub(crate) fn core(&self) -> usize {
        self.core.load(Ordering::Relaxed)
    }

    /// Returns the process that has the timer on its list of watchers, if any.
    pub(crate) fn listed(&self) -> Option<Pid> {
        match self.target {
            Target::Pid(pid) if self.is_watched() => Some(pid),
            _ => None,
        }
    }

    /// Returns `true` if the timer's message, if it has one, is of this type.
    pub(crate) fn suits(&self, takes: TypeId) -> bool {
        self.takes.is_none_or(|message| message == takes)
    }

    /// Returns the kernel that the timer belongs to.
    pub(crate) fn kernel(&self) -> KernelPtr {
        // SAFETY: the record's creator has claimed the slot.
        unsafe { self.slot.kernel() }
    }

    /// Returns the timer's target.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Returns the target as a list of timers shows it.
    pub fn monitor_target(&self) -> MonitorTarget {
        match self.target {
            Target::Pid(pid) => MonitorTarget::Pid(pid),
            Target::Name(entry) => MonitorTarget::Name(entry.name.clone()),
        }
    }
}
