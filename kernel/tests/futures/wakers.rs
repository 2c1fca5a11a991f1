//! The wakers with which futures are polled: the last one counts, and they may do anything.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Task, Wake, Waker};

use atropos_kernel::{Context, Options, Peek, Reason};

use crate::common::Stage;
use crate::{Picky, by, is_done, ms, run};

/// A waker that counts its calls, and performs an action when it is called.
struct Odd {
    calls: AtomicUsize,
    deed: Box<dyn Fn() + Send + Sync>,
}

impl Odd {
    fn new(deed: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { calls: AtomicUsize::new(0), deed: Box::new(deed) })
    }
}

impl Wake for Odd {
    fn wake(self: Arc<Self>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        (self.deed)();
    }
}

/// Only the last waker is called, and the earlier ones are dropped.
#[test]
fn n14_future_that_moves_between_executors_wakes_the_last() {
    let mut stage = Stage::new(Options::default());
    let wakers: Vec<_> = (0..3).map(|_| Odd::new(|| ())).collect();
    let used = wakers.clone();
    let (_, done) = run(&stage, async move |cx: Context<()>| {
        let mut sleep = pin!(cx.sleep(ms(10)));
        for odd in &used {
            let waker = Waker::from(odd.clone());
            for _ in 0..2 {
                assert!(sleep.as_mut().poll(&mut Task::from_waker(&waker)).is_pending());
            }
        }
        cx.sleep(ms(20)).await;
    });
    stage.settle();
    for (odd, count) in wakers.iter().zip([2, 2, 3]) {
        assert_eq!(Arc::strong_count(odd), count, "only the last waker is kept");
    }
    stage.pass(ms(15));
    assert_eq!(wakers.iter().map(|odd| odd.calls.load(Ordering::Relaxed)).collect::<Vec<_>>(), [0, 0, 1]);
    stage.pass(ms(15));
    assert!(is_done(&done));
    assert!(wakers.iter().all(|odd| Arc::strong_count(odd) == 1));
}

/// Futures that are cancelled, killed, or dropped on another thread: no waker remains, and no other
/// process is affected.
#[test]
fn n14_dropped_futures_drop_their_wakers() {
    let mut stage = Stage::new(Options::default());
    let odd = Odd::new(|| ());
    let used = odd.clone();
    let (pid, _) = run(&stage, async move |cx: Context<u32>| {
        let waker = Waker::from(used.clone());
        for _ in 0..100 {
            assert!(by(&waker, pin!(cx.recv())).is_pending());
            assert!(by(&waker, pin!(cx.recv_timeout(ms(50)))).is_pending());
            assert!(by(&waker, pin!(cx.recv_match(|_| true))).is_pending());
            assert!(by(&waker, pin!(cx.sleep(ms(50)))).is_pending());
        }
        assert_eq!(Arc::strong_count(&used), 3, "references: this one, the waker's, and the test's");
        // The exit of its process releases a future that is forgotten.
        let mut forgotten = Box::pin(cx.sleep(ms(50)));
        assert!(by(&waker, forgotten.as_mut()).is_pending());
        std::mem::forget(forgotten);
        cx.sleep(ms(1000)).await;
    });
    stage.settle();
    stage.host().exit(pid, Reason::KILL).unwrap();
    stage.settle();
    assert_eq!(Arc::strong_count(&odd), 1);

    // The context is shared, so that the future may move to another thread.
    let odd = Odd::new(|| ());
    let used = odd.clone();
    let (_, done) = run(&stage, async move |cx: Context<u32>| {
        let cx: &'static Context<u32> = Box::leak(Box::new(cx));
        let waker = Waker::from(used);
        let mut gone = Box::pin(cx.recv_timeout(ms(50)));
        assert!(gone.as_mut().poll(&mut Task::from_waker(&waker)).is_pending());
        drop(waker);
        std::thread::spawn(move || drop(gone)).join().unwrap();
        cx.sleep(ms(100)).await;
    });
    stage.settle();
    stage.pass(ms(60));
    assert_eq!(odd.calls.load(Ordering::Relaxed), 1, "called once although the future is gone");
    stage.pass(ms(60));
    assert!(is_done(&done));
    assert_eq!(Arc::strong_count(&odd), 1);
}

