//! Supervisors on threads: a tree at its real size under fire, bodies that never let go, and the host's side.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::otp::{CallError, ChildKind, ChildSpec, Hook, Report, StartError, Task};
use atropos::prelude::*;

mod common;

struct Dies;

/// Who is alive, by place in the tree.
struct Roll {
    workers: Vec<Mutex<Option<Pid>>>,
    starts: AtomicUsize,
    live: AtomicUsize,
}

struct Life(Arc<Roll>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

fn leaf(roll: &Arc<Roll>, first: usize, count: usize) -> Supervisor {
    let workers = (first..first + count).map(|place| {
        let roll = roll.clone();
        ChildSpec::worker(format!("worker {place}"), move |starter: &mut Starter<'_>| {
            roll.live.fetch_add(1, Ordering::Relaxed);
            let life = Life(roll.clone());
            let started = starter.spawn(move |mut cx: Context<Dies>| async move {
                let _life = life;
                cx.recv().await;
                Reason::value("crashed")
            })?;
            roll.starts.fetch_add(1, Ordering::Relaxed);
            *roll.workers[place].lock().expect("whole") = started.pid();
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
    let roll = Arc::new(Roll {
        workers: (0..ALL).map(|_| Mutex::new(None)).collect(),
        starts: AtomicUsize::new(0),
        live: AtomicUsize::new(0),
    });
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let mut top = Supervisor::one_for_one();
    for middle in 0..MIDDLE {
        let roll = roll.clone();
        top = top.child(ChildSpec::supervisor(format!("middle {middle}"), move |starter: &mut Starter<'_>| {
            let mut tree = Supervisor::one_for_one();
            for n in 0..LEAVES {
                let (roll, place) = (roll.clone(), (middle * LEAVES + n) * WORKERS);
                tree = tree.child(ChildSpec::supervisor(format!("leaf {n}"), move |starter: &mut Starter<'_>| {
                    starter.supervisor(leaf(&roll, place, WORKERS))
                }));
            }
            starter.supervisor(tree)
        }));
    }
    let top = runtime.start_supervisor(top).expect("up");
    let whole = 1 + MIDDLE + MIDDLE * LEAVES + ALL;
    assert_eq!(runtime.processes().len(), whole);
    assert_eq!(roll.starts.load(Ordering::Relaxed), ALL);

    let (mut random, mut crashes, mut early) = (0x5EED_u64, 0, 0);
    for second in 0..SECONDS {
        let began = Instant::now();
        // A tenth, each at most once a second, half of them killed.
        for n in 0..ALL / 10 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = n * 10 + (random >> 33) as usize % 10;
            let pid = roll.workers[place].lock().expect("whole").expect("it was started");
            let alive = runtime.is_alive(pid);
            if random & 1 == 0 {
                runtime.exit(pid, Reason::KILL).expect("a kill needs no memory");
            } else {
                runtime.send(pid, Dies).expect("it lives");
            }
            crashes += usize::from(alive);
        }
        let patience = Instant::now() + Duration::from_secs(60);
        while roll.starts.load(Ordering::Relaxed) < ALL + crashes || !runtime.is_quiescent() {
            let starts = roll.starts.load(Ordering::Relaxed);
            assert!(Instant::now() < patience, "lost restarts: {starts} starts, {crashes} crashes");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(roll.starts.load(Ordering::Relaxed), ALL + crashes);
        assert_eq!(roll.live.load(Ordering::Relaxed), ALL);
        assert_eq!(runtime.processes().len(), whole, "an orphan, or one missing");
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
    assert_eq!(roll.live.load(Ordering::Relaxed), 0);
}

#[test]
fn a_body_that_never_lets_go_hangs_nobody_and_is_reported() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let (spins, reports) = (stop.clone(), seen.clone());
    let supervisor = Supervisor::one_for_one()
        .on_report(Hook::new(move |report| reports.lock().expect("whole").push(report.clone())))
        .child(ChildSpec::of("good", |mut cx: Context<()>| async move {
            cx.recv().await;
        }))
        .child(
            ChildSpec::worker("spins", move |starter: &mut Starter<'_>| {
                let stop = spins.clone();
                starter.spawn(move |_: Context<()>| async move {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .shutdown(Shutdown::Within(Duration::from_millis(50))),
        );
    let supervisor = runtime.start_supervisor(supervisor).expect("up");
    runtime.exit(supervisor, Reason::SHUTDOWN).expect("memory");
    let patience = Instant::now() + Duration::from_secs(60);
    while runtime.is_alive(supervisor) {
        assert!(Instant::now() < patience, "it hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    let stuck = |report: &Report| matches!(report, Report::Stuck { child, .. } if child.id == Some("spins".into()));
    assert_eq!(seen.lock().expect("whole").iter().filter(|report| stuck(report)).count(), 1);
    assert_eq!(runtime.processes().len(), 1, "only what does not let go is left");
    stop.store(true, Ordering::Relaxed);
    while !runtime.processes().is_empty() {
        assert!(Instant::now() < patience, "it dies when it lets go");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[derive(Default)]
struct Store(BTreeMap<String, String>);

enum Request {
    Put(String, String),
    Get(String, Reply<Option<String>>),
    Crash,
    Stuck(#[allow(dead_code, reason = "it is never answered")] Reply<()>),
}

impl Server for Store {
    type Message = Request;

    async fn handle(&mut self, request: Request, cx: Serving<'_, Self>) -> Next<Request> {
        match request {
            Request::Put(key, value) => drop(self.0.insert(key, value)),
            Request::Get(key, reply) => reply.send(self.0.get(&key).cloned()),
            Request::Crash => std::panic::resume_unwind(Box::new("on request")),
            Request::Stuck(_reply) => cx.sleep(Duration::from_secs(3600)).await,
        }
        Next::Wait
    }
}

#[test]
fn the_host_starts_and_calls() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let store =
        ChildSpec::worker("store", |starter: &mut Starter<'_>| starter.server(Store::default().start().name("store")));
    let supervisor =
        runtime.start_supervisor(Supervisor::one_for_one().intensity(Intensity::FORGIVING).child(store)).expect("up");
    let find = || runtime.whereis("store").map(ServerRef::<Store>::new);
    let store = find().expect("registered when it is up");
    runtime.cast(store, Request::Put("a".into(), "1".into())).map_err(|_| "dead").expect("it lives");
    let second = Duration::from_secs(10);
    assert_eq!(runtime.call(store, second, |reply| Request::Get("a".into(), reply)), Ok(Some("1".into())));
    let timed_out = runtime.call(store, Duration::from_millis(10), Request::Stuck);
    assert_eq!(timed_out, Err(CallError::TimedOut));
    runtime.exit(store, Reason::KILL).expect("memory");
    let patience = Instant::now() + Duration::from_secs(60);
    let successor = |of: ServerRef<Store>| loop {
        match find() {
            Some(again) if again != of => return again,
            _ => assert!(Instant::now() < patience, "it is not restarted"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let again = successor(store);
    assert_eq!(runtime.call(again, second, |reply| Request::Get("a".into(), reply)), Ok(None));
    runtime.cast(again, Request::Crash).map_err(|_| "dead").expect("it lives");
    let down = runtime.call(again, second, |reply| Request::Get("a".into(), reply));
    assert!(matches!(down, Err(CallError::Down(_))), "{down:?}");
    successor(again);
    // A process asks the supervisor.
    let children = runtime.block_on(async move |cx: Context<()>| supervisor.which_children(&cx).await);
    let children = children.expect("it ends").expect("alive");
    assert_eq!((children.len(), children[0].kind), (1, ChildKind::Worker));
    // A second one of the name is refused, with who has it known to a process.
    let twice = runtime.block_on(async |cx: Context<()>| Store::default().start().name("store").alone(&cx).await);
    assert!(matches!(twice, Ok(Err(StartError::AlreadyStarted(_)))), "{twice:?}");
    runtime.shutdown(Duration::from_secs(10)).expect("all end");
}

#[test]
fn an_answer_that_was_given_before_the_end_is_had() {
    // The answer comes by its cell, the end by the mailbox: who sees the end first must look again.
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let lost = Arc::new(AtomicUsize::new(0));
    let count = lost.clone();
    let ended = runtime.block_on(async move |cx: Context<()>| {
        let callers = (0..4).map(|_| {
            let count = count.clone();
            Task::alone(&cx, move |cx| async move {
                for n in 0..20_000_u32 {
                    // On the other core, so that it ends while the caller looks.
                    let other = SpawnOptions::new().core(1 - cx.with(|cx| cx.core()));
                    let task = Task::spawn(&cx, &other, move |_| async move { n }).expect("room");
                    for _ in 0..n % 64 {
                        std::hint::spin_loop();
                    }
                    count.fetch_add(usize::from(task.join(&cx, None).await != Ok(n)), Ordering::Relaxed);
                }
            })
        });
        let callers = callers.collect::<Result<Vec<_>, _>>().expect("room");
        Task::join_all(&cx, callers, None).await
    });
    assert!(ended.expect("it ends").iter().all(Result::is_ok));
    assert_eq!(lost.load(Ordering::Relaxed), 0);
}

#[test]
fn large_families_are_started_restarted_and_stopped_in_linear_time() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    // Static: the whole group is stopped one by one and started again.
    const STATIC: usize = 20_000;
    let roll = Arc::new(Roll {
        workers: (0..STATIC).map(|_| Mutex::new(None)).collect(),
        starts: AtomicUsize::new(0),
        live: AtomicUsize::new(0),
    });
    let children = (0..STATIC).map(|place| {
        let roll = roll.clone();
        ChildSpec::worker(format!("{place}"), move |starter: &mut Starter<'_>| {
            roll.starts.fetch_add(1, Ordering::Relaxed);
            let started = starter.spawn(|mut cx: Context<Dies>| async move {
                cx.recv().await;
            })?;
            *roll.workers[place].lock().expect("whole") = started.pid();
            Ok(started)
        })
    });
    let began = Instant::now();
    let supervisor = runtime.start_supervisor(Supervisor::one_for_all().children(children)).expect("up");
    let middle = roll.workers[STATIC / 2].lock().expect("whole").expect("started");
    runtime.exit(middle, Reason::KILL).expect("a kill");
    let patience = Instant::now() + Duration::from_secs(60);
    while roll.starts.load(Ordering::Relaxed) < 2 * STATIC || !runtime.is_quiescent() {
        assert!(Instant::now() < patience, "the group does not come back");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(runtime.processes().len(), STATIC + 1);
    runtime.exit(supervisor, Reason::SHUTDOWN).expect("memory");
    while !runtime.processes().is_empty() {
        assert!(Instant::now() < patience, "it does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{STATIC} children started, restarted and stopped one by one: {:?}", began.elapsed());

    // Dynamic: together.
    const DYNAMIC: usize = 200_000;
    let began = Instant::now();
    let dynamic = DynamicSupervisor::new(|starter: &mut Starter<'_>, _: &mut usize| {
        starter.spawn(|mut cx: Context<Dies>| async move {
            cx.recv().await;
        })
    });
    let supervisor = runtime.start_supervisor(dynamic).expect("up");
    let counted = runtime.block_on(async move |cx: Context<()>| {
        let dynamic = atropos::otp::DynamicRef::<usize>::new(supervisor);
        for n in 0..DYNAMIC {
            dynamic.start(&cx, n).await.expect("room");
        }
        supervisor.count_children(&cx).await.expect("alive").active
    });
    assert_eq!(counted, Ok(DYNAMIC));
    runtime.exit(supervisor, Reason::SHUTDOWN).expect("memory");
    while !runtime.processes().is_empty() {
        assert!(Instant::now() < patience, "they do not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{DYNAMIC} dynamic children started one by one and stopped together: {:?}", began.elapsed());
}
