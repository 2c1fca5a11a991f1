//! An idle runtime causes no wake-ups.

use std::time::{Duration, Instant};

use atropos::prelude::*;

/// Returns the voluntary context switches of the worker threads: a park that ends is one.
fn switches() -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("Linux") {
        let task = task.expect("a thread").path();
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        if name.starts_with("atropos-") {
            let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
            sum += line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    sum
}

/// Elsewhere each idle worker woke 200 times a second, and a waiting process polled every 10 ms.
#[test]
fn fault_2_3_h_a_idle_means_no_wake_ups() {
    let runtime =
        Runtime::builder().cores(2).on_long_slice(Duration::from_millis(20), |_| {}).build().expect("threads");
    // Some processes that wait for a message, and one with a distant timer.
    for _ in 0..100 {
        runtime
            .spawn(async |cx: Context<()>| {
                cx.recv().await;
            })
            .expect("a process");
    }
    runtime
        .spawn(async |cx: Context<()>| {
            cx.sleep(Duration::from_secs(3600)).await;
        })
        .expect("a process");
    while !runtime.is_quiescent() {
        std::thread::yield_now();
    }
    // The watchdog takes a few more samples before it parks, and a worker may not have got the CPU
    // since its core became idle: the first two seconds without a wake-up count.
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let (woken, switched) = (runtime.wakeups(), switches());
        std::thread::sleep(Duration::from_secs(2));
        let in_two_seconds = (runtime.wakeups() - woken, switches() - switched);
        if in_two_seconds == (0, 0) {
            break;
        }
        assert!(Instant::now() < patience, "wake-ups, and context switches of the workers: {in_two_seconds:?}");
    }
}
