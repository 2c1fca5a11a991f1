//! The guarantees of supervision inside the scheduler (1.2, from 19 on), through the facilities:
//! spawns, bundles, and running processes. Signals are in `exits`, links and monitors in `ties`.

mod common;

use std::collections::HashSet;
use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use atropos::facility::mock::{MockLinks, MockOutput, MockProcesses, MockSpawner, MockTimers};
use atropos::facility::{
    EntryPoint, Facilities, LinkError, LinkFacility as _, LinkQuery, LinkRecord, OutputError, OutputFacility,
    OutputRecord, SpawnError, SpawnFacility, SpawnFlags, SpawnRecord, SupervisionFacility as _, TimerError,
    TimerFacility, TimerRecord, Unsupported,
};
use atropos::{BodyPoll, Pid, Reason, Runtime};
use common::{Order, Probe, native, nobody, run, runtime, spawner, until};

#[test]
fn promise_1_2_19_an_exit_signal_to_nobody_is_ok() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let (from, dead) = (Probe::start(&runtime), Probe::start(&runtime));
    dead.kill();
    for target in [dead.raw(), nobody(), 0, u64::MAX] {
        assert_eq!(native.exit_signal(from.raw(), target, Reason::KILL), Ok(()));
    }
    assert_eq!(from.events(), []);
}

#[test]
fn promise_1_2_20_a_spawn_with_link_is_linked_before_the_child_runs() {
    const CHILDREN: usize = 100_000;
    let runtime = runtime(2);
    let (spawner, parent) = (Arc::new(spawner(&runtime)), Probe::trapping(&runtime));
    let flags = SpawnFlags { link: true, ..SpawnFlags::default() };
    // The running parent itself spawns half of them; another thread spawns half for it while it
    // runs.
    let mine = spawner.clone();
    let spawns = move |spawner: &dyn SpawnFacility, parent: u64| {
        for _ in 0..500 {
            spawner.spawn(parent, run(|_| BodyPoll::Exit(Reason::SHUTDOWN)), flags).expect("a process");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..CHILDREN / 1_000 {
                let mine = mine.clone();
                parent.ask(move |cx| spawns(&*mine, cx.pid().to_raw()));
            }
        });
        for _ in 0..CHILDREN / 1_000 {
            spawns(&*spawner, parent.raw());
        }
    });
    until("each has its EXIT", || parent.events().len() == CHILDREN);
    let from: HashSet<_> = parent.exits().into_iter().map(|(from, _)| from).collect();
    assert_eq!(from.len(), CHILDREN);
}

#[test]
fn promise_1_2_21_a_spawn_resolves_before_it_takes_a_pid() {
    let runtime = runtime(1);
    let (spawner, parent) = (spawner(&runtime), Probe::start(&runtime));
    let before = runtime.processes();
    let flags = SpawnFlags { link: true, monitor: true, trap_exit: true };
    for entry in [
        EntryPoint { module: "tasks", function: "walk", arguments: Box::new(()) },
        EntryPoint { module: "tasks", function: "run", arguments: Box::new("not a task") },
    ] {
        assert_eq!(spawner.spawn(parent.raw(), entry, flags), Err(SpawnError::Unresolved));
    }
    assert_eq!(spawner.spawn(nobody(), run(|_| BodyPoll::Wait), flags), Err(SpawnError::NoCaller));
    assert_eq!(runtime.processes(), before);
    let info = runtime.process_info_blocking(parent.pid).expect("memory").expect("alive");
    assert_eq!((info.links, info.monitors), (Vec::new(), Vec::new()));
}

#[test]
fn promise_1_2_22_flags_hold_at_birth() {
    let runtime = runtime(2);
    let (spawner, native, parent) = (spawner(&runtime), native(&runtime), Probe::start(&runtime));
    let (send, first) = channel();
    let child = run(move |cx| {
        let _ = send.send(native.trap_exit(cx.pid().to_raw()));
        BodyPoll::Exit(Reason::NORMAL)
    });
    spawner.spawn(parent.raw(), child, SpawnFlags { trap_exit: true, ..SpawnFlags::default() }).expect("a process");
    assert_eq!(common::next(&first), Ok(true));
}

