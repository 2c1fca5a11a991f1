//! The current slice: where it is stored while it runs ([`Turns::run_as_current`]), and how the
//! code that runs in it finds it ([`CurrentSlotFn::with_slice`]).

use crate::kernel::Kernel;
use crate::kernel::core_local::RunningMark;
use crate::kernel::platform::{CurrentSlot, Platform};
use crate::kernel::slice::{Slice, Turns};
use crate::kernel_ptr::{CurrentSlotFn, KernelPtr};

impl CurrentSlotFn {
    /// Returns the function of a platform.
    pub(crate) fn of(platform: &dyn Platform) -> Self {
        // SAFETY: `Platform`'s contract: it is the function of every thread that the platform runs,
        // and no object of a kernel is used on another thread.
        unsafe { Self::new(platform.current_slot()) }
    }

    /// Runs `f` with the innermost slice on this thread, if there is one.
    #[inline(always)]
    pub(crate) fn with_slice<R>(self, f: impl for<'s> FnOnce(Option<&'s Slice<'s>>) -> R) -> R {
        // SAFETY: `f` keeps nothing of the slice, since it works for every lifetime.
        f(unsafe { self.slice() })
    }

    /// Does the same as [`CurrentSlotFn::with_slice`] with the slice of one kernel only.
    #[inline(always)]
    pub(crate) fn with_slice_of<R>(self, kernel: KernelPtr, f: impl for<'s> FnOnce(Option<&'s Slice<'s>>) -> R) -> R {
        self.with_slice(|slice| f(slice.filter(|slice| KernelPtr::of(slice.kernel_cx.kernel) == kernel)))
    }

    /// Returns the innermost slice on this thread, if there is one.
    ///
    /// # Safety
    /// The caller uses the result no longer than its own caller's call lasts.
    #[inline(always)]
    pub(crate) unsafe fn slice<'s>(self) -> Option<&'s Slice<'s>> {
        // SAFETY: the pointer is null, or `run_as_current` stored it, which returns later than the
        // call for which the caller uses the slice (this function's contract).
        unsafe { self.slot().get().cast::<Slice<'s>>().as_ref() }
    }
}

/// A guard: a slice is stored in `slot` until it is dropped.
struct CurrentGuard<'a> {
    slot: &'a CurrentSlot,
    outer: *const (),
    mark: &'a RunningMark,
}

// Also runs when a panic unwinds through here, on a platform that catches none.
impl Drop for CurrentGuard<'_> {
    fn drop(&mut self) {
        self.mark.leave();
        self.slot.set(self.outer);
    }
}

impl Turns<'_> {
    /// Runs `f` while the slice is the current slice of this thread.
    #[inline(always)]
    pub(crate) fn run_as_current<R>(&self, kernel: &Kernel, f: impl FnOnce() -> R) -> R {
        let slot = kernel.current_slot.slot();
        let slice: &Slice<'_> = self;
        let mark = &slice.core.shared().mark;
        mark.enter(slice.process().pid);
        let _current = CurrentGuard { slot, outer: slot.replace(core::ptr::from_ref(slice).cast()), mark };
        f()
    }
}
