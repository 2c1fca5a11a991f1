//! Futures in servers, state machines and their callers: beside other futures, dropped, or ready at
//! once for ever (issue 14, numbers 7, 8, 15, 16, 18, 28).

mod common;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use atropos_kernel::{Context, Peek, Pid, Reason, Received, Reply};
use atropos_otp::statem::MachineMessage;
use atropos_otp::{
    CallError, ChildSpec, DynamicRef, EnterActions, Event, InitError, MachineCx, Next, RequestSet, Server, ServerCx,
    ServerName, ServerRef, StateMachine, Supervisor, SupervisorRef, Task, TaskSupervisor, Transition,
};
use common::{Bed, lock};

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Polls both and resolves to the first that is ready; the other one is dropped.
async fn either<A: Future, B: Future>(a: A, b: B) -> Result<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|task| match a.as_mut().poll(task) {
        Poll::Ready(ready) => Poll::Ready(Ok(ready)),
        Poll::Pending => b.as_mut().poll(task).map(Err),
    })
    .await
}

/// A server that replies after a time.
struct Slow;

enum Ask {
    Slow(u64, Reply<u64>),
    Never(Reply<u64>),
    Die,
}

impl Server for Slow {
    type Message = Ask;

    async fn handle(&mut self, ask: Ask, cx: ServerCx<'_, Self>) -> Next<Ask> {
        match ask {
            Ask::Slow(time, reply) => {
                cx.sleep(ms(time)).await;
                reply.send(time);
            }
            Ask::Never(reply) => std::mem::forget(reply),
            Ask::Die => return Next::Stop(Reason::NORMAL),
        }
        Next::Wait
    }
}

/// Runs a body that yields only at its awaits on one core: another process runs, and a kill ends
/// the body.
fn must_let_go(what: &str, start: impl FnOnce(&mut Bed) -> Pid) {
    let mut bed = Bed::new(1, 3);
    let busy = start(&mut bed);
    for _ in 0..50 {
        bed.step();
    }
    let other = bed.spawn(false, async |_: Context<()>| {});
    // Each step is one slice: if a slice never ended, neither would this loop.
    for _ in 0..500 {
        bed.step();
    }
    assert!(!bed.is_alive(other), "{what}: the other process has not run");
    assert!(bed.is_alive(busy), "{what}");
    bed.exit(busy, Reason::KILL);
    for _ in 0..500 {
        bed.step();
    }
    assert!(!bed.is_alive(busy), "{what}: it cannot be killed");
}

/// Issue 14, 7: callers whose calls fail at once, in every way a call can fail.
#[test]
fn n07_callers_that_retry_for_ever_let_other_processes_run() {
    type Try = for<'a> fn(&'a Context<()>, ServerRef<Slow>) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
    let tries: [(&str, Try); 11] = [
        ("name call", |cx, _| {
            Box::pin(async move { ServerName::<Slow>::new("nobody").call(cx, Ask::Never).await.is_err() })
        }),
        ("name call_within", |cx, _| {
            Box::pin(async move { ServerName::<Slow>::new("nobody").call_within(cx, None, Ask::Never).await.is_err() })
        }),
        ("name call_waiting", |cx, _| {
            Box::pin(async move { ServerName::<Slow>::new("nobody").call_wait(cx, None, Ask::Never).await.is_err() })
        }),
        ("name cast_waiting", |cx, _| {
            Box::pin(async move { ServerName::<Slow>::new("nobody").cast_wait(cx, Ask::Die, None).await.is_err() })
        }),
        ("call", |cx, dead| Box::pin(async move { dead.call(cx, Ask::Never).await.is_err() })),
        ("call_waiting", |cx, dead| Box::pin(async move { dead.call_wait(cx, None, Ask::Never).await.is_err() })),
        ("cast_waiting", |cx, dead| Box::pin(async move { dead.cast_wait(cx, Ask::Die, None).await.is_err() })),
        ("stop", |cx, dead| {
            Box::pin(async move {
                let _ = dead.stop(cx, Reason::NORMAL, None).await;
                true
            })
        }),
        ("suspend", |cx, dead| Box::pin(async move { dead.suspend(cx).await.is_err() })),
        ("statistics", |cx, dead| Box::pin(async move { dead.statistics(cx).await.is_err() })),
        ("no calls", |cx, _| Box::pin(async move { RequestSet::<u8, u64>::new().next(cx, None).await.is_none() })),
    ];
    for (what, again) in tries {
        must_let_go(what, |bed| {
            let dead = bed.run(async |cx: Context<()>| {
                let dead = Slow.start().start(&cx).await.unwrap();
                dead.stop(&cx, Reason::NORMAL, None).await.unwrap();
                dead
            });
            bed.spawn(false, async move |cx: Context<()>| while again(&cx, dead).await {})
        });
    }
}

