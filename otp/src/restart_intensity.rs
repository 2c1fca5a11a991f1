//! The restart intensity of a supervisor, i.e. how often it restarts children before it shuts down
//! ([`Intensity`]), and the restart history that is compared with it.
//!
//! As in OTP the restart is first added to the history and then compared: `within(2, …)` allows two
//! restarts, and the third shuts the supervisor down; 0 allows none. The period slides: a restart
//! counts while it is not older than the period. The history never keeps more than one entry above
//! the allowed number.
//!
//! A history can be exported as a value ([`RestartHistory`]) and given to a new supervisor. So a
//! chip that resets itself, or a node that restarts, does not get a full budget each time.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// The number of restarts that a supervisor allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intensity {
    /// At most this number of restarts in any period of this length.
    Within {
        /// The number of restarts; 0 allows none.
        restarts: u32,
        /// The length of the period.
        period: Duration,
    },
    /// At most this number of restarts in the supervisor's lifetime.
    Lifetime {
        /// The number of restarts; 0 allows none.
        restarts: u32,
    },
    /// Any number of restarts.
    Unlimited,
}

impl Intensity {
    /// OTP's default: one restart in 5 s.
    pub const DEFAULT: Self = Self::within(1, Duration::from_secs(5));

    /// Three restarts in 5 s, the default of other systems.
    pub const FORGIVING: Self = Self::within(3, Duration::from_secs(5));

    /// Allows `restarts` in any period of this length; 0 allows none.
    pub const fn within(restarts: u32, period: Duration) -> Self {
        Self::Within { restarts, period }
    }

    /// Returns `true` if the times of the restarts matter.
    pub(crate) const fn has_period(&self) -> bool {
        matches!(self, Self::Within { .. })
    }

    /// Allows `restarts` in the supervisor's lifetime.
    pub const fn lifetime(restarts: u32) -> Self {
        Self::Lifetime { restarts }
    }
}

impl Default for Intensity {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The restart history of a supervisor that is gone, for its successor
/// ([`crate::Supervisor::with_history`]).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RestartHistory {
    /// The ages of the restarts, oldest first; only as many as the intensity compares are kept.
    pub ages: Vec<Duration>,
    /// The number of all restarts so far.
    pub total: u64,
}

impl RestartHistory {
    /// Returns the history as it is after some time without a supervisor.
    pub fn after(mut self, time: Duration) -> Self {
        self.ages.iter_mut().for_each(|age| *age = age.saturating_add(time));
        self
    }
}

/// The restarts that count for the intensity.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Nanoseconds of the platform's clock; before the clock's start for restarts that were carried
    /// over.
    times: VecDeque<i128>,
    total: u64,
}

impl History {
    /// Creates the history at `now` from one that was carried over.
    pub(crate) fn carried(carried: &RestartHistory, now: u64) -> Self {
        let time = |age: &Duration| i128::from(now) - age.as_nanos() as i128;
        Self { times: carried.ages.iter().map(time).collect(), total: carried.total }
    }

    /// Exports the history for a successor.
    pub(crate) fn snapshot(&self, now: u64) -> RestartHistory {
        let age = |time: &i128| Duration::from_nanos(u64::try_from(i128::from(now) - time).unwrap_or(u64::MAX));
        RestartHistory { ages: self.times.iter().map(age).collect(), total: self.total }
    }

    /// Adds a restart at `now` (nanoseconds). Returns `true` if the intensity allows it.
    #[must_use]
    pub(crate) fn add(&mut self, now: u64, intensity: Intensity) -> bool {
        self.total = self.total.saturating_add(1);
        match intensity {
            Intensity::Unlimited => true,
            Intensity::Lifetime { restarts } => self.total <= u64::from(restarts),
            Intensity::Within { restarts, period } => {
                let period = i128::try_from(period.as_nanos()).unwrap_or(i128::MAX);
                let (now, allowed) = (i128::from(now), restarts as usize);
                while self.times.front().is_some_and(|then| now - then > period) {
                    self.times.pop_front();
                }
                if self.times.len() >= allowed || self.times.try_reserve(1).is_err() {
                    // Without memory to count a restart none is allowed: a restart would need more.
                    return false;
                }
                self.times.push_back(now);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn the_period_slides() {
        let mut history = History::default();
        let three = Intensity::within(3, Duration::from_secs(5));
        for at in [0, S, 2 * S] {
            assert!(history.add(at, three));
        }
        assert!(!history.add(5 * S, three), "the first is 5 s old and counts");
        assert!(history.add(5 * S + 1, three), "it is older");
        assert!(!history.add(6 * S, three));
        assert!(history.times.len() <= 4);
    }

    #[test]
    fn history_survives_a_reset() {
        let two = Intensity::within(2, Duration::from_secs(60));
        let mut history = History::default();
        assert!(history.add(90 * S, two));
        assert!(history.add(100 * S, two));
        let carried = history.snapshot(110 * S).after(Duration::from_secs(5));
        assert_eq!(carried.ages, [Duration::from_secs(25), Duration::from_secs(15)]);
        // The new clock starts at 0.
        let mut history = History::carried(&carried, 0);
        assert!(!history.add(30 * S, two), "two are younger than a minute");
        assert!(history.add(36 * S, two), "one of them has left the period");
        assert_eq!(history.snapshot(36 * S).total, 4);
    }

    #[test]
    fn zero_lifetime_and_unlimited_restarts() {
        let none = Intensity::within(0, Duration::from_secs(5));
        assert!(!History::default().add(0, none));
        let mut history = History::default();
        let ever = Intensity::lifetime(2);
        assert!(history.add(0, ever));
        assert!(history.add(1_000_000 * S, ever));
        assert!(!history.add(u64::MAX, ever));
        assert!(history.add(u64::MAX, Intensity::Unlimited));
        assert!(history.times.is_empty(), "nothing to remember");
    }
}
