//! [`Shares`]: how many still need a record, and who frees it.
//!
//! A link, a monitor, a timer is one allocation that two sides use without asking each other. Each has a share,
//! which travels with the list, set or signal that it is in; who gives up the last one frees the record, and has it
//! to itself from then on.

use core::marker::PhantomData;

use crate::sync::{AtomicU8, Ordering};

/// The orderings, a parameter so that a model can weaken one and see it fail.
pub trait Orders: 'static {
    /// Of giving up. Release: a side's last use comes before its share is gone. Acquire: who gave up the
    /// last one sees all uses by the others, and frees after them.
    const GIVE_UP: Ordering = Ordering::AcqRel;
    /// Of a look that finds one share, the caller's. Acquire: pairs with the Release of who gave up the others.
    const LAST: Ordering = Ordering::Acquire;
}

/// The orderings as they must be.
#[derive(Debug)]
pub struct Real;
impl Orders for Real {}

/// See the module.
#[derive(Debug)]
pub struct Shares<O = Real> {
    count: AtomicU8,
    orders: PhantomData<O>,
}

impl<O: Orders> Shares<O> {
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
        // Only who has a share makes more: with the only one there is nobody to exchange anything with.
        self.count.load(O::LAST) == 1 || self.count.fetch_sub(1, O::GIVE_UP) == 1
    }
}