#[test]
fn promise_1_2_24_a_body_sees_what_is_in_its_bundle() {
    // A built-in function, which sees only its bundle.
    fn print_and_spawn(facilities: &Facilities<'_, u8>, me: u64) -> Result<Result<u64, SpawnError>, Unsupported> {
        if facilities.output()?.write(me, b"hello").is_err() {
            return Ok(Err(SpawnError::Closing));
        }
        let entry = EntryPoint { module: "tasks", function: "run", arguments: Box::new(()) };
        Ok(facilities.spawn()?.spawn(me, entry, SpawnFlags::default()).map(|spawned| spawned.pid))
    }
    let (cast, output) = (MockProcesses::new(&[1, 2], &[3]), MockOutput::default());
    let (spawns, links, timers) =
        (MockSpawner::new(cast.clone(), &["run"]), MockLinks::new(cast.clone()), MockTimers::<u8>::new(cast));
    let mut bundle = Facilities::default();
    assert_eq!(print_and_spawn(&bundle, 1), Err(Unsupported::Output));
    bundle.output = Some(&output);
    assert_eq!(print_and_spawn(&bundle, 1), Err(Unsupported::Spawn));
    bundle.spawn = Some(&spawns);
    assert!(print_and_spawn(&bundle, 1).is_ok_and(|spawned| spawned.is_ok()));
    assert_eq!(print_and_spawn(&bundle, 4), Ok(Err(SpawnError::NoCaller)));
    assert_eq!(bundle.link().err(), Some(Unsupported::Link));
    assert_eq!(bundle.supervision().err(), Some(Unsupported::Supervision));
    assert_eq!(bundle.timers().err(), Some(Unsupported::Timers));
    assert_eq!(bundle.code().err(), Some(Unsupported::Code));
    assert_eq!(bundle.names().err(), Some(Unsupported::Names));
    assert_eq!(bundle.aliases().err(), Some(Unsupported::Aliases));
    assert_ne!(Unsupported::Code.to_string(), Unsupported::Link.to_string());
    bundle.link = Some(&links);
    bundle.timers = Some(&timers);
    assert_eq!(bundle.link().map(|link| link.link(1, 3)), Ok(Err(LinkError::NoProc)));
    assert_eq!(bundle.link().map(|link| link.set_trap_exit(1, true)), Ok(Ok(false)));
    assert_eq!(bundle.link().map(|link| link.unlink(1, 2)), Ok(Ok(())));
    let after = Duration::from_secs(1);
    assert_eq!(bundle.timers().map(|timers| timers.start(1, 2, after, 9)), Ok(Ok(1)));
    let left = bundle.timers().map(|timers| timers.cancel(1, 1).ok().and_then(|left| left.known()));
    assert_eq!(left, Ok(Some(None)));

    let printed = OutputRecord { caller: 1, bytes: b"hello".to_vec() };
    assert_eq!(output.drain()[..2], [printed.clone(), printed]);
    let (module, function) = ("tasks".to_owned(), "run".to_owned());
    assert_eq!(spawns.drain()[0], SpawnRecord { caller: 1, module, function, flags: SpawnFlags::default() });
    let asked = [
        LinkRecord::Link { caller: 1, target: 3 },
        LinkRecord::TrapExit { caller: 1, trap: true },
        LinkRecord::Unlink { caller: 1, target: 2 },
    ];
    assert_eq!(links.drain(), asked);
    let asked =
        [TimerRecord::Start { caller: 1, target: 2, after, message: 9 }, TimerRecord::Cancel { caller: 1, timer: 1 }];
    assert_eq!(timers.drain(), asked);
}

/// Starts a process that never waits and spends its reductions; only a signal from outside ends it.
fn busy(runtime: &Runtime, slices: &Arc<AtomicUsize>) -> Pid {
    let slices = slices.clone();
    let body = run(move |cx| {
        while cx.spend(1) {}
        slices.fetch_add(1, Ordering::Relaxed);
        BodyPoll::Yield
    });
    let parent = Probe::start(runtime);
    let spawned = spawner(runtime).spawn(parent.raw(), body, SpawnFlags::default()).expect("a process");
    parent.kill();
    let pid = Pid::from_raw(spawned.pid).expect("a pid");
    until("it is busy", || runtime.processes() == [pid]);
    pid
}

#[test]
fn promise_1_2_25_a_external_terminate_of_a_running_process() {
    let (runtime, slices) = (runtime(1), Arc::default());
    let pid = busy(&runtime, &slices);
    assert_eq!(runtime.exit(pid, Reason::KILL), Ok(true));
    assert_eq!(common::ends(&runtime, pid), Reason::KILLED, "the exit reason, for a host that waits");
}