/// A waker may do anything when it is called: panic, receive, sleep, cancel other futures.
#[test]
fn n14_wakers_that_panic_or_reenter() {
    let mut stage = Stage::new(Options::default());
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let (pid, done) = run(&stage, async move |cx: Context<u32>| {
        let cx = Arc::new(cx);
        let (inner, count) = (cx.clone(), count);
        let own = cx.with(|cx| cx.waker());
        let odd = Odd::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            // A poll within a wake, which leaves a waker in its turn; and one future that is
            // cancelled.
            let noop = &mut Task::from_waker(Waker::noop());
            let _ = pin!(inner.yield_now()).poll(noop);
            let _ = pin!(inner.recv()).poll(noop);
            own.wake_by_ref();
            panic!("a waker");
        });
        let waker = Waker::from(odd);
        let mut sleeps: Vec<_> = (0..20).map(|_| Box::pin(cx.sleep(ms(10)))).collect();
        for sleep in &mut sleeps {
            assert!(by(&waker, sleep.as_mut()).is_pending());
        }
        cx.sleep(ms(20)).await;
        for sleep in &mut sleeps {
            assert!(by(&waker, sleep.as_mut()).is_ready());
        }
    });
    stage.settle();
    stage.host().send(pid, 1_u32).unwrap();
    stage.pass(ms(15));
    assert_eq!(calls.load(Ordering::Relaxed), 20);
    assert_eq!(stage.world.unhandled_panics(), 20, "each panic is caught");
    stage.pass(ms(15));
    assert!(is_done(&done));
}

/// A waker whose clone and drop functions use the context.
#[test]
fn n14_wakers_that_reenter_when_cloned_or_dropped() {
    use std::task::{RawWaker, RawWakerVTable};
    thread_local! {
        static DEED: Cell<Option<fn()>> = const { Cell::new(None) };
        static CX: Cell<*const Context<u32>> = const { Cell::new(std::ptr::null()) };
    }
    fn deed() {
        if let Some(deed) = DEED.get() {
            deed();
        }
    }
    fn clone(_: *const ()) -> RawWaker {
        deed();
        RawWaker::new(std::ptr::null(), &TABLE)
    }
    static TABLE: RawWakerVTable = RawWakerVTable::new(clone, |_| deed(), |_| deed(), |_| deed());
    let mut stage = Stage::new(Options::default());
    let (pid, done) = run(&stage, async move |cx: Context<u32>| {
        CX.set(&raw const cx);
        DEED.set(Some(|| {
            // SAFETY: the body has set `CX` to its context above, and clears `DEED` before the
            // context is dropped.
            let cx = unsafe { &*CX.get() };
            // Fetches signals, takes a message if there is one, and handles alarms.
            cx.try_with(|cx| cx.receive());
            DEED.take();
        }));
        {
            // SAFETY: the functions of the table do not use the data pointer, and keep no data.
            let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &TABLE)) };
            let mut all: Vec<_> = (0..3).map(|_| Box::pin(cx.sleep(ms(1)))).collect();
            let mut receive = pin!(cx.recv_timeout(ms(5)));
            for sleep in &mut all {
                assert!(by(&waker, sleep.as_mut()).is_pending());
            }
            assert!(by(&waker, receive.as_mut()).is_pending());
        }
        DEED.set(None);
        cx.sleep(ms(10)).await;
    });
    stage.host().send(pid, 7_u32).unwrap();
    stage.settle();
    stage.pass(ms(20));
    assert!(is_done(&done));
}

/// A combinator whose wake-ups wake the process itself does not keep the process awake for ever
/// (`settle` would not end).
#[test]
fn n14_self_wakes_do_not_repeat() {
    let mut stage = Stage::new(Options::default());
    let (pid, done) = run(&stage, async move |cx: Context<u32>| {
        let cx = &cx;
        Picky::default()
            .with(async move { drop(cx.recv_match(|peek| matches!(peek, Peek::Message(9))).await) })
            .with(async move { drop(cx.recv_match(|peek| matches!(peek, Peek::Message(8))).await) })
            .with(async move { cx.sleep(ms(10)).await })
            .await;
    });
    stage.settle();
    for number in [1, 2, 3, 8, 4, 9] {
        stage.host().send::<u32>(pid, number).unwrap();
        stage.settle();
    }
    stage.pass(ms(15));
    assert!(is_done(&done));
}
