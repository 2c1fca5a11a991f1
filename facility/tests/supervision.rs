//! The guarantees of the supervision facility's trait (1.0), and the faults of the one that it
//! replaces (2.0).

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::channel;

use atropos::facility::mock::{MockProcesses, MockSupervision};
use atropos::facility::{
    MonitorResult, SpawnFacility as _, SpawnFlags, SupervisionError, SupervisionFacility, SupervisionRecord,
};
use atropos::kernel::MaybeReady;
use atropos::{BodyPoll, Reason, Runtime};
use common::{Event, Probe, native, nobody, run, runtime, spawner};

#[test]
fn promise_1_0_01_two_errors_that_are_values() {
    fn is_error<E: core::error::Error + Copy + Clone + core::fmt::Debug + Eq>(_: E) {}
    for error in [SupervisionError::NoProc, SupervisionError::NoCaller] {
        match error {
            SupervisionError::NoProc | SupervisionError::NoCaller => is_error(error),
        }
    }
    assert_ne!(SupervisionError::NoProc.to_string(), SupervisionError::NoCaller.to_string());
}

#[test]
fn promise_1_0_02_the_two_are_not_interchangeable() {
    let runtime = runtime(1);
    let (native, alive) = (native(&runtime), Probe::start(&runtime));
    assert_eq!(native.monitor(alive.raw(), nobody()), Err(SupervisionError::NoProc));
    assert_eq!(native.monitor(nobody(), alive.raw()), Err(SupervisionError::NoCaller));
    assert_eq!(native.monitor(nobody(), nobody()), Err(SupervisionError::NoCaller), "the caller is checked first");
    // A number that cannot be a pid at all.
    assert_eq!(native.monitor(alive.raw(), u64::MAX), Err(SupervisionError::NoProc));
    assert_eq!(native.monitor(0, alive.raw()), Err(SupervisionError::NoCaller));
    // The running process itself.
    let mine = native.clone();
    let said = alive.ask(move |cx| mine.monitor(cx.pid().to_raw(), nobody()));
    assert_eq!(said, Err(SupervisionError::NoProc));
}

#[test]
fn promise_1_0_03_references_never_repeat() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (watcher, target) = (Probe::start(&runtime), Probe::start(&runtime));
    let mut all = HashSet::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let monitor = |_| native.monitor(watcher.raw(), target.raw()).expect("both live").reference;
                    (0..10_000).map(monitor).collect::<Vec<u64>>()
                })
            })
            .collect();
        for thread in threads {
            all.extend(thread.join().expect("no panic"));
        }
    });
    assert_eq!(all.len(), 80_000);
    assert!(all.iter().all(|reference| *reference < 1 << 56), "below those of remote monitors");
    target.kill();
    common::until("all DOWNs have arrived", || watcher.events().len() == 80_000);
    let answered: HashSet<u64> = watcher.downs().into_iter().map(|(reference, _)| reference).collect();
    assert_eq!(answered, all);
}

#[test]
fn promise_1_0_04_immediate_down_is_in_the_mailbox_already() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (watcher, target) = (Probe::start(&runtime), Probe::start(&runtime));
    target.kill();
    // The watcher cannot run during the call.
    let kept = watcher.keep();
    let made = native.monitor(watcher.raw(), target.raw()).expect("both have lived");
    assert!(made.immediate_down);
    drop(kept);
    assert_eq!(watcher.downs(), [(made.reference, Reason::NOPROC)]);
    // By the watcher itself, in its own slice.
    let (mine, dead) = (native.clone(), target.raw());
    let (own, waits) = watcher.ask(move |cx| {
        let made = mine.monitor(cx.pid().to_raw(), dead).expect("both have lived");
        (made, cx.with(|cx| matches!(cx.info(cx.pid()), MaybeReady::Ready(Ok(Some(_))))))
    });
    assert!(own.immediate_down && waits);
    assert_eq!(watcher.downs().len(), 2);
}

#[test]
fn promise_1_0_05_no_immediate_down_for_who_cannot_receive_it() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let (watcher, target, other) = (Probe::start(&runtime), Probe::start(&runtime), Probe::start(&runtime));
    watcher.kill();
    target.kill();
    let made = native.monitor(watcher.raw(), target.raw()).expect("both have lived");
    assert!(!made.immediate_down);
    assert!(!native.monitor(watcher.raw(), other.raw()).expect("both have lived").immediate_down);
    assert_eq!(other.events(), []);
}

