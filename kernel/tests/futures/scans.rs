//! Selective receives that look at many messages.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use atropos_kernel::{Context, Cursor, Options, Peek, SearchResult, SpawnOptions};

use crate::common::{Stage, yields};
use crate::{is_done, run};

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
                    atropos_kernel::Host::new(&kernel, &participant).exit(me, atropos_kernel::Reason::KILL).unwrap();
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
                SearchResult::Found(_) => break,
                SearchResult::Unfinished => {
                    stops += 1;
                    cx.yield_now().await;
                }
                SearchResult::Nothing => panic!("it is there"),
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
