//! The guarantees of supervision inside the scheduler (1.2, 10 to 18), through the facilities:
//! links, monitors and trapping.

mod common;

use std::collections::HashSet;

use atropos::facility::{KernelFacilities, LinkError, LinkFacility as _, SupervisionError, SupervisionFacility as _};
use atropos::{Handle, Reason, Runtime};
use common::{Event, Probe, native, nobody, runtime, until};

fn linked(native: &KernelFacilities<Handle>, one: &Probe, other: &Probe) {
    native.link(one.raw(), other.raw()).expect("both live");
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
    native.demonitor(watcher.raw(), made[1]).expect("alive");
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
    assert_eq!(a.ask(move |cx| mine.link(cx.pid().to_raw(), it)), Err(LinkError::NoProc), "trapping exits or not");
    // From outside, from inside, and from the other side: one link.
    linked(&native, &a, &b);
    linked(&native, &a, &b);
    linked(&native, &b, &a);
    let (mine, it) = (native.clone(), b.raw());
    a.ask(move |cx| mine.link(cx.pid().to_raw(), it)).expect("both live");
    b.stop(Reason::SHUTDOWN);
    assert_eq!(a.exits(), [(Some(b.raw()), Reason::SHUTDOWN)]);
    // As in OTP: an EXIT from a dead target.
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
    // While the caller is busy, and dies before it handles the unlink.
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
    native.set_trap_exit(probe.raw(), true).expect("alive");
    native.exit_signal(probe.raw(), probe.raw(), Reason::SHUTDOWN).expect("alive");
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
        let made = native.monitor(watcher.raw(), dead.raw()).expect("it existed");
        assert!(made.immediate_down);
        let said = if tombstones { why.clone() } else { Reason::NOPROC };
        assert_eq!(watcher.downs(), [(made.reference, said.clone())]);
        let (mine, it) = (native.clone(), dead.raw());
        watcher.ask(move |cx| mine.monitor(cx.pid().to_raw(), it)).expect("it existed");
        assert_eq!(watcher.downs()[1].1, said);
        assert_eq!(native.monitor(watcher.raw(), nobody()), Err(SupervisionError::NoProc));
        assert!(!native.monitor(watcher.raw(), alive.raw()).expect("both live").immediate_down);
        // When its slot is reused the reason is lost.
        while runtime.tombstone(dead.pid) != atropos::kernel::Tombstone::Recycled {
            Probe::start(&runtime).kill();
        }
        native.monitor(watcher.raw(), dead.raw()).expect("it existed");
        assert_eq!(watcher.downs()[2].1, Reason::NOPROC);
    }
}

#[test]
fn promise_1_2_17_death_check_and_registration_are_one_step() {
    // The model `proxy monitor || exit || watcher` explores every interleaving of it.
    let runtime = runtime(2);
    let native = native(&runtime);
    let watcher = Probe::start(&runtime);
    let mut all = HashSet::new();
    for _ in 0..2_000 {
        let target = runtime.spawn(async |_: atropos::Context<()>| {}).expect("a process").pid().to_raw();
        assert!(all.insert(native.monitor(watcher.raw(), target).expect("it existed").reference));
    }
    until("all DOWNs have arrived", || watcher.events().len() == all.len());
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
