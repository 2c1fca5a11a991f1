//! [`RefCount`]: how many still need a record, and who frees it.
//!
//! A link, a monitor, a timer is one allocation that two sides use without asking each other. Each has a share,
//! which travels with the list, set or signal that it is in; who gives up the last one frees the record, and has it
//! to itself from then on. Only who has a share may add one, so the last stays the last.

use core::marker::PhantomData;

use crate::sync::{AtomicU8, Ordering};

/// The orderings, a parameter so that a model can weaken one and see it fail.
pub trait Orders: 'static {
    /// Of giving up. Release: a side's last use comes before its share is gone. Acquire: who gave up the
    /// last one sees all uses by the others, and frees after them.
    const GIVE_UP: Ordering = Ordering::AcqRel;
    /// Of the look whether one's own share is the last. Acquire: it pairs with the others' giving up, as above.
    const LAST: Ordering = Ordering::Acquire;
}

/// The orderings as they must be.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

/// See the module.
#[derive(Debug)]
pub struct RefCount<O = Shipped> {
    count: AtomicU8,
    orders: PhantomData<O>,
}

impl<O: Orders> RefCount<O> {
    /// So many.
    pub fn new(count: u8) -> Self {
        Self { count: AtomicU8::new(count), orders: PhantomData }
    }

    /// One more, for somebody else. Wait-free.
    pub fn add(&self) {
        // Relaxed: who shares has a share.
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives one up: whether it was the last. Wait-free.
    #[must_use = "who gives up the last share frees the record"]
    pub fn give_up(&self) -> bool {
        // If there is one left it is the caller's, and nobody has one to make another of: nothing has to be exchanged. That
        // is so for every record's last share but when two are given up at the same time.
        self.count.load(O::LAST) == 1 || self.count.fetch_sub(1, O::GIVE_UP) == 1
    }
}
