//! Nobody waits for ever: run queues, priorities, pinning, and the cores that sleep. Each was a fault once.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Core, Cx, Kernel, Options, Pid, Priority, RunOutcome, Reason, Received, Resumed, SpawnOptions};

use common::{Stage, does, yields};

/// More processes that never rest than the ring holds: all get their turns.
#[test]
fn what_overflows_gets_its_turn() {
    const MANY: usize = 700;
    let mut stage = Stage::new(Options::default());
    let turns: Vec<_> = (0..MANY).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    for turns in &turns {
        stage.host().spawn(&SpawnOptions::new(), yields(turns.clone())).unwrap();
    }
    for _ in 0..40 {
        assert_eq!(stage.cores[0].run(MANY as u32), RunOutcome::Worked);
    }
    let turns: Vec<_> = turns.iter().map(|turns| turns.load(Ordering::Relaxed)).collect();
    let (least, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
    assert!(*least >= 30 && *most <= 50, "of 40 rounds one had {least} turns and one {most}");
}

/// Whatever the priority, and wherever it may run, and whether others of another priority are there.
#[test]
fn all_priorities_are_looked_for() {
    for priority in [Priority::High, Priority::Normal, Priority::Low] {
        for (pinned, beside) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
            if beside {
                stage.host().spawn(&SpawnOptions::new(), yields(Arc::default())).unwrap();
            }
            let turns = Arc::new(AtomicUsize::new(0));
            let options = SpawnOptions::new().priority(priority);
            let options = if pinned { options.core(1) } else { options };
            stage.host().spawn(&options, yields(turns.clone())).unwrap();
            for _ in 0..10 {
                for core in &mut stage.cores {
                    let _ = core.run(64);
                }
            }
            assert!(turns.load(Ordering::Relaxed) > 0, "{priority:?}, pinned {pinned}, with others {beside}: no turn");
        }
    }
}

/// Two that wake each other run from the next-up slot, at every second pick; what is pinned, and what is of low
/// priority, is not locked out by that beat.
#[test]
fn a_beat_locks_nobody_out() {
    for (pinned, before) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let mut stage = Stage::new(Options::default());
        let turns = Arc::new(AtomicUsize::new(0));
        // On the beat, and off it.
        for _ in 0..before {
            stage.host().spawn(&SpawnOptions::new(), does(|_: &Cx<'_, ()>| Resumed::Wait)).unwrap();
            stage.settle();
        }
        let mut options = SpawnOptions::new().priority(Priority::Low);
        if pinned {
            options = SpawnOptions::new().core(0);
        }
        stage.host().spawn(&options, yields(turns.clone())).unwrap();
        let waits = || {
            does(|cx: &Cx<'_, u8>| {
                while cx.receive().is_some() {}
                Resumed::Wait
            })
        };
        // Each of its turns wakes one that then runs next: the beat.
        for _ in 0..2 {
            let woken = stage.host().spawn(&SpawnOptions::new(), waits()).unwrap().pid;
            let wakes = does(move |cx: &Cx<'_, ()>| {
                cx.send(woken, 0_u8).unwrap();
                Resumed::Yield
            });
            stage.host().spawn(&SpawnOptions::new(), wakes).unwrap();
        }
        let _ = stage.cores[0].run(64 * 100);
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns >= 40, "{turns} turns in 6400 slices, pinned: {pinned}");
    }
}

/// Many who never rest send to one that reads as fast as it may: each loses its slice the sooner the more waits there, so that
/// the mailbox stays within bounds that do not depend on how many they are; and nobody is stopped.
#[test]
fn who_fills_a_long_mailbox_pays_for_it() {
    const MANY: usize = 64;
    let mut stage = Stage::new(Options::default());
    let (most, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let longest = most.clone();
    // It has always something to do, so it is never woken, and has its turn behind all the others.
    let reads = does(move |cx: &Cx<'_, u8>| {
        while !cx.is_exhausted() {
            if cx.receive().is_none() {
                cx.spend(1);
            }
        }
        let mut waits = 0;
        cx.for_each_waiting(|_| waits += 1);
        longest.fetch_max(waits, Ordering::Relaxed);
        Resumed::Yield
    });
    let reader = stage.host().spawn(&SpawnOptions::new(), reads).unwrap().pid;
    let each: Vec<_> = (0..MANY).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    for own in &each {
        let (own, sent) = (own.clone(), sent.clone());
        let fills = does(move |cx: &Cx<'_, ()>| {
            while !cx.is_exhausted() {
                cx.send(reader, 0_u8).unwrap();
                own.fetch_add(1, Ordering::Relaxed);
                sent.fetch_add(1, Ordering::Relaxed);
            }
            Resumed::Yield
        });
        stage.host().spawn(&SpawnOptions::new(), fills).unwrap();
    }
    for _ in 0..150 {
        assert_eq!(stage.cores[0].run(MANY as u32 + 1), RunOutcome::Worked);
    }
    // The first round, in which nobody knows yet, brings 64 slices' worth; without the charge each round did.
    let most = most.load(Ordering::Relaxed);
    assert!(most < 300_000, "{most} messages waited");
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 500_000, "{sent} messages were sent");
    let (least, most) = each
        .iter()
        .map(|own| own.load(Ordering::Relaxed))
        .fold((usize::MAX, 0), |(least, most), own| (least.min(own), most.max(own)));
    assert!(most <= 2 * least, "one has sent {least}, one {most}");
}

