//! Making, starting, reading and cancelling timers: a process's own timers, which it has in a set,
//! and any other timer by its reference (`process::timer_slot`).
//!
//! A timer is on the wheel of the core that starts it, which is the core that runs the process at
//! that moment. A running body has direct access to that core. A caller that acts for a process
//! elsewhere ([`crate::Caller`]) creates the record, with its due time, and sends it as an
//! operation for the process's owner. The core that handles this operation starts the timer.
//!
//! - **T1, new.** Until [`start`] marks the slot as armed, only the record's holder reads the
//!   fields that say where the timer will be. So [`start`] writes them without any ordering, and
//!   the slot's word publishes them. A timer in transit to its core may already be cancelled.
//! - **T2, capacity.** A body reserves capacity on the wheel before it creates a record. A caller
//!   that acts for the process cannot see the wheel. To reject the record on arrival would be too
//!   late, because its message would be dropped silently. So those timers have their own counter
//!   (`Kernel::timers_by_proxy`), which is checked before the record is created, and the wheel
//!   takes them whatever its length. Nothing here allocates but the set's index, and the set works
//!   without it.

use core::any::TypeId;
use core::ptr::NonNull;
use core::time::Duration;

use crate::kernel::core_local::CoreLocal;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel_ptr::KernelPtr;
use crate::pid::{Pid, Reference};
use crate::process::header::Header;
use crate::process::owned::OwnerState;
use crate::process::timer_record::{MessageTimer, Target, TimerError, TimerHead, release_fired};
use crate::process::timer_slot::{Name, Slot};
use crate::signal::node::SignalKind;
use crate::signal::target::SendTarget;

/// Returns the due time of a timer that starts now.
pub(crate) fn due(kernel_cx: &KernelCx<'_>, after: Duration) -> u64 {
    let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    kernel_cx.kernel.world().coarse_now().saturating_add(after)
}

/// Returns the target of a timer of `process`, if it takes messages `N`. The message type of a name
/// or of a dead process is unknown and passes.
pub(crate) fn target<N: 'static>(
    process: &Header,
    kernel_cx: &KernelCx<'_>,
    to: SendTarget<'_>,
) -> Result<Target, TimerError> {
    let (target, takes) = match to {
        SendTarget::Pid(pid) if pid == process.pid => (Target::Pid(pid), Some(process.vtable.takes)),
        SendTarget::Pid(pid) => (Target::Pid(pid), kernel_cx.find(pid).map(|other| other.vtable.takes)),
        SendTarget::Name(name) => {
            let entry = kernel_cx.kernel.names.intern(name).map_err(|_| TimerError::NoMemory)?;
            (Target::Name(NonNull::from(entry)), None)
        }
    };
    match takes {
        Some(takes) if takes != TypeId::of::<N>() => Err(TimerError::WrongType),
        _ => Ok(target),
    }
}

/// Puts a new timer on the core's wheel, into the process's set, and on its target's list if the
/// target is another process. A timer with a dead target ends here.
///
/// # Safety
/// The caller owns `process`, and runs on `core`, which is `kernel_cx`'s. The timer is new (T1),
/// and the caller has the references of wheel and starter.
pub(crate) unsafe fn start(timer: NonNull<TimerHead>, process: &Header, kernel_cx: &KernelCx<'_>, core: &CoreLocal) {
    // SAFETY: the caller has two references to the record, so it is live.
    let target = unsafe { timer.as_ref() }.target();
    let (other, is_another) = match target {
        Target::Pid(pid) if pid != process.pid => (kernel_cx.find(pid), true),
        _ => (None, false),
    };
    // SAFETY: T1, the timer is new, and the caller has the references of wheel and starter.
    if !unsafe { TimerHead::settle(timer, core.id(), other.is_some()) } {
        // The timer was cancelled in transit, and the canceller has the wheel's reference.
        // SAFETY: S2, the starter's reference is ours, and the record is not used again.
        return unsafe { TimerHead::release(timer, kernel_cx.pool()) };
    }
    // SAFETY: T1, the timer is new and on no wheel; the wheel's reference goes with it.
    unsafe { core.start(timer) };
    // SAFETY: the caller owns `process` (this function's contract).
    let private = unsafe { process.private() };
    if private.timers.needs_sweep() {
        private.sweep_timers(kernel_cx);
    }
    // SAFETY: T1, the timer is new and in no set; the starter's reference goes with it.
    unsafe { private.timers.insert(timer) };
    if let Some(other) = other {
        let watch = TimerHead::share(timer);
        // SAFETY: the record is on no list yet; the list's reference from `share` goes with it.
        if unsafe { other.watchers.push(watch) }.is_err() {
            // The target has just died, and its timer ends with it.
            // SAFETY: the reference from `share` is still ours and keeps the record live.
            unsafe { TimerHead::cancel(timer, kernel_cx) };
            // SAFETY: the list did not take the reference from `share`, and we do not use the
            // record again.
            unsafe { TimerHead::release(timer, kernel_cx.pool()) };
        }
    } else if is_another {
        // The target was already dead, so its timer ends.
        // SAFETY: the starter's reference, in the set of `process`, keeps the record live.
        unsafe { TimerHead::cancel(timer, kernel_cx) };
    }
}

