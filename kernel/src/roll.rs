//! [`SweepList`]: a [`List`] that forgets the cancelled.
//!
//! Whoever cancels a record on somebody's list cannot take it out of the middle. So the
//! list counts the cancelled, and the canceller who sees that they outnumber the live
//! ones sweeps: takes the list, releases what is cancelled, gives the rest back. A
//! process that is monitored and demonitored a billion times holds a bounded list,
//! though it never runs. Amortised O(1) for each cancellation.
//!
//! One sweeper at a time: it claims `sweep_at` by making it unreachable. When the list is
//! closed while the sweeper holds records, it fires them as the death would have (L2 of `list`).

use core::ptr::NonNull;

use crate::config::SWEEP_AT_LEAST;
use crate::list::{Chain, Closed, List, Linked};
use crate::sync::{AtomicU32, Ordering};

/// See the module.
#[derive(Debug)]
pub struct SweepList<T> {
    list: List<T>,
    cancelled: AtomicU32,
    sweep_at: AtomicU32,
}

impl<T: Linked> SweepList<T> {
    /// Open and empty.
    pub fn new() -> Self {
        Self { list: List::new(), cancelled: AtomicU32::new(0), sweep_at: AtomicU32::new(SWEEP_AT_LEAST as u32) }
    }

    /// See [`List::push`].
    ///
    /// # Safety
    /// As there.
    pub unsafe fn push(&self, record: NonNull<T>) -> Result<(), Closed> {
        // SAFETY: by contract.
        unsafe { self.list.push(record) }
    }

    /// Whether nothing is in it. A hint.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// See [`List::close`]; oldest first.
    pub fn close(&self) -> Chain<T> {
        self.list.close().reversed()
    }

    /// See [`List::take`]; oldest first. For the owner, who keeps what it takes.
    pub fn take(&self) -> Chain<T> {
        if self.list.is_empty() {
            return Chain::empty();
        }
        self.list.take().reversed()
    }

    /// See [`List::give_back`].
    pub fn give_back(&self, chain: Chain<T>) -> Result<(), Chain<T>> {
        self.list.give_back(chain)
    }

    /// A record that may be on this list, which only its owner takes, has been cancelled: whether it is time
    /// for the owner to take it. Wait-free.
    #[must_use = "the owner must be told, or the list grows"]
    pub fn count_cancelled(&self) -> bool {
        // Relaxed: a count that decides only when.
        self.cancelled.fetch_add(1, Ordering::Relaxed).wrapping_add(1).is_multiple_of(SWEEP_AT_LEAST as u32)
    }

    /// A record that may be on this list has been cancelled. Now and then this sweeps:
    /// `live` says which records stay, `release` gets the others. Returns records to fire: the
    /// list's owner died while they were in hand. Lock-free, amortised O(1).
    #[must_use = "the list's owner is dead: what is returned must be fired"]
    pub fn cancelled(&self, live: impl Fn(NonNull<T>) -> bool, mut release: impl FnMut(NonNull<T>)) -> Chain<T> {
        // Relaxed: counters decide only when to sweep, never what.
        let cancelled = self.cancelled.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let due = self.sweep_at.load(Ordering::Relaxed);
        if cancelled < due {
            return Chain::empty();
        }
        if self.sweep_at.compare_exchange(due, u32::MAX, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return Chain::empty();
        }
        self.cancelled.fetch_sub(cancelled, Ordering::Relaxed);
        let (mut kept, mut count) = (Chain::empty(), 0);
        for record in self.list.take() {
            if live(record) {
                // SAFETY: handed over by the chain.
                unsafe { kept.push(record) };
                count += 1;
            } else {
                release(record);
            }
        }
        let kept = self.list.give_back(kept.reversed());
        self.sweep_at.store(count.max(SWEEP_AT_LEAST as u32), Ordering::Relaxed);
        match kept {
            Ok(()) => Chain::empty(),
            Err(chain) => chain,
        }
    }
}

impl<T: Linked> Default for SweepList<T> {
    fn default() -> Self {
        Self::new()
    }
}
