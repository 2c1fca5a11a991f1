//! Issue 14, 5: wherever the kernel drops a foreign value whose destructor panics, what the value was counted by is given back, its
//! memory is freed, and nobody else dies. A table of places; each is visited more often than the limits allow at a time.
#![cfg(feature = "epoch")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Task, Wake, Waker};
use std::time::Duration;

use atropos_kernel::{
    Cx, Host, Kernel, Limits, Options, Overflow, Pid, Reason, Received, Reply, RequestFuture, Resumed, SpawnOptions, reply,
};
use common::{Stage, does};

static DROPS: AtomicUsize = AtomicUsize::new(0);

/// Panics when it is dropped, each time; what it has beside is freed all the same.
#[derive(Debug)]
struct Bomb(#[allow(dead_code, reason = "a leak checker sees it")] Box<u8>);

impl Bomb {
    fn new() -> Self {
        Self(Box::new(7))
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::Relaxed);
        panic!("bomb");
    }
}

/// As what a reason carries.
impl PartialEq for Bomb {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A waker that panics when it is called, and when it is dropped otherwise.
struct Rings;

impl Drop for Rings {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::Relaxed);
        assert!(std::thread::panicking(), "a waker's destructor");
    }
}

impl Wake for Rings {
    fn wake(self: Arc<Self>) {
        panic!("rings");
    }
}

fn start<M: Send + 'static>(stage: &Stage, act: impl FnMut(&Cx<'_, M>) -> Resumed + Send + 'static) -> Pid {
    stage.host().spawn(&SpawnOptions::new(), does(act)).unwrap().pid
}

/// A process that acts in its first slice and waits for ever.
fn once<M: Send + 'static>(stage: &mut Stage, act: impl FnOnce(&Cx<'_, M>) + Send + 'static) -> Pid {
    let mut act = Some(act);
    let pid = start(stage, move |cx: &Cx<'_, M>| {
        if let Some(act) = act.take() {
            act(cx);
        }
        Resumed::Wait
    });
    stage.settle();
    pid
}

fn deaf<M: Send + 'static>(stage: &mut Stage) -> Pid {
    once(stage, |_: &Cx<'_, M>| {})
}

fn kill(stage: &mut Stage, pid: Pid) {
    stage.host().exit(pid, Reason::KILL).unwrap();
    stage.settle();
    assert!(!stage.host().is_alive(pid));
}

const LATER: Duration = Duration::from_secs(1);

/// A timer is started by one process for another, `becomes` happens, and time passes.
fn timer(stage: &mut Stage, becomes: fn(&mut Stage, starter: Pid, target: Pid)) {
    let target = deaf::<Bomb>(stage);
    let starter = once(stage, move |cx: &Cx<'_, ()>| _ = cx.send_after(target, LATER, Bomb::new()).unwrap());
    becomes(stage, starter, target);
    stage.pass(2 * LATER);
    for pid in [starter, target] {
        if stage.host().is_alive(pid) {
            kill(stage, pid);
        }
    }
}

/// A reason that carries a bomb, of a process that is linked and monitored, or an exit signal with it.
fn reason(stage: &mut Stage, traps: bool, ends: bool) {
    let victim = start(stage, |cx: &Cx<'_, u8>| match cx.receive() {
        Some(_) => Resumed::Exit(Reason::value(Bomb::new())),
        None => Resumed::Wait,
    });
    let watcher = stage.host().spawn(
        &SpawnOptions::new().trap_exit(traps),
        does({
            let mut watches = true;
            move |cx: &Cx<'_, ()>| {
                if std::mem::replace(&mut watches, false) {
                    cx.link(victim).unwrap();
                    cx.monitor(victim).unwrap();
                }
                // Received at once, or left there.
                if traps {
                    while cx.receive().is_some() {}
                }
                Resumed::Wait
            }
        }),
    );
    let watcher = watcher.unwrap().pid;
    stage.settle();
    if ends {
        stage.host().send(victim, 1_u8).unwrap();
    } else {
        stage.host().exit(victim, Reason::value(Bomb::new())).unwrap();
    }
    stage.settle();
    assert!(!stage.host().is_alive(victim));
    assert_eq!(stage.host().is_alive(watcher), traps);
    if traps {
        kill(stage, watcher);
    }
}

