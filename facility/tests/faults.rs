//! Faults of a scheduler that takes a body out of its slot while it runs it (requirements 2.2),
//! each as a test that such a scheduler fails.
//!
//! The kernel's `failing_memory` covers (n); its `clock` covers (q) and the idleness of (r), in
//! virtual time. Fault (t), a lock order that no code follows, cannot be written here: there are no
//! locks, which the source rules of `cargo xtask lint` enforce. Its test is the program that such
//! locks would have deadlocked.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use atropos::facility::{
    KernelFacilities, LinkError, LinkFacility as _, SpawnFacility as _, SpawnFlags, SupervisionFacility as _,
};
use atropos::{BodyPoll, Handle, Pid, Reason, Received, Runtime};
use common::{Event, Probe, native, run, runtime, spawner, until};

#[test]
fn fault_2_2_a_a_process_that_ends_by_itself_signals_its_links() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (a, b) = (Probe::start(&runtime), Probe::start(&runtime));
    native.link(a.raw(), b.raw()).expect("both live");
    a.stop(Reason::crash("by itself"));
    assert_eq!(b.ends(), Reason::crash("by itself"));
}

#[test]
fn fault_2_2_b_a_busy_process_gets_its_signals() {
    let runtime = runtime(2);
    let (native, spawner, from) = (native(&runtime), spawner(&runtime), Probe::start(&runtime));
    for (reason, seen) in [(Reason::KILL, Reason::KILLED), (Reason::SHUTDOWN, Reason::SHUTDOWN)] {
        let spins = run(|cx| {
            while cx.spend(1) {}
            BodyPoll::Yield
        });
        let busy = spawner.spawn(from.raw(), spins, SpawnFlags::default()).expect("a process").pid;
        native.exit_signal(from.raw(), busy, reason).expect("both live");
        assert_eq!(common::ends(&runtime, Pid::from_raw(busy).expect("a pid")), seen);
        // The same over a link.
        let other = Probe::start(&runtime);
        let spins = run(|cx| {
            while cx.spend(1) {}
            BodyPoll::Yield
        });
        let busy =
            spawner.spawn(other.raw(), spins, SpawnFlags { link: true, ..SpawnFlags::default() }).expect("a process");
        other.stop(Reason::value("a crash"));
        assert_eq!(common::ends(&runtime, Pid::from_raw(busy.pid).expect("a pid")), Reason::value("a crash"));
    }
}

#[test]
fn fault_2_2_c_the_running_process_itself_may_call_all_of_them() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (parent, other) = (Probe::start(&runtime), Probe::start(&runtime));
    let (spawner, it) = (spawner(&runtime), other.raw());
    let child = parent.ask(move |cx| {
        let me = cx.pid().to_raw();
        assert_eq!(native.set_trap_exit(me, true), Ok(false));
        assert_eq!(native.link(me, it), Ok(()));
        assert!(native.monitor(me, it).is_ok());
        let flags = SpawnFlags { link: true, ..SpawnFlags::default() };
        let child = spawner.spawn(me, run(|_| BodyPoll::Wait), flags).expect("a process").pid;
        assert_eq!(native.is_linked(me, child).ok().and_then(|linked| linked.known()), Some(true), "both sides");
        assert_eq!(native.exit_signal(me, child, Reason::value("a crash")), Ok(()));
        child
    });
    until("the EXIT has arrived", || parent.events() == [Event::Exit(Some(child), Reason::value("a crash"))]);
    other.stop(Reason::SHUTDOWN);
    assert_eq!(parent.events().len(), 3);
}

#[test]
fn fault_2_2_d_a_down_to_a_running_watcher_comes() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (watcher, early, late) = (Probe::start(&runtime), Probe::start(&runtime), Probe::start(&runtime));
    early.kill();
    let kept = watcher.keep();
    assert!(native.monitor(watcher.raw(), early.raw()).expect("it existed").immediate_down);
    assert!(!native.monitor(watcher.raw(), late.raw()).expect("both live").immediate_down);
    late.kill();
    drop(kept);
    assert_eq!(watcher.downs().len(), 2);
}

#[test]
fn fault_2_2_e_no_wake_up_is_lost() {
    let runtime = runtime(2);
    let (send, receive) = channel();
    let echo = runtime.spawn(async move |cx: atropos::Context<u32>| {
        while let Received::Message(number) = cx.recv().await {
            send.send(number).expect("the test waits");
        }
    });
    let echo = echo.expect("a process");
    for number in 0..100_000 {
        runtime.send(echo, number).expect("alive");
        // The receiver is as often as possible about to sleep.
        assert_eq!(common::next(&receive), number);
    }
}

