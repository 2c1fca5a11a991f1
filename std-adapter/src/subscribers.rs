//! [`Subscribers`]: the rings of a runtime's exit streams.
//!
//! Dying processes find the rings through one pointer to an immutable list. A change replaces the
//! list; the kernel's epochs (`reclaim`), whose guard every dying core holds, free the old one.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atropos_kernel::reclaim::{Guard, Limbo, Pool, Retired, RetiredObject};
use atropos_kernel::{Kernel, Pid, Reason};

use crate::epoch_participant;
use crate::exit_ring::Ring;

/// An immutable list of all rings. `repr(C)`, because it is retired through its first field.
#[repr(C)]
struct Rings {
    retired: Retired,
    rings: Vec<Arc<Ring>>,
}

/// The rings of a runtime's subscribers.
pub(crate) struct Subscribers {
    rings: AtomicPtr<Rings>,
    /// The lock for replacing the list. The value is `true` once no further exits will come.
    closed: Mutex<bool>,
}

impl Subscribers {
    pub(crate) fn new() -> Self {
        Self { rings: AtomicPtr::new(ptr::null_mut()), closed: Mutex::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // No code of the user runs under the lock, so a poisoned value is intact.
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the exit in every ring. The guard keeps the list alive.
    pub(crate) fn ended(&self, pid: Pid, reason: &Reason, _guard: &Guard<'_>) {
        // Acquire: pairs with the Release store in `replace`; without it the list could be read
        // before it is written.
        let rings = self.rings.load(Ordering::Acquire);
        // SAFETY: the caller's guard keeps the list from being freed.
        let Some(rings) = (unsafe { rings.as_ref() }) else { return };
        rings.rings.iter().for_each(|ring| ring.put(pid, reason));
    }

    /// Replaces the list by what `change` makes of it. Returns `true` if any ring is left, and the
    /// old list, to be flushed without the lock (freeing it may run user code). The caller holds
    /// the lock.
    fn replace(&self, change: impl FnOnce(&mut Vec<Arc<Ring>>)) -> (bool, Limbo) {
        unsafe fn free(retired: NonNull<Retired>, _: Option<&Pool>) {
            // SAFETY: `retired` is the first field of a `Rings` from the box below, and no thread
            // can reach it any longer.
            drop(unsafe { Box::from_raw(retired.cast::<Rings>().as_ptr()) });
        }
        let old = self.rings.load(Ordering::Relaxed);
        // SAFETY: the list is replaced only under the lock, which the caller holds.
        let mut rings = unsafe { old.as_ref() }.map(|old| old.rings.clone()).unwrap_or_default();
        change(&mut rings);
        let any = !rings.is_empty();
        let new =
            if any { Box::into_raw(Box::new(Rings { retired: Retired::new(free), rings })) } else { ptr::null_mut() };
        // Release: pairs with the Acquire load in `ended`, which otherwise could see the pointer
        // before the list. No thread finds the old list from here on.
        self.rings.store(new, Ordering::Release);
        let mut limbo = Limbo::new();
        if let Some(old) = NonNull::new(old) {
            // SAFETY: a thread that pins from now on finds the new list, and the lock makes sure
            // that the old one is retired once. `retired` is its first field.
            limbo.retire(unsafe { RetiredObject::new(old.cast()) });
        }
        (any, limbo)
    }

    /// Adds a ring of at least this capacity.
    pub(crate) fn add(&self, capacity: usize, kernel: &Kernel) -> Arc<Ring> {
        let ring = Arc::new(Ring::new(capacity));
        let closed = self.lock();
        let (_, old) = self.replace(|rings| rings.push(ring.clone()));
        kernel.observe_exits(true);
        if *closed {
            ring.close();
        }
        drop(closed);
        hand_on(old);
        ring
    }

    /// Removes a ring. A core that has found the old list may still put an exit in it.
    pub(crate) fn remove(&self, ring: &Arc<Ring>, kernel: &Kernel) {
        let closed = self.lock();
        let (any, old) = self.replace(|rings| rings.retain(|other| !Arc::ptr_eq(other, ring)));
        if !any {
            kernel.observe_exits(false);
        }
        drop(closed);
        hand_on(old);
    }

    /// Closes all rings, and wakes the consumers that wait: no further exits will come.
    pub(crate) fn close(&self) {
        let mut closed = self.lock();
        *closed = true;
        // SAFETY: the list is replaced only under the lock, which is held here.
        let rings = unsafe { self.rings.load(Ordering::Relaxed).as_ref() }.map(|rings| rings.rings.clone());
        drop(closed);
        // The consumers' wakers are user code, so they run without the lock.
        rings.iter().flatten().for_each(|ring| ring.close());
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        hand_on(self.replace(Vec::clear).1);
    }
}

/// Frees an old list once no thread can see it.
fn hand_on(mut old: Limbo) {
    epoch_participant::with(|participant| old.hand_on(participant, None));
}
