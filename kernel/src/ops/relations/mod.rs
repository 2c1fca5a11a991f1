//! Relations between processes: links ([`link`]), monitors ([`monitor`]), and the watchers of a
//! process, which a death fires.

pub(crate) mod link;
pub(crate) mod monitor;

use core::fmt;
use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::mutation::Mutation;
use crate::process::header::Header;
use crate::process::name::RegisterError;
use crate::process::relation::host_watch::HostWatchHead;
use crate::process::relation::monitor::Monitor;
use crate::process::relation::watcher::{WatcherEntry, WatcherKind};
use crate::process::timer_record::TimerHead;
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
pub(crate) fn watch_was_cancelled(target: &Header, kernel_cx: &KernelCx<'_>) {
    let orphaned = target.watchers.cancelled(
        // SAFETY: the sweeper holds the record, with the list's reference.
        |watch| unsafe { WatcherEntry::is_live(watch) },
        // SAFETY: the sweeper holds the record, with the list's reference; not used again.
        |watch| unsafe { WatcherEntry::release(watch, kernel_cx.pool()) },
    );
    for watch in orphaned.filter(|_| !kernel_cx.kernel.mutated(Mutation::SweepForgets)) {
        // SAFETY: P3: the list is closed, so the reason is written.
        let reason = unsafe { target.reason() };
        // SAFETY: taken from the list, with its reference.
        unsafe { WatcherEntry::fire(watch, kernel_cx, &reason) };
    }
}

impl WatcherEntry {
    /// Fires the record because the process died.
    ///
    /// # Safety
    /// The caller passes the list's reference.
    // Not inlined: a death without watchers needs no registers for it.
    #[inline(never)]
    pub unsafe fn fire(this: NonNull<Self>, kernel_cx: &KernelCx<'_>, reason: &Reason) {
        // SAFETY: the caller holds the list's reference (this function's contract).
        match unsafe { Self::kind(this) } {
            WatcherKind::Monitor => {
                // SAFETY: the entry is a monitor's.
                let monitor = unsafe { Monitor::of_watch(this) };
                // SAFETY: the caller passes the list's reference.
                unsafe { Monitor::fire(monitor, kernel_cx, reason) };
            }
            WatcherKind::Timer => {
                // SAFETY: the entry is a timer's.
                let timer = unsafe { TimerHead::of_watch(this) };
                // SAFETY: the caller passes the list's reference.
                unsafe { TimerHead::target_died(timer, kernel_cx) };
            }
            WatcherKind::HostWatch => {
                // SAFETY: the entry is a host watch's.
                let watch = unsafe { HostWatchHead::of_watch(this) };
                // SAFETY: the caller passes the list's reference.
                unsafe { HostWatchHead::fire(watch, kernel_cx, Some(reason.clone())) };
            }
        }
    }
}
