//! Reclamation by crossbeam-epoch, collector and handles explicit.

use crossbeam_epoch as epoch;

use alloc::sync::Arc;

use super::Garbage;
use super::basket::ReturnQueue;

/// Everybody who may hold a pointer that a member retires.
#[derive(Clone, Debug, Default)]
pub struct Domain(epoch::Collector);

impl Domain {
    /// A domain of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new member.
    pub fn register(&self) -> Participant {
        Participant(self.0.register())
    }
}

/// One thread's (or core's) membership.
#[derive(Debug)]
pub struct Participant(epoch::LocalHandle);

// SAFETY: a `LocalHandle` is bound to no thread, only not to be used by two at once: it
// is not Sync, and no guard outlives the borrow that made it, so none is alive when the
// participant moves.
unsafe impl Send for Participant {}

impl Participant {
    /// Whether it is a member of this domain.
    pub fn is_member_of(&self, domain: &Domain) -> bool {
        self.0.collector() == &domain.0
    }

    /// Keeps what is reachable now from being freed while the guard lives. Wait-free
    /// but for the collection that every 128th pin does.
    pub fn pin(&self) -> Guard<'_> {
        Guard { guard: self.0.pin(), of: core::marker::PhantomData }
    }

    /// Takes the garbage. May allocate.
    ///
    /// # Safety
    /// The objects are out of reach of whoever pins from now on.
    pub(super) unsafe fn reclaim(&self, garbage: Garbage, basket: Option<Arc<ReturnQueue>>) -> Result<(), Garbage> {
        let free = move || {
            // SAFETY: run when every guard of now is gone, by the collector's contract.
            unsafe { garbage.free_or_put(basket) }
        };
        // SAFETY: the garbage may be freed by any thread, and holds no borrow.
        unsafe { self.0.pin().defer_unchecked(free) };
        Ok(())
    }

    /// Pushes on what has been handed on; three calls with no guard about free it all.
    pub fn flush(&self) {
        self.0.pin().flush();
    }
}

/// While it lives, what it could reach is not freed.
#[derive(Debug)]
pub struct Guard<'a> {
    guard: epoch::Guard,
    of: core::marker::PhantomData<&'a Participant>,
}

impl Guard<'_> {
    /// Lets go of everything and pins anew.
    pub fn repin(&mut self) {
        self.guard.repin();
    }
}