#[test]
fn promise_1_2_25_b_is_linked_and_trap_exit_of_a_running_process() {
    let (runtime, slices) = (runtime(2), Arc::default());
    let (native, busy) = (native(&runtime), busy(&runtime, &slices).to_raw());
    let other = Probe::start(&runtime);
    let ask = |one: u64, other: u64| {
        let mut linked = pin!(native.is_linked(one, other).expect("alive"));
        let mut answer = None;
        until("it replies", || match linked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(linked) => {
                answer = Some(linked);
                true
            }
            Poll::Pending => false,
        });
        answer.expect("ready")
    };
    assert!(!ask(busy, other.raw()));
    native.link(busy, other.raw()).expect("both live");
    assert!(ask(busy, other.raw()) && ask(other.raw(), busy));
    native.unlink(busy, other.raw()).expect("always");
    assert!(!ask(busy, other.raw()) && !ask(other.raw(), busy));
    assert_eq!(native.trap_exit(busy), Ok(false));
    assert_eq!(native.set_trap_exit(busy, true), Ok(false));
    assert_eq!(native.trap_exit(busy), Ok(true));
    native.exit_signal(other.raw(), busy, Reason::SHUTDOWN).expect("both live");
    let before = slices.load(Ordering::Relaxed);
    until("it stays alive", || slices.load(Ordering::Relaxed) > before + 10);
    // About itself the result is known at once.
    let (mine, it) = (native.clone(), busy);
    let known =
        other.ask(move |cx| mine.is_linked(cx.pid().to_raw(), it).ok().and_then(|linked| LinkQuery::known(&linked)));
    assert_eq!(known, Some(false));
    assert!(matches!(native.is_linked(nobody(), busy), Err(LinkError::NoCaller)));
}

#[test]
fn promise_1_2_25_c_woken_with_a_result_from_outside() {
    let runtime = runtime(1);
    let (send, receive) = channel();
    let (done, told) = channel();
    let started = runtime.spawn(async move |_: atropos::Context<()>| {
        let (reply, replied) = atropos::kernel::reply::<u32>().expect("memory");
        send.send(reply).expect("the test waits");
        done.send(replied.await.ok()).expect("the test waits");
    });
    assert!(started.is_ok());
    let reply = common::next(&receive);
    until("it sleeps", || runtime.is_quiescent());
    reply.send(42);
    assert_eq!(common::next(&told), Some(42));
}

#[test]
fn promise_1_2_25_d_a_reduction_hook_may_suspend_and_a_waker_resumes() {
    let runtime = runtime(1);
    let (suspend, spent) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (send, wakers) = channel();
    let (hook, count) = (suspend.clone(), spent.clone());
    let body = run(move |cx| {
        while cx.spend(1) {
            count.fetch_add(1, Ordering::Relaxed);
            if hook.load(Ordering::Acquire) {
                let _ = send.send(cx.waker());
                return BodyPoll::Wait;
            }
        }
        BodyPoll::Yield
    });
    let parent = Probe::start(&runtime);
    spawner(&runtime).spawn(parent.raw(), body, SpawnFlags::default()).expect("a process");
    let waker = common::next(&wakers);
    until("it is suspended", || runtime.is_quiescent());
    assert_eq!(spent.load(Ordering::Relaxed), 1);
    suspend.store(false, Ordering::Release);
    waker.wake();
    until("it continues", || spent.load(Ordering::Relaxed) > 100_000);
}

#[test]
fn promise_1_2_25_e_output_and_timers_of_a_running_process() {
    let runtime = runtime(1);
    let (native, probe) = (native(&runtime), Probe::trapping(&runtime));
    let (send, printed) = channel();
    let output: Arc<dyn OutputFacility> =
        Arc::new(move |caller: u64, bytes: &[u8]| send.send((caller, bytes.to_vec())).map_err(|_| OutputError));
    let (mine, out, me) = (native.clone(), output.clone(), probe.raw());
    let (cancelled, late) = probe.ask(move |_| {
        let timers: &dyn TimerFacility<Order> = &mine;
        assert_eq!(out.write(me, b"out"), Ok(()));
        let long = timers.start(me, me, Duration::from_secs(60), Order::Stop(Reason::KILL)).expect("a timer");
        assert!(timers.read(me, long).is_ok_and(|left| left.known().flatten().is_some()), "known, as it runs here");
        let cancelled = timers.cancel(me, long).map(|left| left.known().flatten());
        timers.start(me, me, Duration::from_millis(1), Order::Stop(Reason::SHUTDOWN)).expect("a timer");
        (cancelled, timers.start(me, nobody(), Duration::ZERO, Order::Stop(Reason::KILL)))
    });
    assert!(cancelled.is_ok_and(|left| left.is_some()));
    assert_eq!(late, Err(TimerError::NoProc));
    assert_eq!(common::next(&printed), (me, b"out".to_vec()));
    assert_eq!(probe.ends(), Reason::SHUTDOWN, "the timer's message");
    let timers: &dyn TimerFacility<Order> = &native;
    assert_eq!(timers.cancel(me, 1).err(), Some(TimerError::NoCaller), "it is dead");
}
