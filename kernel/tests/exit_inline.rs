//! A sleeping process dies within the slice of the process that stops it, or is doomed there
//! (`ops/exit_inline`); and a child whose link is also its parent's monitor (`link`, K4).

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use atropos_kernel::{BodyPoll, Context, Cx, MaybeReady, Options, Pid, Reason, Received, SpawnOptions, Tombstone};

use common::{Stage, does};

const TOLD: Reason = Reason::SHUTDOWN;

fn supervised() -> SpawnOptions<'static> {
    SpawnOptions::new().supervised()
}

fn waits(_: &Cx<'_, ()>) -> BodyPoll {
    BodyPoll::Wait
}

/// Runs a closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The signals that a process has received, as text.
type Heard = Arc<Mutex<Vec<String>>>;

fn hear(cx: &Cx<'_, ()>, heard: &Heard) {
    while let Some(received) = cx.receive() {
        heard.lock().unwrap().push(match received {
            Received::Down(down) => format!("down {}", down.reason),
            Received::Exit(exit) => format!("exit {}", exit.reason),
            other => format!("{other:?}"),
        });
    }
}

fn words(heard: &Heard) -> Vec<String> {
    std::mem::take(&mut *heard.lock().unwrap())
}

#[test]
fn sleeping_target_is_dead_when_the_call_returns() {
    let mut stage = Stage::new(Options::default());
    let heard = Heard::default();
    let (noted, mut slice, mut child) = (heard.clone(), 0, None);
    let parent = does(move |cx: &Cx<'_, ()>| {
        slice += 1;
        match (slice, child) {
            (1, _) => {
                child = Some(cx.spawn(&supervised(), does(waits)).unwrap());
                return BodyPoll::Yield;
            }
            (_, Some(spawned)) => {
                cx.exit_inline(spawned.pid, TOLD).unwrap();
                assert!(matches!(cx.is_alive(spawned.pid), Ok(MaybeReady::Ready(false))), "dead when the call returns");
                let Some(Received::Down(down)) = cx.receive() else { panic!("its DOWN has not arrived") };
                assert_eq!(Some(down.reference), spawned.monitor);
                assert_eq!((down.target, down.reason), (atropos_kernel::MonitorTarget::Pid(spawned.pid), TOLD));
                hear(cx, &noted);
                child = None;
            }
            _ => hear(cx, &noted),
        }
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new(), parent).unwrap();
    stage.settle();
    assert_eq!(words(&heard), [""; 0], "one DOWN and no EXIT");
    assert_eq!((stage.kernel.process_count(), stage.kernel.nodes_used()), (1, 0));
}

#[test]
fn newborn_trapping_and_pinned_targets_die_in_their_own_slices() {
    let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
    let heard = Heard::default();
    let trapped = Arc::new(AtomicUsize::new(0));
    let (noted, seen, mut slice, mut children) = (heard.clone(), trapped.clone(), 0, Vec::new());
    let parent = does(move |cx: &Cx<'_, ()>| {
        slice += 1;
        match slice {
            1 => {
                let seen = seen.clone();
                let traps = does(move |cx: &Cx<'_, ()>| match cx.receive() {
                    Some(Received::Exit(exit)) => {
                        seen.fetch_add(1, Ordering::Relaxed);
                        BodyPoll::Exit(exit.reason)
                    }
                    _ => BodyPoll::Wait,
                });
                children.push(cx.spawn(&supervised().trap_exit(true), traps).unwrap().pid);
                children.push(cx.spawn(&supervised().core(1), does(waits)).unwrap().pid);
                return BodyPoll::Wait;
            }
            2 => {
                children.push(cx.spawn(&supervised(), does(waits)).unwrap().pid);
                for child in &children {
                    cx.exit_inline(*child, TOLD).unwrap();
                }
                hear(cx, &noted);
                noted.lock().unwrap().push("told".into());
            }
            _ => hear(cx, &noted),
        }
        BodyPoll::Wait
    });
    let parent = stage.host().spawn(&SpawnOptions::new().core(0), parent).unwrap().pid;
    stage.settle();
    stage.host().send(parent, ()).unwrap();
    stage.settle();
    // Handles the signals of the other core, sent while the first core was idle.
    stage.settle();
    let heard = words(&heard);
    assert_eq!(heard.iter().filter(|what| *what == "down shutdown").count(), 3, "{heard:?}");
    assert_eq!(heard[..2], ["Message(())", "told"], "no target was dead when the call returned: {heard:?}");
    assert_eq!(trapped.load(Ordering::Relaxed), 1);
}

