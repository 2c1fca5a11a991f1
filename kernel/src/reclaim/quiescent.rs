//! Reclamation for one hart: between two slices nobody is on the way anywhere.
//!
//! One hart is one thread of execution. Guards are counted, so that garbage handed on while somebody else on the same hart
//! holds a guard (a host function that steps a core, say) waits for a calmer point.
//!
//! - **H1.** What can look into a table, and what frees what is found there, stays on the hart: domains, participants, guards, and so
//!   kernels' handles, hosts and cores, are neither `Send` nor `Sync`.
//! - **H2.** Wakers, and the ends of requests, are `Send` by the language's rules, and may be used where the hart is a thread among
//!   others. They hold a share of the one process that they lead to, and the kernel; the last of them may drop that elsewhere. Such a kernel
//!   has no core, so nobody else looks into its table; what it shares with kernels that are still on the hart is the count
//!   of guards, which is therefore an atomic one in an `Arc`.

use alloc::sync::Arc;
use core::marker::PhantomData;

use super::Garbage;
use super::basket::ReturnQueue;
use crate::sync::{Ordering, PlainAtomicUsize};

/// Keeps its owner on one hart (H1).
type OneHart = PhantomData<*const ()>;

/// Everybody who may hold a pointer that a member retires: all on one hart.
#[derive(Clone, Debug, Default)]
pub struct Domain {
    /// Relaxed, all of it: what is ordered by it happens on one hart (H2).
    guards: Arc<PlainAtomicUsize>,
    stays: OneHart,
}

impl Domain {
    /// A domain of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new member.
    pub fn register(&self) -> Participant {
        Participant(self.clone())
    }
}

/// One core's (or the host's) membership.
#[derive(Debug)]
pub struct Participant(Domain);

impl Participant {
    /// Whether it is a member of this domain.
    pub fn is_member_of(&self, domain: &Domain) -> bool {
        Arc::ptr_eq(&self.0.guards, &domain.guards)
    }

    /// Keeps what is reachable now from being freed while the guard lives. Wait-free.
    pub fn pin(&self) -> Guard<'_> {
        let guards = &*self.0.guards;
        guards.fetch_add(1, Ordering::Relaxed);
        Guard { guards, stays: PhantomData }
    }

    /// Takes the garbage, but gives it back while anybody holds a guard.
    ///
    /// # Safety
    /// The objects are out of reach of whoever pins from now on.
    pub(super) unsafe fn reclaim(&self, garbage: Garbage, basket: Option<Arc<ReturnQueue>>) -> Result<(), Garbage> {
        if self.0.guards.load(Ordering::Relaxed) != 0 {
            return Err(garbage);
        }
        // SAFETY: no guard exists at all on the hart (H1).
        unsafe { garbage.free_or_put(basket) };
        Ok(())
    }

    /// Nothing to do: `reclaim` frees at once.
    pub fn flush(&self) {}
}

/// While it lives, what it could reach is not freed.
#[derive(Debug)]
pub struct Guard<'a> {
    guards: &'a PlainAtomicUsize,
    stays: OneHart,
}

impl Guard<'_> {
    /// Lets go of everything and pins anew.
    pub fn repin(&mut self) {}
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.guards.fetch_sub(1, Ordering::Relaxed);
    }
}
