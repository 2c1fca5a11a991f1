//! How often a supervisor restarts before it gives up: [`Intensity`], and the history that it is held against.
//!
//! As in OTP the restart is added first and compared then: `within(2, …)` allows two, and the third gives up; 0 allows
//! none. The period slides: a restart counts as long as it is not older than the period. The history keeps
//! one entry more than are allowed, whatever happens.

use alloc::collections::VecDeque;
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

/// The restarts that count.
#[derive(Debug, Default)]
pub(crate) struct History {
    times: VecDeque<u64>,
    total: u64,
}

impl History {
    /// One more, now (nanoseconds); whether it is allowed.
    #[must_use]
    pub(crate) fn add(&mut self, now: u64, intensity: Intensity) -> bool {
        self.total = self.total.saturating_add(1);
        match intensity {
            Intensity::Unlimited => true,
            Intensity::Lifetime { restarts } => self.total <= u64::from(restarts),
            Intensity::Within { restarts, period } => {
                let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
                let allowed = restarts as usize;
                while self.times.front().is_some_and(|then| now.saturating_sub(*then) > period) {
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
