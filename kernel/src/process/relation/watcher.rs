//! An entry on a process's list of watchers, [`WatcherEntry`], which waits for the process's death.
//!
//! Monitors, the timers that end with their target, and the watches of host threads each contain
//! one ([`WatcherKind`]). The dying process fires them all alike (`ops::relations`).

use core::fmt;
use core::ptr::NonNull;

use crate::intrusive::list::{Linked, Links};
use crate::memory::pool::Pool;
use crate::pid::Pid;
use crate::process::relation::host_watch::HostWatchHead;
use crate::process::relation::monitor::Monitor;
use crate::process::timer_record::TimerHead;

/// The part of a record that is on a process's list of watchers. The list holds a reference to the
/// record.
pub struct WatcherEntry {
    place: Links<WatcherEntry>,
    kind: WatcherKind,
}

/// The kind of record that an entry lies in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatcherKind {
    /// A [`Monitor`].
    Monitor,
    /// A timer whose target the process is, a [`TimerHead`].
    Timer,
    /// The watch of a host thread, a `HostWatchHead`.
    HostWatch,
}

impl WatcherEntry {
    /// Creates an entry that is on no list yet.
    pub fn new(kind: WatcherKind) -> Self {
        Self { place: Links::new(), kind }
    }

    /// Returns the kind of its record.
    ///
    /// # Safety
    /// The caller holds the list's reference, which keeps the record live.
    pub(crate) unsafe fn kind(this: NonNull<Self>) -> WatcherKind {
        // SAFETY: the caller holds the list's reference (this function's contract).
        unsafe { this.as_ref() }.kind
    }

    /// Returns `true` if the record still waits.
    ///
    /// # Safety
    /// The caller holds the list's reference.
    pub unsafe fn is_live(this: NonNull<Self>) -> bool {
        // SAFETY: the caller holds the list's reference (this function's contract).
        match unsafe { Self::kind(this) } {
            WatcherKind::Monitor => {
                // SAFETY: the entry is a monitor's.
                let monitor = unsafe { Monitor::of_watch(this) };
                // SAFETY: the list's reference keeps the record live.
                unsafe { monitor.as_ref() }.is_armed()
            }
            WatcherKind::Timer => {
                // SAFETY: the entry is a timer's.
                let timer = unsafe { TimerHead::of_watch(this) };
                // SAFETY: the list's reference keeps the record live.
                unsafe { timer.as_ref() }.is_armed()
            }
            WatcherKind::HostWatch => {
                // SAFETY: the entry is a host watch's.
                let watch = unsafe { HostWatchHead::of_watch(this) };
                // SAFETY: the list's reference keeps the record live.
                unsafe { watch.as_ref() }.is_armed()
            }
        }
    }

    /// Returns the watching process, if it still waits, for `monitored_by`.
    ///
    /// # Safety
    /// The caller holds the list's reference.
    pub unsafe fn watcher(this: NonNull<Self>) -> Option<Pid> {
        // SAFETY: the caller holds the list's reference (this function's contract).
        if unsafe { Self::kind(this) } != WatcherKind::Monitor {
            return None;
        }
        // SAFETY: the entry is a monitor's.
        let monitor = unsafe { Monitor::of_watch(this) };
        // SAFETY: the list's reference keeps the record live.
        let monitor = unsafe { monitor.as_ref() };
        monitor.is_armed().then_some(monitor.watcher)
    }

    /// Returns `true` if the watcher is not a process: it is notified last, and also by a kernel
    /// that ends.
    ///
    /// # Safety
    /// The caller holds the list's reference.
    pub unsafe fn is_host(this: NonNull<Self>) -> bool {
        // SAFETY: the caller holds the list's reference (this function's contract).
        let kind = unsafe { Self::kind(this) };
        kind == WatcherKind::HostWatch
    }

    /// Releases a record that will not be fired, with the list's reference.
    ///
    /// # Safety
    /// The caller passes the list's reference.
    pub unsafe fn release(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the caller holds the list's reference (this function's contract).
        match unsafe { Self::kind(this) } {
            WatcherKind::Monitor => {
                // SAFETY: the entry is a monitor's.
                let monitor = unsafe { Monitor::of_watch(this) };
                // SAFETY: the caller passes the list's reference.
                unsafe { Monitor::release(monitor, pool) };
            }
            WatcherKind::Timer => {
                // SAFETY: the entry is a timer's.
                let timer = unsafe { TimerHead::of_watch(this) };
                // SAFETY: the caller passes the list's reference, and does not use the record
                // again.
                unsafe { TimerHead::release(timer, pool) };
            }
            WatcherKind::HostWatch => {
                // SAFETY: the entry is a host watch's.
                let watch = unsafe { HostWatchHead::of_watch(this) };
                // SAFETY: the caller passes the list's reference.
                unsafe { HostWatchHead::release(watch) };
            }
        }
    }
}

impl Linked for WatcherEntry {
    fn place(&self) -> &Links<Self> {
        &self.place
    }
}

impl fmt::Debug for WatcherEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
