//! The outcome of a timer (`process::timer_record`): it fires (1), is cancelled (2), is received
//! (3).

use core::ptr::{self, NonNull};

use crate::kernel::kernel_cx::KernelCx;
use crate::kernel_ptr::KernelPtr;
use crate::memory::pool::Pool;
use crate::ops::relations::watch_was_cancelled;
use crate::pid::{Pid, Reference};
use crate::process::timer_record::{GivesUp, Shipped, Steps, Target, TimerHead, value_of};
use crate::process::timer_slot::Was;
use crate::signal::node::Node;

/// Tells a process that its list of watchers has a record that is no longer pending. Without this,
/// a long-lived process that gets many messages by timer would keep all their records.
fn uncount_watch(listed: Option<Pid>, kernel_cx: &KernelCx<'_>) {
    if let Some(process) = listed.and_then(|pid| kernel_cx.find(pid)) {
        watch_was_cancelled(process, kernel_cx);
    }
}

impl TimerHead {
    /// (1) Fires a timer that is due. Consumes the wheel's reference. Lock-free.
    ///
    /// # Safety
    /// The caller is the wheel's core and has just taken the timer off.
    pub unsafe fn fire(this: NonNull<Self>, kernel_cx: &KernelCx<'_>) {
        // SAFETY: the caller is the wheel's core and has just taken the timer off (this function's
        // contract).
        unsafe { Self::fire_by::<Shipped>(this, kernel_cx) }
    }

    /// Does the same as [`TimerHead::fire`], with the steps `S`.
    ///
    /// # Safety
    /// The caller is the wheel's core and has just taken the timer off.
    pub unsafe fn fire_by<S: Steps>(this: NonNull<Self>, kernel_cx: &KernelCx<'_>) {
        // SAFETY: the caller is the wheel's core and has just taken the timer off (this function's
        // contract).
        let fired = unsafe { Self::claim(this) };
        if S::ASKS && !fired {
            // Another core cancelled it: the wheel's reference arrives on the stack of cancelled
            // timers.
            return;
        }
        // SAFETY: S2, `claim` gave us the wheel's reference.
        unsafe { Self::deliver(this, kernel_cx) }
    }

    /// The first half of [`TimerHead::fire`]: decides that the timer fires. Returns `false` if it
    /// was cancelled. The canceller then releases the wheel's reference, so the timer may be gone
    /// when this returns. Wait-free.
    ///
    /// # Safety
    /// The caller has the wheel, and has just taken the timer off.
    pub unsafe fn claim(this: NonNull<Self>) -> bool {
        // SAFETY: only the party that has the wheel releases the wheel's reference, so the record
        // is live.
        let timer = unsafe { this.as_ref() };
        timer.slot().fire(timer.name)
    }

    /// The second half of [`TimerHead::fire`]: sends the message or alarm to its target. Lock-free.
    ///
    /// # Safety
    /// The caller has claimed the timer, and does not use it again.
    pub unsafe fn deliver(this: NonNull<Self>, kernel_cx: &KernelCx<'_>) {
        // SAFETY: S2, the caller has claimed the timer, so it has the wheel's reference.
        let timer = unsafe { this.as_ref() };
        let listed = timer.listed();
        let process = match timer.target {
            Target::Pid(pid) => kernel_cx.find(pid),
            // SAFETY: entries live as long as the kernel.
            Target::Name(entry) => unsafe { entry.as_ref() }.holder(kernel_cx.guard),
        };
        let node = this.cast::<Node>();
        if let Some(process) = process
            && timer.takes.is_none_or(|takes| takes == process.vtable.takes)
        {
            // SAFETY: S2, the thread that fires the timer owns the node, and its reference goes
            // with it.
            if unsafe { kernel_cx.push(process, node) } {
                return uncount_watch(listed, kernel_cx);
            }
        }
        // SAFETY: the node was not delivered, so we still own it.
        unsafe { kernel_cx.release(node) };
        uncount_watch(listed, kernel_cx);
    }

    /// Returns the process that has the timer on its list of watchers, if any.
    fn listed(&self) -> Option<Pid> {
        match self.target {
            Target::Pid(pid) if self.watched => Some(pid),
            _ => None,
        }
    }

    /// (2) Cancels the timer. Returns `true` if it was still pending. Lock-free.
    ///
    /// # Safety
    /// The caller has a reference: one of its own, or, when its core ends, the wheel's, which this
    /// call consumes.
    pub unsafe fn cancel(this: NonNull<Self>, kernel_cx: &KernelCx<'_>) -> bool {
        // Read first: the wheel's reference may be the last.
        // SAFETY: the caller has a reference to the record (this function's contract).
        let listed = unsafe { this.as_ref() }.listed();
        // SAFETY: the caller has a reference to the record (this function's contract).
        let ended = unsafe { Self::end(this, kernel_cx) };
        if ended {
            uncount_watch(listed, kernel_cx);
        }
        ended
    }

    /// (2) Ends the timer because its target died. Consumes the reference of the target's list.
    ///
    /// # Safety
    /// The caller has that reference, and does not use the record again.
    pub(crate) unsafe fn target_died(this: NonNull<Self>, kernel_cx: &KernelCx<'_>) {
        // SAFETY: the list's reference keeps the record live.
        unsafe { Self::end(this, kernel_cx) };
        // SAFETY: the caller passes the list's reference, and we do not use the record again.
        unsafe { Self::release(this, kernel_cx.pool()) };
    }

