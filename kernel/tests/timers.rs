//! Issue 14, item 21: any process, and the host, cancels and reads a timer by its reference, as in
//! OTP. The answer is exact, and no process has to run for it. Stepped: the order of events is
//! fixed.
#![cfg(feature = "epoch")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{BodyPoll, Cx, Limits, Options, Pid, Reason, Received, Reference, SpawnOptions};
use common::{Stage, does};

const SECOND: Duration = Duration::from_secs(1);

type Place<T> = Arc<Mutex<Option<T>>>;
type Heard = Arc<Mutex<Vec<u8>>>;

fn stage(cores: usize) -> Stage {
    Stage::new(Options { cores, ..Options::default() })
}

/// Starts a process on a core that acts in its first slice, and then records the messages it
/// receives.
fn process(stage: &mut Stage, core: usize, act: impl FnOnce(&Cx<'_, u8>) + Send + 'static) -> (Pid, Heard) {
    let (heard, mut act) = (Heard::default(), Some(act));
    let notes = heard.clone();
    let body = does(move |cx: &Cx<'_, u8>| {
        if let Some(act) = act.take() {
            act(cx);
        }
        while let Some(received) = cx.receive() {
            if let Received::Message(message) | Received::Timer { message, .. } = received {
                notes.lock().unwrap().push(message);
            }
        }
        BodyPoll::Wait
    });
    let pid = stage.host().spawn(&SpawnOptions::new().core(core), body).unwrap().pid;
    stage.settle();
    (pid, heard)
}

/// Returns the result of another process that cancels the timer, or reads it.
fn another(stage: &mut Stage, core: usize, timer: Reference, cancels: bool) -> Option<Duration> {
    let found = Arc::new(Mutex::new(None));
    let notes = found.clone();
    process(stage, core, move |cx| {
        *notes.lock().unwrap() = Some(if cancels { cx.cancel_timer(timer) } else { cx.read_timer(timer) });
    });
    let found = found.lock().unwrap().take();
    found.expect("it has run")
}

/// Starts a timer in a process on core 0, for this process or for another.
fn started(stage: &mut Stage, to: Option<Pid>, after: Duration) -> (Pid, Heard, Reference) {
    let place: Place<Reference> = Arc::default();
    let puts = place.clone();
    let (pid, heard) = process(stage, 0, move |cx| {
        *puts.lock().unwrap() = Some(cx.send_after(to.unwrap_or(cx.pid()), after, 7_u8).unwrap());
    });
    let timer = place.lock().unwrap().take().unwrap();
    (pid, heard, timer)
}

#[test]
fn n21_another_process_reads_and_cancels() {
    for core in [0, 1] {
        let mut stage = stage(2);
        let (_, heard, timer) = started(&mut stage, None, 4 * SECOND);
        stage.pass(SECOND);
        assert_eq!(another(&mut stage, core, timer, false), Some(3 * SECOND));
        assert_eq!(another(&mut stage, core, timer, true), Some(3 * SECOND), "exact");
        assert_eq!(another(&mut stage, core, timer, true), None, "a timer is cancelled only once");
        assert_eq!(another(&mut stage, core, timer, false), None);
        stage.pass(9 * SECOND);
        assert!(heard.lock().unwrap().is_empty(), "cancelled");
    }
}

#[test]
fn n21_the_host_reads_and_cancels() {
    let mut stage = stage(1);
    let (_, heard, timer) = started(&mut stage, None, 4 * SECOND);
    stage.pass(SECOND);
    assert_eq!(stage.host().read_timer(timer), Some(3 * SECOND));
    assert_eq!(stage.host().cancel_timer(timer), Some(3 * SECOND));
    assert_eq!((stage.host().read_timer(timer), stage.host().cancel_timer(timer)), (None, None));
    stage.pass(9 * SECOND);
    assert!(heard.lock().unwrap().is_empty());
}

