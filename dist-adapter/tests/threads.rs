//! Many threads use two planes at once: they monitor, withdraw, kill, cut and join without a pause.
//! Every monitor gets one DOWN or is withdrawn, and in the end neither node holds a monitor.

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use atropos_dist::{MonitorError, RemotePid, RemoteReference};
use atropos_kernel::Reason;
use common::*;

/// The first of the watchers that live to the end. Those with smaller numbers die.
const LIVING: u64 = 1_000_000;
const TARGETS: u64 = 2_000;
const ROUNDS: u64 = 20_000;

/// The monitors that one thread has set up and withdrawn.
#[derive(Default)]
struct Account {
    made: Vec<(u64, RemoteReference)>,
    withdrawn: HashSet<RemoteReference>,
}

fn ask(site: &Site, seed: u64, target: fn(u64) -> RemotePid) -> Account {
    let mut random = Random(seed);
    let mut account = Account::default();
    for _ in 0..ROUNDS {
        let watcher = if random.below(4) == 0 { random.below(200) } else { LIVING + random.below(10) };
        match site.plane.monitor_remote(watcher, target(1000 + random.below(TARGETS))) {
            Ok(reference) => account.made.push((watcher, reference)),
            Err(MonitorError::NoConnection) => thread::yield_now(),
            Err(MonitorError::NoCaller) => assert!(watcher < LIVING),
            Err(error) => panic!("{error}"),
        }
        if random.below(3) == 0 && !account.made.is_empty() {
            let (watcher, reference) = account.made[random.below(account.made.len() as u64) as usize];
            if site.plane.demonitor_remote(watcher, reference) {
                assert!(account.withdrawn.insert(reference), "withdrawn twice");
            }
        }
    }
    account
}

fn check(site: &Site, accounts: &[Account]) {
    let mut downs: HashMap<RemoteReference, usize> = HashMap::new();
    for down in site.world.drain() {
        *downs.entry(down.reference).or_default() += 1;
    }
    let (mut made, mut withdrawn, mut answered) = (0, 0, 0);
    for account in accounts {
        for (watcher, reference) in &account.made {
            let ends = downs.remove(reference).unwrap_or(0) + usize::from(account.withdrawn.contains(reference));
            if *watcher >= LIVING {
                assert_eq!(ends, 1, "{reference} of {watcher}");
            } else {
                assert!(ends <= 1, "{reference} of {watcher}");
            }
            answered += ends;
        }
        made += account.made.len();
        withdrawn += account.withdrawn.len();
    }
    assert!(downs.is_empty(), "DOWNs of monitors that were refused: {downs:?}");
    println!("{made} made, {withdrawn} withdrawn, {} answered", answered - withdrawn);
    assert!(withdrawn > 0 && answered > withdrawn);
}

#[test]
fn concurrent_operations_end_each_monitor_once() {
    let pair = Pair::new();
    let done = AtomicBool::new(false);
    let accounts: Mutex<[Vec<Account>; 2]> = Mutex::default();
    thread::scope(|scope| {
        let requesters: Vec<_> = (0..4)
            .map(|number| {
                let (pair, accounts) = (&pair, &accounts);
                scope.spawn(move || {
                    let side = number % 2;
                    let (site, target): (_, fn(u64) -> RemotePid) =
                        if side == 0 { (&pair.left, there) } else { (&pair.right, here) };
                    let account = ask(site, 77 + number as u64, target);
                    accounts.lock().unwrap()[side].push(account);
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                pair.cable.pump(&pair.left.plane, &pair.right.plane, 64);
                thread::yield_now();
            }
        });
        scope.spawn(|| {
            let mut random = Random(99);
            let mut turns = 0_u64;
            while !done.load(Ordering::Acquire) {
                let site = if random.below(2) == 0 { &pair.left } else { &pair.right };
                // A watcher, or a target.
                let pid = if random.below(20) == 0 { random.below(200) } else { 1000 + random.below(TARGETS) };
                site.world.kill(pid, &Reason::SHUTDOWN);
                turns += 1;
                if turns.is_multiple_of(500) {
                    pair.cable.join(&pair.left.plane, &pair.right.plane);
                }
                thread::yield_now();
            }
        });
        for requester in requesters {
            requester.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    for site in [&pair.left, &pair.right] {
        (0..200).for_each(|watcher| site.world.kill(watcher, &Reason::KILLED));
        (1000..1000 + TARGETS / 2).for_each(|target| site.world.kill(target, &Reason::KILLED));
    }
    pair.pump();
    pair.cut();
    for site in [&pair.left, &pair.right] {
        (1000..1000 + TARGETS).for_each(|target| site.world.kill(target, &Reason::KILLED));
        assert!(site.plane.watched() <= 10, "only the live watchers are watched");
    }
    for (site, accounts) in [&pair.left, &pair.right].into_iter().zip(&*accounts.lock().unwrap()) {
        check(site, accounts);
        for pid in (0..200).chain(LIVING..LIVING + 10).chain(1000..1000 + TARGETS) {
            assert_eq!((site.plane.monitors_of(pid), site.plane.monitored_by(pid)), (Vec::new(), Vec::new()));
        }
    }
}
