//! Servers: starts, calls, and system requests to the loop.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Down, Exit, MonitorTarget, Reason, Received, SendError};
use atropos_otp::server::Event;
use atropos_otp::{CallError, InitError, Next, Reply, RequestSet, Server, ServerCx, ServerName, ServerRef, StartError};
use common::{Bed, boom, crash, lock};

#[derive(Default)]
struct Desk {
    sum: u64,
    log: Arc<Mutex<Vec<String>>>,
    waiting: Vec<Reply<u64>>,
    at_init: Option<Result<Next<Ask>, InitError>>,
}

enum Ask {
    Add(u64),
    Get(Reply<u64>),
    /// The next `Add` replies to it.
    GetNext(Reply<u64>),
    Watch(atropos_kernel::Pid, Reply<()>),
    Idle(Duration, Reply<()>),
    Work(Duration),
    Panic,
    Stop(Reason),
    First,
    Later(Duration),
    CallYourself(Reply<Result<u64, CallError>>),
}

impl Desk {
    fn logged(log: &Arc<Mutex<Vec<String>>>) -> Self {
        Self { log: log.clone(), ..Self::default() }
    }

    fn note(&self, what: impl Into<String>) {
        lock(&self.log).push(what.into());
    }
}

impl Server for Desk {
    type Message = Ask;

    async fn init(&mut self, _: ServerCx<'_, Self>) -> Result<Next<Ask>, InitError> {
        self.note("init");
        self.at_init.take().unwrap_or(Ok(Next::Wait))
    }

    async fn handle(&mut self, ask: Ask, cx: ServerCx<'_, Self>) -> Next<Ask> {
        match ask {
            Ask::Add(n) => {
                self.sum += n;
                self.waiting.drain(..).for_each(|reply| reply.send(self.sum));
            }
            Ask::Get(reply) => reply.send(self.sum),
            Ask::GetNext(reply) => self.waiting.push(reply),
            Ask::Watch(pid, reply) => {
                cx.monitor(pid).expect("memory");
                reply.send(());
            }
            Ask::Idle(time, reply) => {
                reply.send(());
                return Next::Timeout(time);
            }
            Ask::Work(time) => cx.sleep(time).await,
            Ask::Panic => crash("a bad day"),
            Ask::Stop(reason) => return Next::Stop(reason),
            Ask::First => self.note("first"),
            Ask::Later(after) => {
                cx.cast_after(after, Ask::Add(100)).expect("a timer");
            }
            Ask::CallYourself(reply) => {
                let me = cx.me();
                reply.send(me.call(cx.context(), Ask::Get).await);
            }
        }
        Next::Wait
    }

    async fn down(&mut self, down: Down, _: ServerCx<'_, Self>) -> Next<Ask> {
        let MonitorTarget::Pid(_) = down.target else { unreachable!("by pid") };
        self.note(format!("down {}", down.reason));
        Next::Wait
    }

    async fn exit(&mut self, exit: Exit, _: ServerCx<'_, Self>) -> Next<Ask> {
        self.note(format!("exit {}", exit.reason));
        Next::Wait
    }

    async fn timeout(&mut self, _: ServerCx<'_, Self>) -> Next<Ask> {
        self.note("timeout");
        Next::Wait
    }

    async fn terminate(&mut self, reason: &Reason, _: ServerCx<'_, Self>) {
        self.note(format!("terminate {reason}"));
    }
}

type Log = Arc<Mutex<Vec<String>>>;

fn bed() -> (Bed, Log) {
    (Bed::new(2, 11), Log::default())
}

#[test]
fn calls_and_casts_keep_their_order() {
    let (mut bed, log) = bed();
    let sum = bed.run(move |cx: Context<()>| async move {
        let desk = Desk::logged(&log).start().start_link(&cx).await.expect("up");
        for n in 1..=100 {
            desk.cast(&cx, Ask::Add(n)).expect("alive");
        }
        desk.call(&cx, Ask::Get).await
    });
    assert_eq!(sum, Ok(5050));
}

