//! No process waits for ever: run queues, priorities, pinning, and sleeping cores. Each test is a
//! former fault.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{BodyPoll, Core, Cx, Kernel, Options, Pid, Priority, Reason, Received, RunOutcome, SpawnOptions};

use common::{Stage, does, yields};

/// More busy processes than the ring holds: all get their turns.
#[test]
fn overflowed_processes_get_their_turns() {
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
    assert!(*least >= 30 && *most <= 50, "in 40 rounds one process had {least} turns and one {most}");
}

/// A process gets its turn at any priority, pinned or not, and with or without processes of another
/// priority beside it.
#[test]
fn processes_of_all_priorities_are_found() {
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
            assert!(
                turns.load(Ordering::Relaxed) > 0,
                "{priority:?}, pinned {pinned}, with other priorities {beside}: no turn"
            );
        }
    }
}

/// Two processes that wake each other run from the next-up slot, at every second pick. This rhythm
/// does not lock out pinned processes and processes of low priority.
#[test]
fn ping_pong_rhythm_locks_no_process_out() {
    for (pinned, before) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let mut stage = Stage::new(Options::default());
        let turns = Arc::new(AtomicUsize::new(0));
        // In phase with the rhythm, and out of phase.
        for _ in 0..before {
            stage.host().spawn(&SpawnOptions::new(), does(|_: &Cx<'_, ()>| BodyPoll::Wait)).unwrap();
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
                BodyPoll::Wait
            })
        };
        // Each of its turns wakes a process that then runs next: the rhythm.
        for _ in 0..2 {
            let woken = stage.host().spawn(&SpawnOptions::new(), waits()).unwrap().pid;
            let wakes = does(move |cx: &Cx<'_, ()>| {
                cx.send(woken, 0_u8).unwrap();
                BodyPoll::Yield
            });
            stage.host().spawn(&SpawnOptions::new(), wakes).unwrap();
        }
        let _ = stage.cores[0].run(64 * 100);
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns >= 40, "{turns} turns in 6400 slices, pinned: {pinned}");
    }
}

/// Many busy processes send to one process that reads as fast as it may. Each sender loses its
/// slice the earlier the more messages wait there. The mailbox therefore stays within bounds that
/// do not depend on the number of senders, and no sender is blocked.
#[test]
fn senders_to_a_long_mailbox_are_charged() {
    const MANY: usize = 64;
    let mut stage = Stage::new(Options::default());
    let (most, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let longest = most.clone();
    // The reader always has work, so it is never woken, and has its turn after all the senders.
    let reads = does(move |cx: &Cx<'_, u8>| {
        while !cx.is_exhausted() {
            if cx.receive().is_none() {
                cx.spend(1);
            }
        }
        let mut waits = 0;
        cx.for_each_waiting(|_| waits += 1);
        longest.fetch_max(waits, Ordering::Relaxed);
        BodyPoll::Yield
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
            BodyPoll::Yield
        });
        stage.host().spawn(&SpawnOptions::new(), fills).unwrap();
    }
    for _ in 0..150 {
        assert_eq!(stage.cores[0].run(MANY as u32 + 1), RunOutcome::Worked);
    }
    // In the first round no sender knows the length yet, so it brings 64 slices' worth of messages;
    // without the charge each round did.
    let most = most.load(Ordering::Relaxed);
    assert!(most < 300_000, "{most} messages waited");
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 500_000, "{sent} messages were sent");
    let (least, most) = each
        .iter()
        .map(|own| own.load(Ordering::Relaxed))
        .fold((usize::MAX, 0), |(least, most), own| (least.min(own), most.max(own)));
    assert!(most <= 2 * least, "one sender has sent {least}, one {most}");
}

