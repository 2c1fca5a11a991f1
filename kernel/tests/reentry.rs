//! Destructors that re-enter the kernel: the actions of a message, body or waker that the kernel
//! drops or wakes must not find the kernel in an inconsistent state. Each test is a former fault.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use atropos_kernel::internals::life;
use atropos_kernel::{BodyPoll, Context, Limits, Options, Pid, Reason, Received, Reference, SpawnOptions};

use common::{Stage, does};

/// The action that a message performs when it is dropped.
type Deed = Box<dyn FnOnce() + Send>;

struct Dropped(Option<Deed>);

impl Dropped {
    fn new(deed: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(deed)))
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(deed) = self.0.take() {
            deed();
        }
    }
}

/// Performs every operation that a destructor can request for its process.
fn everything(context: &Context<Dropped>, other: Pid, monitor: Reference) {
    context.try_with(|cx| {
        let _ = cx.receive();
        cx.demonitor(monitor, true);
        cx.unlink(other);
        let _ = cx.link(other);
        let _ = cx.alias(true);
        let _ = cx.exit(cx.pid(), Reason::value("once more"));
        let _ = cx.receive();
    });
}

/// Cancelling a timer drops its message, which cancels the same timer.
#[test]
fn timer_message_cancels_its_own_timer() {
    let mut stage = Stage::new(Options::default());
    let done = Arc::new(AtomicBool::new(false));
    let noted = done.clone();
    let body = move |cx: Context<Dropped>| async move {
        let cx = Arc::new(cx);
        let reference = Arc::new(std::sync::Mutex::new(None));
        let (inner, again) = (cx.clone(), reference.clone());
        let message = Dropped::new(move || {
            let reference: Option<Reference> = *again.lock().unwrap();
            assert!(inner.try_with(|cx| cx.cancel_timer(reference.unwrap())).flatten().is_none());
        });
        let timer = cx.send_after(cx.pid(), Duration::from_secs(1), message).unwrap();
        *reference.lock().unwrap() = Some(timer);
        assert!(cx.cancel_timer(timer).is_some());
        assert!(cx.cancel_timer(timer).is_none());
        noted.store(true, Ordering::Relaxed);
    };
    stage.host().spawn_async(&SpawnOptions::new(), body).unwrap();
    stage.settle();
    assert!(done.load(Ordering::Relaxed));
    assert_eq!(stage.kernel.process_count(), 0);
}