#[test]
fn init_can_continue_ignore_and_stop() {
    let (mut bed, log) = bed();
    let seen = log.clone();
    bed.run(move |cx: Context<()>| async move {
        let mut desk = Desk::logged(&seen);
        desk.at_init = Some(Ok(Next::Continue(Ask::First)));
        let desk = desk.start().start(&cx).await.expect("up");
        desk.cast(&cx, Ask::Stop(Reason::NORMAL)).expect("alive");
        assert_eq!(desk.call(&cx, Ask::Get).await, Err(CallError::Down(Reason::NORMAL)));

        let mut desk = Desk::logged(&seen);
        desk.at_init = Some(Err(InitError::Ignore));
        assert_eq!(desk.start().name("gone").start_link_optional(&cx).await, Ok(None));
        assert_eq!(cx.whereis("gone"), None, "the process is gone when its starter gets `ignore`");

        let mut desk = Desk::logged(&seen);
        desk.at_init = Some(Err(InitError::Stop(boom())));
        assert_eq!(desk.start().start_link(&cx).await, Err(StartError::Refused(boom())));

        let mut desk = Desk::logged(&seen);
        desk.at_init = Some(Ok(Next::Stop(boom())));
        let desk = desk.start().start(&cx).await.expect("up, and then stops");
        assert!(matches!(desk.call(&cx, Ask::Get).await, Err(CallError::Down(_))));
    });
    let expected = ["init", "first", "terminate normal", "init", "init", "init", "terminate \"boom\""];
    assert_eq!(*lock(&log), expected);
    bed.settle();
    assert_eq!(bed.processes(), 0);
}

#[test]
fn replies_can_be_deferred_and_collected() {
    let (mut bed, log) = bed();
    bed.run(move |cx: Context<()>| async move {
        let mut calls = RequestSet::new();
        let mut desks = Vec::new();
        for n in 0..10 {
            let desk = Desk::logged(&log).start().start(&cx).await.expect("up");
            calls.add(n, desk.request(&cx, Ask::GetNext).expect("alive"));
            desks.push(desk);
        }
        assert_eq!(calls.len(), 10);
        let (label, timeout) = calls.next(&cx, Duration::from_secs(1)).await.expect("there are open requests");
        assert_eq!((label, timeout), (None, Err(CallError::TimedOut)));
        calls.reset_deadline();
        // They reply in another order; one dies instead, one stays silent.
        for n in (0..8).rev() {
            desks[n].cast(&cx, Ask::Add(n as u64)).expect("alive");
        }
        desks[8].cast(&cx, Ask::Stop(boom())).expect("alive");
        let mut answers = Vec::new();
        while let Some((Some(label), answer)) = calls.next(&cx, Duration::from_secs(1)).await {
            answers.push((label, answer));
        }
        answers.sort_by_key(|(label, _)| *label);
        let expected: Vec<_> = (0..8).map(|n| (n, Ok(n as u64))).chain([(8, Err(CallError::Down(boom())))]).collect();
        assert_eq!(answers, expected);
        assert_eq!(calls.len(), 1);
        calls.abandon(&cx);
        desks[9].cast(&cx, Ask::Add(1)).expect("alive");
        desks[9].cast(&cx, Ask::Stop(boom())).expect("alive");
        assert!(cx.recv_timeout(Duration::from_secs(1)).await.is_none(), "no message of any request is left");
    });
}

#[test]
fn signals_and_timeouts_reach_their_callbacks() {
    let (mut bed, log) = bed();
    let seen = log.clone();
    bed.run(move |cx: Context<()>| async move {
        let desk = Desk::logged(&seen).start().trap_exit(true).start(&cx).await.expect("up");
        let short = cx.spawn(|cx: Context<()>| async move { cx.sleep(Duration::from_millis(1)).await }).expect("space");
        desk.call(&cx, |reply| Ask::Watch(short.pid(), reply)).await.expect("alive");
        cx.sleep(Duration::from_millis(2)).await;
        let stranger = cx.spawn(move |cx: Context<()>| async move { cx.exit(desk, boom()).expect("memory") });
        stranger.expect("space");
        cx.sleep(Duration::from_millis(2)).await;
        desk.call(&cx, |reply| Ask::Idle(Duration::from_secs(1), reply)).await.expect("alive");
        cx.sleep(Duration::from_millis(900)).await;
        lock(&seen).push("not yet".into());
        cx.sleep(Duration::from_millis(200)).await;
        // Any message or signal cancels the timeout.
        desk.call(&cx, |reply| Ask::Idle(Duration::from_secs(1), reply)).await.expect("alive");
        desk.cast(&cx, Ask::Later(Duration::from_secs(2))).expect("alive");
        cx.sleep(Duration::from_secs(3)).await;
        assert_eq!(desk.call(&cx, Ask::Get).await, Ok(100));
        assert_eq!(desk.call(&cx, Ask::CallYourself).await, Ok(Err(CallError::Itself)));
        // Its parent's exit signal ends it, after `terminate`.
        cx.exit(desk, Reason::SHUTDOWN).expect("memory");
    });
    bed.settle();
    let expected = ["init", "down normal", "exit \"boom\"", "not yet", "timeout", "terminate shutdown"];
    assert_eq!(*lock(&log), expected);
}

