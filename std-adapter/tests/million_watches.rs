//! A million watches on live processes cost a bounded number of bytes each, no thread and no
//! wake-up. Then all processes are killed, and each callback runs once (faults 2.4 a and d:
//! elsewhere each watch cost a thread and a poll).

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atropos::prelude::*;
use atropos::{Body, BodyPoll, Cx};

const WATCHES: usize = 1_000_000;
/// The size of a record and of this test's callback, in bytes.
const BYTES_EACH: isize = 128;

struct Waits;

impl Body for Waits {
    type Message = ();
    fn resume(&mut self, _: &Cx<'_, ()>) -> BodyPoll {
        BodyPoll::Wait
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("Linux").count()
}

/// Returns the voluntary context switches of the callback thread: a park that ends is one.
fn switches() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").map(|task| task.expect("a thread").path());
    let callbacks = tasks
        .filter(|task| std::fs::read_to_string(task.join("comm")).unwrap_or_default().trim() == "atropos-exits")
        .map(|task| std::fs::read_to_string(task.join("status")).expect("it lives"));
    let count = |status: String| {
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).map(str::to_owned);
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).expect("a count")
    };
    callbacks.map(count).sum()
}

#[test]
fn fault_2_4_a_a_million_watches_have_no_thread_and_no_wake_ups() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let start = Instant::now();
    let spawn = |_| runtime.spawn_body(&SpawnOptions::new(), Waits).expect("room").pid;
    let pids: Vec<Pid> = (0..WATCHES).map(spawn).collect();
    let times: Arc<[AtomicU8]> = (0..WATCHES).map(|_| AtomicU8::new(0)).collect();
    let told = Arc::new(AtomicUsize::new(0));
    while !runtime.is_quiescent() {
        thread::yield_now();
    }
    let born = start.elapsed();
    // The first watch starts the thread.
    runtime.on_exit(pids[0], |_| ()).expect("a watch").cancel();
    thread::sleep(Duration::from_millis(100));

    let (threads_before, bytes_before, start) = (threads(), common::bytes(), Instant::now());
    for (number, pid) in pids.iter().enumerate() {
        let (times, told) = (times.clone(), told.clone());
        let counts = move |outcome: atropos::Outcome| {
            assert_eq!(outcome.reason, Some(Reason::KILLED));
            times[number].fetch_add(1, Ordering::Relaxed);
            told.fetch_add(1, Ordering::Release);
        };
        runtime.on_exit(*pid, counts).expect("a watch");
    }
    let installed = start.elapsed();
    let bytes_each = (common::bytes() - bytes_before) / WATCHES as isize;
    assert_eq!(threads(), threads_before, "no thread for a watch");
    assert!(bytes_each <= BYTES_EACH, "{bytes_each} bytes for each watch");
    // A thread may not have got the CPU since it has nothing to do: the first second without a
    // wake-up counts.
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let (woken, switched) = (runtime.wakeups(), switches());
        thread::sleep(Duration::from_secs(1));
        let in_a_second = (runtime.wakeups() - woken, switches() - switched);
        if in_a_second == (0, 0) {
            break;
        }
        assert!(Instant::now() < patience, "wake-ups, and context switches of the callbacks: {in_a_second:?}");
    }
    assert_eq!(told.load(Ordering::Acquire), 0, "they live");

    let start = Instant::now();
    for pid in &pids {
        assert_eq!(runtime.exit(*pid, Reason::KILL), Ok(true));
    }
    while told.load(Ordering::Acquire) < WATCHES && start.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(1));
    }
    let ran = start.elapsed();
    assert_eq!(threads(), threads_before);
    runtime.shutdown(Duration::from_secs(30)).expect("all are dead");
    assert!(times.iter().all(|times| times.load(Ordering::Relaxed) == 1), "each callback once");
    println!(
        "{WATCHES} watches: {bytes_each} bytes each, of which {} are the callback's; spawned in {born:?}, installed in \
         {installed:?}, all killed and told in {ran:?}",
        size_of::<(Arc<[AtomicU8]>, Arc<AtomicUsize>, usize)>()
    );
}
