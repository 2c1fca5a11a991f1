//! A full memory barrier on all threads of the program, executed by the system
//! (`atropos_kernel::Platform::heavy_barrier`).
//!
//! Linux has one (`membarrier`, since 4.14). It interrupts the processors on which other threads of
//! the program run; a thread that is not running passes a barrier when it is switched in. It takes
//! some microseconds, and is used only while a body has occupied its core for a millisecond. On
//! other systems, or if the system refuses, cores use fences.

/// Registers the program's intent to use the barrier. Returns `true` if the system allows it.
pub(crate) fn register() -> bool {
    ask(REGISTER)
}

/// Executes a barrier on all threads of the program. Returns `true` if they all have executed it.
pub(crate) fn all_threads() -> bool {
    ask(BARRIER)
}

#[cfg(all(target_os = "linux", not(miri)))]
use self::linux::{BARRIER, REGISTER, ask};

#[cfg(not(all(target_os = "linux", not(miri))))]
use self::none::{BARRIER, REGISTER, ask};

#[cfg(all(target_os = "linux", not(miri)))]
mod linux {
    /// The value of `MEMBARRIER_CMD_PRIVATE_EXPEDITED`.
    pub(super) const BARRIER: libc::c_int = 1 << 3;
    /// The value of `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`.
    pub(super) const REGISTER: libc::c_int = 1 << 4;

    pub(super) fn ask(command: libc::c_int) -> bool {
        // SAFETY: the call takes two numbers and no pointer, and the system refuses a command that
        // it does not know.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0 as libc::c_uint, 0 as libc::c_int) == 0 }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod none {
    pub(super) const BARRIER: i32 = 0;
    pub(super) const REGISTER: i32 = 0;

    pub(super) fn ask(_: i32) -> bool {
        false
    }
}
