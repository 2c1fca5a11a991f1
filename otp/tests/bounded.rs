//! Servers with bounded mailboxes: the effect of each overflow policy on casts, calls, exits, and
//! system requests to the loop.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Exit, Overflow, Reason, SendError};
use atropos_otp::{CallError, Next, Reply, RequestSet, Server, ServerCx, ServerName, ServerRef, Task};
use common::{Bed, boom, lock};

type Log = Arc<Mutex<Vec<String>>>;

/// A server that records its requests, and is busy on request.
struct Desk(Log);

enum Ask {
    Busy(Duration),
    Note(u32),
    /// An urgent message.
    Urgent(u32),
    Double(u32, Reply<u32>),
}

impl Server for Desk {
    type Message = Ask;
    const URGENT: bool = true;

    fn is_urgent(ask: &Ask) -> bool {
        matches!(ask, Ask::Urgent(_))
    }

    async fn handle(&mut self, ask: Ask, cx: ServerCx<'_, Self>) -> Next<Ask> {
        match ask {
            Ask::Busy(time) => cx.sleep(time).await,
            Ask::Note(n) => lock(&self.0).push(n.to_string()),
            Ask::Urgent(n) => lock(&self.0).push(format!("!{n}")),
            Ask::Double(n, reply) => reply.send(2 * n),
        }
        Next::Wait
    }

    async fn exit(&mut self, exit: Exit, _: ServerCx<'_, Self>) -> Next<Ask> {
        lock(&self.0).push(format!("EXIT {}", exit.reason));
        Next::Wait
    }

    async fn down(&mut self, down: atropos_kernel::Down, _: ServerCx<'_, Self>) -> Next<Ask> {
        lock(&self.0).push(format!("DOWN {}", down.reason));
        Next::Wait
    }
}

/// Starts a server that is busy for a second and accepts `limit` requests in that time.
async fn busy(cx: &Context<()>, log: &Log, limit: u32, overflow: Overflow) -> ServerRef<Desk> {
    let start = Desk(log.clone()).start().mailbox_limit(limit).overflow(overflow).trap_exit(true);
    let desk = start.start(cx).await.expect("up");
    desk.cast(cx, Ask::Busy(Duration::from_secs(1))).map_err(|_| ()).expect("space");
    cx.sleep(Duration::from_millis(1)).await;
    desk
}

fn scene<T, F>(scene: impl FnOnce(Context<()>, Log) -> F + Send + 'static) -> (T, Vec<String>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (mut bed, log) = (Bed::new(2, 1), Log::default());
    let inner = log.clone();
    let value = bed.run(move |cx| scene(cx, inner));
    let log = lock(&log).clone();
    (value, log)
}

