//! An entry on a process's list of watchers, [`WatcherEntry`], which waits for the process's death.
//!
//! Monitors, the timers that end with their target, and the watches of host threads each contain
//! one ([`WatcherKind`]). The list's handle of an entry is the reference to its record,
//! [`Watcher`]. The dying process fires them all alike (`ops::relations`).

use core::fmt;
use core::ptr::NonNull;

use crate::intrusive::handle::Handle;
use crate::intrusive::list::{Linked, Links};
use crate::memory::pool::Pool;
use crate::pid::Pid;
use crate::process::relation::host_watch::ListedWatch;
use crate::process::relation::monitor::TargetSide;
use crate::process::timer_record::TargetShare;

/// The part of a record that is on a process's list of watchers.
pub struct WatcherEntry {
    place: Links<WatcherEntry>,
    kind: WatcherKind,
}

/// The kind of record that an entry lies in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatcherKind {
    /// A monitor.
    Monitor,
    /// A timer whose target the process is.
    Timer,
    /// The watch of a host thread.
    HostWatch,
}

/// A record that waits for a process's death, with the reference that the process's list has.
#[derive(Debug)]
#[must_use = "the record must be fired, released, or put back"]
pub enum Watcher {
    /// A monitor.
    Monitor(TargetSide),
    /// A timer whose target the process is.
    Timer(TargetShare),
    /// The watch of a host thread.
    HostWatch(ListedWatch),
}

impl WatcherEntry {
    /// Creates an entry that is on no list yet.
    #[inline(always)]
    pub fn new(kind: WatcherKind) -> Self {
        Self { place: Links::new(), kind }
    }
}

impl Watcher {
    /// Returns `true` if the record still waits.
    pub fn is_live(&self) -> bool {
        match self {
            Self::Monitor(monitor) => monitor.is_armed(),
            Self::Timer(timer) => timer.is_armed(),
            Self::HostWatch(watch) => watch.is_armed(),
        }
    }

    /// Returns the watching process, if it still waits, for `monitored_by`.
    pub fn pid(&self) -> Option<Pid> {
        match self {
            Self::Monitor(monitor) => monitor.is_armed().then_some(monitor.watcher),
            Self::Timer(_) | Self::HostWatch(_) => None,
        }
    }

    /// Returns `true` if the watcher is not a process: it is notified last, and also by a kernel
    /// that ends.
    pub fn is_host(&self) -> bool {
        matches!(self, Self::HostWatch(_))
    }

    /// Releases a record that will not be fired.
    pub fn release(self, pool: Option<&Pool>) {
        match self {
            Self::Monitor(monitor) => monitor.release(pool),
            Self::Timer(timer) => timer.release(pool),
            Self::HostWatch(watch) => drop(watch),
        }
    }
}

// SAFETY: the links are a field of the entry, and only the lists of watchers, and the queue that a
// fired watch moves to afterwards, use them.
unsafe impl Linked for WatcherEntry {
    fn place(&self) -> &Links<Self> {
        &self.place
    }
}

// SAFETY: E1: each record has one value of its side's type (the rules of `monitor`, `timer_record`
// and `host_watch`). E2: that value's reference keeps the record live.
unsafe impl Handle for Watcher {
    type Record = WatcherEntry;

    fn into_raw(self) -> NonNull<WatcherEntry> {
        match self {
            Self::Monitor(monitor) => monitor.into_entry(),
            Self::Timer(timer) => timer.into_entry(),
            Self::HostWatch(watch) => watch.into_entry(),
        }
    }

    unsafe fn from_raw(entry: NonNull<WatcherEntry>) -> Self {
        // SAFETY: E2: the record is live (this function's contract).
        match unsafe { entry.as_ref() }.kind {
            // SAFETY: only the entry of a monitor is of this kind, and it came from `into_raw`.
            WatcherKind::Monitor => Self::Monitor(unsafe { TargetSide::of_entry(entry) }),
            // SAFETY: only the entry of a timer is of this kind, and it came from `into_raw`.
            WatcherKind::Timer => Self::Timer(unsafe { TargetShare::of_entry(entry) }),
            // SAFETY: only the entry of a host watch is of this kind, and it came from `into_raw`.
            WatcherKind::HostWatch => Self::HostWatch(unsafe { ListedWatch::of_entry(entry) }),
        }
    }
}

impl fmt::Debug for WatcherEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
