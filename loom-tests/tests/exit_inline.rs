//! Models of the synchronous exit, and of a link that is also its parent's monitor. A stopped
//! process dies once, of one reason, and its parent receives that reason once, even if another
//! thread kills it or sends to it at the same moment. A process that has unlinked is not killed by
//! the link.
#![cfg(loom)]

use atropos_kernel::{BodyPoll, Cx, MaybeReady, Pid, Reason, SpawnOptions};
use atropos_loom::host::body;
use atropos_loom::mutant;
use atropos_loom::platform::{Known, Mutation, Stage, act, explore, waits};
use atropos_loom::seen::{Event, Log};

const TOLD: Reason = Reason::SHUTDOWN;
const WHY: Reason = Reason::OUT_OF_MEMORY;

/// A parent stops its sleeping child inline, while the host kills the child.
fn stopped_or_killed() -> &'static str {
    let mut stage = Stage::new(1, None);
    let (log, child) = (Log::new(), Known::<Pid>::new());
    let (born, told) = (child.clone(), child.clone());
    let spawns = move |cx: &Cx<'_, u8>| {
        born.set(cx.spawn(&SpawnOptions::new().core(0).supervised(), body(waits)).unwrap().pid);
    };
    stage.start(0, act(&log, spawns, move |cx| assert_eq!(cx.exit_inline(told.get().unwrap(), TOLD), Ok(()))));
    // The parent runs, then its child, then the resumed parent.
    stage.run(0, 2);
    let child = child.get().unwrap();
    stage.race_host(&[1], move |host| assert!(host.exit(child, Reason::KILL).is_ok()));
    stage.settle();
    let reason = stage.died_of(child).expect("the child ends in any case");
    assert_eq!(log.downs(), std::slice::from_ref(&reason), "one DOWN, and its reason");
    assert_eq!(log.events().len(), 1, "and no EXIT");
    stage.end();
    match reason {
        reason if reason == TOLD => "stopped",
        reason if reason == Reason::KILLED => "killed",
        other => panic!("no thread sent this reason: {other:?}"),
    }
}

/// A parent stops a sleeping process that traps exits, while the host sends to it: it receives both
/// signals.
fn stopped_and_traps(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(1, mutation);
    let log = Log::new();
    let looks = log.clone();
    let target = stage.start_trapping(0, move |cx| {
        looks.look(cx);
        BodyPoll::Wait
    });
    let sender = stage.start(0, act(&Log::new(), |_| {}, move |cx| assert_eq!(cx.exit_inline(target, TOLD), Ok(()))));
    stage.run(0, 2);
    if mutation.is_none() {
        stage.race_host(&[1], move |host| assert!(host.send(target, 7_u8).is_ok()));
    } else {
        stage.run(0, 1);
    }
    stage.settle();
    let mut events = log.events();
    let exit = Event::Exit(Some(sender), TOLD);
    assert!(events.contains(&exit), "the target traps exits, and has this one: {events:?}");
    let outcome = if events.first() == Some(&exit) { "exit first" } else { "message first" };
    events.retain(|event| *event != exit && *event != Event::Message(7));
    assert!(events.is_empty(), "no other signal: {events:?}");
    stage.end();
    outcome
}

/// A body with a destructor, so only its own core may run its teardown.
struct Foreign;

impl Drop for Foreign {
    fn drop(&mut self) {}
}

/// A parent stops a sleeping child whose body has a destructor, and then asks if it is alive, while
/// the host sends to the child. The child dies once, in a slice of its own, of the parent's reason,
/// and the query finds it dead.
fn doomed(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(1, mutation);
    let (log, child, known) = (Log::new(), Known::<Pid>::new(), Known::<bool>::new());
    let (born, told, said) = (child.clone(), child.clone(), known.clone());
    let spawns = move |cx: &Cx<'_, u8>| {
        let foreign = Foreign;
        let waits = move |cx: &Cx<'_, u8>| {
            let _foreign = &foreign;
            waits(cx)
        };
        born.set(cx.spawn(&SpawnOptions::new().core(0).supervised(), body(waits)).unwrap().pid);
    };
    let stops = move |cx: &Cx<'_, u8>| {
        let child = told.get().unwrap();
        assert_eq!(cx.exit_inline(child, TOLD), Ok(()));
        if let Ok(MaybeReady::Ready(alive)) = cx.is_alive(child) {
            said.set(alive);
        }
    };
    stage.start(0, act(&log, spawns, stops));
    stage.run(0, 2);
    let child = child.get().unwrap();
    stage.race_host(&[1], move |host| _ = host.send(child, 7_u8));
    stage.settle();
    assert_eq!(stage.died_of(child), Some(TOLD));
    assert_eq!(log.downs(), [TOLD], "one DOWN");
    assert_ne!(known.get(), Some(true), "the parent that stopped the child must not find it alive");
    stage.end();
    if known.get().is_some() { "found dead" } else { "asked" }
}

/// A parent dies while its supervised child, on another core, unlinks itself: the child has
/// unlinked and lives, or has not and dies.
fn unlinks_or_dies(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (child, unlinked) = (Known::<Pid>::new(), Known::<bool>::new());
    let (born, done) = (child.clone(), unlinked.clone());
    let mut slice = 0;
    stage.start(0, move |cx| {
        slice += 1;
        if slice > 1 {
            return BodyPoll::Exit(WHY);
        }
        let (parent, done) = (cx.pid(), done.clone());
        let unlinks = act(
            &Log::new(),
            |_| {},
            move |cx| {
                cx.unlink(parent);
                done.set(true);
            },
        );
        born.set(cx.spawn(&SpawnOptions::new().core(1).supervised(), body(unlinks)).unwrap().pid);
        BodyPoll::Yield
    });
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let died = stage.died_of(child.get().unwrap());
    let outcome = match (unlinked.get(), died) {
        (Some(true), None) => "has unlinked, and lives",
        (None, Some(why)) if why == WHY => "dies with it",
        (unlinked, died) => panic!("unlinked: {unlinked:?}, died: {died:?}"),
    };
    stage.end();
    outcome
}

#[test]
fn protocol() {
    explore("exit inline: stop || kill", Some(2), &["stopped", "killed"], stopped_or_killed);
    explore("exit inline: stop || send, trapping", Some(2), &["exit first", "message first"], || {
        stopped_and_traps(None)
    });
    explore("exit inline: stop, with a destructor || send", Some(2), &["asked"], || doomed(None));
    explore("supervised: unlink || death", Some(2), &["has unlinked, and lives", "dies with it"], || {
        unlinks_or_dies(None)
    });
}

#[test]
fn mutants() {
    mutant("exit inline, does not queue a survivor", Some(2), || {
        _ = stopped_and_traps(Some(Mutation::ForgetsTheClaimed));
    });
    mutant("exit inline, a doomed process looks alive", Some(2), || {
        _ = doomed(Some(Mutation::DoomedLookAlive));
    });
    mutant("supervised, an EXIT is accepted after unlink", Some(2), || {
        _ = unlinks_or_dies(Some(Mutation::WithdrawnIsWelcome));
    });
}