#[test]
fn promise_1_0_06_an_object_for_many_threads() {
    let runtime = runtime(2);
    let facility: Arc<dyn SupervisionFacility> = Arc::new(native(&runtime));
    let (watcher, target) = (Probe::start(&runtime), Probe::start(&runtime));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (facility, watcher, target) = (facility.clone(), watcher.raw(), target.raw());
            std::thread::spawn(move || {
                for _ in 0..1_000 {
                    let made = facility.monitor(watcher, target).expect("both live");
                    facility.demonitor(watcher, made.reference).expect("alive");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    target.kill();
    assert_eq!(watcher.events(), []);
}

#[test]
fn promise_1_0_07_a_monitor_is_one_way() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let (watcher, target) = (Probe::start(&runtime), Probe::trapping(&runtime));
    native.monitor(watcher.raw(), target.raw()).expect("both live");
    watcher.kill();
    assert_eq!(target.events(), []);
    let info = runtime.process_info_blocking(target.pid).expect("memory").expect("alive");
    assert_eq!(info.monitored_by, []);
}

#[test]
fn promise_1_0_08_demonitor_names_caller_and_reference() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let (watcher, other, target) = (Probe::start(&runtime), Probe::start(&runtime), Probe::start(&runtime));
    let removed = native.monitor(watcher.raw(), target.raw()).expect("both live");
    let kept = native.monitor(watcher.raw(), target.raw()).expect("both live");
    native.demonitor(watcher.raw(), removed.reference).expect("alive");
    native.demonitor(other.raw(), kept.reference).expect("no effect: the caller has no such monitor");
    target.kill();
    assert_eq!(watcher.downs(), [(kept.reference, Reason::KILLED)]);
}

#[test]
fn promise_1_0_09_an_exit_signal_says_whose_it_is() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let (caller, target) = (Probe::start(&runtime), Probe::trapping(&runtime));
    let why = Reason::value("a reason");
    native.exit_signal(caller.raw(), target.raw(), why.clone()).expect("both live");
    let (mine, to, again) = (native.clone(), target.raw(), why.clone());
    caller.ask(move |cx| mine.exit_signal(cx.pid().to_raw(), to, again)).expect("both live");
    let exit = (Some(caller.raw()), why);
    assert_eq!(target.exits(), [exit.clone(), exit]);
}

/// A built-in function, which sees neither kernel nor mock.
fn watch_and_end(facility: &dyn SupervisionFacility, me: u64, it: u64) -> Result<MonitorResult, SupervisionError> {
    let made = facility.monitor(me, it)?;
    facility.exit_signal(me, it, Reason::SHUTDOWN)?;
    Ok(made)
}

#[test]
fn promise_1_0_10_the_same_code_on_a_kernel_and_on_a_mock() {
    let runtime = runtime(1);
    let (watcher, target) = (Probe::start(&runtime), Probe::start(&runtime));
    let made = watch_and_end(&native(&runtime), watcher.raw(), target.raw()).expect("both live");
    assert_eq!(target.ends(), Reason::SHUTDOWN);
    assert_eq!(watcher.downs(), [(made.reference, Reason::SHUTDOWN)]);

    let mock = MockSupervision::new(MockProcesses::new(&[1, 2], &[3]));
    assert!(!watch_and_end(&mock, 1, 2).expect("both live").immediate_down);
    assert!(watch_and_end(&mock, 1, 3).expect("it existed").immediate_down);
    assert_eq!(watch_and_end(&mock, 1, 4), Err(SupervisionError::NoProc));
    assert_eq!(watch_and_end(&mock, 4, 4), Err(SupervisionError::NoCaller));
}

#[test]
fn promise_1_0_11_a_mock_writes_down_what_it_was_asked() {
    let mock = MockSupervision::new(MockProcesses::new(&[1, 2], &[]));
    let reference = mock.monitor(1, 2).expect("both live").reference;
    mock.demonitor(1, reference).expect("alive");
    mock.exit_signal(2, 1, Reason::KILL).expect("alive");
    let asked = [
        SupervisionRecord::Monitor { caller: 1, target: 2 },
        SupervisionRecord::Demonitor { caller: 1, reference },
        SupervisionRecord::ExitSignal { caller: 2, target: 1, reason: Reason::KILL },
    ];
    assert_eq!(mock.drain(), asked.clone());
    assert!(mock.drain().is_empty());
    assert!(format!("{:?}", asked[0]).contains("Monitor"));
}

