//! Bounded mailboxes: what each policy does with a message beyond the limit, that no other signal
//! is affected, and the queue of senders that wait for capacity. Stepped: the order of events is
//! fixed.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::internals::life;
use atropos_kernel::{
    BodyPoll, Context, Cx, MaybeReady, Options, Overflow, Pid, Reason, Received, Reply, SendError, SendReservation,
    SpawnOptions, reply,
};
use common::{Stage, does};

type Log<T> = Arc<Mutex<Vec<T>>>;

fn stage() -> Stage {
    Stage::new(Options { cores: 1, ..Options::default() })
}

fn bounded(limit: u32, overflow: Overflow) -> SpawnOptions<'static> {
    SpawnOptions::new().mailbox_limit(limit).overflow(overflow)
}

/// Starts a process that receives nothing before an exit signal arrives, which it traps. Then it
/// receives everything that waits, once.
fn sleeper(stage: &Stage, options: &SpawnOptions<'_>) -> (Pid, Log<String>) {
    let log: Log<String> = Arc::default();
    let told = log.clone();
    let body = async move |cx: Context<u32>| {
        cx.recv_match(|peek| matches!(peek, atropos_kernel::Peek::Exit(_))).await;
        while let Some(received) = cx.try_recv() {
            told.lock().unwrap().push(match received {
                Received::Message(n) => n.to_string(),
                Received::Timer { message, .. } => format!("timer {message}"),
                Received::Exit(_) => "EXIT".into(),
                Received::Down(_) => "DOWN".into(),
            });
        }
        std::future::pending::<()>().await;
    };
    let pid = stage.host().spawn_async(&options.clone().trap_exit(true), body).unwrap().pid();
    (pid, log)
}

fn info(stage: &mut Stage, pid: Pid) -> atropos_kernel::ProcessInfo {
    let MaybeReady::Pending(mut waiting) = stage.host().info(pid) else { panic!("it is alive") };
    stage.settle();
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(&mut waiting).poll(&mut task) {
        std::task::Poll::Ready(Ok(Some(info))) => *info,
        other => panic!("{other:?}"),
    }
}

use std::future::Future as _;

fn awake(stage: &mut Stage, pid: Pid, log: &Log<String>) -> Vec<String> {
    stage.host().exit(pid, Reason::value("awake")).unwrap();
    stage.settle();
    std::mem::take(&mut log.lock().unwrap())
}

#[test]
fn rejects_messages_beyond_the_limit() {
    let mut stage = stage();
    let (pid, log) = sleeper(&stage, &bounded(2, Overflow::Reject));
    for n in 0..4_u32 {
        let sent = stage.host().send(pid, n);
        assert_eq!(sent, if n < 2 { Ok(()) } else { Err(SendError::Full(n)) });
        stage.settle();
    }
    assert_eq!(awake(&mut stage, pid, &log), ["0", "1"]);
    let info = info(&mut stage, pid);
    assert_eq!((info.mailbox_limit, info.dropped), (2, 0));
    assert_eq!(stage.host().send(pid, 9_u32), Ok(()), "the mailbox has capacity again");
}

#[test]
fn drops_the_newest() {
    let mut stage = stage();
    let (pid, log) = sleeper(&stage, &bounded(2, Overflow::DropNewest));
    for n in 0..5_u32 {
        assert_eq!(stage.host().send(pid, n), Ok(()));
    }
    assert_eq!(awake(&mut stage, pid, &log), ["0", "1"]);
    assert_eq!(info(&mut stage, pid).dropped, 3);
}

#[test]
fn drops_the_oldest_when_it_fetches_and_the_newest_beyond_twice_the_limit() {
    for fetches in [true, false] {
        let mut stage = stage();
        let (pid, log) = sleeper(&stage, &bounded(3, Overflow::DropOldest));
        stage.settle();
        for n in 0..20_u32 {
            assert_eq!(stage.host().send(pid, n), Ok(()));
            if fetches {
                stage.settle();
                let waits = info(&mut stage, pid).message_queue_len;
                assert_eq!(waits, 3.min(n as usize + 1), "after a fetch only the limit remains");
            }
        }
        let left = awake(&mut stage, pid, &log);
        // Without a turn in between, the mailbox holds six messages; the newest three of them
        // remain.
        assert_eq!(left, if fetches { ["17", "18", "19"] } else { ["3", "4", "5"] });
        assert_eq!(info(&mut stage, pid).dropped, 17);
    }
}

