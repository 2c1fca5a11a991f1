//! A sweep list, [`SweepList`]: a [`List`] with lazy deletion.
//!
//! A thread that cancels a record on another process's list cannot remove it from the middle. So
//! the list counts the cancelled records. The canceller that sees that they outnumber the live ones
//! sweeps: it takes the list, releases the cancelled records, and puts the others back. So a
//! process that is monitored and demonitored a billion times holds a bounded list, even if it never
//! runs. Amortised O(1) for each cancellation.
//!
//! There is one sweeper at a time: it claims `sweep_at` by making it unreachable. If the list is
//! closed while the sweeper holds records, the sweeper fires them as the death would have (L2 of
//! `list`).

use core::fmt;

use crate::config::SWEEP_AT_LEAST;
use crate::intrusive::handle::Handle;
use crate::intrusive::list::{Chain, Linked, List};
use crate::sync::{AtomicU32, Ordering};

/// A list of records that are deleted lazily (see the module).
pub struct SweepList<H: Handle> {
    list: List<H>,
    cancelled: AtomicU32,
    sweep_at: AtomicU32,
}

impl<H: Handle<Record: Linked> + Send> SweepList<H> {
    /// Creates an open, empty list.
    pub fn new() -> Self {
        Self { list: List::new(), cancelled: AtomicU32::new(0), sweep_at: AtomicU32::new(SWEEP_AT_LEAST as u32) }
    }

    /// Adds a record. Returns it if the list is closed; see [`List::push`]. Lock-free.
    pub fn push(&self, record: H) -> Result<(), H> {
        self.list.push(record)
    }

    /// Returns `true` if the list is empty. Only a hint.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Closes the list; see [`List::close`]. Returns the records oldest first.
    pub fn close(&self) -> Chain<H> {
        self.list.close().reversed()
    }

    /// Takes all records; see [`List::take`]. Returns them oldest first. Only for the owner, which
    /// keeps what it takes.
    pub fn take(&self) -> Chain<H> {
        if self.list.is_empty() {
            return Chain::empty();
        }
        self.list.take().reversed()
    }

    /// Puts a chain back; see [`List::push_back_chain`].
    pub fn push_back_chain(&self, chain: Chain<H>) -> Result<(), Chain<H>> {
        self.list.push_back_chain(chain)
    }

    /// Counts the cancellation of a record that may be on this list, which only its owner takes.
    /// Returns `true` if the owner should now take it. Wait-free.
    #[must_use = "the owner must be notified, or the list grows"]
    pub fn count_cancelled(&self) -> bool {
        // Relaxed: a count that only decides when to notify.
        self.cancelled.fetch_add(1, Ordering::Relaxed).wrapping_add(1).is_multiple_of(SWEEP_AT_LEAST as u32)
    }

    /// Counts the cancellation of a record that may be on this list. Now and then this sweeps:
    /// `live` says which records stay, `release` gets the others. Returns records to fire: the
    /// list's owner died during the sweep. Lock-free, amortised O(1).
    #[must_use = "the list's owner is dead: what is returned must be fired"]
    pub fn cancelled(&self, live: impl Fn(&H) -> bool, mut release: impl FnMut(H)) -> Chain<H> {
        // Relaxed: the counters only decide when to sweep, never what.
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
            if live(&record) {
                kept.push(record);
                count += 1;
            } else {
                release(record);
            }
        }
        let kept = self.list.push_back_chain(kept.reversed());
        self.sweep_at.store(count.max(SWEEP_AT_LEAST as u32), Ordering::Relaxed);
        match kept {
            Ok(()) => Chain::empty(),
            Err(chain) => chain,
        }
    }
}

impl<H: Handle> fmt::Debug for SweepList<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SweepList")
    }
}

impl<H: Handle<Record: Linked> + Send> Default for SweepList<H> {
    fn default() -> Self {
        Self::new()
    }
}
