//! Issue 14, item 5: wherever the kernel drops a foreign value whose destructor panics, the value's
//! budget is returned, its memory is freed, and no other process dies. The test is a table of
//! places. Each place is visited more often than the limits allow at a time.
#![cfg(feature = "epoch")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Task, Wake, Waker};
use std::time::Duration;

use atropos_kernel::{
    BodyPoll, CatchDrop, Cx, Host, Kernel, Limits, Options, Overflow, Pid, Reason, Received, Reply, RequestFuture,
    SpawnOptions, reply,
};
use common::{Stage, does};

static DROPS: AtomicUsize = AtomicUsize::new(0);

/// A value that panics each time it is dropped; its other fields are freed nevertheless.
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

/// A value that a reason carries must be comparable: all bombs are equal.
impl PartialEq for Bomb {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A waker that panics when it is called, and also when it is dropped without a call.
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

fn start<M: Send + 'static>(stage: &Stage, act: impl FnMut(&Cx<'_, M>) -> BodyPoll + Send + 'static) -> Pid {
    stage.host().spawn(&SpawnOptions::new(), does(act)).unwrap().pid
}

/// Starts a process that acts in its first slice and then waits for ever.
fn once<M: Send + 'static>(stage: &mut Stage, act: impl FnOnce(&Cx<'_, M>) + Send + 'static) -> Pid {
    let mut act = Some(act);
    let pid = start(stage, move |cx: &Cx<'_, M>| {
        if let Some(act) = act.take() {
            act(cx);
        }
        BodyPoll::Wait
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

/// Lets one process start a timer for another, applies `becomes`, and lets time pass.
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

/// A reason that carries a bomb, of a process that is linked and monitored, or in an exit signal to
/// that process.
fn reason(stage: &mut Stage, traps: bool, ends: bool) {
    let victim = start(stage, |cx: &Cx<'_, u8>| match cx.receive() {
        Some(_) => BodyPoll::Exit(Reason::value(Bomb::new())),
        None => BodyPoll::Wait,
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
                // The signals are received at once, or left in the mailbox.
                if traps {
                    while cx.receive().is_some() {}
                }
                BodyPoll::Wait
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

/// Sends a request to `to`, and returns the caller and its request.
fn asks(stage: &mut Stage, to: Pid) -> (Pid, RequestFuture<Bomb>) {
    let (gives, got) = std::sync::mpsc::channel();
    let requester = once(stage, move |cx: &Cx<'_, ()>| {
        gives.send(cx.request(to, |reply: Reply<Bomb>| reply).unwrap()).unwrap();
    });
    (requester, got.recv().unwrap())
}

/// Starts a process that replies in its second slice.
fn answers(stage: &Stage) -> Pid {
    start(stage, |cx: &Cx<'_, Reply<Bomb>>| {
        while let Some(received) = cx.receive() {
            if let Received::Message(reply) = received {
                match reply.try_send(Bomb::new()) {
                    Ok(()) => {}
                    // The reply value is its own again, and so would be its panic.
                    Err(late) => std::mem::forget(late),
                }
            }
        }
        BodyPoll::Wait
    })
}

fn quietly(act: impl FnOnce()) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
}

type Visit = fn(&mut Stage);