/// A process with many unread messages nevertheless handles an exit signal before it has read them
/// all, and within one slice. The sender in the middle of that slice is another thread, or acts as
/// one: hence only where other threads may exist.
#[cfg(feature = "epoch")]
#[test]
fn exit_signal_is_handled_between_messages() {
    use atropos_kernel::{Host, Reason};
    const MANY: usize = 2000;
    let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
    let read = Arc::new(AtomicUsize::new(0));
    let (counts, kernel) = (read.clone(), stage.kernel.clone());
    let reads = does(move |cx: &Cx<'_, u8>| {
        while cx.receive().is_some() {
            if counts.fetch_add(1, Ordering::Relaxed) == 0 {
                // From another thread, while the process runs.
                let participant = kernel.register();
                Host::new(&kernel, &participant).exit(cx.pid(), Reason::KILL).unwrap();
            }
        }
        BodyPoll::Wait
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

/// A signal that a process sends to itself is found by its next receive, even if there are other
/// signals to receive: the DOWN of a dead target has arrived, and its monitor has ended.
#[test]
fn own_messages_are_found_by_the_next_receive() {
    let mut stage = Stage::new(Options::default());
    let dead =
        stage.host().spawn(&SpawnOptions::new(), does(|_: &Cx<'_, ()>| BodyPoll::Exit(Reason::NORMAL))).unwrap().pid;
    stage.settle();
    let done = Arc::new(AtomicUsize::new(0));
    let says = done.clone();
    let monitors = does(move |cx: &Cx<'_, u8>| {
        if cx.receive().is_none() {
            return BodyPoll::Wait;
        }
        let monitor = cx.monitor(dead).unwrap();
        assert!(matches!(cx.receive(), Some(Received::Message(2))));
        assert!(!cx.demonitor(monitor, false), "its DOWN has arrived");
        assert!(matches!(cx.receive(), Some(Received::Message(3))));
        assert!(matches!(cx.receive(), Some(Received::Down(down)) if down.reference == monitor));
        says.fetch_add(1, Ordering::Relaxed);
        BodyPoll::Wait
    });
    let watcher = stage.host().spawn(&SpawnOptions::new(), monitors).unwrap().pid;
    stage.settle();
    for number in 1..=3_u8 {
        stage.host().send(watcher, number).unwrap();
    }
    stage.settle();
    assert_eq!(done.load(Ordering::Relaxed), 1);
}

/// A child in the next-up slot, which other cores do not see, and its parent both run for ever: a
/// sleeping core takes one of them.
#[test]
fn sleeping_core_takes_a_yielding_process() {
    let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
    let child = Arc::new(AtomicUsize::new(0));
    let turns = child.clone();
    let mut spawned = false;
    let parent = does(move |cx: &Cx<'_, ()>| {
        if !std::mem::replace(&mut spawned, true) {
            cx.spawn(&SpawnOptions::new(), yields(turns.clone())).unwrap();
        }
        BodyPoll::Yield
    });
    stage.settle();
    stage.host().spawn(&SpawnOptions::new(), parent).unwrap();
    let before = stage.world.wakes();
    let _ = stage.cores[0].run(20);
    assert!(stage.world.wakes() > before, "the other core sleeps on");
    assert_eq!(stage.cores[1].run(1), RunOutcome::Worked, "one process is left for it");
}

/// A core is preempted in the middle of a slice in which it has spawned more processes than its
/// ring holds. The thief of the overflow publishes it where other cores find it before it runs any
/// of it: the next searcher need not wait for the end of a slice.
#[cfg(feature = "epoch")]
#[test]
fn stolen_overflow_is_visible_at_once() {
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
                // The first process after those of the ring, in the thief's slice: the processes
                // stolen with it are there for the next searcher.
                let searcher = if number == RING { next.lock().unwrap().take() } else { None };
                if let Some(mut searcher) = searcher {
                    let before = ran.load(Ordering::Relaxed);
                    assert_eq!(searcher.run(1), RunOutcome::Worked, "one process is left for it");
                    helped.store(ran.load(Ordering::Relaxed) - before, Ordering::Relaxed);
                    *next.lock().unwrap() = Some(searcher);
                }
                ran.fetch_add(1, Ordering::Relaxed);
                BodyPoll::Exit(atropos_kernel::Reason::NORMAL)
            });
            cx.spawn(&SpawnOptions::new(), child).unwrap();
        }
        // The core is preempted here. The thief takes the ring, by halves, then the overflow, and
        // runs a process of that.
        while by_next.load(Ordering::Relaxed) == 0 {
            assert_eq!(thief.lock().unwrap().run(1), RunOutcome::Worked);
            assert!(turns.load(Ordering::Relaxed) <= RING + 1, "no other process runs: the searcher has found none");
        }
        BodyPoll::Exit(atropos_kernel::Reason::NORMAL)
    });
    stage.host().spawn(&SpawnOptions::new().core(0), parent).unwrap();
    assert_eq!(stage.cores[0].run(1), RunOutcome::Worked);
    assert_eq!(helped.load(Ordering::Relaxed), 1, "its first slice runs a stolen process");
    stage.cores.extend([Arc::into_inner(second).unwrap().into_inner().unwrap()]);
    stage.cores.extend(third.lock().unwrap().take());
    stage.settle();
    assert_eq!(ran.load(Ordering::Relaxed), CHILDREN);
}

