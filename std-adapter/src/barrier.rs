//! A full memory barrier on all threads of the program, by the system (`atropos_kernel::Platform::heavy_barrier`).
//!
//! Linux has one (`membarrier`, from 4.14 on): it interrupts the processors on which other threads of the program run, and a
//! thread that does not run has had one when it is switched to. It takes some microseconds, and is asked for only while a body has
//! kept its core for a millisecond. Elsewhere, or where the system refuses, cores use fences.

/// Tells the system that the program will ask: whether it may.
pub(crate) fn register() -> bool {
    ask(REGISTER)
}

/// All threads of the program have executed a barrier when this returns true.
pub(crate) fn all_threads() -> bool {
    ask(BARRIER)
}

#[cfg(all(target_os = "linux", not(miri)))]
use self::linux::{BARRIER, REGISTER, ask};

#[cfg(not(all(target_os = "linux", not(miri))))]
use self::none::{BARRIER, REGISTER, ask};

#[cfg(all(target_os = "linux", not(miri)))]
mod linux {
    /// `MEMBARRIER_CMD_PRIVATE_EXPEDITED`.
    pub(super) const BARRIER: libc::c_int = 1 << 3;
    /// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`.
    pub(super) const REGISTER: libc::c_int = 1 << 4;

    pub(super) fn ask(command: libc::c_int) -> bool {
        // SAFETY: takes two numbers and no pointer; what the system does not know it refuses.
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
