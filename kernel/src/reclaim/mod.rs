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

use crate::intrusive::handle::Handle;
use crate::intrusive::list::{Linked, Links, Segment};
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

// SAFETY: the links are a field of the record, and only the lists of retired objects use them.
unsafe impl Linked for Retired {
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
}

/// An object to be retired: a thread that pins from now on cannot reach it.
#[derive(Debug)]
#[must_use = "the object must be retired"]
pub struct RetiredObject(NonNull<Retired>);

impl RetiredObject {
    /// Creates the value.
    ///
    /// # Safety
    /// No thread that pins from now on can reach the object. The pointer is valid for all that the
    /// object's `free` touches. Called once for an object.
    pub const unsafe fn new(object: NonNull<Retired>) -> Self {
        Self(object)
    }
}

// SAFETY: retired objects are made to be freed by any thread.
unsafe impl Send for RetiredObject {}

// SAFETY: E1: there is one value for an object (`new`'s contract). E2: the object is live until an
// `ExpiredObject` is freed.
unsafe impl Handle for RetiredObject {
    type Record = Retired;

    fn into_raw(self) -> NonNull<Retired> {
        self.0
    }

    unsafe fn from_raw(object: NonNull<Retired>) -> Self {
        Self(object)
    }
}

/// A retired object that no guard protects any longer, and that this thread alone has.
#[derive(Debug)]
struct ExpiredObject(NonNull<Retired>);

impl ExpiredObject {
    /// Frees the object.
    fn free(self, pool: Option<&Pool>) {
        // SAFETY: this thread has the object, which is live until it is freed below.
        let free = unsafe { self.0.as_ref() }.free;
        // SAFETY: no guard protects the object, and this value is the only right to it.
        unsafe { free(self.0, pool) };
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
    pub fn retire(&mut self, object: RetiredObject) {
        // Readers that can still see the object do not access its `Retired`.
        match &mut self.retired {
            Some(Garbage(retired)) => retired.push(object),
            None => self.retired = Some(Garbage(Segment::of(object))),
        }
        self.len += 1;
    }

    /// Flushes all retired objects: they are freed when no guard can see them. The member that
    /// detects this frees them or, with a return queue, the core that owns the queue. May allocate.
    /// The caller holds no guard of `participant`.
    pub fn hand_on(&mut self, participant: &Participant, return_queue: Option<&Arc<ReturnQueue>>) {
        // Reset the count first: a destructor that runs at once may panic.
        let len = core::mem::take(&mut self.len);
        if let Some(garbage) = self.retired.take()
            && let Err(garbage) = participant.reclaim(garbage, return_queue.cloned())
        {
            (self.retired, self.len) = (Some(garbage), len);
        }
    }
}

impl Default for Limbo {
    fn default() -> Self {
        Self::new()
    }
}

/// A chain of retired objects. No thread that pins from now on can reach them.
#[derive(Debug)]
pub struct Garbage(Segment<RetiredObject>);

impl Garbage {
    /// Ends the time for which guards protect the objects.
    ///
    /// # Safety
    /// No guard that existed when they were retired exists any longer.
    unsafe fn expire(self) -> ExpiredGarbage {
        ExpiredGarbage(self.0)
    }
}

/// A chain of retired objects that no guard protects any longer.
#[derive(Debug)]
struct ExpiredGarbage(Segment<RetiredObject>);

impl ExpiredGarbage {
    /// Frees the objects, or puts them into a return queue.
    fn free_or_return(self, return_queue: Option<Arc<ReturnQueue>>) {
        match return_queue {
            Some(return_queue) => return_queue.put(self),
            None => self.free(),
        }
    }

    fn free(self) {
        for object in self.0.into_chain() {
            ExpiredObject(object.0).free(None);
        }
    }
}