/// A kill keeps its place after the signals that its sender sent before, even if another thread has
/// woken the process in between.
#[test]
fn kill_keeps_its_place_in_order() {
    let mut stage = Stage::new(Options::default());
    let waker = Arc::new(Mutex::new(None));
    let given = waker.clone();
    let target = does(move |cx: &Cx<'_, u8>| {
        while cx.receive().is_some() {}
        *given.lock().unwrap() = Some(cx.waker());
        BodyPoll::Wait
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
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new().priority(Priority::High), killer).unwrap();
    stage.settle();
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

/// A process does not keep the timers that were started for it and have fired.
#[test]
fn fired_timers_for_another_process_are_freed() {
    const MANY: usize = 10_000;
    let limits = atropos_kernel::Limits { nodes: 1 << 20, ..atropos_kernel::Limits::default() };
    let mut stage = Stage::new(Options { limits, ..Options::default() });
    let got = Arc::new(AtomicUsize::new(0));
    let count = got.clone();
    let target = does(move |cx: &Cx<'_, u8>| {
        while cx.receive().is_some() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        BodyPoll::Wait
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
        if left == 0 { BodyPoll::Wait } else { BodyPoll::Yield }
    });
    stage.host().spawn(&SpawnOptions::new(), starter).unwrap();
    stage.settle();
    stage.pass(std::time::Duration::from_millis(1));
    assert_eq!(got.load(Ordering::Relaxed), MANY);
    let used = stage.kernel.nodes_used();
    assert!(used < 500, "{used} nodes are still in use");
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

/// A limit so small that a core's share of it rounds to zero is still enforced exactly.
#[test]
fn process_limit_of_one_is_exact() {
    let limits = atropos_kernel::Limits { processes: 1, ..atropos_kernel::Limits::default() };
    let mut stage = Stage::new(Options { cores: 2, limits, ..Options::default() });
    for _ in 0..100 {
        let ends = does(|_: &Cx<'_, ()>| BodyPoll::Exit(atropos_kernel::Reason::NORMAL));
        stage.host().spawn(&SpawnOptions::new(), ends).expect("there is room for one");
        let refused = stage.host().spawn(&SpawnOptions::new(), does(|_: &Cx<'_, ()>| BodyPoll::Wait));
        assert_eq!(refused.unwrap_err(), atropos_kernel::SpawnError::TooMany);
        stage.settle();
    }
}

/// A core is claimed for work that lies at another core. Before it searches for that work, it gets
/// work of its own that never ends: the message of a pinned process, or a timer. It passes the
/// wake-up on, and the core that slept until then takes the other work.
#[test]
fn claimed_core_with_own_work_passes_the_wake_up_on() {
    for by_timer in [false, true] {
        // The work lies at core 0 or at core 1, alternating; the claimed core is always core 0.
        for turn in 0..2 {
            let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
            let mut spins = false;
            let busy = does::<(), _>(move |cx: &Cx<'_, ()>| {
                if by_timer && !std::mem::replace(&mut spins, true) {
                    cx.send_after(cx.pid(), Duration::from_secs(1), ()).expect("memory");
                    return BodyPoll::Wait;
                }
                if !spins && cx.receive().is_none() {
                    return BodyPoll::Wait;
                }
                spins = true;
                while cx.spend(1) {}
                BodyPoll::Yield
            });
            let options = if by_timer { SpawnOptions::new() } else { SpawnOptions::new().core(0) };
            let busy = stage.host().spawn(&options, busy).expect("a process").pid;
            while stage.cores[0].run(100) == RunOutcome::Worked {}
            let answers = Arc::new(AtomicUsize::new(0));
            let count = answers.clone();
            let waits = does::<(), _>(move |cx: &Cx<'_, ()>| {
                count.fetch_add(usize::from(cx.receive().is_some()), Ordering::Relaxed);
                BodyPoll::Wait
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
            assert!(!stage.kernel.is_idle(0), "core 0 is claimed");
            if by_timer {
                stage.world.advance(2_000_000_000);
            } else {
                stage.host().send(busy, ()).expect("it lives");
            }
            // As a driver does: a core that has reported that it is idle is run once it has been
            // claimed.
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

/// Timers that have become due before their core looks at them wake their processes in order: the
/// last one does not overtake the others (`runq`, F6).
#[test]
fn timers_that_are_late_together_wake_in_order() {
    for times in [vec![2, 1], vec![91, 2, 39, 6, 17, 7, 90], (0..700).map(|i| 1 + i * 37 % 701).collect()] {
        let mut stage = Stage::new(Options::default());
        let woken = Arc::new(Mutex::new(Vec::new()));
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
        // No clock advances beside the bodies.
        while stage.cores[0].run(64) == RunOutcome::Worked {}
        stage.world.advance(1_000_000_000);
        stage.settle();
        let mut sorted = times;
        sorted.sort_unstable();
        assert_eq!(*woken.lock().unwrap(), sorted);
    }
}
