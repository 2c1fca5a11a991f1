//! Futures that are always ready, or that never become ready.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atropos_kernel::{Context, Cursor, Options, Pid, Reason, RunOutcome, SpawnOptions};

use crate::common::{Stage, yields};
use crate::{either, is_done, run};

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
