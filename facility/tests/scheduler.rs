//! The promises of supervision inside the scheduler (1.2), through the facilities.

mod common;

use std::collections::HashSet;
use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use atropos::facility::mock::{Cast, MockLinks, MockOutput, MockSpawner, MockTimers};
use atropos::facility::{
    Entry, Facilities, LinkError, LinkFacility, LinkRecord, Linked, Missing, Native, OutputError, OutputFacility,
    OutputRecord, SpawnError, SpawnFacility, SpawnFlags, SpawnRecord, SupervisionError, SupervisionFacility as _,
    TimerError, TimerFacility, TimerRecord,
};
use atropos::{Handle, Pid, Reason, Resumed, Runtime, SpawnOptions};
use common::{Event, Order, Probe, native, nobody, run, runtime, spawner, until};

fn linked(native: &Native<Handle>, one: &Probe, other: &Probe) {
    native.link(one.raw(), other.raw()).expect("both live");
}

/// A process that only waits.
fn waits(runtime: &Runtime) -> u64 {
    let started = runtime.spawn(async move |mut cx: atropos::Context<Order>| {
        while let atropos::Received::Message(Order::Do(work)) = cx.recv().await {
            work(&cx);
        }
    });
    started.expect("a process").pid().to_raw()
}

#[test]
fn promise_1_2_01_a_chain_dies_link_by_link() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let first = Probe::start(&runtime);
    let mut last = first.raw();
    for _ in 0..100_000 {
        let next = waits(&runtime);
        native.link(last, next).expect("both live");
        last = next;
    }
    let watcher = Probe::start(&runtime);
    let made = native.monitor(watcher.raw(), last).expect("both live");
    first.stop(Reason::SHUTDOWN);
    until("the last has died", || watcher.downs() == [(made.reference, Reason::SHUTDOWN)]);
    until("and all others", || runtime.processes() == [watcher.pid]);
}

#[test]
fn promise_1_2_02_only_a_direct_kill_is_untrappable() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (a, b, watcher) = (Probe::trapping(&runtime), Probe::trapping(&runtime), Probe::start(&runtime));
    linked(&native, &a, &b);
    let made = native.monitor(watcher.raw(), a.raw()).expect("both live");
    native.exit_signal(watcher.raw(), a.raw(), Reason::KILL).expect("it lives");
    assert_eq!(a.ends(), Reason::KILLED);
    assert_eq!(b.exits(), [(Some(a.raw()), Reason::KILLED)]);
    assert_eq!(watcher.downs(), [(made.reference, Reason::KILLED)]);
}

#[test]
fn promise_1_2_03_killed_over_a_link_is_an_ordinary_reason() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (a, b, trapping) = (Probe::start(&runtime), Probe::start(&runtime), Probe::trapping(&runtime));
    linked(&native, &a, &b);
    linked(&native, &a, &trapping);
    a.kill();
    assert_eq!(b.ends(), Reason::KILLED);
    assert_eq!(trapping.exits(), [(Some(a.raw()), Reason::KILLED)]);
}

#[test]
fn promise_1_2_04_who_dies_of_which_signal() {
    let runtime = runtime(2);
    let (native, from) = (native(&runtime), Probe::start(&runtime));
    let table = [
        (false, Reason::NORMAL, None),
        (false, Reason::value("error"), Some(Reason::value("error"))),
        (false, Reason::KILLED, Some(Reason::KILLED)),
        (false, Reason::KILL, Some(Reason::KILLED)),
        (true, Reason::NORMAL, None),
        (true, Reason::value("error"), None),
        (true, Reason::KILLED, None),
        (true, Reason::KILL, Some(Reason::KILLED)),
    ];
    for (trap, reason, dies_of) in table {
        let target = Probe::with(&runtime, &SpawnOptions::new().trap_exit(trap));
        native.exit_signal(from.raw(), target.raw(), reason.clone()).expect("both live");
        match dies_of {
            Some(why) => assert_eq!(target.ends(), why, "{trap}, {reason}"),
            None => {
                let expected = if trap { vec![(Some(from.raw()), reason)] } else { Vec::new() };
                assert_eq!(target.exits(), expected);
            }
        }
    }
}

#[test]
fn promise_1_2_05_normal_over_a_link() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (a, b, trapping) = (Probe::start(&runtime), Probe::start(&runtime), Probe::trapping(&runtime));
    linked(&native, &a, &b);
    linked(&native, &trapping, &a);
    a.stop(Reason::NORMAL);
    assert_eq!(trapping.exits(), [(Some(a.raw()), Reason::NORMAL)]);
    assert_eq!(b.events(), []);
}

