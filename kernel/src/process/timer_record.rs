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
//! The record is reference-counted:
//! - the wheel's reference becomes the signal's when the timer fires, and the canceller's when it
//!   is cancelled;
//! - the starter's reference is in the starter's set, found by the timer's reference number;
//! - if the target is another process, its list of watchers has a reference, so that the timer ends
//!   with the target.
//!
//! The slot is given back with the last reference.
//!
//! A core owns its wheel. A timer that another core cancels goes on the owning core's stack of
//! cancelled timers (`kernel::core_local`), with the wheel's reference, and the owning core takes
//! it off the wheel.

use core::any::TypeId;
use core::mem::{MaybeUninit, needs_drop, offset_of};
use core::ptr::NonNull;

use crate::intrusive::list::{Linked, Links};
use crate::intrusive::record_set::{Member, SetLinks};
use crate::intrusive::refcount::RefCount;
use crate::kernel_ptr::KernelPtr;
use crate::memory::pool::{self, Pool};
use crate::pid::{Pid, Reference};
use crate::process::name::NameEntry;
use crate::process::relation::monitor::MonitorTarget;
use crate::process::relation::watcher::{WatcherEntry, WatcherKind};
use crate::signal::node::{BudgetPermit, Node};
use crate::sync::UnsafeCell;
use crate::timer::wheel::TimerNode;

use crate::process::timer_slot::{Name, Slot};
pub use crate::process::timer_slot::{Shipped, Steps};

/// The target of a timer.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// A process.
    Pid(Pid),
    /// The process that has the name when the timer is due.
    Name(NonNull<NameEntry>),
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

/// A timer without its message. `repr(C)`: the node comes first, and the fields used when the timer
/// fires are close together, because many timers have left all caches by then.
#[derive(Debug)]
#[repr(C)]
pub struct TimerHead {
    node: Node,
    wheel: TimerNode,
    pub(crate) shares: RefCount,
    /// What it is called in its slot. An alarm's is its owner's own (`timer_slot`, S4).
    pub(crate) name: Name,
    pub(crate) slot: NonNull<Slot>,
    /// `true` if the message arrives as `Received::Timer` rather than as a plain message.
    pub tagged: bool,
    /// `true` if the timer is on another process's list of watchers.
    pub watched: bool,
    pub(crate) target: Target,
    pub(crate) takes: Option<TypeId>,
    joint: SetLinks<TimerHead>,
    pub(crate) free: unsafe fn(NonNull<TimerHead>, Option<&Pool>),
    /// The timer's reference.
    pub reference: Reference,
    /// The core that has the timer on its wheel, set by [`TimerHead::settle`].
    pub core: usize,
    /// `true` if the timer's reference led to it before it was on a wheel.
    prepared: bool,
    /// The due time, in nanoseconds.
    pub due: u64,
    /// Drops the message; `None` if dropping it does nothing.
    pub(crate) drop_value: Option<unsafe fn(NonNull<TimerHead>)>,
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

impl Member for TimerHead {
    fn joint(&self) -> &SetLinks<Self> {
        &self.joint
    }

    fn key(&self) -> u64 {
        self.reference.to_raw()
    }
}

impl Linked for TimerHead {
    fn place(&self) -> &Links<Self> {
        &self.cancelled
    }
}

/// Drops a timer that fired and that no process receives.
pub(crate) unsafe fn release_fired(node: NonNull<Node>, pool: Option<&Pool>) {
    let timer = node.cast::<TimerHead>();
    // The reference that travels with the node.
    let _share = GivesUp { timer, pool, shares: 1 };
    // SAFETY: the node's reference keeps the record live.
    if let Some(drop_value) = unsafe { timer.as_ref() }.drop_value {
        // SAFETY: S2, the timer fired, so the node's holder owns the value and drops it once, here.
        unsafe { drop_value(timer) };
    }
}

/// References to a timer that their holder releases when it is done with the message, even if the
/// message's destructor, which is foreign code, panics.
pub(crate) struct GivesUp<'a> {
    pub(crate) timer: NonNull<TimerHead>,
    pub(crate) pool: Option<&'a Pool>,
    pub(crate) shares: usize,
}

