//! [`KernelPtr`] and [`CurrentSlot`]: what a word or a record knows of its kernel, and of the
//! thread on which it is used. `kernel` defines what they point to.

use core::ptr::NonNull;

use crate::sync::Cell;

/// A place that holds the current slice: the innermost slice on this thread of execution, or null.
pub type CurrentSlot = Cell<*const ()>;

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
