//! The shutdown of a runtime: its order, its timeout, and where it may be called.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::otp::application::{Application, Applications};
use atropos::otp::{Report, ReportHook};
use atropos::prelude::*;
use atropos::{Body, BodyPoll, Cx, WithResult};

/// A timeout far longer than anything here takes, on any machine.
const LONG: Duration = Duration::from_secs(60);

fn runtime(cores: usize) -> Runtime {
    Runtime::builder().cores(cores).build().expect("threads")
}

type Log = Arc<Mutex<Vec<String>>>;

/// A server that replies, and that calls another server during its own termination.
struct Node {
    name: &'static str,
    needs: Option<&'static str>,
    log: Log,
}

impl Server for Node {
    type Message = Reply<()>;

    async fn handle(&mut self, reply: Reply<()>, _: ServerCx<'_, Self>) -> Next<Reply<()>> {
        reply.send(());
        Next::Wait
    }

    async fn terminate(&mut self, reason: &Reason, cx: ServerCx<'_, Self>) {
        // A helper can be started even now.
        let (helper, monitor) = cx.spawn_monitor(async |_: Context<()>| ()).expect("a process");
        assert_ne!(helper.pid(), cx.pid());
        cx.demonitor(monitor, true);
        let answer = match self.needs {
            None => "alone".to_owned(),
            Some(name) => format!("{:?}", ServerName::<Self>::new(name).call_within(&cx, LONG, |reply| reply).await),
        };
        self.log.lock().expect("no panic").push(format!("{} {reason} {answer}", self.name));
    }
}

fn tree(nodes: &[(&'static str, Option<&'static str>)], log: &Log, alarms: &Log) -> Supervisor {
    let alarms = alarms.clone();
    let hook = ReportHook::new(move |report| {
        if !matches!(report, Report::Progress { .. }) {
            alarms.lock().expect("no panic").push(format!("{report:?}"));
        }
    });
    nodes.iter().fold(Supervisor::one_for_one().on_report(hook), |supervisor, &(name, needs)| {
        let log = log.clone();
        supervisor.child(ChildSpec::worker(name, move |starter: &mut ChildStarter<'_>| {
            starter.server(Node { name, needs, log: log.clone() }.start().name(name).trap_exit(true))
        }))
    })
}

/// Issue 14, 20: trees end in the reverse order of their starts, each in its own reverse order, and
/// the servers that they need are still alive. (All processes got the signal at once: in any order,
/// and calls failed.)
#[test]
fn n20_trees_end_in_reverse_start_order() {
    for cores in [1, 2, 4] {
        let runtime = runtime(cores);
        let (log, alarms) = (Log::default(), Log::default());
        runtime.start_supervisor(tree(&[("db", None), ("cache", Some("db"))], &log, &alarms)).expect("up");
        let logger = Node { name: "front", needs: Some("cache"), log: log.clone() };
        runtime.start_server(logger.start().name("front").trap_exit(true)).expect("up");
        runtime.start_supervisor(tree(&[("api", Some("front")), ("web", Some("api"))], &log, &alarms)).expect("up");
        // A process that belongs to no tree gets the signal afterwards. It traps exits from its
        // start: the shutdown may come before its first slice.
        let last = log.clone();
        let traps = SpawnOptions::new().trap_exit(true);
        let other = runtime.spawn_with(&traps, async move |cx: Context<()>| {
            let Received::Exit(exit) = cx.recv().await else { panic!("nothing else is sent") };
            last.lock().expect("no panic").push(format!("other {} alone", exit.reason));
        });
        assert!(other.is_ok());
        assert_eq!(runtime.shutdown(LONG), Ok(()));
        let log = log.lock().expect("no panic");
        let expected = ["web shutdown Ok(())", "api shutdown Ok(())", "front shutdown Ok(())", "cache shutdown Ok(())"];
        assert_eq!(log[..4], expected, "on {cores}");
        assert_eq!(log[4..], ["db shutdown alone", "other shutdown alone"], "on {cores}");
        assert!(alarms.lock().expect("no panic").is_empty(), "{alarms:?}");
    }
}

