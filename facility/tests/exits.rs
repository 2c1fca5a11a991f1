//! The guarantees of supervision inside the scheduler (1.2, 1 to 9), through the facilities:
//! signals, and the exits that they cause.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atropos::facility::{KernelFacilities, LinkFacility as _, SupervisionFacility as _};
use atropos::{Handle, Reason, Runtime, SpawnOptions};
use common::{Order, Probe, native, runtime, until};

fn linked(native: &KernelFacilities<Handle>, one: &Probe, other: &Probe) {
    native.link(one.raw(), other.raw()).expect("both live");
}

/// Starts a process that only waits.
fn waits(runtime: &Runtime) -> u64 {
    let started = runtime.spawn(async move |cx: atropos::Context<Order>| {
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
    until("all others have died", || runtime.processes() == [watcher.pid]);
}

#[test]
fn promise_1_2_02_only_a_direct_kill_is_untrappable() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (a, b, watcher) = (Probe::trapping(&runtime), Probe::trapping(&runtime), Probe::start(&runtime));
    linked(&native, &a, &b);
    let made = native.monitor(watcher.raw(), a.raw()).expect("both live");
    native.exit_signal(watcher.raw(), a.raw(), Reason::KILL).expect("alive");
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
        native.exit_signal(from.raw(), target.raw(), Reason::value("error")).expect("a dead target is no error");
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
    // Processes that do not trap exits die once each.
    let ring: Vec<Probe> = (0..3).map(|_| Probe::start(&runtime)).collect();
    for (at, one) in ring.iter().enumerate() {
        linked(&native, one, &ring[(at + 1) % 3]);
        native.monitor(watcher.raw(), one.raw()).expect("both live");
    }
    ring[0].stop(Reason::SHUTDOWN);
    ring.iter().for_each(|one| assert_eq!(one.ends(), Reason::SHUTDOWN));
    until("all DOWNs have arrived", || watcher.events().len() == 4);
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
    until("all DOWNs have arrived", || watcher.events().len() == LEAVES);
    assert!(watcher.downs().iter().all(|(_, why)| *why == Reason::SHUTDOWN));
    assert_eq!(bodies.load(Ordering::Relaxed), 0, "no body is left");
    until("no process is left", || runtime.processes() == [watcher.pid]);
    let info = runtime.process_info_blocking(watcher.pid).expect("memory").expect("alive");
    assert_eq!((info.monitors, info.timers), (Vec::new(), 0));
}

#[test]
fn promise_1_2_09_watcher_and_target_die_at_once() {
    // The model `proxy monitor || both deaths` explores every interleaving of it.
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
    until("no process is left", || runtime.processes().is_empty());
}
