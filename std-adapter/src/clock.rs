//! The clock, and a cheaper coarse clock for timers ([`coarse_now`]).
//!
//! Reading the system clock takes 25 ns on the development machine. The hardware counter behind it
//! accounts for 9 ns; the rest is arithmetic, and waiting until no instruction is in flight. A
//! timer does not need such precision: its wheel counts in units of 16 µs, and its one hard
//! requirement is that it never fires early. So the coarse clock returns a time that is *not
//! before* now, and not long after.
//!
//! Each thread keeps a reading of the system clock, with the counter read before and after it
//! ([`Reading`]), and an upper bound of the nanoseconds per counter tick ([`Near`]). From these two
//! it computes, for half a millisecond, the latest time that it can be. Then it reads the system
//! clock again.
//!
//! - **C1, an upper bound.** The clock is read between two readings of the counter. So its rate is
//!   at most the time between two clock readings, divided by the ticks that have certainly passed
//!   between them. That holds wherever the thread was preempted. A reading with too wide a bracket
//!   is discarded, because its bound would be loose.
//! - **C2, a margin.** [`MARGIN`] covers what the system may do to its clock between readings (500
//!   parts per million each way, when the clock is slewed), and counter reads that the processor
//!   executes earlier than in program order.
//! - **C3, a short life.** A reading is used for half a millisecond, and forgotten after seconds.
//!   Ticks that went backwards (a thread on another processor, a machine that slept) look like a
//!   very large distance, and so too old. If a program asks for a slew of ten percent, the error
//!   within half a millisecond is 50 µs.
//!
//! So a timer may fire up to [`SOON_BY`] late. It never fires early by the system clock, except by
//! up to 50 µs in the half millisecond in which the clock starts to be slewed by more than 500
//! parts per million.
//!
//! This is used only where Linux itself derives its time from this counter (`tsc`), which Linux
//! verifies; elsewhere `coarse_now` is the system clock. The crates that read the counter (quanta,
//! minstant) measure the length of a tick once, and do not promise never to be early: a clock that
//! is slewed by 50 parts per million drifts by four seconds a day.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Instant;

/// How long the last reading may be used, in nanoseconds.
const USED_FOR: u64 = 500_000;
/// How far ahead of now [`coarse_now`] may be, in nanoseconds: half a millisecond times the margin
/// and the looseness of the bound (1 in 512 each), plus one bracket.
pub(crate) const SOON_BY: u64 = 4_000;
/// The margin on the bound of a tick's length: one part in this many.
const MARGIN: u64 = 512;
/// The widest bracket around a clock reading, in ticks.
const BRACKET: u64 = 1 << 10;
/// The distances, in ticks, at which two clock readings determine the length of a tick.
const APART: std::ops::Range<u64> = 1 << 20..1 << 34;

/// A reading of the clock, with the counter before and after it.
#[derive(Clone, Copy, Debug)]
struct Reading {
    before: u64,
    now: u64,
    after: u64,
}

/// What a thread knows: its last reading, and an upper bound of the nanoseconds in 2^32 ticks; 0 if
/// unknown.
#[derive(Clone, Copy, Debug)]
struct Near {
    last: Reading,
    rate: u64,
}

impl Near {
    const NOTHING: Self = Self { last: Reading { before: 0, now: 0, after: 0 }, rate: 0 };

    /// Returns a time that is not before the moment at which the counter reads `ticks`.
    fn coarse_now(&self, ticks: u64) -> Option<u64> {
        // Not early: the clock was read when the counter had reached `before`, or later (C1).
        let since = (u128::from(ticks.wrapping_sub(self.last.before)) * u128::from(self.rate)) >> 32;
        (self.rate != 0 && since < u128::from(USED_FOR)).then(|| self.last.now + since as u64 + 1)
    }

    /// Updates the bound with another reading.
    fn learn(&mut self, reading: Reading) {
        let surely = reading.before.wrapping_sub(self.last.after);
        if surely < APART.start {
            // The two readings are too close to learn from, and the last one is still good to
            // measure from.
            return;
        }
        if reading.after.wrapping_sub(reading.before) > BRACKET {
            return;
        }
        let passed = reading.now.saturating_sub(self.last.now);
        // Before the first reading there is nothing to measure from.
        self.rate = match self.last.after != 0 && APART.contains(&surely) {
            true => {
                let at_most = (u128::from(passed) << 32).div_ceil(u128::from(surely));
                u64::try_from(at_most + at_most / u128::from(MARGIN)).unwrap_or(0)
            }
            false => 0,
        };
        self.last = reading;
    }
}

thread_local! {
    static NEAR: Cell<Near> = const { Cell::new(Near::NOTHING) };
}

