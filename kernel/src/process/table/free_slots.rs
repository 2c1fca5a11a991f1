//! [`FreeSlots`], a core's queue of free slots.

use super::{ADOPTED, NONE, Table};
use crate::sync::Ordering;

/// A core's queue of free slots, oldest first.
#[derive(Debug)]
pub struct FreeSlots {
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) len: u32,
}

impl FreeSlots {
    /// Creates an empty queue.
    pub const fn new() -> Self {
        Self { head: NONE, tail: NONE, len: 0 }
    }

    // Relaxed throughout: a free slot belongs to its holder alone; the pool's exchange passes it
    // on.
    pub(super) fn push(&mut self, table: &Table, index: u32) {
        table.claimed(index).next_free.store(NONE, Ordering::Relaxed);
        if self.tail == NONE {
            self.head = index;
        } else {
            table.claimed(self.tail).next_free.store(index, Ordering::Relaxed);
        }
        self.tail = index;
        self.len += 1;
    }

    pub(super) fn pop(&mut self, table: &Table) -> Option<u32> {
        if self.head == NONE {
            return None;
        }
        let index = self.head;
        self.head = table.claimed(index).next_free.load(Ordering::Relaxed);
        if self.head == NONE {
            self.tail = NONE;
        }
        self.len -= 1;
        Some(index)
    }

    /// Moves the first [`ADOPTED`] slots of a chain from the pool into this queue. Returns the rest
    /// of the chain.
    pub(super) fn adopt(&mut self, table: &Table, mut index: u32) -> u32 {
        for _ in 0..ADOPTED {
            if index == NONE {
                break;
            }
            let next = table.claimed(index).next_free.load(Ordering::Relaxed);
            self.push(table, index);
            index = next;
        }
        index
    }
}

impl Default for FreeSlots {
    fn default() -> Self {
        Self::new()
    }
}
