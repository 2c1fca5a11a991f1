//! How often a supervisor restarts before it gives up: [`Intensity`], and the history that it is held against.
//!
//! As in OTP the restart is added first and compared then: `within(2, …)` allows two, and the third gives up; 0 allows
//! none. The period slides: a restart counts as long as it is not older than the period. The history keeps
//! one entry more than are allowed, whatever happens.
//!
//! A history can be taken out as a value ([`RestartHistory`]) and given to a new supervisor, so that a chip that resets itself, or a node
//! that starts anew, does not get a full budget each time.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// How many restarts a supervisor allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intensity {
    /// So many in any period of this length.
    Within {
        /// Restarts; 0 for none.
        restarts: u32,
        /// The period.
        period: Duration,
    },
    /// So many as long as the supervisor lives.
    Lifetime {
        /// Restarts; 0 for none.
        restarts: u32,
    },
    /// Any number.
    Unlimited,
}

impl Intensity {
    /// OTP's default: one in 5 s.
    pub const DEFAULT: Self = Self::within(1, Duration::from_secs(5));

    /// Three in 5 s, as other systems have it.
    pub const FORGIVING: Self = Self::within(3, Duration::from_secs(5));

    /// So many in any period of this length; 0 restarts for none.
    pub const fn within(restarts: u32, period: Duration) -> Self {
        Self::Within { restarts, period }
    }

    /// Whether it matters when a restart was.
    pub(crate) const fn has_period(&self) -> bool {
        matches!(self, Self::Within { .. })
    }

    /// So many as long as the supervisor lives.
    pub const fn lifetime(restarts: u32) -> Self {
        Self::Lifetime { restarts }
    }
}

impl Default for Intensity {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The restarts of a supervisor that is gone, for its successor ([`crate::Supervisor::with_history`]).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RestartHistory {
    /// How long ago they were, oldest first; more than the intensity looks at are not kept.
    pub ages: Vec<Duration>,
    /// All there ever were.
    pub total: u64,
}

impl RestartHistory {
    /// As it is after some time without a supervisor.
    pub fn after(mut self, time: Duration) -> Self {
        self.ages.iter_mut().for_each(|age| *age = age.saturating_add(time));
        self
    }
}

/// The restarts that count.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Nanoseconds of the world's clock; before its beginning for those that were carried over.
    times: VecDeque<i128>,
    total: u64,
}

impl History {
    /// Of what was carried over to `now`.
    pub(crate) fn carried(carried: &RestartHistory, now: u64) -> Self {
        let time = |age: &Duration| i128::from(now) - age.as_nanos() as i128;
        Self { times: carried.ages.iter().map(time).collect(), total: carried.total }
    }

    /// To be carried over.
    pub(crate) fn snapshot(&self, now: u64) -> RestartHistory {
        let age = |time: &i128| Duration::from_nanos(u64::try_from(i128::from(now) - time).unwrap_or(u64::MAX));
        RestartHistory { ages: self.times.iter().map(age).collect(), total: self.total }
    }

    /// One more, now (nanoseconds); whether it is allowed.
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
                    // Without room to count there are no restarts either: they would need more.
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
    fn a_history_is_carried_over_a_reset() {
        let two = Intensity::within(2, Duration::from_secs(60));
        let mut history = History::default();
        assert!(history.add(90 * S, two));
        assert!(history.add(100 * S, two));
        let carried = history.snapshot(110 * S).after(Duration::from_secs(5));
        assert_eq!(carried.ages, [Duration::from_secs(25), Duration::from_secs(15)]);
        // The new clock begins at 0.
        let mut history = History::carried(&carried, 0);
        assert!(!history.add(30 * S, two), "two are younger than a minute");
        assert!(history.add(36 * S, two), "one of them is not any more");
        assert_eq!(history.snapshot(36 * S).total, 4);
    }

    #[test]
    fn none_ever_and_any() {
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
