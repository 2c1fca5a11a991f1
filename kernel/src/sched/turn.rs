//! One turn of a process, which is a slice, and the place where it is noted meanwhile.
//!
//! A slice: fetch what has come; die of it, or resume the body if there is something for
//! it; sleep by one exchange if nothing has come meanwhile. A body that yields goes behind
//! the others.

use core::ptr::NonNull;

use crate::cx::Slice;
use crate::kernel::Kernel;
use crate::mutate::Mutation;
use crate::process::body::Resumed;
use crate::process::fetch::{FetchedBy, fetch};
use crate::process::header::Header;
use crate::reason::Reason;
use crate::sched::local::RunningMark;
use crate::world::CurrentSlot;

/// How a slice ended.
pub(super) enum TurnOutcome {
    /// Somebody else may have the process already.
    Sleeps,
    /// It goes behind the others.
    Yields,
    /// Of this.
    Dies(Reason),
}

impl TurnOutcome {
    #[cold]
    pub(super) fn dies_of(dying: &mut Option<Reason>) -> Self {
        dying.take().map_or(Self::Yields, Self::Dies)
    }
}

/// Whether the process has gone to sleep: then it may be another's already.
#[inline(always)]
fn sleeps(slice: &Slice<'_>, process: &Header) -> bool {
    process.mailbox.sleep() || slice.hand.kernel.mutated(Mutation::SleepsAnyway)
}

/// One turn of a process.
///
/// # Safety
/// The caller has the process (P1), and the slice is noted `here`.
pub(super) unsafe fn turn(slice: &Slice<'_>, process: NonNull<Header>) -> TurnOutcome {
    let header = slice.process();
    loop {
        fetch(header, &slice.hand, FetchedBy::Core);
        // SAFETY: ours; the borrow ends before anything foreign runs.
        let private = unsafe { header.private() };
        if private.dying.is_some() {
            return TurnOutcome::dies_of(&mut private.dying);
        }
        // Who is suspended sleeps as one who waits; what has come for it, `resume` keeps until a signal ends that.
        if !private.resume || private.suspended > 0 {
            if sleeps(slice, header) {
                return TurnOutcome::Sleeps;
            }
            // More has come, which may not be for the body either: others have their turn all the same.
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
        // SAFETY: ours, and the body is there until the process dies.
        let resumed = unsafe { (header.vtable.resume)(process, slice) };
        drop(outside);
        slice.resumed.set(false);
        // SAFETY: ours still.
        let private = unsafe { header.private() };
        private.reductions += slice.spent() + 1;
        slice.pay(1);
        if core::mem::take(&mut private.spare) {
            // It waits for no answer: nothing of it holds the kernel.
            // SAFETY: the share that a request has left.
            unsafe { Header::give_up_waker(header.whole()) };
        }
        if private.dying.is_some() {
            if let Resumed::Exit(unheard) = &resumed {
                // Its value is foreign, and dropped here.
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
            // Most often nothing has come meanwhile.
            Resumed::Wait if !private.resume && sleeps(slice, header) => return TurnOutcome::Sleeps,
            Resumed::Wait => {}
        }
    }
}

/// A slice is noted where it runs, until this goes.
pub(crate) struct CurrentGuard<'a> {
    here: *const CurrentSlot,
    outer: *const (),
    mark: &'a RunningMark,
}

impl<'a> CurrentGuard<'a> {
    pub(crate) fn of(slice: &'a Slice<'_>, kernel: &'a Kernel) -> Self {
        let here = (kernel.here)();
        // SAFETY: the place of this thread of execution, by World's contract.
        let outer = unsafe { (*here).replace(core::ptr::from_ref(slice).cast()) };
        let mark = &kernel.cores[slice.core.id()].mark;
        mark.enter(slice.process().pid);
        Self { here, outer, mark }
    }
}

// Also when a panic goes through here, in a world that contains none.
impl Drop for CurrentGuard<'_> {
    fn drop(&mut self) {
        self.mark.leave();
        // SAFETY: the place of this thread of execution, by World's contract.
        unsafe { (*self.here).set(self.outer) };
    }
}
