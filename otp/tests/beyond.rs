//! Optional features beyond OTP: restarts in place, urgent messages, waiting for a free slot,
//! carrying over a restart history.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Reason, Reply, SendError};
use atropos_otp::server::MailboxPolicy;
use atropos_otp::{Backoff, CallError, InitError, Intensity, Next, Server, ServerCx, Supervisor};
use common::{Bed, Told, Yard, boom, crash, lock};

type Log = Arc<Mutex<Vec<String>>>;
type Wants = fn(u32) -> Option<Ask>;

fn nothing(_: u32) -> Option<Ask> {
    None
}

struct Fragile {
    log: Log,
    born: u32,
    /// The incarnation whose `init` fails.
    fails: Option<u32>,
    /// The message that `init` of an incarnation continues with.
    wants: Wants,
}

enum Ask {
    Note(u32),
    Panic(u32),
    Born(Reply<u32>),
    Work(Duration),
}

fn copy(ask: &Ask) -> Option<Ask> {
    match ask {
        Ask::Note(n) => Some(Ask::Note(*n)),
        Ask::Panic(n) => Some(Ask::Panic(*n)),
        Ask::Born(_) | Ask::Work(_) => None,
    }
}

impl Server for Fragile {
    type Message = Ask;

    async fn init(&mut self, _: ServerCx<'_, Self>) -> Result<Next<Ask>, InitError> {
        lock(&self.log).push(format!("init {}", self.born));
        if self.fails == Some(self.born) {
            return Err(InitError::Stop(boom()));
        }
        Ok((self.wants)(self.born).map_or(Next::Wait, Next::Continue))
    }

    async fn handle(&mut self, ask: Ask, cx: ServerCx<'_, Self>) -> Next<Ask> {
        match ask {
            Ask::Note(n) => lock(&self.log).push(format!("{n}")),
            // Only some incarnations crash on the poison message.
            Ask::Panic(n) if self.born < n => {
                lock(&self.log).push(format!("{} dies", self.born));
                crash("poison")
            }
            Ask::Panic(_) => lock(&self.log).push(format!("{} survives", self.born)),
            Ask::Born(reply) => reply.send(self.born),
            Ask::Work(time) => cx.sleep(time).await,
        }
        Next::Wait
    }

    async fn terminate(&mut self, reason: &Reason, _: ServerCx<'_, Self>) {
        lock(&self.log).push(format!("terminate {}: {reason}", self.born));
    }
}

fn fragile(log: &Log, fails: Option<u32>, wants: Wants) -> (Fragile, impl FnMut() -> Fragile + Send + use<>) {
    let (log, mut born) = (log.clone(), 0);
    let mut make = move || {
        born += 1;
        Fragile { log: log.clone(), born, fails, wants }
    };
    (make(), make)
}

fn scene(mail: MailboxPolicy<Ask>, wants: Wants) -> (Vec<String>, Result<u32, CallError>) {
    let (mut bed, log) = (Bed::new(2, 1), Log::default());
    let inner = log.clone();
    let born = bed.run(move |cx: Context<()>| async move {
        let (first, make) = fragile(&inner, None, wants);
        let server = first.start().restart_in_place(make, mail, Intensity::within(3, Duration::from_secs(5)));
        let server = server.name("address").start(&cx).await.expect("up");
        server.cast(&cx, Ask::Work(Duration::from_millis(1))).map_err(|_| ()).expect("alive");
        for ask in [Ask::Note(1), Ask::Panic(3), Ask::Note(2)] {
            server.cast(&cx, ask).map_err(|_| ()).expect("alive");
        }
        cx.sleep(Duration::from_millis(10)).await;
        assert_eq!(cx.whereis("address"), Some(server.pid()), "the address survives the crash");
        let born = server.call(&cx, Ask::Born).await;
        assert_eq!(
            server.statistics(&cx).await.expect("alive").restarts_in_place + 1,
            u64::from(born.clone().expect("alive"))
        );
        born
    });
    let log = lock(&log).clone();
    (log, born)
}