/// Issue 14, item 11: a destructor may block, so it never runs in the slice of another process that
/// stops its owner. When the call returns, the doomed process has lost its name and is not alive to
/// other processes. Its destructor runs as its own process.
#[test]
fn n11_destructor_runs_in_its_own_slice() {
    let mut stage = Stage::new(Options::default());
    let running = Arc::new(Mutex::new(Vec::<&str>::new()));
    let noted = running.clone();
    let body = move |cx: Context<()>| async move {
        let own = Arc::new(Mutex::new(None::<Context<()>>));
        let place = own.clone();
        let _drops = OnDrop(move || {
            let own = place.lock().unwrap();
            assert!(
                own.as_ref().unwrap().try_with(|cx| cx.pid()).is_some(),
                "the destructor runs in the child's own slice"
            );
            noted.lock().unwrap().push("dropped");
        });
        *own.lock().unwrap() = Some(cx);
        std::future::pending::<()>().await;
    };
    let child = stage.host().spawn_async(&SpawnOptions::new().name("child"), body).unwrap().pid();
    stage.settle();
    let noted = running.clone();
    let stops = move |cx: Context<()>| async move {
        let monitor = cx.monitor(child).unwrap();
        cx.exit_inline(child, TOLD).unwrap();
        noted.lock().unwrap().push("returned");
        assert_eq!(cx.whereis("child"), None, "the name is free");
        assert!(!cx.is_gone(child), "the child is doomed and not yet dead");
        assert!(!cx.is_alive(child).await, "a later query finds it dead");
        assert!(matches!(cx.recv().await, Received::Down(down) if down.reference == monitor && down.reason == TOLD));
        assert!(cx.is_gone(child));
    };
    let stops = stage.host().spawn_async(&SpawnOptions::new(), stops).unwrap().pid();
    stage.settle();
    assert_eq!(*running.lock().unwrap(), ["returned", "dropped"]);
    assert!(matches!(stage.host().tombstone(stops), Tombstone::Known(reason) if reason == Reason::NORMAL));
    assert_eq!((stage.kernel.process_count(), stage.kernel.nodes_used()), (0, 0));
}

/// Issue 14, item 11: other foreign values of a dying process are not dropped in another process's
/// slice either: an unreceived message, and a message held by a timer.
#[test]
fn n11_messages_are_dropped_in_their_own_slice() {
    // Static, not captured by the bodies: these bodies must have no destructors.
    static ORDER: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    type Noted = OnDrop<fn()>;
    let noted = || -> Noted { OnDrop(|| ORDER.lock().unwrap().push("dropped")) };
    for by_timer in [false, true] {
        let mut stage = Stage::new(Options::default());
        let mut first = true;
        let keeps = does(move |cx: &Cx<'_, Noted>| {
            if std::mem::take(&mut first) && by_timer {
                cx.send_after(cx.pid(), std::time::Duration::from_secs(9), noted()).unwrap();
            }
            BodyPoll::Wait
        });
        let child = stage.host().spawn(&SpawnOptions::new(), keeps).unwrap().pid;
        stage.settle();
        if !by_timer {
            assert!(stage.host().send(child, noted()).is_ok());
            stage.settle();
        }
        let stops = move |cx: Context<()>| async move {
            cx.exit_inline(child, TOLD).unwrap();
            ORDER.lock().unwrap().push("returned");
        };
        stage.host().spawn_async(&SpawnOptions::new(), stops).unwrap();
        stage.settle();
        assert_eq!(std::mem::take(&mut *ORDER.lock().unwrap()), ["returned", "dropped"], "by timer: {by_timer}");
        assert_eq!((stage.kernel.process_count(), stage.kernel.nodes_used()), (0, 0));
    }
}

