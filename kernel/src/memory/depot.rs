//! [`Depot`]: batches of blocks on their way from cores that free more than they allocate to cores that need some.
//!
//! Where one core sends and another receives, the sender's pool runs dry and the receiver's overflows. What overflows goes,
//! a batch at a time, to a place here, and comes from here before the allocator is asked: one exchange for a batch instead of
//! an allocator's frees of other threads' memory, which are its slowest.
//!
//! A place is null or a whole batch; putting one in is an exchange for null, taking it out is a swap. So nobody looks into a batch
//! that is not its own, and there is no ABA. Both are wait-free. When all places of a class are full, the batch stays where it is.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use super::CLASSES;
use super::pool::FreeBlock;
use crate::sync::{AtomicPtr, Ordering};

/// Places for each class.
const PLACES: usize = if cfg!(any(loom, shuttle)) { 2 } else { 4 };

/// The orderings, a parameter so that a model can weaken one and see it fail.
pub trait Orders: 'static {
    /// Of putting a batch in. Release: pairs with `TAKE`, hands over the blocks.
    const PUT: Ordering = Ordering::Release;
    /// Of taking one out. Acquire: pairs with `PUT`.
    const TAKE: Ordering = Ordering::Acquire;
}

/// The orderings as they must be.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

/// See the module.
#[derive(Debug)]
pub struct Depot<O = Shipped> {
    places: [[AtomicPtr<FreeBlock>; PLACES]; CLASSES],
    orders: PhantomData<O>,
}

impl<O: Orders> Depot<O> {
    /// Empty.
    pub fn new() -> Self {
        let place = |_| AtomicPtr::new(ptr::null_mut());
        Self { places: core::array::from_fn(|_| core::array::from_fn(place)), orders: PhantomData }
    }

    /// Whether there is a place for a batch. A hint.
    pub fn has_room(&self, class: usize) -> bool {
        // Relaxed: `put` looks again.
        self.places[class].iter().any(|place| place.load(Ordering::Relaxed).is_null())
    }

    /// Puts a batch in; false, and the batch still the caller's, when there is no place for it. Wait-free.
    pub fn put(&self, class: usize, batch: NonNull<FreeBlock>) -> bool {
        // Relaxed: a place that looks full need not be tried.
        self.places[class]
            .iter()
            .filter(|place| place.load(Ordering::Relaxed).is_null())
            .any(|place| place.compare_exchange(ptr::null_mut(), batch.as_ptr(), O::PUT, Ordering::Relaxed).is_ok())
    }

    /// Takes a batch out, if there is one. Wait-free.
    pub fn take(&self, class: usize) -> Option<NonNull<FreeBlock>> {
        // Relaxed: a place that looks empty need not be tried.
        let full = self.places[class].iter().filter(|place| !place.load(Ordering::Relaxed).is_null());
        full.map(|place| place.swap(ptr::null_mut(), O::TAKE)).find_map(NonNull::new)
    }
}

impl<O> Depot<O> {
    /// Gives all that is in it back to the allocator: somebody finds no memory. Whether there was anything. Wait-free, but
    /// for the allocator.
    #[cold]
    pub fn clear(&self) -> bool {
        let mut any = false;
        for (class, places) in self.places.iter().enumerate() {
            for place in places {
                // Acquire: pairs with `PUT`.
                let batch = place.swap(ptr::null_mut(), Ordering::Acquire);
                any |= !batch.is_null();
                // SAFETY: a batch of this class, which nobody else has any more.
                unsafe { FreeBlock::free_all(batch, class) };
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
