//! Issue 14, item 9: slices are bounded in time, whatever a body does between two operations
//! (`kernel::pace`). The clock advances only while bodies work.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use atropos_kernel::reclaim::Domain;
use atropos_kernel::{Body, BodyPoll, Core, Cx, Host, Kernel, Options, Pid, Reason, Received, SpawnOptions};
use atropos_sim::{Environment, SimPlatform};

use common::{Stage, Stepped, does};

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;

fn now(world: &Stepped) -> u64 {
    world.now()
}

/// Creates a body that works for `nanos` per message, of which it always has one. It yields when it
/// must, or after each message.
fn busy(world: Arc<Stepped>, nanos: u64, politely: bool) -> impl Body<Message = ()> {
    does(move |cx: &Cx<'_, ()>| {
        cx.send(cx.pid(), ()).unwrap();
        while !cx.is_exhausted() && cx.receive().is_some() {
            world.advance(nanos);
            if politely {
                break;
            }
            cx.send(cx.pid(), ()).unwrap();
        }
        BodyPoll::Yield
    })
}

/// Creates a body that sleeps for a millisecond repeatedly, and records its maximum lateness.
fn sleeps(world: Arc<Stepped>, latest: Arc<AtomicU64>, times: Arc<AtomicUsize>) -> impl Body<Message = ()> {
    let mut due = 0;
    does(move |cx: &Cx<'_, ()>| {
        if cx.receive().is_some() {
            latest.fetch_max(now(&world) - due, Ordering::Relaxed);
            times.fetch_add(1, Ordering::Relaxed);
        } else if due != 0 {
            return BodyPoll::Wait;
        }
        due = now(&world) + MILLISECOND;
        cx.send_after(cx.pid(), Duration::from_millis(1), ()).unwrap();
        BodyPoll::Wait
    })
}

/// Returns the maximum lateness of a 1 ms sleep, beside `many` processes that work for `nanos` per
/// message.
fn lateness(many: usize, nanos: u64, politely: bool) -> u64 {
    let mut stage = Stage::new(Options::default());
    let (latest, times) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    stage.host().spawn(&SpawnOptions::new(), sleeps(stage.world.clone(), latest.clone(), times.clone())).unwrap();
    for _ in 0..many {
        stage.host().spawn(&SpawnOptions::new(), busy(stage.world.clone(), nanos, politely)).unwrap();
    }
    let until = 200 * MILLISECOND;
    while now(&stage.world) < until {
        let _ = stage.cores[0].run(256);
    }
    assert!(times.load(Ordering::Relaxed) > 20, "the process slept {} times", times.load(Ordering::Relaxed));
    latest.load(Ordering::Relaxed)
}

/// Before, a process that works for 5 µs per message had slices of 10 ms, and eight of those ran
/// before a timer was checked.
#[test]
fn n09_timer_is_not_late_beside_busy_bodies() {
    for politely in [false, true] {
        for many in [1, 4, 20] {
            let late = lateness(many, 5 * MICROSECOND, politely);
            assert!(late < 2 * MILLISECOND, "{many} with 5 µs a message, politely {politely}: late by {late} ns");
        }
        for many in [1, 8] {
            let late = lateness(many, 100 * MICROSECOND, politely);
            assert!(late < 4 * MILLISECOND, "{many} with 100 µs a message, politely {politely}: late by {late} ns");
        }
    }
}

/// A ping-pong pair shares a slice in time as well: a process that waits behind the pair has its
/// turn soon.
#[test]
fn n09_ping_pong_pair_shares_time() {
    let mut stage = Stage::new(Options::default());
    let talks = |world: Arc<Stepped>| {
        does(move |cx: &Cx<'_, Pid>| {
            while let Some(Received::Message(from)) = cx.receive() {
                world.advance(5 * MICROSECOND);
                cx.send(from, cx.pid()).unwrap();
            }
            BodyPoll::Wait
        })
    };
    let [first, second] =
        [(); 2].map(|()| stage.host().spawn(&SpawnOptions::new(), talks(stage.world.clone())).unwrap().pid);
    let (world, longest, mut last) = (stage.world.clone(), Arc::new(AtomicU64::new(0)), 0);
    let most = longest.clone();
    // A busy process that records how long it has waited for its turn.
    let waits = does(move |cx: &Cx<'_, ()>| {
        if last != 0 {
            most.fetch_max(now(&world) - last, Ordering::Relaxed);
        }
        while cx.spend(1) {
            world.advance(MICROSECOND);
        }
        last = now(&world);
        BodyPoll::Yield
    });
    stage.host().spawn(&SpawnOptions::new(), waits).unwrap();
    stage.host().send(first, second).unwrap();
    while now(&stage.world) < 100 * MILLISECOND {
        let _ = stage.cores[0].run(256);
    }
    let longest = longest.load(Ordering::Relaxed);
    assert!((1..MILLISECOND).contains(&longest), "the process waited for {longest} ns");
}

