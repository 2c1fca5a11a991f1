//! Issue 14, item 10: a body that does not return delays only its own process (`sched::stall`).
//! The body that blocks steps the other core itself, while its own core is in the middle of the
//! slice.
#![cfg(feature = "epoch")]

mod common;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Wake, Waker};
use std::time::Duration;

use atropos_kernel::{BodyPoll, Context, Core, Cx, Host, Options, Pid, Reason, RunOutcome, SendTarget, SpawnOptions};

use common::{Stage, Stepped, does, yields};

const MILLISECOND: u64 = 1_000_000;

fn stage(cores: usize) -> Stage {
    let world = common::rescues_after(MILLISECOND);
    world.advance_to(MILLISECOND);
    Stage::in_world(Options { cores, ..Options::default() }, world)
}

fn now(world: &Stepped) -> u64 {
    world.now()
}

/// The other cores, which the body of the stuck core steps.
type Others = Arc<Mutex<Vec<Core>>>;

/// Blocks for some milliseconds, in which the other cores run and time passes.
fn blocks(world: &Stepped, others: &Others, milliseconds: u64) {
    for _ in 0..milliseconds {
        for core in &mut *others.lock().unwrap() {
            // As a driver does: runs the cores until they are idle.
            for _ in 0..20 {
                if core.run(16) != RunOutcome::Worked {
                    break;
                }
            }
        }
        world.advance(MILLISECOND);
    }
}

/// Creates a body that sleeps repeatedly, and records the maximum lateness and the number of
/// sleeps.
fn sleeps(
    world: Arc<Stepped>,
    milliseconds: u64,
    latest: Arc<AtomicU64>,
    times: Arc<AtomicUsize>,
) -> impl FnMut(&Cx<'_, ()>) -> BodyPoll + Send + 'static {
    let mut due = 0;
    move |cx| {
        if cx.receive().is_some() {
            latest.fetch_max(now(&world) - due, Ordering::Relaxed);
            times.fetch_add(1, Ordering::Relaxed);
        } else if due != 0 {
            return BodyPoll::Wait;
        }
        due = now(&world) + milliseconds * MILLISECOND;
        cx.send_after(cx.pid(), Duration::from_millis(milliseconds), ()).unwrap();
        BodyPoll::Wait
    }
}

/// The core that fires the timers of a stuck core runs their processes in the order of the timers
/// (`runq`, F6).
#[test]
fn n10_timers_of_a_stuck_core_wake_in_order() {
    let mut stage = stage(2);
    let woken = Arc::new(Mutex::new(Vec::new()));
    let mut times: Vec<u64> = (0..80).map(|i| 1 + i * 37 % 83).collect();
    for time in times.clone() {
        let woken = woken.clone();
        let sleeper = does(move |cx: &Cx<'_, ()>| {
            if cx.receive().is_some() {
                woken.lock().unwrap().push(time);
                return BodyPoll::Exit(Reason::NORMAL);
            }
            cx.send_after(cx.pid(), Duration::from_millis(time), ()).unwrap();
            BodyPoll::Wait
        });
        stage.host().spawn(&SpawnOptions::new(), sleeper).unwrap();
    }
    while stage.cores[0].run(64) == RunOutcome::Worked {}
    let (world, seen) = (stage.world.clone(), woken.clone());
    runs_stuck(stage, move |_, others| {
        // All are due before the other core looks for the first time.
        world.advance(100 * MILLISECOND);
        blocks(&world, others, 10);
        assert_eq!(seen.lock().unwrap().len(), 80, "while the core is stuck");
        BodyPoll::Exit(Reason::NORMAL)
    });
    times.sort_unstable();
    assert_eq!(*woken.lock().unwrap(), times);
}

