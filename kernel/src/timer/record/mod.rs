//! Timers: a message, or an alarm, that comes when its time has come.
//!
//! One record, and one word, which lies in the timer's slot (`slot`), where everybody finds it by the timer's reference:
//!
//! ```text
//! ARMED ── wheel: fire (1) ──▶ FIRED ── fetched by the target (3)
//!   └── cancel, or the target's death (2) ──▶ CANCELLED
//! ```
//!
//! Whoever wins (1) or (2) owns the message: it sends it or drops it. The message was
//! allocated when the timer was started, so firing allocates nothing.
//!
//! Shares: the wheel's (which becomes the signal's when it fires, and the canceller's when it is cancelled), the starter's (in the
//! starter's set, by reference), and, when the target is another process, the target's
//! (on its list of watchers, so that the timer ends with it). The slot is given back with the last of them.
//!
//! The wheel is its core's. A timer that is cancelled elsewhere goes on that core's stack
//! of cancelled timers (`sched`), with the wheel's share, and the core takes it off.

mod outcome;

use core::any::TypeId;
use core::mem::{MaybeUninit, needs_drop, offset_of};
use core::ptr::NonNull;

use crate::hand::KernelCx;
use crate::kernel::Kernel;
use crate::list::{Linked, Links};
use crate::memory::pool::{self, Pool};
use crate::monitor::MonitorTarget;
use crate::name::NameEntry;
use crate::pid::{Pid, Reference};
use crate::reason::Reason;
use crate::set::{SetLinks, Member};
use crate::shares::RefCount;
use crate::signal::node::{BudgetPermit, SignalKind, Node};
use crate::sync::UnsafeCell;
use crate::timer::wheel::TimerNode;
use crate::watch::{WatcherEntry, WatchVtable};

use super::slot::{Name, Slot};
pub use super::slot::{Shipped, Steps};

/// Whom a timer is for.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// A process.
    Pid(Pid),
    /// Whoever has the name when it is due.
    Name(NonNull<NameEntry>),
}

/// Why a timer could not be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TimerError {
    /// The core has as many timers as the limit allows.
    TooMany,
    /// The target takes no messages of this type.
    WrongType,
    /// There is no memory for it.
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

/// A timer without its message. `repr(C)`: the node comes first, and what is touched when it fires lies together: many timers
/// are out of all caches by then.
#[derive(Debug)]
#[repr(C)]
pub struct TimerHead {
    node: Node,
    wheel: TimerNode,
    shares: RefCount,
    slot: NonNull<Slot>,
    /// Whether the message comes as `Received::Timer` rather than as a plain message.
    pub labelled: bool,
    /// Whether it is on another process's list of watchers.
    pub watched: bool,
    target: Target,
    takes: Option<TypeId>,
    joint: SetLinks<TimerHead>,
    free: unsafe fn(NonNull<TimerHead>, Option<&Pool>),
    /// Its name.
    pub reference: Reference,
    /// The core whose wheel it is on, once it is ([`TimerHead::settle`]).
    pub core: usize,
    /// Its reference has led to it since before it was on a wheel.
    prepared: bool,
    /// When it is due, in nanoseconds.
    pub due: u64,
    /// `None` where that would do nothing.
    drop_value: Option<unsafe fn(NonNull<TimerHead>)>,
    /// Its place among those that were started for who ran elsewhere (`timer::start`).
    place: BudgetPermit,
    watch: WatcherEntry,
    cancelled: Links<TimerHead>,
}

/// A timer with its message.
#[repr(C)]
struct MessageTimer<M> {
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

const VTABLE: &WatchVtable = &WatchVtable { live, fire: target_died, release, watcher: |_| None, outside: false };

fn of_watch(watch: NonNull<WatcherEntry>) -> NonNull<TimerHead> {
    // SAFETY: the vtable is only given to the `watch` of a timer.
    unsafe { watch.byte_sub(offset_of!(TimerHead, watch)).cast() }
}

unsafe fn live(watch: NonNull<WatcherEntry>) -> bool {
    // SAFETY: the list has a share.
    unsafe { of_watch(watch).as_ref() }.is_armed()
}

unsafe fn target_died(watch: NonNull<WatcherEntry>, hand: &KernelCx<'_>, _reason: &Reason) {
    let timer = of_watch(watch);
    // SAFETY: the list has a share.
    unsafe { TimerHead::end(timer, hand) };
    // SAFETY: the caller gives the list's share.
    unsafe { TimerHead::give_up(timer, hand.pool()) };
}

unsafe fn release(watch: NonNull<WatcherEntry>, pool: Option<&Pool>) {
    // SAFETY: the caller gives the list's share.
    unsafe { TimerHead::give_up(of_watch(watch), pool) }
}

/// A timer that fired and that nobody receives.
unsafe fn release_fired(node: NonNull<Node>, pool: Option<&Pool>) {
    let timer = node.cast::<TimerHead>();
    // The share that travels with the node.
    let _share = GivesUp { timer, pool, shares: 1 };
    // SAFETY: the node's share keeps it.
    if let Some(drop_value) = unsafe { timer.as_ref() }.drop_value {
        // SAFETY: fired: the value is the node's holder's, and dropped once.
        unsafe { drop_value(timer) };
    }
}

/// Shares of a timer that its holder gives up when it is done with the message, also when the message's destructor, which
/// is foreign, panics.
struct GivesUp<'a> {
    timer: NonNull<TimerHead>,
    pool: Option<&'a Pool>,
    shares: usize,
}

