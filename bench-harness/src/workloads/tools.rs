//! What workloads share, here and in the drivers of other systems: counters, numbers that repeat, resident memory.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};

/// What is left to be done by many.
#[derive(Debug)]
pub struct Left(AtomicU64);

impl Left {
    /// So many.
    pub fn new(count: u64) -> Self {
        Self(AtomicU64::new(count))
    }

    /// One less; whether that was the last.
    pub fn one_less(&self) -> bool {
        // Acquire and release: the last sees what the others have done.
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// How many are left.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Numbers that repeat (xorshift).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// One below `bound`, nearly uniform.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    /// One below `bound` that is not `own`.
    pub fn other(&mut self, bound: u64, own: u64) -> u64 {
        let number = self.below(bound - 1);
        if number >= own { number + 1 } else { number }
    }
}

/// Resident memory of this process, in bytes.
pub fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("resident memory is known on Linux only")?;
    let pages: u64 = text.split_whitespace().nth(1).context("the second number of statm")?.parse()?;
    Ok(pages * 4096)
}

/// The most memory that was resident so far, in bytes; where the system says it.
pub fn peak() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Room for so many things that is resident already, so that filling it is not counted.
pub fn touched<T>(count: usize) -> Vec<Option<T>> {
    let mut room: Vec<Option<T>> = (0..count).map(|_| None).collect();
    // `vec!` of zeroes may leave the pages to be made when they are written.
    room.iter_mut().for_each(|place| *std::hint::black_box(place) = None);
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_are_all_but_oneself() {
        let mut random = Random::new(1);
        let mut seen = [false; 5];
        for _ in 0..1000 {
            seen[random.other(5, 3) as usize] = true;
        }
        assert_eq!(seen, [true, true, true, false, true]);
    }

    #[test]
    fn only_the_last_is_the_last() {
        let left = Left::new(3);
        assert_eq!([left.one_less(), left.one_less(), left.one_less()], [false, false, true]);
        assert_eq!(left.get(), 0);
    }
}
