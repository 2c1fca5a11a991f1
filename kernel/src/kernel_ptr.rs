//! [`KernelPtr`] and [`CurrentSlot`]: what a word or a record knows of its kernel, and of the
//! thread on which it is used. `kernel` defines what they point to.

use core::fmt;
use core::ptr::NonNull;

use crate::sync::Cell;

/// A place that holds the current slice: the innermost slice on this thread of execution, or null.
pub type CurrentSlot = Cell<*const ()>;

/// The function of a platform that returns this thread's [`CurrentSlot`]. What uses it is
/// implemented in `kernel::current`.
#[derive(Clone, Copy)]
pub(crate) struct CurrentSlotFn(fn() -> *const CurrentSlot);

impl CurrentSlotFn {
    /// Creates the value.
    ///
    /// # Safety
    /// The function is the [`crate::Platform::current_slot`] of the platform that runs every thread
    /// on which it is called.
    #[inline(always)]
    pub(crate) const unsafe fn new(function: fn() -> *const CurrentSlot) -> Self {
        Self(function)
    }

    /// Returns this thread's place.
    #[inline(always)]
    pub(crate) fn slot(&self) -> &CurrentSlot {
        // SAFETY: a platform's function returns a place of this thread that is valid at any time at
        // which an object of the kernel is used there (`Platform`, and `new`'s contract). The
        // result stays on this thread, since it is not Sync.
        unsafe { &*(self.0)() }
    }
}

impl fmt::Debug for CurrentSlotFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CurrentSlotFn")
    }
}

/// A pointer to a kernel. Everything that follows it is implemented beside
/// [`Kernel`](crate::kernel::Kernel).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelPtr(NonNull<()>);

impl KernelPtr {
    /// Creates the pointer from an erased one.
    #[inline(always)]
    pub(crate) const fn from_erased(kernel: NonNull<()>) -> Self {
        Self(kernel)
    }

    /// Returns the pointer without its type.
    #[inline(always)]
    pub(crate) const fn erased(self) -> NonNull<()> {
        self.0
    }
}