/// Asks `to`, and hands on the asker's end.
fn asks(stage: &mut Stage, to: Pid) -> (Pid, RequestFuture<Bomb>) {
    let (gives, got) = std::sync::mpsc::channel();
    let asker = once(stage, move |cx: &Cx<'_, ()>| {
        gives.send(cx.request(to, |reply: Reply<Bomb>| reply).unwrap()).unwrap();
    });
    (asker, got.recv().unwrap())
}

/// Answers each time at the second resumption.
fn answers(stage: &Stage) -> Pid {
    start(stage, |cx: &Cx<'_, Reply<Bomb>>| {
        while let Some(received) = cx.receive() {
            if let Received::Message(reply) = received {
                match reply.try_send(Bomb::new()) {
                    Ok(()) => {}
                    // The answer is its own again, and so would be its panic.
                    Err(late) => std::mem::forget(late),
                }
            }
        }
        Resumed::Wait
    })
}

fn quietly(act: impl FnOnce()) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
}

type Visit = fn(&mut Stage);

const PLACES: &[(&str, Visit)] = &[
    ("a message unread", |stage| {
        let pid = deaf::<Bomb>(stage);
        for _ in 0..3 {
            stage.host().send(pid, Bomb::new()).unwrap();
        }
        kill(stage, pid);
    }),
    ("a message through an alias that has ended", |stage| {
        let pid = once(stage, |cx: &Cx<'_, Bomb>| {
            let alias = cx.alias(false).unwrap();
            cx.send_alias(alias, Bomb::new()).unwrap();
            cx.unalias(alias);
        });
        stage.settle();
        kill(stage, pid);
    }),
    ("the newest of a full mailbox", |stage| full(stage, Overflow::DropNewest)),
    ("the oldest of a full mailbox", |stage| full(stage, Overflow::DropOldest)),
    ("a timer that is cancelled", |stage| {
        let pid = once(stage, |cx: &Cx<'_, Bomb>| {
            let timer = cx.send_after(cx.pid(), LATER, Bomb::new()).unwrap();
            assert!(cx.cancel_timer(timer).is_some());
        });
        kill(stage, pid);
    }),
    ("a timer that dies with its process", |stage| {
        let pid = once(stage, |cx: &Cx<'_, Bomb>| _ = cx.send_after(cx.pid(), LATER, Bomb::new()).unwrap());
        kill(stage, pid);
    }),
    ("a timer that has fired, unread", |stage| {
        let pid = once(stage, |cx: &Cx<'_, Bomb>| _ = cx.send_after(cx.pid(), LATER, Bomb::new()).unwrap());
        stage.pass(2 * LATER);
        kill(stage, pid);
    }),
    ("a timer whose target is dead", |stage| timer(stage, |stage, _, target| kill(stage, target))),
    ("a timer whose starter is dead", |stage| timer(stage, |stage, starter, _| kill(stage, starter))),
    ("a timer whose starter and target are alive", |stage| timer(stage, |_, _, _| {})),
    ("a timer to a name that nobody has", |stage| {
        let pid = once(stage, |cx: &Cx<'_, ()>| _ = cx.send_after("nobody", LATER, Bomb::new()).unwrap());
        stage.pass(2 * LATER);
        kill(stage, pid);
    }),
    ("a timer to a name whose process takes others", |stage| {
        let pid = once(stage, |cx: &Cx<'_, ()>| {
            cx.register("somebody", cx.pid()).unwrap();
            cx.send_after("somebody", LATER, Bomb::new()).unwrap();
        });
        stage.pass(2 * LATER);
        kill(stage, pid);
    }),
    ("a timer that was started for the dead", |stage| {
        let pid = deaf::<Bomb>(stage);
        let started = act_as(&stage.kernel, pid, LATER);
        stage.host().exit(pid, Reason::KILL).unwrap();
        assert!(started);
        stage.settle();
    }),
    ("a timer that was started for another", |stage| {
        let pid = deaf::<Bomb>(stage);
        assert!(act_as(&stage.kernel, pid, LATER));
        stage.settle();
        stage.pass(2 * LATER);
        kill(stage, pid);
    }),
    ("a request's message, unread", |stage| {
        let to = deaf::<(Bomb, Reply<u8>)>(stage);
        let asker = once(stage, move |cx: &Cx<'_, ()>| {
            std::mem::forget(cx.request(to, |reply: Reply<u8>| (Bomb::new(), reply)).unwrap());
        });
        kill(stage, to);
        kill(stage, asker);
    }),
    ("an answer that nobody looks at", |stage| {
        let to = answers(stage);
        let (asker, requested) = asks(stage, to);
        quietly(|| drop(requested));
        kill(stage, asker);
        kill(stage, to);
    }),
    ("an answer whose asker dies", |stage| {
        let to = answers(stage);
        let mut kept = None;
        let asker = start(stage, move |cx: &Cx<'_, ()>| {
            kept = kept.take().or_else(|| cx.request(to, |reply: Reply<Bomb>| reply).ok());
            Resumed::Wait
        });
        stage.settle();
        kill(stage, asker);
        kill(stage, to);
    }),
    ("a waker that panics, of a request", |stage| {
        let (to, kept) = keeps(stage);
        let (asker, mut requested) = asks(stage, to);
        let waker = Waker::from(Arc::new(Rings));
        assert!(requested.poll(&mut Task::from_waker(&waker)).is_pending());
        quietly(|| drop(waker));
        // Answered by a process: it survives.
        let reply = kept.lock().unwrap().pop().unwrap();
        let answerer = once(stage, move |_: &Cx<'_, ()>| reply.send(Bomb::new()));
        assert!(stage.host().is_alive(answerer), "the waker's faults are not the answerer's");
        quietly(|| drop(requested));
        for pid in [asker, answerer, to] {
            kill(stage, pid);
        }
    }),
    ("a waker that panics, of a request that is let go of", |stage| {
        let (to, kept) = keeps(stage);
        let (asker, mut requested) = asks(stage, to);
        let waker = Waker::from(Arc::new(Rings));
        assert!(requested.poll(&mut Task::from_waker(&waker)).is_pending());
        quietly(|| drop(waker));
        let holder = once(stage, move |_: &Cx<'_, ()>| drop(requested));
        assert!(stage.host().is_alive(holder));
        drop(kept.lock().unwrap().pop());
        for pid in [asker, holder, to] {
            kill(stage, pid);
        }
    }),
    ("a reply by itself", |_| {
        let (give, wait) = reply::<Bomb>().unwrap();
        give.send(Bomb::new());
        quietly(|| drop(wait));
        let (give, wait) = reply::<Bomb>().unwrap();
        drop(wait);
        quietly(|| give.send(Bomb::new()));
    }),
    ("a reason, met by links and monitors", |stage| reason(stage, false, true)),
    ("a reason, received", |stage| reason(stage, true, true)),
    ("a reason of an exit signal", |stage| reason(stage, false, false)),
    ("a reason of an exit signal, received", |stage| reason(stage, true, false)),
    ("a reason of an exit signal to the dead", |stage| {
        let pid = deaf::<()>(stage);
        kill(stage, pid);
        quietly(|| _ = stage.host().exit(pid, Reason::value(Bomb::new())));
    }),
    ("a reason of an exit signal that does not kill", |stage| {
        let pid = stage.host().spawn(&SpawnOptions::new().trap_exit(true), does(|_: &Cx<'_, ()>| Resumed::Wait));
        let pid = pid.unwrap().pid;
        stage.host().exit(pid, Reason::shutdown_with(Bomb::new())).unwrap();
        kill(stage, pid);
    }),
    ("a result", |stage| {
        start(stage, |_: &Cx<'_, ()>| Resumed::Exit(Reason::normal_with(Bomb::new())));
        stage.settle();
    }),
    ("a reason that one too many gives", |stage| {
        start(stage, |cx: &Cx<'_, ()>| {
            cx.stop(Reason::value(Bomb::new()));
            cx.stop(Reason::value(Bomb::new()));
            Resumed::Exit(Reason::value(Bomb::new()))
        });
        stage.settle();
    }),
    ("a body", |stage| {
        let bomb = Bomb::new();
        let pid = once(stage, move |_: &Cx<'_, ()>| std::mem::forget(bomb));
        kill(stage, pid);
        let bomb = Bomb::new();
        let pid = start(stage, move |_: &Cx<'_, ()>| {
            let _ = &bomb;
            Resumed::Wait
        });
        stage.settle();
        kill(stage, pid);
    }),
    ("a body that was refused", |stage| {
        let holder = once(stage, |cx: &Cx<'_, ()>| cx.register("taken", cx.pid()).unwrap());
        for options in [SpawnOptions::new().name("taken"), SpawnOptions::new().core(99), SpawnOptions::new().link()] {
            let bomb = Bomb::new();
            let body = does(move |_: &Cx<'_, ()>| {
                let _ = &bomb;
                Resumed::Wait
            });
            assert!(stage.host().spawn(&options, body).is_err());
        }
        kill(stage, holder);
    }),
    ("what is held", |stage| {
        let pid = start(stage, |cx: &Cx<'_, ()>| {
            let held = [cx.hold(Bomb::new()), cx.hold(Bomb::new())];
            cx.let_go(Bomb::new());
            drop(held);
            Resumed::Wait
        });
        stage.settle();
        assert!(stage.host().is_alive(pid));
        kill(stage, pid);
        let mut held = Vec::new();
        let pid = once(stage, move |cx: &Cx<'_, ()>| {
            held.extend([cx.hold(Bomb::new()), cx.hold(Bomb::new())]);
            std::mem::forget(cx.hold(held));
        });
        kill(stage, pid);
    }),
];

/// Six messages into two places; then the places can be used again.
fn full(stage: &mut Stage, overflow: Overflow) {
    let received = Arc::new(AtomicUsize::new(0));
    let counts = received.clone();
    let options = SpawnOptions::new().mailbox_limit(2).overflow(overflow);
    let reads = does(move |cx: &Cx<'_, Option<Bomb>>| {
        while let Some(Received::Message(message)) = cx.receive() {
            counts.fetch_add(1, Ordering::Relaxed);
            std::mem::forget(message);
        }
        Resumed::Wait
    });
    let pid = stage.host().spawn(&options, reads).unwrap().pid;
    stage.settle();
    for _ in 0..3 {
        for _ in 0..6 {
            stage.host().send(pid, Some(Bomb::new())).unwrap();
        }
        stage.settle();
        assert_eq!(received.swap(0, Ordering::Relaxed), 2, "the places are there again");
    }
    kill(stage, pid);
}

