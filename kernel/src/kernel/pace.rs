//! [`Pace`]: how the slices of a core are bounded in time.
//!
//! A slice is bounded by reductions, and a reduction is a kernel operation. The kernel does not
//! count the body's own work between two of them. A body that works for 5 µs a message would
//! therefore have a slice of 10 ms. The slices under one pin would keep the timers and the inbox
//! waiting for eight of those. A clock read for every operation would be expensive. So the core
//! reads the clock after a number of reductions, of all its slices together, and *charges time as
//! reductions*:
//!
//! - **Z1, a reduction is worth 64 ns.** If the time since the last clock read is worth more than
//!   the reductions spent in it, the core charges the difference. The running slice is charged for
//!   its share of those reductions, and the quantum (`runq::quantum`) for all. So a slice ends
//!   after [`SLICE`] reductions or 256 µs of work, by the limit that is reached first, and
//!   ping-pong groups yield to other processes by the same measure.
//! - **Z2, clock reads are counted across slices.** Many short slices cause a clock read just as
//!   one long slice does. The reductions between two clock reads (the distance) follow the work: as
//!   many as took an eighth of a slice's time, from [`NEAREST`] to [`FARTHEST`], and at most
//!   [`FRESH`] for a process from the queues, whose work is unknown. What a sender is charged for a
//!   receiver's backlog is no work, and does not count here
//!   ([`Slice::surcharge`](crate::kernel::slice::Slice::surcharge)): it would make every such send
//!   read the clock.
//! - **Z3, a pin ends when it is late.** A clock read may find that the timers and the inbox were
//!   last checked a slice's time ago. Then the pin ends with the slice and both are checked,
//!   however few slices there were.
//!
//! So a timer is late by at most the time of two slices and one distance, if bodies yield in
//! between: with 5 µs a message by less than a millisecond, with 100 µs by some milliseconds. Then
//! its process waits for its turn among the queued processes. The fast path pays nothing: the
//! budget of a slice ends at the next clock read ([`crate::kernel::slice::Slice`]), and more is
//! checked only when that is used up. On a platform whose clock does not advance while a core runs,
//! nothing is charged.
//!
//! The time that a driver uses between two runs of a core, and the firing of timers, is charged to
//! no process.

use crate::config::SLICE;
use crate::sync::Cell;

/// The nanoseconds that a reduction is worth, as a power of two (Z1).
const WORTH_BITS: u32 = 6;

/// The nanoseconds of a slice.
pub(crate) const SLICE_TIME: u64 = (SLICE as u64) << WORTH_BITS;

/// The nanoseconds that the distance aims for between two clock reads (Z2).
const BETWEEN: u64 = SLICE_TIME / 8;

/// The shortest distance, in reductions.
const NEAREST: i64 = 4;

/// The longest distance, in reductions. For sends and receives it takes some microseconds, of which
/// a clock read is a hundredth.
const FARTHEST: i64 = 64;

/// The longest distance until the first clock read in a process that was taken from the queues.
const FRESH: i64 = 16;

/// The clock reads of a core; see the module.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The reductions until the next clock read; at most 0 when it is due.
    until: Cell<i64>,
    /// The value of `until` after the last clock read.
    ahead: Cell<i64>,
    /// The distance, in reductions (Z2).
    distance: Cell<i64>,
    /// The time of the last clock read; 0 if unknown.
    last: Cell<u64>,
    /// The time when timers and inbox were last checked, as far as clock reads show; 0 if unknown.
    ticked: Cell<u64>,
    /// `true` if that was a slice's time ago (Z3).
    late: Cell<bool>,
}

/// The reductions that a clock read charges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The part of the running slice.
    pub own: u32,
    /// The part of the slices before it, since the last clock read.
    pub others: u32,
}

impl Pace {
    /// Creates the state of a core that has not run.
    pub(crate) fn new() -> Self {
        Self {
            until: Cell::new(FRESH),
            ahead: Cell::new(FRESH),
            distance: Cell::new(FRESH),
            last: Cell::new(0),
            ticked: Cell::new(0),
            late: Cell::new(false),
        }
    }

    /// Restarts the measurement when the core begins to run, or after work that is charged to no
    /// process.
    #[inline]
    pub(crate) fn rests(&self) {
        self.last.set(0);
    }

    /// Notes that timers and inbox are checked now. Returns `true` if that was late.
    #[inline]
    pub(crate) fn ticks(&self) -> bool {
        // The last clock read was before now, so lateness is found too early rather than too late.
        self.ticked.set(self.last.get());
        self.late.replace(false)
    }