#[test]
fn only_messages_are_counted_or_dropped() {
    for overflow in [Overflow::Reject, Overflow::DropOldest, Overflow::DropNewest] {
        let mut stage = stage();
        let deaths: Log<String> = Arc::default();
        let told = deaths.clone();
        let body = async move |cx: Context<u32>| {
            let me = cx.pid();
            for n in 0..10_u32 {
                let target = cx.spawn_link(async |cx: Context<()>| drop(cx.recv().await)).unwrap();
                cx.monitor(target).unwrap();
                let _ = cx.send(me, n);
                cx.send(target, ()).unwrap();
            }
            for n in 0..10_u32 {
                cx.start_timer(me, Duration::from_millis(n.into()), n).unwrap();
            }
            cx.recv_match(|peek| matches!(peek, atropos_kernel::Peek::Timer { message: 9, .. })).await;
            while let Some(received) = cx.try_recv() {
                told.lock().unwrap().push(match received {
                    Received::Message(n) => n.to_string(),
                    Received::Timer { .. } => "timer".into(),
                    Received::Exit(_) => "EXIT".into(),
                    Received::Down(_) => "DOWN".into(),
                });
            }
        };
        stage.host().spawn_async(&bounded(2, overflow).trap_exit(true), body).unwrap();
        stage.settle();
        stage.pass(Duration::from_secs(1));
        let log = std::mem::take(&mut *deaths.lock().unwrap());
        let count = |what: &str| log.iter().filter(|line| *line == what).count();
        assert_eq!((count("EXIT"), count("DOWN"), count("timer")), (10, 10, 9), "{overflow:?}: {log:?}");
        let numbers: Vec<u32> = log.iter().filter_map(|line| line.parse().ok()).collect();
        let kept = if overflow == Overflow::DropOldest { vec![2, 3] } else { vec![0, 1] };
        assert_eq!(numbers, kept, "{overflow:?}");
    }
}

#[test]
fn dropped_request_is_answered_and_each_value_is_dropped_once() {
    struct Counted(Arc<AtomicUsize>, #[allow(dead_code, reason = "it is dropped together with the struct")] Reply<()>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let mut stage = stage();
        let body = async |cx: Context<Counted>| drop(cx.recv_match(|_| false).await);
        let pid = stage.host().spawn_async(&bounded(4, overflow), body).unwrap().pid();
        stage.settle();
        let drops = Arc::new(AtomicUsize::new(0));
        let mut answers = Vec::new();
        for _ in 0..100 {
            let (reply, replied) = reply().unwrap();
            assert!(stage.host().send(pid, Counted(drops.clone(), reply)).is_ok());
            answers.push(replied);
            stage.settle();
        }
        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
        let mut told = |answers: &mut Vec<atropos_kernel::ReplyFuture<()>>| {
            answers.retain_mut(|answer| std::pin::Pin::new(answer).poll(&mut task).is_pending());
            answers.len()
        };
        assert_eq!(told(&mut answers), 4, "the sender of each dropped request is notified");
        assert_eq!(drops.load(Ordering::Relaxed), 96);
        assert_eq!(info(&mut stage, pid).dropped, 96);
        stage.host().exit(pid, Reason::KILL).unwrap();
        stage.settle();
        assert_eq!((told(&mut answers), drops.load(Ordering::Relaxed)), (0, 100));
    }
}

#[test]
fn selective_receive_keeps_its_cursor_while_the_oldest_are_dropped() {
    let mut stage = stage();
    let looks = Arc::new(AtomicUsize::new(0));
    let (counted, log): (_, Log<u32>) = (looks.clone(), Arc::default());
    let told = log.clone();
    let body = async move |cx: Context<u32>| {
        let picked = cx.recv_match(|peek| {
            counted.fetch_add(1, Ordering::Relaxed);
            matches!(peek, atropos_kernel::Peek::Message(1000))
        });
        let Some(Received::Message(picked)) = picked.await else { unreachable!() };
        told.lock().unwrap().push(picked);
        while let Some(Received::Message(n)) = cx.try_recv() {
            told.lock().unwrap().push(n);
        }
    };
    let pid = stage.host().spawn_async(&bounded(8, Overflow::DropOldest), body).unwrap().pid();
    for n in 0..=1000_u32 {
        stage.host().send(pid, n).unwrap();
        stage.settle();
    }
    assert_eq!(*log.lock().unwrap(), [1000, 993, 994, 995, 996, 997, 998, 999]);
    assert_eq!(looks.load(Ordering::Relaxed), 1001, "each message was examined once");
}