/// Issue 14, 20: applications also end in reverse start order, by their manager.
#[test]
fn n20_applications_end_in_the_reverse_of_their_starts() {
    let runtime = runtime(2);
    let (log, alarms) = (Log::default(), Log::default());
    let application = |name, nodes: &'static [(&'static str, Option<&'static str>)]| {
        let (log, alarms) = (log.clone(), alarms.clone());
        Application::new(name, move || tree(nodes, &log, &alarms))
    };
    let manager = Applications::new()
        .with(application("front", &[("api", Some("db"))]).depends_on("store"))
        .with(application("store", &[("db", None)]))
        .start_on_boot("front")
        .manager();
    runtime.start_server(manager).expect("up");
    assert_eq!(runtime.shutdown(LONG), Ok(()));
    assert_eq!(log.lock().expect("no panic")[..], ["api shutdown Ok(())", "db shutdown alone"]);
    assert!(alarms.lock().expect("no panic").is_empty(), "{alarms:?}");
}

/// Issue 14, 20: the trees that processes have started end the same way, by their owners, even when
/// a child has a helper, and the owner is just ending when the shutdown begins.
#[test]
fn n20_trees_of_processes_end_with_their_owners() {
    for cores in [1, 2] {
        for round in 0..20 {
            let runtime = runtime(cores);
            let (log, alarms) = (Log::default(), Log::default());
            let trees = [
                tree(&[("db", None), ("cache", Some("db")), ("api", Some("cache"))], &log, &alarms),
                Supervisor::rest_for_one()
                    .on_report(ReportHook::new({
                        let alarms = alarms.clone();
                        move |report| {
                            if !matches!(report, Report::Progress { .. }) {
                                alarms.lock().expect("no panic").push(format!("{report:?}"));
                            }
                        }
                    }))
                    .child(ChildSpec::worker("helped", |starter: &mut ChildStarter<'_>| {
                        starter.spawn(async |cx: Context<()>| {
                            cx.spawn_link(async |cx: Context<()>| cx.sleep(Duration::MAX).await).expect("a helper");
                            cx.sleep(Duration::MAX).await;
                        })
                    })),
            ];
            let owner = async move |cx: Context<()>| {
                for tree in trees {
                    tree.start_link(&cx).await.expect("up");
                }
                if round % 2 == 0 {
                    cx.recv().await;
                }
            };
            if round % 2 == 0 {
                runtime.spawn(owner).expect("a process");
                while runtime.processes().len() < 8 {
                    std::thread::yield_now();
                }
            } else {
                // The owner returns, and its trees are ending.
                runtime.block_on(owner).expect("it returns");
            }
            assert_eq!(runtime.shutdown(LONG), Ok(()));
            let log = log.lock().expect("no panic");
            let order: Vec<_> = log.iter().map(|line| line.split(' ').next().unwrap_or("")).collect();
            assert_eq!(order, ["api", "cache", "db"], "{log:?} in {round} on {cores}");
            assert!(log.iter().all(|line| !line.contains("Err")), "{log:?}");
            assert!(alarms.lock().expect("no panic").is_empty(), "{alarms:?}");
        }
    }
}

/// A server that never ends by itself.
struct Deaf;

impl Server for Deaf {
    type Message = ();

    async fn handle(&mut self, (): (), _: ServerCx<'_, Self>) -> Next<()> {
        Next::Wait
    }

    async fn terminate(&mut self, _: &Reason, _: ServerCx<'_, Self>) {
        std::future::pending::<()>().await;
    }
}

