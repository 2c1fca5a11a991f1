//! [`ReturnQueue`]: where a core's dead come back to it, for its pool.
//!
//! What is retired is freed by whichever member of the domain collects it, and most of what a core retires is of the sizes
//! that it will want next. So the collector does not free a core's dead but puts them into the core's basket, and the core
//! frees them when it next looks: into its [`Pool`].
//!
//! - **B1.** What is put in is out of everybody's reach: the epochs have passed.
//! - **B2.** It is freed once: by the core that takes it, by the one that closes the basket with the core's end, or by who
//!   finds the basket closed ([`List`], L1 and L2).
//!
//! `put` and `take` are lock-free, `close` is wait-free, and none allocates.

use super::Garbage;
use super::Retired;
use crate::list::{Closed, List};
use crate::memory::pool::Pool;

/// See the module.
#[derive(Debug, Default)]
pub struct ReturnQueue(List<Retired>);

// SAFETY: the objects in it are nobody's else (B1), and are made to be freed by any thread.
unsafe impl Send for ReturnQueue {}
// SAFETY: as above; the list's head is atomic.
unsafe impl Sync for ReturnQueue {}

impl ReturnQueue {
    /// Open and empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the dead in, or frees them if the core has ended.
    ///
    /// # Safety
    /// No guard that existed when they were retired exists any more.
    pub unsafe fn put(&self, garbage: Garbage) {
        // SAFETY: a chain of retired objects, the garbage's alone.
        if let Err(Closed) = unsafe { self.0.push_chain(garbage.head, garbage.tail) } {
            // SAFETY: by contract, and B2.
            unsafe { garbage.free() };
        }
    }

    /// Whether there is something in it. A hint.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Frees what is in it, into a pool.
    pub fn empty_into(&self, pool: &Pool) {
        for object in self.0.take() {
            // SAFETY: B1, B2.
            unsafe { Retired::free(object, Some(pool)) };
        }
    }

    /// The core ends: frees what is in it, and from now on nothing comes in.
    pub fn close(&self) {
        for object in self.0.close() {
            // SAFETY: B1, B2.
            unsafe { Retired::free(object, None) };
        }
    }
}

impl Drop for ReturnQueue {
    fn drop(&mut self) {
        self.close();
    }
}
