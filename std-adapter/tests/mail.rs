//! Messages between processes of a runtime: returned messages, order, and full mailboxes.

use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use atropos::prelude::*;
use atropos::{Alias, AliasMode, Peek};

fn runtime() -> Runtime {
    Runtime::builder().cores(2).build().expect("two threads")
}

#[test]
fn a_message_of_the_wrong_type_is_returned() {
    let runtime = runtime();
    let process = runtime
        .spawn(async |cx: Context<u32>| {
            cx.recv().await;
        })
        .expect("a process");
    assert_eq!(runtime.send(process.pid(), "text"), Err(SendError::WrongType("text")));
    assert_eq!(runtime.send(process, 1), Ok(()));
    while runtime.is_alive(process) {
        std::thread::yield_now();
    }
    assert_eq!(runtime.send(process, 2), Err(SendError::NoProc(2)));
}

#[test]
fn a_full_mailbox_returns_the_message_and_accepts_exits() {
    let runtime = runtime();
    let done = runtime.block_on(async |cx: Context<()>| {
        let options = SpawnOptions::new().monitor().mailbox_limit(2);
        let (busy, _) = cx
            .spawn_with(&options, async |cx: Context<u32>| cx.sleep(Duration::from_secs(3600)).await)
            .expect("a process");
        assert_eq!(cx.send(busy, 1_u32), Ok(()));
        assert_eq!(cx.send(busy, 2_u32), Ok(()));
        assert_eq!(cx.send(busy, 3_u32), Err(SendError::Full(3)));
        cx.exit(busy, Reason::value("enough")).expect("memory");
        matches!(cx.recv().await, Received::Down(down) if down.reason == Reason::value("enough"))
    });
    assert_eq!(done, Ok(true));
}

#[test]
fn a_kill_stays_behind_earlier_signals() {
    let runtime = Runtime::builder().cores(1).build().expect("a thread");
    let reasons = runtime.block_on(async |cx: Context<Waker>| {
        cx.trap_exit(true);
        let me = cx.address();
        let mut reasons = Vec::new();
        for round in 0..3 {
            let target = cx.spawn(async move |cx: Context<()>| {
                let waker = poll_fn(|task| Poll::Ready(task.waker().clone())).await;
                cx.send(me, waker).expect("alive");
                std::future::pending::<()>().await;
            });
            let target = target.expect("a process").pid();
            let Received::Message(waker) = cx.recv().await else { unreachable!() };
            // It has a signal to handle when the others arrive.
            waker.wake();
            match round {
                0 => drop(cx.monitor(target).expect("memory")),
                1 => cx.link(target).expect("alive"),
                _ => {
                    cx.monitor(target).expect("memory");
                    cx.exit(target, Reason::SHUTDOWN).expect("memory");
                }
            }
            cx.exit(target, Reason::KILL).expect("memory");
            match cx.recv().await {
                Received::Down(down) => reasons.push(down.reason),
                Received::Exit(exit) => reasons.push(exit.reason),
                other => panic!("unexpected: {other:?}"),
            }
        }
        reasons
    });
    assert_eq!(reasons, Ok(vec![Reason::KILLED, Reason::KILLED, Reason::SHUTDOWN]));
}

#[test]
fn late_replies_do_not_fill_a_bounded_mailbox() {
    let runtime = runtime();
    let done = runtime.block_on(async |cx: Context<Alias>| {
        let me = cx.address();
        let options = SpawnOptions::new().mailbox_limit(2);
        let server = async move |cx: Context<u32>| {
            let alias = cx.alias(false).expect("memory");
            cx.unalias(alias);
            cx.send(me, alias).expect("alive");
            assert!(matches!(cx.recv().await, Received::Message(7)));
        };
        let (server, _) = cx.spawn_with(&options, server).expect("a process");
        let Received::Message(spent) = cx.recv().await else { unreachable!() };
        for _ in 0..10 {
            // Dropped, two at a time: the server handles them before it answers.
            for late in 0..2_u32 {
                assert_eq!(cx.send_alias(spent, late), Ok(()));
            }
            assert!(cx.info(server).await.expect("memory").is_some());
        }
        cx.send(server, 7_u32)
    });
    assert_eq!(done, Ok(Ok(())));
}

#[test]
fn a_selective_receive_looks_at_each_message_once() {
    let runtime = runtime();
    let looks = runtime.block_on(async |cx: Context<u32>| {
        let me = cx.address();
        for i in 0..1000 {
            cx.send(me, i).expect("alive");
        }
        cx.spawn(async move |cx: Context<()>| {
            for i in 0..100 {
                cx.sleep(Duration::from_micros(100)).await;
                cx.send(me, 10_000 + i).expect("alive");
            }
        })
        .expect("a process");
        let mut looks = 0;
        let wanted = |peek: Peek<'_, u32>| {
            looks += 1;
            matches!(peek, Peek::Message(10_099))
        };
        assert!(matches!(cx.recv_match(wanted).await, Some(Received::Message(10_099))));
        looks
    });
    assert_eq!(looks, Ok(1100));
}

#[test]
fn a_call_through_an_alias_drops_late_replies() {
    let runtime = runtime();
    let done = runtime.block_on(async |cx: Context<u32>| {
        let server = cx
            .spawn(async |cx: Context<atropos::Alias>| {
                while let Received::Message(reply_to) = cx.recv().await {
                    cx.send_alias(reply_to, 1_u32).expect("alive");
                    cx.send_alias(reply_to, 2_u32).expect("alive");
                }
            })
            .expect("a process");
        let call = cx.monitor_alias(server, AliasMode::ReplyDemonitor).expect("memory");
        cx.send(server, call).expect("alive");
        assert!(matches!(cx.recv().await, Received::Message(1)));
        // The second reply, and the DOWN, never arrive: the first reply ended both.
        cx.exit(server, Reason::KILL).expect("memory");
        cx.recv_timeout(Duration::from_millis(50)).await.is_none()
    });
    assert_eq!(done, Ok(true));
}
