//! Limits, and that nothing is left.

use std::time::Duration;

use atropos::{Context, Reason, Received, SendError};
use atropos_dist::node::{Options, RemoteError};

use crate::pair::{Heard, Pair, Word, eventually, options};

#[test]
fn the_proxies_of_a_peer_are_bounded() {
    let pair = Pair::with(Options { peer_proxies: 3, ..options() });
    let workers: Vec<_> = (0..5).map(|_| Pair::worker_at(&pair.first)).collect();
    let proxy = |index: usize| pair.second.remote_pid(&pair.second.process(workers[index].as_ref()));
    let [one, two, _] = [proxy(0), proxy(1), proxy(2)].map(|proxy| proxy.expect("within the limit"));
    assert_eq!(proxy(3), Err(RemoteError::TooMany));
    assert_eq!((proxy(0), proxy(1)), (Ok(one), Ok(two)), "the same process has the same pid");
    assert_eq!(pair.second.proxy_count(), 3);
    // The end of one makes room.
    pair.first.runtime().exit(atropos::Pid::from_raw(workers[0].raw()).expect("a pid"), Reason::KILL).expect("memory");
    let _ = one;
    eventually(|| proxy(3).is_ok());
    pair.stop();
}

#[test]
fn a_peer_that_needs_too_many_loses_its_connection() {
    let pair = Pair::with(Options { peer_proxies: 2, ..options() });
    let second = pair.second.clone();
    let (first, workers) = (pair.first.clone(), [(); 3].map(|()| Pair::worker_at(&pair.first)));
    pair.run(async move |cx: Context<Heard>| {
        cx.trap_exit(true);
        let own = second.export(cx.address()).expect("it is watched");
        assert!(second.connect(first.name()).await);
        // Three processes of the first node link with this one.
        for worker in workers {
            let worker = atropos::Pid::from_raw(worker.raw()).expect("a pid");
            first.runtime().send(worker, Word::Link(own.clone())).expect("it lives");
        }
        for _ in 0..2 {
            let Received::Exit(exit) = cx.recv().await else { panic!("no EXIT") };
            assert_eq!(exit.reason, Reason::NOCONNECTION);
        }
    });
    eventually(|| pair.second.proxy_count() == 0);
    pair.stop();
}

#[test]
fn a_full_proxy_holds_its_senders_back_and_still_hears_of_the_end() {
    let pair = Pair::with(Options { proxy_mailbox: 4, busy_limit: 4096, ..options() });
    let worker = Pair::worker_at(&pair.first);
    let (second, name) = (pair.second.clone(), pair.first.name().clone());
    pair.run(async move |cx: Context<Heard>| {
        let to = second.remote::<Word>(second.process(worker.as_ref())).expect("a proxy");
        let own = second.export(cx.address()).expect("it is watched");
        let ping = |n| Word::Ping { from: own.clone(), n, ballast: vec![1; 50_000] };
        // Without an await in between, the proxy may not run: it is full at last.
        let full = (0..1_000_000).map(|n| cx.send(to, ping(n))).find_map(Result::err);
        assert!(matches!(full, Some(SendError::Full(_))), "{full:?}");
        // One that waits is let in, in its turn.
        cx.send_wait(to, ping(9), None).await.expect("it lives");
        let monitor = cx.monitor(to).expect("memory");
        assert!(second.disconnect(&name).await);
        let down = cx.recv_match(|peek| matches!(peek, atropos::Peek::Down(_))).await;
        let Some(Received::Down(down)) = down else { panic!("no DOWN") };
        assert_eq!((down.reference, down.reason), (monitor, Reason::NOCONNECTION));
    });
    pair.stop();
}

#[test]
fn a_thousand_proxies_leave_nothing() {
    let pair = Pair::new();
    let processes = pair.here.processes().len();
    let workers: Vec<_> = (0..1000).map(|_| Pair::worker_at(&pair.first)).collect();
    let (second, name) = (pair.second.clone(), pair.first.name().clone());
    let watched = pair.run(async move |cx: Context<Heard>| {
        cx.trap_exit(true);
        for worker in &workers {
            let pid = second.remote_pid(&second.process(worker.as_ref())).expect("a proxy");
            cx.link(pid).expect("it lives");
        }
        while second.counts().links < 1000 {
            cx.sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(second.proxy_count(), 1000);
        assert!(second.disconnect(&name).await);
        let mut watched = 0;
        while watched < 1000 {
            let Received::Exit(exit) = cx.recv().await else { panic!("no EXIT") };
            assert_eq!(exit.reason, Reason::NOCONNECTION);
            watched += 1;
        }
        watched
    });
    assert_eq!(watched, 1000);
    eventually(|| pair.second.proxy_count() == 0);
    // A service may have started a process of its own in the meantime.
    eventually(|| pair.here.processes().len() < processes + 5);
    pair.stop();
}

#[test]
fn the_shutdown_of_a_runtime_does_not_end_processes_of_other_nodes() {
    let pair = Pair::new();
    let worker = Pair::worker_at(&pair.first);
    let second = pair.second.clone();
    let stays = worker.clone();
    pair.run(async move |cx: Context<Heard>| {
        let to = second.remote::<Word>(second.process(worker.as_ref())).expect("a proxy");
        let own = second.export(cx.address()).expect("it is watched");
        cx.send(to, Word::Ping { from: own, n: 1, ballast: Vec::new() }).expect("it lives");
        cx.recv().await;
    });
    let Pair { tokio, here, there, first, second } = pair;
    here.shutdown(crate::pair::PATIENCE).expect("all processes end");
    eventually(|| second.proxy_count() == 0);
    assert!(first.runtime().is_alive(atropos::Pid::from_raw(stays.raw()).expect("a pid")));
    tokio.block_on(async {
        second.stop().await;
        first.stop().await;
    });
    there.shutdown(crate::pair::PATIENCE).expect("all processes end");
}
