//! Models of links and monitors made at a spawn. No child outlives a parent to which it was linked
//! at its spawn, and a parent is notified of a child that dies right after its spawn.
#![cfg(loom)]

use atropos_kernel::{BodyPoll, Cx, Pid, Reason, SpawnOptions};
use atropos_loom::host::body;
use atropos_loom::mutant;
use atropos_loom::platform::{Known, Stage, act, explore, waits};
use atropos_loom::seen::{Event, Log};

const WHY: Reason = Reason::SHUTDOWN;

fn nothing(_: &Cx<'_, u8>) {}

/// A parent starts a linked child while the parent is killed: no orphan is left. `tied`: linked by
/// the spawn; otherwise linked as soon as possible after it.
fn parent_dies(tied: bool) -> &'static str {
    let mut stage = Stage::new(2, None);
    let child = Known::<Pid>::new();
    let mut slice = 0;
    let parent = {
        let child = child.clone();
        stage.start(0, move |cx| {
            slice += 1;
            let options = SpawnOptions::new().core(1);
            match slice {
                1 => return BodyPoll::Yield,
                2 if tied => child.set(cx.spawn(&options.link(), body(waits)).unwrap().pid),
                2 => {
                    child.set(cx.spawn(&options, body(waits)).unwrap().pid);
                    return BodyPoll::Yield;
                }
                3 if !tied => assert_eq!(cx.link(child.get().unwrap()), Ok(())),
                _ => {}
            }
            BodyPoll::Wait
        })
    };
    // After the kill the core may run the child.
    stage.start(1, act(&Log::new(), nothing, move |cx| assert_eq!(cx.exit(parent, Reason::KILL), Ok(()))));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 2]);
    stage.settle();
    assert_eq!(stage.died_of(parent), Some(Reason::KILLED));
    let outcome = match child.get().map(|child| stage.died_of(child)) {
        None => "never born",
        Some(Some(why)) if why == Reason::KILLED => "died with it",
        Some(other) => panic!("an orphan: {other:?}"),
    };
    stage.end();
    outcome
}

/// A child dies right after its spawn: its parent, which traps exits, receives one EXIT by its link
/// and one DOWN by its monitor. `tied`: attached by the spawn; otherwise as soon as possible after
/// it.
fn child_dies(tied: bool) -> &'static str {
    let mut stage = Stage::new(2, None);
    let (log, child) = (Log::new(), Known::<Pid>::new());
    let spawns = {
        let (child, crossing) = (child.clone(), stage.crossing.clone());
        move |cx: &Cx<'_, u8>| {
            let options = SpawnOptions::new().core(1);
            let options = if tied { options.link().monitor() } else { options };
            let spawned = cx.spawn(&options, body(|_: &Cx<'_, u8>| BodyPoll::Exit(WHY))).unwrap();
            assert_eq!(spawned.monitor.is_some(), tied);
            child.set(spawned.pid);
            crossing.pass();
            if !tied {
                assert_eq!(cx.link(spawned.pid), Ok(()));
                assert!(cx.monitor(spawned.pid).is_ok());
            }
        }
    };
    stage.start_trapping(0, act(&log, nothing, spawns));
    stage.run(0, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let events = log.events();
    let told = matches!(&events[..], [Event::Exit(from, exit), Event::Down(_, down)]
        if *from == child.get() && [exit, down] == [&WHY, &WHY]);
    assert!(told, "one EXIT and one DOWN, with the reason: {events:?}");
    stage.end();
    "notified"
}

#[test]
fn protocol() {
    explore("spawn linked || the parent is killed", Some(2), &["never born", "died with it"], || parent_dies(true));
    explore("spawn linked and monitored, the child dies", Some(2), &["notified"], || child_dies(true));
}

#[test]
fn mutants() {
    mutant("link, after the spawn: an orphan", Some(2), || _ = parent_dies(false));
    mutant("link, after the spawn: another reason", Some(2), || _ = child_dies(false));
}
