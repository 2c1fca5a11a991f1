//! [`Clock`]: the time in milliseconds since 1970, for expiries. It never goes backwards.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A monotonic wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    /// The wall-clock time at `start`.
    at_start: i64,
}

impl Default for Clock {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), at_start: since.as_millis() as i64 }
    }
}

impl Clock {
    /// Returns the current time.
    pub fn now(&self) -> i64 {
        self.at_start.saturating_add(self.start.elapsed().as_millis() as i64)
    }
}