    /// Returns the time of the last clock read; 0 if unknown.
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        self.last.get()
    }

    /// Returns `true` if timers and inbox must be checked (Z3).
    #[inline]
    pub(crate) fn is_late(&self) -> bool {
        self.late.get()
    }

    /// Begins a slice, of a process from the queues if it is `fresh`. Returns the reductions until
    /// the next clock read.
    #[inline]
    pub(crate) fn begins(&self, fresh: bool) -> i64 {
        let until = self.until.get();
        if fresh && until > FRESH {
            self.ahead.set(self.ahead.get() - (until - FRESH));
            self.until.set(FRESH);
            return FRESH;
        }
        debug_assert!(until > 0, "a due clock read was done");
        until
    }

    /// Spends reductions. Returns `true` if a clock read is due.
    #[inline]
    pub(crate) fn spends(&self, reductions: i64) -> bool {
        let until = self.until.get() - reductions;
        self.until.set(until);
        until <= 0
    }

    /// Records a clock read: the time is `now`, and the running slice has spent `own` of the
    /// reductions since the last one.
    pub(crate) fn looks(&self, now: u64, own: i64) -> Charge {
        // A clock may begin at 0, which here means unknown.
        let now = now.max(1);
        let spent = (self.ahead.get() - self.until.get()).max(1).unsigned_abs();
        let last = self.last.replace(now);
        let mut charge = Charge::default();
        if last != 0 {
            let passed = now.saturating_sub(last);
            // Bounded, so that nothing overflows: more than a slice makes no difference.
            let worth = (passed >> WORTH_BITS).min(4 * u64::from(SLICE));
            let owed = worth.saturating_sub(spent);
            let own = owed * own.max(0).unsigned_abs().min(spent) / spent;
            charge = Charge { own: own as u32, others: (owed - own) as u32 };
            let distance = self.distance.get();
            let next = spent.saturating_mul(BETWEEN) / passed.max(1);
            let next = i64::try_from(next).unwrap_or(i64::MAX).min(2 * distance);
            self.distance.set(next.clamp(NEAREST, FARTHEST));
        }
        match self.ticked.get() {
            0 => self.ticked.set(now),
            ticked if now.saturating_sub(ticked) >= SLICE_TIME => self.late.set(true),
            _ => {}
        }
        self.until.set(self.distance.get());
        self.ahead.set(self.distance.get());
        charge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs bodies that work for `nanos` a reduction until `looks` clock reads have happened.
    /// Returns the reductions between the last two.
    fn distance(pace: &Pace, now: &mut u64, nanos: u64, looks: u32) -> i64 {
        let mut between = 0;
        for _ in 0..looks {
            between = 0;
            loop {
                *now += nanos;
                between += 1;
                if pace.spends(1) {
                    break;
                }
            }
            let _charge = pace.looks(*now, between);
        }
        between
    }

    /// Issue 14, 9: the distance follows the work, both ways.
    #[test]
    fn n09_the_distance_follows_the_work() {
        let (pace, mut now) = (Pace::new(), 1_000);
        assert_eq!(distance(&pace, &mut now, 20, 8), FARTHEST);
        assert_eq!(distance(&pace, &mut now, 50_000, 2), NEAREST);
        assert_eq!(distance(&pace, &mut now, 20, 8), FARTHEST);
        // 2.5 µs a reduction: an eighth of 256 µs is 12 of them.
        assert!((10..=14).contains(&distance(&pace, &mut now, 2_500, 4)));
    }

    /// Issue 14, 9: a slice that has spent a part of the reductions is charged that part, and
    /// everything is charged.
    #[test]
    fn n09_time_is_charged_to_the_slices_that_spent_it() {
        let pace = Pace::new();
        assert!(pace.spends(FRESH));
        assert_eq!(pace.looks(1_000, FRESH), Charge::default(), "the start time is unknown");
        let ahead = pace.begins(false);
        assert!(!pace.spends(ahead / 4));
        assert!(pace.spends(ahead - ahead / 4));
        let passed = (1_000 + ahead as u64) << WORTH_BITS;
        let charge = pace.looks(1_000 + passed, ahead - ahead / 4);
        assert_eq!(charge, Charge { own: 750, others: 250 });
        assert!(!pace.is_late());
    }

    /// Issue 14, 9: the pin is late a slice's time after the last check, however many slices ran.
    #[test]
    fn n09_a_pin_is_late_after_a_slices_time() {
        let (pace, mut now) = (Pace::new(), 1_000);
        let _between = distance(&pace, &mut now, 1_000, 1);
        assert!(!pace.ticks());
        let began = now;
        while !pace.is_late() {
            let _between = distance(&pace, &mut now, 1_000, 1);
        }
        assert!((SLICE_TIME..2 * SLICE_TIME).contains(&(now - began)), "{}", now - began);
        assert!(pace.ticks() && !pace.is_late());
    }
}
