//! Faults that remained in the newest release of the scheduler that was reviewed (requirements
//! 2.3), each as a test that this release fails.
//!
//! Test (e) is in `atropos`, since it counts bytes, and so is (h), the stream of exits and
//! idleness. Most of (i) concerns remote monitors and is in `atropos-dist`. Test (j), a `no_std`
//! build that failed, is in the kernel.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use atropos::facility::{LinkFacility as _, SpawnFacility as _, SpawnFlags, SupervisionFacility as _};
use atropos::kernel::SendError;
use atropos::{Context, Pid, Reason, Received, Runtime, SpawnOptions};
use common::{Order, Probe, native, next, run, runtime, spawner, until};

/// The messages to the watcher of (a).
enum Say {
    /// Stays in this slice until the channel closes.
    Stay(Sender<()>, Receiver<()>),
    Number(u32),
}

#[derive(Clone, PartialEq, Debug)]
enum Heard {
    Number(u32),
    Exit(Reason),
    Down(Reason),
}

/// A sends messages and dies while W is in the middle of a slice: W reads first the messages and
/// then the exit. By a link and a monitor that were made before, or in that very slice.
#[test]
fn fault_2_3_a_a_death_does_not_overtake_messages() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (send, heard) = channel();
    let watcher = runtime.spawn_with(&SpawnOptions::new().trap_exit(true), async move |cx: Context<Say>| {
        loop {
            let _ = send.send(match cx.recv().await {
                Received::Message(Say::Number(number)) => Heard::Number(number),
                Received::Message(Say::Stay(begun, until)) => {
                    begun.send(()).expect("the test waits");
                    let _ = until.recv();
                    continue;
                }
                Received::Exit(exit) => Heard::Exit(exit.reason),
                Received::Down(down) => Heard::Down(down.reason),
                Received::Timer { .. } => panic!("no timer was started"),
            });
        }
    });
    let watcher = watcher.expect("a process").pid();
    for round in 0..500 {
        let ((begun, began), (go, stay)) = (channel(), channel());
        let sender = runtime.spawn(async move |cx: Context<()>| {
            cx.recv().await;
            for number in 42..45 {
                cx.send(watcher, Say::Number(number)).expect("alive");
            }
            Err::<(), _>(Reason::SHUTDOWN)
        });
        let sender = sender.expect("a process").pid();
        let tie = || {
            native.link(watcher.to_raw(), sender.to_raw()).expect("both live");
            native.monitor(watcher.to_raw(), sender.to_raw()).expect("both live");
        };
        if round % 2 == 0 {
            tie();
        }
        assert!(runtime.send(watcher, Say::Stay(begun, stay)).is_ok());
        next(&began);
        if round % 2 == 1 {
            tie();
        }
        runtime.send(sender, ()).expect("alive");
        assert_eq!(common::ends(&runtime, sender), Reason::SHUTDOWN);
        drop(go);
        let numbers = [42, 43, 44].map(Heard::Number);
        assert_eq!([next(&heard), next(&heard), next(&heard)], numbers);
        // OTP's order, which is documented (`docs/semantics.md`).
        assert_eq!([next(&heard), next(&heard)], [Heard::Exit(Reason::SHUTDOWN), Heard::Down(Reason::SHUTDOWN)]);
    }
}

/// A is linked with B, and B with C, which traps exits; B is in the middle of a slice when A dies.
/// C gets one EXIT of B, also if both sides have linked, at the same time or repeatedly.
#[test]
fn fault_2_3_b_one_link_gives_one_exit() {
    let runtime = runtime(2);
    let native = native(&runtime);
    for round in 0..300 {
        let (a, b, c) = (Probe::start(&runtime), Probe::start(&runtime), Probe::trapping(&runtime));
        native.link(a.raw(), b.raw()).expect("both live");
        let (kept, mine, it) = (b.keep(), native.clone(), b.raw());
        native.link(b.raw(), c.raw()).expect("both live");
        if round % 2 == 0 {
            c.ask(move |cx| mine.link(cx.pid().to_raw(), it)).expect("both live");
            native.link(b.raw(), c.raw()).expect("both live");
        }
        a.stop(Reason::SHUTDOWN);
        drop(kept);
        assert_eq!(b.ends(), Reason::SHUTDOWN);
        assert_eq!(c.exits(), [(Some(b.raw()), Reason::SHUTDOWN)]);
        c.kill();
    }
}