/// In the scheduler with this fault the owner's side of a run queue was a stack. The test counts
/// turns, not time.
#[test]
fn fault_2_2_f_nobody_starves_behind_loops() {
    let runtime = runtime(1);
    let (spawner, parent) = (spawner(&runtime), Probe::start(&runtime));
    let turns = Arc::new(AtomicUsize::new(0));
    for _ in 0..2 {
        let count = turns.clone();
        let loops = run(move |cx| {
            count.fetch_add(1, Ordering::Relaxed);
            while cx.spend(1) {}
            BodyPoll::Yield
        });
        spawner.spawn(parent.raw(), loops, SpawnFlags::default()).expect("a process");
    }
    until("both loop", || turns.load(Ordering::Relaxed) > 100);
    let (send, ran) = channel();
    for _ in 0..3 {
        let (send, turns) = (send.clone(), turns.clone());
        let short = run(move |_| {
            send.send(turns.load(Ordering::Relaxed)).expect("the test waits");
            BodyPoll::Exit(Reason::NORMAL)
        });
        spawner.spawn(parent.raw(), short, SpawnFlags::default()).expect("a process");
    }
    let begun = turns.load(Ordering::Relaxed);
    for _ in 0..3 {
        let waited = common::next(&ran).saturating_sub(begun);
        assert!(waited < 200, "it has waited for {waited} turns of other processes");
    }
}

#[test]
fn fault_2_2_g_a_link_with_a_dying_process_is_refused_or_answered() {
    let runtime = runtime(2);
    let (native, spawner, parent) = (native(&runtime), spawner(&runtime), Probe::start(&runtime));
    let linker = Probe::trapping(&runtime);
    let mut made = 0;
    for _ in 0..20_000 {
        let dies = run(|_| BodyPoll::Exit(Reason::SHUTDOWN));
        let dying = spawner.spawn(parent.raw(), dies, SpawnFlags::default()).expect("a process").pid;
        match native.link(linker.raw(), dying) {
            Ok(()) => made += 1,
            Err(error) => assert_eq!(error, LinkError::NoProc),
        }
    }
    until("each link has its EXIT", || linker.events().len() == made);
    let info = runtime.process_info_blocking(linker.pid).expect("memory").expect("alive");
    assert_eq!(info.links, [], "no half of a link is left");
}

#[test]
fn fault_2_2_h_no_monitor_is_left_behind_its_down() {
    let runtime = runtime(2);
    let (native, spawner, parent) = (native(&runtime), spawner(&runtime), Probe::start(&runtime));
    for _ in 0..5_000 {
        let dies = run(|_| BodyPoll::Exit(Reason::SHUTDOWN));
        let dying = spawner.spawn(parent.raw(), dies, SpawnFlags::default()).expect("a process").pid;
        native.monitor(parent.raw(), dying).expect("it existed");
    }
    until("all have arrived", || parent.events().len() == 5_000);
    let info = runtime.process_info_blocking(parent.pid).expect("memory").expect("alive");
    assert_eq!(info.monitors, []);
}

#[test]
fn fault_2_2_i_nobody_disarms_anothers_monitor() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let (watcher, thief, target) = (Probe::start(&runtime), Probe::start(&runtime), Probe::start(&runtime));
    let made = native.monitor(watcher.raw(), target.raw()).expect("both live");
    let mine = native.clone();
    let stolen = thief.ask(move |cx| mine.demonitor_with(cx.pid().to_raw(), made.reference, true));
    assert_eq!(stolen, Ok(Some(false)));
    assert_eq!(native.demonitor_with(thief.raw(), made.reference, true), Ok(None));
    target.kill();
    assert_eq!(watcher.downs(), [(made.reference, Reason::KILLED)]);
}

