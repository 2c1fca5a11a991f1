//! The futures of a `Context` among other futures (issue 14, items 7, 8, 14, 15): in combinators
//! that poll only futures that were woken, several in one process, cancelled, and always ready.

mod common;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Wake, Waker};
use std::time::Duration;

use atropos_kernel::{Context, Cursor, Options, Peek, Pid, Reason, Received, RunOutcome, Search, SpawnOptions};

use common::{Stage, yields};

/// The state of one part of a combinator: whether it was woken, and the waker of the combinator.
#[derive(Default)]
struct Flag {
    woken: AtomicBool,
    times: AtomicUsize,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.woken.store(true, Ordering::Relaxed);
        let outer = self.outer.lock().unwrap().take();
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

type Part<'f> = (Option<Pin<Box<dyn Future<Output = ()> + Send + 'f>>>, Arc<Flag>);

/// A combinator that waits for all of its futures, and polls only those that were woken.
#[derive(Default)]
struct Picky<'f>(Vec<Part<'f>>);

impl<'f> Picky<'f> {
    fn with(mut self, future: impl Future<Output = ()> + Send + 'f) -> Self {
        let flag = Arc::new(Flag::default());
        flag.woken.store(true, Ordering::Relaxed);
        self.0.push((Some(Box::pin(future)), flag));
        self
    }
}

