//! [`ReturnQueue`]: the queue through which the memory of a core's dead processes returns to its
//! pool.
//!
//! A retired object is freed by the member of the domain that collects it, which may be any member.
//! Most objects that a core retires have the sizes that it will need next. The collector therefore
//! does not free a core's dead objects. It puts them into the core's return queue, and the core
//! frees them at its next visit, into its [`Pool`].
//!
//! - **B1.** An object in the queue is out of reach of all threads: the epochs have passed.
//! - **B2.** It is freed once: by the core that takes it, by the thread that closes the queue at
//!   the core's end, or by the collector that finds the queue closed ([`List`], L1 and L2).
//!
//! `put` and `take` are lock-free, `close` is wait-free, and none of them allocates.

use crate::intrusive::list::{Chain, List};
use crate::memory::pool::Pool;
use crate::reclaim::{ExpiredGarbage, ExpiredObject, RetiredObject};

/// The return queue of one core, see the module documentation.
#[derive(Debug, Default)]
pub struct ReturnQueue(List<RetiredObject>);

impl ReturnQueue {
    /// Creates an open and empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the dead objects in, or frees them if the core has ended.
    pub(super) fn put(&self, garbage: ExpiredGarbage) {
        if let Err(refused) = self.0.push_segment(garbage.0) {
            ExpiredGarbage(refused).free();
        }
    }

    fn free(objects: Chain<RetiredObject>, pool: Option<&Pool>) {
        for object in objects {
            // B1 and B2: the queue has only expired objects, and gave this one to this call alone.
            ExpiredObject(object.0).free(pool);
        }
    }

    /// Returns `true` if the queue is empty. A hint.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Frees the objects in the queue, into a pool.
    pub fn drain_into(&self, pool: &Pool) {
        Self::free(self.0.take(), Some(pool));
    }

    /// Closes the queue at the core's end: frees the objects in it, and refuses objects from then
    /// on.
    pub fn close(&self) {
        Self::free(self.0.close(), None);
    }
}

impl Drop for ReturnQueue {
    fn drop(&mut self) {
        self.close();
    }
}