/// Returns the instant from which all clocks of this program count, so that one thread's readings
/// serve all of them.
pub(crate) fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// Returns the nanoseconds since `origin`, which the caller got from [`origin`].
pub(crate) fn now(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a time that is not before now, and at most [`SOON_BY`] after it. Needs a counter that
/// [`counts`].
pub(crate) fn coarse_now(origin: Instant) -> u64 {
    NEAR.with(|near| near.get().coarse_now(ticks()).unwrap_or_else(|| look(near, origin)))
}

#[cold]
fn look(near: &Cell<Near>, origin: Instant) -> u64 {
    let reading = Reading { before: ticks(), now: now(origin), after: ticks() };
    let mut learnt = near.get();
    learnt.learn(reading);
    near.set(learnt);
    reading.now
}

/// Returns `true` if the system derives its time from a counter that this program can read.
pub(crate) fn counts() -> bool {
    static COUNTS: OnceLock<bool> = OnceLock::new();
    *COUNTS.get_or_init(|| {
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        HAS_COUNTER && std::fs::read_to_string(source).is_ok_and(|source| source.trim() == "tsc")
    })
}

const HAS_COUNTER: bool = cfg!(all(target_arch = "x86_64", target_os = "linux", not(miri)));

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and Linux lets user programs execute it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
fn ticks() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator (xorshift), so that each run is the same.
    struct Random(u64);
    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) % bound
        }
    }

    /// A counter, and a clock that the system slews.
    struct Machine {
        ticks: f64,
        ns: f64,
        ns_per_tick: f64,
        steered: f64,
    }

    impl Machine {
        fn pass(&mut self, ns: f64) {
            self.ns += ns;
            self.ticks += ns / (self.ns_per_tick * (1.0 + self.steered));
        }

        fn reading(&mut self, random: &mut Random) -> Reading {
            // Mostly tens of nanoseconds; sometimes the thread is preempted on either side of the
            // clock reading.
            let mut gap =
                || if random.below(20) == 0 { random.below(3_000_000) as f64 } else { random.below(60) as f64 };
            let (first, second) = (gap(), gap());
            let before = self.ticks as u64;
            self.pass(first);
            let now = self.ns as u64;
            self.pass(second);
            Reading { before, now, after: self.ticks as u64 }
        }
    }

    #[test]
    fn simulated_clock_is_never_early_and_hardly_late() {
        for seed in 1..200 {
            let mut random = Random(seed * 0x9E37_79B9);
            // From 1 to 5 ticks per nanosecond; the counter starts anywhere.
            let ns_per_tick = 1.0 / (1.0 + random.below(4000) as f64 / 1000.0);
            let ticks = random.below(1 << 40) as f64;
            let mut machine = Machine { ticks, ns: 5e9, ns_per_tick, steered: 0.0 };
            let (mut near, mut quick) = (Near::NOTHING, 0);
            for _ in 0..3_000 {
                let most = 10_u64.pow(2 + random.below(5) as u32);
                machine.pass(random.below(most) as f64);
                if random.below(50) == 0 {
                    machine.steered = (random.below(1000) as f64 - 500.0) / 1e6;
                }
                match near.coarse_now(machine.ticks as u64) {
                    Some(soon) => {
                        quick += 1;
                        // A tick is not a whole number of nanoseconds: the counter itself is early
                        // by less than one.
                        assert!(soon as f64 >= machine.ns - 2.0, "early by {}", machine.ns - soon as f64);
                        assert!(soon as f64 <= machine.ns + SOON_BY as f64, "late by {}", soon as f64 - machine.ns);
                    }
                    None => near.learn(machine.reading(&mut random)),
                }
            }
            assert!(quick > 500, "seed {seed}: only {quick} reads used the counter");
        }
    }

    #[test]
    fn old_or_backward_reading_is_not_used() {
        let reading = |ticks: u64, now| Reading { before: ticks, now, after: ticks + 100 };
        let mut near = Near::NOTHING;
        near.learn(reading(1 << 40, 1_000_000));
        assert_eq!(near.coarse_now((1 << 40) + 200), None, "one reading does not give the length of a tick");
        // Too close: the first reading stays.
        near.learn(reading((1 << 40) + 1000, 1_001_000));
        assert_eq!(near.last.now, 1_000_000);
        near.learn(reading((1 << 40) + 2_000_100, 3_000_000));
        let soon = near.coarse_now((1 << 40) + 2_001_100).expect("two readings give the length of a tick");
        assert!((3_001_000..3_001_000 + SOON_BY).contains(&soon), "{soon}");
        assert_eq!(near.coarse_now((1 << 40) + 2_000_000), None, "before the last reading");
        assert_eq!(near.coarse_now((1 << 40) + 2_600_000), None, "long after it");
        // A reading with a wide bracket is discarded, and seconds later the bound is forgotten.
        let wide = Reading { before: (1 << 40) + 5_000_000, now: 6_000_000, after: (1 << 40) + 5_100_000 };
        near.learn(wide);
        assert_eq!(near.last.now, 3_000_000);
        near.learn(reading((1 << 40) + (1 << 36), 70_000_000_000));
        assert_eq!((near.rate, near.last.now), (0, 70_000_000_000));
    }

    /// Tests this machine's clock, with threads that are preempted and migrated.
    #[test]
    fn real_clock_is_never_early_and_hardly_late() {
        if !counts() {
            println!("the system does not derive its time from a counter that we can read: soon is now");
            return;
        }
        let origin = origin();
        let look = || {
            let (end, mut looks) = (now(origin) + 300_000_000, 0_u64);
            loop {
                let before = now(origin);
                let soon = coarse_now(origin);
                let after = now(origin);
                assert!(soon >= before, "early by {} ns", before - soon);
                assert!(soon <= after + SOON_BY, "late by {} ns", soon - after);
                looks += 1;
                if after > end {
                    return looks;
                }
            }
        };
        let looks = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(look)).collect();
            all.into_iter().map(|thread| thread.join().expect("never early, hardly late")).sum::<u64>()
        });
        assert!(looks > 1000, "{looks} looks");
    }
}
