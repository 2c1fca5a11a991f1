//! One test for each numbered promise of the control plane that this one replaces.

mod common;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use atropos_dist::{
    ControlPlane, DistributionMonitorFacility, FacilityCall, MockFacility, MonitorControlMessage, MonitorError,
    NoConnection, Node, Options, ReceiveError, RemotePid, RemoteReference,
};
use atropos_kernel::Reason;
use common::*;

#[test]
fn promise_1_1_01_references_start_at_2_to_the_56_and_never_meet_local_ones() {
    let recorded = Recorded::new();
    let first = recorded.site.plane.monitor_remote(7, there(42)).unwrap();
    assert_eq!(first.to_raw(), 1 << 56);
    assert_eq!(RemoteReference::LAST.to_raw(), (1 << 60) - 1);
    assert_eq!(atropos_kernel::Reference::from_raw(first.to_raw()), None, "no local reference is this large");
    // An actual local reference.
    let runtime = atropos::Runtime::builder().cores(1).build().unwrap();
    let local = runtime.block_on(async |cx: atropos::Context<()>| {
        let target = cx.spawn(async |_: atropos::Context<()>| {}).unwrap();
        cx.monitor(target).unwrap()
    });
    assert!(local.unwrap().to_raw() < RemoteReference::FIRST.to_raw());
    // A plane with a smaller first reference starts at 2^56 as well.
    let low = Recorded::with(Options::new(HERE, 1).first_reference(reference(5)));
    assert_eq!(low.site.plane.monitor_remote(7, there(42)), Ok(RemoteReference::FIRST));
}

#[test]
fn promise_1_1_02_a_remote_pid_is_copied_compared_hashed_and_const() {
    const PID: RemotePid = RemotePid::new(Node::new(2), 42, 7, 3);
    let copy = PID;
    assert_eq!(copy, PID);
    let others = [
        RemotePid { node: Node::new(3), ..PID },
        RemotePid { number: 43, ..PID },
        RemotePid { serial: 0, ..PID },
        RemotePid { incarnation: 4, ..PID },
    ];
    let mut map: HashMap<RemotePid, usize> = HashMap::from([(PID, 0)]);
    for (index, other) in others.into_iter().enumerate() {
        assert_ne!(other, PID);
        assert_eq!(map.insert(other, index), None);
    }
    assert_eq!(map[&PID], 0);
}

#[test]
fn promise_1_1_03_three_messages_cross_whole() {
    let pair = Pair::new();
    let reference = pair.left.plane.monitor_remote(7, there(42)).unwrap();
    let other = pair.left.plane.monitor_remote(8, there(42)).unwrap();
    pair.pump();
    assert_eq!(pair.right.plane.monitored_by(42), [(reference, here(7)), (other, here(8))]);
    assert!(pair.left.plane.demonitor_remote(8, other));
    pair.pump();
    assert_eq!(pair.right.plane.monitored_by(42), [(reference, here(7))]);
    let reason = Reason::value(String::from("a reason of its own"));
    pair.right.world.kill(42, &reason);
    pair.pump();
    assert_eq!(pair.left.world.drain(), [Down { watcher: 7, reference, target: there(42), reason }]);
}

#[test]
fn promise_1_1_04_opcodes() {
    const EXIT: MonitorControlMessage = MonitorControlMessage::MonitorPExit {
        reference: RemoteReference::FIRST,
        watcher: RemotePid::new(HERE, 1, 0, 1),
        target: RemotePid::new(THERE, 2, 0, 1),
        reason: Reason::NORMAL,
    };
    const OPCODE: u8 = MonitorControlMessage::MonitorP {
        reference: RemoteReference::FIRST,
        watcher: RemotePid::new(HERE, 1, 0, 1),
        target: RemotePid::new(THERE, 2, 0, 1),
    }
    .opcode();
    assert_eq!(OPCODE, 19);
    assert_eq!(demonitor_p(1, here(1), there(2)).opcode(), 20);
    assert_eq!(EXIT.opcode(), 21);
}

#[test]
fn promise_1_1_05_requests_go_to_the_target_and_answers_to_the_watcher() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    let monitor = plane.monitor_remote(7, there(42)).unwrap();
    assert!(plane.demonitor_remote(7, monitor));
    plane.receive(recorded.there, monitor_p(5, there(9), here(42))).unwrap();
    recorded.site.world.kill(42, &Reason::NORMAL);
    let sent = recorded.sent.drain();
    assert_eq!(sent.iter().map(|routed| routed.message.opcode()).collect::<Vec<_>>(), [19, 20, 21]);
    for routed in sent {
        assert_eq!(routed.destination(), THERE);
        assert_eq!(routed.message.destination(), THERE);
        assert_eq!(routed.connection, recorded.there);
    }
}