impl Future for Picky<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let mut left = false;
        for (future, flag) in &mut self.0 {
            let Some(running) = future else { continue };
            *flag.outer.lock().unwrap() = Some(task.waker().clone());
            if flag.woken.swap(false, Ordering::Relaxed) {
                let waker = Waker::from(flag.clone());
                if running.as_mut().poll(&mut Task::from_waker(&waker)).is_ready() {
                    *future = None;
                    continue;
                }
            }
            left = true;
        }
        if left { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Polls the future with this waker.
fn by<F: Future>(waker: &Waker, future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Task::from_waker(waker))
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Starts a process whose end is recorded.
fn run<M, F>(stage: &Stage, body: impl FnOnce(Context<M>) -> F + Send + 'static) -> (Pid, Arc<AtomicBool>)
where
    M: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let done = Arc::new(AtomicBool::new(false));
    let note = done.clone();
    let start = move |cx| {
        let body = body(cx);
        async move {
            body.await;
            note.store(true, Ordering::Relaxed);
        }
    };
    (stage.host().spawn_async(&SpawnOptions::new(), start).unwrap().pid(), done)
}

fn is_done(done: &AtomicBool) -> bool {
    done.load(Ordering::Relaxed)
}

#[test]
fn n14_sleeps_and_yields_wake_their_poller() {
    let mut stage = Stage::new(Options::default());
    let (_, done) = run(&stage, async move |cx: Context<()>| {
        let mut all = Picky::default();
        for n in 0..300 {
            let cx = &cx;
            all = all.with(async move {
                cx.sleep(ms(n % 7)).await;
                cx.yield_now().await;
                cx.sleep(ms(n % 5)).await;
            });
        }
        all.await;
    });
    stage.settle();
    assert!(!is_done(&done));
    for _ in 0..12 {
        stage.pass(ms(1));
    }
    assert!(is_done(&done));
}

#[test]
fn n14_each_sleep_is_woken_once_by_its_own_timer() {
    let mut stage = Stage::new(Options::default());
    let flags: Arc<Mutex<Vec<Arc<Flag>>>> = Arc::default();
    let kept = flags.clone();
    let (_, done) = run(&stage, async move |cx: Context<()>| {
        let mut all = Picky::default();
        for n in 1..=50 {
            all = all.with(cx.sleep(ms(10 * n)));
        }
        *kept.lock().unwrap() = all.0.iter().map(|(_, flag)| flag.clone()).collect();
        all.await;
    });
    stage.settle();
    // The ticks of the wheel are about one millisecond long.
    stage.pass(ms(5));
    for n in 1..=50 {
        stage.pass(ms(10));
        let woken = flags.lock().unwrap().iter().filter(|flag| flag.times.load(Ordering::Relaxed) > 0).count();
        assert_eq!(woken, n, "a sleep that continues is not polled when another ends");
    }
    assert!(is_done(&done));
    assert!(flags.lock().unwrap().iter().all(|flag| flag.times.load(Ordering::Relaxed) == 1));
}

#[test]
fn n14_receives_wake_their_poller() {
    let mut stage = Stage::new(Options::default());
    let got = Arc::new(Mutex::new(Vec::<(u32, Option<u32>)>::new()));
    let note = got.clone();
    let (pid, done) = run(&stage, async move |cx: Context<u32>| {
        let (cx, note) = (&cx, &note);
        let number = |received| match received {
            Some(Received::Message(number)) => Some(number),
            _ => None,
        };
        Picky::default()
            .with(async move {
                let odd = |peek: Peek<'_, u32>| matches!(peek, Peek::Message(n) if n % 2 == 1);
                let got = number(cx.recv_match(odd).await);
                note.lock().unwrap().push((0, got));
            })
            .with(async move {
                let big = |peek: Peek<'_, u32>| matches!(peek, Peek::Message(n) if *n > 100);
                let from = cx.cursor_at_end();
                let got = number(cx.recv_match_from(from, Some(ms(500)), big).await);
                note.lock().unwrap().push((1, got));
            })
            .with(async move {
                let got = number(cx.recv_timeout(ms(20)).await);
                note.lock().unwrap().push((2, got));
            })
            .with(async move {
                cx.sleep(ms(30)).await;
                let got = number(Some(cx.recv().await));
                note.lock().unwrap().push((3, got));
            })
            .await;
    });
    stage.settle();
    stage.pass(ms(25));
    // No message arrived for it in time.
    assert_eq!(*got.lock().unwrap(), [(2, None)]);
    for number in [2, 102, 3] {
        stage.host().send::<u32>(pid, number).unwrap();
        stage.settle();
    }
    assert_eq!(*got.lock().unwrap(), [(2, None), (1, Some(102)), (0, Some(3))]);
    stage.pass(ms(10));
    assert_eq!(
        got.lock().unwrap().last(),
        Some(&(3, Some(2))),
        "a message that no selective receive takes waits for a plain one"
    );
    assert!(is_done(&done));
}

#[test]
fn n14_waiting_senders_wake_their_poller() {
    let mut stage = Stage::new(Options::default());
    let got = Arc::new(Mutex::new(Vec::new()));
    let note = got.clone();
    let receiver = stage
        .host()
        .spawn_async(&SpawnOptions::new().mailbox_limit(1), async move |cx: Context<u32>| {
            for _ in 0..6 {
                cx.sleep(ms(10)).await;
                if let Received::Message(number) = cx.recv().await {
                    note.lock().unwrap().push(number);
                }
            }
        })
        .unwrap()
        .pid();
    let (_, done) = run(&stage, async move |cx: Context<()>| {
        let mut all = Picky::default();
        for n in 0..6_u32 {
            let cx = &cx;
            all = all.with(async move { cx.send_wait(receiver, n, None).await.unwrap() });
        }
        // And some senders that time out.
        for n in 0..6_u32 {
            let cx = &cx;
            all = all.with(async move { assert!(cx.send_wait(receiver, 100 + n, Some(ms(5))).await.is_err()) });
        }
        all.await;
    });
    stage.settle();
    for _ in 0..20 {
        stage.pass(ms(10));
    }
    assert!(is_done(&done));
    assert_eq!(got.lock().unwrap().len(), 6);
    assert!(got.lock().unwrap().iter().all(|number| *number < 100));
}

#[test]
fn n14_queries_wake_their_poller() {
    let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
    let (other, _) = run(&stage, async move |cx: Context<u32>| {
        loop {
            cx.recv().await;
        }
    });
    let (_, done) = run(&stage, async move |cx: Context<()>| {
        let cx = &cx;
        let mut all = Picky::default();
        for n in 0..20 {
            all = all.with(async move {
                // With an unhandled signal to the target, the kernel must send a query.
                cx.send::<u32>(other, n).unwrap();
                assert!(cx.is_alive(other).await);
                assert!(cx.info(other).await.unwrap().is_some());
            });
        }
        all.await;
    });
    stage.settle();
    assert!(is_done(&done));
}

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
    assert_eq!(stage.world.lost.load(Ordering::Relaxed), 20, "each panic is caught");
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

/// Polls both futures, alternating as `select!` does; returns the first that is ready.
async fn either<A: Future, B: Future>(a: A, b: B) -> Result<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let mut turn = false;
    poll_fn(move |task| {
        turn = !turn;
        for first in [turn, !turn] {
            if first {
                if let Poll::Ready(ready) = a.as_mut().poll(task) {
                    return Poll::Ready(Ok(ready));
                }
            } else if let Poll::Ready(ready) = b.as_mut().poll(task) {
                return Poll::Ready(Err(ready));
            }
        }
        Poll::Pending
    })
    .await
}

