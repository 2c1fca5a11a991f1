//! The references to a timer that its starter and its target have: [`StarterShare`] and
//! [`TargetShare`].

use core::ops::Deref;
use core::ptr::NonNull;

use super::TimerHead;
use crate::intrusive::counted::Ref;
use crate::intrusive::handle::Handle;
use crate::memory::pool::Pool;
use crate::process::relation::watcher::WatcherEntry;

/// The starter's reference, in its set.
#[derive(Debug)]
pub struct StarterShare(pub(super) Ref<TimerHead>);

impl StarterShare {
    /// Releases the reference. Wait-free.
    pub fn release(self, pool: Option<&Pool>) {
        self.0.release(pool);
    }
}

impl Deref for StarterShare {
    type Target = Ref<TimerHead>;

    fn deref(&self) -> &Ref<TimerHead> {
        &self.0
    }
}

// SAFETY: E1: R1. E2: the reference keeps the record live.
unsafe impl Handle for StarterShare {
    type Record = TimerHead;

    fn into_raw(self) -> NonNull<TimerHead> {
        self.0.into_raw()
    }

    unsafe fn from_raw(record: NonNull<TimerHead>) -> Self {
        // SAFETY: the pointer came from `into_raw`, with the reference (this function's contract).
        Self(unsafe { Ref::from_raw(record) })
    }
}

/// The reference that the target's list of watchers has.
#[derive(Debug)]
pub struct TargetShare(pub(super) Ref<TimerHead>);

impl TargetShare {
    /// Converts the reference into the entry of the target's list.
    pub(in crate::process) fn into_entry(self) -> NonNull<WatcherEntry> {
        self.0.into_field()
    }

    /// Converts an entry back.
    ///
    /// # Safety
    /// The entry came from [`TargetShare::into_entry`], with the reference.
    pub(in crate::process) unsafe fn of_entry(entry: NonNull<WatcherEntry>) -> Self {
        // SAFETY: `into_entry` made the pointer, with the reference (this function's contract).
        Self(unsafe { Ref::of_field(entry) })
    }

    /// Releases the reference. Wait-free.
    pub fn release(self, pool: Option<&Pool>) {
        self.0.release(pool);
    }
}

impl Deref for TargetShare {
    type Target = Ref<TimerHead>;

    fn deref(&self) -> &Ref<TimerHead> {
        &self.0
    }
}