/// Cancels a timer, of the owned process or not. Returns its due time if it was pending. O(1).
pub(crate) fn cancel(process: &Header, kernel_cx: &KernelCx<'_>, timer: Reference) -> Option<u64> {
    // SAFETY: the caller owns `process` and is its only user (this function's contract).
    let private = unsafe { process.private() };
    let Some(record) = private.timers.find(timer.to_raw()) else { return TimerHead::cancel_named(timer, kernel_cx) };
    // First out of the set, with its reference: the message's destructor is foreign code and may
    // re-enter this function.
    // SAFETY: `find` has just found the record in the set.
    unsafe { private.timers.remove(record) };
    // SAFETY: the set's reference is ours now and keeps the record live.
    let due = unsafe { record.as_ref() }.due;
    // SAFETY: the set's reference is ours now and keeps the record live.
    let in_time = unsafe { TimerHead::cancel(record, kernel_cx) };
    // SAFETY: the set's reference is ours, and we do not use the record again.
    unsafe { TimerHead::release(record, kernel_cx.pool()) };
    in_time.then_some(due)
}

/// Returns the due time of a timer, of the owned process or not, if it is pending. O(1).
pub(crate) fn read(process: &Header, kernel_cx: &KernelCx<'_>, timer: Reference) -> Option<u64> {
    // SAFETY: the caller owns `process` and is its only user (this function's contract).
    let record = unsafe { process.private() }.timers.find(timer.to_raw());
    let Some(record) = record else { return TimerHead::read_named(timer, kernel_cx) };
    // SAFETY: the record is in the set, whose reference keeps it live.
    let record = unsafe { record.as_ref() };
    record.is_armed().then_some(record.due)
}

/// Cancels any timer, from any thread. Returns the time that it had left, if it was pending. O(1),
/// lock-free.
pub(crate) fn cancel_named(kernel_cx: &KernelCx<'_>, timer: Reference) -> Option<Duration> {
    TimerHead::cancel_named(timer, kernel_cx).map(|due| left(kernel_cx, due))
}

/// Returns the time that any timer has left, if it is pending, from any thread. O(1), lock-free.
pub(crate) fn read_named(kernel_cx: &KernelCx<'_>, timer: Reference) -> Option<Duration> {
    TimerHead::read_named(timer, kernel_cx).map(|due| left(kernel_cx, due))
}

/// Returns the time left until `due`, which is never more than the timer was started with.
pub(crate) fn left(kernel_cx: &KernelCx<'_>, due: u64) -> Duration {
    let world = kernel_cx.kernel.world();
    Duration::from_nanos(due.saturating_sub(world.now()).saturating_sub(world.coarse_error_ns()))
}

/// Claims a slot and returns it with the reference of the timer that will use it.
#[inline]
fn claim(kernel_cx: &KernelCx<'_>) -> Option<(NonNull<Slot>, Reference)> {
    let slot = kernel_cx
        .kernel
        .references
        .timers
        .claim(KernelPtr::of(kernel_cx.kernel), kernel_cx.pool().map(|pool| &pool.timer_slots))?;
    // SAFETY: slots live as long as the kernel.
    let reference = unsafe { slot.as_ref() }.reference();
    reference.map(|reference| (slot, reference))
}

/// Gives back a slot that no timer has used.
#[cold]
fn unclaim(kernel_cx: &KernelCx<'_>, (slot, reference): (NonNull<Slot>, Reference)) {
    // SAFETY: the slot was claimed just now from this kernel's table, to which the pool belongs
    // too.
    unsafe { kernel_cx.kernel.references.timers.give_back(slot, Name::new(reference, true), kernel_cx.pool()) };
}

impl TimerHead {
    /// Creates an alarm for `process`, with the references of the wheel and of the starter.
    ///
    /// # Errors
    /// [`TimerError::NoMemory`] if no memory is left.
    pub fn try_alarm(kernel_cx: &KernelCx<'_>, process: Pid, due: u64) -> Result<NonNull<Self>, TimerError> {
        let node = kernel_cx.kernel.nodes.node(SignalKind::Alarm, release_fired).ok_or(TimerError::NoMemory)?;
        let place = claim(kernel_cx).ok_or(TimerError::NoMemory)?;
        let alarm = Self::new(node, Target::Pid(process), due, true, place);
        kernel_cx.try_new(alarm).map_err(|_| {
            unclaim(kernel_cx, place);
            TimerError::NoMemory
        })
    }

    /// Creates a timer with a message, with the references of the wheel and of the starter.
    /// `tagged`: see [`TimerHead::tagged`].
    ///
    /// # Errors
    /// [`TimerError::NoMemory`] if no memory is left.
    pub fn try_message<M: Send + 'static>(
        kernel_cx: &KernelCx<'_>,
        target: Target,
        due: u64,
        tagged: bool,
        value: M,
    ) -> Result<NonNull<Self>, TimerError> {
        let node = kernel_cx.kernel.nodes.node(SignalKind::Timer, release_fired).ok_or(TimerError::NoMemory)?;
        let place = claim(kernel_cx).ok_or(TimerError::NoMemory)?;
        let timer = MessageTimer::new(node, target, due, tagged, place, value);
        match kernel_cx.try_new(timer) {
            Ok(timer) => Ok(timer.cast()),
            Err(timer) => {
                unclaim(kernel_cx, place);
                drop(timer.into_message());
                Err(TimerError::NoMemory)
            }
        }
    }
}

impl OwnerState {
    /// Removes from the set the timers that have fired or were cancelled.
    fn sweep_timers(&mut self, kernel_cx: &KernelCx<'_>) {
        for timer in self.timers.iter() {
            // SAFETY: the record is in the set, whose reference keeps it live.
            if !unsafe { timer.as_ref() }.is_armed() {
                // SAFETY: the record that the iterator returned last may be removed.
                unsafe { self.timers.remove(timer) };
                // SAFETY: the set's reference is ours since `remove`, and the record is not used
                // again.
                unsafe { TimerHead::release(timer, kernel_cx.pool()) };
            }
        }
        self.timers.swept();
    }
}
