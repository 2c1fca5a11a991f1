//! Futures in a combinator that polls only those that were woken.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use atropos_kernel::{Context, Options, Peek, Received, SpawnOptions};

use crate::common::Stage;
use crate::{Flag, Picky, is_done, ms, run};

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