/// User code panics: in a body's slice, in its destructor, and in that of a message. The process
/// exits with the panic as its reason, linked processes and watchers get it, the core continues,
/// and the shutdown does not raise the panic again.
#[test]
fn fault_2_3_c_a_panic_ends_its_process_and_nothing_else() {
    struct Bomb(Arc<AtomicUsize>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("in a destructor");
        }
    }
    let runtime = runtime(1);
    let (native, spawner, parent) = (native(&runtime), spawner(&runtime), Probe::trapping(&runtime));
    let flags = SpawnFlags { link: true, monitor: true, trap_exit: false };
    let dropped = Arc::new(AtomicUsize::new(0));
    for round in 0..20 {
        let bomb = (round % 2 == 0).then(|| Bomb(dropped.clone()));
        let panics = run(move |cx| {
            let _keep = &bomb;
            // A native function, called with the facilities of its process.
            assert!(cx.receive().is_none());
            panic!("a native function");
        });
        let made = spawner.spawn(parent.raw(), panics, flags).expect("a process");
        assert_eq!(common::ends(&runtime, Pid::from_raw(made.pid).expect("a pid")), Reason::crash("a native function"));
        let reason = Reason::crash("a native function");
        until("the EXIT has arrived", || parent.events().len() == 2 * round + 2);
        assert_eq!(parent.exits()[round], (Some(made.pid), reason.clone()));
        assert_eq!(parent.downs()[round], (made.monitor.expect("requested"), reason));
        assert!(runtime.processes() == [parent.pid], "it is removed from the table");
    }
    assert_eq!(dropped.load(Ordering::Relaxed), 10, "each body is dropped, once");
    // A message that is never received.
    let sleeps = runtime.spawn(async |cx: Context<Bomb>| cx.sleep(Duration::from_secs(3_600)).await);
    let sleeps = sleeps.expect("a process").pid();
    assert!(runtime.send(sleeps, Bomb(dropped.clone())).is_ok());
    native.exit_signal(parent.raw(), sleeps.to_raw(), Reason::SHUTDOWN).expect("both live");
    assert_eq!(common::ends(&runtime, sleeps), Reason::SHUTDOWN);
    until("it is dropped", || dropped.load(Ordering::Relaxed) == 11);
    assert_eq!(parent.ask(|cx| cx.pid()), parent.pid, "the core continues");
    parent.kill();
    assert!(runtime.shutdown(Duration::from_secs(30)).is_ok(), "no panic is raised again");
}

/// Many monitors of one target, removed in any order, and many of watchers that have died. The cost
/// of each is printed and does not depend on any of these numbers: a walk through all of them, at
/// this size, would take minutes.
#[test]
fn fault_2_3_d_a_monitor_costs_the_same_among_many() {
    const MANY: usize = 200_000;
    const DEAD: usize = 10_000;
    let limits = atropos::kernel::Limits { nodes: MANY + 5 * DEAD, ..Default::default() };
    let runtime = Runtime::builder().cores(2).limits(limits).build().expect("threads");
    let native = native(&runtime);
    let (watcher, target) = (Probe::start(&runtime), Probe::start(&runtime));
    let makes = |count: usize| {
        let (mine, it) = (native.clone(), target.raw());
        watcher.ask(move |cx| {
            let (me, begun) = (cx.pid().to_raw(), Instant::now());
            let mut made: Vec<u64> = (0..count).map(|_| mine.monitor(me, it).expect("both live").reference).collect();
            let making = begun.elapsed();
            // From the middle, in an order that is bad for a list.
            let stride = count / 2 + 1;
            for at in 0..count {
                let reference = std::mem::take(&mut made[at * stride % count]);
                if reference != 0 {
                    assert_eq!(mine.demonitor_with(me, reference, true), Ok(Some(true)));
                }
            }
            for reference in made.into_iter().filter(|reference| *reference != 0) {
                assert_eq!(mine.demonitor_with(me, reference, true), Ok(Some(true)));
            }
            (making, begun.elapsed() - making)
        })
    };
    for count in [5_000, MANY] {
        let (making, ending) = makes(count);
        let each = |all: Duration| all.as_nanos() / count as u128;
        println!("of {count}: {} ns to make one, {} ns to end it", each(making), each(ending));
    }
    for _ in 0..DEAD / 100 {
        let watchers: Vec<Probe> = (0..100).map(|_| Probe::start(&runtime)).collect();
        for watcher in &watchers {
            native.monitor(watcher.raw(), target.raw()).expect("both live");
        }
        watchers.iter().for_each(Probe::kill);
    }
    let (making, _) = makes(1_000);
    println!("after {DEAD} dead watchers: {} ns to make one", making.as_nanos() / 1_000);
    let info = runtime.process_info_blocking(target.pid).expect("memory").expect("alive");
    assert_eq!(info.monitored_by, []);
    // Records that are over stay on the target's list until a later removal sweeps them: their
    // number is bounded by the active ones.
    let left = runtime.kernel().nodes_used();
    assert!(left < 1_000, "{left} records are left of {}", 2 * (MANY + DEAD));
}

