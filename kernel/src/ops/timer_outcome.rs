//! The outcome of a timer (`process::timer_record`): it fires (1), is cancelled (2), is received
//! (3).

use crate::intrusive::counted::Ref;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel_ptr::KernelPtr;
use crate::ops::relations::watch_was_cancelled;
use crate::pid::{Pid, Reference};
use crate::process::timer_record::{CancelledTimer, Steps, Target, TargetShare, TimerHead, TimerMessage};
use crate::process::timer_slot::CancelledFrom;
use crate::shipped::Shipped;

/// Tells a process that its list of watchers has a record that is no longer pending. Without this,
/// a long-lived process that gets many messages by timer would keep all their records.
#[inline(never)]
fn uncount_watch(listed: Pid, kernel_cx: &KernelCx<'_>) {
    if let Some(process) = kernel_cx.find(listed) {
        watch_was_cancelled(process, kernel_cx);
    }
}

/// Sends the message or alarm of a timer that has fired to its target. Lock-free.
pub fn deliver(timer: TimerMessage, kernel_cx: &KernelCx<'_>) {
    let listed = timer.listed();
    let process = match timer.target() {
        Target::Pid(pid) => kernel_cx.find(pid),
        Target::Name(entry) => entry.holder(kernel_cx.guard),
    };
    let suits = process.filter(|process| timer.suits(process.vtable.takes));
    let node = timer.into_node();
    let refused = match suits {
        Some(process) => kernel_cx.push(process, node).err(),
        None => Some(node),
    };
    if let Some(refused) = refused {
        kernel_cx.release(refused);
    }
    if let Some(listed) = listed {
        uncount_watch(listed, kernel_cx);
    }
}

/// (2) Cancels a timer. Returns `true` if it was still pending. Lock-free.
#[inline]
pub fn cancel(timer: &Ref<TimerHead>, kernel_cx: &KernelCx<'_>) -> bool {
    let Some(cancelled) = timer.cancel() else { return false };
    end(cancelled, kernel_cx);
    true
}

/// (2) Ends a timer because its target died.
pub fn target_died(timer: TargetShare, kernel_cx: &KernelCx<'_>) {
    if let Some(cancelled) = timer.cancel() {
        take_off(cancelled, kernel_cx);
    }
    timer.release(kernel_cx.pool());
}

/// Finishes the cancellation of a timer that is on a wheel.
#[inline]
pub fn end(timer: CancelledTimer, kernel_cx: &KernelCx<'_>) {
    // Read first: the wheel's reference may be the last.
    let listed = timer.listed();
    take_off(timer, kernel_cx);
    if let Some(listed) = listed {
        uncount_watch(listed, kernel_cx);
    }
}

/// Drops the message of a cancelled timer, and has its wheel's core take it off.
#[inline]
fn take_off(timer: CancelledTimer, kernel_cx: &KernelCx<'_>) {
    let share = timer.drop_message(|drop_message| catch_panic(drop_message, kernel_cx));
    match kernel_cx.core {
        Some(core) if core.id() == share.core() => core.remove_timer(kernel_cx.kernel, share),
        _ => kernel_cx.kernel.timer_cancelled(share),
    }
}

/// Drops a message. Out of line: most timers are alarms, or have messages without a destructor.
#[inline(never)]
fn catch_panic(drop_message: &mut dyn FnMut(), kernel_cx: &KernelCx<'_>) {
    kernel_cx.catch_panic(drop_message);
}

/// (2) Cancels the kernel's timer that `reference` names. Returns its due time if it was pending.
/// Any thread may call it, without a reference to the record. Lock-free.
pub fn cancel_named(reference: Reference, kernel_cx: &KernelCx<'_>) -> Option<u64> {
    cancel_named_by::<Shipped>(reference, kernel_cx)
}

/// Does the same as [`cancel_named`], with the steps `S`.
pub fn cancel_named_by<S: Steps>(reference: Reference, kernel_cx: &KernelCx<'_>) -> Option<u64> {
    match kernel_cx.kernel.references.timers.cancel::<S>(reference, KernelPtr::of(kernel_cx.kernel))? {
        CancelledFrom::Wheel(timer) => {
            let due = timer.due;
            end(timer, kernel_cx);
            Some(due)
        }
        CancelledFrom::Transit(message) => {
            // The timer is on no wheel and on no list.
            let due = message.due;
            kernel_cx.catch_panic(|| message.release(kernel_cx.pool()));
            Some(due)
        }
    }
}

/// Returns the due time of the kernel's timer that `reference` names, if it is pending. Any thread
/// may call it. Wait-free.
pub fn read_named(reference: Reference, kernel_cx: &KernelCx<'_>) -> Option<u64> {
    read_named_by::<Shipped>(reference, kernel_cx)
}

/// Does the same as [`read_named`], with the steps `S`.
pub fn read_named_by<S: Steps>(reference: Reference, kernel_cx: &KernelCx<'_>) -> Option<u64> {
    kernel_cx.kernel.references.timers.read::<S>(reference, KernelPtr::of(kernel_cx.kernel))
}
