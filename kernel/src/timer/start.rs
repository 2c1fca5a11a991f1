//! Starting, reading and cancelling timers: a process's own, which it has in a set, and any other by its reference (`slot`).
//!
//! A timer lies on the wheel of the core that starts it, which is the core that runs the process at that moment. A running body
//! has that core at hand. Who acts for a process that is elsewhere ([`crate::Caller`]) makes the record, with the time when it
//! is due, and sends it by proxy; whichever core meets it starts it.
//!
//! - **T1, new.** Until [`start`] has its slot say that it is armed nobody but its holder looks where it will lie: that is written into it
//!   without any order before, and made visible by the slot's word. One that was sent by proxy may be cancelled on its way.
//! - **T2, room.** A body asks for room on the wheel before it makes a record. Who acts for it cannot see the wheel, and to refuse
//!   a record when it is met would be too late: its message would be dropped without a word. So those are counted by
//!   themselves (`Kernel::timers_by_proxy`), before they are made, and the wheel takes them whatever its length. Nothing here allocates but
//!   the set's index, which it can do without.

use core::any::TypeId;
use core::ptr::NonNull;
use core::time::Duration;

use crate::cx::SendTarget;
use crate::hand::KernelCx;
use crate::pid::Reference;
use crate::process::header::Header;
use crate::process::private::OwnerState;
use crate::sched::local::CoreLocal;
use crate::timer::record::{Target, TimerError, TimerHead};

/// When a timer is due that is started now.
pub(crate) fn due(hand: &KernelCx<'_>, after: Duration) -> u64 {
    let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    hand.kernel.world().coarse_now().saturating_add(after)
}

/// Whom a timer of `process` is for, if it takes messages `N`; of a name, and of the dead, nobody knows.
pub(crate) fn target<N: 'static>(process: &Header, hand: &KernelCx<'_>, to: SendTarget<'_>) -> Result<Target, TimerError> {
    let (target, takes) = match to {
        SendTarget::Pid(pid) if pid == process.pid => (Target::Pid(pid), Some(process.vtable.takes)),
        SendTarget::Pid(pid) => (Target::Pid(pid), hand.find(pid).map(|other| other.vtable.takes)),
        SendTarget::Name(name) => {
            let entry = hand.kernel.names.intern(name).map_err(|_| TimerError::NoMemory)?;
            (Target::Name(NonNull::from(entry)), None)
        }
    };
    match takes {
        Some(takes) if takes != TypeId::of::<N>() => Err(TimerError::WrongType),
        _ => Ok(target),
    }
}

/// Puts a new timer on the core's wheel, among the process's own, and on its target's list, if that is another process. One
/// whose target is dead ends here.
///
/// # Safety
/// The caller owns `process`, and runs on `core`, which is the hand's. The timer is new (T1), with the shares of wheel and starter.
pub(crate) unsafe fn start(timer: NonNull<TimerHead>, process: &Header, hand: &KernelCx<'_>, core: &CoreLocal) {
    // SAFETY: by contract.
    let target = unsafe { timer.as_ref() }.target();
    let (other, is_another) = match target {
        Target::Pid(pid) if pid != process.pid => (hand.find(pid), true),
        _ => (None, false),
    };
    // SAFETY: by contract.
    if !unsafe { TimerHead::settle(timer, core.id(), other.is_some()) } {
        // Cancelled on its way, and the wheel's share is the canceller's.
        // SAFETY: the starter's share.
        return unsafe { TimerHead::give_up(timer, hand.pool()) };
    }
    // SAFETY: new; the wheel's share goes with it.
    unsafe { core.start(timer) };
    // SAFETY: the owner.
    let private = unsafe { process.private() };
    if private.timers.sweep_is_due() {
        private.sweep_timers(hand);
    }
    // SAFETY: new, in no set; the starter's share goes with it.
    unsafe { private.timers.insert(timer) };
    if let Some(other) = other {
        let watch = TimerHead::share(timer);
        // SAFETY: on no list; the list's share goes with it.
        if unsafe { other.watchers.push(watch) }.is_err() {
            // The target has just died, and its timer with it.
            // SAFETY: shared.
            unsafe { TimerHead::cancel(timer, hand) };
            // SAFETY: the share that the list did not take.
            unsafe { TimerHead::give_up(timer, hand.pool()) };
        }
    } else if is_another {
        // SAFETY: shared: it ended with a target that is dead already.
        unsafe { TimerHead::cancel(timer, hand) };
    }
}

/// Cancels a timer, of the owned process or not: when it would have been due, if it was still to come. O(1).
pub(crate) fn cancel(process: &Header, hand: &KernelCx<'_>, timer: Reference) -> Option<u64> {
    // SAFETY: the owner.
    let private = unsafe { process.private() };
    let Some(record) = private.timers.find(timer.to_raw()) else { return TimerHead::cancel_named(timer, hand) };
    // Out of the set first, with its share: the message's destructor is foreign and may come here again.
    // SAFETY: found there just now.
    unsafe { private.timers.remove(record) };
    // SAFETY: the set's share, which is ours now.
    let due = unsafe { record.as_ref() }.due;
    // SAFETY: likewise.
    let in_time = unsafe { TimerHead::cancel(record, hand) };
    // SAFETY: likewise, and not used again.
    unsafe { TimerHead::give_up(record, hand.pool()) };
    in_time.then_some(due)
}

/// When a timer, of the owned process or not, is due, if it is still to come. O(1).
pub(crate) fn read(process: &Header, hand: &KernelCx<'_>, timer: Reference) -> Option<u64> {
    // SAFETY: the owner.
    let record = unsafe { process.private() }.timers.find(timer.to_raw());
    let Some(record) = record else { return TimerHead::read_named(timer, hand) };
    // SAFETY: in the set, so shared.
    let record = unsafe { record.as_ref() };
    record.is_armed().then_some(record.due)
}

/// Cancels any timer: the time it had left, if it was still to come. From anywhere. O(1), lock-free.
pub(crate) fn cancel_named(hand: &KernelCx<'_>, timer: Reference) -> Option<Duration> {
    TimerHead::cancel_named(timer, hand).map(|due| left(hand, due))
}

/// The time that any timer has left, if it is still to come. From anywhere. O(1), lock-free.
pub(crate) fn read_named(hand: &KernelCx<'_>, timer: Reference) -> Option<Duration> {
    TimerHead::read_named(timer, hand).map(|due| left(hand, due))
}

/// The time until then, and not more than a timer was started with.
pub(crate) fn left(hand: &KernelCx<'_>, due: u64) -> Duration {
    let world = hand.kernel.world();
    Duration::from_nanos(due.saturating_sub(world.now()).saturating_sub(world.coarse_error_ns()))
}

impl OwnerState {
    /// Drops the timers to others that have fired or ended.
    fn sweep_timers(&mut self, hand: &KernelCx<'_>) {
        for timer in self.timers.iter() {
            // SAFETY: in the set, so shared.
            if !unsafe { timer.as_ref() }.is_armed() {
                // SAFETY: the one the iterator returned last may be removed.
                unsafe { self.timers.remove(timer) };
                // SAFETY: the set's share.
                unsafe { TimerHead::give_up(timer, hand.pool()) };
            }
        }
        self.timers.swept();
    }
}