/// Issue 14, 19 and 20: a tree that does not end has until the timeout, and then everything is
/// killed.
#[test]
fn n20_the_deadline_bounds_a_tree_that_does_not_end() {
    let runtime = runtime(2);
    let (log, alarms) = (Log::default(), Log::default());
    runtime.start_supervisor(tree(&[("db", None)], &log, &alarms)).expect("up");
    let deaf = ChildSpec::worker("deaf", |starter: &mut ChildStarter<'_>| starter.server(Deaf.start().trap_exit(true)))
        .shutdown(Shutdown::Infinity);
    runtime.start_supervisor(Supervisor::one_for_one().child(deaf)).expect("up");
    let begin = Instant::now();
    assert_eq!(runtime.shutdown(Duration::from_millis(200)), Ok(()), "killed, all end");
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
}

/// Issue 14, 20: once the shutdown has begun, no root can be started, and the start returns an
/// error.
#[test]
fn n20_no_root_starts_during_shutdown() {
    let runtime = runtime(1);
    let handle = runtime.handle();
    runtime.shutdown(LONG).expect("all end");
    let refused = StartErrorIsClosing;
    refused.check(handle.start_server(Deaf).map(drop));
    refused.check(handle.start_supervisor(Supervisor::one_for_one()).map(drop));
    refused.check(atropos::block_on::wait(handle.start_server_async(Deaf)).map(drop));
}

struct StartErrorIsClosing;

impl StartErrorIsClosing {
    fn check(&self, started: Result<(), atropos::otp::StartError>) {
        assert_eq!(started, Err(atropos::otp::StartError::Spawn(SpawnError::Closing)));
    }
}

/// Issue 14, 19: any timeout is valid. (From 2^63 s on it panicked.)
#[test]
fn n19_a_shutdown_takes_any_timeout() {
    for far in [
        Duration::from_secs(1 << 60),
        Duration::from_secs(i64::MAX as u64),
        Duration::from_secs(u64::MAX),
        Duration::MAX,
    ] {
        let runtime = runtime(1);
        let exits = runtime.handle();
        let pid = runtime.spawn(async |cx: Context<()>| cx.sleep(Duration::MAX).await).expect("a process");
        let watched = exits.wait_blocking(pid, Duration::ZERO);
        assert!(watched.is_err(), "it sleeps");
        // The shutdown waits for a callback's thread as well.
        let (tell, told) = mpsc::channel();
        runtime.on_exit(pid, move |outcome| tell.send(outcome).expect("the test waits")).expect("a watch");
        let blocking = runtime.blocking(|| 7);
        assert_eq!(runtime.shutdown(far), Ok(()));
        assert_eq!(told.recv().expect("it has run").reason, Some(Reason::SHUTDOWN));
        assert!(matches!(atropos::block_on::wait(blocking), Ok(7) | Err(_)));
    }
}

/// A server that replies, and then waits with this timeout.
struct Patient(Duration);

impl Server for Patient {
    type Message = Reply<()>;

    async fn handle(&mut self, reply: Reply<()>, _: ServerCx<'_, Self>) -> Next<Reply<()>> {
        reply.send(());
        Next::Timeout(self.0)
    }
}

/// Issue 14, 19: any duration is valid, wherever one is given: none overflows, and a long one does
/// not elapse at once.
#[test]
fn n19_every_duration_is_valid() {
    let far = [
        Duration::from_nanos(u64::MAX - 1),
        Duration::from_nanos(u64::MAX),
        Duration::from_secs(u64::MAX / 2),
        Duration::MAX,
    ];
    for far in far {
        let runtime = Runtime::builder().cores(1).on_long_slice(far, |_| {}).build().expect("threads");
        let restarted = Supervisor::one_for_one().intensity(Intensity::within(3, far)).child(
            ChildSpec::worker("dies", |starter: &mut ChildStarter<'_>| {
                starter.spawn(async |cx: Context<()>| {
                    cx.recv().await;
                    panic!("and is started again");
                })
            })
            .shutdown(Shutdown::Within(far)),
        );
        let supervisor = runtime.start_supervisor(restarted).expect("up");
        let child = |runtime: &Runtime| match runtime.which_children_blocking(supervisor).expect("it lives")[0].state {
            atropos::otp::ChildState::Up(pid) => pid,
            other => panic!("{other:?}"),
        };
        for _ in 0..2 {
            let pid = child(&runtime);
            runtime.send(pid, ()).expect("it lives");
            runtime.wait_blocking(pid, far).expect("it ends");
            while runtime.which_children_blocking(supervisor).expect("it lives")[0].state
                == atropos::otp::ChildState::Restarting
            {}
        }
        let server = runtime.start_server(Patient(far)).expect("up").expect("it serves");
        let done = runtime.block_on(async |cx: Context<u8>| {
            let timer = cx.send_after(cx.pid(), far, 1_u8).expect("a timer");
            assert!(cx.with(|cx| cx.read_timer(timer)).is_some_and(|left| left > LONG));
            assert!(cx.cancel_timer(timer).is_some_and(|left| left > LONG));
            server.call_within(&cx, far, |reply| reply).await.expect("it answers");
            server.call_wait(&cx, far, |reply| reply).await.expect("it answers");
            let task = atropos::otp::Task::start(&cx, async |cx: Context<()>| cx.sleep(Duration::from_millis(1)).await);
            task.expect("a process").join(&cx, far).await.expect("it ends");
            let me = cx.address();
            let sends = async move |cx: Context<()>| {
                cx.sleep(Duration::from_millis(2)).await;
                cx.send(me, 2_u8).expect("it waits");
            };
            cx.spawn(sends).expect("a process");
            assert!(matches!(cx.recv_timeout(far).await, Some(Received::Message(2))));
            let sleeper = cx.spawn(async move |cx: Context<()>| cx.sleep(far).await).expect("a process");
            cx.sleep(Duration::from_millis(5)).await;
            assert!(cx.is_alive(sleeper).await);
        });
        assert_eq!(done, Ok(()));
        assert_eq!(runtime.shutdown(far), Ok(()));
    }
}