/// Issue 14, 7: starts that fail at once, requests to dead supervisors, and tasks that are over.
#[test]
fn n07_starts_that_fail_at_once_and_tasks_that_are_over_let_the_others_run() {
    type Try = for<'a> fn(&'a Context<()>, SupervisorRef) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
    fn child() -> ChildSpec {
        ChildSpec::of("child", async |_: Context<()>| {})
    }
    let tries: [(&str, Try); 11] = [
        ("start_child", |cx, dead| Box::pin(async move { dead.start_child(cx, child()).await.is_err() })),
        ("which_children", |cx, dead| Box::pin(async move { dead.which_children(cx).await.is_err() })),
        ("restart_child", |cx, dead| Box::pin(async move { dead.restart_child(cx, "child").await.is_err() })),
        ("a dynamic start", |cx, dead| {
            Box::pin(async move { DynamicRef::<u8>::new(dead).start(cx, 1).await.is_err() })
        }),
        ("a supervised task", |cx, dead| {
            Box::pin(async move {
                let tasks = TaskSupervisor::of(DynamicRef::new(dead));
                tasks.run(cx, async |_: Context<()>| {}).await.is_err()
            })
        }),
        ("a name that is taken", |cx, _| Box::pin(async move { Slow.start().name("taken").start(cx).await.is_err() })),
        ("a name that is found", |cx, _| {
            Box::pin(async move { Slow.start().name("taken").start_or_find(cx).await.is_ok() })
        }),
        ("a specification that is refused", |cx, _| {
            Box::pin(
                async move { Supervisor::one_for_one().child(child()).child(child()).start_link(cx).await.is_err() },
            )
        }),
        ("no tasks", |cx, _| Box::pin(async move { Task::<u8>::join_all(cx, Vec::new(), None).await.is_empty() })),
        ("none of no tasks", |cx, _| {
            Box::pin(async move { Task::<u8>::try_join_all(cx, Vec::new(), None).await.is_ok() })
        }),
        ("a task whose value is taken", |cx, _| {
            Box::pin(async move {
                let mut task = Task::start(cx, async |_: Context<()>| 1_u8).unwrap();
                assert_eq!(task.wait().await, Ok(1));
                while task.wait().await.is_err() {}
                false
            })
        }),
    ];
    for (what, again) in tries {
        must_let_go(what, |bed| {
            let dead = bed.run(async |cx: Context<()>| {
                Slow.start().name("taken").start(&cx).await.unwrap();
                let dead = Supervisor::one_for_one().start(&cx).await.unwrap();
                let monitor = cx.monitor(dead).unwrap();
                cx.exit(dead, Reason::SHUTDOWN).unwrap();
                cx.recv_match(|peek| matches!(peek, Peek::Down(down) if down.reference == monitor)).await;
                dead
            });
            bed.spawn(false, async move |cx: Context<()>| while again(&cx, dead).await {})
        });
    }
}

/// A server that continues for ever.
struct Continues;

impl Server for Continues {
    type Message = bool;

    async fn handle(&mut self, by_continue: bool, _: ServerCx<'_, Self>) -> Next<bool> {
        if by_continue { Next::Continue(true) } else { Next::Timeout(Duration::ZERO) }
    }

    async fn timeout(&mut self, _: ServerCx<'_, Self>) -> Next<bool> {
        Next::Timeout(Duration::ZERO)
    }
}

/// A machine that inserts an event for each one that it handles, or postpones one and changes its
/// state, for ever.
struct Inserts;

impl StateMachine for Inserts {
    type State = u64;
    type Message = u8;

    async fn init(&mut self, _: MachineCx<'_, Self>) -> Result<u64, InitError> {
        Ok(0)
    }

    async fn handle(&mut self, state: &u64, happened: Event<Self>, _: MachineCx<'_, Self>) -> Transition<Self> {
        match happened {
            Event::Message(0) | Event::Internal(0) => Transition::keep().next(0),
            Event::Message(1) | Event::StateTimeout => Transition::to(state + 1).state_timeout(Duration::ZERO),
            happened => Transition::to(state + 1).postpone(happened),
        }
    }

    async fn enter(&mut self, _: &u64, _: &u64, _: MachineCx<'_, Self>) -> EnterActions<Self> {
        EnterActions::new()
    }
}