impl Drop for GivesUp<'_> {
    fn drop(&mut self) {
        for _share in 0..self.shares {
            // SAFETY: the holder's shares, and the record is not used again.
            unsafe { TimerHead::give_up(self.timer, self.pool) };
        }
    }
}

fn value_of<M>(timer: NonNull<TimerHead>) -> *mut M {
    // SAFETY: a message timer's head; no reference to the whole is made.
    let value = unsafe { &(*timer.cast::<MessageTimer<M>>().as_ptr()).value };
    value.with_mut(|value| value.cast())
}

/// A slot, and the name of the timer that begins there.
#[inline]
fn claim(hand: &KernelCx<'_>) -> Option<(NonNull<Slot>, Reference)> {
    let slot = hand.kernel.references.timers.claim(hand.kernel, hand.pool().map(|pool| &pool.timer_slots))?;
    // SAFETY: slots live as long as the kernel.
    let reference = unsafe { slot.as_ref() }.reference();
    reference.map(|reference| (slot, reference))
}

/// No timer has begun there.
#[cold]
fn unclaim(hand: &KernelCx<'_>, (slot, reference): (NonNull<Slot>, Reference)) {
    // SAFETY: claimed just now, of this kernel's slots, as are those of the hand's pool.
    unsafe { hand.kernel.references.timers.give_back(slot, Name::new(reference, true), hand.pool()) };
}

