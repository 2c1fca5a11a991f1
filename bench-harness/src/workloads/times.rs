//! [`Times`]: latencies recorded while a workload runs. [`Latencies`]: their distribution, built
//! afterwards.
//!
//! Recording a latency appends it to a vector. A histogram for each of 64 clients takes a quarter
//! of a megabyte each, and each record touches another cache line: that took an eighth of `call`'s
//! time.

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;

/// A histogram of latencies in nanoseconds, to three significant digits: 0.1 % is far below the
/// difference between two runs.
pub type Latencies = Histogram<u64>;

/// One hour, in nanoseconds.
const MOST: u64 = 3_600_000_000_000;

/// Latencies in nanoseconds, in the order of their measurement.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<u64>);

impl Times {
    /// Creates an empty list with capacity for this many latencies.
    pub fn new(room: u64) -> Self {
        Self(Vec::with_capacity(room as usize))
    }

    /// Records a latency.
    pub fn note(&mut self, nanoseconds: u64) {
        self.0.push(nanoseconds);
    }

    /// Returns the number of latencies.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Returns `true` if there are no latencies.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the distribution. A latency of more than an hour counts as an hour.
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
    fn recorded_latencies_are_in_the_distribution() {
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