/// A body that reports that it runs, and occupies its core until it is released.
struct Hog(mpsc::Sender<()>, Receiver<()>);

impl Body for Hog {
    type Message = ();

    fn resume(&mut self, _: &Cx<'_, ()>) -> BodyPoll {
        let _ = self.0.send(());
        let _ = self.1.recv();
        BodyPoll::Exit(Reason::NORMAL)
    }
}

/// Issue 14, 19: a deadline is kept, even if a body occupies a core. (The kill had the same time
/// again.)
#[test]
fn n19_a_body_that_never_yields_is_abandoned_at_the_deadline() {
    let runtime = runtime(2);
    let ((go, gone), (runs, running)) = (mpsc::channel(), mpsc::channel());
    runtime.spawn_body(&SpawnOptions::new(), Hog(runs, gone)).expect("a process");
    running.recv().expect("it runs");
    let begin = Instant::now();
    let left = runtime.shutdown(Duration::from_secs(4)).expect_err("one is left");
    assert_eq!((left.processes, left.inside), (1, false));
    // 4 s, and half a second for the kill. It was 8 s: the machine may be slow, but not by 3 s.
    assert!(begin.elapsed() < Duration::from_millis(7_500), "{:?}", begin.elapsed());
    drop(go);
}

/// A value that owns the runtime and drops it with itself.
struct Owner(Option<Runtime>, mpsc::Sender<Duration>);

impl Drop for Owner {
    fn drop(&mut self) {
        let begin = Instant::now();
        drop(self.0.take());
        let _ = self.1.send(begin.elapsed());
    }
}