#[test]
fn suspended_process_drops_messages_too() {
    let mut stage = stage();
    let (pid, log) = sleeper(&stage, &bounded(2, Overflow::DropOldest));
    stage.settle();
    let _ = stage.host().suspend(pid).unwrap();
    for n in 0..50_u32 {
        stage.host().send(pid, n).unwrap();
        stage.settle();
    }
    let info = info(&mut stage, pid);
    assert_eq!((info.suspended, info.message_queue_len, info.dropped), (1, 2, 48));
    let _ = stage.host().resume(pid).unwrap();
    assert_eq!(awake(&mut stage, pid, &log), ["48", "49"]);
}

/// A receiver that receives a given number of messages when the host orders it; senders wait for
/// capacity.
struct Line {
    stage: Stage,
    pid: Pid,
    got: Log<u32>,
}

enum Mail {
    Take(usize),
    Number(u32),
}

impl Line {
    fn new(limit: u32) -> Self {
        let stage = stage();
        let got: Log<u32> = Arc::default();
        let told = got.clone();
        // The host's orders arrive by timers, which are not counted: they arrive in a full mailbox
        // as well.
        let body = async move |cx: Context<Mail>| {
            loop {
                let order = |peek: atropos_kernel::Peek<'_, Mail>| {
                    matches!(peek, atropos_kernel::Peek::Message(Mail::Take(_)) | atropos_kernel::Peek::Exit(_))
                };
                match cx.recv_match(order).await {
                    Some(Received::Message(Mail::Take(count))) => {
                        for _ in 0..count {
                            let number = |peek: atropos_kernel::Peek<'_, Mail>| {
                                matches!(peek, atropos_kernel::Peek::Message(Mail::Number(_)))
                            };
                            if let Some(Received::Message(Mail::Number(n))) = cx.recv_match(number).await {
                                told.lock().unwrap().push(n);
                            }
                        }
                    }
                    _ => return,
                }
            }
        };
        let options = bounded(limit, Overflow::Reject).trap_exit(true);
        let pid = stage.host().spawn_async(&options, body).unwrap().pid();
        Self { stage, pid, got }
    }

    fn take(&mut self, count: usize) {
        let pid = self.pid;
        let orders = does(move |cx: &Cx<'_, ()>| {
            cx.send_after(atropos_kernel::SendTarget::Pid(pid), Duration::ZERO, Mail::Take(count)).unwrap();
            BodyPoll::Exit(Reason::NORMAL)
        });
        self.stage.host().spawn(&SpawnOptions::new(), orders).unwrap();
        self.stage.settle();
        self.stage.pass(Duration::from_millis(1));
    }

    /// Starts a process that sends a number as soon as there is capacity; then its outcome is
    /// recorded.
    fn sender(&mut self, number: u32, patience: Option<Duration>) -> (Pid, Log<Result<(), &'static str>>) {
        let (pid, ended): (_, Log<_>) = (self.pid, Arc::default());
        let told = ended.clone();
        let body = async move |cx: Context<()>| {
            let sent = cx.send_wait(pid, Mail::Number(number), patience).await;
            told.lock().unwrap().push(sent.map_err(|error| match error {
                SendError::Full(_) => "full",
                SendError::NoProc(_) => "dead",
                _ => "other",
            }));
        };
        let sender = self.stage.host().spawn_async(&SpawnOptions::new(), body).unwrap().pid();
        self.stage.settle();
        (sender, ended)
    }

    fn got(&self) -> Vec<u32> {
        self.got.lock().unwrap().clone()
    }
}

