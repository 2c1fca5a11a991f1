//! [`WatcherEntry`]: what waits on a process's list for its death.
//!
//! Monitors, the timers that end with their target, and the watches of those who are no processes have one inside; the
//! dying process does not care which.

use core::fmt;
use core::ptr::NonNull;

use crate::hand::KernelCx;
use crate::list::{Linked, Links};
use crate::memory::pool::Pool;
use crate::pid::Pid;
use crate::reason::Reason;

/// The part of a record by which it waits on somebody's list of watchers. The list has a
/// share of the record.
pub struct WatcherEntry {
    place: Links<WatcherEntry>,
    vtable: &'static WatchVtable,
}

/// What a record does when the process ends.
#[derive(Debug)]
pub struct WatchVtable {
    /// Whether it still waits.
    pub live: unsafe fn(NonNull<WatcherEntry>) -> bool,
    /// The process died; takes the list's share.
    pub fire: unsafe fn(NonNull<WatcherEntry>, &KernelCx<'_>, &Reason),
    /// Gives up the list's share.
    pub release: unsafe fn(NonNull<WatcherEntry>, Option<&Pool>),
    /// The watching process, for `monitored_by`.
    pub watcher: unsafe fn(NonNull<WatcherEntry>) -> Option<Pid>,
    /// Who waits is no process: it is told when all else is done, and also by a kernel that ends.
    pub outside: bool,
}

impl WatcherEntry {
    /// On no list yet.
    pub fn new(vtable: &'static WatchVtable) -> Self {
        Self { place: Links::new(), vtable }
    }

    /// Its record's functions.
    ///
    /// # Safety
    /// The caller has the list's share, so it is live.
    unsafe fn vtable(this: NonNull<Self>) -> &'static WatchVtable {
        // SAFETY: by contract.
        unsafe { this.as_ref() }.vtable
    }

    /// Whether it still waits.
    ///
    /// # Safety
    /// The caller has the list's share.
    pub unsafe fn is_live(this: NonNull<Self>) -> bool {
        // SAFETY: by contract.
        let vtable = unsafe { Self::vtable(this) };
        // SAFETY: its own vtable.
        unsafe { (vtable.live)(this) }
    }

    /// The watching process, if it still waits.
    ///
    /// # Safety
    /// The caller has the list's share.
    pub unsafe fn watcher(this: NonNull<Self>) -> Option<Pid> {
        // SAFETY: by contract.
        let vtable = unsafe { Self::vtable(this) };
        // SAFETY: its own vtable.
        unsafe { (vtable.watcher)(this) }
    }

    /// Whether who waits is no process.
    ///
    /// # Safety
    /// The caller has the list's share.
    pub unsafe fn is_outside(this: NonNull<Self>) -> bool {
        // SAFETY: by contract.
        unsafe { Self::vtable(this) }.outside
    }

    /// The process died.
    ///
    /// # Safety
    /// The caller gives the list's share.
    pub unsafe fn fire(this: NonNull<Self>, hand: &KernelCx<'_>, reason: &Reason) {
        // SAFETY: by contract.
        let vtable = unsafe { Self::vtable(this) };
        // SAFETY: its own vtable.
        unsafe { (vtable.fire)(this, hand, reason) };
    }

    /// Nobody will fire it.
    ///
    /// # Safety
    /// The caller gives the list's share.
    pub unsafe fn release(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: by contract.
        let vtable = unsafe { Self::vtable(this) };
        // SAFETY: its own vtable.
        unsafe { (vtable.release)(this, pool) };
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
