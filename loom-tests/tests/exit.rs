//! Models of exits on the whole kernel. Of all the ways in which a process may end at the same
//! moment one wins, and every notified process receives that reason. A kill is never lost.
#![cfg(loom)]

use std::sync::{Arc, Mutex};
use std::task::Waker;

use atropos_kernel::{BodyPoll, Cx, Reason};
use atropos_loom::mutant;
use atropos_loom::platform::{Mutation, Stage, act, ends, explore};
use atropos_loom::seen::Log;

const OWN: Reason = Reason::OUT_OF_MEMORY;
const TOLD: Reason = Reason::SHUTDOWN;

/// A constructor of the kernel: with memory for kills, or without.
type Make = fn(usize, Option<Mutation>) -> Stage;
const WITH: Make = Stage::new;
const WITHOUT: Make = Stage::without_memory;

fn nothing(_: &Cx<'_, u8>) {}

fn named(reason: &Reason) -> &'static str {
    match reason {
        reason if *reason == OWN => "its own",
        reason if *reason == TOLD => "the exit signal's",
        reason if *reason == Reason::KILLED => "killed",
        other => panic!("no thread gave this reason: {other:?}"),
    }
}

/// A process returns while another sends it an exit; with `kill` the host kills it as well. Its
/// tombstone, its link and its monitor report the same reason.
fn one_reason(kill: bool, make: Make, mutation: Option<Mutation>) -> &'static str {
    let mut stage = make(2, mutation);
    let log = Log::new();
    let target = stage.start(1, ends(OWN));
    let observer = log.clone();
    let mut tied = false;
    stage.start_trapping(0, move |cx| {
        if !std::mem::replace(&mut tied, true) {
            assert_eq!(cx.link(target), Ok(()));
            assert!(cx.monitor(target).is_ok());
        }
        observer.look(cx);
        BodyPoll::Wait
    });
    let tells = move |cx: &Cx<'_, u8>| assert_eq!(cx.exit(target, TOLD), Ok(()));
    stage.start(0, act(&Log::new(), nothing, tells));
    stage.run(0, 2);
    stage.run(1, 1);
    if kill {
        stage.race_host(&[1, 1], move |host| assert!(host.exit(target, Reason::KILL).is_ok()));
    } else {
        stage.race(&[1, 1]);
    }
    stage.settle();
    let reason = stage.died_of(target).expect("the target ends in any case");
    assert_eq!(log.exits(target), std::slice::from_ref(&reason), "one EXIT, and its reason");
    assert_eq!(log.downs(), std::slice::from_ref(&reason), "one DOWN, and its reason");
    stage.end();
    named(&reason)
}

/// A process that would live is killed while it receives an exit `normal`, which it ignores, and
/// while its waker is called. Without memory the waker and the kill share a node, and the kill is
/// not lost.
fn kill_and_wake(make: Make, mutation: Option<Mutation>) -> &'static str {
    let mut stage = make(2, mutation);
    let (waker, log) = (Arc::new(Mutex::new(None::<Waker>)), Log::new());
    let keeps = {
        let waker = waker.clone();
        move |cx: &Cx<'_, u8>| *waker.lock().unwrap() = Some(cx.waker())
    };
    let target = stage.start(1, act(&log, keeps, nothing));
    stage.start(0, act(&Log::new(), nothing, move |cx| assert_eq!(cx.exit(target, Reason::KILL), Ok(()))));
    stage.run(0, 1);
    stage.run(1, 1);
    let waker = waker.lock().unwrap().take().unwrap();
    stage.race_host(&[1, 1], move |_| waker.wake());
    stage.settle();
    assert_eq!(
        stage.died_of(target),
        Some(Reason::KILLED),
        "the kill is handled, whether the killer or the waker pushed the node"
    );
    stage.end();
    "killed"
}

/// Two threads kill a sleeping process: it dies once, and only one of them queues it.
fn kill_twice(make: Make, mutation: Option<Mutation>) -> &'static str {
    let mut stage = make(2, mutation);
    let log = Log::new();
    let mut slept = 0;
    let target = stage.start_trapping(1, move |_| {
        slept += 1;
        assert_eq!(slept, 1, "a kill does not resume it");
        BodyPoll::Wait
    });
    let mut watches = false;
    let observer = log.clone();
    stage.start(0, move |cx| {
        if !std::mem::replace(&mut watches, true) {
            assert!(cx.monitor(target).is_ok());
        }
        observer.look(cx);
        BodyPoll::Wait
    });
    stage.start(0, act(&Log::new(), nothing, move |cx| assert_eq!(cx.exit(target, Reason::KILL), Ok(()))));
    stage.run(1, 1);
    stage.run(0, 2);
    stage.race_host(&[1, 0], move |host| assert!(host.exit(target, Reason::KILL).is_ok()));
    stage.settle();
    assert_eq!(log.downs(), [Reason::KILLED]);
    stage.end();
    "killed"
}

#[test]
fn protocol() {
    let reasons = ["its own", "the exit signal's", "killed"];
    explore("exit || return", Some(2), &reasons[..2], || one_reason(false, WITH, None));
    explore("kill || exit || return", Some(2), &reasons, || one_reason(true, WITH, None));
    explore("kill || wake || sleep", Some(2), &["killed"], || kill_and_wake(WITH, None));
    explore("kill || kill", Some(2), &["killed"], || kill_twice(WITH, None));
    explore("kill || exit || return, no memory", Some(2), &reasons, || one_reason(true, WITHOUT, None));
    explore("kill || wake || sleep, no memory", Some(2), &["killed"], || kill_and_wake(WITHOUT, None));
    explore("kill || kill, no memory", Some(2), &["killed"], || kill_twice(WITHOUT, None));
}

#[test]
fn mutants() {
    let wrong = |name, mutation, f: fn(Make, Option<Mutation>) -> &'static str| {
        mutant(name, Some(2), move || _ = f(WITHOUT, Some(mutation)));
    };
    wrong("exit, links get a kill that came later", Mutation::TellsTheKill, |make, m| one_reason(true, make, m));
    wrong("exit, a kill that wakes first", Mutation::FlagLast, kill_and_wake);
    wrong("exit, the flag is cleared Relaxed", Mutation::WakingRelaxed, kill_and_wake);
    wrong("exit, sleeps on a kill", Mutation::SleepsAnyway, kill_and_wake);
}
