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

use crate::intrusive::list::{Closed, List};
use crate::memory::pool::Pool;
use crate::reclaim::Garbage;
use crate::reclaim::Retired;

/// The return queue of one core, see the module documentation.
#[derive(Debug, Default)]
pub struct ReturnQueue(List<Retired>);

// SAFETY: B1 — no other thread can reach the objects in it, and they are made to be freed by any
// thread.
unsafe impl Send for ReturnQueue {}
// SAFETY: B1, and the list's head is atomic, so threads may share the queue.
unsafe impl Sync for ReturnQueue {}

impl ReturnQueue {
    /// Creates an open and empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the dead objects in, or frees them if the core has ended.
    ///
    /// # Safety
    /// No guard that existed when they were retired exists any longer.
    pub unsafe fn put(&self, garbage: Garbage) {
        // SAFETY: the garbage is a chain of retired objects that this call owns.
        if let Err(Closed) = unsafe { self.0.push_chain(garbage.head, garbage.tail) } {
            // SAFETY: B2 — the queue is closed and has not taken the objects. No old guard exists
            // (this function's contract).
            unsafe { garbage.free() };
        }
    }

    /// Returns `true` if the queue is empty. A hint.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Frees the objects in the queue, into a pool.
    pub fn drain_into(&self, pool: &Pool) {
        for object in self.0.take() {
            // SAFETY: B1 and B2 — `take` gave the object to this core alone.
            unsafe { Retired::free(object, Some(pool)) };
        }
    }

    /// Closes the queue at the core's end: frees the objects in it, and refuses objects from then
    /// on.
    pub fn close(&self) {
        for object in self.0.close() {
            // SAFETY: B1 and B2 — `close` gave the object to this call alone.
            unsafe { Retired::free(object, None) };
        }
    }
}

impl Drop for ReturnQueue {
    fn drop(&mut self) {
        self.close();
    }
}