#[test]
fn casts_by_each_policy() {
    for (overflow, kept, errors) in [
        (Overflow::Reject, ["0", "1", "2"], 7),
        (Overflow::DropNewest, ["0", "1", "2"], 0),
        (Overflow::DropOldest, ["7", "8", "9"], 0),
    ] {
        let (refused, log) = scene(async move |cx, log| {
            let desk = busy(&cx, &log, 3, overflow).await;
            let mut refused = 0;
            for n in 0..10 {
                match desk.cast(&cx, Ask::Note(n)) {
                    Ok(()) => {}
                    Err(SendError::Full(Ask::Note(back))) if back == n => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                // The query makes it fetch its mailbox, although it is busy.
                assert!(cx.info(desk).await.expect("memory").is_some());
            }
            let dropped = cx.info(desk).await.expect("memory").expect("alive").dropped;
            assert_eq!(dropped + refused, 7, "{overflow:?}");
            cx.sleep(Duration::from_secs(2)).await;
            refused
        });
        assert_eq!((refused, log), (errors, kept.map(str::to_owned).to_vec()), "{overflow:?}");
    }
}

#[test]
fn dropped_call_gets_an_error() {
    // The first is dropped when later ones arrive, the last at once; no caller waits until its
    // timeout.
    for (overflow, lost) in [(Overflow::DropOldest, 0..4), (Overflow::DropNewest, 2..6)] {
        scene(async move |cx, log| {
            let desk = busy(&cx, &log, 2, overflow).await;
            let mut calls = RequestSet::new();
            for n in 0..6 {
                let request = desk.request(&cx, |reply| Ask::Double(n, reply)).expect("alive");
                calls.add(n, request);
                assert!(cx.info(desk).await.expect("memory").is_some());
            }
            let mut said = Vec::new();
            while let Some((Some(n), answer)) = calls.next(&cx, Duration::from_secs(10)).await {
                said.push((n, answer));
                if said.len() == 4 {
                    let end = cx.with(|cx| cx.now());
                    assert!(end < 1_000_000_000, "{overflow:?}: the error arrives before the server is free: {end}");
                }
            }
            said.sort_by_key(|(n, _)| *n);
            let must = |n: u32| if lost.contains(&n) { Err(CallError::NoReply) } else { Ok(2 * n) };
            assert_eq!(said, (0..6).map(|n| (n, must(n))).collect::<Vec<_>>(), "{overflow:?}");
        });
    }
}

#[test]
fn exits_and_downs_arrive_in_time_under_every_policy() {
    for overflow in [Overflow::Reject, Overflow::DropOldest, Overflow::DropNewest] {
        let ((), log) = scene(async move |cx, log| {
            let desk = busy(&cx, &log, 1, overflow).await;
            for n in 0..5 {
                let _ = desk.cast(&cx, Ask::Note(n));
                let stranger = cx.spawn(async move |cx: Context<()>| {
                    cx.exit(desk, Reason::value(n)).expect("memory");
                });
                stranger.expect("space");
                cx.sleep(Duration::from_millis(1)).await;
            }
            cx.sleep(Duration::from_secs(2)).await;
            desk.cast(&cx, Ask::Busy(Duration::from_secs(1))).map_err(|_| ()).expect("space");
            cx.sleep(Duration::from_millis(1)).await;
            let _ = desk.cast(&cx, Ask::Note(9));
            // A killed process dies at once, however full its mailbox is.
            let monitor = cx.monitor(desk).expect("memory");
            cx.exit(desk, Reason::KILL).expect("memory");
            let cx = cx;
            let down = cx.recv_timeout(Duration::from_millis(1)).await;
            assert!(matches!(down, Some(atropos_kernel::Received::Down(down)) if down.reference == monitor));
        });
        let exits: Vec<_> = log.iter().filter(|line| line.starts_with("EXIT")).collect();
        assert_eq!(exits.len(), 5, "{overflow:?}: {log:?}");
        assert_eq!(log.len(), 6, "{overflow:?}: {log:?}");
    }
}

#[test]
fn stop_that_a_full_mailbox_drops_is_an_error() {
    scene(async move |cx, log| {
        let desk = busy(&cx, &log, 1, Overflow::DropNewest).await;
        desk.cast(&cx, Ask::Note(1)).map_err(|_| ()).expect("space");
        assert_eq!(desk.stop(&cx, boom(), None).await, Err(CallError::NoReply));
        let desk = busy(&cx, &log, 1, Overflow::Reject).await;
        desk.cast(&cx, Ask::Note(1)).map_err(|_| ()).expect("space");
        assert_eq!(desk.stop(&cx, boom(), None).await, Err(CallError::Full));
        assert_eq!(desk.stop(&cx, boom(), Duration::from_millis(1)).await, Err(CallError::Full));
        cx.sleep(Duration::from_secs(2)).await;
        assert_eq!(desk.stop(&cx, boom(), Duration::from_secs(1)).await, Ok(boom()));
    });
}

#[test]
fn all_callers_that_wait_for_a_slot_get_their_replies() {
    scene(async move |cx, log| {
        let desk = busy(&cx, &log, 2, Overflow::Reject).await;
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let work = async move |cx: Context<()>| {
                    desk.call_wait(&cx, Duration::from_secs(5), |reply| Ask::Double(n, reply)).await
                };
                Task::start_link(&cx, work).expect("space")
            })
            .collect();
        cx.sleep(Duration::from_millis(1)).await;
        let late = desk.call_wait(&cx, Duration::from_millis(10), |reply| Ask::Double(0, reply)).await;
        assert_eq!(late, Err(CallError::Full), "no free slot in time");
        let answers = Task::join_all(&cx, tasks, Duration::from_secs(6)).await;
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("it ended")).collect();
        assert_eq!(answers, (0..20).map(|n| Ok(2 * n)).collect::<Vec<_>>());
    });
    // If the server dies, a sender that waits for a free slot learns the reason.
    scene(async move |cx, log| {
        let desk = busy(&cx, &log, 1, Overflow::Reject).await;
        desk.cast(&cx, Ask::Note(1)).map_err(|_| ()).expect("space");
        let work = async move |cx: Context<()>| {
            let cast = desk.cast_wait(&cx, Ask::Note(2), None).await;
            matches!(cast, Err(SendError::NoProc(Ask::Note(2))))
        };
        let task = Task::start_link(&cx, work).expect("space");
        cx.sleep(Duration::from_millis(5)).await;
        cx.exit(desk, Reason::KILL).expect("memory");
        assert_eq!(task.join(&cx, Duration::from_secs(1)).await, Ok(true));
    });
}

