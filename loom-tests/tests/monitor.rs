//! Models of monitors on the whole kernel. Each monitor that is not removed gives exactly one DOWN,
//! with the reason of its target's death. A removed monitor gives none. No record is left over, in
//! any order of the deaths.
#![cfg(loom)]

use atropos_kernel::{Cx, Reason, Reference};
use atropos_loom::mutant;
use atropos_loom::platform::{Known, Mutation, Stage, act, ends, explore};
use atropos_loom::seen::{Event, Log, waiting};

const WHY: Reason = Reason::SHUTDOWN;

fn nothing(_: &Cx<'_, u8>) {}

fn downs(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Down(..))).count()
}

/// A monitor is made while its target dies. `behind`: a message of the watcher's precedes it, so
/// that the monitor takes the slow path.
fn made(behind: bool, tombstones: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = if tombstones { Stage::with_tombstones(2, mutation) } else { Stage::new(2, mutation) };
    let log = Log::new();
    let target = stage.start(1, ends(WHY));
    let monitors = move |cx: &Cx<'_, u8>| {
        if behind {
            let _ = cx.send(target, 1_u8);
        }
        cx.monitor(target).unwrap();
    };
    stage.start(0, act(&log, nothing, monitors));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let outcome = match &*log.downs() {
        [why] if *why == WHY => "its reason",
        [why] if *why == Reason::NOPROC => "noproc",
        other => panic!("exactly one DOWN: {other:?}"),
    };
    stage.end();
    outcome
}

/// A monitor is removed while its target dies. The result matches the signals: after `true` no DOWN
/// comes; after `false` one DOWN comes, unless it is flushed.
fn removed(flush: bool, model_flush: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, reference, answer) = (Log::new(), Known::<Reference>::new(), Known::new());
    let target = stage.start(1, ends(WHY));
    let monitors = {
        let reference = reference.clone();
        move |cx: &Cx<'_, u8>| reference.set(cx.monitor(target).unwrap())
    };
    let removes = {
        let (answer, crossing) = (answer.clone(), stage.crossing.clone());
        move |cx: &Cx<'_, u8>| {
            crossing.pass();
            // Fetches what has come, since `flush` acts on fetched signals.
            let before = downs(&waiting(cx));
            let in_force = cx.demonitor(reference.get().unwrap(), model_flush);
            answer.set((before, in_force));
        }
    };
    stage.start(0, act(&log, monitors, removes));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let (before, in_force) = answer.get().unwrap();
    assert_eq!(in_force, before == 0, "demonitor returns true if the monitor was in force");
    let expected = if flush { 0 } else { before };
    assert_eq!(log.downs().len(), expected, "only the DOWN that had come, if it was not flushed");
    let outcome = if in_force { "in time" } else { "too late" };
    stage.end();
    outcome
}

/// A monitor is made and removed again while its target dies. `behind` as in [`made`]: the request
/// is removed while it is in transit.
fn made_and_removed(behind: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let log = Log::new();
    let target = stage.start(1, ends(WHY));
    let monitors_and_removes = move |cx: &Cx<'_, u8>| {
        if behind {
            let _ = cx.send(target, 1_u8);
        }
        let reference = cx.monitor(target).unwrap();
        cx.demonitor(reference, true);
    };
    stage.start(0, act(&log, nothing, monitors_and_removes));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    assert_eq!(log.events(), [], "no signal, whether the target was alive or dead");
    assert_eq!(stage.kernel.nodes_used(), 0, "the monitor is released with the target");
    stage.end();
    "none"
}

/// A watcher dies while its target does. With `mutual` each watches the other.
fn both_die(mutual: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (first, second) = (Known::new(), Known::new());
    let monitors_and_ends = |other: Known<_>, monitors: bool| {
        let mut slice = 0;
        move |cx: &Cx<'_, u8>| {
            slice += 1;
            if slice == 1 {
                if monitors {
                    cx.monitor(other.get().unwrap()).unwrap();
                }
                return atropos_kernel::BodyPoll::Yield;
            }
            atropos_kernel::BodyPoll::Exit(WHY)
        }
    };
    first.set(stage.start(0, monitors_and_ends(second.clone(), true)));
    second.set(stage.start(1, monitors_and_ends(first.clone(), mutual)));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    for pid in [first.get().unwrap(), second.get().unwrap()] {
        assert_eq!(stage.died_of(pid), Some(WHY));
    }
    assert_eq!(stage.kernel.nodes_used(), 0, "the monitors are released with both processes");
    stage.end();
    "released"
}