impl TimerHead {
    fn new(node: Node, target: Target, due: u64, (slot, reference): (NonNull<Slot>, Reference)) -> Self {
        unsafe fn free(timer: NonNull<TimerHead>, pool: Option<&Pool>) {
            // SAFETY: the last share of an alarm.
            unsafe { pool::drop_and_free(timer, pool) }
        }
        Self {
            node,
            watch: WatcherEntry::new(VTABLE),
            wheel: TimerNode::new(),
            joint: SetLinks::new(),
            cancelled: Links::new(),
            slot,
            shares: RefCount::new(2),
            labelled: false,
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

    /// An alarm for `process`, with the shares of the wheel and of the starter.
    pub fn try_alarm(hand: &KernelCx<'_>, process: Pid, due: u64) -> Result<NonNull<Self>, TimerError> {
        let node = hand.kernel.nodes.node(SignalKind::Alarm, release_fired).ok_or(TimerError::NoMemory)?;
        let place = claim(hand).ok_or(TimerError::NoMemory)?;
        let alarm = Self::new(node, Target::Pid(process), due, place);
        hand.try_new(alarm).map_err(|_| {
            unclaim(hand, place);
            TimerError::NoMemory
        })
    }

    /// A timer with a message, with the shares of the wheel and of the starter. `labelled`: see there.
    pub fn try_message<M: Send + 'static>(
        hand: &KernelCx<'_>,
        target: Target,
        due: u64,
        labelled: bool,
        value: M,
    ) -> Result<NonNull<Self>, TimerError> {
        unsafe fn drop_value<M>(timer: NonNull<TimerHead>) {
            // SAFETY: by the caller's right to the value, once.
            unsafe { value_of::<M>(timer).drop_in_place() };
        }
        unsafe fn free<M>(timer: NonNull<TimerHead>, pool: Option<&Pool>) {
            // SAFETY: the last share; the value is gone already, `MaybeUninit` drops nothing.
            unsafe { pool::drop_and_free(timer.cast::<MessageTimer<M>>(), pool) }
        }
        let node = hand.kernel.nodes.node(SignalKind::Timer, release_fired).ok_or(TimerError::NoMemory)?;
        let place = claim(hand).ok_or(TimerError::NoMemory)?;
        let head = Self {
            labelled,
            takes: Some(TypeId::of::<M>()),
            drop_value: if needs_drop::<M>() { Some(drop_value::<M>) } else { None },
            free: free::<M>,
            ..Self::new(node, target, due, place)
        };
        let timer = MessageTimer { head, value: UnsafeCell::new(MaybeUninit::new(value)) };
        match hand.try_new(timer) {
            Ok(timer) => Ok(timer.cast()),
            Err(timer) => {
                unclaim(hand, place);
                // SAFETY: never written elsewhere: whole.
                drop(unsafe { timer.value.into_inner().assume_init() });
                Err(TimerError::NoMemory)
            }
        }
    }

    /// It was made for a process that runs elsewhere, and is counted until it is gone. From now on its reference leads to it.
    ///
    /// # Safety
    /// Nobody else has the record yet.
    pub unsafe fn counted(this: NonNull<Self>, place: BudgetPermit) {
        // SAFETY: by contract ours alone.
        let timer = unsafe { &mut *this.as_ptr() };
        (timer.place, timer.prepared) = (place, true);
        timer.slot().begin(this, timer.due, timer.name(), false);
    }

    /// Says where it will be, on this core's wheel, and perhaps on its target's list; and has its reference lead to it, if it does not yet.
    /// False, and nothing more is to be done with the wheel's share, when it was cancelled on its way here.
    ///
    /// # Safety
    /// The caller has the wheel's share and the starter's, and nobody else reads what is said here before it is armed.
    #[must_use = "after `false` the wheel's share is the canceller's"]
    pub unsafe fn settle(this: NonNull<Self>, core: usize, watched: bool) -> bool {
        let timer = this.as_ptr();
        // SAFETY: by contract ours: a canceller looks at it only of what is armed.
        unsafe { (*timer).core = core };
        // SAFETY: likewise.
        unsafe { (*timer).watched = watched };
        // SAFETY: by the starter's share.
        let timer = unsafe { this.as_ref() };
        if timer.prepared {
            return timer.slot().arm(timer.name());
        }
        timer.slot().begin(this, timer.due, timer.name(), true);
        true
    }

    /// Gives up one that was never started, with its message. The destructor is foreign, and may panic.
    ///
    /// # Safety
    /// The caller has both shares, and does not use the record again.
    pub unsafe fn abandon(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the caller's, live.
        let timer = unsafe { this.as_ref() };
        let cancelled = timer.prepared && !timer.slot().give_up(timer.name());
        // The wheel's share is the canceller's then, and so is the message.
        let _shares = GivesUp { timer: this, pool, shares: if cancelled { 1 } else { 2 } };
        if let Some(drop_value) = timer.drop_value.filter(|_| !cancelled) {
            // SAFETY: it has neither fired nor been cancelled, and will not: dropped once.
            unsafe { drop_value(this) };
        }
    }

    /// Adds the share of the target's list, which `watch` puts there.
    pub fn share(this: NonNull<Self>) -> NonNull<WatcherEntry> {
        // SAFETY: live: the caller has a share.
        unsafe { this.as_ref() }.shares.add();
        // SAFETY: within the record.
        unsafe { this.byte_add(offset_of!(Self, watch)).cast() }
    }

    /// Its place on the wheel.
    pub fn wheel(this: NonNull<Self>) -> NonNull<TimerNode> {
        // SAFETY: within the record.
        unsafe { this.byte_add(offset_of!(Self, wheel)).cast() }
    }

    /// The timer of a place on a wheel.
    pub fn of_wheel(node: NonNull<TimerNode>) -> NonNull<Self> {
        // SAFETY: only timers' nodes are put on the kernel's wheels.
        unsafe { node.byte_sub(offset_of!(Self, wheel)).cast() }
    }

    /// Puts `next` behind a timer that is on no wheel, and whose wheel's share is the caller's alone ([`TimerHead::claim`]).
    pub(crate) fn chain(this: NonNull<Self>, next: *mut Self) {
        let next = NonNull::new(next).map_or(core::ptr::null_mut(), |next| Self::wheel(next).as_ptr());
        // SAFETY: live by that share.
        unsafe { Self::wheel(this).as_ref() }.set_next(next);
    }

    /// What [`TimerHead::chain`] has put behind it.
    pub(crate) fn chained(this: NonNull<Self>) -> *mut Self {
        // SAFETY: live by that share.
        let next = unsafe { Self::wheel(this).as_ref() }.next();
        NonNull::new(next).map_or(core::ptr::null_mut(), |next| Self::of_wheel(next).as_ptr())
    }

    /// Whether it is still to come.
    pub fn is_armed(&self) -> bool {
        self.slot().is_armed()
    }

    /// What it is called in there. An alarm's is its owner's own (`slot`, S4).
    fn name(&self) -> Name {
        Name::new(self.reference, self.takes.is_none())
    }

    /// Where anybody finds it.
    fn slot(&self) -> &Slot {
        // SAFETY: the record's own until its last share is given up; slots live as long as the kernel.
        unsafe { self.slot.as_ref() }
    }

    /// The kernel whose timer it is.
    pub(crate) fn kernel(&self) -> &Kernel {
        // SAFETY: it outlives its nodes (`Budget::node`), of which the record is one.
        unsafe { &*self.slot().kernel() }
    }

    /// Whom it is for.
    pub fn target(&self) -> Target {
        self.target
    }

    /// As the object of a list of timers.
    pub fn object(&self) -> MonitorTarget {
        match self.target {
            Target::Pid(pid) => MonitorTarget::Pid(pid),
            // SAFETY: entries live as long as the kernel.
            Target::Name(entry) => MonitorTarget::Name(unsafe { entry.as_ref() }.name.clone()),
        }
    }
}
