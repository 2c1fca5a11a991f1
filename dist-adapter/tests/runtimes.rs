//! Two runtimes in one operating-system process, connected by a cable. Their processes monitor each
//! other, while processes die and the cable is cut.

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use atropos::{Address, Context, Handle, Pid, Reason, Received, Runtime};
use atropos_dist::relay::{Relay, RemoteDown};
use atropos_dist::{ControlPlane, LoopbackEnd, LoopbackPair, MonitorError, Node, Options, RemotePid, RemoteReference};

use common::Random;

/// The messages of a watcher.
#[derive(Debug)]
enum Say {
    /// Monitor this process.
    Watch(RemotePid),
    Down(RemoteDown),
    /// Withdraw every monitor with a reference that is a multiple of this number.
    Withdraw(u64),
}

/// The outcomes of one node's monitors, by reference.
#[derive(Default)]
struct Account {
    made: Mutex<HashMap<RemoteReference, RemotePid>>,
    /// How often the plane has delivered each DOWN. `received` has how often a watcher got it.
    delivered: Mutex<HashMap<RemoteReference, usize>>,
    received: Mutex<HashMap<RemoteReference, (usize, RemotePid, Reason)>>,
    withdrawn: Mutex<Vec<RemoteReference>>,
    refused: AtomicUsize,
}

struct Site {
    runtime: Runtime,
    plane: Arc<ControlPlane>,
    account: Arc<Account>,
}

impl Site {
    fn new(node: u64, end: Arc<LoopbackEnd>) -> Self {
        let runtime = Runtime::builder().cores(2).build().unwrap();
        let account = Arc::new(Account::default());
        let count = account.clone();
        let deliver = move |handle: &Handle, watcher: Pid, down: RemoteDown| {
            *count.delivered.lock().unwrap().entry(down.reference).or_default() += 1;
            // A dead watcher needs no DOWN.
            let _ = handle.send(watcher, Say::Down(down));
        };
        let plane = Relay::start(&runtime, Options::new(Node::new(node), 1), end, deliver).unwrap();
        Self { runtime, plane, account }
    }

    fn name_of(&self, pid: impl Into<Pid>) -> RemotePid {
        self.plane.name_of(pid.into().to_raw())
    }

    /// Spawns a process that lives until it gets a message.
    fn target(&self) -> Address<()> {
        self.runtime.spawn(async |cx: Context<()>| drop(cx.recv().await)).unwrap()
    }

    fn watcher(&self) -> Address<Say> {
        let (plane, account) = (self.plane.clone(), self.account.clone());
        self.runtime.spawn(move |cx| watch(cx, plane, account)).unwrap()
    }

    fn open(&self) -> usize {
        self.plane.monitors_with(Node::new(1)).0 + self.plane.monitors_with(Node::new(2)).0
    }
}