/// Creates a body that counts the messages that it receives.
fn counts(count: Arc<AtomicUsize>) -> impl FnMut(&Cx<'_, ()>) -> BodyPoll + Send + 'static {
    move |cx| {
        while cx.receive().is_some() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        BodyPoll::Wait
    }
}

/// Starts all processes on core 0 and runs `stuck` there, which blocks; then returns all cores to
/// the stage.
fn runs_stuck(mut stage: Stage, stuck: impl FnMut(&Cx<'_, ()>, &Others) -> BodyPoll + Send + 'static) -> Stage {
    let others: Others = Arc::new(Mutex::new(stage.cores.drain(1..).collect()));
    let (given, mut stuck) = (others.clone(), stuck);
    let body = does(move |cx: &Cx<'_, ()>| stuck(cx, &given));
    stage.host().spawn(&SpawnOptions::new().core(0), body).unwrap();
    for _ in 0..10 {
        let _ = stage.cores[0].run(64);
    }
    stage.cores.append(&mut others.lock().unwrap());
    stage
}

/// Timers on the wheel of a stuck core, with one other core that is idle, or busy itself.
#[test]
fn n10_timers_of_a_stuck_core_are_fired() {
    for busy in [false, true] {
        let mut stage = stage(2);
        let (latest, times) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        for i in 0..200 {
            let sleeper = sleeps(stage.world.clone(), 10 + i % 50, latest.clone(), times.clone());
            stage.host().spawn(&SpawnOptions::new(), does(sleeper)).unwrap();
        }
        // All processes begin on core 0.
        while stage.cores[0].run(64) == RunOutcome::Worked {}
        if busy {
            // Not pinned: pinned processes would take turns with all the sleepers, a slice for each
            // of them.
            let world = stage.world.clone();
            let starts = does(move |cx: &Cx<'_, ()>| {
                let world = world.clone();
                let works = does(move |cx: &Cx<'_, ()>| {
                    while cx.spend(1) {
                        world.advance(1_000);
                    }
                    BodyPoll::Yield
                });
                cx.spawn(&SpawnOptions::new(), works).unwrap();
                BodyPoll::Exit(Reason::NORMAL)
            });
            stage.host().spawn(&SpawnOptions::new().core(1), starts).unwrap();
        }
        let (world, slept, before) = (stage.world.clone(), times.clone(), latest.clone());
        let mut ran = false;
        let stage = runs_stuck(stage, move |_, others| {
            if !std::mem::replace(&mut ran, true) {
                before.store(0, Ordering::Relaxed);
                blocks(&world, others, 120);
                assert!(slept.load(Ordering::Relaxed) > 400, "{slept:?} sleeps while one core was stuck");
            }
            BodyPoll::Wait
        });
        let latest = latest.load(Ordering::Relaxed);
        assert!(latest <= 5 * MILLISECOND, "late by {latest} ns, the other core busy: {busy}");
        drop(stage);
    }
}

/// A message whose destructor blocks while the other cores run. It records how many messages the
/// targets had received until then.
struct Blocks(Arc<Stepped>, Others, Arc<[AtomicUsize; 2]>);

impl Drop for Blocks {
    fn drop(&mut self) {
        blocks(&self.0, &self.1, 20);
        let [told, seen] = &*self.2;
        seen.store(told.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Starts a process that counts the messages that it receives.
fn told(stage: &Stage, counters: &Arc<[AtomicUsize; 2]>) -> Pid {
    let told = counters.clone();
    let waits = does(move |cx: &Cx<'_, ()>| {
        while cx.receive().is_some() {
            told[0].fetch_add(1, Ordering::Relaxed);
        }
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new(), waits).unwrap().pid
}

/// A destructor that blocks, of a timer's message without a receiver: its core drops the message
/// between two slices.
#[test]
fn n10_core_that_drops_a_timer_message_is_rescued() {
    let mut stage = stage(2);
    let others: Others = Arc::new(Mutex::new(stage.cores.drain(1..).collect()));
    let counters: Arc<[AtomicUsize; 2]> = Arc::default();
    let target = told(&stage, &counters);
    let mut message = Some(Blocks(stage.world.clone(), others.clone(), counters.clone()));
    let starts = does(move |cx: &Cx<'_, ()>| {
        if let Some(message) = message.take() {
            cx.send_after(SendTarget::Name("nobody"), Duration::from_millis(1), message).unwrap();
            cx.send_after(target, Duration::from_millis(5), ()).unwrap();
        }
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new().core(0), starts).unwrap();
    let _ = stage.cores[0].run(64);
    stage.world.advance(2 * MILLISECOND);
    let _ = stage.cores[0].run(64);
    assert_eq!(counters[1].load(Ordering::Relaxed), 1, "the core's other timer has fired while it blocked");
    stage.cores.append(&mut others.lock().unwrap());
}

/// The same message, dropped by the core that rescues the stuck one: a third core rescues the
/// rescuer.
#[test]
fn n10_rescuer_that_drops_a_timer_message_is_rescued() {
    let mut stage = stage(3);
    let third: Others = Arc::new(Mutex::new(stage.cores.drain(2..).collect()));
    let counters: Arc<[AtomicUsize; 2]> = Arc::default();
    let target = told(&stage, &counters);
    let starts = does(move |cx: &Cx<'_, ()>| {
        cx.send_after(target, Duration::from_millis(8), ()).unwrap();
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new().core(1), starts).unwrap();
    while stage.cores[1].run(64) == RunOutcome::Worked {}
    let world = stage.world.clone();
    let mut message = Some(Blocks(world.clone(), third.clone(), counters.clone()));
    let mut stage = runs_stuck(stage, move |cx, others| {
        if let Some(message) = message.take() {
            cx.send_after(SendTarget::Name("nobody"), Duration::from_millis(1), message).unwrap();
            blocks(&world, others, 4);
        }
        BodyPoll::Wait
    });
    assert_eq!(counters[1].load(Ordering::Relaxed), 1, "the rescuer's own timer has fired while it blocked");
    stage.cores.append(&mut third.lock().unwrap());
}

/// The actions of the body just before it blocks take effect: it starts a timer, cancels a timer,
/// and wakes a process into the next-up slot. It also spawns more processes than the ring holds, so
/// that some are in an overflow that is not published.
#[test]
fn n10_actions_before_the_block_take_effect() {
    const CHILDREN: usize = 700;
    let mut stage = stage(2);
    let [told, woken, ran] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
    let target = stage.host().spawn(&SpawnOptions::new(), does(counts(told.clone()))).unwrap().pid;
    let next = stage.host().spawn(&SpawnOptions::new(), does(counts(woken.clone()))).unwrap().pid;
    while stage.cores[0].run(64) == RunOutcome::Worked {}
    let (world, mut begun) = (stage.world.clone(), false);
    let (has_told, has_woken, has_run) = (told.clone(), woken.clone(), ran.clone());
    let mut stage = runs_stuck(stage, move |cx, others| {
        if std::mem::replace(&mut begun, true) {
            return BodyPoll::Wait;
        }
        for _ in 0..CHILDREN {
            let ran = has_run.clone();
            let child = does(move |_: &Cx<'_, ()>| {
                ran.fetch_add(1, Ordering::Relaxed);
                BodyPoll::Exit(Reason::NORMAL)
            });
            cx.spawn(&SpawnOptions::new().priority(atropos_kernel::Priority::Low), child).unwrap();
        }
        cx.send_after(target, Duration::from_millis(5), ()).unwrap();
        let cancelled = cx.send_after(target, Duration::from_millis(5), ()).unwrap();
        assert!(cx.cancel_timer(cancelled).is_some());
        cx.send(next, ()).unwrap();
        blocks(&world, others, 4);
        assert_eq!(has_woken.load(Ordering::Relaxed), 1, "the process of the next-up slot has run");
        assert_eq!(has_run.load(Ordering::Relaxed), CHILDREN, "the children have run");
        assert_eq!(has_told.load(Ordering::Relaxed), 0, "the timer is not due yet");
        blocks(&world, others, 4);
        assert_eq!(has_told.load(Ordering::Relaxed), 1, "the timer has fired");
        // And again, after a first rescue.
        cx.send(next, ()).unwrap();
        cx.send_after(target, Duration::ZERO, ()).unwrap();
        blocks(&world, others, 6);
        assert_eq!((has_woken.load(Ordering::Relaxed), has_told.load(Ordering::Relaxed)), (2, 2));
        BodyPoll::Wait
    });
    stage.settle();
    assert_eq!((told.load(Ordering::Relaxed), woken.load(Ordering::Relaxed)), (2, 2), "each happened twice in all");
}

/// Processes from outside in the inbox of a stuck core, while the only other core is always busy.
#[test]
fn n10_inbox_of_a_stuck_core_is_taken_by_a_busy_core() {
    let stage = stage(2);
    let world = stage.world.clone();
    let works = does(move |cx: &Cx<'_, ()>| {
        while cx.spend(1) {
            world.advance(1_000);
        }
        BodyPoll::Yield
    });
    stage.host().spawn(&SpawnOptions::new().core(1), works).unwrap();
    let (kernel, world, ran) = (stage.kernel.clone(), stage.world.clone(), Arc::new(AtomicUsize::new(0)));
    let has_run = ran.clone();
    runs_stuck(stage, move |_, others| {
        if has_run.load(Ordering::Relaxed) == 0 {
            blocks(&world, others, 3);
            let participant = kernel.register();
            for _ in 0..10 {
                let ran = has_run.clone();
                let child = does(move |_: &Cx<'_, ()>| {
                    ran.fetch_add(1, Ordering::Relaxed);
                    BodyPoll::Exit(Reason::NORMAL)
                });
                Host::new(&kernel, &participant).spawn(&SpawnOptions::new(), child).unwrap();
            }
            blocks(&world, others, 5);
            assert_eq!(has_run.load(Ordering::Relaxed), 10, "processes that the host started have run");
        }
        BodyPoll::Wait
    });
    assert_eq!(ran.load(Ordering::Relaxed), 10);
}

/// Two of four cores are stuck, the second in a process that it took when it rescued the first. A
/// destructor blocks like a body.
#[test]
fn n10_several_cores_are_stuck() {
    struct Blocks(Arc<Stepped>, Others, Arc<AtomicUsize>);
    impl Drop for Blocks {
        fn drop(&mut self) {
            let before = self.2.load(Ordering::Relaxed);
            blocks(&self.0, &self.1, 50);
            let slept = self.2.load(Ordering::Relaxed) - before;
            assert!(slept > 100, "{slept} sleeps while a destructor blocks");
        }
    }
    let mut stage = stage(4);
    let (latest, times) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..50 {
        let sleeper = sleeps(stage.world.clone(), 10, latest.clone(), times.clone());
        stage.host().spawn(&SpawnOptions::new(), does(sleeper)).unwrap();
    }
    while stage.cores[0].run(64) == RunOutcome::Worked {}
    let second: Others = Arc::new(Mutex::new(stage.cores.drain(2..).collect()));
    let (world, rest, slept) = (stage.world.clone(), second.clone(), times.clone());
    let mut ran = false;
    let stage = runs_stuck(stage, move |cx, first| {
        if std::mem::replace(&mut ran, true) {
            return BodyPoll::Wait;
        }
        let (world, rest, slept) = (world.clone(), rest.clone(), slept.clone());
        let inner = Blocks(world.clone(), rest, slept.clone());
        let mut inner = Some(inner);
        let child = does(move |_: &Cx<'_, ()>| {
            drop(inner.take());
            BodyPoll::Exit(Reason::NORMAL)
        });
        cx.spawn(&SpawnOptions::new(), child).unwrap();
        // The second core takes the child, and is stuck in it.
        blocks(&world, first, 5);
        BodyPoll::Wait
    });
    let latest = latest.load(Ordering::Relaxed);
    assert!(latest <= 12 * MILLISECOND, "late by {latest} ns");
    let times = times.load(Ordering::Relaxed);
    assert!(times > 150, "{times} sleeps");
    drop((stage, second));
}