#[test]
fn reborn_with_the_mail_dropped() {
    let (log, born) = scene(MailboxPolicy::Drop, nothing);
    assert_eq!(log, ["init 1", "1", "1 dies", "terminate 1: crash: poison", "init 2"]);
    assert_eq!(born, Ok(2));
}

#[test]
fn reborn_with_the_mail_kept_and_the_poison_skipped() {
    let (log, born) = scene(MailboxPolicy::SkipPoison, nothing);
    assert_eq!(log, ["init 1", "1", "1 dies", "terminate 1: crash: poison", "init 2", "2"]);
    assert_eq!(born, Ok(2));
}

/// The poison message is handled until a state survives it, and then what was queued behind it.
const ALL_MAIL_KEPT: [&str; 10] = [
    "init 1",
    "1",
    "1 dies",
    "terminate 1: crash: poison",
    "init 2",
    "2 dies",
    "terminate 2: crash: poison",
    "init 3",
    "3 survives",
    "2",
];

#[test]
fn reborn_with_all_mail_kept() {
    let (log, born) = scene(MailboxPolicy::Keep(copy), nothing);
    assert_eq!(log, ALL_MAIL_KEPT);
    assert_eq!(born, Ok(3));
}

#[test]
fn continue_message_of_init_comes_before_the_poison_message() {
    let (log, born) = scene(MailboxPolicy::Keep(copy), |born| Some(Ask::Note(100 + born)));
    let expected = [
        "init 1",
        "101",
        "1",
        "1 dies",
        "terminate 1: crash: poison",
        "init 2",
        "102",
        "2 dies",
        "terminate 2: crash: poison",
        "init 3",
        "103",
        "3 survives",
        "2",
    ];
    assert_eq!(log, expected);
    assert_eq!(born, Ok(3));
}

#[test]
fn crash_on_the_continue_message_keeps_the_poison_message() {
    let (log, born) = scene(MailboxPolicy::Keep(copy), |born| (born == 2).then_some(Ask::Panic(4)));
    assert_eq!(log, ALL_MAIL_KEPT);
    assert_eq!(born, Ok(3));
}

#[test]
fn too_many_restarts_in_place_or_a_failed_init_end_the_server() {
    for (fails, lives) in [(None, 4), (Some(2), 1)] {
        let (mut bed, log) = (Bed::new(2, 1), Log::default());
        let inner = log.clone();
        let ended = bed.run(move |cx: Context<()>| async move {
            let (first, make) = fragile(&inner, fails, nothing);
            let intensity = Intensity::within(3, Duration::from_secs(5));
            let server = first
                .start()
                .restart_in_place(make, MailboxPolicy::SkipPoison, intensity)
                .start(&cx)
                .await
                .expect("up");
            for _ in 0..10 {
                let _ = server.cast(&cx, Ask::Panic(100));
            }
            server.call(&cx, Ask::Born).await
        });
        assert_eq!(ended, Err(CallError::Down(Reason::crash("poison"))));
        let died = lock(&log).iter().filter(|line| line.ends_with("dies")).count();
        assert_eq!(died, lives);
    }
}

#[test]
fn urgent_messages_go_first_and_keep_their_order() {
    struct Ward(Arc<Mutex<Vec<i32>>>);
    impl Server for Ward {
        type Message = i32;
        const URGENT: bool = true;
        fn is_urgent(message: &i32) -> bool {
            *message < 0
        }
        async fn handle(&mut self, message: i32, cx: ServerCx<'_, Self>) -> Next<i32> {
            match message {
                0 => cx.sleep(Duration::from_millis(1)).await,
                n => lock(&self.0).push(n),
            }
            Next::Wait
        }
    }
    let (mut bed, log) = (Bed::new(2, 1), Arc::new(Mutex::new(Vec::new())));
    let inner = log.clone();
    bed.run(move |cx: Context<()>| async move {
        let ward = Ward(inner).start().start(&cx).await.expect("up");
        ward.cast(&cx, 0).expect("alive");
        cx.yield_now().await;
        for n in 1..=1000 {
            ward.cast(&cx, if n % 100 == 0 { -n } else { n }).expect("alive");
        }
        cx.sleep(Duration::from_secs(1)).await;
        ward.stop(&cx, Reason::NORMAL, None).await.expect("alive");
    });
    let seen = lock(&log).clone();
    let urgent: Vec<i32> = seen.iter().copied().filter(|n| *n < 0).collect();
    let others: Vec<i32> = seen.iter().copied().filter(|n| *n > 0).collect();
    assert_eq!(urgent, (1..=10).map(|n| -n * 100).collect::<Vec<_>>());
    assert_eq!(others, (1..=1000).filter(|n| n % 100 != 0).collect::<Vec<_>>());
    assert_eq!(seen[..10], urgent);
}

