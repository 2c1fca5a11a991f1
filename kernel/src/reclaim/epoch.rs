//! Reclamation by crossbeam-epoch, with an explicit collector and explicit handles.

use crossbeam_epoch as epoch;

use alloc::sync::Arc;

use crate::reclaim::Garbage;
use crate::reclaim::return_queue::ReturnQueue;

/// A reclamation domain: all participants that may hold a pointer to an object that a member
/// retires.
#[derive(Clone, Debug, Default)]
pub struct Domain(epoch::Collector);

impl Domain {
    /// Creates a new domain.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a new member.
    pub fn register(&self) -> Participant {
        Participant(self.0.register())
    }
}

/// The membership of one thread or core.
#[derive(Debug)]
pub struct Participant(epoch::LocalHandle);

// SAFETY: a `LocalHandle` is not bound to a thread, it only must not be used by two threads at
// once. It is not Sync, and no guard outlives the borrow that created it, so no guard is alive when
// the participant moves.
unsafe impl Send for Participant {}

impl Participant {
    /// Returns `true` if the participant is a member of this domain.
    pub fn belongs_to(&self, domain: &Domain) -> bool {
        self.0.collector() == &domain.0
    }

    /// Pins: keeps all objects that are reachable now from being freed while the guard lives.
    /// Wait-free, except for the collection in every 128th pin.
    pub fn pin(&self) -> Guard<'_> {
        Guard { guard: self.0.pin(), of: core::marker::PhantomData }
    }

    /// Takes the garbage. May allocate.
    pub(super) fn reclaim(&self, garbage: Garbage, return_queue: Option<Arc<ReturnQueue>>) -> Result<(), Garbage> {
        let free = move || {
            // SAFETY: the collector runs this closure only when every guard that exists now is
            // gone.
            unsafe { garbage.expire() }.free_or_return(return_queue);
        };
        // SAFETY: the garbage may be freed by any thread, and holds no borrow.
        unsafe { self.0.pin().defer_unchecked(free) };
        Ok(())
    }

    /// Advances the reclamation of garbage that was flushed. Three calls without any guard free all
    /// of it.
    pub fn flush(&self) {
        self.0.pin().flush();
    }
}

/// A pin: while it lives, objects that were reachable when it was created are not freed.
#[derive(Debug)]
pub struct Guard<'a> {
    guard: epoch::Guard,
    of: core::marker::PhantomData<&'a Participant>,
}

impl Guard<'_> {
    /// Returns `true` if the guard protects the objects of this domain.
    pub fn belongs_to(&self, domain: &Domain) -> bool {
        self.guard.collector() == Some(&domain.0)
    }

    /// Releases the protection of the guard and pins anew.
    pub fn repin(&mut self) {
        self.guard.repin();
    }
}
