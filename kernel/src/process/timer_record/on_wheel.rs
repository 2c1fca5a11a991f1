//! The wheel's reference to a timer: on its way to the wheel and just off it ([`ToWheel`]), and
//! after the timer was cancelled ([`CancelledTimer`], [`CancelledShare`]).

use core::ops::Deref;
use core::ptr::NonNull;

use super::{TimerHead, TimerMessage};
use crate::intrusive::counted::Ref;
use crate::intrusive::handle::{Embedded, Handle};
use crate::memory::pool::Pool;
use crate::process::timer_slot::Steps;
use crate::timer::wheel::TimerNode;

impl Ref<TimerHead> {
    /// (2) Decides that the timer is cancelled. Returns `None` if it is not on a wheel, or ended
    /// before.
    pub(crate) fn cancel(&self) -> Option<CancelledTimer> {
        // S2: this exchange cancels an armed timer.
        self.slot.cancel(self.name).then(|| CancelledTimer(Live(self.as_ptr())))
    }
}

/// A pointer to a timer that is live by R2, for the four types below.
#[derive(Debug)]
pub(super) struct Live(pub(super) NonNull<TimerHead>);

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
pub struct ToWheel(pub(super) Live);

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
pub struct CancelledTimer(pub(super) Live);

impl CancelledTimer {
    /// Returns the timer of a slot.
    ///
    /// # Safety
    /// The caller has cancelled the timer, which was ARMED, by the exchange of its word, just now
    /// (S2).
    pub(in crate::process) unsafe fn of(timer: NonNull<TimerHead>) -> Self {
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
pub struct CancelledShare(pub(super) Live);

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