/// Issue 14, 8: between two callbacks the library's own loop runs.
#[test]
fn n08_loops_between_callbacks_let_other_processes_run() {
    // Sent from the host, because the test bed never becomes idle here.
    for by_continue in [true, false] {
        must_let_go("a server", |bed| {
            let server = bed.run(async |cx: Context<()>| Continues.start().start(&cx).await.unwrap());
            bed.host(|host| server.cast_from(host, by_continue)).unwrap();
            server.pid()
        });
    }
    for event in [0, 1, 2] {
        must_let_go("a machine", |bed| {
            let machine = bed.run(async |cx: Context<()>| Inserts.start().start(&cx).await.unwrap());
            bed.host(|host| machine.cast_from(host, MachineMessage::event(event))).map_err(|_| ()).unwrap();
            machine.pid()
        });
    }
}

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

type Log = Arc<Mutex<Vec<String>>>;
type On = fn(char, &str) -> Transition<Zero>;

/// A machine that records its events, and does what its function returns.
struct Zero(On, Log);

impl StateMachine for Zero {
    type State = char;
    type Message = u8;

    async fn init(&mut self, _: MachineCx<'_, Self>) -> Result<char, InitError> {
        Ok('a')
    }

    async fn handle(&mut self, state: &char, happened: Event<Self>, _: MachineCx<'_, Self>) -> Transition<Self> {
        let what = match &happened {
            Event::Message(9) if *state == 'a' => return Transition::keep().postpone(happened),
            Event::Message(n) => format!("{n}"),
            Event::Internal(n) => format!("in{n}"),
            Event::EventTimeout => "event".into(),
            Event::StateTimeout => "state".into(),
            Event::Timeout(name) => (*name).into(),
            Event::Signal(_) => "signal".into(),
        };
        lock(&self.1).push(format!("{state}:{what}"));
        (self.0)(*state, &what)
    }
}

/// Issue 14, 18: the behaviour of OTP's `gen_statem` in the same scenes. All events are queued
/// before the first is handled.
#[test]
fn n18_cancelled_zero_timeout_never_fires() {
    const ZERO: Duration = Duration::ZERO;
    let scenes: [(&[u8], On, &str); 15] = [
        (
            &[0],
            |s, e| match (s, e) {
                ('a', "0") => Transition::to('b').state_timeout(ZERO).next(1),
                ('b', "in1") => Transition::to('c'),
                _ => Transition::keep(),
            },
            "a:0 b:in1",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().event_timeout(ZERO).next(1),
                _ => Transition::keep(),
            },
            "a:0 a:in1",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().timeout("n", ZERO).next(1),
                "in1" => Transition::keep().cancel_timeout("n"),
                _ => Transition::keep(),
            },
            "a:0 a:in1",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().timeout("n", ZERO).next(1),
                "in1" => Transition::keep().timeout("n", Duration::from_millis(5)),
                _ => Transition::keep(),
            },
            "a:0 a:in1 a:n",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().timeout("n", ZERO).next(1),
                "in1" => Transition::keep().timeout("n", Duration::from_secs(3600)),
                _ => Transition::keep(),
            },
            "a:0 a:in1",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::to('b').state_timeout(ZERO).cancel_state_timeout(),
                _ => Transition::keep(),
            },
            "a:0",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::to('b').state_timeout(ZERO).state_timeout(ZERO),
                _ => Transition::keep(),
            },
            "a:0 b:state",
        ),
        (
            &[9, 0],
            |_, e| match e {
                "0" => Transition::to('b').state_timeout(ZERO),
                "9" => Transition::to('c'),
                _ => Transition::keep(),
            },
            "a:0 b:9",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().event_timeout(ZERO),
                _ => Transition::keep(),
            },
            "a:0 a:event",
        ),
        (
            &[0, 1],
            |_, e| match e {
                "0" => Transition::keep().event_timeout(ZERO),
                _ => Transition::keep(),
            },
            "a:0 a:event a:1",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::to('b').timeout("n", ZERO).timeout("m", ZERO).cancel_timeout("n"),
                _ => Transition::keep(),
            },
            "a:0 b:m",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().state_timeout(ZERO).event_timeout(ZERO),
                _ => Transition::keep(),
            },
            "a:0 a:state",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().timeout("n", ZERO).timeout("m", ZERO),
                "n" => Transition::keep().cancel_timeout("m"),
                _ => Transition::keep(),
            },
            "a:0 a:n",
        ),
        (
            &[0],
            |s, e| match (s, e) {
                ('a', "0") => Transition::keep().state_timeout(ZERO).timeout("n", ZERO),
                ('a', "state") => Transition::to('b'),
                _ => Transition::keep(),
            },
            "a:0 a:state b:n",
        ),
        // A restarted timeout goes behind those that were started in between.
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().timeout("n", ZERO).timeout("m", ZERO).timeout("n", ZERO),
                _ => Transition::keep(),
            },
            "a:0 a:m a:n",
        ),
    ];
    for (events, on, expected) in scenes {
        let log = Log::default();
        let noted = log.clone();
        let mut bed = Bed::new(1, 1);
        bed.run(async move |cx: Context<()>| {
            let machine = Zero(on, noted).start().start(&cx).await.unwrap();
            machine.suspend(&cx).await.unwrap();
            for event in events {
                machine.send(&cx, *event).unwrap();
            }
            machine.resume(&cx).await.unwrap();
            cx.sleep(ms(50)).await;
            machine.stop(&cx, Reason::NORMAL, None).await.unwrap();
        });
        assert_eq!(lock(&log).join(" "), expected);
    }
}