/// A value that counts its drop.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Issue 14, 19: a runtime ends wherever its last owner is dropped: in a process, a message, a
/// result, a callback, a blocking job, or the hook for long slices. Everything that its processes
/// hold is dropped.
#[test]
fn n19_a_runtime_is_dropped_anywhere() {
    type Place = fn(&atropos::Handle, Owner);
    let places: [(&str, Place); 7] = [
        ("a process", |handle, owner| {
            let _ = handle.spawn(async move |_: Context<()>| drop(owner)).expect("a process");
        }),
        ("a destructor", |handle, owner| {
            let _ = handle.spawn(async move |_: Context<()>| {
                let _owner = owner;
                panic!("with all it has");
            });
        }),
        ("a message", |handle, owner| {
            let to = handle.spawn(async |cx: Context<Mutex<Owner>>| cx.sleep(Duration::from_millis(5)).await);
            handle.send(to.expect("a process"), Mutex::new(owner)).expect("it lives");
        }),
        ("a result", |handle, owner| {
            handle.spawn(async move |_: Context<()>| WithResult(Mutex::new(owner))).expect("a process");
            // The process's slot is reused, and the result is dropped on the thread that reuses it.
            for _ in 0..1000 {
                let _ = handle.spawn(async |_: Context<()>| ());
            }
        }),
        ("a callback", |handle, owner| {
            let pid = handle.spawn(async |_: Context<()>| ()).expect("a process");
            handle.on_exit(pid, move |_| drop(owner)).map(drop).expect("a watch");
        }),
        ("a job", |handle, owner| drop(handle.blocking(move || drop(owner)))),
        ("this thread", |_, owner| drop(owner)),
    ];
    for cores in [1, 2] {
        for (name, place) in places {
            let runtime = runtime(cores);
            let handle = runtime.handle();
            let dropped = Arc::new(AtomicUsize::new(0));
            for _ in 0..3 {
                let held = Dropped(dropped.clone());
                let sleeper = async move |cx: Context<()>| {
                    let _held = held;
                    cx.sleep(Duration::MAX).await;
                };
                handle.spawn(sleeper).expect("a process");
            }
            let (tell, told) = mpsc::channel();
            place(&handle, Owner(Some(runtime), tell));
            if name != "a result" {
                told.recv_timeout(LONG).unwrap_or_else(|_| panic!("in {name} it is dropped, on {cores}"));
                let end = Instant::now() + LONG;
                while dropped.load(Ordering::SeqCst) < 3 {
                    assert!(Instant::now() < end, "in {name} all is dropped, on {cores}");
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

/// Issue 14, 19: a shutdown inside a process returns an error at once. (It waited for itself, twice
/// as long as the timeout.)
#[test]
fn n19_a_shutdown_inside_a_process_is_an_error_and_happens() {
    for cores in [1, 2] {
        let runtime = runtime(cores);
        let handle = runtime.handle();
        let (give, given) = mpsc::channel::<Runtime>();
        let (tell, told) = mpsc::channel();
        let inside = handle.spawn(async move |cx: Context<()>| {
            let runtime = loop {
                match given.try_recv() {
                    Ok(runtime) => break runtime,
                    Err(_) => cx.sleep(Duration::from_millis(1)).await,
                }
            };
            tell.send(runtime.shutdown(LONG)).expect("the test waits");
        });
        give.send(runtime).expect("it waits");
        let said = told.recv_timeout(LONG).expect("it returns");
        assert!(said.is_err_and(|error| error.inside && error.to_string().contains("background")), "{said:?}");
        let end = Instant::now() + LONG;
        while handle.process_count() > 0 {
            assert!(Instant::now() < end, "it ends");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!handle.is_alive(inside.expect("it was started")));
    }
}

/// Issue 14, 19: the report of a long slice may shut the runtime down; its thread does not wait for
/// itself.
#[test]
fn n19_a_report_ends_the_runtime() {
    let place: Arc<Mutex<Option<Runtime>>> = Arc::default();
    let taken = place.clone();
    let (tell, told) = mpsc::channel();
    let ((go, gone), (runs, running)) = (mpsc::channel(), mpsc::channel());
    let runtime = Runtime::builder()
        .cores(1)
        .on_long_slice(Duration::from_millis(10), move |_| {
            if let Some(runtime) = taken.lock().expect("no panic").take() {
                let _ = tell.send(runtime.shutdown(Duration::ZERO));
            }
        })
        .build()
        .expect("threads");
    let hog = runtime.handle();
    *place.lock().expect("no panic") = Some(runtime);
    hog.spawn_body(&SpawnOptions::new(), Hog(runs, gone)).expect("a process");
    running.recv().expect("it runs");
    let said = told.recv_timeout(LONG).expect("it returns");
    assert_eq!(said.map_err(|left| left.processes), Err(1));
    drop(go);
}
