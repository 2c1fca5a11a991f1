//! [`PanicScope`]: catches panics of foreign code within a process's slice.

use core::fmt;
use core::marker::PhantomData;

use crate::api::task::context::is_elsewhere;
use crate::kernel_ptr::CurrentSlotFn;
use crate::pid::Pid;
use crate::process::header::Header;
use crate::reason::Reason;

/// Runs foreign code within a process's slice and catches its panics, also for code that does not
/// have the process's [`Context`](crate::Context).
///
/// ```compile_fail,E0308
/// use atropos_kernel::PanicScope;
/// fn lax(container: PanicScope<fn(&'static str)>) -> PanicScope<for<'a> fn(&'a str)> {
///     container
/// }
/// ```
pub struct PanicScope<M> {
    pub(super) pid: Pid,
    /// The process's address, only compared and never dereferenced. It needs no reference: nothing
    /// of the process is reached through it, so it does no harm if another process gets the memory
    /// and the pid.
    pub(super) process: *const Header,
    pub(super) current_slot: CurrentSlotFn,
    pub(super) takes: PhantomData<fn(M) -> M>,
}

impl<M: Send + 'static> PanicScope<M> {
    /// Runs foreign code and catches its panic; see [`Cx::catch_panic`](crate::Cx::catch_panic).
    ///
    /// # Errors
    /// If the code panics, a crash reason with the panic's text.
    ///
    /// # Panics
    /// Outside the process's own slice.
    #[inline]
    pub fn catch_panic<R>(&self, code: impl FnOnce() -> R) -> Result<R, Reason> {
        self.current_slot.with_slice(|slice| match slice {
            Some(slice) if slice.is_of(self.process) && slice.process().pid == self.pid && !slice.is_inside() => {
                slice.kernel_cx.kernel.contained(code)
            }
            _ => is_elsewhere(self.pid),
        })
    }
}

// SAFETY: every use checks that it happens inside the process's own slice.
unsafe impl<M> Send for PanicScope<M> {}
// SAFETY: every use checks that it happens inside the process's own slice, which one thread at a
// time runs.
unsafe impl<M> Sync for PanicScope<M> {}

impl<M> fmt::Debug for PanicScope<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("pid", &self.pid).finish_non_exhaustive()
    }
}