fn act_as(kernel: &Kernel, caller: Pid, after: Duration) -> bool {
    let participant = kernel.register();
    let host = Host::new(kernel, &participant);
    host.act_as(caller, |behalf| behalf.send_after(caller, after, Bomb::new()).is_ok())
}

type Kept = Arc<std::sync::Mutex<Vec<Reply<Bomb>>>>;

/// A process that keeps the replies it receives where the test finds them.
fn keeps(stage: &mut Stage) -> (Pid, Kept) {
    let kept = Kept::default();
    let keeps = kept.clone();
    let pid = start(stage, move |cx: &Cx<'_, Reply<Bomb>>| {
        while let Some(Received::Message(reply)) = cx.receive() {
            keeps.lock().unwrap().push(reply);
        }
        Resumed::Wait
    });
    stage.settle();
    (pid, kept)
}

/// So many nodes and timers there may be at a time: fewer than each place is visited.
const NODES: usize = 24;
const TIMERS: usize = 3;
const VISITS: usize = 40;

#[test]
fn n05_whatever_panics_when_it_is_dropped() {
    let whole = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str();
        if !matches!(text, Some("bomb" | "rings" | "a waker's destructor")) {
            whole(panic);
        }
    }));
    for (place, visit) in PLACES {
        for tombstones in [false, true] {
            let limits = Limits { processes: 64, nodes: NODES, timers: TIMERS, ..Limits::default() };
            let mut stage = Stage::new(Options { cores: 1, limits, tombstones, ..Options::default() });
            // It has nothing to do with any of it.
            let bystander = deaf::<u8>(&mut stage);
            let before = DROPS.load(Ordering::Relaxed);
            for _ in 0..VISITS {
                visit(&mut stage);
            }
            assert!(stage.host().is_alive(bystander), "{place}: nobody else dies");
            assert_eq!(stage.kernel.process_count(), 1, "{place}: processes");
            assert_eq!(stage.kernel.nodes_used(), 0, "{place}: nodes");
            // All places can be used again.
            let user = once(&mut stage, move |cx: &Cx<'_, ()>| {
                for _ in 0..TIMERS {
                    cx.send_after(bystander, LATER, 1_u8).unwrap_or_else(|error| panic!("{place}: {error}"));
                }
                for _ in 0..NODES - TIMERS {
                    cx.send(bystander, 1_u8).unwrap_or_else(|error| panic!("{place}: {error}"));
                }
                assert!(cx.monitor(bystander).is_err(), "and no more than these");
            });
            assert!(stage.host().is_alive(user), "{place}: the limits");
            drop(stage);
            // A slot keeps its last reason, and memory is reclaimed later.
            assert!(DROPS.load(Ordering::Relaxed) >= before + VISITS, "{place}: what it is about happens");
        }
    }
}