#[test]
fn promise_1_1_06_errors_are_few_and_shown() {
    fn show(error: MonitorError) -> String {
        // The match is exhaustive, so that a new variant needs a decision here.
        match error {
            MonitorError::NoConnection
            | MonitorError::ReferenceExhausted
            | MonitorError::NoCaller
            | MonitorError::NoMemory => (&error as &dyn core::error::Error).to_string(),
        }
    }
    let errors =
        [MonitorError::NoConnection, MonitorError::ReferenceExhausted, MonitorError::NoCaller, MonitorError::NoMemory];
    let texts: std::collections::HashSet<_> = errors.map(show).into();
    assert_eq!(texts.len(), errors.len());
    assert_eq!(NoConnection.to_string(), MonitorError::from(NoConnection).to_string());
}

#[test]
fn promise_1_1_07_the_sender_is_injected_failing_recording_or_looping_back() {
    let failing = Site::calling(|_, _| Err(NoConnection));
    failing.plane.connected(THERE, 1);
    assert_eq!(failing.plane.monitor_remote(7, there(42)), Err(MonitorError::NoConnection));
    let recorded = Recorded::new();
    assert!(recorded.site.plane.monitor_remote(7, there(42)).is_ok());
    assert_eq!(recorded.sent.drain().len(), 1);
    let pair = Pair::new();
    pair.left.plane.monitor_remote(7, there(42)).unwrap();
    pair.right.plane.monitor_remote(42, here(7)).unwrap();
    pair.pump();
    assert_eq!(pair.left.plane.monitors_with(THERE), (1, 1));
    assert_eq!(pair.right.plane.monitors_with(HERE), (1, 1));
    // One plane, many threads.
    thread::scope(|scope| {
        for watcher in 0..4 {
            let plane = &recorded.site.plane;
            scope.spawn(move || (0..100).for_each(|n| assert!(plane.monitor_remote(watcher, there(n)).is_ok())));
        }
    });
    assert_eq!(recorded.sent.drain().len(), 400);
}

#[test]
fn promise_1_1_08_a_recording_keeps_the_order_and_drain_empties_it() {
    let recorded = Recorded::new();
    for target in 1..=3 {
        recorded.site.plane.monitor_remote(7, there(target)).unwrap();
    }
    let targets = recorded.messages().into_iter().map(|message| match message {
        MonitorControlMessage::MonitorP { target, .. } => target.number,
        other => panic!("{other:?}"),
    });
    assert_eq!(targets.collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(recorded.messages(), []);
}

#[test]
fn promise_1_1_09_the_record_exists_before_the_request_is_sent() {
    let seen = Arc::new(Mutex::new(None));
    let see = seen.clone();
    let site = Site::calling(move |plane, routed| {
        *see.lock().unwrap() = Some((plane.monitors_of(7), plane.monitors_with(THERE), routed.message.clone()));
        Ok(())
    });
    site.plane.connected(THERE, 1);
    let reference = site.plane.monitor_remote(7, there(42)).unwrap();
    let (of_watcher, with_node, message) = seen.lock().unwrap().take().expect("sent");
    assert_eq!(of_watcher, [(reference, there(42))]);
    assert_eq!(with_node, (1, 0));
    assert_eq!(message, monitor_p(reference.to_raw(), here(7), there(42)));
}

#[test]
fn promise_1_1_10_a_failed_send_leaves_nothing() {
    let site = Site::calling(|_, _| Err(NoConnection));
    let connection = site.plane.connected(THERE, 1);
    assert_eq!(site.plane.monitor_remote(7, there(42)), Err(MonitorError::NoConnection));
    assert_eq!(site.plane.monitors_of(7), []);
    assert_eq!(site.plane.monitors_with(THERE), (0, 0));
    assert!(site.plane.disconnected(connection));
    assert_eq!(site.world.drain(), []);
    // Without a connection no request is sent at all.
    let recorded = Recorded::new();
    assert_eq!(recorded.site.plane.monitor_remote(7, elsewhere(42)), Err(MonitorError::NoConnection));
    assert_eq!(recorded.messages(), []);
}

#[test]
fn promise_1_1_11_exhaustion_is_an_error_before_anything_and_for_good() {
    let recorded = Recorded::with(Options::new(HERE, 1).first_reference(RemoteReference::LAST));
    let plane = &recorded.site.plane;
    assert_eq!(plane.monitor_remote(7, there(42)), Ok(RemoteReference::LAST));
    assert_eq!(recorded.messages().len(), 1);
    for _ in 0..100 {
        assert_eq!(plane.monitor_remote(7, there(42)), Err(MonitorError::ReferenceExhausted));
    }
    assert_eq!(recorded.messages(), []);
    assert_eq!(plane.monitors_of(7).len(), 1);
    assert_eq!(plane.monitors_with(THERE), (1, 0));
}

#[test]
fn promise_1_1_12_references_grow_and_are_never_used_again() {
    let site = Site::calling(|_, _| Ok(()));
    site.plane.connected(THERE, 1);
    let mut last = None;
    for _ in 0..1_000_000 {
        let reference = site.plane.monitor_remote(7, there(42)).unwrap();
        assert!(last < Some(reference));
        last = Some(reference);
        assert!(site.plane.demonitor_remote(7, reference));
    }
    assert_eq!(last, Some(reference((1 << 56) + 999_999)));
    assert_eq!(site.plane.monitors_with(THERE), (0, 0));
}

#[test]
fn promise_1_1_13_demonitor_is_for_the_watcher_and_once() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    let monitor = plane.monitor_remote(7, there(42)).unwrap();
    recorded.messages();
    assert!(!plane.demonitor_remote(8, monitor), "another's");
    assert!(!plane.demonitor_remote(7, reference(monitor.to_raw() + 1)), "no such monitor");
    assert_eq!(recorded.messages(), []);
    assert_eq!(plane.monitors_of(7), [(monitor, there(42))], "still armed");
    assert!(plane.demonitor_remote(7, monitor));
    assert_eq!(recorded.messages(), [demonitor_p(monitor.to_raw(), here(7), there(42))]);
    assert!(!plane.demonitor_remote(7, monitor));
    assert_eq!(recorded.messages(), []);
}

