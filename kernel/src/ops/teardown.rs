//! The teardown of a kernel: the end of its last core, and of the kernel itself, ends the processes
//! that are left. They never run again.

use crate::kernel::Kernel;
use crate::kernel::core_local::CoreLocal;
use crate::kernel::kernel_cx::KernelCx;
use crate::ops::exit::{ExitMode, teardown};
use crate::process::owned::{Owned, Vacated};
use crate::process::process_ref::ProcessRef;
use crate::process::table::HeldSlot;
use crate::reason::Reason;
use crate::reclaim::Guard;
use crate::sync::Ordering;

impl Kernel {
    /// Records the end of a core. The end of the last core also ends all processes, since no core
    /// runs them afterwards: a process that holds its own waker keeps the kernel alive, and the two
    /// would keep each other for ever.
    pub(crate) fn on_core_drop(&self, guard: &Guard<'_>, core: &CoreLocal) {
        // AcqRel: the last core sees everything that the other cores did.
        if self.ended.fetch_add(1, Ordering::AcqRel) + 1 != self.cores() {
            return;
        }
        self.close();
        let kernel_cx = self.kernel_cx(guard, None);
        for index in 0..self.table.extent() {
            if let Some(process) = self.table.at(index, guard) {
                // SAFETY: P1 — all other cores have ended, so no core runs the process, and this
                // last core owns it.
                let (vacated, slot) = unsafe { discard(&kernel_cx, process) };
                core.release(self, slot);
                core.retire(vacated);
            }
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // The processes that are left are those that `on_core_drop` did not end, because not every
        // core of the kernel was created. Their destructors run here, in the memory of a kernel
        // that still has everything except cores.
        let participant = self.domain.register();
        for index in 0..self.table.extent() {
            let guard = participant.pin();
            let Some(process) = self.table.at(index, &guard) else { continue };
            // SAFETY: P1 — no core and no queue can run the process any longer, so this thread owns
            // it.
            let (vacated, _) = unsafe { discard(&self.kernel_cx(&guard, None), process) };
            // SAFETY: no other thread has the kernel, and so none has a process of it. No waker
            // exists, because wakers hold the kernel.
            unsafe { vacated.release(None) };
        }
        self.world().on_kernel_drop(self.table.last_generation());
    }
}

/// Ends a process that will never run again, of a kernel that no longer has a core.
///
/// # Safety
/// The caller owns the process (P1).
unsafe fn discard(kernel_cx: &KernelCx<'_>, process: ProcessRef<'_>) -> (Vacated, HeldSlot) {
    // SAFETY: P1: the caller owns the process (this function's contract).
    let owned = unsafe { Owned::assume(process) };
    // If a panic cut a death short, on a platform that does not catch it, the body is dropped
    // already.
    let (owned, body) = owned.take_body();
    body.into_iter().for_each(|body| kernel_cx.catch_panic(|| body.run()));
    teardown(owned, kernel_cx, Reason::KILLED, ExitMode::Silent)
}
