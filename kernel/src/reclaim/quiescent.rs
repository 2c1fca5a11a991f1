//! Reclamation for one hart: between two slices nobody is on the way anywhere.
//!
//! One hart is one thread of execution: where there is an operating system, whoever drives such a kernel keeps all
//! that belongs to it (wakers too, which the language takes to be `Send`) on the thread that made it.
//!
//! Guards are counted, so that garbage handed on while somebody else on the same hart
//! holds a guard (a host function that steps a core, say) waits for a calmer point.

use alloc::rc::Rc;
use alloc::sync::Arc;

use super::Garbage;
use super::basket::Basket;
use crate::sync::Cell;

/// Everybody who may hold a pointer that a member retires: all on one hart.
#[derive(Clone, Debug, Default)]
pub struct Domain(Rc<Cell<usize>>);

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
        Rc::ptr_eq(&self.0.0, &domain.0)
    }

    /// Keeps what is reachable now from being freed while the guard lives. Wait-free.
    pub fn pin(&self) -> Guard<'_> {
        let guards = &self.0.0;
        guards.set(guards.get() + 1);
        Guard { guards }
    }

    /// Takes the garbage, but gives it back while anybody holds a guard.
    ///
    /// # Safety
    /// The objects are out of reach of whoever pins from now on.
    pub(super) unsafe fn reclaim(&self, garbage: Garbage, basket: Option<Arc<Basket>>) -> Result<(), Garbage> {
        if self.0.0.get() != 0 {
            return Err(garbage);
        }
        // SAFETY: no guard exists at all.
        unsafe { garbage.free_or_put(basket) };
        Ok(())
    }

    /// Nothing to do: `reclaim` frees at once.
    pub fn flush(&self) {}
}

/// While it lives, what it could reach is not freed.
#[derive(Debug)]
pub struct Guard<'a> {
    guards: &'a Cell<usize>,
}

impl Guard<'_> {
    /// Lets go of everything and pins anew.
    pub fn repin(&mut self) {}
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.guards.set(self.guards.get() - 1);
    }
}
