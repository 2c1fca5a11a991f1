//! The seam behind which memory is reclaimed: pin, retire, hand on.
//!
//! A pid leads to a process through its slot, and the process may die while somebody
//! is on the way. So whoever looks pins first ([`Participant::pin`]); a dead process is
//! *retired* once its slot no longer leads to it, and freed when no guard that existed
//! then exists any more.
//!
//! Retiring must not allocate, because a death retires. So the retired go on an
//! intrusive list of their core, the [`Limbo`], and are handed on at a calm point
//! between slices ([`Limbo::hand_on`]), where an allocation is allowed.
//!
//! What has been freed may come back to its core, for its pool ([`basket`]).
//!
//! Two implementations, chosen by the feature `epoch`:
//! - `epoch`: crossbeam-epoch, for any number of threads.
//! - `quiescent`: for one hart. Nothing can be on its way between two slices, so what
//!   has been retired is freed there and then. Its types are not `Send`.

use alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;

use crate::list::{self, Linked, Links};
pub use crate::memory::pool::Pool;

pub mod basket;
use basket::ReturnQueue;

#[cfg(feature = "epoch")]
mod epoch;
#[cfg(feature = "epoch")]
pub use epoch::{Domain, Guard, Participant};

#[cfg(not(feature = "epoch"))]
mod quiescent;
#[cfg(not(feature = "epoch"))]
pub use quiescent::{Domain, Guard, Participant};

/// The part of an object by which it is retired.
pub struct Retired {
    /// The retirer's.
    place: Links<Retired>,
    free: unsafe fn(NonNull<Retired>, Option<&Pool>),
}

impl Linked for Retired {
    fn place(&self) -> &Links<Self> {
        &self.place
    }
}

impl Retired {
    /// Not retired; `free` frees the object that this is a part of, to a pool if there is one.
    pub fn new(free: unsafe fn(NonNull<Retired>, Option<&Pool>)) -> Self {
        Self { place: Links::new(), free }
    }

    /// Frees the object.
    ///
    /// # Safety
    /// No guard that existed when it was retired exists any more; the caller has it, and does not use it again.
    unsafe fn free(object: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: live until it is freed.
        let free = unsafe { object.as_ref() }.free;
        // SAFETY: by contract out of everybody's reach.
        unsafe { free(object, pool) };
    }
}

impl fmt::Debug for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Retired")
    }
}

/// What a core has retired and not yet handed on.
#[derive(Debug)]
pub struct Limbo {
    retired: Option<Garbage>,
    len: usize,
}

impl Limbo {
    /// Nothing retired.
    pub const fn new() -> Self {
        Self { retired: None, len: 0 }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.retired.is_none()
    }

    /// Retires an object. Wait-free, allocates nothing.
    ///
    /// # Safety
    /// Nothing that is pinned from now on can reach the object; it is retired once.
    pub unsafe fn retire(&mut self, object: NonNull<Retired>) {
        // Readers that still see the object do not look at its `Retired`.
        let tail = match &self.retired {
            Some(retired) => {
                // SAFETY: the caller's.
                unsafe { list::set_next(object, retired.head.as_ptr()) };
                retired.tail
            }
            None => object,
        };
        self.retired = Some(Garbage { head: object, tail });
        self.len += 1;
    }

    /// Hands all on, to be freed when no guard can see them: by whoever sees that, or, with a basket, by the core
    /// that has it. May allocate; the caller holds no guard of `participant`.
    pub fn hand_on(&mut self, participant: &Participant, basket: Option<&Arc<ReturnQueue>>) {
        // Out of here first: what is freed at once may panic.
        let len = core::mem::take(&mut self.len);
        if let Some(garbage) = self.retired.take() {
            // SAFETY: retired objects, by `retire`'s contract out of reach of new guards.
            if let Err(garbage) = unsafe { participant.reclaim(garbage, basket.cloned()) } {
                (self.retired, self.len) = (Some(garbage), len);
            }
        }
    }
}

impl Default for Limbo {
    fn default() -> Self {
        Self::new()
    }
}

/// A chain of retired objects.
#[derive(Debug)]
pub struct Garbage {
    head: NonNull<Retired>,
    tail: NonNull<Retired>,
}

// SAFETY: the retired objects are the garbage's alone, and are made to be freed by any thread.
unsafe impl Send for Garbage {}

impl Garbage {
    /// Frees them, or puts them into a basket.
    ///
    /// # Safety
    /// No guard that existed when they were retired exists any more.
    unsafe fn free_or_put(self, basket: Option<Arc<ReturnQueue>>) {
        match basket {
            // SAFETY: by contract.
            Some(basket) => unsafe { basket.put(self) },
            // SAFETY: by contract.
            None => unsafe { self.free() },
        }
    }

    /// # Safety
    /// As for `free_or_put`.
    unsafe fn free(self) {
        let mut next = Some(self.head);
        while let Some(object) = next {
            // SAFETY: live until freed below, and the garbage's.
            let after = unsafe { list::next(object) };
            next = NonNull::new(after).filter(|_| object != self.tail);
            // SAFETY: by contract.
            unsafe { Retired::free(object, None) };
        }
    }
}
