//! What an object of a process knows of its kernel, [`KernelPtr`], and of the thread on which it is
//! used, [`CurrentSlot`]. Words and records hold these two; `kernel` defines what they point to.

use core::ptr::NonNull;

use crate::sync::Cell;

/// A place that holds the current slice: the innermost slice on this thread of execution, or null.
pub type CurrentSlot = Cell<*const ()>;

/// A pointer to a kernel. Everything that follows it is implemented beside
/// [`Kernel`](crate::kernel::Kernel).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelPtr(NonNull<()>);

// SAFETY: the pointer is only an address until `KernelPtr::get` follows it, whose caller shows that
// the kernel, which is Send and Sync, exists.
unsafe impl Send for KernelPtr {}
// SAFETY: as for Send: through `&` only the address is read.
unsafe impl Sync for KernelPtr {}

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
