//! [`Lease`], the generations of pids that a runtime gives out, and the references that all runtimes share.
//!
//! A pid names one process of the program, and not only of its runtime: what is kept longer than its runtime, or used at another one,
//! must not lead to somebody else's process. So each runtime is lent generations that no other has or has had (the kernel's `pid`, I1), and when its
//! kernel is gone those that it has not used are free again.
//!
//! - **L1.** An interval of generations is free, lent, or used up. Only what is free is lent; what was used, by any slot, is never free again.
//! - **L2.** A lease ends with the runtime's world, which its kernel holds: until then its pids, also those of the dead, are asked for.
//!
//! The first runtimes get much, so that a program of one, which runs for ever, has 2^27 generations in each of 2^28 slots. When a quarter is
//! lent each gets little, so that there is enough for 2,900 at a time.
//!
//! Making and ending a runtime is cold: there is a lock here.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use atropos_kernel::References;

/// How many generations a runtime is lent, as long as more than three quarters of all are free.
const MUCH: u32 = 1 << 27;
/// How many it is lent later.
const LITTLE: u32 = 1 << 20;

static FREE: LazyLock<Mutex<Free>> = LazyLock::new(|| Mutex::new(Free::all()));
static REFERENCES: LazyLock<Arc<References>> = LazyLock::new(Arc::default);

/// Where all runtimes' references come from: none is given out twice in a program.
pub(crate) fn references() -> Arc<References> {
    REFERENCES.clone()
}

fn free() -> MutexGuard<'static, Free> {
    // Nothing foreign runs under this lock, so a poisoned one is whole.
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Generations that are free, from the first to the last of each interval; in order, and never two that touch.
#[derive(Debug)]
struct Free(Vec<(u32, u32)>);

impl Free {
    fn all() -> Self {
        Self(vec![(1, u32::MAX)])
    }

    /// Lends some of the longest interval.
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

    /// What was lent and not used is free.
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

/// See the module.
#[derive(Debug)]
pub(crate) struct Lease {
    first: u32,
    last: u32,
    /// The last one that was given out.
    used: AtomicU32,
}

impl Lease {
    /// Some that nobody has; `None` when as many runtimes as there is room for are alive.
    pub(crate) fn take() -> Option<Self> {
        let (first, last) = free().lend()?;
        Some(Self { first, last, used: AtomicU32::new(first - 1) })
    }

    /// For the kernel's options.
    pub(crate) fn generations(&self) -> std::ops::RangeInclusive<u32> {
        self.first..=self.last
    }

    /// The kernel is gone, and has given out none later.
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

    /// Issue 14, 2: what is used is never free again, and the rest comes back whole.
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
        // All of it was used.
        free.give_back(last + 1, last);
        assert_eq!(free.0, [(11, u32::MAX)]);
    }

    /// In every order of ends: no generation is lent to two, and all that are unused are free in the end.
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
            assert!(free.0.windows(2).all(|two| u64::from(two[0].1) + 1 < u64::from(two[1].0)), "in order, apart");
        }
        for (first, last) in lent {
            free.give_back(first, last);
        }
        let left: u64 = free.0.iter().map(|(first, last)| u64::from(last - first) + 1).sum();
        assert_eq!(left + used, u64::from(u32::MAX));
    }

    /// Thousands of runtimes may be alive, and one too many is told so.
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