impl Drop for GivesUp<'_> {
    fn drop(&mut self) {
        for _share in 0..self.shares {
            // SAFETY: the holder has these references, and the record is not used again.
            unsafe { TimerHead::release(self.timer, self.pool) };
        }
    }
}

pub(crate) fn value_of<M>(timer: NonNull<TimerHead>) -> *mut M {
    // SAFETY: the caller passes the head of a message timer; no reference to the whole record is
    // made.
    let value = unsafe { &(*timer.cast::<MessageTimer<M>>().as_ptr()).value };
    value.with_mut(|value| value.cast())
}

impl<M: Send + 'static> MessageTimer<M> {
    /// Creates a timer with a message, with the references of the wheel and of the starter.
    /// `tagged`: see [`TimerHead::tagged`].
    #[inline(always)]
    pub(crate) fn new(
        node: Node,
        target: Target,
        due: u64,
        tagged: bool,
        place: (NonNull<Slot>, Reference),
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
            ..TimerHead::new(node, target, due, false, place)
        };
        Self { head, value: UnsafeCell::new(MaybeUninit::new(value)) }
    }

    /// Returns the message of a timer that was never placed anywhere.
    pub(crate) fn into_message(self) -> M {
        // SAFETY: `new` initialised the value, and no other place has it.
        unsafe { self.value.into_inner().assume_init() }
    }
}

