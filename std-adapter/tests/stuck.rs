//! Issue 14, 9 and 10: only its own process waits for a body that occupies its core. The bodies
//! here block until the other processes have done their part, so nothing depends on the speed of
//! the machine.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::prelude::*;

fn until(what: &str, reached: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < end, "{what} did not happen in a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Spawns sleepers, and returns how often each has slept.
fn sleepers(runtime: &Runtime, many: usize) -> Vec<Arc<AtomicUsize>> {
    (0..many)
        .map(|_| {
            let slept = Arc::new(AtomicUsize::new(0));
            let count = slept.clone();
            runtime
                .spawn(async move |cx: Context<()>| {
                    loop {
                        cx.sleep(Duration::from_millis(5)).await;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                })
                .expect("a process");
            slept
        })
        .collect()
}

/// Waits until each sleeper has slept this many times more than now.
fn all_sleep_on(slept: &[Arc<AtomicUsize>], times: usize) {
    let before: Vec<usize> = slept.iter().map(|slept| slept.load(Ordering::Relaxed)).collect();
    until("all sleep on", || {
        slept.iter().zip(&before).all(|(slept, before)| slept.load(Ordering::Relaxed) >= before + times)
    });
}

/// All cores but one are blocked, one after the other, and each blocking body has started sleepers
/// of its own just before.
#[test]
fn n10_sleepers_go_on_while_bodies_block() {
    for cores in [2, 4] {
        let runtime = Runtime::builder().cores(cores).build().expect("threads");
        let mut slept = sleepers(&runtime, 100);
        all_sleep_on(&slept, 2);
        let mut held = Vec::new();
        for _ in 1..cores {
            let (release, released) = channel::<()>();
            let (told, begun) = channel();
            runtime
                .spawn(async move |cx: Context<()>| {
                    let children: Vec<_> = (0..10).map(|_| Arc::new(AtomicUsize::new(0))).collect();
                    for child in &children {
                        let child = child.clone();
                        cx.spawn(async move |cx: Context<()>| {
                            loop {
                                cx.sleep(Duration::from_millis(3)).await;
                                child.fetch_add(1, Ordering::Relaxed);
                            }
                        })
                        .expect("a process");
                    }
                    told.send(children).expect("the test waits");
                    let _ = released.recv();
                })
                .expect("a process");
            slept.extend(begun.recv_timeout(Duration::from_secs(60)).expect("it has started"));
            held.push(release);
            all_sleep_on(&slept, 20);
        }
        // Work from the host is carried out as well.
        let done = runtime.spawn(async |_: Context<()>| {}).expect("a process");
        assert!(runtime.wait_blocking(done, Duration::from_secs(60)).is_ok());
        drop(held);
        all_sleep_on(&slept, 2);
    }
}

/// A body that does not yield starts timers, cancels some of them, and wakes another process, as
/// fast as it can, while other cores repeatedly take over its core's work. Every timer is received
/// or was cancelled, and every message arrives.
#[test]
fn n10_a_body_that_goes_on_loses_nothing_to_its_rescuers() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let (got, rang) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (messages, timers) = (got.clone(), rang.clone());
    let target = runtime
        .spawn(async move |cx: Context<bool>| {
            loop {
                match cx.recv().await {
                    Received::Message(true) => timers.fetch_add(1, Ordering::Relaxed),
                    Received::Message(false) => messages.fetch_add(1, Ordering::Relaxed),
                    _ => 0,
                };
            }
        })
        .expect("a process");
    let (told, counts) = channel();
    let (seen, during) = (rang.clone(), Arc::new(AtomicUsize::new(0)));
    let rescued = during.clone();
    runtime
        .spawn(async move |cx: Context<()>| {
            let (mut started, mut cancelled, mut sent) = (0, 0, 0);
            let mut open = std::collections::VecDeque::new();
            let end = Instant::now() + Duration::from_secs(60);
            // In one slice: other cores fire 500 of its timers.
            while seen.load(Ordering::Relaxed) < 500 && Instant::now() < end {
                let after = Duration::from_micros(started as u64 % 7 * 400);
                open.push_back(cx.send_after(target, after, true).expect("memory"));
                started += 1;
                if started % 3 == 0 {
                    cx.send(target, false).expect("it lives");
                    sent += 1;
                }
                if open.len() > 200 {
                    let timer = open.pop_front().expect("there are 200");
                    if started % 2 == 0 {
                        cancelled += usize::from(cx.cancel_timer(timer).is_some());
                    }
                }
                if started % 64 == 0 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
            rescued.store(seen.load(Ordering::Relaxed), Ordering::Relaxed);
            told.send((started, cancelled, sent)).expect("the test waits");
            // Timers end with their starter only if they are addressed to it.
            cx.sleep(Duration::from_secs(3600)).await;
        })
        .expect("a process");
    let (started, cancelled, sent) = counts.recv_timeout(Duration::from_secs(90)).expect("it ends");
    assert!(during.load(Ordering::Relaxed) >= 500, "{during:?} were fired while it ran");
    until("all have come", || {
        got.load(Ordering::Relaxed) == sent && rang.load(Ordering::Relaxed) == started - cancelled
    });
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((got.load(Ordering::Relaxed), rang.load(Ordering::Relaxed)), (sent, started - cancelled), "once each");
}

/// A destructor that blocks, of a body that was killed, counts as a body that blocks.
#[test]
fn n10_sleepers_go_on_while_a_destructor_blocks() {
    struct Blocks(Mutex<std::sync::mpsc::Receiver<()>>, Arc<AtomicBool>);
    impl Drop for Blocks {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Relaxed);
            let _ = self.0.lock().map(|released| released.recv());
        }
    }
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let slept = sleepers(&runtime, 50);
    all_sleep_on(&slept, 2);
    let (release, released) = channel();
    let begun = Arc::new(AtomicBool::new(false));
    let blocks = Blocks(Mutex::new(released), begun.clone());
    let dies = runtime
        .spawn(async move |cx: Context<()>| {
            let _blocks = blocks;
            cx.recv().await;
            std::future::pending::<()>().await;
        })
        .expect("a process");
    assert!(runtime.exit(dies, Reason::KILL).is_ok());
    until("the destructor begins", || begun.load(Ordering::Relaxed));
    all_sleep_on(&slept, 20);
    drop(release);
    assert!(runtime.wait_blocking(dies, Duration::from_secs(60)).is_ok());
}