    /// Does the same as [`TimerHead::cancel`], without updating the target's list.
    ///
    /// # Safety
    /// The caller has a reference, which it keeps.
    pub(crate) unsafe fn end(this: NonNull<Self>, kernel_cx: &KernelCx<'_>) -> bool {
        // SAFETY: the caller has a reference, so the record is live.
        let timer = unsafe { this.as_ref() };
        if !timer.slot().cancel(timer.name) {
            return false;
        }
        // SAFETY: S2, this call has cancelled an armed timer, so the message and the wheel's
        // reference are ours.
        unsafe { Self::cancelled(this, kernel_cx) };
        true
    }

    /// Finishes the cancellation of a timer that is on a wheel: drops its message, and has its
    /// wheel's core take it off.
    ///
    /// # Safety
    /// The caller has cancelled the timer, so it has the message and the wheel's reference, which
    /// this call consumes.
    #[inline]
    unsafe fn cancelled(this: NonNull<Self>, kernel_cx: &KernelCx<'_>) {
        // SAFETY: S2, the wheel's reference keeps the record live.
        let timer = unsafe { this.as_ref() };
        if let Some(drop_value) = timer.drop_value {
            // SAFETY: S2, the canceller owns the value.
            unsafe { Self::drop_message(this, drop_value, kernel_cx) };
        }
        match kernel_cx.core {
            // SAFETY: the timer is cancelled, so it stays on its wheel until its core, which is
            // this one, takes it off.
            Some(core) if core.id() == timer.core => unsafe { core.remove_timer(kernel_cx.kernel, this) },
            // SAFETY: S2, the canceller has the wheel's reference, which goes with the record.
            _ => unsafe { kernel_cx.kernel.timer_cancelled(this) },
        }
    }

    /// Drops a message that no process receives, and catches a panic of its destructor.
    ///
    /// # Safety
    /// The caller owns the value, which `drop_value` drops, and calls this once.
    #[inline(never)]
    unsafe fn drop_message(this: NonNull<Self>, drop_value: unsafe fn(NonNull<Self>), kernel_cx: &KernelCx<'_>) {
        // SAFETY: the caller owns the value (this function's contract).
        kernel_cx.catch_panic(|| unsafe { drop_value(this) });
    }

    /// (2) Cancels the kernel's timer that `reference` names. Returns its due time if it was
    /// pending. Any thread may call it, without a reference to the record. Lock-free.
    pub fn cancel_named(reference: Reference, kernel_cx: &KernelCx<'_>) -> Option<u64> {
        Self::cancel_named_by::<Shipped>(reference, kernel_cx)
    }

    /// Does the same as [`TimerHead::cancel_named`], with the steps `S`.
    pub fn cancel_named_by<S: Steps>(reference: Reference, kernel_cx: &KernelCx<'_>) -> Option<u64> {
        let (this, was) = kernel_cx.kernel.references.timers.cancel::<S>(reference, KernelPtr::of(kernel_cx.kernel))?;
        // SAFETY: S2, the canceller has the wheel's reference.
        let timer = unsafe { this.as_ref() };
        let due = timer.due;
        match was {
            Was::Armed => {
                let listed = timer.listed();
                // SAFETY: S2, this call has cancelled an armed timer, so the message and the
                // wheel's reference are ours.
                unsafe { Self::cancelled(this, kernel_cx) };
                uncount_watch(listed, kernel_cx);
            }
            Was::Prepared => {
                // The timer is on no wheel and on no list. Its message ends here, and the party
                // that has it in transit releases the other reference.
                let _share = GivesUp { timer: this, pool: kernel_cx.pool(), shares: 1 };
                if let Some(drop_value) = timer.drop_value {
                    // SAFETY: S2, the canceller owns the value.
                    unsafe { Self::drop_message(this, drop_value, kernel_cx) };
                }
            }
        }
        Some(due)
    }

    /// Returns the due time of the kernel's timer that `reference` names, if it is pending. Any
    /// thread may call it. Wait-free.
    pub fn read_named(reference: Reference, kernel_cx: &KernelCx<'_>) -> Option<u64> {
        Self::read_named_by::<Shipped>(reference, kernel_cx)
    }

    /// Does the same as [`TimerHead::read_named`], with the steps `S`.
    pub fn read_named_by<S: Steps>(reference: Reference, kernel_cx: &KernelCx<'_>) -> Option<u64> {
        kernel_cx.kernel.references.timers.read::<S>(reference, KernelPtr::of(kernel_cx.kernel))
    }

    /// (3) Takes the message of a fetched timer and releases the signal's reference.
    ///
    /// # Safety
    /// The caller fetched the node of this timer with an `M`, and does not use it again.
    pub unsafe fn open<M>(this: NonNull<Self>, pool: Option<&Pool>) -> M {
        // SAFETY: S2, the timer fired, so the node's holder owns the value.
        let value = unsafe { ptr::read(value_of::<M>(this)) };
        // SAFETY: the caller has the signal's reference, and does not use the record again.
        unsafe { Self::release(this, pool) };
        value
    }

    /// Borrows the message of a fetched timer.
    ///
    /// # Safety
    /// The caller holds the node of this timer with an `M`.
    pub unsafe fn peek<'a, M>(this: NonNull<Self>) -> &'a M {
        // SAFETY: S2, the timer fired, so the node's holder owns the value.
        unsafe { &*value_of::<M>(this) }
    }
}