/// The unread messages of a dying process, and its body, perform every operation while the process
/// dies.
#[test]
fn reentrant_destructors_do_not_stop_an_exit() {
    let mut stage = Stage::new(Options::default());
    let other =
        stage.host().spawn(&SpawnOptions::new(), does(|_: &atropos_kernel::Cx<'_, ()>| BodyPoll::Wait)).unwrap();
    let (dropped, fired) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = dropped.clone();
    let body = move |cx: Context<Dropped>| async move {
        let cx = Arc::new(cx);
        let monitor = cx.monitor(other.pid).unwrap();
        let deed = |cx: &Arc<Context<Dropped>>| {
            let (cx, count) = (cx.clone(), count.clone());
            move || {
                count.fetch_add(1, Ordering::Relaxed);
                everything(&cx, other.pid, monitor);
            }
        };
        for _ in 0..3 {
            cx.send(cx.pid(), Dropped::new(deed(&cx))).unwrap();
        }
        // Fetches all of them, leaves them in the queue, and has further signals that are not
        // fetched.
        cx.with(|cx| cx.for_each_waiting(|_| {}));
        for _ in 0..3 {
            cx.send(cx.pid(), Dropped::new(deed(&cx))).unwrap();
        }
        let _in_the_body = Dropped::new(deed(&cx));
        cx.stop(Reason::value("the first")).await;
    };
    let dying = stage.host().spawn_async(&SpawnOptions::new(), body).unwrap();
    let noted = fired.clone();
    let watcher = does(move |cx: &atropos_kernel::Cx<'_, ()>| {
        match cx.receive() {
            Some(Received::Down(down)) => {
                assert_eq!(down.reason, Reason::value("the first"));
                noted.fetch_add(1, Ordering::Relaxed);
            }
            Some(other) => panic!("{other:?}"),
            None => drop(cx.monitor(dying.pid()).unwrap()),
        }
        BodyPoll::Wait
    });
    // The watcher monitors first, so its monitor is either a signal that the dying process has not
    // handled, or on that process's list.
    stage.host().spawn(&SpawnOptions::new().priority(atropos_kernel::Priority::High), watcher).unwrap();
    stage.settle();
    assert_eq!(dropped.load(Ordering::Relaxed), 7, "each destructor runs once");
    assert_eq!(fired.load(Ordering::Relaxed), 1, "one DOWN");
    // The body's destructor linked the watcher, and it died with the process.
    assert_eq!(stage.kernel.process_count(), 1);
}

/// A late reply is dropped while a batch is handled, and its destructor receives.
#[test]
fn destructor_of_a_late_reply_receives() {
    let mut stage = Stage::new(Options::default());
    let got = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (nested, outer) = (got.clone(), got.clone());
    let body = move |cx: Context<(u8, Dropped)>| async move {
        let cx = Arc::new(cx);
        let alias = cx.with(|cx| cx.alias(false)).unwrap();
        cx.with(|cx| cx.unalias(alias));
        let inner = cx.clone();
        let late = Dropped::new(move || {
            let received = inner.try_with(|cx| {
                cx.send(cx.pid(), (9_u8, Dropped(None))).unwrap();
                cx.receive()
            });
            let received = received.flatten();
            if let Some(Received::Message((number, _))) = received {
                nested.lock().unwrap().push(number);
            }
        });
        cx.send_alias(alias, (0_u8, late)).unwrap();
        for number in 1..=3_u8 {
            cx.send(cx.pid(), (number, Dropped(None))).unwrap();
        }
        for _ in 0..3 {
            if let Some(Received::Message((number, _))) = cx.with(|cx| cx.receive()) {
                outer.lock().unwrap().push(number);
            }
        }
    };
    stage.host().spawn_async(&SpawnOptions::new(), body).unwrap();
    stage.settle();
    assert_eq!(*got.lock().unwrap(), [1, 2, 3], "in the order in which they were sent");
}

/// A late reply counts towards the mailbox's limit until it is dropped, and no longer.
#[test]
fn late_replies_release_capacity() {
    let mut stage = Stage::new(Options::default());
    let body = does(|cx: &atropos_kernel::Cx<'_, u8>| {
        if let Some(Received::Message(0)) = cx.receive() {
            let alias = cx.alias(false).unwrap();
            cx.unalias(alias);
            for _ in 0..3 {
                cx.send_alias(alias, 1_u8).unwrap();
            }
        }
        BodyPoll::Wait
    });
    let bounded = stage.host().spawn(&SpawnOptions::new().mailbox_limit(4), body).unwrap().pid;
    for _ in 0..10 {
        stage.host().send(bounded, 0_u8).expect("there is room");
        stage.settle();
    }
}

struct Panics;
impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a foreign waker");
    }
}

