//! Links on the whole kernel: at most one EXIT for each link, none after unlink has returned, one link whoever made
//! it, and no child that outlives a parent it was born linked to.
#![cfg(loom)]

use atropos_kernel::internals::config::SWEEP_AT_LEAST;
use atropos_kernel::internals::shares::{Orders, Real, Shares};
use atropos_kernel::{Cx, LinkError, Pid, Reason, Resumed, SpawnOptions};
use atropos_loom::host::body;
use atropos_loom::seen::{Event, Log, waiting};
use atropos_loom::world::{Known, Mutation, Stage, act, ends, explore, waits};
use atropos_loom::{model, mutant};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

const WHY: Reason = Reason::SHUTDOWN;

fn nothing(_: &Cx<'_, u8>) {}

/// A link is made while the other side dies; `behind` a message of the maker's, so that it takes the long way.
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

/// The same, and the maker does not trap: it is told at once, or dies of the link.
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
        (Err(LinkError::NoProc), None) => "told",
        (Ok(()), Some(dead)) if dead == why && !why.is_normal() => "died with it",
        (Ok(()), None) if why.is_normal() => "outlived it",
        other => panic!("told, or tied: {other:?}"),
    };
    stage.end();
    outcome
}

/// A link is cut while the other side dies; who made it is `by_other`'s to say. What had come before stays in the mailbox.
fn cut(by_other: bool, mutation: Option<Mutation>) -> &'static str {
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
        if by_other && matches!(resumed, Resumed::Yield) {
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
    let outcome = if before == 0 { "in time" } else { "it had come" };
    stage.end();
    outcome
}

/// The same, and who cuts does not trap: once it has, it lives.
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
        other => panic!("it unlinks and lives, or dies of the link: {other:?}"),
    };
    stage.end();
    outcome
}

/// A link is made and cut again while the other side dies; `behind` as in [`made`]: the request is cut on its way.
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
    assert_eq!(log.events(), [], "whether it found a live one or a dead one");
    assert_eq!(stage.kernel.nodes_used(), 0, "with the target the link is gone");
    stage.end();
    "none"
}

/// A process links and unlinks with another as often as has that one nudged to look at its list, while that one runs: no cut
/// link stays on the list of one who lives.
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
    assert_eq!(stage.kernel.nodes_used(), 0, "what is cut is gone, though both live");
    stage.end();
    "gone"
}

/// Who makes a link dies at once, while the other runs: request and EXIT may be on their way together (K3).
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
            return Resumed::Yield;
        }
        if behind {
            assert!(cx.send(other, 1_u8).is_ok());
        }
        assert_eq!(cx.link(other), Ok(()));
        Resumed::Exit(WHY)
    });
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let mut expected = vec![Event::Exit(Some(maker), WHY)];
    if behind {
        expected.insert(0, Event::Message(1));
    }
    assert_eq!(log.events(), expected, "one EXIT, behind what was sent before");
    stage.end();
    if seen.get() == Some(expected.len()) { "seen" } else { "not yet" }
}

/// Both sides link at once, and `unlink` says whether the first cuts at once what it has made. Afterwards they are linked for
/// both or for none, and a death is told once, or not at all.
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
            1 => return Resumed::Yield,
            2 => assert_eq!(cx.link(first), Ok(())),
            _ => return Resumed::Exit(WHY),
        }
        Resumed::Wait
    }));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let other = other.get().unwrap();
    let linked = stage.links(first).contains(&other);
    assert_eq!(stage.links(other).contains(&first), linked, "a link has two ends");
    assert!(linked || unlink, "nobody has cut it");
    // The other side ends on a message.
    stage.host().send(other, 1_u8).unwrap();
    stage.settle();
    assert_eq!(stage.died_of(other), Some(WHY));
    assert_eq!(log.exits(other), vec![WHY; usize::from(linked)], "one link, one EXIT");
    stage.end();
    if linked { "linked" } else { "not linked" }
}

