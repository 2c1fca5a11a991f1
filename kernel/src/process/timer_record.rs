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

use core::any::TypeId;
use core::mem::{ManuallyDrop, MaybeUninit, needs_drop, offset_of};
use core::ops::Deref;
use core::ptr::NonNull;

use crate::intrusive::counted::{Counted, Ref};
use crate::intrusive::handle::{Embedded, Handle};
use crate::intrusive::list::{Linked, Links};
use crate::intrusive::record_set::{Member, SetLinks};
use crate::intrusive::refcount::RefCount;
use crate::kernel_ptr::KernelPtr;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::memory::pool_box::PoolBox;
use crate::pid::{Pid, Reference};
use crate::process::name::NameRef;
use crate::process::relation::monitor::MonitorTarget;
use crate::process::relation::watcher::{WatcherEntry, WatcherKind};
use crate::process::timer_slot::{Name, SlotRef};
use crate::signal::held::{Headed, Held, HeldNode};
use crate::signal::node::{BudgetPermit, Node, SignalKind};
use crate::sync::{Ordering, PlainAtomicBool, PlainAtomicUsize, UnsafeCell};
use crate::timer::wheel::TimerNode;

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

impl Ref<TimerHead> {
    /// (2) Decides that the timer is cancelled. Returns `None` if it is not on a wheel, or ended
    /// before.
    pub(crate) fn cancel(&self) -> Option<CancelledTimer> {
        // S2: this exchange cancels an armed timer.
        self.slot.cancel(self.name).then(|| CancelledTimer(Live(self.as_ptr())))
    }
}

/// A timer that is on no wheel and in no set yet, with both references. Dropping it ends the timer,
/// and drops its message.
#[derive(Debug)]
pub struct NewTimer(NonNull<TimerHead>);

// SAFETY: the records of timers may be shared, and their messages are Send.
unsafe impl Send for NewTimer {}

/// The outcome of [`NewTimer::settle`].
#[derive(Debug)]
#[must_use = "the timer must be put on the wheel"]
pub enum Settled {
    /// The timer is armed.
    Armed(ToWheel, StarterShare, Option<TargetShare>),
    /// The timer was cancelled in transit, and the canceller has the wheel's reference.
    Cancelled(StarterShare),
}

impl NewTimer {
    /// Puts an alarm into a block of the heap.
    #[inline(always)]
    pub(crate) fn alarm_in(block: PoolBox<MaybeUninit<TimerHead>>, alarm: TimerHead) -> Self {
        Self(PoolBox::write(block, alarm).into_raw())
    }

    /// Puts a timer with a message into a block of the heap, and publishes it if it has a permit.
    #[inline(always)]
    pub(crate) fn message_in<M: Send + 'static>(
        block: PoolBox<MaybeUninit<MessageTimer<M>>>,
        timer: MessageTimer<M>,
    ) -> Self {
        // The head comes first (`repr(C)`).
        let timer = Self(PoolBox::write(block, timer).into_raw().cast());
        if timer.prepared {
            timer.slot.begin(timer.0, timer.due, timer.name, false);
        }
        timer
    }

    /// Makes the references of the wheel and of the starter.
    #[inline(always)]
    fn into_pair(self) -> (Ref<TimerHead>, Ref<TimerHead>) {
        // SAFETY: R1: the record counts two references, and this is the only place that makes them.
        // This value is not dropped.
        unsafe { Ref::pair_from_raw(ManuallyDrop::new(self).0) }
    }

    /// Records the core that will have the timer on its wheel, and whether the target's list will
    /// have it. Then publishes the timer under its reference if that has not happened yet.
    #[inline]
    pub fn settle(self, core: usize, watched: bool) -> Settled {
        let (wheel, starter) = self.into_pair();
        starter.core.store(core, Ordering::Relaxed);
        starter.watched.store(watched, Ordering::Relaxed);
        // R2: the wheel's reference is the word's now. If the timer was cancelled in transit, it is
        // the canceller's already.
        let wheel = wheel.into_raw();
        if !starter.prepared {
            starter.slot.begin(wheel, starter.due, starter.name, true);
        } else if !starter.slot.arm(starter.name) {
            return Settled::Cancelled(StarterShare(starter));
        }
        let listed = watched.then(|| TargetShare(starter.share()));
        Settled::Armed(ToWheel(Live(wheel)), StarterShare(starter), listed)
    }

    /// Ends a timer that was never started, with its message. The destructor is foreign code and
    /// may panic.
    #[cold]
    #[inline(never)]
    pub fn abandon(self, pool: Option<&Pool>) {
        let (wheel, starter) = self.into_pair();
        if starter.prepared && !starter.slot.release(starter.name) {
            // Cancelled in transit: the canceller has the wheel's reference and the message.
            let _the_cancellers = ManuallyDrop::new(wheel);
        } else {
            // The timer has neither fired nor been cancelled, and never will.
            TimerMessage(wheel.into_raw()).release(pool);
        }
        starter.release(pool);
    }
}