#[test]
fn fault_2_2_j_kill_is_killed_wherever_it_is_told() {
    let runtime = Runtime::builder().cores(2).tombstones(true).build().expect("threads");
    let native = native(&runtime);
    let (watcher, target) = (Probe::trapping(&runtime), Probe::trapping(&runtime));
    let made = native.monitor(watcher.raw(), target.raw()).expect("both live");
    native.link(watcher.raw(), target.raw()).expect("both live");
    native.exit_signal(watcher.raw(), target.raw(), Reason::KILL).expect("both live");
    assert_eq!(target.ends(), Reason::KILLED, "the tombstone");
    let late = native.monitor(watcher.raw(), target.raw()).expect("it existed");
    let down = |reference| Event::Down { reference, process: target.raw(), reason: Reason::KILLED };
    let exit = Event::Exit(Some(target.raw()), Reason::KILLED);
    assert_eq!(watcher.events(), [exit, down(made.reference), down(late.reference)]);
}

#[test]
fn fault_2_2_k_a_cascades_bodies_are_dropped() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let limits = atropos::kernel::Limits { processes: 300, nodes: 10_000, ..Default::default() };
    let runtime = Runtime::builder().cores(2).limits(limits).build().expect("threads");
    let native = native(&runtime);
    let bodies = Arc::new(AtomicUsize::new(0));
    for _ in 0..200 {
        let hub = Probe::start(&runtime);
        for _ in 0..100 {
            bodies.fetch_add(1, Ordering::Relaxed);
            let body = Counted(bodies.clone());
            let leaf = runtime.spawn(async move |cx: atropos::Context<()>| {
                let _body = body;
                cx.recv().await;
            });
            let leaf = leaf.expect("space, however many have died").pid().to_raw();
            native.link(hub.raw(), leaf).expect("both live");
        }
        hub.stop(Reason::SHUTDOWN);
        until("all bodies are dropped", || bodies.load(Ordering::Relaxed) == 0);
        until("no process is left", || runtime.processes().is_empty());
    }
}

#[test]
fn fault_2_2_l_nothing_of_the_dead_is_kept() {
    let limits = atropos::kernel::Limits { processes: 300, nodes: 1_000, ..Default::default() };
    let runtime = Runtime::builder().cores(2).limits(limits).tombstones(true).build().expect("threads");
    let (native, watcher) = (native(&runtime), Probe::trapping(&runtime));
    // Many times more than the limits allow, of slots, links, monitors and their signals.
    for number in 0..10_000_u32 {
        let dying = Probe::start(&runtime);
        native.link(watcher.raw(), dying.raw()).expect("both live");
        native.monitor(watcher.raw(), dying.raw()).expect("both live");
        dying.stop(Reason::value(number));
        if number % 100 == 99 {
            // The watcher has received what has arrived.
            watcher.ask(|_| ());
        }
    }
    assert_eq!(watcher.events().len(), 20_000);
    let info = runtime.process_info_blocking(watcher.pid).expect("memory").expect("alive");
    assert_eq!((info.links, info.monitors, info.monitored_by), (Vec::new(), Vec::new(), Vec::new()));
    until("no node is left", || runtime.kernel().nodes_used() == 0);
}

#[test]
fn fault_2_2_m_dead_watchers_leave_nothing_at_their_target() {
    let limits = atropos::kernel::Limits { nodes: 20_000, ..Default::default() };
    let runtime = Runtime::builder().cores(1).limits(limits).build().expect("threads");
    let (native, target) = (native(&runtime), Probe::start(&runtime));
    // More than the limit of nodes, if they were kept.
    for _ in 0..40 {
        let watchers: Vec<Probe> = (0..1_000).map(|_| Probe::start(&runtime)).collect();
        for watcher in &watchers {
            native.monitor(watcher.raw(), target.raw()).expect("both live");
        }
        watchers.iter().for_each(|watcher| _ = runtime.exit(watcher.pid, Reason::KILL));
        until("the watchers are gone", || runtime.processes().len() == 1);
    }
    let info = runtime.process_info_blocking(target.pid).expect("memory").expect("alive");
    assert_eq!(info.monitored_by, []);
}

#[test]
fn fault_2_2_o_a_cascade_has_one_order() {
    for _ in 0..20 {
        let runtime = runtime(1);
        let native = native(&runtime);
        let (hub, watcher) = (Probe::start(&runtime), Probe::start(&runtime));
        let leaves: Vec<Probe> = (0..50).map(|_| Probe::start(&runtime)).collect();
        // All leaves wait for the same core, on which they then die one after the other.
        let kept = hub.keep();
        for leaf in &leaves {
            native.link(hub.raw(), leaf.raw()).expect("both live");
            native.monitor(watcher.raw(), leaf.raw()).expect("both live");
        }
        drop(kept);
        hub.stop(Reason::SHUTDOWN);
        until("all have died", || watcher.events().len() == leaves.len());
        let order: Vec<u64> = watcher
            .events()
            .into_iter()
            .map(|event| match event {
                Event::Down { process, .. } => process,
                Event::Exit(..) => panic!("it does not trap exits"),
            })
            .collect();
        // The leaf that is woken last runs first (`runq`); the rest run in the order in which they
        // were linked.
        let ages: Vec<u64> = leaves.iter().map(Probe::raw).collect();
        let (last, others) = ages.split_last().expect("there are leaves");
        assert!(order == ages || order == [&[*last], others].concat(), "{order:?}");
    }
}

