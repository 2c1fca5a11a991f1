//! [`Machine`]: the computer of the measurements. It has the processor, its caches, the speed-up of
//! two independent threads, and the latency between two threads that share one cache line.
//!
//! A speed-up of two threads over one is meaningful only beside the machine's own. Two virtual
//! processors may share a core, and a cache line that two cores write has a fixed cost in any
//! program.

use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The iterations of the arithmetic loop, about 20 ms.
const TURNS: u64 = 20_000_000;
/// The number of transfers of a cache line between the two threads.
const HANDS: u64 = 50_000;
/// The number of measurements, of which the best counts.
const TIMES: usize = 5;

/// The properties of the computer that the measurements used.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub model: String,
    /// The number of processors available to this program.
    pub cpus: usize,
    /// The size of the level 2 cache in bytes, which a core has to itself.
    pub l2: Option<u64>,
    /// The size of the level 3 cache in bytes.
    pub l3: Option<u64>,
    /// The arithmetic throughput of two threads over that of one.
    pub speed_up: f64,
    /// The load average of the last minute before the measurements: other programs that needed a
    /// processor.
    #[serde(default)]
    pub load: f64,
    /// The time in nanoseconds until one core has a cache line that another core has just written.
    pub hand_over_ns: f64,
}

impl Machine {
    /// Measures this computer. Takes less than a second.
    pub fn look() -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": a machine");
        Self {
            model: model.trim_start_matches(['\t', ' ', ':']).to_owned(),
            load: load().unwrap_or(0.0),
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            l2: cache(2),
            l3: cache(3),
            // The best measurement: other load only makes a result worse.
            speed_up: (0..TIMES).map(|_| speed_up()).fold(0.0, f64::max),
            hand_over_ns: (0..TIMES).map(|_| hand_over()).fold(f64::MAX, f64::min),
        }
    }
}

fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Returns the size in bytes of the first processor's data cache of this level, if the system
/// provides it.
fn cache(level: u32) -> Option<u64> {
    let folder = |number: u32| format!("/sys/devices/system/cpu/cpu0/cache/index{number}");
    let says = |number: u32, what: &str| std::fs::read_to_string(format!("{}/{what}", folder(number))).ok();
    let is_it = |number: &u32| {
        let of_level = says(*number, "level").is_some_and(|it| it.trim() == level.to_string());
        of_level && says(*number, "type").is_some_and(|it| it.trim() != "Instruction")
    };
    bytes(says((0..8).find(is_it)?, "size")?.trim())
}

/// Parses a size such as `1024K`.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    Some(number.parse::<u64>().ok()? * unit)
}

/// Returns the time in which each of `threads` threads does the same arithmetic, from a common
/// start.
fn arithmetic(threads: usize) -> Duration {
    let all_there = Barrier::new(threads);
    let work = || {
        all_there.wait();
        let begun = Instant::now();
        let sum = (0..TURNS).fold(1_u64, |sum, turn| black_box(sum.wrapping_mul(0x9E37_79B9).wrapping_add(turn)));
        black_box(sum);
        begun.elapsed()
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().filter_map(|one| one.join().ok()).max().unwrap_or_default()
    })
}

fn speed_up() -> f64 {
    2.0 * arithmetic(1).as_secs_f64() / arithmetic(2).as_secs_f64()
}

/// Returns the time of one transfer: two threads write one word in turn.
fn hand_over() -> f64 {
    let (word, all_there) = (AtomicU64::new(0), Barrier::new(2));
    let plays = |odd: u64| {
        all_there.wait();
        let begun = Instant::now();
        let mut waits = 0_u32;
        for turn in (0..HANDS).filter(|turn| turn % 2 == odd) {
            // Relaxed: only the transfer of the cache line is measured, and the word orders no
            // other data.
            while word.load(Ordering::Relaxed) != turn {
                waits += 1;
                // On a single processor the other thread needs the processor.
                if waits.is_multiple_of(200) { std::thread::yield_now() } else { spin_loop() }
            }
            word.store(turn + 1, Ordering::Relaxed);
        }
        begun.elapsed()
    };
    let time = std::thread::scope(|scope| {
        let other = scope.spawn(|| plays(1));
        plays(0).max(other.join().unwrap_or_default())
    });
    time.as_nanos() as f64 / HANDS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed() {
        assert_eq!(
            (bytes("1024K"), bytes("32M"), bytes("7"), bytes("x"), bytes("")),
            (Some(1 << 20), Some(32 << 20), Some(7), None, None)
        );
    }

    #[test]
    fn this_machine_is_measured() {
        let machine = Machine::look();
        assert!(machine.cpus > 0 && !machine.model.is_empty());
        assert!(machine.speed_up > 0.3 && machine.hand_over_ns > 0.0, "{machine:?}");
        let text = serde_json::to_string(&machine).expect("JSON");
        assert_eq!(serde_json::from_str::<Machine>(&text).expect("read again").model, machine.model);
    }
}
