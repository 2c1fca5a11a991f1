//! The place in which a thread records its current slice: a thread-local of the library whose
//! threads drive the cores. Its value has no destructor, so it is valid until its thread ends.

use std::cell::Cell;
use std::ptr;

use atropos_kernel::platform::CurrentSlot;
#[cfg(loom)]
use loom::thread_local;
#[cfg(shuttle)]
use shuttle::thread_local;

#[cfg(not(any(loom, shuttle)))]
thread_local! {
    static CURRENT: CurrentSlot = const { Cell::new(ptr::null()) };
}

// Neither library's macro has constant values. Both libraries box the value, and drop it when their
// thread ends.
#[cfg(any(loom, shuttle))]
thread_local! {
    static CURRENT: CurrentSlot = Cell::new(ptr::null());
}

/// Returns this thread's place.
pub(crate) fn current_slot() -> *const CurrentSlot {
    CURRENT.with(ptr::from_ref)
}

/// Returns `true` if a slice is recorded as running on this thread.
pub fn is_in_slice() -> bool {
    CURRENT.with(|current| !current.get().is_null())
}