/// Only a process that is pinned to the stuck core waits for it. Its timer fires nevertheless, and
/// its messages wait for it.
#[test]
fn n10_pinned_processes_wait() {
    let mut stage = stage(2);
    let told = Arc::new(AtomicUsize::new(0));
    let pinned = stage.host().spawn(&SpawnOptions::new().core(0), does(counts(told.clone()))).unwrap().pid;
    while stage.cores[0].run(64) == RunOutcome::Worked {}
    let (world, has_told, mut ran) = (stage.world.clone(), told.clone(), false);
    let mut stage = runs_stuck(stage, move |cx, others| {
        if !std::mem::replace(&mut ran, true) {
            cx.send(pinned, ()).unwrap();
            cx.send_after(pinned, Duration::from_millis(2), ()).unwrap();
            blocks(&world, others, 10);
            assert_eq!(has_told.load(Ordering::Relaxed), 0);
        }
        BodyPoll::Wait
    });
    stage.settle();
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

/// One idle core has the watch while other cores work. It gives the watch up when they have been
/// idle for long, and an idle core takes it again when a core begins to work.
#[test]
fn n10_one_core_has_the_watch_and_gives_it_up() {
    let mut stage = stage(3);
    let at_work = SpawnOptions::new().core(1);
    stage.host().spawn(&at_work, yields(Arc::default())).unwrap();
    let idle = |ran: RunOutcome| matches!(ran, RunOutcome::Idle { until: None });
    let watches = |ran: RunOutcome| matches!(ran, RunOutcome::Idle { until: Some(_) });
    assert_eq!(stage.cores[1].run(1), RunOutcome::Worked);
    assert!(watches(stage.cores[0].run(1)), "the first core that falls asleep has the watch");
    assert!(idle(stage.cores[2].run(1)), "only one core has the watch");
    let host = stage.host();
    let pids: Vec<Pid> = host.processes().collect();
    assert!(pids.into_iter().all(|pid| host.exit(pid, Reason::KILL) == Ok(true)));
    drop(host);
    assert_eq!(stage.cores[1].run(1), RunOutcome::Worked, "the process dies");
    assert!(idle(stage.cores[1].run(1)));
    let mut looks = 0;
    loop {
        let RunOutcome::Idle { until } = stage.cores[0].run(1) else { panic!("there is nothing to do") };
        let Some(until) = until else { break };
        stage.world.advance_to(until);
        looks += 1;
        assert!(looks < 20, "the core keeps the watch for ever");
    }
    let wakes = stage.world.wakes();
    stage.host().spawn(&at_work, yields(Arc::default())).unwrap();
    assert!(!stage.kernel.is_idle(1), "core 1 is woken");
    assert_eq!(stage.cores[1].run(1), RunOutcome::Worked);
    assert_eq!(stage.world.wakes(), wakes + 2, "one more wake-up for the watch");
    let watcher = [0, 2].into_iter().find(|core| !stage.kernel.is_idle(*core)).expect("a core is claimed");
    assert!(watches(stage.cores[watcher].run(1)));
}

/// The core that has the watch ends: another idle core is woken, and takes the watch.
#[test]
fn n10_watch_outlives_its_core() {
    let mut stage = stage(3);
    stage.host().spawn(&SpawnOptions::new().core(1), yields(Arc::default())).unwrap();
    assert_eq!(stage.cores[1].run(1), RunOutcome::Worked);
    assert!(matches!(stage.cores[2].run(1), RunOutcome::Idle { until: Some(_) }), "core 2 has the watch");
    assert_eq!(stage.cores[0].run(1), RunOutcome::Idle { until: None });
    let wakes = stage.world.wakes();
    drop(stage.cores.pop());
    assert!(!stage.kernel.is_idle(0), "core 0 is claimed");
    assert_eq!(stage.world.wakes(), wakes + 1, "core 0 is woken");
    assert!(matches!(stage.cores[0].run(1), RunOutcome::Idle { until: Some(_) }), "core 0 has the watch");
}

/// A waker that remains in the leaked future of a dead process, and whose destructor blocks. The
/// destructor is foreign code, so the core leaves its private half while the destructor runs
/// (`kernel::core_local`, H1).
#[test]
fn n10_destructor_of_the_last_waker_blocks() {
    struct Blocks {
        world: Arc<Stepped>,
        others: Others,
        times: Arc<AtomicUsize>,
        seen: Arc<AtomicUsize>,
    }
    impl Wake for Blocks {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Blocks {
        fn drop(&mut self) {
            blocks(&self.world, &self.others, 100);
            self.seen.store(self.times.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
    const SLEEPERS: usize = 20;
    let mut stage = stage(2);
    let [times, seen] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    for _ in 0..SLEEPERS {
        let sleeper = sleeps(stage.world.clone(), 10, Arc::default(), times.clone());
        stage.host().spawn(&SpawnOptions::new(), does(sleeper)).unwrap();
    }
    while stage.cores[0].run(64) == RunOutcome::Worked {}
    let others: Others = Arc::new(Mutex::new(stage.cores.drain(1..).collect()));
    let blocks = Blocks { world: stage.world.clone(), others: others.clone(), times, seen: seen.clone() };
    let leaks = async move |cx: Context<()>| {
        let waker = Waker::from(Arc::new(blocks));
        let mut waits = Box::pin(cx.recv());
        assert!(waits.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_pending());
        std::mem::forget(waits);
    };
    stage.host().spawn_async(&SpawnOptions::new().core(0), leaks).unwrap();
    for _ in 0..10 {
        let _ = stage.cores[0].run(64);
    }
    stage.cores.append(&mut others.lock().unwrap());
    // Each sleeper has slept ten times if another core has fired its timers.
    assert!(seen.load(Ordering::Relaxed) >= 4 * SLEEPERS, "{}", seen.load(Ordering::Relaxed));
}