#[test]
fn promise_1_1_14_the_record_is_gone_before_the_withdrawal_is_sent() {
    let site = Site::calling(|plane, routed| {
        if let MonitorControlMessage::DemonitorP { reference, watcher, target } = routed.message {
            let notice = exit_p(reference, watcher, target, Reason::KILLED);
            assert_eq!(plane.receive(routed.connection, notice), Ok(()));
        }
        Ok(())
    });
    site.plane.connected(THERE, 1);
    let monitor = site.plane.monitor_remote(7, there(42)).unwrap();
    assert!(site.plane.demonitor_remote(7, monitor));
    assert_eq!(site.world.drain(), []);
}

#[test]
fn promise_1_1_15_registering_is_idempotent() {
    let recorded = Recorded::new();
    for _ in 0..2 {
        assert_eq!(recorded.site.plane.receive(recorded.there, monitor_p(5, there(9), here(42))), Ok(()));
    }
    assert_eq!(recorded.site.plane.monitored_by(42).len(), 1);
    recorded.site.world.kill(42, &Reason::KILLED);
    assert_eq!(recorded.messages(), [exit_p(reference(5), there(9), here(42), Reason::KILLED)]);
}

#[test]
fn promise_1_1_16_removing_needs_all_three_fields_and_is_silent() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    plane.receive(recorded.there, monitor_p(5, there(9), here(42))).unwrap();
    for wrong in
        [demonitor_p(6, there(9), here(42)), demonitor_p(5, there(8), here(42)), demonitor_p(5, there(9), here(41))]
    {
        assert_eq!(plane.receive(recorded.there, wrong), Ok(()));
        assert_eq!(plane.monitored_by(42), [(reference(5), there(9))]);
    }
    assert_eq!(plane.receive(recorded.there, demonitor_p(5, there(9), here(42))), Ok(()));
    assert_eq!(plane.monitored_by(42), []);
    assert_eq!(plane.monitors_with(THERE), (0, 0));
    assert_eq!(recorded.messages(), []);
}

#[test]
fn promise_1_1_17_a_targets_registrations_come_once_in_their_order() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    for (number, target) in [(9, 42), (5, 43), (8, 42), (6, 43), (7, 42)] {
        plane.receive(recorded.there, monitor_p(number, there(number), here(target))).unwrap();
    }
    recorded.site.world.kill(42, &Reason::SHUTDOWN);
    let notices = [9, 8, 7].map(|number| exit_p(reference(number), there(number), here(42), Reason::SHUTDOWN));
    assert_eq!(recorded.messages(), notices);
    plane.exited(42, &Reason::SHUTDOWN);
    assert_eq!(recorded.messages(), []);
    assert_eq!(plane.monitored_by(43), [(reference(5), there(5)), (reference(6), there(6))]);
}

