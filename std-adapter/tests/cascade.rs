//! A million processes in a chain of links die of the first one's crash. Each dies once, exit
//! propagation does not recurse, and the exit path allocates nothing.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use atropos::{Body, BodyPoll, Cx, Pid, Reason, Runtime, SpawnOptions};

#[derive(Default)]
struct Counts {
    ready: AtomicUsize,
    died: AtomicUsize,
}

/// A process that links itself to the next one that it spawns, until the chain is long enough.
struct ChainLink {
    left: usize,
    counts: Arc<Counts>,
    grown: bool,
}

impl Body for ChainLink {
    type Message = Pid;

    fn resume(&mut self, cx: &Cx<'_, Pid>) -> BodyPoll {
        if !self.grown {
            self.grown = true;
            self.counts.ready.fetch_add(1, Ordering::Relaxed);
            if self.left > 0 {
                let next = Self { left: self.left - 1, counts: self.counts.clone(), grown: false };
                cx.spawn(&SpawnOptions::new().link(), next).expect("room for a million");
            }
        }
        BodyPoll::Wait
    }
}

impl Drop for ChainLink {
    fn drop(&mut self) {
        self.counts.died.fetch_add(1, Ordering::Relaxed);
    }
}

fn until(what: &str, reached: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !reached() {
        assert!(Instant::now() < end, "{what} did not happen in two minutes");
        std::thread::yield_now();
    }
}

#[test]
fn a_million_linked_processes_die_without_allocating() {
    const N: usize = 1_000_000;
    let runtime = Runtime::builder().cores(2).build().expect("two threads");
    let counts = Arc::new(Counts::default());
    let first = ChainLink { left: N - 1, counts: counts.clone(), grown: false };
    let first = runtime.spawn_body(&SpawnOptions::new(), first).expect("a process").pid;
    until("a chain of a million", || counts.ready.load(Ordering::Relaxed) == N && runtime.is_quiescent());
    assert_eq!(runtime.process_count(), N);

    let reason = Reason::crash("the first one");
    let before = common::allocations();
    let start = Instant::now();
    runtime.exit(first, reason).expect("memory");
    until("the death of a million", || counts.died.load(Ordering::Relaxed) == N && runtime.is_quiescent());
    let took = start.elapsed();
    let allocated = common::allocations() - before;

    assert_eq!(counts.died.load(Ordering::Relaxed), N, "each died once");
    assert_eq!(runtime.process_count(), 0);
    // That the deaths themselves allocate nothing, `kernel/tests/one_hart.rs` shows. One allocation
    // is the exit signal that the host sent. The others do not belong to the deaths: flushing
    // retired processes to the collector, at quiescent points, takes a bag for 4 times 64 of them.
    println!("{N} deaths in {took:?}, {allocated} allocations for the signal and the collector's bags");
    // Under ThreadSanitizer the deaths take so long that the cores are quiescent repeatedly, with
    // less to flush each time.
    #[cfg(not(tsan))]
    assert!(allocated <= 1 + 2 * (N / 64 / 4 + 64), "{allocated} allocations");
}