/// One links while the other links as well and dies: whatever was linked is one link and gives one EXIT, and a link to who was
/// known to be dead gives one more. With `unlink` it gives none that had not come.
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
        if matches!(resumed, Resumed::Exit(_)) {
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
        // Who links after the unlink links anew.
        assert!(exits.len() <= 1, "one link, one EXIT: {exits:?}");
    } else {
        assert_eq!(exits.len(), before + 1, "one link, one EXIT: {exits:?}");
    }
    let outcome = match &*exits {
        [] => "none",
        [why] if *why == WHY => "its reason",
        [why] if *why == Reason::NOPROC => "noproc",
        [why, then] if *why == WHY && *then == Reason::NOPROC => "its reason, and then noproc",
        other => panic!("{other:?}"),
    };
    stage.end();
    outcome
}

/// Both sides of a link die at once: each of its own reason, or one of the other's; nothing is left.
fn both_die(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let second = stage.start(1, ends(WHY));
    let mut end = ends(Reason::LOST);
    let first = stage.start(0, move |cx| {
        let resumed = end(cx);
        if matches!(resumed, Resumed::Yield) {
            assert_eq!(cx.link(second), Ok(()));
        }
        resumed
    });
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let (first, second) = (stage.died_of(first).unwrap(), stage.died_of(second).unwrap());
    let outcome = if first == Reason::LOST && second == WHY {
        "each of its own"
    } else {
        assert!(first == second, "somebody died first: {first:?}, {second:?}");
        if first == WHY { "both of the second's" } else { "both of the first's" }
    };
    assert_eq!(stage.kernel.nodes_used(), 0, "with both of them the link is gone");
    stage.end();
    outcome
}

/// A parent starts a linked child while it is killed: there is no orphan. `tied` at its birth, or as soon as may be.
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
                1 => return Resumed::Yield,
                2 if tied => child.set(cx.spawn(&options.link(), body(waits)).unwrap().pid),
                2 => {
                    child.set(cx.spawn(&options, body(waits)).unwrap().pid);
                    return Resumed::Yield;
                }
                3 if !tied => assert_eq!(cx.link(child.get().unwrap()), Ok(())),
                _ => {}
            }
            Resumed::Wait
        })
    };
    // After the kill the core may meet the child.
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

