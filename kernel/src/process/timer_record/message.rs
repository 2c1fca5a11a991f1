//! [`TimerMessage`], the message of a timer that has fired.

use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

use super::{TimerHead, value_of};
use crate::intrusive::counted::Ref;
use crate::intrusive::handle::Handle;
use crate::memory::pool::Pool;
use crate::signal::held::{Held, HeldNode};

/// The message of a timer that has fired, or that was cancelled before it reached its wheel, with
/// the reference that was the wheel's (S2). Dropping it drops the message.
#[derive(Debug)]
#[must_use = "the message must be sent or dropped"]
pub struct TimerMessage(pub(super) NonNull<TimerHead>);

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
