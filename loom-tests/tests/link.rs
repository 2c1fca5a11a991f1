//! Models of links on the whole kernel where only one side acts: at most one EXIT for each link,
//! and none after unlink has returned. In `link_both` both sides act. `birth` has the links made by
//! a spawn.
#![cfg(loom)]

use atropos_kernel::internals::config::SWEEP_AT_LEAST;
use atropos_kernel::{BodyPoll, Cx, LinkError, Pid, Reason};
use atropos_loom::mutant;
use atropos_loom::platform::{Known, Mutation, Stage, act, ends, explore};
use atropos_loom::seen::{Event, Log, waiting};

const WHY: Reason = Reason::SHUTDOWN;

fn nothing(_: &Cx<'_, u8>) {}

/// A link is made while the other side dies. `behind`: a message of the initiator's precedes the
/// link, so that the link takes the slow path.
fn made(behind: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let log = Log::new();
    let target = stage.start(1, ends(WHY));
    let links = move |cx: &Cx<'_, u8>| {
        if behind {
            let _ = cx.send(target, 1_u8);
        }
        assert_eq!(cx.link(target), Ok(()));
    };
    stage.start_trapping(0, act(&log, nothing, links));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let outcome = match &*log.exits(target) {
        [why] if *why == WHY => "its reason",
        [why] if *why == Reason::NOPROC => "noproc",
        other => panic!("exactly one EXIT: {other:?}"),
    };
    stage.end();
    outcome
}

/// The same, and the initiator does not trap exits: the call returns an error, or the initiator
/// dies of the link.
fn made_not_trapping(why: Reason) -> &'static str {
    let mut stage = Stage::new(2, None);
    let (log, answer) = (Log::new(), Known::new());
    let target = stage.start(1, ends(why.clone()));
    let links = {
        let answer = answer.clone();
        move |cx: &Cx<'_, u8>| answer.set(cx.link(target))
    };
    let maker = stage.start(0, act(&log, nothing, links));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let outcome = match (answer.get().unwrap(), stage.died_of(maker)) {
        (Err(LinkError::NoProc), None) => "error",
        (Ok(()), Some(dead)) if dead == why && !why.is_normal() => "died with it",
        (Ok(()), None) if why.is_normal() => "outlived it",
        other => panic!("an error, or a link: {other:?}"),
    };
    stage.end();
    outcome
}

/// A link is removed while the other side dies. `by_other`: the other side made it. An EXIT that
/// had come before stays in the mailbox.
fn unlink(by_other: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, before, me, other) = (Log::new(), Known::new(), Known::<Pid>::new(), Known::<Pid>::new());
    let cuts = {
        let (before, other, crossing) = (before.clone(), other.clone(), stage.crossing.clone());
        move |cx: &Cx<'_, u8>| {
            crossing.pass();
            before.set(waiting(cx).len());
            cx.unlink(other.get().unwrap());
        }
    };
    let links = {
        let other = other.clone();
        move |cx: &Cx<'_, u8>| {
            if !by_other {
                assert_eq!(cx.link(other.get().unwrap()), Ok(()));
            }
        }
    };
    me.set(stage.start_trapping(0, act(&log, links, cuts)));
    let mut end = ends(WHY);
    let maker = me.clone();
    other.set(stage.start(1, move |cx| {
        let resumed = end(cx);
        if by_other && matches!(resumed, BodyPoll::Yield) {
            assert_eq!(cx.link(maker.get().unwrap()), Ok(()));
        }
        resumed
    }));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let before = before.get().unwrap();
    assert_eq!(log.exits(other.get().unwrap()).len(), before, "after unlink has returned no EXIT comes");
    let outcome = if before == 0 { "in time" } else { "too late" };
    stage.end();
    outcome
}

/// The same, and the process that unlinks does not trap exits: once it has unlinked, it lives.
fn cut_not_trapping(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, cut) = (Log::new(), Known::new());
    let target = stage.start(1, ends(WHY));
    let cuts = {
        let (cut, crossing) = (cut.clone(), stage.crossing.clone());
        move |cx: &Cx<'_, u8>| {
            crossing.pass();
            waiting(cx);
            cx.unlink(target);
            cut.set(!cx.is_dying());
        }
    };
    let maker = stage.start(0, act(&log, move |cx| assert_eq!(cx.link(target), Ok(())), cuts));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let outcome = match (cut.get(), stage.died_of(maker)) {
        (Some(true), None) => "in time",
        (Some(false) | None, Some(why)) if why == WHY => "died of it",
        other => panic!("the process unlinks and lives, or dies of the link: {other:?}"),
    };
    stage.end();
    outcome
}

