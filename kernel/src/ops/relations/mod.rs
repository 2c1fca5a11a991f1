//! Relations between processes: links ([`link`]), monitors ([`monitor`]), and the watchers of a
//! process, which a death fires.

pub(crate) mod link;
pub(crate) mod monitor;

use core::fmt;

use crate::kernel::kernel_cx::KernelCx;
use crate::mutation::mutant;
use crate::ops::{host_watch, timer_outcome};
use crate::process::name::RegisterError;
use crate::process::process_ref::ProcessRef;
use crate::process::relation::watcher::Watcher;
use crate::reason::Reason;

/// The reason why `link` did nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LinkError {
    /// The target is dead, and the caller does not trap exits (otherwise it would have got an
    /// EXIT).
    NoProc,
    /// There is no memory for the link.
    NoMemory,
    /// The caller is dying.
    Dying,
}

/// The reason why `monitor` did nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MonitorError {
    /// There is no memory for the monitor, or no reference is left.
    NoMemory,
    /// The name is new, and the limit of names is reached.
    TableFull,
    /// The caller is dying.
    Dying,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoProc => "there is no such process",
            Self::NoMemory => "out of memory",
            Self::Dying => "the process is dying",
        })
    }
}

impl fmt::Display for MonitorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "out of memory",
            Self::TableFull => "the limit of names is reached",
            Self::Dying => "the process is dying",
        })
    }
}

impl core::error::Error for LinkError {}
impl core::error::Error for MonitorError {}

impl From<RegisterError> for MonitorError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::TableFull => Self::TableFull,
            _ => Self::NoMemory,
        }
    }
}

/// Counts a cancelled record that may be on the target's list, and fires the records that a sweep
/// took while the target died.
pub(crate) fn watch_was_cancelled(target: ProcessRef<'_>, kernel_cx: &KernelCx<'_>) {
    let orphaned = target.watchers.cancelled(Watcher::is_live, |watcher| watcher.release(kernel_cx.pool()));
    for watcher in orphaned {
        // The list is closed, so the mailbox is, and there is a reason.
        let reason = target.exit_reason().unwrap_or(Reason::NOPROC);
        mutant!(kernel_cx.kernel.mutations, SweepForgets,
            right => watcher.fire(kernel_cx, &reason),
            wrong => drop(watcher),
        );
    }
}

impl Watcher {
    /// Fires the record because the process died.
    // Not inlined: a death without watchers needs no registers for it.
    #[inline(never)]
    pub(crate) fn fire(self, kernel_cx: &KernelCx<'_>, reason: &Reason) {
        match self {
            Self::Monitor(monitor) => {
                monitor::fire(monitor, kernel_cx, reason);
            }
            Self::Timer(timer) => timer_outcome::target_died(timer, kernel_cx),
            Self::HostWatch(watch) => host_watch::fire(watch, kernel_cx, Some(reason.clone())),
        }
    }
}
