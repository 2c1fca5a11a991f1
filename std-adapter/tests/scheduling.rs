//! Scheduling: no priority starves, no pair starves the rest, a pinned process stays on its core,
//! and work is stolen.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::prelude::*;
use atropos::{Body, BodyPoll, Cx, Priority};

/// A body that runs for ever, and counts its slices.
struct Busy(Arc<AtomicUsize>);

impl Body for Busy {
    type Message = ();

    fn resume(&mut self, _: &Cx<'_, ()>) -> BodyPoll {
        self.0.fetch_add(1, Ordering::Relaxed);
        BodyPoll::Yield
    }
}

fn until(what: &str, reached: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < end, "{what} did not happen in a minute");
        std::thread::yield_now();
    }
}

#[test]
fn no_priority_starves() {
    let runtime = Runtime::builder().cores(1).build().expect("a thread");
    let slices = [Priority::High, Priority::Normal, Priority::Low].map(|priority| {
        let count: Arc<AtomicUsize> = Arc::default();
        for _ in 0..3 {
            runtime.spawn_body(&SpawnOptions::new().priority(priority), Busy(count.clone())).expect("a process");
        }
        count
    });
    until("a hundred slices of low priority", || slices[2].load(Ordering::Relaxed) >= 100);
    // Read on the only core, where none of them runs in between: a thread outside may be preempted
    // between two reads.
    let counts = slices.clone();
    let counted = runtime.block_on(async move |_: Context<()>| counts.map(|count| count.load(Ordering::Relaxed)));
    let [high, normal, low] = counted.expect("no panic");
    assert!(high > normal && normal > low, "high {high}, normal {normal}, low {low}");
}

#[test]
fn a_ping_pong_pair_starves_no_other_process() {
    let runtime = Runtime::builder().cores(1).build().expect("a thread");
    let stop = Arc::new(AtomicBool::new(false));
    let chat = |stop: Arc<AtomicBool>| {
        async move |cx: Context<Pid>| {
            while let Received::Message(other) = cx.recv().await {
                if stop.load(Ordering::Relaxed) || cx.send(other, cx.pid()).is_err() {
                    return;
                }
            }
        }
    };
    let one = runtime.spawn(chat(stop.clone())).expect("a process");
    let two = runtime.spawn(chat(stop.clone())).expect("a process");
    runtime.send(one, two.pid()).expect("alive");
    let count: Arc<AtomicUsize> = Arc::default();
    runtime.spawn_body(&SpawnOptions::new(), Busy(count.clone())).expect("a process");
    until("a thousand slices beside the pair", || count.load(Ordering::Relaxed) >= 1000);
    stop.store(true, Ordering::Relaxed);
}

/// A body that records the cores on which it ran.
struct Where(Arc<Mutex<BTreeSet<usize>>>, usize);

impl Body for Where {
    type Message = ();

    fn resume(&mut self, cx: &Cx<'_, ()>) -> BodyPoll {
        self.0.lock().expect("not poisoned").insert(cx.core());
        self.1 -= 1;
        if self.1 == 0 { BodyPoll::Exit(Reason::NORMAL) } else { BodyPoll::Yield }
    }
}

#[test]
fn a_pinned_process_stays_on_its_core() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    for core in 0..2 {
        let cores: Arc<Mutex<BTreeSet<usize>>> = Arc::default();
        for _ in 0..20 {
            runtime.spawn_body(&SpawnOptions::new().core(core), Where(cores.clone(), 200)).expect("a process");
        }
        until("the end of the pinned processes", || runtime.processes().is_empty());
        assert_eq!(*cores.lock().expect("not poisoned"), BTreeSet::from([core]));
    }
    let nowhere = runtime.spawn_body(&SpawnOptions::new().core(2), Busy(Arc::default()));
    assert_eq!(nowhere.map(|_| ()), Err(SpawnError::NoSuchCore));
}

/// A body that starts many processes on one core, and occupies that core: the other cores must
/// steal them.
struct Mother(Arc<AtomicUsize>, usize);

impl Body for Mother {
    type Message = ();

    fn resume(&mut self, cx: &Cx<'_, ()>) -> BodyPoll {
        for _ in 0..self.1 {
            let done = self.0.clone();
            let child = async move |_: Context<()>| {
                done.fetch_add(1, Ordering::Relaxed);
            };
            cx.spawn_async(&SpawnOptions::new(), child).expect("a process");
        }
        // One may be in the LIFO slot of this core, which is not stolen from, and fewer than a
        // ring's length (256) are not yet published when this slice ends.
        while self.0.load(Ordering::Relaxed) + 256 < self.1 {
            std::hint::spin_loop();
        }
        BodyPoll::Exit(Reason::NORMAL)
    }
}

#[test]
fn work_queued_on_a_busy_core_is_stolen() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let done: Arc<AtomicUsize> = Arc::default();
    runtime.spawn_body(&SpawnOptions::new(), Mother(done.clone(), 2560)).expect("a process");
    until("the end of all", || done.load(Ordering::Relaxed) == 2560 && runtime.processes().is_empty());
}

#[test]
fn timers_in_a_running_program() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let done = runtime.block_on(async |cx: Context<u32>| {
        let start = Instant::now();
        let late = cx.send_after(cx.pid(), Duration::from_millis(40), 2_u32).expect("memory");
        let soon = cx.start_timer(cx.pid(), Duration::from_millis(10), 1_u32).expect("memory");
        let never = cx.send_after(cx.pid(), Duration::from_millis(20), 9_u32).expect("memory");
        assert!(cx.read_timer(late).is_some_and(|left| left <= Duration::from_millis(40)));
        assert!(cx.cancel_timer(never).is_some());
        assert_eq!(cx.cancel_timer(never), None);
        assert!(matches!(cx.recv().await, Received::Timer { timer, message: 1 } if timer == soon));
        assert!(start.elapsed() >= Duration::from_millis(10), "early");
        assert!(matches!(cx.recv().await, Received::Message(2)));
        assert!(start.elapsed() >= Duration::from_millis(40), "early");
        assert_eq!(cx.read_timer(late), None);
        assert!(cx.recv_timeout(Duration::from_millis(5)).await.is_none());
        assert_eq!(cx.own_info().expect("memory").expect("alive").timers, 0, "no timer is left behind");
    });
    assert_eq!(done, Ok(()));
}
