//! [`RunningMark`], by which a core shows other threads what it runs.

use crate::pid::Pid;
use crate::sync::{Ordering, PlainAtomicUsize};

/// A record of what a core runs: the slot's index plus one, 0 for nothing, [`FIRING`] while it
/// fires timers; and how many slices it has begun. The core writes it by plain stores, and any
/// thread reads it as a hint.
#[derive(Debug, Default)]
pub(crate) struct RunningMark {
    slices: PlainAtomicUsize,
    slot: PlainAtomicUsize,
}

/// A guard: the core fires timers until it is dropped, also by a panic on a platform that catches
/// none.
#[must_use]
#[derive(Debug)]
pub(crate) struct Firing<'m>(&'m RunningMark);

impl Drop for Firing<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The value of `slot` while the core fires timers. It is no slot's index plus one, because there
/// are fewer slots.
const FIRING: usize = usize::MAX;

impl RunningMark {
    /// Marks the core as firing timers, between two slices, until the returned guard is dropped. A
    /// message that no process receives is dropped there.
    pub(crate) fn fires(&self) -> Firing<'_> {
        self.slot.store(FIRING, Ordering::Relaxed);
        Firing(self)
    }

    /// Marks the beginning of a slice of the process.
    pub(crate) fn enter(&self, pid: Pid) {
        // Relaxed: a hint. There is one writer, so no read-modify-write is needed.
        self.slices.store(self.slices.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.slot.store(pid.index() as usize + 1, Ordering::Relaxed);
    }

    /// Marks the end of the slice, or of firing timers.
    pub(crate) fn leave(&self) {
        self.slot.store(0, Ordering::Relaxed);
    }

    /// Returns how many slices the core has begun, and `true` if it is in one, or fires timers.
    pub(crate) fn progress(&self) -> (usize, bool) {
        (self.slices.load(Ordering::Relaxed), self.slot.load(Ordering::Relaxed) != 0)
    }

    /// Returns the number of the running slice, and the index of its process's slot.
    pub(crate) fn read(&self) -> Option<(usize, u32)> {
        let slot = self.slot.load(Ordering::Relaxed);
        (slot != 0 && slot != FIRING).then(|| (self.slices.load(Ordering::Relaxed), slot as u32 - 1))
    }
}