#[test]
fn fault_2_0_a_a_down_that_waits_can_be_withdrawn_and_info_is_told() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (watcher, target) = (Probe::start(&runtime), Probe::start(&runtime));
    // By the watcher itself: it learns whether the monitor was active, and a DOWN that has arrived
    // is flushed.
    let (mine, it) = (native.clone(), target.raw());
    let (first, second) = watcher.ask(move |cx| {
        let me = cx.pid().to_raw();
        let reference = mine.monitor(me, it).expect("both live").reference;
        (mine.demonitor_with(me, reference, true), mine.demonitor_with(me, reference, true))
    });
    assert_eq!((first, second), (Ok(Some(true)), Ok(Some(false))));
    // By another thread, while the DOWN waits unread.
    let kept = watcher.keep();
    let made = native.monitor(watcher.raw(), target.raw()).expect("both live");
    target.kill();
    assert_eq!(native.demonitor_with(watcher.raw(), made.reference, true), Ok(None));
    drop(kept);
    assert_eq!(watcher.events(), [], "flushed");
}

#[test]
fn fault_2_0_b_spawn_link_and_monitor_are_one_step() {
    let runtime = runtime(2);
    let (spawner, parent) = (spawner(&runtime), Probe::trapping(&runtime));
    let flags = SpawnFlags { link: true, monitor: true, trap_exit: false };
    let mut children = Vec::new();
    for _ in 0..1_000 {
        let ends = run(|_| BodyPoll::Exit(Reason::SHUTDOWN));
        children.push(spawner.spawn(parent.raw(), ends, flags).expect("a process"));
    }
    for child in children {
        let monitor = child.monitor.expect("requested");
        common::until("both have arrived", || {
            let events = parent.events();
            events.contains(&Event::Exit(Some(child.pid), Reason::SHUTDOWN))
                && events.contains(&Event::Down { reference: monitor, process: child.pid, reason: Reason::SHUTDOWN })
        });
    }
    assert_eq!(parent.events().len(), 2_000, "one EXIT and one DOWN each");
}

#[test]
fn fault_2_0_c_pids_carry_a_generation_and_references_an_owner() {
    let runtime = Runtime::builder()
        .cores(1)
        .limits(atropos::kernel::Limits { processes: 4, ..Default::default() })
        .build()
        .expect("threads");
    let native = native(&runtime);
    let first = Probe::start(&runtime);
    first.kill();
    let watcher = Probe::start(&runtime);
    // The slots are reused again and again; the old pid stays dead.
    for _ in 0..500 {
        let other = Probe::start(&runtime);
        assert_ne!(other.pid, first.pid);
        native.exit_signal(watcher.raw(), first.raw(), Reason::KILL).expect("no process is hit");
        assert!(other.is_alive());
        other.kill();
    }
    assert!(native.monitor(watcher.raw(), first.raw()).expect("it existed").immediate_down);
    assert_eq!(watcher.downs().len(), 1);
}

#[test]
fn fault_2_0_d_reasons_carry_values() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let (watcher, target) = (Probe::start(&runtime), Probe::start(&runtime));
    let made = native.monitor(watcher.raw(), target.raw()).expect("both live");
    let why = Reason::shutdown_with(vec![1, 2, 3]);
    native.exit_signal(watcher.raw(), target.raw(), why.clone()).expect("both live");
    target.ends();
    assert_eq!(watcher.downs(), [(made.reference, why)]);
}

#[test]
fn fault_2_0_e_immediate_down_is_true_of_every_down_and_of_no_other() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (send, receive) = channel();
    for round in 0..300 {
        let (watcher, target) = (Probe::start(&runtime), Probe::start(&runtime));
        let (killer, victim) = (runtime.handle(), if round % 2 == 0 { watcher.pid } else { target.pid });
        let thread = std::thread::spawn(move || killer.exit(victim, Reason::KILL));
        let made = native.monitor(watcher.raw(), target.raw()).expect("both have lived");
        thread.join().expect("no panic").expect("memory");
        if round % 2 == 0 {
            assert!(!made.immediate_down, "the target is alive");
        } else {
            target.ends();
            let downs = watcher.downs();
            assert_eq!(downs.len(), 1, "one DOWN, early or late");
            assert!(!made.immediate_down || downs[0].1 == Reason::NOPROC, "at once it is noproc");
        }
        let _ = send.send(made.reference);
    }
    drop(send);
    let all: HashSet<u64> = receive.iter().collect();
    assert_eq!(all.len(), 300);
}