/// A chain of processes whose destructors each stop the next one: the destructors run one at a
/// time, without recursion.
#[test]
fn destructors_that_stop_other_processes_do_not_nest() {
    let mut stage = Stage::new(Options::default());
    let depth = Arc::new(AtomicUsize::new(0));
    let deepest = Arc::new(AtomicUsize::new(0));
    let others = Arc::new(Mutex::new(Vec::<Pid>::new()));
    for _ in 0..100 {
        let (depth, deepest, others) = (depth.clone(), deepest.clone(), others.clone());
        let all = others.clone();
        let body = move |cx: Context<()>| async move {
            let own = Arc::new(Mutex::new(None::<Context<()>>));
            let _stops = OnDrop({
                let own = own.clone();
                move || {
                    deepest.fetch_max(depth.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    let next = others.lock().unwrap().pop();
                    if let (Some(next), Some(cx)) = (next, own.lock().unwrap().as_ref()) {
                        let _ = cx.try_with(|cx| cx.exit_inline(next, TOLD)).expect("its own slice");
                    }
                    depth.fetch_sub(1, Ordering::Relaxed);
                }
            });
            *own.lock().unwrap() = Some(cx);
            std::future::pending::<()>().await;
        };
        let pid = stage.host().spawn_async(&SpawnOptions::new(), body).unwrap().pid();
        all.lock().unwrap().push(pid);
    }
    stage.settle();
    let first = others.lock().unwrap().pop().unwrap();
    let body = move |cx: Context<()>| async move {
        cx.exit_inline(first, TOLD).unwrap();
        cx.send(cx.pid(), ()).expect("its own slice");
    };
    stage.host().spawn_async(&SpawnOptions::new(), body).unwrap();
    stage.settle();
    assert_eq!(stage.kernel.process_count(), 0, "each process has stopped the next");
    assert_eq!(deepest.load(Ordering::Relaxed), 1, "no recursion");
}

/// Creates a parent with a child that runs `act` when it receives a message.
fn family(
    stage: &mut Stage,
    heard: &Heard,
    mut act: impl FnMut(&Cx<'_, ()>, Pid) -> BodyPoll + Send + 'static,
) -> (Pid, Pid) {
    let child = Arc::new(Mutex::new(None));
    let (noted, born) = (heard.clone(), child.clone());
    let mut act = Some(move |cx: &Cx<'_, ()>, parent| act(cx, parent));
    let parent = does(move |cx: &Cx<'_, ()>| {
        let parent = cx.pid();
        if let Some(mut act) = act.take() {
            let body = does(move |cx: &Cx<'_, ()>| match cx.receive() {
                Some(Received::Message(())) => act(cx, parent),
                _ => BodyPoll::Wait,
            });
            *born.lock().unwrap() = Some(cx.spawn(&supervised(), body).unwrap().pid);
        }
        hear(cx, &noted);
        BodyPoll::Wait
    });
    // The parent does not trap exits: a DOWN arrives nevertheless.
    let parent = stage.host().spawn(&SpawnOptions::new(), parent).unwrap().pid;
    stage.settle();
    let child = child.lock().unwrap().unwrap();
    (parent, child)
}

#[test]
fn supervised_child_sends_its_parent_one_down() {
    for reason in [Reason::NORMAL, Reason::SHUTDOWN, Reason::crash("why")] {
        let (mut stage, heard) = (Stage::new(Options::default()), Heard::default());
        let why = reason.clone();
        let (parent, child) = family(&mut stage, &heard, move |_, _| BodyPoll::Exit(why.clone()));
        stage.host().send(child, ()).unwrap();
        stage.settle();
        assert_eq!(words(&heard), [format!("down {reason}")]);
        assert!(stage.host().is_alive(parent), "no EXIT has killed it");
        assert_eq!(stage.kernel.nodes_used(), 0);
    }
}

#[test]
fn supervised_child_dies_with_its_parent() {
    let (mut stage, heard) = (Stage::new(Options::default()), Heard::default());
    let (parent, _) = family(&mut stage, &heard, |_, _| BodyPoll::Wait);
    stage.host().exit(parent, Reason::crash("all")).unwrap();
    stage.settle();
    assert_eq!((stage.kernel.process_count(), stage.kernel.nodes_used()), (0, 0));
}

/// A child that unlinks itself outlives its parent, and the parent receives the DOWN of the child.
/// If the child links itself again, the parent receives the EXIT of that link as well.
#[test]
fn supervised_child_that_unlinks_itself_is_still_monitored() {
    for again in [false, true] {
        let (mut stage, heard) = (Stage::new(Options::default()), Heard::default());
        let mut asked = 0;
        let (parent, child) = family(&mut stage, &heard, move |cx, parent| {
            asked += 1;
            if asked == 2 {
                return BodyPoll::Exit(Reason::SHUTDOWN);
            }
            cx.unlink(parent);
            let MaybeReady::Ready(Ok(Some(info))) = cx.info(cx.pid()) else {
                panic!("a process can query its own state")
            };
            assert!(info.links.is_empty(), "{:?}", info.links);
            cx.unlink(parent);
            if again {
                cx.link(parent).unwrap();
            }
            BodyPoll::Wait
        });
        stage.host().send(child, ()).unwrap();
        stage.settle();
        stage.host().send(child, ()).unwrap();
        stage.settle();
        // The EXIT of the second link kills the parent before it can receive the DOWN.
        assert_eq!(words(&heard), if again { &[][..] } else { &["down shutdown"] });
        assert_eq!(stage.host().is_alive(parent), !again);
        assert_eq!(stage.kernel.nodes_used(), 0);
    }
    let (mut stage, heard) = (Stage::new(Options::default()), Heard::default());
    let (parent, child) = family(&mut stage, &heard, |cx, parent| {
        cx.unlink(parent);
        BodyPoll::Wait
    });
    stage.host().send(child, ()).unwrap();
    stage.settle();
    stage.host().exit(parent, Reason::KILL).unwrap();
    stage.settle();
    assert!(!stage.host().is_alive(parent));
    assert!(stage.host().is_alive(child), "the child has unlinked itself");
    stage.host().exit(child, Reason::KILL).unwrap();
    stage.settle();
    assert_eq!((stage.kernel.process_count(), stage.kernel.nodes_used()), (0, 0));
}

#[test]
fn parent_that_unlinks_receives_no_further_signal() {
    let mut stage = Stage::new(Options::default());
    let heard = Heard::default();
    let (noted, mut child) = (heard.clone(), None);
    let parent = does(move |cx: &Cx<'_, ()>| {
        match child {
            None => child = Some(cx.spawn(&supervised(), does(waits)).unwrap().pid),
            Some(child) => {
                cx.unlink(child);
                cx.exit(child, Reason::KILL).unwrap();
                hear(cx, &noted);
            }
        }
        BodyPoll::Wait
    });
    let parent = stage.host().spawn(&SpawnOptions::new(), parent).unwrap().pid;
    stage.settle();
    for _ in 0..2 {
        stage.host().send(parent, ()).unwrap();
        stage.settle();
    }
    assert_eq!(words(&heard), ["Message(())", "Message(())"]);
    assert_eq!((stage.kernel.process_count(), stage.kernel.nodes_used()), (1, 0));
}