#[test]
fn a_panic_ends_a_server_after_its_terminate() {
    let (mut bed, log) = bed();
    let seen = log.clone();
    bed.run(move |cx: Context<()>| async move {
        let desk = Desk::logged(&seen).start().start(&cx).await.expect("up");
        desk.cast(&cx, Ask::Panic).expect("alive");
        let Err(CallError::Down(reason)) = desk.call(&cx, Ask::Get).await else { panic!("the server must be dead") };
        assert_eq!(reason, Reason::crash("a bad day"));
        assert_eq!(desk.cast(&cx, Ask::First).map_err(|error| error.without_message()), Err(SendError::NoProc(())));
    });
    assert_eq!(*lock(&log), ["init", "terminate crash: a bad day"]);
}

#[test]
fn a_server_is_found_by_its_name_or_started_never_both() {
    for seed in 0..30 {
        let mut bed = Bed::new(2, seed);
        let log = Log::default();
        let found: Arc<Mutex<Vec<ServerRef<Desk>>>> = Arc::default();
        for _ in 0..10 {
            let (log, found) = (log.clone(), found.clone());
            bed.spawn(false, move |cx: Context<()>| async move {
                let desk = Desk::logged(&log).start().name("desk").start_or_find(&cx).await.expect("started or found");
                ServerName::<Desk>::new("desk").cast(&cx, Ask::Add(1)).expect("it is there");
                lock(&found).push(desk);
            });
        }
        bed.settle();
        let found = std::mem::take(&mut *lock(&found));
        assert_eq!(found.len(), 10);
        assert!(found.iter().all(|desk| *desk == found[0]));
        assert_eq!(*lock(&log), ["init"]);
        let sum = bed.run(|cx: Context<()>| async move { ServerName::<Desk>::new("desk").call(&cx, Ask::Get).await });
        assert_eq!(sum, Ok(10));
        let none = bed.run(|cx: Context<()>| async move { ServerName::<Desk>::new("other").call(&cx, Ask::Get).await });
        assert_eq!(none, Err(CallError::NoName));
    }
}

#[test]
fn suspended_server_handles_only_system_requests() {
    let (mut bed, log) = bed();
    bed.run(move |cx: Context<()>| async move {
        let desk = Desk::logged(&log).start().trap_exit(true).start(&cx).await.expect("up");
        desk.suspend(&cx).await.expect("alive");
        for _ in 0..3 {
            desk.cast(&cx, Ask::Add(1)).expect("alive");
        }
        let call = desk.call_within(&cx, Duration::from_secs(1), Ask::Get).await;
        assert_eq!(call, Err(CallError::TimedOut));
        assert_eq!(desk.with_state(&cx, |desk| desk.sum).await, Ok(0));
        let statistics = desk.statistics(&cx).await.expect("alive");
        assert!(statistics.suspended);
        assert_eq!(statistics.messages, 0);
        desk.resume(&cx).await.expect("alive");
        assert_eq!(desk.call(&cx, Ask::Get).await, Ok(3), "all waiting messages, in order");
        // A suspended server still exits with its parent.
        desk.suspend(&cx).await.expect("alive");
        cx.exit(desk, Reason::SHUTDOWN).expect("memory");
        cx.sleep(Duration::from_millis(1)).await;
        assert!(!cx.is_alive(desk).await);
    });
}

