//! A reference count, [`RefCount`], for a record that two sides use.
//!
//! A link, a monitor and a timer are each one allocation that two sides use without synchronising.
//! Each side holds a reference, which travels with the list, set or signal that the record is in.
//! The holder that releases the last reference owns the record exclusively and frees it. Only a
//! holder may add a reference, so the last one stays the last.

use core::marker::PhantomData;

use crate::shipped::Shipped;
use crate::sync::{AtomicU8, Ordering};

/// The orderings of the protocol. They are a parameter so that a loom model can weaken one of them
/// and show that it then fails.
pub trait Orders: 'static {
    /// The ordering of a release. Release: a holder's last use comes before its reference is gone.
    /// Acquire: the holder that released the last reference sees all uses by the other holders, and
    /// frees the record after them.
    const GIVE_UP: Ordering = Ordering::AcqRel;
    /// The ordering of the check if the caller's own reference is the last. Acquire: pairs with the
    /// `GIVE_UP` of the other holders, whose uses must be visible before the record is freed.
    const LAST: Ordering = Ordering::Acquire;
}

impl Orders for Shipped {}

/// A reference count of a record (see the module).
#[derive(Debug)]
pub struct RefCount<O = Shipped> {
    count: AtomicU8,
    orders: PhantomData<O>,
}

impl<O: Orders> RefCount<O> {
    /// Creates a count of `count` references.
    pub fn new(count: u8) -> Self {
        Self { count: AtomicU8::new(count), orders: PhantomData }
    }

    /// Acquires one more reference, for another holder. Wait-free.
    ///
    /// # Panics
    /// If there are 128 references: the count must not wrap. No record has more than a few.
    pub fn add(&self) {
        // Relaxed: only a holder adds a reference.
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        assert!(before < 128, "a record has a few references");
    }

    /// Releases a reference. Returns `true` if it was the last. Wait-free.
    #[must_use = "the holder that releases the last reference frees the record"]
    pub fn release(&self) -> bool {
        // A count of one is the caller's own reference, and only a holder can add one, so the count
        // cannot change under us: a load is enough. This is so for the last reference of every
        // record, unless two holders release theirs at the same time.
        self.count.load(O::LAST) == 1 || self.count.fetch_sub(1, O::GIVE_UP) == 1
    }
}