impl Deref for NewTimer {
    type Target = TimerHead;

    #[inline(always)]
    fn deref(&self) -> &TimerHead {
        // SAFETY: R1: this value has references, which keep the record live.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for NewTimer {
    fn drop(&mut self) {
        Self(self.0).abandon(None);
    }
}

/// A pointer to a timer that is live by R2, for the four types below.
#[derive(Debug)]
struct Live(NonNull<TimerHead>);

// SAFETY: the records of timers may be shared, and their messages are Send.
unsafe impl Send for Live {}

impl Live {
    /// Returns the timer's node on the wheel.
    fn node(&self) -> NonNull<TimerNode> {
        // SAFETY: R2: the record is live.
        unsafe { TimerNode::of(self.0) }
    }

    /// Makes the wheel's reference.
    ///
    /// # Safety
    /// The caller has it (S2), and makes it once.
    unsafe fn into_ref(self) -> Ref<TimerHead> {
        // SAFETY: the caller has the reference (this function's contract).
        unsafe { Ref::from_raw(self.0) }
    }
}

impl Deref for Live {
    type Target = TimerHead;

    fn deref(&self) -> &TimerHead {
        // SAFETY: R2: the record is live.
        unsafe { self.0.as_ref() }
    }
}

/// A timer on its way to its wheel, or just off it (R2).
#[derive(Debug)]
#[must_use = "the timer must be put on the wheel"]
pub struct ToWheel(Live);

impl ToWheel {
    /// Returns the timer of a node that its wheel's owner has.
    ///
    /// # Safety
    /// The node is a timer's, and is on its way to the wheel, or was taken off it just now. The
    /// caller has the wheel.
    pub(crate) unsafe fn of(node: NonNull<TimerNode>) -> Self {
        // SAFETY: only timers' nodes are on the kernel's wheels (this function's contract).
        Self(Live(unsafe { TimerNode::record(node) }))
    }

    /// Returns the timer's node on the wheel.
    pub(crate) fn node(&self) -> NonNull<TimerNode> {
        self.0.node()
    }

    /// Returns `true` if the timer was cancelled before it arrived (`core_local`, H4).
    pub(crate) fn is_refused(&self) -> bool {
        self.wheel.is_refused()
    }

    /// (1) Decides that a timer that was taken off the wheel fires. Returns `None` if it was
    /// cancelled: the canceller deals with the wheel's reference. Wait-free.
    pub fn fire<S: Steps>(self) -> Option<TimerMessage> {
        // S2: this exchange fires the timer.
        let fires = self.slot.fire(self.name) || !S::ASKS;
        // Not `then_some`: a value that is made and dropped would drop the message.
        fires.then(|| TimerMessage(self.0.0))
    }

    /// (2) Decides that a timer that was taken off the wheel is cancelled.
    pub(crate) fn cancel(self) -> Option<CancelledTimer> {
        // S2: this exchange cancels the timer.
        if self.slot.cancel(self.name) { Some(CancelledTimer(self.0)) } else { None }
    }

    /// Releases the wheel's reference to a timer that was cancelled before it arrived
    /// (`core_local`, H4).
    ///
    /// # Safety
    /// The timer is refused ([`TimerNode::refuse`]), and never was on a wheel.
    pub(crate) unsafe fn release(self, pool: Option<&Pool>) {
        // SAFETY: H4: the canceller has left the wheel's reference to this call.
        unsafe { self.0.into_ref() }.release(pool);
    }
}

impl Deref for ToWheel {
    type Target = TimerHead;