/// Whoever has enough to read meets an exit all the same, before it has read it all and within one slice. Who sends it in
/// the midst of a slice is another thread, or does as one: so only where there may be others.
#[cfg(feature = "epoch")]
#[test]
fn an_exit_is_met_in_the_midst_of_messages() {
    use atropos_kernel::{Host, Reason};
    const MANY: usize = 2000;
    let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
    let read = Arc::new(AtomicUsize::new(0));
    let (counts, kernel) = (read.clone(), stage.kernel.clone());
    let reads = does(move |cx: &Cx<'_, u8>| {
        while cx.receive().is_some() {
            if counts.fetch_add(1, Ordering::Relaxed) == 0 {
                // From elsewhere, while it runs.
                let participant = kernel.register();
                Host::new(&kernel, &participant).exit(cx.pid(), Reason::KILL).unwrap();
            }
        }
        Resumed::Wait
    });
    let reader = stage.host().spawn(&SpawnOptions::new(), reads).unwrap().pid;
    stage.settle();
    for _ in 0..MANY {
        stage.host().send(reader, 0_u8).unwrap();
    }
    stage.settle();
    let read = read.load(Ordering::Relaxed);
    assert!(read < 200, "it read {read} messages after it was killed");
    assert!(!stage.host().is_alive(reader));
}

/// What a process sends itself is found by its next receive, also when there is enough to receive already: the DOWN of one who is
/// dead is there, and its monitor is over.
#[test]
fn what_one_sends_oneself_is_found_at_once() {
    let mut stage = Stage::new(Options::default());
    let dead =
        stage.host().spawn(&SpawnOptions::new(), does(|_: &Cx<'_, ()>| Resumed::Exit(Reason::NORMAL))).unwrap().pid;
    stage.settle();
    let done = Arc::new(AtomicUsize::new(0));
    let says = done.clone();
    let monitors = does(move |cx: &Cx<'_, u8>| {
        if cx.receive().is_none() {
            return Resumed::Wait;
        }
        let monitor = cx.monitor(dead).unwrap();
        assert!(matches!(cx.receive(), Some(Received::Message(2))));
        assert!(!cx.demonitor(monitor, false), "its DOWN has come");
        assert!(matches!(cx.receive(), Some(Received::Message(3))));
        assert!(matches!(cx.receive(), Some(Received::Down(down)) if down.reference == monitor));
        says.fetch_add(1, Ordering::Relaxed);
        Resumed::Wait
    });
    let watcher = stage.host().spawn(&SpawnOptions::new(), monitors).unwrap().pid;
    stage.settle();
    for number in 1..=3_u8 {
        stage.host().send(watcher, number).unwrap();
    }
    stage.settle();
    assert_eq!(done.load(Ordering::Relaxed), 1);
}

/// A child that was hidden in the next-up slot, and its parent, both go on for ever: a sleeping core takes one.
#[test]
fn a_sleeping_core_helps_with_what_yields() {
    let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
    let child = Arc::new(AtomicUsize::new(0));
    let turns = child.clone();
    let mut spawned = false;
    let parent = does(move |cx: &Cx<'_, ()>| {
        if !std::mem::replace(&mut spawned, true) {
            cx.spawn(&SpawnOptions::new(), yields(turns.clone())).unwrap();
        }
        Resumed::Yield
    });
    stage.settle();
    stage.host().spawn(&SpawnOptions::new(), parent).unwrap();
    let before = stage.world.wakes.load(Ordering::Relaxed);
    let _ = stage.cores[0].run(20);
    assert!(stage.world.wakes.load(Ordering::Relaxed) > before, "the other core sleeps on");
    assert_eq!(stage.cores[1].run(1), RunOutcome::Worked, "there is one for it");
}