#[test]
fn promise_1_1_18_a_monitor_is_answered_once() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    let monitor = plane.monitor_remote(7, there(42)).unwrap();
    for _ in 0..2 {
        let notice = exit_p(monitor, here(7), there(42), Reason::KILLED);
        assert_eq!(plane.receive(recorded.there, notice), Ok(()));
    }
    let down = Down { watcher: 7, reference: monitor, target: there(42), reason: Reason::KILLED };
    assert_eq!(recorded.site.world.drain(), [down]);
    assert_eq!(plane.monitors_of(7), []);
}

#[test]
fn promise_1_1_19_a_lost_node_answers_its_monitors_once_and_no_others() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    plane.connected(ELSEWHERE, 1);
    let mut expected = Vec::new();
    for number in 0..1000 {
        let reference = plane.monitor_remote(number % 10, there(number)).unwrap();
        expected.push(Down { watcher: number % 10, reference, target: there(number), reason: Reason::NOCONNECTION });
        plane.monitor_remote(number % 10, elsewhere(number)).unwrap();
    }
    assert!(plane.disconnected(recorded.there));
    assert_eq!(recorded.site.world.drain(), expected, "in the order in which they were made");
    assert!(!plane.disconnected(recorded.there));
    assert_eq!(recorded.site.world.drain(), []);
    assert_eq!(plane.monitors_with(ELSEWHERE), (1000, 0));
    assert_eq!(plane.monitors_of(3).len(), 100);
}

#[test]
fn promise_1_1_20_a_lost_node_is_forgotten_as_a_watcher() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    let other = plane.connected(ELSEWHERE, 1);
    plane.receive(recorded.there, monitor_p(5, there(9), here(42))).unwrap();
    plane.receive(other, monitor_p(5, elsewhere(9), here(42))).unwrap();
    plane.disconnected(recorded.there);
    recorded.site.world.kill(42, &Reason::NORMAL);
    let sent = recorded.sent.drain();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].destination(), ELSEWHERE);
}

#[test]
fn promise_1_1_21_a_notice_has_the_watchers_reference_the_target_and_the_reason() {
    let recorded = Recorded::new();
    let watcher = RemotePid::new(THERE, 9, 3, 1);
    recorded.site.plane.receive(recorded.there, monitor_p(77, watcher, here(42))).unwrap();
    let reason = Reason::crash("a panic");
    recorded.site.world.kill(42, &reason);
    let notice = MonitorControlMessage::MonitorPExit { reference: reference(77), watcher, target: here(42), reason };
    assert_eq!(recorded.messages(), [notice]);
    assert_eq!(here(42).serial, 0);
}

#[test]
fn promise_1_1_22_a_panic_in_foreign_code_stops_nothing() {
    let panics = Arc::new(AtomicBool::new(true));
    let panicking = panics.clone();
    let site = Site::calling(move |_, _| {
        assert!(!panicking.load(Ordering::Relaxed), "the sender panics");
        Ok(())
    });
    let connection = site.plane.connected(THERE, 1);
    let plane = &site.plane;
    // A panic while the request is sent: no trace of the monitor remains.
    assert!(catch_unwind(AssertUnwindSafe(|| plane.monitor_remote(7, there(42)))).is_err());
    assert_eq!((plane.monitors_of(7), plane.monitors_with(THERE)), (Vec::new(), (0, 0)));
    panics.store(false, Ordering::Relaxed);
    let monitor = plane.monitor_remote(7, there(42)).unwrap();
    // A panic while the withdrawal is sent: the monitor is withdrawn.
    panics.store(true, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| plane.demonitor_remote(7, monitor))).is_err());
    assert!(!plane.demonitor_remote(7, monitor));
    assert_eq!(plane.monitors_with(THERE), (0, 0));
    // A panic while many watchers are notified of a death: the next call notifies the rest.
    panics.store(false, Ordering::Relaxed);
    for number in 0..10 {
        plane.receive(connection, monitor_p(number, there(number), here(42))).unwrap();
    }
    panics.store(true, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| site.world.kill(42, &Reason::NORMAL))).is_err());
    assert_eq!(plane.monitors_with(THERE), (0, 9));
    panics.store(false, Ordering::Relaxed);
    plane.resume();
    assert_eq!(plane.monitors_with(THERE), (0, 0));
}