/// A link is made and removed again while the other side dies. `behind` as in [`made`]: the request
/// is removed while it is in transit.
fn made_and_cut(behind: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let log = Log::new();
    let target = stage.start(1, ends(WHY));
    let links_and_cuts = move |cx: &Cx<'_, u8>| {
        if behind {
            let _ = cx.send(target, 1_u8);
        }
        assert_eq!(cx.link(target), Ok(()));
        cx.unlink(target);
    };
    stage.start_trapping(0, act(&log, nothing, links_and_cuts));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    assert_eq!(log.events(), [], "no signal, whether the target was alive or dead");
    assert_eq!(stage.kernel.nodes_used(), 0, "the link is released with the target");
    stage.end();
    "none"
}

/// A process links to another and unlinks until the target is asked to sweep its list, while the
/// target runs. No removed link stays on the list of a live process.
fn cut_often(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let other = stage.start(1, act(&Log::new(), nothing, nothing));
    let links_and_cuts = move |cx: &Cx<'_, u8>| {
        for _ in 0..SWEEP_AT_LEAST {
            assert_eq!(cx.link(other), Ok(()));
            cx.unlink(other);
        }
    };
    stage.start_trapping(0, act(&Log::new(), nothing, links_and_cuts));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    assert_eq!(stage.died_of(other), None);
    assert_eq!(stage.kernel.nodes_used(), 0, "the removed links are released, though both processes live");
    stage.end();
    "released"
}

/// The initiator of a link dies right away, while the other side runs: the request and the EXIT may
/// be in transit together (K3).
fn maker_dies(behind: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, seen) = (Log::new(), Known::new());
    let looks = {
        let seen = seen.clone();
        move |cx: &Cx<'_, u8>| seen.set(waiting(cx).len())
    };
    let other = stage.start_trapping(0, act(&log, nothing, looks));
    let mut ran = false;
    let maker = stage.start(1, move |cx| {
        if !std::mem::replace(&mut ran, true) {
            return BodyPoll::Yield;
        }
        if behind {
            assert!(cx.send(other, 1_u8).is_ok());
        }
        assert_eq!(cx.link(other), Ok(()));
        BodyPoll::Exit(WHY)
    });
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let mut expected = vec![Event::Exit(Some(maker), WHY)];
    if behind {
        expected.insert(0, Event::Message(1));
    }
    assert_eq!(log.events(), expected, "one EXIT, after what was sent before");
    stage.end();
    if seen.get() == Some(expected.len()) { "seen" } else { "not yet" }
}

#[test]
fn protocol() {
    let reasons = ["its reason", "noproc"];
    explore("link || exit", Some(2), &reasons, || made(false, None));
    explore("link behind a message || exit", Some(2), &reasons, || made(true, None));
    explore("link || exit, not trapping", Some(2), &["error", "died with it"], || made_not_trapping(WHY));
    explore("link || exit normal", Some(2), &["error", "outlived it"], || made_not_trapping(Reason::NORMAL));
    explore("unlink || exit", Some(2), &["in time", "too late"], || unlink(false, None));
    explore("unlink of the other side's link || exit", Some(2), &["in time", "too late"], || unlink(true, None));
    explore("unlink || exit, not trapping", Some(2), &["in time", "died of it"], || cut_not_trapping(None));
    explore("link, unlink || exit", Some(2), &["none"], || made_and_cut(false, None));
    explore("link and unlink behind a message || exit", Some(2), &["none"], || made_and_cut(true, None));
    explore("link and unlink, twice || the other side runs", Some(2), &["released"], || cut_often(None));
    explore("link, exit || the other side runs", Some(2), &["seen", "not yet"], || maker_dies(false, None));
    explore("message, link, exit || the other side runs", Some(2), &["seen", "not yet"], || maker_dies(true, None));
}

#[test]
fn mutants() {
    let wrong = |name, mutation, f: fn(Option<Mutation>) -> &'static str| {
        mutant(name, Some(2), move || _ = f(Some(mutation)));
    };
    wrong("link, a refusal that is ignored", Mutation::RefusedIsPlaced, |m| made(false, m));
    wrong("link, late requests dropped", Mutation::LateIsDropped, |m| made(true, m));
    wrong("link, fired though removed", Mutation::FiresAnyway, |m| unlink(false, m));
    wrong("link, an ignored EXIT is accepted", Mutation::WithdrawnIsWelcome, |m| unlink(true, m));
    wrong("link, an ignored EXIT kills", Mutation::WithdrawnIsWelcome, cut_not_trapping);
    wrong("link, sleeps on a wake", Mutation::SleepsAnyway, cut_often);
}