/// A child dies as soon as it is born: its parent, which traps, hears of it once by its link and once by its monitor. `tied` at
/// its birth, or as soon as may be.
fn child_dies(tied: bool) -> &'static str {
    let mut stage = Stage::new(2, None);
    let (log, child) = (Log::new(), Known::<Pid>::new());
    let spawns = {
        let (child, crossing) = (child.clone(), stage.crossing.clone());
        move |cx: &Cx<'_, u8>| {
            let options = SpawnOptions::new().core(1);
            let options = if tied { options.link().monitor() } else { options };
            let spawned = cx.spawn(&options, body(|_: &Cx<'_, u8>| Resumed::Exit(WHY))).unwrap();
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
    assert!(told, "EXIT and DOWN, once each, and why: {events:?}");
    stage.end();
    "told"
}

/// A record's reason, as far as the last share is concerned.
struct Record<O> {
    shares: Shares<O>,
    reason: UnsafeCell<u8>,
}

/// One side writes and gives up, the other gives up: who frees the record has it to itself.
fn last_share<O: Orders>() {
    let record = Arc::new(Record { shares: Shares::<O>::new(2), reason: UnsafeCell::new(0) });
    let give_up = |record: &Record<O>| {
        let last = record.shares.give_up();
        if last {
            record.reason.with_mut(|_| ());
        }
        usize::from(last)
    };
    let other = record.clone();
    let dies = thread::spawn(move || {
        // SAFETY: the other side looks only when both shares are gone: the model's claim.
        other.reason.with_mut(|reason| unsafe { *reason = 1 });
        give_up(&other)
    });
    let freed = give_up(&record) + dies.join().unwrap();
    assert_eq!(freed, 1, "one of them frees it");
}

struct Relaxed;
impl Orders for Relaxed {
    const GIVE_UP: Ordering = Ordering::Relaxed;
}
struct NoRelease;
impl Orders for NoRelease {
    const GIVE_UP: Ordering = Ordering::Acquire;
}
struct NoAcquire;
impl Orders for NoAcquire {
    const GIVE_UP: Ordering = Ordering::Release;
}

#[test]
fn protocol() {
    model("link, the last share", None, last_share::<Real>);
    let reasons = ["its reason", "noproc"];
    explore("link || exit", Some(2), &reasons, || made(false, None));
    explore("link behind a message || exit", Some(2), &reasons, || made(true, None));
    explore("link || exit, not trapping", Some(2), &["told", "died with it"], || made_not_trapping(WHY));
    explore("link || exit normal", Some(2), &["told", "outlived it"], || made_not_trapping(Reason::NORMAL));
    explore("unlink || exit", Some(2), &["in time", "it had come"], || cut(false, None));
    explore("unlink of the other's link || exit", Some(2), &["in time", "it had come"], || cut(true, None));
    explore("unlink || exit, not trapping", Some(2), &["in time", "died of it"], || cut_not_trapping(None));
    explore("link || link", Some(2), &["linked"], || both_link(false, None));
    explore("link, unlink || link", Some(2), &["linked", "not linked"], || both_link(true, None));
    let told = ["its reason", "noproc", "its reason, and then noproc"];
    explore("link, unlink || exit", Some(2), &["none"], || made_and_cut(false, None));
    explore("link and unlink behind a message || exit", Some(2), &["none"], || made_and_cut(true, None));
    explore("link and unlink, twice || the other runs", Some(2), &["gone"], || cut_often(None));
    explore("link, exit || the other runs", Some(2), &["seen", "not yet"], || maker_dies(false, None));
    explore("message, link, exit || the other runs", Some(2), &["seen", "not yet"], || maker_dies(true, None));
    explore("link || link, exit", Some(2), &told, || both_link_and_die(false, None));
    explore("link, unlink || link, exit", Some(2), &["none", "its reason"], || both_link_and_die(true, None));
    let deaths = ["each of its own", "both of the first's", "both of the second's"];
    explore("link, both die", Some(2), &deaths, || both_die(None));
    explore("spawn linked || the parent is killed", Some(2), &["never born", "died with it"], || parent_dies(true));
    explore("spawn linked and monitored, the child dies", Some(2), &["told"], || child_dies(true));
}

#[test]
fn mutants() {
    let wrong = |name, mutation, f: fn(Option<Mutation>) -> &'static str| {
        mutant(name, Some(2), move || _ = f(Some(mutation)));
    };
    wrong("link, a refusal that is not looked at", Mutation::RefusedIsPlaced, |m| made(false, m));
    wrong("link, late requests dropped", Mutation::LateIsDropped, |m| made(true, m));
    wrong("link, fired though cut", Mutation::FiresAnyway, |m| cut(false, m));
    wrong("link, a withdrawn EXIT is welcome", Mutation::WithdrawnIsWelcome, |m| cut(true, m));
    wrong("link, a withdrawn EXIT kills", Mutation::WithdrawnIsWelcome, cut_not_trapping);
    wrong("link, the record of the other side's link", Mutation::WithdrawnIsWelcome, |m| both_link(false, m));
    wrong("link, a refused EXIT is kept", Mutation::RefusedIsKept, both_die);
    wrong("link, sleeps on a nudge", Mutation::SleepsAnyway, cut_often);
    mutant("link, the last share Relaxed", Some(2), last_share::<Relaxed>);
    mutant("link, the last share without Release", Some(2), last_share::<NoRelease>);
    mutant("link, the last share without Acquire", Some(2), last_share::<NoAcquire>);
    mutant("link, after the birth: an orphan", Some(2), || _ = parent_dies(false));
    mutant("link, after the birth: another reason", Some(2), || _ = child_dies(false));
}
