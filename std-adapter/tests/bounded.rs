//! Bounded mailboxes under load: threads and processes send at once, while other processes die. At
//! the end every message is accounted for (received, returned, or dropped and counted), and every
//! EXIT and DOWN has arrived.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atropos::{Context, Overflow, Pid, Received, Runtime, SendError, SpawnOptions};

/// The number of messages of each sender.
const EACH: usize = if cfg!(debug_assertions) { 5_000 } else { 50_000 };
/// The number of sending processes, and of sending threads.
const SENDERS: usize = 3;
/// The number of processes that die.
const DEATHS: usize = 500;
const LIMIT: u32 = 16;

#[derive(Default)]
struct Counts {
    refused: AtomicUsize,
    /// The number of destructors that ran.
    ended: AtomicUsize,
}

/// A message: its sender, and the number of that sender's earlier messages.
struct Token {
    from: usize,
    number: usize,
    counts: Arc<Counts>,
}

impl Drop for Token {
    fn drop(&mut self) {
        self.counts.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Seen {
    tokens: usize,
    exits: usize,
    downs: usize,
    /// The number of the last message from each sender.
    last: Vec<Option<usize>>,
    /// The longest queue that was seen, and the number of dropped messages.
    most: usize,
    dropped: usize,
}

/// Receives until all senders have finished and all deaths have arrived.
async fn receive(cx: Context<Token>, senders: usize, through: Arc<AtomicUsize>) -> Seen {
    let mut seen = Seen { last: vec![None; senders], ..Seen::default() };
    for _ in 0..DEATHS {
        let child = cx.spawn_link(async |cx: Context<()>| cx.yield_now().await).expect("a process");
        cx.monitor(child).expect("memory");
    }
    loop {
        let done = through.load(Ordering::Acquire) == senders;
        match cx.recv_timeout(Duration::from_millis(if done { 0 } else { 5 })).await {
            Some(Received::Message(token)) => {
                let last = seen.last[token.from].replace(token.number);
                assert!(last < Some(token.number), "messages of one sender stay in order");
                seen.tokens += 1;
                if seen.tokens.is_multiple_of(64) {
                    let waiting = cx.info(cx.pid()).await.expect("memory").expect("alive").message_queue_len;
                    seen.most = seen.most.max(waiting);
                    // Lets other processes run.
                    cx.yield_now().await;
                }
            }
            Some(Received::Exit(_)) => seen.exits += 1,
            Some(Received::Down(_)) => seen.downs += 1,
            Some(_) => {}
            None if done && seen.exits + seen.downs == 2 * DEATHS => break,
            None => {}
        }
    }
    seen.dropped = cx.info(cx.pid()).await.expect("memory").expect("alive").dropped;
    seen
}

fn token(from: usize, number: usize, counts: &Arc<Counts>) -> Token {
    Token { from, number, counts: counts.clone() }
}

/// Counts a message that was rejected; any other error fails the test.
fn told(result: Result<(), SendError<Token>>, counts: &Counts) {
    match result {
        Ok(()) => {}
        Err(SendError::Full(_)) => {
            counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => panic!("{error}"),
    }
}

/// Lets all senders send to one receiver, and checks the receiver's and the senders' counts.
fn storm(overflow: Overflow, waits: bool) {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let (counts, through) = (Arc::new(Counts::default()), Arc::new(AtomicUsize::new(0)));
    // A thread cannot wait for a free slot, since it is not a process.
    let threads = if waits { 0 } else { SENDERS };
    let senders = SENDERS + threads;
    let options = SpawnOptions::new().mailbox_limit(LIMIT).overflow(overflow).trap_exit(true);
    let (result, results) = std::sync::mpsc::channel();
    let ends = through.clone();
    let body = async move |cx: Context<Token>| {
        let seen = receive(cx, senders, ends).await;
        result.send(seen).expect("the test waits");
    };
    let receiver: Pid = runtime.spawn_with(&options, body).expect("a process").pid();
    for from in 0..SENDERS {
        let (counts, through) = (counts.clone(), through.clone());
        let sender = async move |cx: Context<()>| {
            for number in 0..EACH {
                let token = token(from, number, &counts);
                if waits {
                    told(cx.send_wait(receiver, token, None).await, &counts);
                } else {
                    told(cx.send(receiver, token), &counts);
                    if number % 50 == 0 {
                        cx.yield_now().await;
                    }
                }
            }
            through.fetch_add(1, Ordering::Release);
        };
        runtime.spawn(sender).expect("a process");
    }
    std::thread::scope(|scope| {
        for from in SENDERS..senders {
            let (counts, through, runtime) = (&counts, &through, &runtime);
            scope.spawn(move || {
                for number in 0..EACH {
                    told(runtime.send(receiver, token(from, number, counts)), counts);
                    if number % 50 == 0 {
                        std::thread::yield_now();
                    }
                }
                through.fetch_add(1, Ordering::Release);
            });
        }
    });
    let seen = results.recv_timeout(Duration::from_secs(120)).expect("it ends");
    let (sent, refused) = (senders * EACH, counts.refused.load(Ordering::Relaxed));
    assert_eq!((seen.exits, seen.downs), (DEATHS, DEATHS), "{overflow:?}");
    assert_eq!(seen.tokens + refused + seen.dropped, sent, "{overflow:?}");
    assert_eq!(counts.ended.load(Ordering::Relaxed), sent, "{overflow:?}: each is dropped once");
    assert!(seen.most <= LIMIT as usize + 2 * DEATHS, "{overflow:?}: {} waited", seen.most);
    match (overflow, waits) {
        (Overflow::Reject, true) => assert_eq!((seen.tokens, refused, seen.dropped), (sent, 0, 0)),
        (Overflow::Reject, false) => assert_eq!(seen.dropped, 0),
        _ => assert_eq!(refused, 0),
    }
    println!("{overflow:?}, waits {waits}: {sent} sent, {refused} refused, {} dropped", seen.dropped);
    runtime.shutdown(Duration::from_secs(60)).expect("it ends");
}

#[test]
fn every_message_is_rejected_or_received() {
    storm(Overflow::Reject, false);
}

#[test]
fn waiting_senders_lose_nothing() {
    storm(Overflow::Reject, true);
}

#[test]
fn the_oldest_are_dropped_and_counted() {
    storm(Overflow::DropOldest, false);
}

#[test]
fn the_newest_are_dropped_and_counted() {
    storm(Overflow::DropNewest, false);
}

#[test]
fn send_waiters_advance_while_some_leave() {
    // The mailbox holds one message. 200 senders wait, some with timeouts that end during the wait,
    // and some are killed.
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let counts = Arc::new(AtomicUsize::new(0));
    let done = runtime.block_on(async move |cx: Context<()>| {
        let received = counts.clone();
        let body = async move |cx: Context<u32>| {
            loop {
                if let Received::Message(_) = cx.recv().await {
                    received.fetch_add(1, Ordering::Relaxed);
                }
                cx.yield_now().await;
            }
        };
        let options = SpawnOptions::new().mailbox_limit(1);
        let (receiver, _) = cx.spawn_with(&options, body).expect("a process");
        let (sent, mut killed) = (Arc::new(AtomicUsize::new(0)), 0);
        for round in 0..20_u64 {
            let mut waiting = Vec::new();
            for n in 0..200_u64 {
                let sent = sent.clone();
                let body = async move |cx: Context<()>| {
                    let patience = (n % 3 == 0).then(|| Duration::from_micros(n * (round + 1)));
                    for _ in 0..5 {
                        match cx.send_wait(receiver, 1_u32, patience).await {
                            Ok(()) => drop(sent.fetch_add(1, Ordering::Relaxed)),
                            Err(SendError::Full(1)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                };
                let (sender, monitor) = cx.spawn_monitor(body).expect("a process");
                waiting.push((sender, monitor));
            }
            for (sender, _) in waiting.iter().step_by(7) {
                cx.exit(*sender, atropos::Reason::KILL).expect("memory");
                killed += 1;
            }
            for _ in &waiting {
                let down = cx.recv_timeout(Duration::from_secs(60)).await;
                assert!(matches!(down, Some(Received::Down(_))), "round {round}: a sender waits for ever");
            }
        }
        assert!(killed > 0 && cx.info(receiver).await.expect("memory").is_some());
        // Waits until the last messages are received.
        while counts.load(Ordering::Relaxed) < sent.load(Ordering::Relaxed) {
            cx.sleep(Duration::from_millis(1)).await;
        }
        sent.load(Ordering::Relaxed) >= 20 * 5
    });
    assert_eq!(done, Ok(true));
}
