//! Reclamation for one hart: between two slices no reader is active.
//!
//! One hart is one thread of execution. Guards are counted. Garbage that is flushed while other
//! code on the same hart holds a guard (for example a host function that steps a core) waits for a
//! later flush.
//!
//! - **H1.** All code that can look into a table, and all code that frees what is found there,
//!   stays on the hart: domains, participants, guards, and therefore the handles of kernels, hosts
//!   and cores, are neither `Send` nor `Sync`.
//! - **H2.** Wakers, and the two ends of requests, are `Send` by the language's rules, and may be
//!   used on a hart that is one thread among others. They hold a reference to the one process to
//!   which they lead, and the kernel. The last of them may drop the kernel on another thread. Such
//!   a kernel has no core, so no other thread looks into its table. It shares only the count of
//!   guards with kernels that are still on the hart, and therefore this count is an atomic in an
//!   `Arc`.

use alloc::sync::Arc;
use core::marker::PhantomData;

use crate::reclaim::Garbage;
use crate::reclaim::return_queue::ReturnQueue;
use crate::sync::{Ordering, PlainAtomicUsize};

/// A marker that keeps its owner on one hart (H1).
type OneHart = PhantomData<*const ()>;

/// A reclamation domain: all participants that may hold a pointer to an object that a member
/// retires, all on one hart.
#[derive(Clone, Debug, Default)]
pub struct Domain {
    /// Number of guards. Relaxed throughout: the events that it orders happen on one hart (H2).
    guards: Arc<PlainAtomicUsize>,
    stays: OneHart,
}

impl Domain {
    /// Creates a new domain.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a new member.
    pub fn register(&self) -> Participant {
        Participant(self.clone())
    }
}

/// The membership of one core or of the host.
#[derive(Debug)]
pub struct Participant(Domain);

impl Participant {
    /// Returns `true` if the participant is a member of this domain.
    pub fn belongs_to(&self, domain: &Domain) -> bool {
        Arc::ptr_eq(&self.0.guards, &domain.guards)
    }

    /// Pins: keeps all objects that are reachable now from being freed while the guard lives.
    /// Wait-free.
    pub fn pin(&self) -> Guard<'_> {
        let guards = &*self.0.guards;
        guards.fetch_add(1, Ordering::Relaxed);
        Guard { guards, stays: PhantomData }
    }

    /// Takes the garbage, or gives it back if a guard exists.
    pub(super) fn reclaim(&self, garbage: Garbage, return_queue: Option<Arc<ReturnQueue>>) -> Result<(), Garbage> {
        if self.0.guards.load(Ordering::Relaxed) != 0 {
            return Err(garbage);
        }
        // SAFETY: H1 — no guard exists on the hart.
        unsafe { garbage.expire() }.free_or_return(return_queue);
        Ok(())
    }

    /// Does nothing: `reclaim` frees at once.
    pub fn flush(&self) {}
}

/// A pin: while it lives, objects that were reachable when it was created are not freed.
#[derive(Debug)]
pub struct Guard<'a> {
    guards: &'a PlainAtomicUsize,
    stays: OneHart,
}

impl Guard<'_> {
    /// Returns `true` if the guard protects the objects of this domain.
    pub fn belongs_to(&self, domain: &Domain) -> bool {
        core::ptr::eq(self.guards, &*domain.guards)
    }

    /// Does nothing: no object is freed while a guard exists.
    pub fn repin(&mut self) {}
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.guards.fetch_sub(1, Ordering::Relaxed);
    }
}