/// Issue 14, 28: replies are returned in order of arrival, however late they are collected.
#[test]
fn n28_calls_return_replies_in_order_of_arrival() {
    let mut bed = Bed::new(2, 7);
    bed.run(async |cx: Context<()>| {
        let mut calls = RequestSet::new();
        for time in [60, 20, 90, 40, 10] {
            let server = Slow.start().start(&cx).await.unwrap();
            calls.add(time, server.request(&cx, |reply| Ask::Slow(time, reply)).unwrap());
        }
        cx.sleep(ms(70)).await;
        let mut got = Vec::new();
        while let Some((label, answer)) = calls.next(&cx, None).await {
            assert_eq!(Ok(label.unwrap()), answer);
            got.push(label.unwrap());
        }
        assert_eq!(got, [10, 20, 40, 60, 90]);
    });
}

/// Issue 14, 28: one deadline for all; a loop over the collection ends.
#[test]
fn n28_a_collection_of_calls_has_one_deadline() {
    let mut bed = Bed::new(2, 7);
    bed.run(async |cx: Context<()>| {
        let mut calls = RequestSet::new();
        for time in [20, 40, 60, 80] {
            let server = Slow.start().start(&cx).await.unwrap();
            calls.add(time, server.request(&cx, |reply| Ask::Slow(time, reply)).unwrap());
        }
        let silent = Slow.start().start(&cx).await.unwrap();
        calls.add(0, silent.request(&cx, Ask::Never).unwrap());
        let start = cx.with(|cx| cx.now());
        let mut got = Vec::new();
        while let Some((label, answer)) = calls.next(&cx, ms(50)).await {
            got.push((label, answer));
        }
        assert_eq!(got, [(Some(20), Ok(20)), (Some(40), Ok(40)), (None, Err(CallError::TimedOut))]);
        let spent = Duration::from_nanos(cx.with(|cx| cx.now()) - start);
        assert!(spent < ms(60), "{spent:?}");
        // The requests stay open; replies that have arrived are kept, and a new deadline can be
        // set.
        assert_eq!(calls.len(), 3);
        cx.sleep(ms(20)).await;
        assert_eq!(calls.next(&cx, ms(50)).await, Some((Some(60), Ok(60))));
        assert_eq!(calls.next(&cx, ms(50)).await, None);
        calls.renew();
        assert_eq!(calls.next(&cx, ms(50)).await, Some((Some(80), Ok(80))));
        assert_eq!(calls.next(&cx, ms(50)).await, Some((None, Err(CallError::TimedOut))));
        assert_eq!(calls.next(&cx, ms(50)).await, None);
        cx.exit(silent.pid(), Reason::KILL).unwrap();
        calls.renew();
        assert_eq!(calls.next(&cx, None).await, Some((Some(0), Err(CallError::Down(Reason::KILLED)))));
        assert_eq!(calls.next(&cx, None).await, None);
    });
}

/// Issue 14, 28 and 16: a collection whose `next` is dropped has lost nothing.
#[test]
fn n28_collection_that_loses_a_select_loses_no_reply() {
    let mut bed = Bed::new(2, 7);
    bed.run(async |cx: Context<()>| {
        let mut calls = RequestSet::new();
        for time in [30, 10, 50] {
            let server = Slow.start().start(&cx).await.unwrap();
            calls.add(time, server.request(&cx, |reply| Ask::Slow(time, reply)).unwrap());
        }
        let mut got = Vec::new();
        while got.len() < 3 {
            if let Ok(Some((Some(label), Ok(_)))) = either(calls.next(&cx, None), cx.sleep(ms(1))).await {
                got.push(label);
            }
        }
        assert_eq!(got, [10, 30, 50]);
        let info = cx.own_info().unwrap().unwrap();
        assert_eq!(info.timers, 0);
    });
}
