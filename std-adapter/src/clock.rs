//! The clock, and a cheaper one for timers ([`coarse_now`]).
//!
//! A look at the system's clock takes 25 ns here, of which the counter that it is made of takes 9: the rest is waiting
//! until nothing is under way in the processor, and arithmetic. A timer need not know the time so well. Its wheel counts in 16 µs, and what
//! matters is that it is never early. So what is wanted is a time that is *not before* now, and not long after.
//!
//! Each thread keeps a reading of the system's clock with the counter around it ([`Reading`]), and how many nanoseconds a
//! tick of the counter has at most ([`Near`]). From these two, for half a millisecond, it says how late it is at most. Then it looks again.
//!
//! - **C1, at most.** The clock was read between two readings of the counter, so it is at most as fast as the time between
//!   two readings of the clock over the ticks that have surely passed between them. That holds whoever was preempted where; a reading with
//!   too wide a bracket is not kept, because what it bounds would be loose.
//! - **C2, a margin.** [`MARGIN`] is added for what the system may do to its clock meanwhile (500 millionths each way, when it
//!   is steered), and for looks at the counter that the processor does earlier than they are written.
//! - **C3, short.** What is known is used for half a millisecond, and forgotten after seconds. Ticks that went back (a thread on another
//!   processor, a machine that slept) are many ticks ahead, and so too old. What a steering of a tenth, which some
//!   programs ask for, could do in half a millisecond is 50 µs.
//!
//! So a timer may be due up to [`SOON_BY`] later than it had to, and is never due early by the system's clock, but by 50 µs in
//! the half millisecond in which the clock begins to be steered by more than 500 millionths.
//!
//! Only where Linux itself makes its time of this counter (`tsc`), which it checks; elsewhere `coarse_now` is now. The crates that read the counter
//! (quanta, minstant) find out once how long a tick is, and say nothing of being early:
//! when the system's clock is steered by 50 millionths, that is four seconds in a day.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Instant;

/// For so many nanoseconds what was read last is good enough.
const USED_FOR: u64 = 500_000;
/// How much later than now [`coarse_now`] may be, in nanoseconds: half a millisecond by a margin and a looseness of 1 in 512 each, and a
/// bracket.
pub(crate) const SOON_BY: u64 = 4_000;
/// One in so many is added to what a tick has at most.
const MARGIN: u64 = 512;
/// The counter around a look at the clock may go on by so many ticks.
const BRACKET: u64 = 1 << 10;
/// Two looks at the clock say how long a tick is when there are so many ticks between them, and not more than this.
const APART: std::ops::Range<u64> = 1 << 20..1 << 34;

/// Ticks of the counter before and after a look at the clock, and what it said.
#[derive(Clone, Copy, Debug)]
struct Reading {
    before: u64,
    now: u64,
    after: u64,
}

/// What a thread knows: its last reading, and nanoseconds in 2^32 ticks, at most; 0 when it does not know.
#[derive(Clone, Copy, Debug)]
struct Near {
    last: Reading,
    rate: u64,
}

impl Near {
    const NOTHING: Self = Self { last: Reading { before: 0, now: 0, after: 0 }, rate: 0 };

    /// A time that is not before the moment at which the counter is at `ticks`.
    fn coarse_now(&self, ticks: u64) -> Option<u64> {
        // Not before: the clock was read when the counter was there already, or later (C1).
        let since = (u128::from(ticks.wrapping_sub(self.last.before)) * u128::from(self.rate)) >> 32;
        (self.rate != 0 && since < u128::from(USED_FOR)).then(|| self.last.now + since as u64 + 1)
    }

    /// Learns from another reading.
    fn learn(&mut self, reading: Reading) {
        let surely = reading.before.wrapping_sub(self.last.after);
        if surely < APART.start {
            // Too near to learn from; and the last is still good to measure from.
            return;
        }
        if reading.after.wrapping_sub(reading.before) > BRACKET {
            return;
        }
        let passed = reading.now.saturating_sub(self.last.now);
        // Before the first there is nothing to measure from.
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

/// From when all clocks of this program count, so that what a thread knows holds for all of them.
pub(crate) fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// Nanoseconds since [`origin`], which the caller has.
pub(crate) fn now(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A time that is not before now, and at most [`SOON_BY`] after it, by a counter that [`counts`].
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

/// Whether there is a counter of which the system makes its time.
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
    // SAFETY: every processor of this architecture has the instruction, and Linux lets programs use it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
fn ticks() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator (xorshift), so that the run is the same each time.
    struct Random(u64);
    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) % bound
        }
    }

    /// A counter and a clock that the system steers.
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
            // Mostly tens of nanoseconds; now and then the thread is preempted on either side of the clock.
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
    fn it_is_never_early_and_hardly_late() {
        for seed in 1..200 {
            let mut random = Random(seed * 0x9E37_79B9);
            // From 1 to 5 ticks a nanosecond; the counter begins anywhere.
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
                        // What a tick has is not a whole number: the counter itself is early by less than one.
                        assert!(soon as f64 >= machine.ns - 2.0, "early by {}", machine.ns - soon as f64);
                        assert!(soon as f64 <= machine.ns + SOON_BY as f64, "late by {}", soon as f64 - machine.ns);
                    }
                    None => near.learn(machine.reading(&mut random)),
                }
            }
            assert!(quick > 500, "seed {seed}: only {quick} were quick");
        }
    }

    #[test]
    fn what_is_old_or_went_back_is_not_used() {
        let reading = |ticks: u64, now| Reading { before: ticks, now, after: ticks + 100 };
        let mut near = Near::NOTHING;
        near.learn(reading(1 << 40, 1_000_000));
        assert_eq!(near.coarse_now((1 << 40) + 200), None, "one reading says nothing of a tick");
        // Too near: the first stays.
        near.learn(reading((1 << 40) + 1000, 1_001_000));
        assert_eq!(near.last.now, 1_000_000);
        near.learn(reading((1 << 40) + 2_000_100, 3_000_000));
        let soon = near.coarse_now((1 << 40) + 2_001_100).expect("a tick is a nanosecond");
        assert!((3_001_000..3_001_000 + SOON_BY).contains(&soon), "{soon}");
        assert_eq!(near.coarse_now((1 << 40) + 2_000_000), None, "before the last reading");
        assert_eq!(near.coarse_now((1 << 40) + 2_600_000), None, "long after it");
        // A wide bracket teaches nothing, and seconds later all is forgotten.
        let wide = Reading { before: (1 << 40) + 5_000_000, now: 6_000_000, after: (1 << 40) + 5_100_000 };
        near.learn(wide);
        assert_eq!(near.last.now, 3_000_000);
        near.learn(reading((1 << 40) + (1 << 36), 70_000_000_000));
        assert_eq!((near.rate, near.last.now), (0, 70_000_000_000));
    }

    /// On this machine, with threads that are preempted and moved.
    #[test]
    fn it_lies_between_now_and_hardly_later() {
        if !counts() {
            println!("the system does not make its time of a counter that we read: soon is now");
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
