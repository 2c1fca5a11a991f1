//! Stopping at once, and a link that is its maker's monitor as well: who is stopped dies once, of one reason, which its parent
//! hears once, whoever else kills it or sends to it at the same moment; and who unlinks is not killed by the link.
#![cfg(loom)]

use atropos_kernel::{MaybeReady, Cx, Pid, Reason, Resumed, SpawnOptions};
use atropos_loom::host::body;
use atropos_loom::mutant;
use atropos_loom::seen::{Event, Log};
use atropos_loom::world::{Known, Mutation, Stage, act, explore, waits};

const TOLD: Reason = Reason::SHUTDOWN;
const WHY: Reason = Reason::OUT_OF_MEMORY;

/// A parent stops its child, which sleeps, at once, while the host kills it.
fn stopped_or_killed() -> &'static str {
    let mut stage = Stage::new(1, None);
    let (log, child) = (Log::new(), Known::<Pid>::new());
    let (born, told) = (child.clone(), child.clone());
    let spawns = move |cx: &Cx<'_, u8>| {
        born.set(cx.spawn(&SpawnOptions::new().core(0).supervised(), body(waits)).unwrap().pid);
    };
    stage.start(0, act(&log, spawns, move |cx| assert_eq!(cx.exit_inline(told.get().unwrap(), TOLD), Ok(()))));
    // The parent, its child, and the parent may be resumed.
    stage.run(0, 2);
    let child = child.get().unwrap();
    stage.race_host(&[1], move |host| assert!(host.exit(child, Reason::KILL).is_ok()));
    stage.settle();
    let reason = stage.died_of(child).expect("it ends in any case");
    assert_eq!(log.downs(), std::slice::from_ref(&reason), "one DOWN, and its reason");
    assert_eq!(log.events().len(), 1, "and no EXIT");
    stage.end();
    match reason {
        reason if reason == TOLD => "stopped",
        reason if reason == Reason::KILLED => "killed",
        other => panic!("nobody has given it this reason: {other:?}"),
    }
}

/// A parent stops at once a process that traps exits and sleeps, while the host sends to it: it has both.
fn stopped_and_traps(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(1, mutation);
    let log = Log::new();
    let looks = log.clone();
    let target = stage.start_trapping(0, move |cx| {
        looks.look(cx);
        Resumed::Wait
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
    assert!(events.contains(&exit), "it traps exits, and has this one: {events:?}");
    let outcome = if events.first() == Some(&exit) { "told first" } else { "sent first" };
    events.retain(|event| *event != exit && *event != Event::Message(7));
    assert!(events.is_empty(), "and nothing else: {events:?}");
    stage.end();
    outcome
}

/// A body that has a destructor: its death is not another's business.
struct Foreign;

impl Drop for Foreign {
    fn drop(&mut self) {}
}

/// A parent stops at once a child that sleeps and whose body has a destructor, and asks whether it is alive, while the host sends to
/// it: the child dies in a slice of its own, once, of what the parent said, and is dead to the question.
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
    assert_ne!(known.get(), Some(true), "nobody who has stopped it finds it alive");
    stage.end();
    if known.get().is_some() { "found dead" } else { "asked" }
}

/// A parent dies while its supervised child, on another core, unlinks itself: it has, and lives, or it has not, and dies.
fn unlinks_or_dies(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (child, unlinked) = (Known::<Pid>::new(), Known::<bool>::new());
    let (born, done) = (child.clone(), unlinked.clone());
    let mut slice = 0;
    stage.start(0, move |cx| {
        slice += 1;
        if slice > 1 {
            return Resumed::Exit(WHY);
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
        Resumed::Yield
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
    explore("at once: stop || kill", Some(2), &["stopped", "killed"], stopped_or_killed);
    explore("at once: stop || send, who traps", Some(2), &["told first", "sent first"], || stopped_and_traps(None));
    explore("at once: stop, with a destructor || send", Some(2), &["asked"], || doomed(None));
    explore("supervised: unlink || death", Some(2), &["has unlinked, and lives", "dies with it"], || {
        unlinks_or_dies(None)
    });
}

#[test]
fn mutants() {
    mutant("at once, forgets to queue who lives", Some(2), || {
        _ = stopped_and_traps(Some(Mutation::ForgetsTheClaimed));
    });
    mutant("at once, the doomed look alive", Some(2), || {
        _ = doomed(Some(Mutation::DoomedLookAlive));
    });
    mutant("supervised, an EXIT is welcome after unlink", Some(2), || {
        _ = unlinks_or_dies(Some(Mutation::WithdrawnIsWelcome));
    });
}