    fn deref(&self) -> &TimerHead {
        &self.0
    }
}

/// A timer that was cancelled while it was on a wheel, or on its way there, with its message and
/// the wheel's reference.
#[derive(Debug)]
#[must_use = "the timer must be taken off its wheel"]
pub struct CancelledTimer(Live);

impl CancelledTimer {
    /// Returns the timer of a slot.
    ///
    /// # Safety
    /// The caller has cancelled the timer, which was ARMED, by the exchange of its word, just now
    /// (S2).
    pub(super) unsafe fn of(timer: NonNull<TimerHead>) -> Self {
        Self(Live(timer))
    }

    /// Drops the message. The destructor is foreign code and may panic; `call` runs it.
    pub(crate) fn drop_message(self, call: impl FnOnce(&mut dyn FnMut())) -> CancelledShare {
        if let Some(drop_value) = self.drop_value {
            let mut message = Some(self.0.0);
            // SAFETY: S2: the canceller owns the value, which is dropped once.
            call(&mut || message.take().into_iter().for_each(|timer| unsafe { drop_value(timer) }));
        }
        CancelledShare(self.0)
    }
}

impl Deref for CancelledTimer {
    type Target = TimerHead;

    fn deref(&self) -> &TimerHead {
        &self.0
    }
}

/// The wheel's reference to a cancelled timer. Only the party that has the wheel releases it, so it
/// is not released when it is dropped.
#[derive(Debug)]
#[must_use = "the timer must be taken off its wheel"]
pub struct CancelledShare(Live);

impl CancelledShare {
    /// Returns `true` if the timer is on its wheel. Exact for the party that has the wheel.
    pub(crate) fn is_on_wheel(&self) -> bool {
        self.wheel.is_on_wheel()
    }

    /// Returns `true` if the timer has ever been put on its wheel. Exact for the party that has the
    /// wheel.
    pub(crate) fn was_put(&self) -> bool {
        self.wheel.was_put()
    }

    /// Marks the timer, which has not arrived at its wheel, as refused, and leaves the wheel's
    /// reference with it (`core_local`, H4). For the party that has the wheel.
    pub(crate) fn refuse(self) {
        self.wheel.refuse();
    }

    /// Returns the timer's node on the wheel.
    pub(crate) fn node(&self) -> NonNull<TimerNode> {
        self.0.node()
    }

    /// Releases the wheel's reference.
    ///
    /// # Safety
    /// The timer is off its wheel for good, and its node is not used again.
    pub(crate) unsafe fn release(self, pool: Option<&Pool>) {
        // SAFETY: S2: the canceller has the wheel's reference.
        unsafe { self.0.into_ref() }.release(pool);
    }
}

impl Deref for CancelledShare {
    type Target = TimerHead;

    fn deref(&self) -> &TimerHead {
        &self.0
    }
}

// SAFETY: E1: S1, a timer is cancelled once. E2: R2.
unsafe impl Handle for CancelledShare {
    type Record = TimerHead;

    fn into_raw(self) -> NonNull<TimerHead> {
        self.0.0
    }

    unsafe fn from_raw(record: NonNull<TimerHead>) -> Self {
        Self(Live(record))
    }
}

/// The starter's reference, in its set.
#[derive(Debug)]
pub struct StarterShare(Ref<TimerHead>);

impl StarterShare {
    /// Releases the reference. Wait-free.
    pub fn release(self, pool: Option<&Pool>) {
        self.0.release(pool);
    }
}

impl Deref for StarterShare {
    type Target = Ref<TimerHead>;

    fn deref(&self) -> &Ref<TimerHead> {
        &self.0
    }
}

// SAFETY: E1: R1. E2: the reference keeps the record live.
unsafe impl Handle for StarterShare {
    type Record = TimerHead;

    fn into_raw(self) -> NonNull<TimerHead> {
        self.0.into_raw()
    }

    unsafe fn from_raw(record: NonNull<TimerHead>) -> Self {
        // SAFETY: the pointer came from `into_raw`, with the reference (this function's contract).
        Self(unsafe { Ref::from_raw(record) })
    }
}

/// The reference that the target's list of watchers has.
#[derive(Debug)]
pub struct TargetShare(Ref<TimerHead>);

impl TargetShare {
    /// Converts the reference into the entry of the target's list.
    pub(super) fn into_entry(self) -> NonNull<WatcherEntry> {
        self.0.into_field()
    }