#[test]
fn state_can_be_inspected_and_replaced_and_events_traced() {
    #[derive(Clone, PartialEq, Debug)]
    struct Number(u64);
    impl Server for Number {
        type Message = Reply<u64>;
        async fn handle(&mut self, reply: Reply<u64>, _: ServerCx<'_, Self>) -> Next<Reply<u64>> {
            reply.send(self.0);
            Next::Wait
        }
    }
    let (mut bed, log) = bed();
    let seen = log.clone();
    bed.run(move |cx: Context<()>| async move {
        let number = Number(1).start().start(&cx).await.expect("up");
        assert_eq!(number.state(&cx).await, Ok(Number(1)));
        assert_eq!(number.replace_state(&cx, Number(2)).await, Ok(Number(1)));
        let traced = seen.clone();
        let trace = move |event: Event<'_, Number>| lock(&traced).push(format!("{event:?}"));
        number.trace(&cx, trace).await.expect("alive");
        assert_eq!(number.call(&cx, |reply| reply).await, Ok(2));
        // A panic in `look` is the caller's fault, and a panic in a tracer is the tracer's.
        let look = number.with_state(&cx, |_| -> u8 { crash("a faulty inspection") }).await;
        assert_eq!(look, Err(CallError::NoReply));
        number.untrace(&cx).await.expect("alive");
        assert_eq!(number.call(&cx, |reply| reply).await, Ok(2));
        number.trace(&cx, |_| crash("a faulty tracer")).await.expect("alive");
        assert_eq!(number.call(&cx, |reply| reply).await, Ok(2));
        assert_eq!(number.statistics(&cx).await.expect("alive").messages, 3);
        assert_eq!(number.stop(&cx, boom(), None).await, Ok(boom()));
        assert_eq!(number.stop(&cx, boom(), None).await, Err(CallError::Down(Reason::NOPROC)));
    });
    assert_eq!(*lock(&log), ["Message"]);
}

#[test]
fn full_mailbox_refuses_calls_and_casts_but_no_signals() {
    let (mut bed, log) = bed();
    let seen = log.clone();
    bed.run(move |cx: Context<()>| async move {
        let desk = Desk::logged(&seen).start().mailbox_limit(3).trap_exit(true).start(&cx).await.expect("up");
        let short = cx.spawn(|cx: Context<()>| async move { cx.sleep(Duration::from_millis(1)).await }).expect("space");
        desk.call(&cx, |reply| Ask::Watch(short.pid(), reply)).await.expect("alive");
        desk.cast(&cx, Ask::Work(Duration::from_secs(1))).expect("space");
        cx.yield_now().await;
        cx.sleep(Duration::from_millis(2)).await;
        for _ in 0..3 {
            desk.cast(&cx, Ask::Add(1)).expect("space");
        }
        let Err(SendError::Full(Ask::Add(7))) = desk.cast(&cx, Ask::Add(7)) else { panic!("the message is returned") };
        assert_eq!(desk.call(&cx, Ask::Get).await, Err(CallError::Full));
        cx.sleep(Duration::from_secs(2)).await;
        assert_eq!(desk.call(&cx, Ask::Get).await, Ok(3));
        assert_eq!(lock(&seen).last().map(String::as_str), Some("down normal"));
    });
}

#[test]
fn host_starts_and_calls() {
    let (mut bed, log) = bed();
    let (desk, mut starting) = bed.host(|host| Desk::logged(&log).start().start_from_host(host)).expect("space");
    bed.settle();
    let waker = std::task::Waker::noop();
    let mut task = std::task::Context::from_waker(waker);
    let up = std::pin::Pin::new(&mut starting).poll(&mut task);
    assert_eq!(up, std::task::Poll::Ready(Ok(true)));
    bed.host(|host| desk.cast_from(host, Ask::Add(5))).map_err(|_| "dead").expect("alive");
    let mut answer = bed.host(|host| desk.request_from(host, Ask::Get)).expect("alive");
    bed.settle();
    assert_eq!(std::pin::Pin::new(&mut answer).poll(&mut task), std::task::Poll::Ready(Ok(5)));
    // The server's exit drops its requests, and the futures resolve to an error.
    let mut answer = bed.host(|host| desk.request_from(host, Ask::GetNext)).expect("alive");
    bed.settle();
    bed.exit(desk, Reason::KILL);
    bed.settle();
    assert!(matches!(std::pin::Pin::new(&mut answer).poll(&mut task), std::task::Poll::Ready(Err(_))));
}

use std::future::Future as _;

#[test]
fn caller_takes_only_its_reply() {
    let (mut bed, log) = bed();
    bed.run(move |cx: Context<()>| async move {
        let desk = Desk::logged(&log).start().start(&cx).await.expect("up");
        let (other, monitor) = cx.spawn_monitor(|_: Context<()>| async { boom() }).expect("space");
        for _ in 0..3 {
            cx.send(cx.pid(), ()).expect("itself");
        }
        assert_eq!(desk.call(&cx, Ask::Get).await, Ok(0));
        let cx = cx;
        let mut got = Vec::new();
        while let Some(received) = cx.recv_timeout(Duration::from_millis(1)).await {
            got.push(match received {
                Received::Message(()) => "message",
                Received::Down(down) if down.reference == monitor => "down",
                _ => "other",
            });
        }
        got.sort_unstable();
        assert_eq!(got, ["down", "message", "message", "message"]);
        let _ = other;
    });
}
