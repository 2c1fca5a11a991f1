//! [`Watch`]: what waits on a process's list for its death.
//!
//! Monitors and the timers that end with their target have one inside; the dying process
//! does not care which.

use core::fmt;
use core::ptr::NonNull;

use crate::hand::Hand;
use crate::list::{Listed, Place};
use crate::pid::Pid;
use crate::reason::Reason;

/// The part of a record by which it waits on somebody's list of watchers. The list has a
/// share of the record.
pub struct Watch {
    place: Place<Watch>,
    vtable: &'static WatchVtable,
}

/// What a record does when the process ends.
#[derive(Debug)]
pub struct WatchVtable {
    /// Whether it still waits.
    pub live: unsafe fn(NonNull<Watch>) -> bool,
    /// The process died; takes the list's share.
    pub fire: unsafe fn(NonNull<Watch>, &Hand<'_>, &Reason),
    /// Gives up the list's share.
    pub release: unsafe fn(NonNull<Watch>),
    /// The watching process, for `monitored_by`.
    pub watcher: unsafe fn(NonNull<Watch>) -> Option<Pid>,
}

impl Watch {
    /// On no list yet.
    pub fn new(vtable: &'static WatchVtable) -> Self {
        Self { place: Place::new(), vtable }
    }

    /// Its record's functions.
    pub fn vtable(&self) -> &'static WatchVtable {
        self.vtable
    }
}

impl Listed for Watch {
    fn place(&self) -> &Place<Self> {
        &self.place
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
