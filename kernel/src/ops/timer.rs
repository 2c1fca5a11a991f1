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
use core::time::Duration;

use crate::intrusive::record_set::Found;
use crate::kernel::core_local::CoreLocal;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel_ptr::KernelPtr;
use crate::memory::NoMemory;
use crate::memory::pool_box::PoolBox;
use crate::ops::timer_outcome;
use crate::pid::{Pid, Reference};
use crate::process::header::Header;
use crate::process::name::NameRef;
use crate::process::owned::{Owned, OwnerState};
use crate::process::relation::watcher::Watcher;
use crate::process::timer_record::{MessageTimer, NewTimer, Settled, Target, TimerError, TimerHead, release_fired};
use crate::process::timer_slot::SlotRef;
use crate::signal::node::{BudgetPermit, SignalKind};
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
            (Target::Name(NameRef::of(entry)), None)
        }
    };
    match takes {
        Some(takes) if takes != TypeId::of::<N>() => Err(TimerError::WrongType),
        _ => Ok(target),
    }
}

/// Puts a new timer on the core's wheel, into the process's set, and on its target's list if the
/// target is another process. A timer with a dead target ends here. The caller runs on `core`,
/// which is `kernel_cx`'s.
pub(crate) fn start(timer: NewTimer, owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, core: &CoreLocal) {
    let (other, is_another) = match timer.target() {
        Target::Pid(pid) if pid != owned.pid => (kernel_cx.find(pid), true),
        _ => (None, false),
    };
    let (wheel, starter, listed) = match timer.settle(core.id(), other.is_some()) {
        Settled::Armed(wheel, starter, listed) => (wheel, starter, listed),
        // The timer was cancelled in transit, and the canceller has the wheel's reference.
        Settled::Cancelled(starter) => return starter.release(kernel_cx.pool()),
    };
    core.start(wheel);
    if is_another && other.is_none() {
        // The target is already dead, so its timer ends.
        timer_outcome::cancel(&starter, kernel_cx);
        return starter.release(kernel_cx.pool());
    }
    owned.state(|state| {
        if state.timers.needs_sweep() {
            state.sweep_timers(kernel_cx);
        }
        state.timers.insert(starter);
    });
    if let (Some(other), Some(listed)) = (other, listed)
        && let Err(Watcher::Timer(refused)) = other.watchers.push(Watcher::Timer(listed))
    {
        // The target has just died, and its timer ends with it.
        timer_outcome::cancel(&refused, kernel_cx);
        refused.release(kernel_cx.pool());
    }
}

/// Cancels a timer, of the owned process or not. Returns its due time if it was pending. O(1).
pub(crate) fn cancel(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, timer: Reference) -> Option<u64> {
    // First out of the set, with its reference: the message's destructor is foreign code.
    let record = owned.state(|state| state.timers.find(timer.to_raw()).map(Found::remove));
    let Some(record) = record else { return timer_outcome::cancel_named(timer, kernel_cx) };
    let due = record.due;
    let in_time = timer_outcome::cancel(&record, kernel_cx);
    record.release(kernel_cx.pool());
    in_time.then_some(due)
}

/// Returns the due time of a timer, of the owned process or not, if it is pending. O(1).
pub(crate) fn read(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, timer: Reference) -> Option<u64> {
    let due = owned.state(|state| {
        let record = state.timers.find(timer.to_raw())?;
        Some(record.is_armed().then_some(record.due))
    });
    due.unwrap_or_else(|| timer_outcome::read_named(timer, kernel_cx))
}

/// Cancels any timer, from any thread. Returns the time that it had left, if it was pending. O(1),
/// lock-free.
pub(crate) fn cancel_named(kernel_cx: &KernelCx<'_>, timer: Reference) -> Option<Duration> {
    timer_outcome::cancel_named(timer, kernel_cx).map(|due| left(kernel_cx, due))
}

/// Returns the time that any timer has left, if it is pending, from any thread. O(1), lock-free.
pub(crate) fn read_named(kernel_cx: &KernelCx<'_>, timer: Reference) -> Option<Duration> {
    timer_outcome::read_named(timer, kernel_cx).map(|due| left(kernel_cx, due))
}

/// Returns the time left until `due`, which is never more than the timer was started with.
pub(crate) fn left(kernel_cx: &KernelCx<'_>, due: u64) -> Duration {
    let world = kernel_cx.kernel.world();
    Duration::from_nanos(due.saturating_sub(world.now()).saturating_sub(world.coarse_error_ns()))
}

/// Claims a slot and returns it with the reference of the timer that will use it.
#[inline]
fn claim(kernel_cx: &KernelCx<'_>) -> Option<(SlotRef, Reference)> {
    let slot = kernel_cx
        .kernel
        .references
        .timers
        .claim(KernelPtr::of(kernel_cx.kernel), kernel_cx.pool().map(|pool| &pool.timer_slots))?;
    slot.reference().map(|reference| (slot, reference))
}

impl NewTimer {
    /// Creates an alarm for `process`.
    ///
    /// # Errors
    /// [`NoMemory`] if no memory is left.
    pub fn alarm(kernel_cx: &KernelCx<'_>, process: Pid, due: u64) -> Result<Self, NoMemory> {
        let node = kernel_cx.kernel.nodes.node(SignalKind::Alarm, release_fired).ok_or(NoMemory)?;
        let block = PoolBox::try_uninit(kernel_cx.pool())?;
        let place = claim(kernel_cx).ok_or(NoMemory)?;
        Ok(Self::alarm_in(block, TimerHead::new(node, Target::Pid(process), due, true, place)))
    }

    /// Creates a timer with a message. `tagged`: see [`TimerHead::tagged`]. With `permit` the timer
    /// is for a process that runs elsewhere: the permit counts it until it is freed, and its
    /// reference leads to it at once.
    ///
    /// # Errors
    /// [`NoMemory`] if no memory is left.
    pub fn message<M: Send + 'static>(
        kernel_cx: &KernelCx<'_>,
        target: Target,
        due: u64,
        tagged: bool,
        permit: Option<BudgetPermit>,
        value: M,
    ) -> Result<Self, NoMemory> {
        let node = kernel_cx.kernel.nodes.node(SignalKind::Timer, release_fired).ok_or(NoMemory)?;
        let block = PoolBox::try_uninit(kernel_cx.pool())?;
        let place = claim(kernel_cx).ok_or(NoMemory)?;
        Ok(Self::message_in(block, MessageTimer::new(node, (target, due), tagged, place, permit, value)))
    }
}

impl OwnerState {
    /// Removes from the set the timers that have fired or were cancelled.
    #[cold]
    #[inline(never)]
    fn sweep_timers(&mut self, kernel_cx: &KernelCx<'_>) {
        self.timers.retain(|timer| timer.is_armed(), |timer| timer.release(kernel_cx.pool()));
        self.timers.swept();
    }
}
