//! Deadlines of polling waits, and the pauses between polls ([`Pauses`]).

use std::thread;
use std::time::{Duration, Instant};

/// The timeout of a dropped runtime's shutdown, and the longest wait for the next killed process to
/// die.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// A polling delay that doubles with each pause, for conditions that no signal announces.
pub(crate) struct Pauses(Duration);

impl Pauses {
    pub(crate) const fn new() -> Self {
        Self(Duration::from_micros(20))
    }

    pub(crate) fn pause(&mut self) {
        thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_millis(5));
    }
}

/// Returns `true` if there is a deadline, and it has passed.
pub(crate) fn is_over(end: Option<Instant>) -> bool {
    end.is_some_and(|end| Instant::now() >= end)
}

/// Returns the earlier of two deadlines; `None` means no deadline.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
