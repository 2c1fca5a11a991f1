//! [`Depot`]: batches of blocks on their way from cores that free more than they allocate to cores
//! that allocate more than they free.
//!
//! If one core sends and another receives, the sender's pool runs dry and the receiver's pool
//! overflows. The overflow goes to a place in the depot, a batch at a time, and the sender's core
//! takes it from there before it calls the allocator. This costs one exchange per batch. Without
//! it, the allocator would free memory of other threads, which is its slowest operation.
//!
//! A place is null or holds a whole batch. Putting a batch in is an exchange for null, taking one
//! out is a swap. No core therefore reads into a batch that it does not own, and there is no ABA
//! problem. Both operations are wait-free. When all places of a class are full, the batch stays in
//! its pool.

use core::marker::PhantomData;
use core::ptr;

use crate::memory::CLASSES;
use crate::memory::pool::{FreeBlock, FreeChain};
use crate::shipped::Shipped;
use crate::sync::{AtomicPtr, Ordering};

/// Number of places for each class.
const PLACES: usize = if cfg!(any(loom, shuttle)) { 2 } else { 4 };

/// The orderings, as a parameter so that a model can weaken one and see a failure.
pub trait Orders: 'static {
    /// Ordering of putting a batch in. Release: pairs with `TAKE`, publishes the blocks.
    const PUT: Ordering = Ordering::Release;
    /// Ordering of taking a batch out. Acquire: pairs with `PUT`.
    const TAKE: Ordering = Ordering::Acquire;
}

impl Orders for Shipped {}

/// The depot that all cores of a kernel share, see the module documentation.
#[derive(Debug)]
pub struct Depot<O = Shipped> {
    places: [[AtomicPtr<FreeBlock>; PLACES]; CLASSES],
    orders: PhantomData<O>,
}

impl<O: Orders> Depot<O> {
    /// Creates an empty depot.
    pub fn new() -> Self {
        let place = |_| AtomicPtr::new(ptr::null_mut());
        Self { places: core::array::from_fn(|_| core::array::from_fn(place)), orders: PhantomData }
    }

    /// Returns `true` if there is a place for a batch. A hint.
    pub fn has_room(&self, class: usize) -> bool {
        // Relaxed: `put` checks the places again.
        self.places[class].iter().any(|place| place.load(Ordering::Relaxed).is_null())
    }

    /// Puts a batch in, whose blocks are of this class (`pool`, F1). Wait-free.
    ///
    /// # Errors
    /// The batch, if there is no place for it.
    pub fn put(&self, class: usize, batch: FreeChain) -> Result<(), FreeChain> {
        let batch = batch.into_raw();
        // Relaxed: a place that looks full is skipped.
        let put = self.places[class]
            .iter()
            .filter(|place| place.load(Ordering::Relaxed).is_null())
            .any(|place| place.compare_exchange(ptr::null_mut(), batch, O::PUT, Ordering::Relaxed).is_ok());
        // SAFETY: F1: no place has the batch, so it is still the caller's.
        if put { Ok(()) } else { Err(unsafe { FreeChain::from_raw(batch) }) }
    }

    /// Takes a batch out, if there is one. Wait-free.
    pub fn take(&self, class: usize) -> Option<FreeChain> {
        // Relaxed: a place that looks empty is skipped.
        let full = self.places[class].iter().filter(|place| !place.load(Ordering::Relaxed).is_null());
        // SAFETY: F1: the swap takes the batch of this class out of its place, or finds none.
        full.map(|place| unsafe { FreeChain::from_raw(place.swap(ptr::null_mut(), O::TAKE)) })
            .find(|batch| !batch.is_empty())
    }
}

impl<O> Depot<O> {
    /// Returns all batches to the allocator, because a core has run out of memory. Returns `true`
    /// if there were any. Wait-free, except for the allocator.
    #[cold]
    pub fn clear(&self) -> bool {
        let mut any = false;
        for (class, places) in self.places.iter().enumerate() {
            for place in places {
                // SAFETY: F1: the swap takes the batch of this class out of its place, or finds
                // none. Acquire: pairs with `PUT`.
                let batch = unsafe { FreeChain::from_raw(place.swap(ptr::null_mut(), Ordering::Acquire)) };
                any |= !batch.is_empty();
                // SAFETY: F1: the batch came from a place of this class.
                unsafe { batch.free(class, usize::MAX) };
            }
        }
        any
    }
}

impl<O: Orders> Default for Depot<O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O> Drop for Depot<O> {
    fn drop(&mut self) {
        self.clear();
    }
}
