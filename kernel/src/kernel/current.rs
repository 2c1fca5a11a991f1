//! The current slice: where it is stored while it runs ([`CurrentGuard`]), and how the code that
//! runs in it finds it ([`Slice::current`]).

use crate::kernel::Kernel;
use crate::kernel::core_local::RunningMark;
use crate::kernel::platform::CurrentSlot;
use crate::kernel::slice::Slice;

impl<'a> Slice<'a> {
    /// Returns the innermost slice on this thread.
    ///
    /// # Safety
    /// The caller uses the result no longer than its own caller's call lasts. `current_slot` is a
    /// platform's.
    #[inline(always)]
    pub(crate) unsafe fn current(current_slot: fn() -> *const CurrentSlot) -> Option<&'a Self> {
        // SAFETY: `Platform`'s contract gives a valid pointer for this thread.
        let slice = unsafe { (*current_slot()).get() }.cast::<Self>();
        // SAFETY: the pointer is null, or valid while the slice lasts, which is longer than the
        // call for which the caller uses it.
        unsafe { slice.as_ref() }
    }
}

/// A guard: a slice is stored in `current_slot` until it is dropped.
pub(crate) struct CurrentGuard<'a> {
    current_slot: *const CurrentSlot,
    outer: *const (),
    mark: &'a RunningMark,
}

impl<'a> CurrentGuard<'a> {
    pub(crate) fn of(slice: &'a Slice<'_>, kernel: &'a Kernel) -> Self {
        let current_slot = (kernel.current_slot)();
        // SAFETY: `Platform`'s contract gives a valid pointer for this thread.
        let outer = unsafe { (*current_slot).replace(core::ptr::from_ref(slice).cast()) };
        let mark = &slice.core.shared().mark;
        mark.enter(slice.process().pid);
        Self { current_slot, outer, mark }
    }
}

// Also runs when a panic unwinds through here, on a platform that catches none.
impl Drop for CurrentGuard<'_> {
    fn drop(&mut self) {
        self.mark.leave();
        // SAFETY: `Platform`'s contract gives a valid pointer for this thread.
        unsafe { (*self.current_slot).set(self.outer) };
    }
}