/// The other calls of external code: a delivery, and a watch.
#[test]
fn promise_1_1_22_b_a_panic_in_a_delivery_or_a_watch_stops_nothing() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    for number in 0..10 {
        plane.monitor_remote(number, there(42)).unwrap();
    }
    let calls = AtomicUsize::new(0);
    let third_panics = move |_| assert!(calls.fetch_add(1, Ordering::Relaxed) != 2, "the delivery panics");
    assert!(recorded.site.world.on_down.set(Box::new(third_panics)).is_ok());
    assert!(catch_unwind(AssertUnwindSafe(|| plane.disconnected(recorded.there))).is_err());
    assert_eq!(recorded.site.world.drain().len(), 3);
    // The next call, of any kind, does the rest first.
    plane.connected(THERE, 1);
    let rest: Vec<u64> = recorded.site.world.drain().iter().map(|down| down.watcher).collect();
    assert_eq!(rest, [3, 4, 5, 6, 7, 8, 9]);

    let calls = AtomicUsize::new(0);
    let first_panics = move |_| assert!(calls.fetch_add(1, Ordering::Relaxed) != 0, "the watch panics");
    assert!(recorded.site.world.on_watch.set(Box::new(first_panics)).is_ok());
    assert!(catch_unwind(AssertUnwindSafe(|| plane.monitor_remote(99, there(1)))).is_err());
    assert_eq!(plane.monitors_with(THERE), (0, 0));
    let monitor = plane.monitor_remote(99, there(1)).unwrap();
    assert_eq!(plane.monitors_of(99), [(monitor, there(1))]);
    recorded.messages();
    recorded.site.world.kill(99, &Reason::NORMAL);
    assert_eq!(recorded.messages(), [demonitor_p(monitor.to_raw(), here(99), there(1))], "the watcher is watched");
}

#[test]
fn promise_1_1_23_process_code_sees_a_facility_mock_or_real() {
    fn program(facility: &Arc<dyn DistributionMonitorFacility>, caller: u64) -> (u64, bool, bool) {
        let reference = facility.monitor_remote(caller, there(42)).unwrap();
        (reference, facility.demonitor_remote(caller, reference), facility.demonitor_remote(caller, reference))
    }
    let mock = Arc::new(MockFacility::new(&[THERE]));
    let recorded = Recorded::new();
    let real: Arc<ControlPlane> = recorded.site.plane.clone();
    for facility in [mock.clone() as Arc<dyn DistributionMonitorFacility>, real] {
        assert_eq!(program(&facility, 7), (1 << 56, true, false));
        assert_eq!(facility.monitor_remote(7, elsewhere(1)), Err(MonitorError::NoConnection));
        thread::scope(|scope| {
            for caller in 0..4 {
                let facility = facility.clone();
                scope.spawn(move || assert!(facility.monitor_remote(caller, there(1)).is_ok()));
            }
        });
    }
    let calls = mock.drain();
    assert_eq!(calls[0], FacilityCall::MonitorRemote { caller: 7, target: there(42) });
    assert_eq!(calls[1], FacilityCall::DemonitorRemote { caller: 7, reference: 1 << 56 });
    assert_eq!(calls.len(), 8);
    assert_eq!(mock.drain(), []);
}

#[test]
fn promise_1_1_24_a_withdrawal_that_crosses_an_exit_wins() {
    let pair = Pair::new();
    let monitor = pair.left.plane.monitor_remote(7, there(42)).unwrap();
    pair.pump();
    // The exit notice and the withdrawal are in transit at once.
    pair.right.world.kill(42, &Reason::KILLED);
    assert!(pair.left.plane.demonitor_remote(7, monitor));
    assert!(pair.cable.is_busy());
    pair.pump();
    assert_eq!(pair.left.world.drain(), []);
    assert_eq!(pair.left.plane.monitors_with(THERE), (0, 0));
    assert_eq!(pair.right.plane.monitors_with(HERE), (0, 0));
    // A notice for a monitor unknown to the plane is dropped silently too.
    let recorded = Recorded::new();
    let late = exit_p(reference(1 << 56), here(7), there(42), Reason::NORMAL);
    assert_eq!(recorded.site.plane.receive(recorded.there, late), Ok::<(), ReceiveError>(()));
    assert_eq!(recorded.site.world.drain(), []);
}