#[test]
fn waiting_senders_are_admitted_in_order() {
    let mut line = Line::new(2);
    let senders: Vec<_> = (0..10).map(|n| line.sender(n, None)).collect();
    let sent = |senders: &[(Pid, Log<_>)]| senders.iter().filter(|(_, end)| !end.lock().unwrap().is_empty()).count();
    assert_eq!(sent(&senders), 2);
    for taken in 1..=8 {
        line.take(1);
        assert_eq!(sent(&senders), 2 + taken, "one free slot admits one sender");
    }
    line.take(2);
    assert_eq!(line.got(), (0..10).collect::<Vec<_>>());
    assert_eq!(line.stage.kernel.process_count(), 1);
}

#[test]
fn cancelled_waiter_passes_slot_on() {
    let mut line = Line::new(1);
    let senders: Vec<_> = (0..6).map(|n| line.sender(n, (n == 2).then_some(Duration::from_millis(5)))).collect();
    // One sender times out, one is killed while it waits.
    line.stage.pass(Duration::from_millis(10));
    assert_eq!(*senders[2].1.lock().unwrap(), [Err("full")]);
    line.stage.host().exit(senders[1].0, Reason::KILL).unwrap();
    line.stage.settle();
    // One sender is suspended and notified, and then killed before it can respond.
    let _ = line.stage.host().suspend(senders[3].0).unwrap();
    line.stage.settle();
    line.take(1);
    assert_eq!(line.got(), [0]);
    assert!(senders[4].1.lock().unwrap().is_empty(), "the slot stays reserved");
    line.stage.host().exit(senders[3].0, Reason::KILL).unwrap();
    line.stage.settle();
    assert_eq!(*senders[4].1.lock().unwrap(), [Ok(())], "the next waiter is notified");
    line.take(2);
    assert_eq!(line.got(), [0, 4, 5]);
}

#[test]
fn receiver_exit_notifies_all_waiting_senders() {
    let mut line = Line::new(1);
    let senders: Vec<_> = (0..5).map(|n| line.sender(n, None)).collect();
    line.stage.host().exit(line.pid, Reason::KILL).unwrap();
    line.stage.settle();
    for (_, end) in &senders[1..] {
        assert_eq!(*end.lock().unwrap(), [Err("dead")]);
    }
    assert_eq!(line.stage.kernel.process_count(), 0);
}

#[test]
fn notified_waiter_that_loses_the_slot_queues_again_at_the_back() {
    let mut line = Line::new(1);
    let (one, end) = line.sender(1, None);
    assert_eq!(*end.lock().unwrap(), [Ok(())]);
    let (two, end) = line.sender(2, None);
    let _ = line.stage.host().suspend(two).unwrap();
    line.stage.settle();
    line.take(1);
    assert!(line.stage.host().send(line.pid, Mail::Number(3)).is_ok(), "the slot is free");
    let _ = line.stage.host().resume(two).unwrap();
    line.stage.settle();
    assert!(end.lock().unwrap().is_empty());
    line.take(2);
    assert_eq!(*end.lock().unwrap(), [Ok(())]);
    assert_eq!(line.got(), [1, 3, 2]);
    let _ = one;
}

#[test]
fn end_of_the_kernel_frees_waiting_senders() {
    let mut line = Line::new(1);
    let senders: Vec<_> = (0..5).map(|n| line.sender(n, None)).collect();
    let lives = life::of(&line.stage.kernel);
    drop(line);
    assert!(!lives());
    assert!(senders[1..].iter().all(|(_, end)| Arc::strong_count(end) == 1), "their bodies are dropped");
}

#[test]
fn any_kind_of_body_can_wait_for_capacity() {
    let mut line = Line::new(2);
    let pid = line.pid;
    let (mut in_line, mut next) = (SendReservation::new(), 0);
    let pump = does(move |cx: &Cx<'_, ()>| {
        while next < 20 {
            match cx.send_or_enqueue(&mut in_line, pid, Mail::Number(next)) {
                Ok(()) => next += 1,
                Err(SendError::Full(_)) => {
                    assert!(in_line.waits());
                    return BodyPoll::Wait;
                }
                Err(error) => panic!("{error}"),
            }
        }
        BodyPoll::Exit(Reason::NORMAL)
    });
    line.stage.host().spawn(&SpawnOptions::new(), pump).unwrap();
    line.stage.settle();
    for _ in 0..4 {
        line.take(5);
    }
    assert_eq!(line.got(), (0..20).collect::<Vec<_>>());
}