    /// Converts an entry back.
    ///
    /// # Safety
    /// The entry came from [`TargetShare::into_entry`], with the reference.
    pub(super) unsafe fn of_entry(entry: NonNull<WatcherEntry>) -> Self {
        // SAFETY: `into_entry` made the pointer, with the reference (this function's contract).
        Self(unsafe { Ref::of_field(entry) })
    }

    /// Releases the reference. Wait-free.
    pub fn release(self, pool: Option<&Pool>) {
        self.0.release(pool);
    }
}

impl Deref for TargetShare {
    type Target = Ref<TimerHead>;

    fn deref(&self) -> &Ref<TimerHead> {
        &self.0
    }
}

/// The message of a timer that has fired, or that was cancelled before it reached its wheel, with
/// the reference that was the wheel's (S2). Dropping it drops the message.
#[derive(Debug)]
#[must_use = "the message must be sent or dropped"]
pub struct TimerMessage(NonNull<TimerHead>);

// SAFETY: the records of timers may be shared, and their messages are Send.
unsafe impl Send for TimerMessage {}

impl TimerMessage {
    /// Returns the message of a timer.
    ///
    /// # Safety
    /// The caller has decided the timer's outcome by the exchange of its word, just now (S2). The
    /// timer is on no wheel.
    pub(crate) unsafe fn of(timer: NonNull<TimerHead>) -> Self {
        Self(timer)
    }

    /// Converts the message into the signal's node.
    pub(crate) fn into_node(self) -> HeldNode {
        // SAFETY: H1, S2: this value has the node, which is in no queue, and the reference goes
        // with it.
        unsafe { HeldNode::from_raw(self.into_ref().into_field()) }
    }

    /// Converts a signal that was received back. A timer's node travels only when it has fired
    /// (S2).
    pub(crate) fn of_signal(signal: Held<TimerHead>) -> Self {
        Self(signal.into_raw())
    }

    /// Takes the message out, and releases the reference.
    ///
    /// # Safety
    /// The timer has a message, which is an `M`.
    pub(crate) unsafe fn open<M>(self, pool: Option<&Pool>) -> M {
        let timer = self.into_ref();
        // SAFETY: S2: this value owned the message, which is an `M` (this function's contract).
        let value = unsafe { value_of::<M>(timer.as_ptr()).read() };
        timer.release(pool);
        value
    }

    /// Drops the message and releases the reference. The destructor is foreign code and may panic;
    /// the reference is released all the same.
    pub fn release(self, pool: Option<&Pool>) {
        let timer = self.into_ref();
        if let Some(drop_value) = timer.drop_value {
            // SAFETY: S2: this value owned the message, which is dropped here, once.
            unsafe { drop_value(timer.as_ptr()) };
        }
        timer.release(pool);
    }

    fn into_ref(self) -> Ref<TimerHead> {
        // SAFETY: S2: this value has the reference, and is not dropped.
        unsafe { Ref::from_raw(ManuallyDrop::new(self).0) }
    }
}

impl Deref for TimerMessage {
    type Target = TimerHead;

    fn deref(&self) -> &TimerHead {
        // SAFETY: S2: this value's reference keeps the record live.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for TimerMessage {
    fn drop(&mut self) {
        Self(self.0).release(None);
    }
}

// SAFETY: E1: S1, a timer fires once. E2: the reference keeps the record live.
unsafe impl Handle for TimerMessage {
    type Record = TimerHead;

    fn into_raw(self) -> NonNull<TimerHead> {
        self.into_ref().into_raw()
    }

    unsafe fn from_raw(record: NonNull<TimerHead>) -> Self {
        Self(record)
    }
}

/// Borrows the message of a fetched timer.
///
/// # Safety
/// The caller holds the node of this timer, whose message is an `M`.
pub(crate) unsafe fn peek<'a, M>(timer: NonNull<TimerHead>) -> &'a M {
    // SAFETY: S2, the timer fired, so the node's holder owns the value.
    unsafe { &*value_of::<M>(timer) }
}
