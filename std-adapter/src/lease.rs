//! [`Lease`]: the pid generations that one runtime may allocate, and the reference counter that all
//! runtimes share.
//!
//! A pid names one process of the whole program, not only of its runtime. A pid that outlives its
//! runtime, or that is used with another runtime, must not reach a process of that other runtime.
//! So each runtime leases generations that no other runtime has or has had (the kernel's `pid`,
//! I1). When its kernel is gone, the generations that it did not use are free again.
//!
//! - **L1.** An interval of generations is free, leased, or used up. Only a free interval is
//!   leased. A generation that any slot has used is never free again.
//! - **L2.** A lease ends with the runtime's platform object, which its kernel holds. Until then,
//!   callers may still look up its pids, including those of dead processes.
//!
//! The first runtimes get large leases, so that a program with one runtime, which may run for
//! years, has 2^27 generations in each of 2^28 slots. When a quarter of all generations is leased,
//! each further runtime gets a small lease, so that there are enough for 2,900 runtimes at a time.
//!
//! Making and ending a runtime is a cold path, so this module uses a lock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use atropos_kernel::References;

/// The size of a lease, in generations, while more than three quarters of all generations are free.
const MUCH: u32 = 1 << 27;
/// The size of a lease, in generations, after that.
const LITTLE: u32 = 1 << 20;

static FREE: LazyLock<Mutex<Free>> = LazyLock::new(|| Mutex::new(Free::all()));
static REFERENCES: LazyLock<Arc<References>> = LazyLock::new(Arc::default);

/// Returns the source of all runtimes' references: no reference is allocated twice in a program.
pub(crate) fn references() -> Arc<References> {
    REFERENCES.clone()
}

fn free() -> MutexGuard<'static, Free> {
    // No code of the user runs under this lock, so a poisoned value is intact.
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Free generations, as (first, last) intervals: sorted, and no two of them adjacent.
#[derive(Debug)]
struct Free(Vec<(u32, u32)>);

impl Free {
    fn all() -> Self {
        Self(vec![(1, u32::MAX)])
    }

    /// Leases a part of the longest interval.
    fn lend(&mut self) -> Option<(u32, u32)> {
        let len = |&(first, last): &(u32, u32)| u64::from(last - first) + 1;
        let all: u64 = self.0.iter().map(len).sum();
        let size = if all > u64::from(u32::MAX / 4 * 3) { MUCH } else { LITTLE };
        let longest = (0..self.0.len()).rev().max_by_key(|at| len(&self.0[*at]))?;
        let (first, last) = self.0[longest];
        let end = first.saturating_add(size - 1).min(last);
        if end == last {
            self.0.remove(longest);
        } else {
            self.0[longest].0 = end + 1;
        }
        Some((first, end))
    }

    /// Returns the unused rest of a lease to the free intervals.
    fn give_back(&mut self, first: u32, last: u32) {
        if first > last {
            return;
        }
        let at = self.0.partition_point(|free| free.0 < first);
        self.0.insert(at, (first, last));
        self.0.dedup_by(|behind, before| {
            let touch = before.1.checked_add(1) == Some(behind.0);
            if touch {
                before.1 = behind.1;
            }
            touch
        });
    }
}

/// A lease of generations for one runtime (L1, L2).
#[derive(Debug)]
pub(crate) struct Lease {
    first: u32,
    last: u32,
    /// The highest generation that was allocated.
    used: AtomicU32,
}

impl Lease {
    /// Takes a lease that no other runtime has; returns `None` when no free interval is left.
    pub(crate) fn take() -> Option<Self> {
        let (first, last) = free().lend()?;
        Some(Self { first, last, used: AtomicU32::new(first - 1) })
    }

    /// Returns the leased generations, for the kernel's options.
    pub(crate) fn generations(&self) -> std::ops::RangeInclusive<u32> {
        self.first..=self.last
    }

    /// Records the highest generation that the kernel has allocated, once the kernel is gone.
    pub(crate) fn was_used_to(&self, last: u32) {
        self.used.fetch_max(last, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let used = *self.used.get_mut();
        if let Some(unused) = used.checked_add(1) {
            free().give_back(unused.max(self.first), self.last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issue 14, 2: a used generation is never free again, and the rest comes back whole.
    #[test]
    fn n02_lends_nothing_twice() {
        let mut free = Free::all();
        let (first, last) = free.lend().expect("all are free");
        assert_eq!((first, last), (1, MUCH));
        let second = free.lend().expect("most are free");
        assert_eq!(second, (MUCH + 1, 2 * MUCH));
        free.give_back(first + 10, last);
        free.give_back(second.0, second.1);
        assert_eq!(free.0, [(11, u32::MAX)]);
        // All of the lease was used.
        free.give_back(last + 1, last);
        assert_eq!(free.0, [(11, u32::MAX)]);
    }

    /// Checks every order of ends: no generation is leased twice, and all unused ones are free at
    /// the end.
    #[test]
    fn n02_comes_back_in_every_order() {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let (mut free, mut lent, mut used) = (Free::all(), Vec::<(u32, u32)>::new(), 0_u64);
        for _ in 0..20_000 {
            if next(2) == 0 || lent.is_empty() {
                let Some((first, last)) = free.lend() else { continue };
                assert!(first <= last && lent.iter().all(|other| other.1 < first || last < other.0));
                lent.push((first, last));
            } else {
                let (first, last) = lent.swap_remove(next(lent.len() as u64) as usize);
                let spent = next(1000).min(u64::from(last - first) + 1) as u32;
                used += u64::from(spent);
                if let Some(unused) = first.checked_add(spent) {
                    free.give_back(unused, last);
                }
            }
            assert!(free.0.windows(2).all(|two| u64::from(two[0].1) + 1 < u64::from(two[1].0)), "sorted and apart");
        }
        for (first, last) in lent {
            free.give_back(first, last);
        }
        let left: u64 = free.0.iter().map(|(first, last)| u64::from(last - first) + 1).sum();
        assert_eq!(left + used, u64::from(u32::MAX));
    }

    /// Checks that thousands of runtimes may be alive, and that one too many gets no lease.
    #[test]
    fn n02_is_enough_for_thousands() {
        let mut free = Free::all();
        let mut lent = 0;
        while free.lend().is_some() {
            lent += 1;
        }
        assert!(lent > 2900, "{lent}");
    }
}