/// A core is preempted in the middle of a slice in which it has spawned more than its ring holds. Who steals what has
/// overflowed has it where others find it before it runs any of it: the next searcher need not wait for a slice's end.
#[cfg(feature = "epoch")]
#[test]
fn a_stolen_overflow_is_seen_at_once() {
    use atropos_kernel::internals::config::RING;
    const CHILDREN: usize = 2000;
    let mut stage = Stage::new(Options { cores: 3, ..Options::default() });
    stage.settle();
    let third = Arc::new(Mutex::new(Some(stage.cores.pop().unwrap())));
    let second = Arc::new(Mutex::new(stage.cores.pop().unwrap()));
    let (ran, helped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (thief, next, turns, by_next) = (second.clone(), third.clone(), ran.clone(), helped.clone());
    let parent = does(move |cx: &Cx<'_, ()>| {
        for number in 0..CHILDREN {
            let (next, ran, helped) = (next.clone(), turns.clone(), by_next.clone());
            let child = does(move |_: &Cx<'_, ()>| {
                // The first of those behind the ring, in the thief's slice: what was stolen with it is there for the next.
                let searcher = if number == RING { next.lock().unwrap().take() } else { None };
                if let Some(mut searcher) = searcher {
                    let before = ran.load(Ordering::Relaxed);
                    assert_eq!(searcher.run(1), RunOutcome::Worked, "there is one for it");
                    helped.store(ran.load(Ordering::Relaxed) - before, Ordering::Relaxed);
                    *next.lock().unwrap() = Some(searcher);
                }
                ran.fetch_add(1, Ordering::Relaxed);
                Resumed::Exit(atropos_kernel::Reason::NORMAL)
            });
            cx.spawn(&SpawnOptions::new(), child).unwrap();
        }
        // Preempted here. The thief takes the ring, by halves, then what has overflowed, and is in a slice of that.
        while by_next.load(Ordering::Relaxed) == 0 {
            assert_eq!(thief.lock().unwrap().run(1), RunOutcome::Worked);
            assert!(turns.load(Ordering::Relaxed) <= RING + 1, "nobody else runs: the searcher has found none");
        }
        Resumed::Exit(atropos_kernel::Reason::NORMAL)
    });
    stage.host().spawn(&SpawnOptions::new().core(0), parent).unwrap();
    assert_eq!(stage.cores[0].run(1), RunOutcome::Worked);
    assert_eq!(helped.load(Ordering::Relaxed), 1, "its first slice is one of the stolen");
    stage.cores.extend([Arc::into_inner(second).unwrap().into_inner().unwrap()]);
    stage.cores.extend(third.lock().unwrap().take());
    stage.settle();
    assert_eq!(ran.load(Ordering::Relaxed), CHILDREN);
}

/// A kill keeps its place behind what its sender sent before, whoever has woken the process meanwhile.
#[test]
fn a_kill_keeps_its_place() {
    let mut stage = Stage::new(Options::default());
    let waker = Arc::new(Mutex::new(None));
    let given = waker.clone();
    let target = does(move |cx: &Cx<'_, u8>| {
        while cx.receive().is_some() {}
        *given.lock().unwrap() = Some(cx.waker());
        Resumed::Wait
    });
    let target = stage.host().spawn(&SpawnOptions::new().priority(Priority::Low), target).unwrap().pid;
    stage.settle();
    waker.lock().unwrap().take().expect("it has run").wake();
    let seen = Arc::new(AtomicUsize::new(0));
    let noted = seen.clone();
    let mut target_of: Option<Pid> = Some(target);
    let killer = does(move |cx: &Cx<'_, ()>| {
        if let Some(target) = target_of.take() {
            cx.send(target, 1_u8).unwrap();
            cx.monitor(target).unwrap();
            cx.exit(target, atropos_kernel::Reason::KILL).unwrap();
        }
        while let Some(Received::Down(down)) = cx.receive() {
            assert_eq!(down.reason, atropos_kernel::Reason::KILLED, "the monitor came before the kill");
            noted.fetch_add(1, Ordering::Relaxed);
        }
        Resumed::Wait
    });
    stage.host().spawn(&SpawnOptions::new().priority(Priority::High), killer).unwrap();
    stage.settle();
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

