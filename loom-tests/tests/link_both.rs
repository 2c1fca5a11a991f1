//! Models of links that both sides make, or both sides end, at the same time: one link, made by
//! either side, and one EXIT from it.
#![cfg(loom)]

use atropos_kernel::{BodyPoll, Cx, Pid, Reason};
use atropos_loom::mutant;
use atropos_loom::platform::{Known, Mutation, Stage, act, ends, explore};
use atropos_loom::seen::{Log, waiting};

const WHY: Reason = Reason::SHUTDOWN;

fn nothing(_: &Cx<'_, u8>) {}

/// Both sides link at the same time. `unlink`: the first side removes at once the link that it has
/// made. Afterwards both sides are linked or neither is, and a death gives one EXIT or none.
fn both_link(unlink: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, other) = (Log::new(), Known::<Pid>::new());
    let links = {
        let other = other.clone();
        move |cx: &Cx<'_, u8>| {
            assert_eq!(cx.link(other.get().unwrap()), Ok(()));
            if unlink {
                cx.unlink(other.get().unwrap());
            }
        }
    };
    let first = stage.start_trapping(0, act(&log, nothing, links));
    let mut slice = 0;
    other.set(stage.start(1, move |cx| {
        slice += 1;
        match slice {
            1 => return BodyPoll::Yield,
            2 => assert_eq!(cx.link(first), Ok(())),
            _ => return BodyPoll::Exit(WHY),
        }
        BodyPoll::Wait
    }));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let other = other.get().unwrap();
    let linked = stage.links(first).contains(&other);
    assert_eq!(stage.links(other).contains(&first), linked, "a link has two ends");
    assert!(linked || unlink, "neither side has unlinked");
    // The other side ends on a message.
    stage.host().send(other, 1_u8).unwrap();
    stage.settle();
    assert_eq!(stage.died_of(other), Some(WHY));
    assert_eq!(log.exits(other), vec![WHY; usize::from(linked)], "one link, one EXIT");
    stage.end();
    if linked { "linked" } else { "not linked" }
}

/// One side links while the other links as well and dies. The links made before the death are one
/// link and give one EXIT. A link to a process that is known to be dead gives one more. With
/// `unlink`, no EXIT comes that had not come before.
fn both_link_and_die(unlink: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, before, other) = (Log::new(), Known::new(), Known::<Pid>::new());
    let links = {
        let (before, other, crossing) = (before.clone(), other.clone(), stage.crossing.clone());
        move |cx: &Cx<'_, u8>| {
            crossing.pass();
            before.set(waiting(cx).len());
            assert_eq!(cx.link(other.get().unwrap()), Ok(()));
            if unlink {
                cx.unlink(other.get().unwrap());
            }
        }
    };
    let first = stage.start_trapping(0, act(&log, nothing, links));
    let mut end = ends(WHY);
    other.set(stage.start(1, move |cx| {
        let resumed = end(cx);
        if matches!(resumed, BodyPoll::Exit(_)) {
            assert_eq!(cx.link(first), Ok(()));
        }
        resumed
    }));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let (before, exits) = (before.get().unwrap(), log.exits(other.get().unwrap()));
    if unlink {
        // A process that links after the unlink makes a new link.
        assert!(exits.len() <= 1, "one link, one EXIT: {exits:?}");
    } else {
        assert_eq!(exits.len(), before + 1, "one link, one EXIT: {exits:?}");
    }
    let outcome = match &*exits {
        [] => "none",
        [why] if *why == WHY => "its reason",
        [why] if *why == Reason::NOPROC => "noproc",
        [why, then] if *why == WHY && *then == Reason::NOPROC => "its reason, then noproc",
        other => panic!("{other:?}"),
    };
    stage.end();
    outcome
}

/// Both sides of a link die at the same time: each of its own reason, or one of the other's.
/// Nothing is left.
fn both_die(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let second = stage.start(1, ends(WHY));
    let mut end = ends(Reason::OUT_OF_MEMORY);
    let first = stage.start(0, move |cx| {
        let resumed = end(cx);
        if matches!(resumed, BodyPoll::Yield) {
            assert_eq!(cx.link(second), Ok(()));
        }
        resumed
    });
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let (first, second) = (stage.died_of(first).unwrap(), stage.died_of(second).unwrap());
    let outcome = if first == Reason::OUT_OF_MEMORY && second == WHY {
        "own reasons"
    } else {
        assert!(first == second, "one side must have died first: {first:?}, {second:?}");
        if first == WHY { "the second's reason" } else { "the first's reason" }
    };
    assert_eq!(stage.kernel.nodes_used(), 0, "the link is released with both processes");
    stage.end();
    outcome
}

#[test]
fn protocol() {
    explore("link || link", Some(2), &["linked"], || both_link(false, None));
    explore("link, unlink || link", Some(2), &["linked", "not linked"], || both_link(true, None));
    let told = ["its reason", "noproc", "its reason, then noproc"];
    explore("link || link, exit", Some(2), &told, || both_link_and_die(false, None));
    explore("link, unlink || link, exit", Some(2), &["none", "its reason"], || both_link_and_die(true, None));
    let deaths = ["own reasons", "the first's reason", "the second's reason"];
    explore("link, both die", Some(2), &deaths, || both_die(None));
}

#[test]
fn mutants() {
    let wrong = |name, mutation, f: fn(Option<Mutation>) -> &'static str| {
        mutant(name, Some(2), move || _ = f(Some(mutation)));
    };
    wrong("link, the record of the other side's link", Mutation::WithdrawnIsWelcome, |m| both_link(false, m));
    wrong("link, a refused EXIT is kept", Mutation::RefusedIsKept, both_die);
}
