//! Supervisors on threads: bodies that never yield, large numbers of children, races of replies and
//! exits, and the host's side.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::otp::{CallError, ChildKind, ChildSpec, Report, ReportHook, StartError, Task};
use atropos::prelude::*;

struct Dies;

#[test]
fn a_body_that_never_yields_blocks_no_shutdown_and_is_reported() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let began = Arc::new(AtomicBool::new(false));
    let (spins, begins, reports) = (stop.clone(), began.clone(), seen.clone());
    let supervisor = Supervisor::one_for_one()
        .on_report(ReportHook::new(move |report| reports.lock().expect("not poisoned").push(report.clone())))
        .child(ChildSpec::of("good", |cx: Context<()>| async move {
            cx.recv().await;
        }))
        .child(
            ChildSpec::worker("spins", move |starter: &mut ChildStarter<'_>| {
                let (stop, begins) = (spins.clone(), begins.clone());
                starter.spawn(move |_: Context<()>| async move {
                    begins.store(true, Ordering::Relaxed);
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .shutdown(Shutdown::Within(Duration::from_millis(50))),
        );
    let supervisor = runtime.start_supervisor(supervisor).expect("up");
    let patience = Instant::now() + Duration::from_secs(60);
    // A child that has not had its first slice dies of the signal before it can spin.
    while !began.load(Ordering::Relaxed) {
        assert!(Instant::now() < patience, "it does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    runtime.exit(supervisor, Reason::SHUTDOWN).expect("memory");
    while runtime.is_alive(supervisor) {
        assert!(Instant::now() < patience, "it hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    let stuck = |report: &Report| matches!(report, Report::Stuck { child, .. } if child.id == Some("spins".into()));
    assert_eq!(seen.lock().expect("not poisoned").iter().filter(|report| stuck(report)).count(), 1);
    assert_eq!(runtime.processes().len(), 1, "only the body that does not yield is left");
    stop.store(true, Ordering::Relaxed);
    while !runtime.processes().is_empty() {
        assert!(Instant::now() < patience, "it dies when it yields");
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

    async fn handle(&mut self, request: Request, cx: ServerCx<'_, Self>) -> Next<Request> {
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
fn a_host_thread_starts_and_calls_servers() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let store = ChildSpec::worker("store", |starter: &mut ChildStarter<'_>| {
        starter.server(Store::default().start().name("store"))
    });
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
    // A process sends a request to the supervisor.
    let children = runtime.block_on(async move |cx: Context<()>| supervisor.which_children(&cx).await);
    let children = children.expect("it ends").expect("alive");
    assert_eq!((children.len(), children[0].kind), (1, ChildKind::Worker));
    // A second start under the name is refused, and the error tells a process which one holds it.
    let twice = runtime.block_on(async |cx: Context<()>| Store::default().start().name("store").start(&cx).await);
    assert!(matches!(twice, Ok(Err(StartError::AlreadyStarted(_)))), "{twice:?}");
    runtime.shutdown(Duration::from_secs(10)).expect("all end");
}

#[test]
fn a_reply_sent_before_the_exit_is_delivered() {
    // The reply is in its cell, the exit in the mailbox: a caller that sees the exit first must
    // check the cell again.
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let lost = Arc::new(AtomicUsize::new(0));
    let count = lost.clone();
    let ended = runtime.block_on(async move |cx: Context<()>| {
        let callers = (0..4).map(|_| {
            let count = count.clone();
            Task::start(&cx, move |cx| async move {
                for n in 0..20_000_u32 {
                    // On the other core, so that it ends while the caller checks.
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
fn many_children_are_started_restarted_and_stopped_in_linear_time() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    // Static: the whole group is stopped one by one and restarted.
    const STATIC: usize = 20_000;
    let starts = Arc::new(AtomicUsize::new(0));
    let pids: Arc<Vec<Mutex<Option<Pid>>>> = Arc::new((0..STATIC).map(|_| Mutex::new(None)).collect());
    let children = (0..STATIC).map(|place| {
        let (starts, pids) = (starts.clone(), pids.clone());
        ChildSpec::worker(format!("{place}"), move |starter: &mut ChildStarter<'_>| {
            starts.fetch_add(1, Ordering::Relaxed);
            let started = starter.spawn(|cx: Context<Dies>| async move {
                cx.recv().await;
            })?;
            *pids[place].lock().expect("not poisoned") = started.pid();
            Ok(started)
        })
    });
    let began = Instant::now();
    let supervisor = runtime.start_supervisor(Supervisor::one_for_all().children(children)).expect("up");
    let middle = pids[STATIC / 2].lock().expect("not poisoned").expect("started");
    runtime.exit(middle, Reason::KILL).expect("a kill");
    let patience = Instant::now() + Duration::from_secs(60);
    while starts.load(Ordering::Relaxed) < 2 * STATIC || !runtime.is_quiescent() {
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

    // Dynamic: all are stopped together.
    const DYNAMIC: usize = 200_000;
    let began = Instant::now();
    let dynamic = DynamicSupervisor::new(|starter: &mut ChildStarter<'_>, _: &mut usize| {
        starter.spawn(|cx: Context<Dies>| async move {
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
