//! One turn of a process, which is a slice: what a core does with a process that it has popped.
//!
//! A slice fetches the signals that have arrived. The process dies of them, or its body is resumed
//! if there is something for it. It sleeps, by one exchange, if no signal has arrived in between. A
//! body that yields goes behind the queued processes.

use core::ptr::NonNull;

use crate::kernel::slice::Slice;
use crate::mutation::Mutation;
use crate::ops::drain::{FetchedBy, fetch};
use crate::process::header::Header;
use crate::process::vtable::{Resumed, SlicePtr};
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
    process.mailbox.sleep() || slice.kernel_cx.kernel.mutated(Mutation::SleepsAnyway)
}

/// Runs one turn of a process.
///
/// # Safety
/// The caller owns the process (P1), and the slice is stored in `current_slot`.
pub(super) unsafe fn turn(slice: &Slice<'_>, process: NonNull<Header>) -> TurnOutcome {
    let header = slice.process();
    loop {
        fetch(header, &slice.kernel_cx, FetchedBy::Core);
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
        let resumed = unsafe { (header.vtable.resume)(process, SlicePtr::of(slice)) };
        drop(outside);
        slice.resumed.set(false);
        // SAFETY: P1, we still own the process.
        let private = unsafe { header.private() };
        private.reductions += slice.spent() + 1;
        slice.pay(1);
        if core::mem::take(&mut private.spare) {
            // The process waits for no answer, so this reference need not hold the kernel.
            // SAFETY: this is the waker reference that a request has left in `spare`.
            unsafe { Header::release_waker_ref(header.whole()) };
        }
        if private.dying.is_some() {
            if let Resumed::Exit(unheard) = &resumed {
                // Its value is foreign, and is dropped here.
                unheard.come_into(slice.kernel_cx.kernel.world());
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