#[test]
fn promise_1_2_06_the_dead_swallow_signals() {
    let limits = atropos::kernel::Limits { nodes: 100, ..Default::default() };
    let runtime = Runtime::builder().cores(1).limits(limits).build().expect("threads");
    let native = native(&runtime);
    let (from, target) = (Probe::start(&runtime), Probe::start(&runtime));
    target.kill();
    for _ in 0..1_000 {
        native.exit_signal(from.raw(), target.raw(), Reason::value("error")).expect("the dead are no error");
    }
    assert_eq!(from.events(), []);
    assert!(runtime.kernel().nodes_used() <= 1, "no growth");
}

#[test]
fn promise_1_2_07_a_cascade_does_not_come_back() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let ring: Vec<Probe> = (0..3).map(|_| Probe::trapping(&runtime)).collect();
    let watcher = Probe::start(&runtime);
    for (at, one) in ring.iter().enumerate() {
        linked(&native, one, &ring[(at + 1) % 3]);
        native.monitor(watcher.raw(), one.raw()).expect("both live");
    }
    ring[0].kill();
    for survivor in &ring[1..] {
        assert_eq!(survivor.exits(), [(Some(ring[0].raw()), Reason::KILLED)], "once");
    }
    assert_eq!(watcher.events().len(), 1);
    // Of those who do not trap each dies once.
    let ring: Vec<Probe> = (0..3).map(|_| Probe::start(&runtime)).collect();
    for (at, one) in ring.iter().enumerate() {
        linked(&native, one, &ring[(at + 1) % 3]);
        native.monitor(watcher.raw(), one.raw()).expect("both live");
    }
    ring[0].stop(Reason::SHUTDOWN);
    ring.iter().for_each(|one| assert_eq!(one.ends(), Reason::SHUTDOWN));
    until("all are announced", || watcher.events().len() == 4);
    assert_eq!(watcher.events().len(), 4);
}

#[test]
fn promise_1_2_08_victims_of_a_cascade_get_the_full_treatment() {
    const LEAVES: usize = 100_000;
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let runtime = runtime(2);
    let native = native(&runtime);
    let (hub, watcher) = (Probe::start(&runtime), Probe::start(&runtime));
    let bodies = Arc::new(AtomicUsize::new(0));
    for _ in 0..LEAVES {
        bodies.fetch_add(1, Ordering::Relaxed);
        let body = Counted(bodies.clone());
        let leaf = runtime.spawn(async move |cx: atropos::Context<()>| {
            let _body = body;
            cx.sleep(Duration::from_secs(3600)).await;
        });
        let leaf = leaf.expect("a process").pid().to_raw();
        native.link(hub.raw(), leaf).expect("both live");
        native.monitor(watcher.raw(), leaf).expect("both live");
    }
    hub.stop(Reason::SHUTDOWN);
    until("all watchers are told", || watcher.events().len() == LEAVES);
    assert!(watcher.downs().iter().all(|(_, why)| *why == Reason::SHUTDOWN));
    assert_eq!(bodies.load(Ordering::Relaxed), 0, "no body is left");
    until("nobody is left", || runtime.processes() == [watcher.pid]);
    let info = runtime.process_info_blocking(watcher.pid).expect("memory").expect("it lives");
    assert_eq!((info.monitors, info.timers), (Vec::new(), 0));
}

#[test]
fn promise_1_2_09_watcher_and_target_die_at_once() {
    // Every interleaving of it is searched by the model `proxy monitor || both deaths`.
    let runtime = runtime(2);
    let native = native(&runtime);
    for _ in 0..1_000 {
        let (watcher, target) = (Probe::start(&runtime), Probe::start(&runtime));
        native.monitor(watcher.raw(), target.raw()).expect("both live");
        native.monitor(target.raw(), watcher.raw()).expect("both live");
        runtime.exit(watcher.pid, Reason::KILL).expect("memory");
        runtime.exit(target.pid, Reason::KILL).expect("memory");
        watcher.ends();
        target.ends();
    }
    until("nobody is left", || runtime.processes().is_empty());
}

#[test]
fn promise_1_2_10_the_shapes_of_down_and_exit() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let (watcher, target) = (Probe::trapping(&runtime), Probe::start(&runtime));
    let made = native.monitor(watcher.raw(), target.raw()).expect("both live");
    linked(&native, &watcher, &target);
    target.stop(Reason::value(7));
    let why = Reason::value(7);
    let down = Event::Down { reference: made.reference, process: target.raw(), reason: why.clone() };
    assert_eq!(watcher.events(), [Event::Exit(Some(target.raw()), why), down]);
}