#[test]
fn n21_starter_is_dead() {
    let mut stage = stage(2);
    let (target, heard) = process(&mut stage, 1, |_| {});
    let (starter, _, cancelled) = started(&mut stage, Some(target), 4 * SECOND);
    let (too, _, comes) = started(&mut stage, Some(target), 4 * SECOND);
    for pid in [starter, too] {
        stage.host().exit(pid, Reason::KILL).unwrap();
    }
    stage.settle();
    assert_eq!(another(&mut stage, 0, cancelled, false), Some(4 * SECOND));
    assert_eq!(stage.host().cancel_timer(cancelled), Some(4 * SECOND));
    assert_eq!(another(&mut stage, 0, comes, false), Some(4 * SECOND));
    stage.pass(5 * SECOND);
    assert_eq!(*heard.lock().unwrap(), [7], "only the other timer fires");
    assert_eq!(stage.host().read_timer(comes), None);
}

/// A timer whose starter is dead, and which is on no list, is freed by the end of its core.
/// AddressSanitizer detects a read of the freed record.
#[test]
fn n10_a_timer_that_only_its_wheel_keeps_ends_with_its_core() {
    let mut stage = stage(1);
    let (target, _) = process(&mut stage, 0, |cx| cx.register("target", cx.pid()).unwrap());
    let (starter, _) = process(&mut stage, 0, |cx| {
        cx.send_after("target", 4 * SECOND, 7_u8).unwrap();
    });
    stage.host().exit(starter, Reason::KILL).unwrap();
    stage.settle();
    assert!(stage.host().is_alive(target) && !stage.host().is_alive(starter));
    drop(stage);
}

/// A timer whose process is in the middle of its slice and does not end it is cancelled
/// nevertheless.
#[test]
fn n21_no_process_is_queried() {
    let mut stage = stage(1);
    let (target, _) = process(&mut stage, 0, |_| {});
    let (kernel, said) = (stage.kernel.clone(), Arc::new(Mutex::new(Vec::new())));
    let notes = said.clone();
    process(&mut stage, 0, move |cx| {
        let timer = cx.send_after(target, SECOND, 7_u8).unwrap();
        std::thread::spawn(move || {
            let participant = kernel.register();
            let host = atropos_kernel::Host::new(&kernel, &participant);
            let read = host.read_timer(timer);
            *notes.lock().unwrap() = vec![read, host.cancel_timer(timer), host.read_timer(timer)];
        })
        .join()
        .unwrap();
        assert_eq!((cx.read_timer(timer), cx.cancel_timer(timer)), (None, None), "the result is visible here at once");
    });
    assert_eq!(*said.lock().unwrap(), [Some(SECOND), Some(SECOND), None]);
}

#[test]
fn n21_ended_timer_cannot_be_read_or_cancelled() {
    let mut stage = stage(1);
    // The timer has fired, and its message is unread or read.
    let (pid, heard, timer) = started(&mut stage, None, SECOND);
    stage.pass(2 * SECOND);
    assert_eq!(*heard.lock().unwrap(), [7]);
    assert_eq!((stage.host().read_timer(timer), stage.host().cancel_timer(timer)), (None, None));
    // The target is dead.
    let (target, _) = process(&mut stage, 0, |_| {});
    let (_, _, ended) = started(&mut stage, Some(target), SECOND);
    stage.host().exit(target, Reason::KILL).unwrap();
    stage.settle();
    assert_eq!((stage.host().read_timer(ended), stage.host().cancel_timer(ended)), (None, None));
    // A reference that does not belong to a timer, or was never given out.
    let monitor: Place<Reference> = Arc::default();
    let puts = monitor.clone();
    process(&mut stage, 0, move |cx| *puts.lock().unwrap() = Some(cx.monitor(pid).unwrap()));
    let monitor = monitor.lock().unwrap().take().unwrap();
    for raw in [monitor.to_raw(), timer.to_raw() + 1, timer.to_raw() ^ 1 << 40, (1 << 56) - 1, 1 << 55, 1] {
        let reference = Reference::from_raw(raw).unwrap();
        assert_eq!((stage.host().read_timer(reference), stage.host().cancel_timer(reference)), (None, None), "{raw:x}");
    }
}