/// Work from outside that arrives while a core is busy is handled after the duration of a slice,
/// not only at the 32nd pick.
#[cfg(feature = "epoch")]
#[test]
fn n09_work_from_outside_gets_its_turn_soon() {
    use atropos_kernel::Host;
    for (many, nanos, politely) in [(1, 5, false), (1, 5, true), (4, 5, false), (4, 100, true)] {
        let mut stage = Stage::new(Options::default());
        for _ in 0..many {
            let busy = busy(stage.world.clone(), nanos * MICROSECOND, politely);
            stage.host().spawn(&SpawnOptions::new(), busy).unwrap();
        }
        // One of the busy processes also acts as a host thread.
        let (kernel, world, worst) = (stage.kernel.clone(), stage.world.clone(), Arc::new(AtomicU64::new(0)));
        let (latest, ran) = (worst.clone(), Arc::new(AtomicUsize::new(0)));
        let times = ran.clone();
        let host = does(move |cx: &Cx<'_, ()>| {
            let (began, world) = (now(&world), world.clone());
            let (latest, times) = (latest.clone(), times.clone());
            let child = does(move |_: &Cx<'_, ()>| {
                latest.fetch_max(now(&world) - began, Ordering::Relaxed);
                times.fetch_add(1, Ordering::Relaxed);
                BodyPoll::Exit(atropos_kernel::Reason::NORMAL)
            });
            let participant = kernel.register();
            Host::new(&kernel, &participant).spawn(&SpawnOptions::new(), child).unwrap();
            cx.send_after(cx.pid(), Duration::from_millis(10), ()).unwrap();
            while cx.receive().is_some() {}
            BodyPoll::Wait
        });
        stage.host().spawn(&SpawnOptions::new(), host).unwrap();
        while now(&stage.world) < 500 * MILLISECOND {
            let _ = stage.cores[0].run(256);
        }
        let (worst, ran) = (worst.load(Ordering::Relaxed), ran.load(Ordering::Relaxed));
        assert!(ran > 20, "{ran} processes were started");
        assert!(worst < 5 * MILLISECOND, "{many} of {nanos} µs a message: {worst} ns");
    }
}

/// Time is charged once, and the number of reductions remains the work that a process has done.
#[test]
fn n09_time_is_not_counted_as_reductions() {
    let mut stage = Stage::new(Options::default());
    let (world, slices) = (stage.world.clone(), Arc::new(AtomicUsize::new(0)));
    let (had, mut left) = (slices.clone(), 1_000);
    let works = does(move |cx: &Cx<'_, ()>| {
        had.fetch_add(1, Ordering::Relaxed);
        loop {
            left -= 1;
            world.advance(10 * MICROSECOND);
            if left == 0 {
                let atropos_kernel::MaybeReady::Ready(Ok(Some(info))) = cx.info(cx.pid()) else {
                    panic!("a process can query its own state")
                };
                assert!((1_000..1_200).contains(&info.reductions), "{} reductions", info.reductions);
                return BodyPoll::Exit(atropos_kernel::Reason::NORMAL);
            }
            if !cx.spend(1) {
                return BodyPoll::Yield;
            }
        }
    });
    let pid = stage.host().spawn(&SpawnOptions::new(), works).unwrap().pid;
    stage.settle();
    assert_eq!(stage.host().tombstone(pid), atropos_kernel::Tombstone::Known(atropos_kernel::Reason::NORMAL));
    // 10 ms of work are 39 slices of 256 µs.
    let slices = slices.load(Ordering::Relaxed);
    assert!((30..60).contains(&slices), "{slices} slices");
}

/// An environment whose clock stands still, and counts how often it is read.
#[derive(Default)]
struct CountedClock {
    reads: AtomicUsize,
}

impl Environment for CountedClock {
    fn now(&self) -> u64 {
        self.reads.fetch_add(1, Ordering::Relaxed);
        MILLISECOND
    }

    fn wake(&self, _core: usize) {}
}

/// The price of a backlog shortens a sender's slice, but is no work: it does not make the core read
/// its clock. Before, each send to a long mailbox did.
#[test]
fn n09_backlog_brings_no_clock_read_nearer() {
    const SENDS: usize = 2_000;
    const BACKLOG: usize = 20_000;
    let world = Arc::new(SimPlatform::new(CountedClock::default()));
    let kernel = Kernel::new(Options::default(), Domain::new(), world.clone());
    let (mut core, participant) = (Core::new(kernel.clone(), 0), kernel.register());
    let host = Host::new(&kernel, &participant);
    let slow = does(|cx: &Cx<'_, ()>| {
        cx.receive();
        BodyPoll::Yield
    });
    let receiver = host.spawn(&SpawnOptions::new(), slow).unwrap().pid;
    for _ in 0..BACKLOG {
        host.send(receiver, ()).unwrap();
    }
    // The receiver fetches what has come: from now on a sender pays for it.
    let _ = core.run(4);
    let (mut left, slices) = (SENDS, Arc::new(AtomicUsize::new(0)));
    let had = slices.clone();
    let sends = does(move |cx: &Cx<'_, ()>| {
        had.fetch_add(1, Ordering::Relaxed);
        while left > 0 && !cx.is_exhausted() {
            cx.send(receiver, ()).unwrap();
            left -= 1;
        }
        if left == 0 { BodyPoll::Exit(Reason::NORMAL) } else { BodyPoll::Yield }
    });
    let sender = host.spawn(&SpawnOptions::new(), sends).unwrap().pid;
    let before = world.reads.load(Ordering::Relaxed);
    while host.is_alive(sender) {
        let _ = core.run(16);
    }
    let reads = world.reads.load(Ordering::Relaxed) - before;
    let slices = slices.load(Ordering::Relaxed);
    assert!(slices >= SENDS / 20, "a backlog of {BACKLOG} shortens slices: {slices} for {SENDS} sends");
    assert!(reads < SENDS / 3, "{reads} clock reads for {SENDS} sends");
}
