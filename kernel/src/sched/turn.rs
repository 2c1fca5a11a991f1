//! One turn of a process, which is a slice, and the place where the slice is stored while it runs.
//!
//! A slice fetches the signals that have arrived. The process dies of them, or its body is resumed
//! if there is something for it. It sleeps, by one exchange, if no signal has arrived in between. A
//! body that yields goes behind the queued processes.

use core::ptr::NonNull;

use crate::api::body::Resumed;
use crate::api::cx::Slice;
use crate::kernel::Kernel;
use crate::kernel::core_local::RunningMark;
use crate::kernel::platform::CurrentSlot;
use crate::mutation::Mutation;
use crate::ops::drain::{FetchedBy, fetch};
use crate::process::header::Header;
use crate::reason::Reason;

/// How a slice ended.
pub(super) enum TurnOutcome {
    /// The process sleeps, and another core may already own it.
    Sleeps,
    /// The process goes behind the queued processes.
    Yields,
    /// The process dies of this reason.
    Dies(Reason),
}

impl TurnOutcome {
    #[cold]
    pub(super) fn dies_of(dying: &mut Option<Reason>) -> Self {
        dying.take().map_or(Self::Yields, Self::Dies)
    }
}

/// Puts the process to sleep. Returns `true` if it sleeps: another core may already own it then.
#[inline(always)]
fn sleeps(slice: &Slice<'_>, process: &Header) -> bool {
    process.mailbox.sleep() || slice.hand.kernel.mutated(Mutation::SleepsAnyway)
}

/// Runs one turn of a process.
///
/// # Safety
/// The caller owns the process (P1), and the slice is stored in `here`.
pub(super) unsafe fn turn(slice: &Slice<'_>, process: NonNull<Header>) -> TurnOutcome {
    let header = slice.process();
    loop {
        fetch(header, &slice.hand, FetchedBy::Core);
        // SAFETY: P1, we own the process, and the borrow ends before any foreign code runs.
        let private = unsafe { header.private() };
        if private.dying.is_some() {
            return TurnOutcome::dies_of(&mut private.dying);
        }
        // A suspended process sleeps like a waiting one. `resume` stays set, for what has arrived
        // for it, until a signal ends the suspension.
        if !private.resume || private.suspended > 0 {
            if sleeps(slice, header) {
                return TurnOutcome::Sleeps;
            }
            // More signals have arrived, perhaps none for the body. Other processes get their turn
            // all the same.
            if slice.is_exhausted() {
                return TurnOutcome::Yields;
            }
            slice.pay(1);
            continue;
        }
        if slice.is_exhausted() {
            return TurnOutcome::Yields;
        }
        private.resume = false;
        private.slices += 1;
        slice.begin();
        slice.resumed.set(true);
        let outside = slice.leave();
        // SAFETY: P1, we own the process, and the body exists until the process dies.
        let resumed = unsafe { (header.vtable.resume)(process, slice) };
        drop(outside);
        slice.resumed.set(false);
        // SAFETY: P1, we still own the process.
        let private = unsafe { header.private() };
        private.reductions += slice.spent() + 1;
        slice.pay(1);
        if core::mem::take(&mut private.spare) {
            // The process waits for no answer, so this reference need not hold the kernel.
            // SAFETY: this is the waker reference that a request has left in `spare`.
            unsafe { Header::give_up_waker(header.whole()) };
        }
        if private.dying.is_some() {
            if let Resumed::Exit(unheard) = &resumed {
                // Its value is foreign, and is dropped here.
                unheard.come_into(slice.hand.kernel.world());
            }
            return TurnOutcome::dies_of(&mut private.dying);
        }
        match resumed {
            Resumed::Exit(reason) => return TurnOutcome::Dies(reason),
            Resumed::Yield => {
                private.resume = true;
                return TurnOutcome::Yields;
            }
            // Usually no signal has arrived in between.
            Resumed::Wait if !private.resume && sleeps(slice, header) => return TurnOutcome::Sleeps,
            Resumed::Wait => {}
        }
    }
}

/// A guard: a slice is stored in `here` until it is dropped.
pub(crate) struct CurrentGuard<'a> {
    here: *const CurrentSlot,
    outer: *const (),
    mark: &'a RunningMark,
}

impl<'a> CurrentGuard<'a> {
    pub(crate) fn of(slice: &'a Slice<'_>, kernel: &'a Kernel) -> Self {
        let here = (kernel.here)();
        // SAFETY: `Platform`'s contract gives a valid pointer for this thread.
        let outer = unsafe { (*here).replace(core::ptr::from_ref(slice).cast()) };
        let mark = &slice.core.shared().mark;
        mark.enter(slice.process().pid);
        Self { here, outer, mark }
    }
}

// Also runs when a panic unwinds through here, on a platform that catches none.
impl Drop for CurrentGuard<'_> {
    fn drop(&mut self) {
        self.mark.leave();
        // SAFETY: `Platform`'s contract gives a valid pointer for this thread.
        unsafe { (*self.here).set(self.outer) };
    }
}