/// A slot is reused, its name is not.
#[test]
fn n21_slot_is_reused_under_another_name() {
    let mut stage = stage(1);
    let (_, heard, first) = started(&mut stage, None, SECOND);
    let mut names = vec![first];
    stage.host().cancel_timer(first).unwrap();
    for _ in 0..50 {
        let (_, _, next) = started(&mut stage, None, SECOND);
        for old in &names {
            assert_ne!(*old, next);
            assert_eq!(stage.host().cancel_timer(*old), None);
        }
        assert_eq!(stage.host().read_timer(next), Some(SECOND));
        stage.host().cancel_timer(next).unwrap();
        names.push(next);
    }
    stage.pass(9 * SECOND);
    assert!(heard.lock().unwrap().is_empty());
}

/// Only time wakes a sleeping process: its alarm is not a timer that other processes can cancel.
#[test]
fn n21_alarm_belongs_to_its_process() {
    let mut stage = stage(1);
    let (place, rang): (Place<Reference>, _) = (Arc::default(), Arc::new(Mutex::new(false)));
    let (puts, rings) = (place.clone(), rang.clone());
    let mut alarm = None;
    let sleeps = does(move |cx: &Cx<'_, u8>| {
        let alarm = *alarm.get_or_insert_with(|| cx.alarm(SECOND).unwrap());
        *puts.lock().unwrap() = Some(alarm);
        *rings.lock().unwrap() = !cx.has_timer(alarm);
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new(), sleeps).unwrap();
    stage.settle();
    let alarm = place.lock().unwrap().take().unwrap();
    assert_eq!((stage.host().read_timer(alarm), stage.host().cancel_timer(alarm)), (None, None));
    assert_eq!(another(&mut stage, 0, alarm, true), None);
    assert!(!*rang.lock().unwrap());
    stage.pass(2 * SECOND);
    assert!(*rang.lock().unwrap());
}

/// A timer for a process that has not run since is still in transit, and is read and cancelled
/// there.
#[test]
fn n21_timer_in_transit() {
    let mut stage = stage(1);
    let (caller, heard) = process(&mut stage, 0, |_| {});
    let start = |stage: &Stage| stage.host().act_as(caller, |acting| acting.send_after(caller, SECOND, 7_u8)).unwrap();
    let (cancelled, comes) = (start(&stage), start(&stage));
    assert_eq!(stage.host().read_timer(cancelled), Some(SECOND));
    assert_eq!(stage.host().cancel_timer(cancelled), Some(SECOND));
    assert_eq!((stage.host().read_timer(cancelled), stage.host().cancel_timer(cancelled)), (None, None));
    stage.settle();
    assert_eq!(stage.host().read_timer(comes), Some(SECOND));
    stage.pass(2 * SECOND);
    assert_eq!(*heard.lock().unwrap(), [7]);
    // A timer whose process dies before it has it, after another timer of it was cancelled.
    let (caller, _) = process(&mut stage, 0, |_| {});
    let start = |stage: &Stage| stage.host().act_as(caller, |acting| acting.send_after(caller, SECOND, 7_u8)).unwrap();
    let (cancelled, dies) = (start(&stage), start(&stage));
    stage.host().cancel_timer(cancelled).unwrap();
    stage.host().exit(caller, Reason::KILL).unwrap();
    stage.settle();
    assert_eq!((stage.host().read_timer(dies), stage.host().cancel_timer(dies)), (None, None));
}

/// A timer that another process cancels frees its slot, even if the limit was reached.
#[test]
fn n21_slots_are_returned() {
    // The target's list keeps cancelled timers until it is swept, at 64.
    let limits = Limits { timers: 2, nodes: 100, ..Limits::default() };
    let mut stage = Stage::new(Options { cores: 1, limits, ..Options::default() });
    let (target, _) = process(&mut stage, 0, |_| {});
    for _ in 0..150 {
        let (starter, _, one) = started(&mut stage, Some(target), SECOND);
        let (other_starter, _, other) = started(&mut stage, None, SECOND);
        assert!(stage.host().cancel_timer(one).is_some() && stage.host().cancel_timer(other).is_some());
        stage.settle();
        for pid in [starter, other_starter] {
            stage.host().exit(pid, Reason::KILL).unwrap();
        }
        stage.settle();
    }
    stage.host().exit(target, Reason::KILL).unwrap();
    stage.settle();
    assert_eq!((stage.kernel.process_count(), stage.kernel.nodes_used()), (0, 0));
}