/// The waker of a process that sent a query panics when the target answers.
#[test]
fn panic_of_a_query_waker_does_not_kill_the_target() {
    let mut stage = Stage::new(Options::default());
    let asked =
        stage.host().spawn(&SpawnOptions::new(), does(|_: &atropos_kernel::Cx<'_, ()>| BodyPoll::Wait)).unwrap();
    stage.settle();
    for dies in [false, true] {
        let answer = stage.host().info(asked.pid);
        let atropos_kernel::MaybeReady::Pending(answer) = answer else { panic!("the answer needs a query") };
        let mut answer = std::pin::pin!(answer);
        let waker = Waker::from(Arc::new(Panics));
        let mut task = std::task::Context::from_waker(&waker);
        assert!(answer.as_mut().poll(&mut task).is_pending());
        if dies {
            stage.host().exit(asked.pid, Reason::KILL).unwrap();
        }
        stage.settle();
        assert!(answer.as_mut().poll(&mut task).is_ready());
        assert_eq!(stage.kernel.process_count(), usize::from(!dies));
    }
}

/// A process that queries itself finds the signals that arrived in between in its next slice.
#[test]
fn query_of_oneself_loses_no_wake_up() {
    let mut stage = Stage::new(Options::default());
    let got = Arc::new(AtomicUsize::new(0));
    let count = got.clone();
    let body = does(move |cx: &atropos_kernel::Cx<'_, u8>| {
        if let Some(Received::Message(number)) = cx.receive() {
            count.fetch_add(1, Ordering::Relaxed);
            if number == 0 {
                cx.send(cx.pid(), 1_u8).unwrap();
                let _ = cx.info(cx.pid());
            }
        }
        BodyPoll::Wait
    });
    let pid = stage.host().spawn(&SpawnOptions::new(), body).unwrap().pid;
    stage.settle();
    stage.host().send(pid, 0_u8).unwrap();
    stage.settle();
    assert_eq!(got.load(Ordering::Relaxed), 2);
}

/// A process that keeps its own waker keeps the kernel alive, and the kernel keeps the process: the
/// end of the cores ends both.
#[test]
fn own_waker_does_not_leak_the_kernel() {
    let dropped = Arc::new(AtomicBool::new(false));
    let noted = dropped.clone();
    let mut stage = Stage::new(Options::default());
    let mut kept = (None, Dropped::new(move || noted.store(true, Ordering::Relaxed)));
    let body = does(move |cx: &atropos_kernel::Cx<'_, ()>| {
        let kept = &mut kept;
        kept.0 = Some(cx.waker());
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new(), body).unwrap();
    stage.settle();
    let lives = life::of(&stage.kernel);
    drop(stage);
    assert!(dropped.load(Ordering::Relaxed), "its body is dropped with the last core");
    assert!(!lives(), "the kernel is freed");
}

/// On a platform that catches no panics, the process that panicked is not recorded as running for
/// ever.
#[test]
fn a_panic_that_goes_through_leaves_no_trace() {
    let world = common::propagates_panics();
    let mut stage = Stage::in_world(Options { limits: Limits::default(), ..Options::default() }, world);
    stage.host().spawn(&SpawnOptions::new(), does(|_: &atropos_kernel::Cx<'_, ()>| panic!("through"))).unwrap();
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.cores[0].run(1)));
    assert!(run.is_err());
    assert!(!atropos_sim::is_in_slice());
    std::mem::forget(stage);
}

/// A message that a body's destructor sends arrives before the DOWN of its process.
#[test]
fn message_sent_by_a_destructor_arrives_before_the_down() {
    let mut stage = Stage::new(Options::default());
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = heard.clone();
    let mut speaker: Option<Pid> = None;
    let listener = does(move |cx: &atropos_kernel::Cx<'_, &'static str>| {
        let listener = cx.pid();
        if speaker.is_none() {
            let body = move |cx: Context<()>| async move {
                let cx = Arc::new(cx);
                let last = cx.clone();
                let _speaks = Dropped::new(move || {
                    last.try_with(|cx| cx.send(listener, "the last word").unwrap()).expect("its own slice");
                });
                cx.stop(Reason::value("done")).await;
            };
            speaker = Some(cx.spawn_async(&SpawnOptions::new().monitor(), body).unwrap().pid);
        }
        while let Some(received) = cx.receive() {
            noted.lock().unwrap().push(match received {
                Received::Message(text) => text,
                Received::Down(down) => {
                    assert_eq!(down.reason, Reason::value("done"));
                    "down"
                }
                other => panic!("{other:?}"),
            });
        }
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new(), listener).unwrap();
    stage.settle();
    assert_eq!(*heard.lock().unwrap(), ["the last word", "down"]);
}

/// A body's destructor panics on a platform that catches no panics. The rest of the process ends
/// with its core, and its body is not dropped again.
#[test]
fn body_is_dropped_once() {
    struct Panics(Arc<AtomicUsize>);
    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "in a destructor");
        }
    }
    let world = common::propagates_panics();
    let mut stage = Stage::in_world(Options::default(), world);
    let drops = Arc::new(AtomicUsize::new(0));
    let kept = Panics(drops.clone());
    let body = does(move |_: &atropos_kernel::Cx<'_, ()>| {
        let _ = &kept;
        BodyPoll::Exit(Reason::NORMAL)
    });
    stage.host().spawn(&SpawnOptions::new(), body).unwrap();
    let mut core = stage.cores.pop().unwrap();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| core.run(16))).is_err());
    drop(core);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}