async fn watch(cx: Context<Say>, plane: Arc<ControlPlane>, account: Arc<Account>) {
    let me = cx.pid().to_raw();
    loop {
        match cx.recv().await {
            Received::Message(Say::Watch(target)) => loop {
                match plane.monitor_remote(me, target) {
                    Ok(reference) => {
                        assert_eq!(account.made.lock().unwrap().insert(reference, target), None);
                        break;
                    }
                    Err(MonitorError::NoConnection) => {
                        account.refused.fetch_add(1, Ordering::Relaxed);
                        cx.sleep(Duration::from_millis(1)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            },
            Received::Message(Say::Down(RemoteDown { reference, target, reason })) => {
                let mut received = account.received.lock().unwrap();
                received.entry(reference).or_insert((0, target, reason)).0 += 1;
            }
            Received::Message(Say::Withdraw(multiple)) => {
                for (reference, _) in plane.monitors_of(me) {
                    if reference.to_raw().is_multiple_of(multiple) && plane.demonitor_remote(me, reference) {
                        account.withdrawn.lock().unwrap().push(reference);
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "timed out waiting for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The numbers of monitors by outcome.
#[derive(Default)]
struct Tally {
    deaths: usize,
    losses: usize,
    withdrawn: usize,
}

impl Tally {
    /// Returns `true` if every outcome occurred. A run without deaths, losses or withdrawals proves
    /// nothing.
    fn has_all(&self) -> bool {
        self.deaths > 0 && self.losses > 0 && self.withdrawn > 0
    }
}

/// Runs the whole-system check: `monitors` monitors each way, a fifth withdrawn at some time, while
/// a seed decides when the cable is cut and joined and which targets are killed.
///
/// Every monitor gets exactly one DOWN, or none if it was withdrawn.
fn cut_and_joined(seed: u64, monitors: usize) -> Tally {
    const WATCHERS: usize = 50;
    let cable = LoopbackPair::new();
    let [left, right] = cable.ends();
    let sites = [Site::new(1, left), Site::new(2, right)];
    let [left, right] = &sites;
    cable.join(&left.plane, &right.plane);
    let done = AtomicBool::new(false);
    let mut random = Random(seed);
    let mut cuts = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                if cable.pump(&left.plane, &right.plane, 100) == 0 {
                    thread::sleep(Duration::from_micros(50));
                }
            }
        });
        let watchers = [left, right].map(|site| (0..WATCHERS).map(|_| site.watcher()).collect::<Vec<_>>());
        let mut targets = [left, right].map(|site| (0..monitors).map(|_| site.target()).collect::<Vec<_>>());
        // Each watcher gets its targets in batches, with a random event in between.
        let orders: [Vec<RemotePid>; 2] =
            [1, 0].map(|of| targets[of].iter().map(|target| sites[of].name_of(*target)).collect());
        let mut joined = true;
        for batch in 0..100 {
            let of_batch = batch * monitors / 100..(batch + 1) * monitors / 100;
            for number in of_batch {
                for side in 0..2 {
                    let watcher = watchers[side][number % WATCHERS];
                    sites[side].runtime.send(watcher, Say::Watch(orders[side][number])).unwrap();
                }
            }
            match random.below(10) {
                0 if joined => {
                    joined = !cable.cut(&left.plane, &right.plane);
                    cuts += 1;
                }
                0..=3 if !joined || random.below(8) == 0 => {
                    cable.join(&left.plane, &right.plane);
                    (joined, cuts) = (true, cuts + usize::from(joined));
                }
                _ => {}
            }
            for _ in 0..random.below(monitors as u64 / 50) {
                let side = random.below(2) as usize;
                let index = random.below(targets[side].len() as u64) as usize;
                let target = targets[side].swap_remove(index);
                sites[side].runtime.exit(target, Reason::value(target.pid().to_raw())).unwrap();
            }
            if batch % 10 == 9 {
                for side in 0..2 {
                    for watcher in &watchers[side] {
                        sites[side].runtime.send(*watcher, Say::Withdraw(5)).unwrap();
                    }
                }
            }
            thread::sleep(Duration::from_micros(random.below(3000)));
        }
        // At the end the nodes are connected until every monitor is set up. Then half of the
        // remaining targets die, and a last cut answers the other monitors.
        if !joined {
            cable.join(&left.plane, &right.plane);
        }
        for site in &sites {
            wait_until("every monitor", || site.account.made.lock().unwrap().len() == monitors);
        }
        for side in 0..2 {
            let killed: Vec<_> = targets[side].drain(..).step_by(2).collect();
            for target in &killed {
                sites[side].runtime.exit(*target, Reason::value(target.pid().to_raw())).unwrap();
            }
            let told = |target: &Address<()>| sites[side].plane.monitored_by(target.pid().to_raw()).is_empty();
            wait_until("every notice", || killed.iter().all(told) && !cable.is_busy());
        }
        cable.cut(&left.plane, &right.plane);
        for site in &sites {
            wait_until("every answer", || {
                let answered = site.account.received.lock().unwrap().len();
                answered + site.account.withdrawn.lock().unwrap().len() == monitors
            });
        }
        done.store(true, Ordering::Release);
    });
    let mut tally = Tally::default();
    for site in &sites {
        let account = &site.account;
        let (made, received) = (account.made.lock().unwrap(), account.received.lock().unwrap());
        let (delivered, withdrawn) = (account.delivered.lock().unwrap(), account.withdrawn.lock().unwrap());
        let (mut by_loss, mut by_death, mut late) = (0, 0, 0);
        for (reference, target) in &*made {
            let answers = received.get(reference).map_or(0, |(times, ..)| *times);
            let withdrawn = withdrawn.contains(reference);
            assert_eq!(answers + usize::from(withdrawn), 1, "seed {seed}, {reference} of {target}");
            assert_eq!(delivered.get(reference).copied().unwrap_or(0), answers, "seed {seed}");
            let Some((_, of, reason)) = received.get(reference) else { continue };
            assert_eq!(of, target);
            if *reason == Reason::NOCONNECTION {
                by_loss += 1;
            } else if *reason == Reason::NOPROC {
                late += 1;
            } else {
                assert_eq!(*reason, Reason::value(target.number), "the target's own reason");
                by_death += 1;
            }
        }
        assert_eq!(received.len() + withdrawn.len(), monitors);
        assert_eq!(site.open(), 0);
        let refused = account.refused.load(Ordering::Relaxed);
        println!(
            "seed {seed}: {by_death} deaths, {late} late, {by_loss} losses, {} withdrawn, {refused} refused, {cuts} cuts",
            withdrawn.len()
        );
        tally = Tally {
            deaths: tally.deaths + by_death,
            losses: tally.losses + by_loss,
            withdrawn: tally.withdrawn + withdrawn.len(),
        };
    }
    for Site { runtime, plane, .. } in sites {
        runtime.shutdown(Duration::from_secs(5)).unwrap();
        drop(plane);
    }
    tally
}

#[test]
fn ten_thousand_monitors_each_way_get_one_answer_each() {
    for seed in [0x00a7_0905, 0x1234_5678_9abc] {
        assert!(cut_and_joined(seed, 10_000).has_all(), "seed {seed}");
    }
}

#[test]
fn many_seeds_with_500_monitors() {
    let tallies = (1..=10).map(|seed| cut_and_joined(seed, 500));
    assert!(tallies.filter(Tally::has_all).count() > 5);
}

/// The old control plane had no caller. Here processes call it, from end to end.
#[test]
fn fault_2_1_l_run_from_end_to_end_by_processes() {
    let cable = LoopbackPair::new();
    let [left, right] = cable.ends();
    let (left, right) = (Site::new(1, left), Site::new(2, right));
    cable.join(&left.plane, &right.plane);
    let target = right.runtime.spawn(async |cx: Context<()>| {
        cx.recv().await;
        panic!("the target panics");
    });
    let target = target.unwrap();
    let (plane, name) = (left.plane.clone(), right.name_of(target));
    let never = RemotePid { number: u64::MAX, ..name };
    let (pump, other) = (cable.clone(), right.plane.clone());
    let handle = right.runtime.handle();
    let account = left.runtime.block_on(async move |mut cx: Context<Say>| {
        let me = cx.pid().to_raw();
        let next = async |cx: &mut Context<Say>| loop {
            pump.pump(&plane, &other, 10);
            match cx.recv_timeout(Duration::from_millis(1)).await {
                Some(Received::Message(Say::Down(down))) => return down,
                None => {}
                other => panic!("{other:?}"),
            }
        };
        let first = plane.monitor_remote(me, name).unwrap();
        pump.pump(&plane, &other, 10);
        assert_eq!(other.monitored_by(name.number).len(), 1);
        handle.send(target, ()).unwrap();
        let crashed = next(&mut cx).await;
        let second = plane.monitor_remote(me, name).unwrap();
        let dead = next(&mut cx).await;
        let third = plane.monitor_remote(me, never).unwrap();
        let never_there = next(&mut cx).await;
        ([first, second, third], [crashed, dead, never_there])
    });
    let (references, downs) = account.unwrap();
    for (reference, down) in references.iter().zip(&downs) {
        assert_eq!(*reference, down.reference);
    }
    assert!(downs[0].reason.to_string().contains("the target panics"), "{}", downs[0].reason);
    assert_eq!((&downs[1].reason, &downs[2].reason), (&Reason::NOPROC, &Reason::NOPROC));
    assert_eq!(left.open() + right.open(), 0);
}

/// Order: a monitor requested before the target's end gets the target's reason, although the relay
/// has not run in between.
#[test]
fn an_exit_right_after_the_request_keeps_its_reason() {
    const TARGETS: usize = 2_000;
    let cable = LoopbackPair::new();
    let [left, right] = cable.ends();
    let (left, right) = (Site::new(1, left), Site::new(2, right));
    cable.join(&left.plane, &right.plane);
    let watcher = left.watcher();
    let targets: Vec<_> = (0..TARGETS).map(|_| right.target()).collect();
    for target in &targets {
        left.plane.monitor_remote(watcher.pid().to_raw(), right.name_of(*target)).unwrap();
        cable.pump(&left.plane, &right.plane, 10);
        right.runtime.exit(*target, Reason::value(target.pid().to_raw())).unwrap();
    }
    wait_until("every answer", || {
        cable.pump(&left.plane, &right.plane, 100);
        left.account.received.lock().unwrap().len() == TARGETS
    });
    for (times, target, reason) in left.account.received.lock().unwrap().values() {
        assert_eq!((*times, reason), (1, &Reason::value(target.number)));
    }
}

/// The peer discards the monitors of a dead watcher, because the relay monitors the watcher itself.
#[test]
fn a_dead_watchers_monitors_are_withdrawn_at_the_peer() {
    let cable = LoopbackPair::new();
    let [left, right] = cable.ends();
    let (left, right) = (Site::new(1, left), Site::new(2, right));
    cable.join(&left.plane, &right.plane);
    let (watcher, target) = (left.watcher(), right.target());
    left.runtime.send(watcher, Say::Watch(right.name_of(target))).unwrap();
    wait_until("the registration", || {
        cable.pump(&left.plane, &right.plane, 10);
        right.plane.monitored_by(target.pid().to_raw()).len() == 1
    });
    left.runtime.exit(watcher, Reason::KILL).unwrap();
    wait_until("the withdrawal", || {
        cable.pump(&left.plane, &right.plane, 10);
        right.plane.monitored_by(target.pid().to_raw()).is_empty()
    });
    assert_eq!(left.open(), 0);
    // The plane may or may not know of the watcher's end by now.
    let of_the_dead = left.plane.monitor_remote(watcher.pid().to_raw(), right.name_of(target));
    assert!(matches!(of_the_dead, Ok(_) | Err(MonitorError::NoCaller)), "{of_the_dead:?}");
    wait_until("the dead watcher's withdrawal", || left.open() == 0);
}

/// The relay survives a panic in the embedder's delivery.
#[test]
fn a_delivery_that_panics_costs_one_answer() {
    let cable = LoopbackPair::new();
    let [left_end, right_end] = cable.ends();
    let left = Runtime::builder().cores(1).build().unwrap();
    let downs = Arc::new(Mutex::new(Vec::new()));
    let seen = downs.clone();
    let deliver = move |_: &Handle, _: Pid, down: RemoteDown| {
        let mut seen = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        seen.push(down.reference);
        assert!(seen.len() != 2, "the delivery panics");
    };
    let plane = Relay::start(&left, Options::new(Node::new(1), 1), left_end, deliver).unwrap();
    let right = Site::new(2, right_end);
    cable.join(&plane, &right.plane);
    let watcher = left.spawn(async |cx: Context<()>| drop(cx.recv().await)).unwrap();
    let monitors: Vec<_> =
        (0..4).map(|_| plane.monitor_remote(watcher.pid().to_raw(), right.name_of(right.target())).unwrap()).collect();
    let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cable.cut(&plane, &right.plane)));
    assert!(cut.is_err());
    plane.resume();
    assert_eq!(*downs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), monitors);
}
