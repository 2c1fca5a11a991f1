//! A tree of three levels and ten thousand workers, with random crashes and kills for half a
//! minute. (Its memory is counted, so this file has one test.)

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::prelude::*;

mod common;

struct Dies;

/// The live workers, by position in the tree.
struct Roster {
    workers: Vec<Mutex<Option<Pid>>>,
    starts: AtomicUsize,
    live: AtomicUsize,
}

struct Life(Arc<Roster>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

fn leaf(roster: &Arc<Roster>, first: usize, count: usize) -> Supervisor {
    let workers = (first..first + count).map(|place| {
        let roster = roster.clone();
        ChildSpec::worker(format!("worker {place}"), move |starter: &mut ChildStarter<'_>| {
            roster.live.fetch_add(1, Ordering::Relaxed);
            let life = Life(roster.clone());
            let started = starter.spawn(move |cx: Context<Dies>| async move {
                let _life = life;
                cx.recv().await;
                Reason::value("crashed")
            })?;
            roster.starts.fetch_add(1, Ordering::Relaxed);
            *roster.workers[place].lock().expect("not poisoned") = started.pid();
            Ok(started)
        })
    });
    Supervisor::one_for_one().intensity(Intensity::within(10_000, Duration::from_secs(5))).children(workers)
}

#[test]
fn a_tree_of_ten_thousand_workers_keeps_its_shape() {
    const MIDDLE: usize = 10;
    const LEAVES: usize = 10;
    const WORKERS: usize = 100;
    const ALL: usize = MIDDLE * LEAVES * WORKERS;
    const SECONDS: usize = 30;
    let roster = Arc::new(Roster {
        workers: (0..ALL).map(|_| Mutex::new(None)).collect(),
        starts: AtomicUsize::new(0),
        live: AtomicUsize::new(0),
    });
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let mut top = Supervisor::one_for_one();
    for middle in 0..MIDDLE {
        let roster = roster.clone();
        top = top.child(ChildSpec::supervisor(format!("middle {middle}"), move |starter: &mut ChildStarter<'_>| {
            let mut tree = Supervisor::one_for_one();
            for n in 0..LEAVES {
                let (roster, place) = (roster.clone(), (middle * LEAVES + n) * WORKERS);
                tree = tree.child(ChildSpec::supervisor(format!("leaf {n}"), move |starter: &mut ChildStarter<'_>| {
                    starter.supervisor(leaf(&roster, place, WORKERS))
                }));
            }
            starter.supervisor(tree)
        }));
    }
    let top = runtime.start_supervisor(top).expect("up");
    let whole = 1 + MIDDLE + MIDDLE * LEAVES + ALL;
    assert_eq!(runtime.processes().len(), whole);
    assert_eq!(roster.starts.load(Ordering::Relaxed), ALL);

    let (mut random, mut crashes, mut early) = (0x5EED_u64, 0, 0);
    for second in 0..SECONDS {
        let began = Instant::now();
        // A tenth of the workers, each at most once a second, half of them killed.
        for n in 0..ALL / 10 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = n * 10 + (random >> 33) as usize % 10;
            let pid = roster.workers[place].lock().expect("not poisoned").expect("it was started");
            let alive = runtime.is_alive(pid);
            if random & 1 == 0 {
                runtime.exit(pid, Reason::KILL).expect("a kill needs no memory");
            } else {
                runtime.send(pid, Dies).expect("it lives");
            }
            crashes += usize::from(alive);
        }
        let patience = Instant::now() + Duration::from_secs(60);
        while roster.starts.load(Ordering::Relaxed) < ALL + crashes || !runtime.is_quiescent() {
            let starts = roster.starts.load(Ordering::Relaxed);
            assert!(Instant::now() < patience, "lost restarts: {starts} starts, {crashes} crashes");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(roster.starts.load(Ordering::Relaxed), ALL + crashes);
        assert_eq!(roster.live.load(Ordering::Relaxed), ALL);
        assert_eq!(runtime.processes().len(), whole, "a process is orphaned or missing");
        if second == SECONDS / 3 {
            early = common::bytes();
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
    }
    assert_eq!(crashes, SECONDS * ALL / 10);
    let late = common::bytes();
    assert!(late < early + early / 20, "memory grows: {early} bytes, then {late}");

    runtime.exit(top, Reason::SHUTDOWN).expect("memory");
    let patience = Instant::now() + Duration::from_secs(60);
    while !runtime.processes().is_empty() {
        assert!(Instant::now() < patience, "it does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(roster.live.load(Ordering::Relaxed), 0);
}
