//! [`Pace`]: how the slices of a core are bounded in time.
//!
//! A slice is bounded by reductions, and a reduction is an operation of the kernel's. The body's own work between two
//! of them is nothing that the kernel counts, so a body that works for 5 µs a message would have a slice of 10 ms, and all that
//! share a pin with it would keep the timers and the inbox waiting for eight of those. A look at the clock for every
//! operation would be dear. So the core looks after some reductions, of all its slices together, and *time is charged as reductions*:
//!
//! - **Z1, a reduction is worth 64 ns.** What a look finds that the time since the last one is worth more than the reductions
//!   that were spent in it, it charges: the running slice for its share of those reductions, and the quantum
//!   (`runq::quantum`) for all. So a slice ends after [`SLICE`] reductions or 256 µs of work, whichever comes first, and those that go on in
//!   turns give way to others by the same measure.
//! - **Z2, looks are counted across slices.** Many short slices come to a look as one long one does. The reductions between
//!   two looks (the distance) follow the work: so many as took an eighth of a slice's time, from [`NEAREST`] to [`FARTHEST`],
//!   and at most [`FRESH`] for a process that was taken from the queues, whose work nobody knows.
//! - **Z3, a pin ends when it is late.** When a slice ends, and a look has found that the timers and the inbox were looked at a
//!   slice's time ago, the pin ends, and both are looked at, however few slices there were.
//!
//! So a timer is late by two slices' time and one distance at most, if bodies let go in between: with 5 µs a message by
//! less than a millisecond, with 100 µs by some milliseconds. Then its process has its turn among those that are queued. The
//! fast path pays nothing: the budget of a slice is what is left until the next look ([`crate::cx::Slice`]), and only when that is
//! used up is anything else asked. In a world whose clock stands still while a core runs, nothing is charged.
//!
//! What a driver does between two runs of a core, and the firing of timers, is charged to nobody.

use crate::config::SLICE;
use crate::sync::Cell;

/// Nanoseconds that a reduction is worth, as a power of two (Z1).
const WORTH_BITS: u32 = 6;

/// Nanoseconds of a slice.
pub(crate) const SLICE_TIME: u64 = (SLICE as u64) << WORTH_BITS;

/// Nanoseconds between two looks, as far as the distance can see to it (Z2).
const BETWEEN: u64 = SLICE_TIME / 8;

/// Reductions between two looks: the least.
const NEAREST: i64 = 4;

/// The most: of those that send and receive, some microseconds; a look is a hundredth of that.
const FARTHEST: i64 = 64;

/// The most until the first look at a process that was taken from the queues.
const FRESH: i64 = 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Reductions until the next look; not more than 0 when it is due.
    until: Cell<i64>,
    /// What that was after the last look.
    ahead: Cell<i64>,
    /// The distance.
    distance: Cell<i64>,
    /// When the last look was; 0 when nobody knows.
    last: Cell<u64>,
    /// When timers and inbox were looked at, as far as looks tell; 0 when nobody knows.
    ticked: Cell<u64>,
    /// That was a slice's time ago (Z3).
    late: Cell<bool>,
}

/// Reductions that a look charges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The running slice.
    pub own: u32,
    /// Those before it, since the last look.
    pub others: u32,
}

impl Pace {
    /// Of a core that has not run.
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

    /// The core begins to run, or has done what nobody is charged for: the next look begins to count.
    #[inline]
    pub(crate) fn rests(&self) {
        self.last.set(0);
    }

    /// Timers and inbox are looked at now; whether it was high time.
    #[inline]
    pub(crate) fn ticks(&self) -> bool {
        // The last look was before now: late is found too early rather than too late.
        self.ticked.set(self.last.get());
        self.late.replace(false)
    }

    /// When the last look was; 0 when nobody knows.
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        self.last.get()
    }

    /// Whether they should be.
    #[inline]
    pub(crate) fn is_late(&self) -> bool {
        self.late.get()
    }

    /// A slice begins, of a process from the queues if it is `fresh`: the reductions until the next look.
    #[inline]
    pub(crate) fn begins(&self, fresh: bool) -> i64 {
        let until = self.until.get();
        if fresh && until > FRESH {
            self.ahead.set(self.ahead.get() - (until - FRESH));
            self.until.set(FRESH);
            return FRESH;
        }
        debug_assert!(until > 0, "a look that was due was taken");
        until
    }

    /// So many reductions were spent; whether a look is due.
    #[inline]
    pub(crate) fn spends(&self, reductions: i64) -> bool {
        let until = self.until.get() - reductions;
        self.until.set(until);
        until <= 0
    }

    /// Looks: it is `now`, and the running slice has spent so many of the reductions since the last look.
    pub(crate) fn looks(&self, now: u64, own: i64) -> Charge {
        // A clock may begin at 0, which stands for nobody knows.
        let now = now.max(1);
        let spent = (self.ahead.get() - self.until.get()).max(1).unsigned_abs();
        let last = self.last.replace(now);
        let mut charge = Charge::default();
        if last != 0 {
            let passed = now.saturating_sub(last);
            // More than a slice is as good as any more: bounded, so that nothing overflows.
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

    /// Looks at bodies that work for so long a reduction, until it has looked so often; the reductions between the last two.
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

    /// Issue 14, 9: who has spent a part of the reductions is charged that part, and all is charged.
    #[test]
    fn n09_time_is_charged_to_who_has_spent() {
        let pace = Pace::new();
        assert!(pace.spends(FRESH));
        assert_eq!(pace.looks(1_000, FRESH), Charge::default(), "nobody knows since when");
        let ahead = pace.begins(false);
        assert!(!pace.spends(ahead / 4));
        assert!(pace.spends(ahead - ahead / 4));
        let passed = (1_000 + ahead as u64) << WORTH_BITS;
        let charge = pace.looks(1_000 + passed, ahead - ahead / 4);
        assert_eq!(charge, Charge { own: 750, others: 250 });
        assert!(!pace.is_late());
    }

    /// Issue 14, 9: the pin is late a slice's time after the last tick, by whatever slices.
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