#[test]
fn promise_1_2_11_monitors_stack() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let (watcher, target) = (Probe::start(&runtime), Probe::start(&runtime));
    let made = [(); 3].map(|()| native.monitor(watcher.raw(), target.raw()).expect("both live").reference);
    native.demonitor(watcher.raw(), made[1]).expect("it lives");
    target.kill();
    let downs: HashSet<u64> = watcher.downs().into_iter().map(|(reference, _)| reference).collect();
    assert_eq!(downs, HashSet::from([made[0], made[2]]));
}

#[test]
fn promise_1_2_12_a_link_with_oneself_is_nothing() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let probe = Probe::trapping(&runtime);
    assert_eq!(native.link(probe.raw(), probe.raw()), Ok(()));
    assert_eq!(native.unlink(probe.raw(), probe.raw()), Ok(()));
    assert_eq!(native.link(probe.raw(), probe.raw()), Ok(()));
    let mine = native.clone();
    assert_eq!(probe.ask(move |cx| mine.link(cx.pid().to_raw(), cx.pid().to_raw())), Ok(()));
    assert_eq!(probe.events(), []);
    probe.stop(Reason::SHUTDOWN);
    assert_eq!(probe.ends(), Reason::SHUTDOWN);
}

#[test]
fn promise_1_2_13_link_errors_and_one_link() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (a, b, dead) = (Probe::trapping(&runtime), Probe::start(&runtime), Probe::start(&runtime));
    dead.kill();
    assert_eq!(native.link(a.raw(), dead.raw()), Err(LinkError::NoProc));
    assert_eq!(native.link(a.raw(), nobody()), Err(LinkError::NoProc));
    assert_eq!(native.link(nobody(), a.raw()), Err(LinkError::NoCaller));
    assert_eq!(native.link(dead.raw(), a.raw()), Err(LinkError::NoCaller));
    let (mine, it) = (native.clone(), dead.raw());
    assert_eq!(a.ask(move |cx| mine.link(cx.pid().to_raw(), it)), Err(LinkError::NoProc), "trapping or not");
    // From outside, from inside, and from the other side: one link.
    linked(&native, &a, &b);
    linked(&native, &a, &b);
    linked(&native, &b, &a);
    let (mine, it) = (native.clone(), b.raw());
    a.ask(move |cx| mine.link(cx.pid().to_raw(), it)).expect("both live");
    b.stop(Reason::SHUTDOWN);
    assert_eq!(a.exits(), [(Some(b.raw()), Reason::SHUTDOWN)]);
    // As OTP: an EXIT from the dead.
    assert_eq!(native.link_as_otp(a.raw(), dead.raw()), Ok(()));
    assert_eq!(a.exits()[1..], [(Some(dead.raw()), Reason::NOPROC)]);
}

#[test]
fn promise_1_2_14_unlink_is_always_ok() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (a, b) = (Probe::trapping(&runtime), Probe::trapping(&runtime));
    assert_eq!(native.unlink(a.raw(), b.raw()), Ok(()), "never linked");
    assert_eq!(native.unlink(a.raw(), nobody()), Ok(()));
    assert_eq!(native.unlink(nobody(), a.raw()), Ok(()));
    linked(&native, &a, &b);
    assert_eq!(native.unlink(b.raw(), a.raw()), Ok(()), "by the other side");
    a.kill();
    assert_eq!(b.events(), []);
    // While the caller is busy, and dies before it can know.
    let c = Probe::start(&runtime);
    linked(&native, &c, &b);
    let kept = c.keep();
    assert_eq!(native.unlink(c.raw(), b.raw()), Ok(()));
    runtime.exit(c.pid, Reason::KILL).expect("memory");
    drop(kept);
    c.ends();
    assert_eq!(b.events(), []);
}

#[test]
fn promise_1_2_15_set_trap_exit_returns_the_old_value() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let probe = Probe::start(&runtime);
    let mine = native.clone();
    let from_itself = probe.ask(move |cx| [true, true, false].map(|trap| mine.set_trap_exit(cx.pid().to_raw(), trap)));
    assert_eq!(from_itself, [Ok(false), Ok(true), Ok(true)]);
    let from_outside = [true, true, false].map(|trap| native.set_trap_exit(probe.raw(), trap));
    assert_eq!(from_outside, [Ok(false), Ok(true), Ok(true)]);
    assert_eq!(native.set_trap_exit(nobody(), true), Err(LinkError::NoCaller));
    native.set_trap_exit(probe.raw(), true).expect("it lives");
    native.exit_signal(probe.raw(), probe.raw(), Reason::SHUTDOWN).expect("it lives");
    assert_eq!(probe.exits(), [(Some(probe.raw()), Reason::SHUTDOWN)], "in force");
}

