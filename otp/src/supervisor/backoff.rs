//! The wait of a supervisor before a restart: [`Backoff`]. OTP has none; it applies only if set.
//!
//! The wait grows with each exit that comes soon after the last start, up to a limit. A random part
//! spreads the waits, so that a thousand workers that lost the same database do not come back at
//! the same moment. During the wait the child is `restarting`; its siblings keep running, and the
//! supervisor handles requests and stops. The restart is counted before the wait.

use core::time::Duration;

/// The wait before each restart of a child.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    factor: u32,
    jitter: u32,
    healthy: Duration,
}

impl Backoff {
    /// Creates a back-off that waits `first`, then twice as long each time, up to `limit`. Half of
    /// each wait is random.
    pub const fn new(first: Duration, limit: Duration) -> Self {
        Self { first, limit, factor: 2, jitter: 50, healthy: limit }
    }

    /// Sets the factor by which each wait exceeds the one before.
    pub const fn factor(mut self, factor: u32) -> Self {
        self.factor = factor;
        self
    }

    /// Sets the random part of each wait, in percent, up to 100.
    pub const fn jitter(mut self, percent: u32) -> Self {
        self.jitter = if percent > 100 { 100 } else { percent };
        self
    }

    /// Sets the lifetime after which a child starts again with the first wait. By default it is the
    /// limit.
    pub const fn healthy_after(mut self, time: Duration) -> Self {
        self.healthy = time;
        self
    }

    /// Returns the number of consecutive exits, this one included, of a child that had `before` and
    /// lived for `lived`.
    pub(crate) fn consecutive_failures(&self, before: u32, lived: Duration) -> u32 {
        if lived >= self.healthy { 0 } else { before.saturating_add(1) }
    }

    /// Returns the wait after `deaths` consecutive exits; `random` decides the random part.
    pub(crate) fn wait(&self, deaths: u32, random: u64) -> Duration {
        let mut wait = self.first.min(self.limit);
        for _ in 0..deaths {
            if wait >= self.limit || self.factor <= 1 {
                break;
            }
            wait = wait.saturating_mul(self.factor).min(self.limit);
        }
        let spread = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX) / 100 * u64::from(self.jitter);
        let less = if spread == 0 { 0 } else { random % (spread + 1) };
        wait - Duration::from_nanos(less)
    }
}

/// Returns the next value of a sequence of random numbers (SplitMix64).
pub(crate) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_limit_and_spreads() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2)).jitter(0);
        let waits: [u128; 7] = core::array::from_fn(|n| backoff.wait(n as u32, 7).as_millis());
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
        let backoff = backoff.jitter(50);
        let mut state = 1;
        for _ in 0..1000 {
            let wait = backoff.wait(9, random(&mut state));
            assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(2));
        }
        assert_eq!(backoff.consecutive_failures(3, Duration::from_secs(1)), 4);
        assert_eq!(backoff.consecutive_failures(3, Duration::from_secs(2)), 0);
    }
}
