//! Futures beside others, and dropped futures.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use crate::common::Bed;
use atropos_kernel::{Context, Reason, Received, Reply};
use atropos_otp::{Next, RequestSet, Server, ServerCx, ServerRef};

use crate::{Ask, Slow, either, ms};

/// Issue 14, 15: a call, a stop, a sleep and a receive of one context in one select; the loser is
/// dropped without a loss.
#[test]
fn n15_a_call_beside_a_receive() {
    let mut bed = Bed::new(2, 5);
    bed.run_as(async |cx: Context<u32>| {
        let server = Slow.start().start(&cx).await.unwrap();
        cx.send_after(cx.pid(), ms(5), 1_u32).unwrap();
        let mut call = pin!(server.call(&cx, |reply| Ask::Slow(20, reply)));
        let got = either(cx.recv(), call.as_mut()).await;
        assert!(matches!(got, Ok(Received::Message(1))), "{got:?}");
        // The call continues.
        assert_eq!(either(call, cx.recv()).await.expect("no message"), Ok(20));
        // A stop, which searches the mailbox for its DOWN, beside a receive that would take any
        // signal.
        cx.send_after(cx.pid(), ms(2), 2_u32).unwrap();
        server.cast(&cx, Ask::Slow(10, atropos_kernel::reply().unwrap().0)).map_err(|_| ()).unwrap();
        let mut stop = pin!(server.stop(&cx, Reason::NORMAL, None));
        let only = |peek: atropos_kernel::Peek<'_, u32>| matches!(peek, atropos_kernel::Peek::Message(_));
        let got = either(cx.recv_match(only), stop.as_mut()).await;
        assert!(matches!(got, Ok(Some(Received::Message(2)))), "{got:?}");
        assert_eq!(stop.await, Ok(Reason::NORMAL));
        assert!(cx.recv_timeout(ms(50)).await.is_none());
    });
}

/// A server whose callback waits for the first of two futures.
struct Selects;

impl Server for Selects {
    type Message = (ServerRef<Slow>, Reply<bool>);

    async fn handle(&mut self, (slow, reply): Self::Message, cx: ServerCx<'_, Self>) -> Next<Self::Message> {
        let in_time = either(slow.call(&cx, |reply| Ask::Slow(30, reply)), cx.sleep(ms(10))).await.is_ok();
        reply.send(in_time);
        Next::Wait
    }
}

/// Issue 14, 15 and 16: the same inside a server.
#[test]
fn n15_a_select_within_a_callback() {
    let mut bed = Bed::new(2, 5);
    bed.run(async |cx: Context<()>| {
        let slow = Slow.start().start(&cx).await.unwrap();
        let selects = Selects.start().start(&cx).await.unwrap();
        assert_eq!(selects.call(&cx, |reply| (slow, reply)).await, Ok(false));
        let info = cx.info(selects).await.unwrap().expect("alive");
        assert_eq!((info.message_queue_len, info.monitors.len(), info.timers), (0, 0, 0));
    });
}

/// Issue 14, 16: a dropped future leaves no message, monitor or timer.
#[test]
fn n16_dropped_future_leaves_nothing() {
    type Wait = for<'a> fn(&'a Context<()>, ServerRef<Slow>) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
    let waits: [(&str, Wait); 10] = [
        ("call", |cx, s| Box::pin(async move { drop(s.call(cx, |r| Ask::Slow(50, r)).await) })),
        ("call_waiting", |cx, s| Box::pin(async move { drop(s.call_wait(cx, None, |r| Ask::Slow(50, r)).await) })),
        ("call_waiting in time", |cx, s| {
            Box::pin(async move { drop(s.call_wait(cx, ms(500), |r| Ask::Slow(50, r)).await) })
        }),
        ("cast_waiting", |cx, s| {
            Box::pin(async move {
                while s.cast_wait(cx, Ask::Slow(50, atropos_kernel::reply().unwrap().0), ms(900)).await.is_ok() {}
            })
        }),
        ("stop", |cx, s| Box::pin(async move { drop(s.stop(cx, Reason::SHUTDOWN, ms(700)).await) })),
        ("suspend", |cx, s| Box::pin(async move { drop(s.suspend(cx).await) })),
        ("request", |cx, s| {
            Box::pin(async move { drop(s.request(cx, Ask::Never).unwrap().answer(cx, ms(400)).await) })
        }),
        ("calls", |cx, s| {
            Box::pin(async move {
                let mut calls = RequestSet::new();
                for n in 0..3 {
                    calls.add(n, s.request(cx, Ask::Never).unwrap());
                }
                drop(calls.next(cx, ms(600)).await);
            })
        }),
        ("sleep, recv_timeout", |cx, _| {
            Box::pin(async move { drop(either(cx.sleep(ms(500)), cx.recv_timeout(ms(600))).await) })
        }),
        ("info, is_alive", |cx, s| {
            Box::pin(async move {
                let (mut info, mut alive) = (pin!(cx.info(s)), pin!(cx.is_alive(s)));
                poll_fn(|task| {
                    let _ = (info.as_mut().poll(task), alive.as_mut().poll(task));
                    Poll::Ready(())
                })
                .await;
                std::future::pending().await
            })
        }),
    ];
    for (what, wait) in waits {
        let mut bed = Bed::new(2, 9);
        bed.run(async move |cx: Context<()>| {
            let limit = if what.contains("waiting") { 1 } else { 100 };
            let server = Slow.start().mailbox_limit(limit).start(&cx).await.unwrap();
            // The server is busy, so that nothing arrives at once.
            server.cast(&cx, Ask::Slow(100, atropos_kernel::reply().unwrap().0)).map_err(|_| ()).unwrap();
            for _ in 0..3 {
                assert!(either(wait(&cx, server), cx.sleep(ms(5))).await.is_err(), "{what}: nothing was dropped");
            }
            let info = cx.own_info().unwrap().unwrap();
            assert_eq!((info.monitors.len(), info.timers), (0, 0), "{what}");
            cx.sleep(ms(1000)).await;
            let _ = cx.exit(server, Reason::KILL);
            assert!(cx.recv_timeout(ms(1000)).await.is_none(), "{what}: something is left");
        });
    }
}

/// Issue 14, 16: a request that was not handled before its future was dropped has no effect.
#[test]
fn n16_cancelled_suspend_has_no_effect() {
    let mut bed = Bed::new(2, 9);
    bed.run(async |cx: Context<()>| {
        let server = Slow.start().start(&cx).await.unwrap();
        server.cast(&cx, Ask::Slow(100, atropos_kernel::reply().unwrap().0)).map_err(|_| ()).unwrap();
        assert!(either(server.suspend(&cx), cx.sleep(ms(5))).await.is_err());
        assert_eq!(server.call(&cx, |reply| Ask::Slow(1, reply)).await, Ok(1));
    });
}