#[test]
fn promise_1_2_16_a_monitor_of_the_dead() {
    let why = Reason::value("an error");
    for tombstones in [false, true] {
        let limits = atropos::kernel::Limits { processes: 8, ..Default::default() };
        let runtime = Runtime::builder().cores(1).limits(limits).tombstones(tombstones).build().expect("threads");
        let native = native(&runtime);
        let (watcher, dead, alive) = (Probe::start(&runtime), Probe::start(&runtime), Probe::start(&runtime));
        dead.stop(why.clone());
        let made = native.monitor(watcher.raw(), dead.raw()).expect("it was");
        assert!(made.immediate_down);
        let said = if tombstones { why.clone() } else { Reason::NOPROC };
        assert_eq!(watcher.downs(), [(made.reference, said.clone())]);
        let (mine, it) = (native.clone(), dead.raw());
        watcher.ask(move |cx| mine.monitor(cx.pid().to_raw(), it)).expect("it was");
        assert_eq!(watcher.downs()[1].1, said);
        assert_eq!(native.monitor(watcher.raw(), nobody()), Err(SupervisionError::NoProc));
        assert!(!native.monitor(watcher.raw(), alive.raw()).expect("both live").immediate_down);
        // When its slot has been used again the reason is forgotten.
        while runtime.tombstone(dead.pid) != atropos::kernel::Dead::Forgotten {
            Probe::start(&runtime).kill();
        }
        native.monitor(watcher.raw(), dead.raw()).expect("it was");
        assert_eq!(watcher.downs()[2].1, Reason::NOPROC);
    }
}

#[test]
fn promise_1_2_17_death_check_and_registration_are_one_step() {
    // Every interleaving of it is searched by the model `proxy monitor || exit || watcher`.
    let runtime = runtime(2);
    let native = native(&runtime);
    let watcher = Probe::start(&runtime);
    let mut all = HashSet::new();
    for _ in 0..2_000 {
        let target = runtime.spawn(async |_: atropos::Context<()>| {}).expect("a process").pid().to_raw();
        assert!(all.insert(native.monitor(watcher.raw(), target).expect("it was").reference));
    }
    until("all are answered", || watcher.events().len() == all.len());
    assert_eq!(watcher.downs().into_iter().map(|(reference, _)| reference).collect::<HashSet<_>>(), all);
}

#[test]
fn promise_1_2_18_demonitor_of_the_unknown_is_ok() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let (watcher, target) = (Probe::start(&runtime), Probe::start(&runtime));
    let made = native.monitor(watcher.raw(), target.raw()).expect("both live");
    assert_eq!(native.demonitor(watcher.raw(), made.reference), Ok(()));
    assert_eq!(native.demonitor(watcher.raw(), made.reference), Ok(()));
    assert_eq!(native.demonitor(watcher.raw(), 0), Ok(()));
    assert_eq!(native.demonitor(watcher.raw(), u64::MAX), Ok(()));
    let mine = native.clone();
    assert_eq!(watcher.ask(move |cx| mine.demonitor(cx.pid().to_raw(), made.reference)), Ok(()));
}

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
    // Half of them by the running parent itself, half in its name while it runs.
    let mine = spawner.clone();
    let spawns = move |spawner: &dyn SpawnFacility, parent: u64| {
        for _ in 0..500 {
            spawner.spawn(parent, run(|_| Resumed::Exit(Reason::SHUTDOWN)), flags).expect("a process");
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
        Entry { module: "tasks", function: "walk", arguments: Box::new(()) },
        Entry { module: "tasks", function: "run", arguments: Box::new("not a task") },
    ] {
        assert_eq!(spawner.spawn(parent.raw(), entry, flags), Err(SpawnError::Unresolved));
    }
    assert_eq!(spawner.spawn(nobody(), run(|_| Resumed::Wait), flags), Err(SpawnError::NoCaller));
    assert_eq!(runtime.processes(), before);
    let info = runtime.process_info_blocking(parent.pid).expect("memory").expect("it lives");
    assert_eq!((info.links, info.monitors), (Vec::new(), Vec::new()));
}

