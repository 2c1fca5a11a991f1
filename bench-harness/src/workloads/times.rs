//! [`Times`], noted while a workload runs, and the [`Latencies`] that are made of them afterwards.
//!
//! To note one is to write it behind the last. A histogram for each of 64 clients is a quarter of a megabyte each, of which every
//! note touches another line: that was an eighth of `call`'s time.

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;

/// Nanoseconds of many round trips, to three significant digits: 0.1 % is far below what two runs differ by.
pub type Latencies = Histogram<u64>;

/// An hour, in nanoseconds.
const MOST: u64 = 3_600_000_000_000;

/// Nanoseconds, in the order in which they were measured.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<u64>);

impl Times {
    /// None yet, with room for so many.
    pub fn new(room: u64) -> Self {
        Self(Vec::with_capacity(room as usize))
    }

    /// One more.
    pub fn note(&mut self, nanoseconds: u64) {
        self.0.push(nanoseconds);
    }

    /// How many.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their distribution; more than an hour counts as an hour.
    pub fn latencies(&self) -> Result<Latencies> {
        let mut all = Histogram::new_with_max(MOST, 3).map_err(|error| anyhow!("a histogram of an hour: {error}"))?;
        self.0.iter().for_each(|time| all.saturating_record(*time));
        Ok(all)
    }
}

impl Extend<Times> for Times {
    fn extend<T: IntoIterator<Item = Times>>(&mut self, others: T) {
        others.into_iter().for_each(|others| self.0.extend(others.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_distributed() {
        let mut all = Times::new(3);
        assert!(all.is_empty());
        (1..=3).for_each(|time| all.note(10 * time));
        let mut more = Times::default();
        more.note(u64::MAX);
        all.extend([more]);
        let latencies = all.latencies().expect("a histogram");
        assert_eq!((all.len(), latencies.len()), (4, 4));
        assert_eq!(latencies.value_at_quantile(0.5), 20);
        assert!(latencies.max() >= MOST && latencies.max() < MOST + MOST / 500, "an hour at most");
    }
}
