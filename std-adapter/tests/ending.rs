//! How a runtime ends: the order, the time, and from where.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::otp::application::{Application, Applications};
use atropos::otp::{ReportHook, Report};
use atropos::prelude::*;
use atropos::{Body, Cx, Resumed, Returned};

/// Far more than anything here takes, on whatever machine.
const LONG: Duration = Duration::from_secs(60);

fn runtime(cores: usize) -> Runtime {
    Runtime::builder().cores(cores).build().expect("threads")
}

type Log = Arc<Mutex<Vec<String>>>;

/// Answers, and says goodbye to another one when it is told to end.
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
        // A helper may be started even now.
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

/// Issue 14, 20: trees end in the reverse order of their starts, each in its own reverse order, and find what they need alive. (All were told
/// at once: any order, and calls failed.)
#[test]
fn n20_what_was_started_last_ends_first_and_finds_the_others() {
    for cores in [1, 2, 4] {
        let runtime = runtime(cores);
        let (log, alarms) = (Log::default(), Log::default());
        runtime.start_supervisor(tree(&[("db", None), ("cache", Some("db"))], &log, &alarms)).expect("up");
        let logger = Node { name: "front", needs: Some("cache"), log: log.clone() };
        runtime.start_server(logger.start().name("front").trap_exit(true)).expect("up");
        runtime.start_supervisor(tree(&[("api", Some("front")), ("web", Some("api"))], &log, &alarms)).expect("up");
        // What belongs to no tree is told afterwards.
        let last = log.clone();
        let other = runtime.spawn(async move |cx: Context<()>| {
            cx.trap_exit(true);
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

/// Issue 14, 20: applications too, by their manager, in reverse.
#[test]
fn n20_applications_end_in_the_reverse_of_their_starts() {
    let runtime = runtime(2);
    let (log, alarms) = (Log::default(), Log::default());
    let application = |name, nodes: &'static [(&'static str, Option<&'static str>)]| {
        let (log, alarms) = (log.clone(), alarms.clone());
        Application::new(name, move || tree(nodes, &log, &alarms))
    };
    let manager = Applications::new()
        .with(application("front", &[("api", Some("db"))]).needs("store"))
        .with(application("store", &[("db", None)]))
        .and_start("front")
        .manager();
    runtime.start_server(manager).expect("up");
    assert_eq!(runtime.shutdown(LONG), Ok(()));
    assert_eq!(log.lock().expect("no panic")[..], ["api shutdown Ok(())", "db shutdown alone"]);
    assert!(alarms.lock().expect("no panic").is_empty(), "{alarms:?}");
}

/// Issue 14, 20: so do the trees that processes have started, by their owners, also when a child has a helper, and the owner
/// is just ending when the shutdown begins.
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
                // It returns, and its trees are ending.
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

/// Never ends of itself.
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

/// Issue 14, 19 and 20: a tree that does not end has the time that was given, and then all are killed.
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

/// Issue 14, 20: when the end has begun nothing becomes a root any more, and a start says so.
#[test]
fn n20_no_root_is_started_in_the_end() {
    let runtime = runtime(1);
    let handle = runtime.handle();
    runtime.shutdown(LONG).expect("all end");
    let refused = StartErrorIsClosing;
    refused.check(handle.start_server(Deaf).map(drop));
    refused.check(handle.start_supervisor(Supervisor::one_for_one()).map(drop));
    refused.check(atropos::join::wait(handle.start_server_async(Deaf)).map(drop));
}

struct StartErrorIsClosing;

impl StartErrorIsClosing {
    fn check(&self, started: Result<(), atropos::otp::StartError>) {
        assert_eq!(started, Err(atropos::otp::StartError::Spawn(SpawnError::Closing)));
    }
}

/// Issue 14, 19: any time is one. (From 2^63 s on it panicked.)
#[test]
fn n19_a_shutdown_takes_any_time() {
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
        // A callback's thread is waited for as well.
        let (tell, told) = mpsc::channel();
        runtime.on_exit(pid, move |outcome| tell.send(outcome).expect("waited for")).expect("a watch");
        let blocking = runtime.blocking(|| 7);
        assert_eq!(runtime.shutdown(far), Ok(()));
        assert_eq!(told.recv().expect("it has run").reason, Some(Reason::SHUTDOWN));
        assert!(matches!(atropos::join::wait(blocking), Ok(7) | Err(_)));
    }
}

/// Answers, and says so when nothing has come for as long as there is.
struct Patient(Duration);

impl Server for Patient {
    type Message = Reply<()>;

    async fn handle(&mut self, reply: Reply<()>, _: ServerCx<'_, Self>) -> Next<Reply<()>> {
        reply.send(());
        Next::Timeout(self.0)
    }
}

/// Issue 14, 19: any duration is one, wherever one is given: none overflows, and a long one is not over at once.
#[test]
fn n19_every_duration_is_one() {
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

/// Says that it runs, and keeps its core until it is let go.
struct Hog(mpsc::Sender<()>, Receiver<()>);

impl Body for Hog {
    type Message = ();

    fn resume(&mut self, _: &Cx<'_, ()>) -> Resumed {
        let _ = self.0.send(());
        let _ = self.1.recv();
        Resumed::Exit(Reason::NORMAL)
    }
}

/// Issue 14, 19: a deadline is kept, whatever keeps a core. (The kill had as long again.)
#[test]
fn n19_a_body_that_never_lets_go_is_left_when_the_time_is_over() {
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

/// Takes its runtime along.
struct Owner(Option<Runtime>, mpsc::Sender<Duration>);

impl Drop for Owner {
    fn drop(&mut self) {
        let begin = Instant::now();
        drop(self.0.take());
        let _ = self.1.send(begin.elapsed());
    }
}

/// Counts what is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Issue 14, 19: a runtime ends wherever its last owner is dropped: in a process, in a message, in a result, in a callback, in a job of the
/// pool, in what reports a long slice; all that its processes hold is dropped.
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
            handle.spawn(async move |_: Context<()>| Returned(Mutex::new(owner))).expect("a process");
            // Its slot is used again, and the result is dropped on whatever thread finds it.
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

/// Issue 14, 19: what ends the runtime inside a process is told so at once. (It waited for itself, twice the time that was given.)
#[test]
fn n19_a_shutdown_inside_a_process_says_so_and_happens() {
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
            tell.send(runtime.shutdown(LONG)).expect("waited for");
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

/// Issue 14, 19: the report of a long slice may end the runtime; its thread does not wait for itself.
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
