//! Cost of moving memory to another core. It is the machine's own share of everything that one core
//! makes and another uses: a stolen process, a message to another core.
//!
//! `word` is one word that two threads write in turn: half a round trip. `blocks` are 64 blocks of
//! a given number of cache lines each. One thread reads and writes all of them, then the other does
//! (`two threads`), or the same one again (`one thread`); the throughput is that of blocks. The
//! benchmark needs two free CPUs, because the threads wait for each other by spinning.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Words per cache line.
const LINE: usize = 8;
/// Blocks that move together.
const BLOCKS: usize = 64;

/// A word with two cache lines to itself.
#[derive(Default)]
#[repr(align(128))]
struct Turn(AtomicU64);

/// Turns before the clock starts, in which the other thread starts up.
const WARM: u64 = 1000;

/// Lets two threads do `work` in turn, `rounds` times each.
fn in_turn(rounds: u64, work: impl Fn() + Send + Clone + 'static) -> Duration {
    let turn = Arc::new(Turn::default());
    let (theirs, also) = (turn.clone(), work.clone());
    let wait = |turn: &Turn, until: u64| {
        while turn.0.load(Ordering::Acquire) != until {
            spin_loop();
        }
    };
    let other = thread::spawn(move || {
        for round in 0..WARM + rounds {
            wait(&theirs, 2 * round + 1);
            also();
            theirs.0.store(2 * round + 2, Ordering::Release);
        }
    });
    let mut begun = Instant::now();
    for round in 0..WARM + rounds {
        if round == WARM {
            begun = Instant::now();
        }
        work();
        turn.0.store(2 * round + 1, Ordering::Release);
        wait(&turn, 2 * round + 2);
    }
    let time = begun.elapsed();
    other.join().expect("the other thread only counts");
    time
}

fn word(criterion: &mut Criterion) {
    criterion.bench_function("handover/word", |bench| bench.iter_custom(|rounds| in_turn(rounds, || {}) / 2));
}

fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handover/blocks");
    group.throughput(Throughput::Elements(BLOCKS as u64));
    for lines in [1, 2, 4, 8] {
        let words: Arc<[AtomicU64]> = (0..BLOCKS * lines * LINE).map(|_| AtomicU64::new(0)).collect();
        let touch = move || {
            for line in words.chunks(LINE) {
                // Relaxed: the turn orders the accesses.
                line[0].store(line[0].load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
        };
        let also = touch.clone();
        group.bench_function(BenchmarkId::new("two threads", lines), |bench| {
            bench.iter_custom(|rounds| in_turn(rounds, also.clone()) / 2);
        });
        group.bench_function(BenchmarkId::new("one thread", lines), |bench| bench.iter(&touch));
    }
    group.finish();
}

criterion_group!(benches, word, blocks);
criterion_main!(benches);