/// Timers that fired are not kept by the process that they were for.
#[test]
fn timers_for_others_leave_nothing() {
    const MANY: usize = 10_000;
    let limits = atropos_kernel::Limits { nodes: 1 << 20, ..atropos_kernel::Limits::default() };
    let mut stage = Stage::new(Options { limits, ..Options::default() });
    let got = Arc::new(AtomicUsize::new(0));
    let count = got.clone();
    let target = does(move |cx: &Cx<'_, u8>| {
        while cx.receive().is_some() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Resumed::Wait
    });
    let target = stage.host().spawn(&SpawnOptions::new(), target).unwrap().pid;
    let mut left = MANY;
    let starter = does(move |cx: &Cx<'_, ()>| {
        for _ in 0..100.min(left) {
            cx.send_after(target, std::time::Duration::ZERO, 1_u8).unwrap();
            let cancelled = cx.send_after(target, std::time::Duration::from_secs(9), 1_u8).unwrap();
            assert!(cx.cancel_timer(cancelled).is_some());
        }
        left = left.saturating_sub(100);
        if left == 0 { Resumed::Wait } else { Resumed::Yield }
    });
    stage.host().spawn(&SpawnOptions::new(), starter).unwrap();
    stage.settle();
    stage.pass(std::time::Duration::from_millis(1));
    assert_eq!(got.load(Ordering::Relaxed), MANY);
    let used = stage.kernel.nodes_used();
    assert!(used < 500, "{used} nodes are kept");
}

#[test]
#[should_panic(expected = "made before")]
fn a_core_has_one_owner() {
    let stage = Stage::new(Options::default());
    let kernel: &Arc<Kernel> = &stage.kernel;
    drop(Core::new(kernel.clone(), 0));
}

#[test]
#[should_panic(expected = "another domain")]
fn a_stranger_is_no_host() {
    let (stage, other) = (Stage::new(Options::default()), Stage::new(Options::default()));
    drop(atropos_kernel::Host::new(&stage.kernel, &other.participant));
}

/// A limit so small that a core's share of it rounds to nothing is a limit all the same, and no less.
#[test]
fn a_limit_of_one_is_one() {
    let limits = atropos_kernel::Limits { processes: 1, ..atropos_kernel::Limits::default() };
    let mut stage = Stage::new(Options { cores: 2, limits, ..Options::default() });
    for _ in 0..100 {
        let ends = does(|_: &Cx<'_, ()>| Resumed::Exit(atropos_kernel::Reason::NORMAL));
        stage.host().spawn(&SpawnOptions::new(), ends).expect("there is room for one");
        let refused = stage.host().spawn(&SpawnOptions::new(), does(|_: &Cx<'_, ()>| Resumed::Wait));
        assert_eq!(refused.unwrap_err(), atropos_kernel::SpawnError::TooMany);
        stage.settle();
    }
}

/// A core is claimed for work that lies at another, and before it looks for that, it gets some of its own that never ends: a pinned
/// process's message, or a timer's. It passes the wake on; the core that slept all the while takes the work.
#[test]
fn who_is_claimed_and_finds_other_work_passes_the_wake_on() {
    for by_timer in [false, true] {
        // The work lies at core 0 or at core 1, by turns: the claimed one is always core 0.
        for turn in 0..2 {
            let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
            let mut spins = false;
            let busy = does::<(), _>(move |cx: &Cx<'_, ()>| {
                if by_timer && !std::mem::replace(&mut spins, true) {
                    cx.send_after(cx.pid(), Duration::from_secs(1), ()).expect("memory");
                    return Resumed::Wait;
                }
                if !spins && cx.receive().is_none() {
                    return Resumed::Wait;
                }
                spins = true;
                while cx.spend(1) {}
                Resumed::Yield
            });
            let options = if by_timer { SpawnOptions::new() } else { SpawnOptions::new().core(0) };
            let busy = stage.host().spawn(&options, busy).expect("a process").pid;
            while stage.cores[0].run(100) == RunOutcome::Worked {}
            let answers = Arc::new(AtomicUsize::new(0));
            let count = answers.clone();
            let waits = does::<(), _>(move |cx: &Cx<'_, ()>| {
                count.fetch_add(usize::from(cx.receive().is_some()), Ordering::Relaxed);
                Resumed::Wait
            });
            let waits = stage.host().spawn(&SpawnOptions::new(), waits).expect("a process").pid;
            for _ in 0..turn {
                stage.settle();
                stage.host().send(waits, ()).expect("it lives");
            }
            stage.settle();
            let before = answers.load(Ordering::Relaxed);
            assert!(stage.kernel.is_idle(0) && stage.kernel.is_idle(1));
            stage.host().send(waits, ()).expect("it lives");
            assert!(!stage.kernel.is_idle(0), "claimed");
            if by_timer {
                stage.world.now.fetch_add(2_000_000_000, Ordering::Relaxed);
            } else {
                stage.host().send(busy, ()).expect("it lives");
            }
            // As a driver does: who has said that it is idle is run when it has been claimed.
            for _ in 0..100 {
                for core in 0..2 {
                    if !stage.kernel.is_idle(core) {
                        let _ = stage.cores[core].run(10);
                    }
                }
            }
            assert_eq!(answers.load(Ordering::Relaxed), before + 1, "by timer: {by_timer}, turn {turn}");
        }
    }
}