const PLACES: &[(&str, Visit)] = &[
    ("an unread message", |stage| {
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
    ("the newest message of a full mailbox", |stage| full(stage, Overflow::DropNewest)),
    ("the oldest message of a full mailbox", |stage| full(stage, Overflow::DropOldest)),
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
    ("a timer to a name without a holder", |stage| {
        let pid = once(stage, |cx: &Cx<'_, ()>| _ = cx.send_after("nobody", LATER, Bomb::new()).unwrap());
        stage.pass(2 * LATER);
        kill(stage, pid);
    }),
    ("a timer to a name whose process takes other messages", |stage| {
        let pid = once(stage, |cx: &Cx<'_, ()>| {
            cx.register("somebody", cx.pid()).unwrap();
            cx.send_after("somebody", LATER, Bomb::new()).unwrap();
        });
        stage.pass(2 * LATER);
        kill(stage, pid);
    }),
    ("a timer that was started for a dead process", |stage| {
        let pid = deaf::<Bomb>(stage);
        let started = start_timer_for(&stage.kernel, pid, LATER);
        stage.host().exit(pid, Reason::KILL).unwrap();
        assert!(started);
        stage.settle();
    }),
    ("a timer that was started for another process", |stage| {
        let pid = deaf::<Bomb>(stage);
        assert!(start_timer_for(&stage.kernel, pid, LATER));
        stage.settle();
        stage.pass(2 * LATER);
        kill(stage, pid);
    }),
    ("the unread message of a request", |stage| {
        let to = deaf::<(Bomb, Reply<u8>)>(stage);
        let requester = once(stage, move |cx: &Cx<'_, ()>| {
            std::mem::forget(cx.request(to, |reply: Reply<u8>| (Bomb::new(), reply)).unwrap());
        });
        kill(stage, to);
        kill(stage, requester);
    }),
    ("a reply that is never polled", |stage| {
        let to = answers(stage);
        let (requester, requested) = asks(stage, to);
        quietly(|| drop(requested));
        kill(stage, requester);
        kill(stage, to);
    }),
    ("a reply whose caller dies", |stage| {
        let to = answers(stage);
        let mut kept = None;
        let requester = start(stage, move |cx: &Cx<'_, ()>| {
            kept = kept.take().or_else(|| cx.request(to, |reply: Reply<Bomb>| reply).ok());
            BodyPoll::Wait
        });
        stage.settle();
        kill(stage, requester);
        kill(stage, to);
    }),
    ("a panicking waker of a request", |stage| {
        let (to, kept) = keeps(stage);
        let (requester, mut requested) = asks(stage, to);
        let waker = Waker::from(Arc::new(Rings));
        assert!(requested.poll(&mut Task::from_waker(&waker)).is_pending());
        quietly(|| drop(waker));
        // A process replies, and survives.
        let reply = kept.lock().unwrap().pop().unwrap();
        let answerer = once(stage, move |_: &Cx<'_, ()>| reply.send(Bomb::new()));
        assert!(stage.host().is_alive(answerer), "the panic of the waker does not kill the responder");
        quietly(|| drop(requested));
        for pid in [requester, answerer, to] {
            kill(stage, pid);
        }
    }),
    ("a panicking waker of a request that is dropped", |stage| {
        let (to, kept) = keeps(stage);
        let (requester, mut requested) = asks(stage, to);
        let waker = Waker::from(Arc::new(Rings));
        assert!(requested.poll(&mut Task::from_waker(&waker)).is_pending());
        quietly(|| drop(waker));
        let holder = once(stage, move |_: &Cx<'_, ()>| drop(requested));
        assert!(stage.host().is_alive(holder));
        drop(kept.lock().unwrap().pop());
        for pid in [requester, holder, to] {
            kill(stage, pid);
        }
    }),
    ("a reply without a request", |_| {
        let (give, wait) = reply::<Bomb>().unwrap();
        give.send(Bomb::new());
        quietly(|| drop(wait));
        let (give, wait) = reply::<Bomb>().unwrap();
        drop(wait);
        quietly(|| give.send(Bomb::new()));
    }),
    ("a reason, handled by links and monitors", |stage| reason(stage, false, true)),
    ("a reason, received", |stage| reason(stage, true, true)),
    ("a reason of an exit signal", |stage| reason(stage, false, false)),
    ("a reason of an exit signal, received", |stage| reason(stage, true, false)),
    ("a reason of an exit signal to a dead process", |stage| {
        let pid = deaf::<()>(stage);
        kill(stage, pid);
        quietly(|| _ = stage.host().exit(pid, Reason::value(Bomb::new())));
    }),
    ("a reason of an exit signal that does not kill", |stage| {
        let pid = stage.host().spawn(&SpawnOptions::new().trap_exit(true), does(|_: &Cx<'_, ()>| BodyPoll::Wait));
        let pid = pid.unwrap().pid;
        stage.host().exit(pid, Reason::shutdown_with(Bomb::new())).unwrap();
        kill(stage, pid);
    }),
    ("a result", |stage| {
        start(stage, |_: &Cx<'_, ()>| BodyPoll::Exit(Reason::normal_with(Bomb::new())));
        stage.settle();
    }),
    ("a reason that is one too many", |stage| {
        start(stage, |cx: &Cx<'_, ()>| {
            cx.stop(Reason::value(Bomb::new()));
            cx.stop(Reason::value(Bomb::new()));
            BodyPoll::Exit(Reason::value(Bomb::new()))
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
            BodyPoll::Wait
        });
        stage.settle();
        kill(stage, pid);
    }),
    ("a body of a refused spawn", |stage| {
        let holder = once(stage, |cx: &Cx<'_, ()>| cx.register("taken", cx.pid()).unwrap());
        for options in [SpawnOptions::new().name("taken"), SpawnOptions::new().core(99), SpawnOptions::new().link()] {
            let bomb = Bomb::new();
            let body = does(move |_: &Cx<'_, ()>| {
                let _ = &bomb;
                BodyPoll::Wait
            });
            assert!(stage.host().spawn(&options, body).is_err());
        }
        kill(stage, holder);
    }),
    ("a held value", |stage| {
        let pid = start(stage, |cx: &Cx<'_, ()>| {
            let held = [cx.catch_drop(Bomb::new()), cx.catch_drop(Bomb::new())];
            cx.drop_caught(Bomb::new());
            drop(held);
            BodyPoll::Wait
        });
        stage.settle();
        assert!(stage.host().is_alive(pid));
        kill(stage, pid);
        let mut held = Vec::new();
        let pid = once(stage, move |cx: &Cx<'_, ()>| {
            held.extend([cx.catch_drop(Bomb::new()), cx.catch_drop(Bomb::new())]);
            std::mem::forget(cx.catch_drop(held));
        });
        kill(stage, pid);
    }),
    ("a held collection", |stage| {
        let mut held = Vec::new();
        let pid = start(stage, move |cx: &Cx<'_, ()>| {
            let catcher = cx.drop_catcher();
            let list = catcher.catch_each(vec![(1, Bomb::new()), (2, Bomb::new()), (3, Bomb::new())]);
            assert_eq!(list.iter().map(|(number, _)| number).sum::<i32>(), 6);
            drop(list);
            held.push(catcher.catch_each(BTreeMap::from([(1, Bomb::new()), (2, Bomb::new())])));
            BodyPoll::Wait
        });
        stage.settle();
        assert!(stage.host().is_alive(pid));
        kill(stage, pid);
    }),
    ("values that get their catch later", |stage| {
        let mut later = [CatchDrop::new(Bomb::new()), CatchDrop::new(Bomb::new())];
        let catcher = stage.host().drop_catcher();
        later.iter_mut().for_each(|bomb| bomb.catch_with(catcher));
        let [first, second] = later;
        let pid = once(stage, move |_: &Cx<'_, ()>| drop((first, second)));
        assert!(stage.host().is_alive(pid));
        kill(stage, pid);
    }),
    ("the label of a request", |stage| {
        let (to, _kept) = keeps(stage);
        let requester = once(stage, move |cx: &Cx<'_, ()>| {
            let mut request = cx.request(to, |reply: Reply<Bomb>| reply).unwrap();
            let catcher = request.drop_catcher();
            drop([catcher.catch_drop(Bomb::new()), catcher.catch_drop(Bomb::new())]);
        });
        assert!(stage.host().is_alive(requester));
        for pid in [requester, to] {
            kill(stage, pid);
        }
    }),
];

/// Sends six messages to a mailbox with two slots; then the slots can be used again.
fn full(stage: &mut Stage, overflow: Overflow) {
    let received = Arc::new(AtomicUsize::new(0));
    let counts = received.clone();
    let options = SpawnOptions::new().mailbox_limit(2).overflow(overflow);
    let reads = does(move |cx: &Cx<'_, Option<Bomb>>| {
        while let Some(Received::Message(message)) = cx.receive() {
            counts.fetch_add(1, Ordering::Relaxed);
            std::mem::forget(message);
        }
        BodyPoll::Wait
    });
    let pid = stage.host().spawn(&options, reads).unwrap().pid;
    stage.settle();
    for _ in 0..3 {
        for _ in 0..6 {
            stage.host().send(pid, Some(Bomb::new())).unwrap();
        }
        stage.settle();
        assert_eq!(received.swap(0, Ordering::Relaxed), 2, "the slots are free again");
    }
    kill(stage, pid);
}