/// A receiver in the middle of a slice gets every message: closures, pids of its own node, and many
/// at once. A full mailbox returns the message to its sender in the error.
#[test]
fn fault_2_3_f_no_message_vanishes() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let (receiver, named) = (Probe::start(&runtime), Probe::start(&runtime));
    let (kept, (send, heard)) = (receiver.keep(), channel());
    for number in 0..10_000_u32 {
        let (send, pid) = (send.clone(), named.pid);
        let work: common::Work = Box::new(move |_| send.send((number, pid)).expect("the test waits"));
        assert!(runtime.send(receiver.pid, Order::Do(work)).is_ok());
    }
    assert!(heard.try_recv().is_err());
    drop(kept);
    for number in 0..10_000 {
        assert_eq!(next(&heard), (number, named.pid));
    }
    // The pid is still valid.
    assert!(native.monitor(receiver.raw(), named.raw()).is_ok_and(|made| !made.immediate_down));

    // A mailbox with a limit.
    let ((send, heard), (begun, began), (go, stay)) = (channel(), channel(), channel::<()>());
    let small = runtime.spawn_with(&SpawnOptions::new().mailbox_limit(4), async move |cx: Context<String>| {
        begun.send(()).expect("the test waits");
        let _ = stay.recv();
        while let Received::Message(text) = cx.recv().await {
            send.send(text).expect("the test waits");
        }
    });
    let small = small.expect("a process").pid();
    next(&began);
    let mut given_back = 0;
    for number in 0..10 {
        match runtime.send(small, number.to_string()) {
            Ok(()) => {}
            Err(SendError::Full(text)) => given_back += usize::from(text == number.to_string()),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(given_back, 6);
    drop(go);
    for number in 0..4 {
        assert_eq!(next(&heard), number.to_string());
    }
}

/// What a process does in the middle of a slice stays in force when the slice is over, whatever
/// other threads do for it in that time.
#[test]
fn fault_2_3_g_what_is_undone_in_a_slice_stays_undone() {
    let runtime = runtime(2);
    let native = native(&runtime);
    for round in 0..300 {
        let (process, peer) = (Probe::start(&runtime), Probe::start(&runtime));
        native.link(process.raw(), peer.raw()).expect("both live");
        let (mine, other, it) = (native.clone(), native.clone(), peer.raw());
        let was = process.ask(move |cx| {
            let me = cx.pid().to_raw();
            // Another thread links for the process that runs here. Its signal is ordered behind
            // those that the process has handled, and handled before the next receive.
            std::thread::scope(|scope| {
                scope.spawn(|| other.link(me, it).expect("both live"));
            });
            assert_eq!(mine.unlink(me, it), Ok(()));
            let known = mine.is_linked(me, it).ok().and_then(|linked| linked.known());
            assert_eq!(known, Some(false));
            if round % 2 == 0 {
                std::thread::scope(|scope| {
                    scope.spawn(|| other.unlink(me, it).expect("always"));
                });
            }
            (mine.set_trap_exit(me, true), mine.set_trap_exit(me, false), mine.trap_exit(me))
        });
        assert_eq!(was, (Ok(false), Ok(true), Ok(false)), "in force at once");
        if round % 2 == 1 {
            // The link by the other thread arrived in the slice and is handled behind it: it is the
            // later one.
            assert!(!process.ask(|cx| cx.trap_exit(true)), "still off");
            peer.kill();
            assert_eq!(process.exits(), [(Some(peer.raw()), Reason::KILLED)]);
        } else {
            peer.kill();
            assert_eq!(process.events(), [], "it is alive and got no EXIT");
        }
        process.kill();
    }
}

/// An EXIT that crosses an unlink: it is on its way or has arrived, and the process, in the middle
/// of a slice, unlinks. There is nothing to receive; a new link has an EXIT of its own.
#[test]
fn fault_2_3_i_a_an_unlink_that_crosses_an_exit_wins() {
    let runtime = runtime(2);
    let native = native(&runtime);
    for round in 0..500 {
        let (process, peer) = (Probe::trapping(&runtime), Probe::start(&runtime));
        native.link(process.raw(), peer.raw()).expect("both live");
        let (mine, it, handle) = (native.clone(), peer.raw(), runtime.handle());
        let again = process.ask(move |cx| {
            let me = cx.pid().to_raw();
            if round % 2 == 0 {
                // Its EXIT is in the mailbox already.
                assert_eq!(handle.exit(Pid::from_raw(it).expect("a pid"), Reason::KILL), Ok(true));
                common::ends(&handle, Pid::from_raw(it).expect("a pid"));
            } else {
                assert!(handle.exit(Pid::from_raw(it).expect("a pid"), Reason::KILL).is_ok());
            }
            mine.unlink(me, it).expect("always");
            mine.link_as_otp(me, it)
        });
        assert_eq!(peer.ends(), Reason::KILLED);
        assert_eq!(again, Ok(()), "it traps exits, so it gets an EXIT");
        // The EXIT of the second link: `noproc`, unless that link was in time.
        until("the EXIT has arrived", || process.exits().len() == 1);
        let exits = process.exits();
        assert!(exits[0].1 == Reason::NOPROC || round % 2 == 1 && exits[0].1 == Reason::KILLED, "{exits:?}");
        process.kill();
    }
}