/// A heartbeat that continues over several receives, each of which may be cancelled.
#[test]
fn n15_receive_beside_a_sleep_loses_no_message() {
    let mut stage = Stage::new(Options::default());
    let got = Arc::new(Mutex::new(Vec::new()));
    let note = got.clone();
    let (pid, done) = run(&stage, async move |cx: Context<u32>| {
        let mut beats = 0;
        let mut beat = pin!(cx.sleep(ms(10)));
        while beats < 20 {
            match either(cx.recv(), beat.as_mut()).await {
                Ok(Received::Message(number)) => note.lock().unwrap().push(number),
                Ok(other) => panic!("{other:?}"),
                Err(()) => {
                    beats += 1;
                    beat.set(cx.sleep(ms(10)));
                }
            }
        }
    });
    stage.settle();
    for number in 0..100 {
        stage.host().send::<u32>(pid, number).unwrap();
        stage.pass(ms(2));
    }
    assert_eq!(got.lock().unwrap().len(), 100);
    for _ in 0..20 {
        stage.pass(ms(12));
    }
    assert!(is_done(&done));
    assert_eq!(*got.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

/// A receive that was polled before and found nothing is notified of a message that another receive
/// has fetched and does not want.
#[test]
fn n15_receive_sees_messages_fetched_by_another() {
    for plain_first in [false, true] {
        let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
        let (pid, done) = run(&stage, async move |cx: Context<u32>| {
            let me = cx.pid();
            // A message that arrives between the polls of the two futures, as if from another core.
            let mut between = plain_first;
            let mut plain = pin!(cx.recv());
            let mut picky = pin!(cx.recv_match(|peek| matches!(peek, Peek::Message(9))));
            poll_fn(|task| {
                if plain.as_mut().poll(task).is_ready() {
                    return Poll::Ready(());
                }
                if std::mem::take(&mut between) {
                    cx.send(me, 1_u32).unwrap();
                }
                assert!(picky.as_mut().poll(task).is_pending());
                Poll::Pending
            })
            .await;
        });
        stage.settle();
        if !plain_first {
            stage.host().send(pid, 1_u32).unwrap();
            stage.settle();
        }
        assert!(is_done(&done));
    }
}

/// Any number of selective receives over one queue, while other receives take from it: each
/// examines each signal once, in order, and finds the same signal as a plain list.
#[test]
fn n15_cursors_over_a_changing_queue() {
    let mut stage = Stage::new(Options::default());
    let (_, done) = run(&stage, async move |cx: Context<u64>| {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let me = cx.pid();
        let mut model: Vec<u64> = Vec::new();
        let mut sent = 0;
        // The cursors, and the last number that each has examined; the numbers only grow.
        let mut cursors: Vec<(Cursor, Option<u64>)> = vec![(Cursor::new(), None); 5];
        for _ in 0..20_000 {
            match next(8) {
                0..=2 => {
                    for _ in 0..next(4) {
                        cx.send(me, sent).unwrap();
                        model.push(sent);
                        sent += 1;
                    }
                }
                3 => {
                    let got = cx.try_recv();
                    let must = if model.is_empty() { None } else { Some(model.remove(0)) };
                    assert!(matches!((got, must), (None, None)) || must.is_some());
                }
                4 => {
                    let place = next(5) as usize;
                    cursors[place] = (cx.cursor_at_end(), None);
                    // The cursor skips everything fetched so far; signals not yet fetched come
                    // after it.
                    cx.with(|cx| cx.for_each_waiting(|_| ()));
                    cursors[place] = (cx.cursor_at_end(), sent.checked_sub(1));
                }
                _ => {
                    let place = next(5) as usize;
                    let (modulus, rest) = (3 + next(20), next(3));
                    let (cursor, seen) = &mut cursors[place];
                    let mut looked = Vec::new();
                    let found = cx.with(|cx| {
                        cx.receive_match(cursor, |peek| {
                            let Peek::Message(number) = peek else { panic!() };
                            looked.push(*number);
                            number % modulus == rest
                        })
                    });
                    let fresh: Vec<u64> =
                        model.iter().copied().filter(|number| seen.is_none_or(|seen| *number > seen)).collect();
                    let end = fresh.iter().position(|number| number % modulus == rest);
                    assert_eq!(looked, fresh[..end.map_or(fresh.len(), |end| end + 1)]);
                    match (found, end) {
                        (Some(Received::Message(number)), Some(end)) => {
                            assert_eq!(number, fresh[end]);
                            model.retain(|other| *other != number);
                            *seen = if end == 0 { *seen } else { Some(fresh[end - 1]) };
                        }
                        (None, None) => *seen = fresh.last().copied().or(*seen),
                        other => panic!("{other:?}"),
                    }
                }
            }
            cx.checkpoint().await;
        }
    });
    stage.settle();
    assert!(is_done(&done));
}

/// Bodies whose awaits are always ready at once: the other processes get their turns, and a kill
/// ends these bodies.
#[test]
fn n7_futures_always_ready_let_other_processes_run() {
    type Loop = fn(Context<u32>, Pid) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    let loops: [(&str, Loop); 10] = [
        ("sleep", |cx, _| {
            Box::pin(async move {
                loop {
                    cx.sleep(Duration::ZERO).await
                }
            })
        }),
        ("timeout", |cx, _| Box::pin(async move { while cx.recv_timeout(Duration::ZERO).await.is_none() {} })),
        ("match", |cx, _| {
            Box::pin(async move {
                let from = Cursor::new();
                while cx.recv_match_from(from, Some(Duration::ZERO), |_| true).await.is_none() {}
            })
        }),
        ("is_alive", |cx, dead| Box::pin(async move { while !cx.is_alive(dead).await {} })),
        ("itself", |cx, _| Box::pin(async move { while cx.is_alive(cx.pid()).await {} })),
        ("info", |cx, dead| Box::pin(async move { while cx.info(dead).await.unwrap().is_none() {} })),
        ("self info", |cx, _| Box::pin(async move { while cx.info(cx.pid()).await.unwrap().is_some() {} })),
        ("send_waiting", |cx, dead| Box::pin(async move { while cx.send_wait(dead, 1_u32, None).await.is_err() {} })),
        ("checkpoint", |cx, _| {
            Box::pin(async move {
                loop {
                    cx.checkpoint().await
                }
            })
        }),
        ("coop", |cx, _| {
            Box::pin(async move {
                loop {
                    cx.coop(std::future::ready(())).await
                }
            })
        }),
    ];
    for (what, body) in loops {
        let mut stage = Stage::new(Options::default());
        let (dead, _) = run(&stage, async |_: Context<u32>| {});
        stage.settle();
        let (busy, _) = run(&stage, move |cx| body(cx, dead));
        let turns = Arc::new(AtomicUsize::new(0));
        stage.host().spawn(&SpawnOptions::new(), yields(turns.clone())).unwrap();
        // The call ends; with a slice that is never over it would not.
        assert_eq!(stage.cores[0].run(100), RunOutcome::Worked);
        assert!(turns.load(Ordering::Relaxed) >= 40, "{what}");
        stage.host().exit(busy, Reason::KILL).unwrap();
        let _ = stage.cores[0].run(100);
        assert!(!stage.host().is_alive(busy), "{what}");
    }
}

/// A future that would be ready is not ready in a dying process.
#[test]
fn n7_no_future_is_ready_in_a_dying_process() {
    let mut stage = Stage::new(Options::default());
    let (_, done) = run(&stage, async move |cx: Context<u32>| {
        cx.exit(cx.pid(), Reason::value("enough")).unwrap();
        let _ =
            either(either(cx.sleep(Duration::ZERO), cx.checkpoint()), either(cx.is_alive(cx.pid()), cx.coop(async {})))
                .await;
    });
    stage.settle();
    assert!(!is_done(&done));
}

/// A yield that is polled again in the same slice has not yielded yet.
#[test]
fn n7_yield_ends_in_another_slice() {
    let mut stage = Stage::new(Options::default());
    let turns = Arc::new(AtomicUsize::new(0));
    let count = turns.clone();
    let (_, done) = run(&stage, async move |cx: Context<()>| {
        for before in 0..10 {
            let mut yielded = pin!(cx.yield_now());
            poll_fn(|task| {
                let first = yielded.as_mut().poll(task);
                if first.is_pending() { yielded.as_mut().poll(task) } else { first }
            })
            .await;
            assert!(count.load(Ordering::Relaxed) > before, "the other process has had its turn");
        }
    });
    stage.host().spawn(&SpawnOptions::new(), yields(turns)).unwrap();
    let _ = stage.cores[0].run(100);
    assert!(is_done(&done));
}

/// A long scan is charged, continues in the next slice where it stopped, and examines each signal
/// once.
#[test]
fn n8_selective_receive_is_charged_for_its_scan() {
    const MANY: usize = 50_000;
    for sync in [false, true] {
        let mut stage = Stage::new(Options::default());
        let (looks, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = looks.clone();
        let (pid, done) = run(&stage, async move |cx: Context<u32>| {
            let wanted = |peek: Peek<'_, u32>| {
                count.fetch_add(1, Ordering::Relaxed);
                matches!(peek, Peek::Message(1))
            };
            if sync {
                let mut cursor = Cursor::new();
                while cx.with(|cx| cx.receive_match(&mut cursor, wanted)).is_none() {
                    cx.checkpoint().await;
                    cx.yield_now().await;
                }
            } else {
                cx.recv_match(wanted).await;
            }
        });
        for _ in 0..MANY {
            stage.host().send(pid, 0_u32).unwrap();
        }
        stage.host().spawn(&SpawnOptions::new(), yields(turns.clone())).unwrap();
        let _ = stage.cores[0].run(200);
        assert_eq!(looks.load(Ordering::Relaxed), MANY);
        assert!(!is_done(&done));
        stage.host().send(pid, 1_u32).unwrap();
        let _ = stage.cores[0].run(200);
        assert!(is_done(&done));
        assert_eq!(looks.load(Ordering::Relaxed), MANY + 1, "a signal is not examined twice");
        if !sync {
            assert!(turns.load(Ordering::Relaxed) >= MANY / 4000);
        }
    }
}

/// Two concurrent long scans both finish, each continuing at its own position.
#[test]
fn n8_two_long_scans_keep_their_own_positions() {
    const MANY: usize = 30_000;
    let mut stage = Stage::new(Options::default());
    let looks = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let count = looks.clone();
    let (pid, done) = run(&stage, async move |cx: Context<u32>| {
        let look = |at: usize| {
            let count = &count;
            move |peek: Peek<'_, u32>| {
                count[at].fetch_add(1, Ordering::Relaxed);
                matches!(peek, Peek::Message(n) if *n as usize == at + 1)
            }
        };
        let (mut a, mut b) = (pin!(cx.recv_match(look(0))), pin!(cx.recv_match(look(1))));
        let (mut a_done, mut b_done) = (false, false);
        poll_fn(|task| {
            a_done = a_done || a.as_mut().poll(task).is_ready();
            b_done = b_done || b.as_mut().poll(task).is_ready();
            if a_done && b_done { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    });
    for _ in 0..MANY {
        stage.host().send(pid, 0_u32).unwrap();
    }
    stage.settle();
    assert_eq!([0, 1].map(|at| looks[at].load(Ordering::Relaxed)), [MANY, MANY]);
    stage.host().send(pid, 2_u32).unwrap();
    stage.host().send(pid, 1_u32).unwrap();
    stage.settle();
    assert!(is_done(&done));
    assert!(looks.iter().all(|looks| looks.load(Ordering::Relaxed) <= MANY + 2));
}

/// A process that is killed in the middle of a long scan of any kind examines only a few hundred
/// more signals. (The body holds the kernel, which is `Send` only with epochs.)
#[cfg(feature = "epoch")]
#[test]
fn n8_kill_ends_a_long_scan() {
    const MANY: usize = 100_000;
    for sync in [false, true] {
        let mut stage = Stage::new(Options::default());
        let looks = Arc::new(AtomicUsize::new(0));
        let (count, kernel) = (looks.clone(), stage.kernel.clone());
        let (pid, done) = run(&stage, async move |cx: Context<u32>| {
            let me = cx.pid();
            let wanted = |_: Peek<'_, u32>| {
                if count.fetch_add(1, Ordering::Relaxed) == 1000 {
                    // As if from another core.
                    let participant = kernel.register();
                    atropos_kernel::Host::new(&kernel, &participant).exit(me, Reason::KILL).unwrap();
                }
                false
            };
            if sync {
                let _ = cx.with(|cx| cx.receive_match(&mut Cursor::new(), wanted));
                assert!(cx.with(|cx| cx.is_dying()));
                return std::future::pending().await;
            }
            cx.recv_match(wanted).await;
        });
        for _ in 0..MANY {
            stage.host().send(pid, 0_u32).unwrap();
        }
        stage.settle();
        assert!(!stage.host().is_alive(pid));
        assert!(!is_done(&done));
        assert!(looks.load(Ordering::Relaxed) < 6000, "{}", looks.load(Ordering::Relaxed));
    }
}

/// `search` reports that it has more signals to examine than the slice can pay for.
#[test]
fn n8_search_stops_and_continues() {
    let mut stage = Stage::new(Options::default());
    let (pid, done) = run(&stage, async move |cx: Context<u32>| {
        let mut cursor = Cursor::new();
        let mut stops = 0;
        loop {
            match cx.with(|cx| cx.search(&mut cursor, |peek| matches!(peek, Peek::Message(1)))) {
                Search::Found(_) => break,
                Search::Unfinished => {
                    stops += 1;
                    cx.yield_now().await;
                }
                Search::Nothing => panic!("it is there"),
            }
        }
        assert!(stops >= 2);
    });
    for _ in 0..10_000 {
        stage.host().send(pid, 0_u32).unwrap();
    }
    stage.host().send(pid, 1_u32).unwrap();
    stage.settle();
    assert!(is_done(&done));
}