fn start_timer_for(kernel: &Kernel, caller: Pid, after: Duration) -> bool {
    let participant = kernel.register();
    let host = Host::new(kernel, &participant);
    host.act_as(caller, |acting| acting.send_after(caller, after, Bomb::new()).is_ok())
}

type Kept = Arc<std::sync::Mutex<Vec<Reply<Bomb>>>>;

/// Starts a process that stores the replies it receives where the test finds them.
fn keeps(stage: &mut Stage) -> (Pid, Kept) {
    let kept = Kept::default();
    let keeps = kept.clone();
    let pid = start(stage, move |cx: &Cx<'_, Reply<Bomb>>| {
        while let Some(Received::Message(reply)) = cx.receive() {
            keeps.lock().unwrap().push(reply);
        }
        BodyPoll::Wait
    });
    stage.settle();
    (pid, kept)
}

/// The limits of nodes and timers: fewer than the number of visits to each place.
const NODES: usize = 24;
const TIMERS: usize = 3;
const VISITS: usize = 40;

#[test]
fn n05_any_value_may_panic_when_it_is_dropped() {
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
            // The bystander takes no part in the scenario.
            let bystander = deaf::<u8>(&mut stage);
            let before = DROPS.load(Ordering::Relaxed);
            for _ in 0..VISITS {
                visit(&mut stage);
            }
            assert!(stage.host().is_alive(bystander), "{place}: no other process dies");
            assert_eq!(stage.kernel.process_count(), 1, "{place}: processes");
            assert_eq!(stage.kernel.nodes_used(), 0, "{place}: nodes");
            // The full limits are available again.
            let user = once(&mut stage, move |cx: &Cx<'_, ()>| {
                for _ in 0..TIMERS {
                    cx.send_after(bystander, LATER, 1_u8).unwrap_or_else(|error| panic!("{place}: {error}"));
                }
                for _ in 0..NODES - TIMERS {
                    cx.send(bystander, 1_u8).unwrap_or_else(|error| panic!("{place}: {error}"));
                }
                assert!(cx.monitor(bystander).is_err(), "no node is left beyond the limit");
            });
            assert!(stage.host().is_alive(user), "{place}: the limits");
            drop(stage);
            // A slot keeps its last reason, and memory is reclaimed later.
            assert!(DROPS.load(Ordering::Relaxed) >= before + VISITS, "{place}: the place has dropped its values");
        }
    }
}
