//! What was measured on: the processor, its caches, and what it gives to two threads that have nothing to do with each other
//! or everything ([`Machine`]).
//!
//! A speed-up of two threads over one says something only beside what the machine itself gives: two virtual processors may
//! be one core, and a line that two cores write costs what it costs, whoever writes it.

use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Turns of a loop of arithmetic: some 20 ms.
const TURNS: u64 = 20_000_000;
/// Times that a line goes to and fro.
const HANDS: u64 = 50_000;
/// The best of so many counts.
const TIMES: usize = 5;

/// See the module.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub model: String,
    /// Processors that there are for us.
    pub cpus: usize,
    /// Bytes of the second level's cache, which a core has to itself.
    pub l2: Option<u64>,
    /// Bytes of the third level's.
    pub l3: Option<u64>,
    /// How many times as much arithmetic two threads do as one.
    pub speed_up: f64,
    /// How many wanted a processor, on average over the last minute: before anything was measured, what else ran.
    #[serde(default)]
    pub load: f64,
    /// Nanoseconds until one core has a line that another has just written.
    pub hand_over_ns: f64,
}

impl Machine {
    /// Looks at this one. Takes less than a second.
    pub fn look() -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": a machine");
        Self {
            model: model.trim_start_matches(['\t', ' ', ':']).to_owned(),
            load: load().unwrap_or(0.0),
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            l2: cache(2),
            l3: cache(3),
            // The best: what else runs takes of it, and gives nothing.
            speed_up: (0..TIMES).map(|_| speed_up()).fold(0.0, f64::max),
            hand_over_ns: (0..TIMES).map(|_| hand_over()).fold(f64::MAX, f64::min),
        }
    }
}

fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Bytes of the first processor's cache of a level that holds data, where the system says it.
fn cache(level: u32) -> Option<u64> {
    let folder = |number: u32| format!("/sys/devices/system/cpu/cpu0/cache/index{number}");
    let says = |number: u32, what: &str| std::fs::read_to_string(format!("{}/{what}", folder(number))).ok();
    let is_it = |number: &u32| {
        let of_level = says(*number, "level").is_some_and(|it| it.trim() == level.to_string());
        of_level && says(*number, "type").is_some_and(|it| it.trim() != "Instruction")
    };
    bytes(says((0..8).find(is_it)?, "size")?.trim())
}

/// What the system calls `1024K`.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    Some(number.parse::<u64>().ok()? * unit)
}

/// How long `threads` threads take for the same arithmetic each, from when all are there.
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

/// Two threads write one word in turn.
fn hand_over() -> f64 {
    let (word, all_there) = (AtomicU64::new(0), Barrier::new(2));
    let plays = |odd: u64| {
        all_there.wait();
        let begun = Instant::now();
        let mut waits = 0_u32;
        for turn in (0..HANDS).filter(|turn| turn % 2 == odd) {
            // Only the line's way counts; nothing else is handed over.
            while word.load(Ordering::Relaxed) != turn {
                waits += 1;
                // On one processor the other has to run.
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
    fn sizes_are_read() {
        assert_eq!(
            (bytes("1024K"), bytes("32M"), bytes("7"), bytes("x"), bytes("")),
            (Some(1 << 20), Some(32 << 20), Some(7), None, None)
        );
    }

    #[test]
    fn a_machine_is_looked_at() {
        let machine = Machine::look();
        assert!(machine.cpus > 0 && !machine.model.is_empty());
        assert!(machine.speed_up > 0.3 && machine.hand_over_ns > 0.0, "{machine:?}");
        let text = serde_json::to_string(&machine).expect("JSON");
        assert_eq!(serde_json::from_str::<Machine>(&text).expect("read again").model, machine.model);
    }
}