#[test]
fn fault_2_2_p_the_down_carries_what_monitor_returned() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let target = Probe::start(&runtime);
    let (watcher, it) = (Probe::start(&runtime), target.raw());
    let returned = watcher.ask(move |cx| native.monitor(cx.pid().to_raw(), it)).expect("both live").reference;
    target.kill();
    assert_eq!(watcher.downs()[0].0, returned);
}

#[test]
fn fault_2_2_r_children_spread_over_the_cores() {
    let runtime = runtime(2);
    // All are children of one parent, started in one slice of it.
    let parent = Probe::start(&runtime);
    let spawner = spawner(&runtime);
    let cores = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let ran = cores.clone();
    parent.ask(move |cx| {
        for _ in 0..8 {
            let ran = ran.clone();
            let loops = run(move |cx| {
                ran[cx.core()].fetch_add(1, Ordering::Relaxed);
                while cx.spend(1) {}
                BodyPoll::Yield
            });
            spawner.spawn(cx.pid().to_raw(), loops, SpawnFlags::default()).expect("a process");
        }
    });
    until("both cores run them", || cores.iter().all(|core| core.load(Ordering::Relaxed) > 100));
}

#[test]
fn fault_2_2_s_no_zombie_comes_back() {
    let runtime = runtime(2);
    let (native, spawner, parent) = (native(&runtime), spawner(&runtime), Probe::start(&runtime));
    for _ in 0..2_000 {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = ended.clone();
        let yields = run(move |_| {
            assert!(!seen.load(Ordering::Acquire), "it runs after its end");
            BodyPoll::Yield
        });
        let pid = spawner.spawn(parent.raw(), yields, SpawnFlags::default()).expect("a process").pid;
        native.exit_signal(parent.raw(), pid, Reason::KILL).expect("both live");
        assert_eq!(common::ends(&runtime, Pid::from_raw(pid).expect("a pid")), Reason::KILLED);
        ended.store(true, Ordering::Release);
    }
    until("no process is left", || runtime.processes() == [parent.pid]);
}

/// Two processes that monitor, signal, link and unlink each other, and two threads that do the same
/// for them, all at the same time.
#[test]
fn fault_2_2_t_who_crosses_whom_never_waits() {
    const ROUNDS: usize = 20_000;
    let runtime = runtime(2);
    let native = native(&runtime);
    let pair = [Probe::trapping(&runtime), Probe::trapping(&runtime)];
    let act = |native: &KernelFacilities<Handle>, me: u64, other: u64, rounds: usize| {
        for _ in 0..rounds {
            let made = native.monitor(me, other).expect("both live");
            native.exit_signal(me, other, Reason::NORMAL).expect("both live");
            native.link(me, other).expect("both live");
            native.unlink(me, other).expect("always");
            native.demonitor_with(me, made.reference, true).expect("always");
        }
    };
    std::thread::scope(|scope| {
        for at in 0..2 {
            let (me, other) = (&pair[at], pair[1 - at].raw());
            let (native, mine) = (&native, native.clone());
            scope.spawn(move || act(native, me.raw(), other, ROUNDS));
            scope.spawn(move || {
                for _ in 0..20 {
                    let mine = mine.clone();
                    me.ask(move |cx| act(&mine, cx.pid().to_raw(), other, ROUNDS / 20));
                }
            });
        }
    });
    for (me, other) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
        let exit = Event::Exit(Some(other.raw()), Reason::NORMAL);
        until("every signal has arrived", || me.events().len() == 2 * ROUNDS);
        assert!(me.events().iter().all(|event| *event == exit));
        let info = runtime.process_info_blocking(me.pid).expect("memory").expect("alive");
        assert_eq!((info.links, info.monitors, info.monitored_by), (Vec::new(), Vec::new(), Vec::new()));
    }
}