#[test]
fn promise_1_2_22_flags_hold_at_birth() {
    let runtime = runtime(2);
    let (spawner, native, parent) = (spawner(&runtime), native(&runtime), Probe::start(&runtime));
    let (send, first) = channel();
    let child = run(move |cx| {
        let _ = send.send(native.trap_exit(cx.pid().to_raw()));
        Resumed::Exit(Reason::NORMAL)
    });
    spawner.spawn(parent.raw(), child, SpawnFlags { trap_exit: true, ..SpawnFlags::default() }).expect("a process");
    assert_eq!(common::next(&first), Ok(true));
}

#[test]
fn promise_1_2_24_a_body_sees_what_is_in_its_bundle() {
    // A built-in function, which knows its bundle only.
    fn print_and_spawn(facilities: &Facilities<'_, u8>, me: u64) -> Result<Result<u64, SpawnError>, Missing> {
        if facilities.output()?.write(me, b"hello").is_err() {
            return Ok(Err(SpawnError::Closing));
        }
        let entry = Entry { module: "tasks", function: "run", arguments: Box::new(()) };
        Ok(facilities.spawn()?.spawn(me, entry, SpawnFlags::default()).map(|spawned| spawned.pid))
    }
    let (cast, output) = (Cast::new(&[1, 2], &[3]), MockOutput::default());
    let (spawns, links, timers) =
        (MockSpawner::new(cast.clone(), &["run"]), MockLinks::new(cast.clone()), MockTimers::<u8>::new(cast));
    let mut bundle = Facilities::default();
    assert_eq!(print_and_spawn(&bundle, 1), Err(Missing::Output));
    bundle.output = Some(&output);
    assert_eq!(print_and_spawn(&bundle, 1), Err(Missing::Spawn));
    bundle.spawn = Some(&spawns);
    assert!(print_and_spawn(&bundle, 1).is_ok_and(|spawned| spawned.is_ok()));
    assert_eq!(print_and_spawn(&bundle, 4), Ok(Err(SpawnError::NoCaller)));
    assert_eq!(bundle.link().err(), Some(Missing::Link));
    assert_eq!(bundle.supervision().err(), Some(Missing::Supervision));
    assert_eq!(bundle.timers().err(), Some(Missing::Timers));
    assert_eq!(bundle.code().err(), Some(Missing::Code));
    assert_eq!(bundle.names().err(), Some(Missing::Names));
    assert_eq!(bundle.aliases().err(), Some(Missing::Aliases));
    assert_ne!(Missing::Code.to_string(), Missing::Link.to_string());
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

/// A process that never waits, and spends its reductions; what ends it comes from outside.
fn busy(runtime: &Runtime, slices: &Arc<AtomicUsize>) -> Pid {
    let slices = slices.clone();
    let body = run(move |cx| {
        while cx.spend(1) {}
        slices.fetch_add(1, Ordering::Relaxed);
        Resumed::Yield
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
    assert_eq!(common::ends(&runtime, pid), Reason::KILLED, "its reason, for who waits for it");
}

#[test]
fn promise_1_2_25_b_is_linked_and_trap_exit_of_a_running_process() {
    let (runtime, slices) = (runtime(2), Arc::default());
    let (native, busy) = (native(&runtime), busy(&runtime, &slices).to_raw());
    let other = Probe::start(&runtime);
    let ask = |one: u64, other: u64| {
        let mut linked = pin!(native.is_linked(one, other).expect("it lives"));
        let mut answer = None;
        until("it answers", || match linked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
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
    until("it lives on", || slices.load(Ordering::Relaxed) > before + 10);
    // Of itself it is known at once.
    let (mine, it) = (native.clone(), busy);
    let known =
        other.ask(move |cx| mine.is_linked(cx.pid().to_raw(), it).ok().and_then(|linked| Linked::known(&linked)));
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
                return Resumed::Wait;
            }
        }
        Resumed::Yield
    });
    let parent = Probe::start(&runtime);
    spawner(&runtime).spawn(parent.raw(), body, SpawnFlags::default()).expect("a process");
    let waker = common::next(&wakers);
    until("it is suspended", || runtime.is_quiescent());
    assert_eq!(spent.load(Ordering::Relaxed), 1);
    suspend.store(false, Ordering::Release);
    waker.wake();
    until("it goes on", || spent.load(Ordering::Relaxed) > 100_000);
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
        assert!(timers.read(me, long).is_ok_and(|left| left.known().flatten().is_some()), "it runs here, and knows");
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
