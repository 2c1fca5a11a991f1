//! Helpers shared by the workloads and other systems' drivers: counters, repeatable random numbers,
//! resident memory.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};

/// A shared counter of remaining tasks.
#[derive(Debug)]
pub struct Left(AtomicU64);

impl Left {
    /// Creates a counter of this many tasks.
    pub fn new(count: u64) -> Self {
        Self(AtomicU64::new(count))
    }

    /// Counts one task as done, and returns `true` if it was the last.
    pub fn one_less(&self) -> bool {
        // Release publishes this thread's work, and Acquire pairs with the other threads'
        // decrements. Without them the last thread can miss the others' work. Therefore AcqRel.
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Returns the number of remaining tasks.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A repeatable random number generator (xorshift).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates a generator from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Returns a number below `bound`, nearly uniform.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    /// Returns a number below `bound` other than `own`.
    pub fn other(&mut self, bound: u64, own: u64) -> u64 {
        let number = self.below(bound - 1);
        if number >= own { number + 1 } else { number }
    }
}

/// Returns the resident memory of this operating-system process, in bytes.
pub fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("resident memory is known on Linux only")?;
    let pages: u64 = text.split_whitespace().nth(1).context("the second number of statm")?.parse()?;
    Ok(pages * 4096)
}

/// Returns the maximum resident memory so far in bytes, if the system provides it.
pub fn peak() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Returns a vector for `count` values with its memory already resident, so that filling it is not
/// counted.
pub fn touched<T>(count: usize) -> Vec<Option<T>> {
    let mut room: Vec<Option<T>> = (0..count).map(|_| None).collect();
    // The memory of a zeroed `vec!` may become resident only when it is written.
    room.iter_mut().for_each(|place| *std::hint::black_box(place) = None);
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_returns_every_number_but_its_own() {
        let mut random = Random::new(1);
        let mut seen = [false; 5];
        for _ in 0..1000 {
            seen[random.other(5, 3) as usize] = true;
        }
        assert_eq!(seen, [true, true, true, false, true]);
    }

    #[test]
    fn only_the_last_decrement_is_the_last() {
        let left = Left::new(3);
        assert_eq!([left.one_less(), left.one_less(), left.one_less()], [false, false, true]);
        assert_eq!(left.get(), 0);
    }
}