#[test]
fn sender_waits_for_a_free_slot() {
    let (mut bed, log) = (Bed::new(2, 1), Log::default());
    let inner = log.clone();
    bed.run(move |cx: Context<()>| async move {
        let (slow, _) = fragile(&inner, None, nothing);
        let slow = slow.start().mailbox_limit(2).start(&cx).await.expect("up");
        slow.cast(&cx, Ask::Work(Duration::from_secs(1))).map_err(|_| ()).expect("space");
        cx.sleep(Duration::from_millis(1)).await;
        for n in 0..2 {
            slow.cast(&cx, Ask::Note(n)).map_err(|_| ()).expect("space");
        }
        let late = slow.cast_wait(&cx, Ask::Note(7), Duration::from_millis(100)).await;
        assert!(matches!(late, Err(SendError::Full(Ask::Note(7)))), "the message is returned");
        slow.cast_wait(&cx, Ask::Note(2), Duration::from_secs(2)).await.map_err(|_| ()).expect("slot in time");
        slow.call(&cx, Ask::Born).await.expect("alive");
    });
    assert_eq!(*lock(&log), ["init 1", "0", "1", "2"]);
}

#[test]
fn history_survives_its_supervisor() {
    let two = Intensity::within(2, Duration::from_secs(60));
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let (parent, supervisor) = bed.family(Supervisor::one_for_one().intensity(two).child(yard.worker("a")));
    for _ in 0..2 {
        bed.tell(yard.pid("a"), Told::End(boom()));
        bed.sleep(Duration::from_secs(1));
    }
    let history = bed.run(move |cx: Context<()>| async move { supervisor.history(&cx).await }).expect("alive");
    assert_eq!((history.ages.len(), history.total), (2, 2));
    bed.exit(parent, Reason::KILL);
    bed.settle();
    // Another test bed has another clock, as after a reset.
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let again = |history| Supervisor::one_for_one().intensity(two).with_history(history).child(yard.worker("a"));
    let (_, supervisor) = bed.family(again(history.clone().after(Duration::from_secs(10))));
    bed.tell(yard.pid("a"), Told::End(boom()));
    bed.settle();
    assert!(!bed.is_alive(supervisor), "the budget is spent");
    let (_, supervisor) = bed.family(again(history.after(Duration::from_secs(100))));
    bed.tell(yard.pid("a"), Told::End(boom()));
    bed.settle();
    assert!(bed.is_alive(supervisor), "the restarts are too old to count");
}

#[test]
fn back_off_spreads_the_restarts_of_children_that_died_together() {
    let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
    let workers = (0..50).map(|n| yard.worker(&format!("w{n}")));
    let supervisor = Supervisor::one_for_one().intensity(Intensity::Unlimited).backoff(backoff);
    bed.family(supervisor.children(workers));
    for n in 0..50 {
        bed.tell(yard.pid(&format!("w{n}")), Told::End(boom()));
    }
    bed.settle();
    assert_eq!(yard.live(), 0);
    let mut waves = Vec::new();
    for _ in 0..10 {
        bed.sleep(Duration::from_millis(200));
        waves.push(yard.live());
    }
    assert_eq!(*waves.last().expect("ten"), 50, "{waves:?}");
    let steps = waves.windows(2).filter(|pair| pair[1] > pair[0]).count();
    assert!(steps >= 4, "not all at once: {waves:?}");
}
