//! The interface to memory reclamation: pin, retire, flush.
//!
//! A pid leads to a process through its slot, and the process may die while another thread follows
//! that path. The reader therefore pins first ([`Participant::pin`]). A dead process is *retired*
//! once its slot no longer leads to it, and freed when no guard that existed at that time exists
//! any longer.
//!
//! Retiring must not allocate, because an exit retires. Retired objects therefore go on an
//! intrusive list of their core, the [`Limbo`]. The core flushes the list between slices
//! ([`Limbo::hand_on`]), where an allocation is allowed.
//!
//! Memory that is ready to be freed may return to its core, for its pool ([`return_queue`]).
//!
//! Two implementations, selected by the feature `epoch`:
//! - `epoch`: crossbeam-epoch, for any number of threads.
//! - `quiescent`: for one hart. No reader is active between two slices, so retired objects are
//!   freed there immediately. Its types are not `Send`.

#[cfg(feature = "epoch")]
mod epoch;
#[cfg(not(feature = "epoch"))]
mod quiescent;
pub mod return_queue;

use alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;

use crate::intrusive::list::{self, Linked, Links};
pub use crate::memory::pool::Pool;
use crate::reclaim::return_queue::ReturnQueue;

#[cfg(feature = "epoch")]
pub use epoch::{Domain, Guard, Participant};

#[cfg(not(feature = "epoch"))]
pub use quiescent::{Domain, Guard, Participant};

/// The part of an object by which the object is retired.
pub struct Retired {
    /// Belongs to the thread that retires the object.
    place: Links<Retired>,
    free: unsafe fn(NonNull<Retired>, Option<&Pool>),
}

impl Linked for Retired {
    fn place(&self) -> &Links<Self> {
        &self.place
    }
}

impl Retired {
    /// Creates the part of an object that is not retired. `free` frees the whole object, to a pool
    /// if there is one.
    pub fn new(free: unsafe fn(NonNull<Retired>, Option<&Pool>)) -> Self {
        Self { place: Links::new(), free }
    }

    /// Frees the object.
    ///
    /// # Safety
    /// No guard that existed when it was retired exists any longer. The caller owns the object, and
    /// does not use it again.
    unsafe fn free(object: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the caller owns the object, which is live until it is freed below.
        let free = unsafe { object.as_ref() }.free;
        // SAFETY: no guard can reach the object and the caller owns it (this function's contract).
        unsafe { free(object, pool) };
    }
}

impl fmt::Debug for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Retired")
    }
}

/// The objects that a core has retired and not yet flushed.
#[derive(Debug)]
pub struct Limbo {
    retired: Option<Garbage>,
    len: usize,
}

impl Limbo {
    /// Creates an empty list.
    pub const fn new() -> Self {
        Self { retired: None, len: 0 }
    }

    /// Returns the number of objects that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if no object waits.
    pub fn is_empty(&self) -> bool {
        self.retired.is_none()
    }

    /// Retires an object. Wait-free, allocates nothing.
    ///
    /// # Safety
    /// No thread that pins from now on can reach the object. It is retired once.
    pub unsafe fn retire(&mut self, object: NonNull<Retired>) {
        // Readers that can still see the object do not access its `Retired`.
        let tail = match &self.retired {
            Some(retired) => {
                // SAFETY: the caller owns the retired object's list links (this function's
                // contract).
                unsafe { list::set_next(object, retired.head.as_ptr()) };
                retired.tail
            }
            None => object,
        };
        self.retired = Some(Garbage { head: object, tail });
        self.len += 1;
    }

    /// Flushes all retired objects: they are freed when no guard can see them. The member that
    /// detects this frees them or, with a return queue, the core that owns the queue. May allocate.
    /// The caller holds no guard of `participant`.
    pub fn hand_on(&mut self, participant: &Participant, basket: Option<&Arc<ReturnQueue>>) {
        // Reset the count first: a destructor that runs at once may panic.
        let len = core::mem::take(&mut self.len);
        if let Some(garbage) = self.retired.take() {
            // SAFETY: new guards cannot reach retired objects, by `retire`'s contract.
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

// SAFETY: only the garbage has the retired objects, and they are made to be freed by any thread.
unsafe impl Send for Garbage {}

impl Garbage {
    /// Frees the objects, or puts them into a return queue.
    ///
    /// # Safety
    /// No guard that existed when they were retired exists any longer.
    unsafe fn free_or_return(self, basket: Option<Arc<ReturnQueue>>) {
        match basket {
            // SAFETY: no old guard exists any longer (this function's contract).
            Some(basket) => unsafe { basket.put(self) },
            // SAFETY: no old guard exists any longer (this function's contract).
            None => unsafe { self.free() },
        }
    }

    /// # Safety
    /// The same contract as `free_or_return`.
    unsafe fn free(self) {
        let mut next = Some(self.head);
        while let Some(object) = next {
            // SAFETY: the object is live until it is freed below, and the garbage owns it.
            let after = unsafe { list::next(object) };
            next = NonNull::new(after).filter(|_| object != self.tail);
            // SAFETY: no old guard exists any longer (this function's contract), and the loop has
            // read the next link already.
            unsafe { Retired::free(object, None) };
        }
    }
}