impl TimerHead {
    /// Creates a timer without a message, with the references of the wheel and of the starter.
    /// `own`: only its owner can find it (`timer_slot`, S4).
    #[inline]
    pub(crate) fn new(
        node: Node,
        target: Target,
        due: u64,
        own: bool,
        (slot, reference): (NonNull<Slot>, Reference),
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
            watched: false,
            core: 0,
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

    /// Prepares a timer for a process that runs elsewhere. `place` counts it until it is freed.
    /// From now on its reference leads to it.
    ///
    /// # Safety
    /// No other thread has the record yet.
    pub unsafe fn counted(this: NonNull<Self>, place: BudgetPermit) {
        // SAFETY: no other thread has the record yet (this function's contract).
        let timer = unsafe { &mut *this.as_ptr() };
        (timer.place, timer.prepared) = (place, true);
        timer.slot().begin(this, timer.due, timer.name, false);
    }

    /// Records the core that will have the timer on its wheel, and whether the target's list will
    /// have it. Then publishes the timer under its reference if that has not happened yet. Returns
    /// `false` if the timer was cancelled in transit: the caller then has no right to the wheel's
    /// reference.
    ///
    /// # Safety
    /// The caller has the references of the wheel and of the starter, and no other thread reads
    /// these fields before the timer is armed.
    #[must_use = "after `false` the wheel's reference is the canceller's"]
    pub unsafe fn settle(this: NonNull<Self>, core: usize, watched: bool) -> bool {
        let timer = this.as_ptr();
        // SAFETY: T1, only the caller uses this field until the timer is armed.
        unsafe { (*timer).core = core };
        // SAFETY: T1, only the caller uses this field until the timer is armed.
        unsafe { (*timer).watched = watched };
        // SAFETY: the starter's reference keeps the record live.
        let timer = unsafe { this.as_ref() };
        if timer.prepared {
            return timer.slot().arm(timer.name);
        }
        timer.slot().begin(this, timer.due, timer.name, true);
        true
    }

    /// Releases a timer that was never started, with its message. The destructor is foreign code
    /// and may panic.
    ///
    /// # Safety
    /// The caller has both references, and does not use the record again.
    pub unsafe fn abandon(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the caller has both references, so the record is live.
        let timer = unsafe { this.as_ref() };
        let cancelled = timer.prepared && !timer.slot().release(timer.name);
        // After a cancellation the canceller has the wheel's reference and the message.
        let _shares = GivesUp { timer: this, pool, shares: if cancelled { 1 } else { 2 } };
        if let Some(drop_value) = timer.drop_value.filter(|_| !cancelled) {
            // SAFETY: the timer has neither fired nor been cancelled, and never will, so this is
            // the only drop.
            unsafe { drop_value(this) };
        }
    }

    /// Returns the timer of an entry on a list of watchers.
    ///
    /// # Safety
    /// The entry is of the kind [`WatcherKind::Timer`].
    pub(crate) unsafe fn of_watch(watch: NonNull<WatcherEntry>) -> NonNull<Self> {
        // SAFETY: only the `watch` of a timer is of this kind (this function's contract).
        unsafe { watch.byte_sub(offset_of!(Self, watch)).cast() }
    }

    /// Adds the reference of the target's list, into which the caller puts the returned `watch`.
    pub fn share(this: NonNull<Self>) -> NonNull<WatcherEntry> {
        // SAFETY: the caller has a reference, so the record is live.
        unsafe { this.as_ref() }.shares.add();
        // SAFETY: the offset is within the record.
        unsafe { this.byte_add(offset_of!(Self, watch)).cast() }
    }

    /// Returns the timer's node on the wheel.
    pub fn wheel(this: NonNull<Self>) -> NonNull<TimerNode> {
        // SAFETY: the offset is within the record.
        unsafe { this.byte_add(offset_of!(Self, wheel)).cast() }
    }

    /// Returns the timer of a node on a wheel.
    pub fn of_wheel(node: NonNull<TimerNode>) -> NonNull<Self> {
        // SAFETY: only timers' nodes are put on the kernel's wheels.
        unsafe { node.byte_sub(offset_of!(Self, wheel)).cast() }
    }

    /// Links `next` behind a timer that is on no wheel. The caller alone has the timer's wheel
    /// reference ([`TimerHead::claim`]).
    pub(crate) fn chain(this: NonNull<Self>, next: *mut Self) {
        let next = NonNull::new(next).map_or(core::ptr::null_mut(), |next| Self::wheel(next).as_ptr());
        // SAFETY: the caller has the wheel's reference, so the record is live.
        unsafe { Self::wheel(this).as_ref() }.set_next(next);
    }

    /// Returns the timer that [`TimerHead::chain`] has linked behind this one.
    pub(crate) fn chained(this: NonNull<Self>) -> *mut Self {
        // SAFETY: the caller has the wheel's reference, so the record is live.
        let next = unsafe { Self::wheel(this).as_ref() }.next();
        NonNull::new(next).map_or(core::ptr::null_mut(), |next| Self::of_wheel(next).as_ptr())
    }

    /// Releases a reference. Wait-free.
    ///
    /// # Safety
    /// The caller has the reference, and does not use the record again.
    #[inline]
    pub unsafe fn release(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the caller has a reference, so the record is live.
        if unsafe { this.as_ref() }.shares.release() {
            // SAFETY: the last reference was released here.
            unsafe { Self::gone(this, pool) };
        }
    }

    /// Returns the timer's slot and frees the record.
    ///
    /// # Safety
    /// The caller has released the last reference, and does not use the record again.
    #[inline(never)]
    unsafe fn gone(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the caller released the last reference, so no other thread uses the record.
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

    /// Returns `true` if the timer is still pending.
    pub fn is_armed(&self) -> bool {
        self.slot().is_armed()
    }

    /// Returns the slot through which any thread finds the timer.
    pub(crate) fn slot(&self) -> &Slot {
        // SAFETY: the record has the slot until its last reference is released; slots live as long
        // as the kernel.
        unsafe { self.slot.as_ref() }
    }

    /// Returns the kernel that the timer belongs to.
    pub(crate) fn kernel(&self) -> KernelPtr {
        // SAFETY: the record's creator has claimed the slot.
        unsafe { self.slot().kernel() }
    }

    /// Returns the timer's target.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Returns the target as the object in a list of timers.
    pub fn object(&self) -> MonitorTarget {
        match self.target {
            Target::Pid(pid) => MonitorTarget::Pid(pid),
            // SAFETY: entries live as long as the kernel.
            Target::Name(entry) => MonitorTarget::Name(unsafe { entry.as_ref() }.name.clone()),
        }
    }
}