#[test]
fn server_name_waits_for_a_slot_and_collects_replies() {
    scene(async move |cx, log| {
        let name = ServerName::<Desk>::new("desk");
        assert!(matches!(name.cast_wait(&cx, Ask::Note(1), None).await, Err(SendError::NoName(Ask::Note(1)))));
        assert!(matches!(name.request(&cx, |reply| Ask::Double(1, reply)), Err(CallError::NoName)));
        let start = Desk(log).start().name("desk").mailbox_limit(2);
        let desk = start.start(&cx).await.expect("up");
        desk.cast(&cx, Ask::Busy(Duration::from_secs(1))).map_err(|_| ()).expect("space");
        cx.sleep(Duration::from_millis(1)).await;
        let mut calls = RequestSet::new();
        for n in 0..2 {
            calls.add(n, name.request(&cx, |reply| Ask::Double(n, reply)).expect("space"));
        }
        assert!(matches!(name.request(&cx, |reply| Ask::Double(9, reply)), Err(CallError::Full)));
        name.cast_wait(&cx, Ask::Note(1), None).await.map_err(|_| ()).expect("alive");
        assert_eq!(name.call_wait(&cx, None, |reply| Ask::Double(4, reply)).await, Ok(8));
        while let Some((Some(n), answer)) = calls.next(&cx, None).await {
            assert_eq!(answer, Ok(2 * n));
        }
    });
}

#[test]
fn waiting_keeps_the_order_of_one_sender() {
    let ((), log) = scene(async move |cx, log| {
        let desk = busy(&cx, &log, 3, Overflow::Reject).await;
        let senders = (0..4_u32).map(|who| {
            let work = async move |cx: Context<()>| {
                for n in 0..50 {
                    desk.cast_wait(&cx, Ask::Note(100 * who + n), None).await.map_err(|_| ()).expect("alive");
                }
            };
            Task::start_link(&cx, work).expect("space")
        });
        let senders = senders.collect();
        Task::join_all(&cx, senders, None).await;
        desk.call_wait(&cx, None, |reply| Ask::Double(1, reply)).await.expect("alive");
    });
    let numbers: Vec<u32> = log.iter().map(|line| line.parse().expect("a number")).collect();
    for who in 0..4 {
        let of_one: Vec<u32> = numbers.iter().copied().filter(|n| n / 100 == who).collect();
        assert_eq!(of_one, (0..50).map(|n| 100 * who + n).collect::<Vec<_>>());
    }
}

#[test]
fn urgent_messages_of_each_sender_keep_their_order_in_a_bounded_mailbox() {
    let ((), log) = scene(async move |cx, log| {
        let desk = busy(&cx, &log, 1000, Overflow::Reject).await;
        let senders = (0..3_u32).map(|who| {
            let work = async move |cx: Context<()>| {
                for n in 0..100 {
                    let number = 1000 * who + n;
                    let ask = if n % 10 == 3 { Ask::Urgent(number) } else { Ask::Note(number) };
                    desk.cast(&cx, ask).map_err(|_| ()).expect("space");
                    cx.yield_now().await;
                }
            };
            Task::start_link(&cx, work).expect("space")
        });
        let senders = senders.collect();
        Task::join_all(&cx, senders, None).await;
        cx.sleep(Duration::from_secs(2)).await;
    });
    assert_eq!(log.len(), 300);
    assert!(log[..30].iter().all(|line| line.starts_with('!')), "urgent messages go first: {:?}", &log[..40]);
    for who in 0..3_u32 {
        for urgent in [true, false] {
            let numbers = log.iter().filter(|line| line.starts_with('!') == urgent);
            let numbers = numbers.map(|line| line.trim_start_matches('!').parse::<u32>().expect("a number"));
            let of_one: Vec<u32> = numbers.filter(|n| n / 1000 == who).collect();
            assert!(of_one.is_sorted(), "{who}, urgent {urgent}: {of_one:?}");
            assert_eq!(of_one.len(), if urgent { 10 } else { 90 });
        }
    }
}