/// A watcher has three monitors on one target and removes two, while the target dies. The second
/// removal sweeps the target's list. The third monitor gives one DOWN, even if the sweep held it
/// when the list was closed.
fn swept(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, references, answer) = (Log::new(), Known::<[Reference; 3]>::new(), Known::new());
    let target = stage.start(1, ends(WHY));
    let monitors = {
        let references = references.clone();
        move |cx: &Cx<'_, u8>| references.set([(); 3].map(|()| cx.monitor(target).unwrap()))
    };
    let removes = {
        let (references, answer, crossing) = (references.clone(), answer.clone(), stage.crossing.clone());
        move |cx: &Cx<'_, u8>| {
            crossing.pass();
            waiting(cx);
            let references = references.get().unwrap();
            answer.set([cx.demonitor(references[0], true), cx.demonitor(references[2], true)]);
        }
    };
    stage.start(0, act(&log, monitors, removes));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let kept = references.get().unwrap()[1];
    assert_eq!(log.events(), [Event::Down(kept, WHY)], "the monitor that stays gives one DOWN, the removed ones none");
    stage.end();
    match answer.get().unwrap() {
        [true, true] => "in time",
        _ => "too late",
    }
}

/// One watcher's removal sweeps the list while another watcher adds itself to it and the target
/// dies: three cores.
fn swept_and_made(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(3, mutation);
    let (log, other_log, references) = (Log::new(), Log::new(), Known::<[Reference; 2]>::new());
    let target = stage.start(1, ends(WHY));
    let monitors = {
        let references = references.clone();
        move |cx: &Cx<'_, u8>| references.set([(); 2].map(|()| cx.monitor(target).unwrap()))
    };
    let removes = move |cx: &Cx<'_, u8>| {
        for reference in references.get().unwrap() {
            cx.demonitor(reference, true);
        }
    };
    stage.start(0, act(&log, monitors, removes));
    stage.start(2, act(&other_log, nothing, move |cx| assert!(cx.monitor(target).is_ok())));
    for core in 0..3 {
        stage.run(core, 1);
    }
    stage.race(&[1, 1, 1]);
    stage.settle();
    assert_eq!(log.events(), [], "removed");
    let outcome = match &*other_log.downs() {
        [why] if *why == WHY => "its reason",
        [why] if *why == Reason::NOPROC => "noproc",
        other => panic!("exactly one DOWN: {other:?}"),
    };
    stage.end();
    outcome
}

#[test]
fn protocol() {
    let reasons = ["its reason", "noproc"];
    explore("monitor || exit", Some(2), &reasons, || made(false, false, None));
    explore("monitor behind a message || exit", Some(2), &reasons, || made(true, false, None));
    explore("monitor || exit, with tombstones", Some(2), &["its reason"], || made(false, true, None));
    explore("monitor behind a message || exit, tombstones", Some(2), &["its reason"], || made(true, true, None));
    explore("demonitor || exit", Some(2), &["in time", "too late"], || removed(false, false, None));
    explore("demonitor with flush || exit", Some(2), &["in time", "too late"], || removed(true, true, None));
    explore("monitor, demonitor || exit", Some(2), &["none"], || made_and_removed(false, None));
    explore("monitor and demonitor behind a message || exit", Some(2), &["none"], || made_and_removed(true, None));
    explore("watcher's death || target's death", Some(2), &["released"], || both_die(false, None));
    explore("mutual watchers' deaths", Some(2), &["released"], || both_die(true, None));
    explore("demonitor twice and sweep || exit", Some(2), &["in time", "too late"], || swept(None));
    explore("sweep || monitor || exit", Some(2), &reasons, || swept_and_made(None));
}

#[test]
fn mutants() {
    let wrong = |name, mutation, f: fn(Option<Mutation>) -> &'static str| {
        mutant(name, Some(2), move || _ = f(Some(mutation)));
    };
    wrong("monitor, a refusal that is ignored", Mutation::RefusedIsPlaced, |m| made(false, false, m));
    wrong("monitor, late requests dropped", Mutation::LateIsDropped, |m| made(true, false, m));
    wrong("monitor, the reason after the close", Mutation::ReasonLast, |m| made(false, true, m));
    wrong("monitor, fired though cancelled", Mutation::FiresAnyway, |m| removed(false, false, m));
    mutant("monitor, no flush", Some(2), || _ = removed(true, false, None));
    wrong("monitor, a refused DOWN is kept", Mutation::RefusedIsKept, |m| both_die(false, m));
    wrong("monitor, a sweep that drops what it holds", Mutation::SweepForgets, swept);
}
