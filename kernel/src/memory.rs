//! Allocation that can say no.
//!
//! The kernel never aborts for want of memory: whatever it allocates goes through
//! [`try_new`], which gives the value back when there is none, and the caller who
//! asked gets an error.

use core::alloc::Layout;
use core::ptr::NonNull;

/// There is no memory for what was asked; nothing has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory;

impl core::fmt::Display for NoMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("out of memory")
    }
}

impl core::error::Error for NoMemory {}

/// Memory for a `T`, or [`NoMemory`].
pub fn try_alloc<T>() -> Result<NonNull<T>, NoMemory> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Ok(NonNull::dangling());
    }
    // SAFETY: the layout's size is not 0.
    let memory = unsafe { alloc::alloc::alloc(layout) };
    NonNull::new(memory.cast()).ok_or(NoMemory)
}

/// Moves `value` to the heap; gives it back when there is no memory.
pub fn try_new<T>(value: T) -> Result<NonNull<T>, T> {
    match try_alloc::<T>() {
        Ok(memory) => {
            // SAFETY: fresh memory of T's layout.
            unsafe { memory.write(value) };
            Ok(memory)
        }
        Err(NoMemory) => Err(value),
    }
}

/// Frees the memory of a `T`, without dropping the value.
///
/// # Safety
/// `memory` came from [`try_alloc`] or [`try_new`] for the same `T` and is not used again.
pub unsafe fn free<T>(memory: NonNull<T>) {
    let layout = Layout::new::<T>();
    if layout.size() != 0 {
        // SAFETY: by contract, allocated with this layout.
        unsafe { alloc::alloc::dealloc(memory.as_ptr().cast(), layout) };
    }
}

/// Drops the value and frees its memory.
///
/// # Safety
/// As for [`free`], and the value is whole.
pub unsafe fn drop_and_free<T>(memory: NonNull<T>) {
    // SAFETY: by contract the value is whole and not used again.
    unsafe { memory.drop_in_place() };
    // SAFETY: by contract.
    unsafe { free(memory) };
}
