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
//! Two implementations, chosen by the feature `epoch`:
//! - `epoch`: crossbeam-epoch, for any number of threads.
//! - `quiescent`: for one hart. Nothing can be on its way between two slices, so what
//!   has been retired is freed there and then. Its types are not `Send`.

use core::fmt;
use core::ptr::{self, NonNull};

use crate::sync::Cell;

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
    next: Cell<*mut Retired>,
    free: unsafe fn(NonNull<Retired>),
}

impl Retired {
    /// Not retired; `free` frees the object that this is a part of.
    pub const fn new(free: unsafe fn(NonNull<Retired>)) -> Self {
        Self { next: Cell::new(ptr::null_mut()), free }
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
    head: *mut Retired,
    len: usize,
}

// SAFETY: the retired objects are the limbo's alone, and are made to be freed by any thread.
unsafe impl Send for Limbo {}

impl Limbo {
    /// Nothing retired.
    pub const fn new() -> Self {
        Self { head: ptr::null_mut(), len: 0 }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Retires an object. Wait-free, allocates nothing.
    ///
    /// # Safety
    /// Nothing that is pinned from now on can reach the object; it is retired once.
    pub unsafe fn retire(&mut self, object: NonNull<Retired>) {
        // SAFETY: live; readers that still see the object do not look at its `Retired`.
        unsafe { object.as_ref() }.next.set(self.head);
        self.head = object.as_ptr();
        self.len += 1;
    }

    /// Hands all on, to be freed when no guard can see them. May allocate; the caller
    /// holds no guard of `participant`.
    pub fn hand_on(&mut self, participant: &Participant) {
        if let Some(head) = NonNull::new(self.head) {
            // Out of here first: what is freed at once may panic.
            let taken = core::mem::take(self);
            // SAFETY: retired objects, by `retire`'s contract out of reach of new guards.
            if !unsafe { participant.reclaim(Garbage(head)) } {
                *self = taken;
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
pub struct Garbage(NonNull<Retired>);

// SAFETY: see `Limbo`.
unsafe impl Send for Garbage {}

impl Garbage {
    /// Frees them.
    ///
    /// # Safety
    /// No guard that existed when they were retired exists any more.
    unsafe fn free(self) {
        let mut next = Some(self.0);
        while let Some(object) = next {
            // SAFETY: live until freed below.
            let fields = unsafe { object.as_ref() };
            let (after, free) = (fields.next.get(), fields.free);
            next = NonNull::new(after);
            // SAFETY: by contract out of everybody's reach.
            unsafe { free(object) };
        }
    }
}
