//! An entry on a process's list of watchers, [`WatcherEntry`], which waits for the process's death.
//!
//! Monitors, the timers that end with their target, and the watches of host threads each contain
//! one. The dying process does not distinguish them.

use core::fmt;
use core::ptr::NonNull;

use crate::intrusive::list::{Linked, Links};
use crate::kernel::kernel_cx::KernelCx;
use crate::memory::pool::Pool;
use crate::pid::Pid;
use crate::reason::Reason;

/// The part of a record that is on a process's list of watchers. The list holds a reference to the
/// record.
pub struct WatcherEntry {
    place: Links<WatcherEntry>,
    vtable: &'static WatchVtable,
}

/// The functions of a watcher's record.
#[derive(Debug)]
pub struct WatchVtable {
    /// Returns `true` if the record still waits.
    pub live: unsafe fn(NonNull<WatcherEntry>) -> bool,
    /// Fires the record because the process died; consumes the list's reference.
    pub fire: unsafe fn(NonNull<WatcherEntry>, &KernelCx<'_>, &Reason),
    /// Releases the list's reference.
    pub release: unsafe fn(NonNull<WatcherEntry>, Option<&Pool>),
    /// Returns the watching process, for `monitored_by`.
    pub watcher: unsafe fn(NonNull<WatcherEntry>) -> Option<Pid>,
    /// `true` if the watcher is not a process: it is notified last, and also by a kernel that ends.
    pub outside: bool,
}

impl WatcherEntry {
    /// Creates an entry that is on no list yet.
    pub fn new(vtable: &'static WatchVtable) -> Self {
        Self { place: Links::new(), vtable }
    }

    /// Returns the functions of its record.
    ///
    /// # Safety
    /// The caller holds the list's reference, which keeps the record live.
    unsafe fn vtable(this: NonNull<Self>) -> &'static WatchVtable {
        // SAFETY: the caller holds the list's reference (this function's contract).
        unsafe { this.as_ref() }.vtable
    }

    /// Returns `true` if the record still waits.
    ///
    /// # Safety
    /// The caller holds the list's reference.
    pub unsafe fn is_live(this: NonNull<Self>) -> bool {
        // SAFETY: the caller holds the list's reference (this function's contract).
        let vtable = unsafe { Self::vtable(this) };
        // SAFETY: the vtable is this record's, and the list's reference keeps it live.
        unsafe { (vtable.live)(this) }
    }

    /// Returns the watching process, if it still waits.
    ///
    /// # Safety
    /// The caller holds the list's reference.
    pub unsafe fn watcher(this: NonNull<Self>) -> Option<Pid> {
        // SAFETY: the caller holds the list's reference (this function's contract).
        let vtable = unsafe { Self::vtable(this) };
        // SAFETY: the vtable is this record's, and the list's reference keeps it live.
        unsafe { (vtable.watcher)(this) }
    }

    /// Returns `true` if the watcher is not a process.
    ///
    /// # Safety
    /// The caller holds the list's reference.
    pub unsafe fn is_outside(this: NonNull<Self>) -> bool {
        // SAFETY: the caller holds the list's reference (this function's contract).
        unsafe { Self::vtable(this) }.outside
    }

    /// Fires the record because the process died.
    ///
    /// # Safety
    /// The caller passes the list's reference.
    pub unsafe fn fire(this: NonNull<Self>, hand: &KernelCx<'_>, reason: &Reason) {
        // SAFETY: the caller holds the list's reference (this function's contract).
        let vtable = unsafe { Self::vtable(this) };
        // SAFETY: the vtable is this record's, and the caller passes the list's reference.
        unsafe { (vtable.fire)(this, hand, reason) };
    }

    /// Releases a record that will not be fired.
    ///
    /// # Safety
    /// The caller passes the list's reference.
    pub unsafe fn release(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the caller holds the list's reference (this function's contract).
        let vtable = unsafe { Self::vtable(this) };
        // SAFETY: the vtable is this record's, and the caller passes the list's reference.
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
