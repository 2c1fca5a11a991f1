//! Issue 14, 25: a peer's quota bounds every resource that the node keeps for it, including
//! monitors that the peer sets up and withdraws faster than the runtime runs.

mod common;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use atropos::{Address, Context, Handle, Reason, Runtime};
use atropos_dist::relay::Relay;
use atropos_dist::{
    ControlPlane, NoConnection, Node, Options, ReceiveError, RecordingSender, RemotePid, RemoteReference,
    RoutedMessage, RuntimeHooks, Sender,
};
use atropos_kernel::NoMemory;
use common::*;

const QUOTA: usize = 10;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Order {
    Watch(u64),
    Unwatch(u64),
}

/// A runtime whose relay runs only when the test calls it. None of its processes exists.
#[derive(Default)]
struct Slow {
    orders: Mutex<VecDeque<Order>>,
    plane: OnceLock<Weak<ControlPlane>>,
    /// `true` if its processes are alive, `false` if they never existed.
    alive: AtomicBool,
}

impl Slow {
    fn start(quota: usize) -> (Arc<ControlPlane>, Arc<Self>, Arc<RecordingSender>) {
        let (slow, sent) = (Arc::new(Self::default()), Arc::new(RecordingSender::new()));
        let options = Options::new(HERE, 1).inbound_limit(quota);
        let plane = Arc::new(ControlPlane::new(options, sent.clone(), slow.clone()));
        slow.plane.set(Arc::downgrade(&plane)).expect("set once");
        (plane, slow, sent)
    }

    fn waiting(&self) -> usize {
        self.orders.lock().unwrap().len()
    }

    /// Processes the pending orders, and returns the pids of the watches that were dropped.
    fn run(&self) -> Vec<u64> {
        let plane = self.plane.get().and_then(Weak::upgrade).expect("the plane is alive");
        let mut released = Vec::new();
        loop {
            let next = self.orders.lock().unwrap().pop_front();
            match next {
                Some(Order::Watch(pid)) if !self.alive.load(Ordering::Relaxed) => plane.exited(pid, &Reason::NOPROC),
                Some(Order::Watch(_)) => {}
                Some(Order::Unwatch(pid)) => released.extend(plane.release(pid).then_some(pid)),
                None => return released,
            }
        }
    }
}

impl RuntimeHooks for Slow {
    fn deliver_down(&self, _: u64, _: RemoteReference, _: RemotePid, _: Reason) {}

    fn watch(&self, pid: u64) -> Result<(), NoMemory> {
        self.orders.lock().unwrap().push_back(Order::Watch(pid));
        Ok(())
    }

    fn unwatch(&self, pid: u64) {
        self.orders.lock().unwrap().push_back(Order::Unwatch(pid));
    }
}

#[test]
fn n25_withdrawn_monitors_count_until_the_runtime_has_collected_them() {
    for alive in [false, true] {
        let (plane, slow, sent) = Slow::start(QUOTA);
        slow.alive.store(alive, Ordering::Relaxed);
        let (there_now, other) = (plane.connected(THERE, 1), plane.connected(ELSEWHERE, 1));
        for round in 0..3 {
            let mut taken = 0;
            for number in 1..1000 {
                match plane.receive(there_now, monitor_p(number, there(9), here(number))) {
                    Ok(()) => taken += 1,
                    Err(refused) => assert_eq!(refused, ReceiveError::Quota),
                }
                plane.receive(there_now, demonitor_p(number, there(9), here(number))).expect("the peer's own monitor");
                // The bounds include the other peer's processes.
                assert!(plane.watched() <= QUOTA + 3 && slow.waiting() <= 2 * (QUOTA + 3));
                assert!(plane.quota_used(THERE) <= QUOTA);
            }
            assert_eq!(taken, QUOTA, "round {round}");
            let notices = sent.drain().into_iter().filter(|routed| routed.destination() == THERE).count();
            assert_eq!(notices, 999 - QUOTA, "exactly the refused requests have been answered");
            assert_eq!(plane.monitors_with(THERE), (0, 0));
            // Another peer's quota is separate.
            assert_eq!(plane.receive(other, monitor_p(round, elsewhere(9), here(5000 + round))), Ok(()));
            slow.run();
            assert_eq!(plane.quota_used(THERE), 0, "all collected, and the quota is free again");
        }
        assert_eq!(plane.watched(), if alive { 3 } else { 0 });
    }
}

#[test]
fn n25_a_new_connection_finds_the_old_charges() {
    let (plane, slow, _) = Slow::start(QUOTA);
    let mut taken = 0;
    for number in 1..1000 {
        // The peer's creation changes now and then.
        let incarnation = 1 + number as u32 / 100;
        let now = plane.connected(THERE, incarnation);
        let watcher = RemotePid::new(THERE, 9, 0, incarnation);
        taken += usize::from(plane.receive(now, monitor_p(number, watcher, here(number))).is_ok());
        if number % 2 == 0 {
            assert!(plane.disconnected(now));
        }
        assert!(plane.watched() <= QUOTA && slow.waiting() <= 2 * QUOTA && plane.quota_used(THERE) <= QUOTA);
    }
    assert_eq!(taken, QUOTA);
    slow.run();
    assert_eq!((plane.quota_used(THERE), plane.watched()), (0, 0));
}

#[test]
fn n25_a_watch_that_is_needed_again_is_kept() {
    let (plane, slow, sent) = Slow::start(QUOTA);
    slow.alive.store(true, Ordering::Relaxed);
    let now = plane.connected(THERE, 1);
    for number in 0..100 {
        plane.receive(now, monitor_p(number, there(9), here(42))).expect("accepted");
        plane.receive(now, demonitor_p(number, there(9), here(42))).expect("the peer's own monitor");
    }
    plane.receive(now, monitor_p(100, there(9), here(42))).expect("accepted");
    assert_eq!(*slow.orders.lock().unwrap(), [Order::Watch(42), Order::Unwatch(42)], "one request each");
    assert_eq!(slow.run(), [], "a peer monitors the process, so the watch is kept");
    assert_eq!((plane.watched(), plane.quota_used(THERE)), (1, 1));
    plane.exited(42, &Reason::KILLED);
    let messages: Vec<_> = sent.drain().into_iter().map(|routed| routed.message).collect();
    assert_eq!(messages, [exit_p(reference(100), there(9), here(42), Reason::KILLED)]);
    assert_eq!((plane.watched(), plane.quota_used(THERE)), (0, 0));
    // Two peers that monitor a process pay one charge each. The last to withdraw pays for the
    // watch.
    let other = plane.connected(ELSEWHERE, 1);
    plane.receive(now, monitor_p(1, there(9), here(43))).expect("accepted");
    plane.receive(other, monitor_p(1, elsewhere(9), here(43))).expect("accepted");
    plane.receive(now, demonitor_p(1, there(9), here(43))).expect("the peer's own monitor");
    assert_eq!((plane.quota_used(THERE), plane.quota_used(ELSEWHERE)), (0, 1));
    plane.receive(other, demonitor_p(1, elsewhere(9), here(43))).expect("the peer's own monitor");
    assert_eq!((plane.quota_used(THERE), plane.quota_used(ELSEWHERE)), (0, 1));
    assert_eq!(slow.run(), [43]);
    assert_eq!((plane.watched(), plane.quota_used(ELSEWHERE)), (0, 0));
    // A process that monitors others is watched for itself: no peer pays.
    plane.monitor_remote(44, there(1)).expect("connected");
    plane.receive(now, monitor_p(2, there(9), here(44))).expect("accepted");
    plane.receive(now, demonitor_p(2, there(9), here(44))).expect("the peer's own monitor");
    assert_eq!((plane.quota_used(THERE), slow.run(), plane.watched()), (0, vec![], 1));
}

/// A sender that panics leaves a backlog. The account counts the backlog although its session is
/// gone.
#[test]
fn n25_the_backlog_is_on_the_account() {
    let angry = Arc::new(AtomicBool::new(true));
    let panics = angry.clone();
    let sender = Calls(move |_: &RoutedMessage| {
        assert!(!panics.load(Ordering::Relaxed), "the sender panics");
        Ok(())
    });
    let site = Site::with(Options::new(HERE, 1).inbound_limit(4), Arc::new(sender));
    let plane = &site.plane;
    let now = plane.connected(THERE, 1);
    for number in 0..4 {
        plane.receive(now, monitor_p(number, there(9), here(42))).expect("accepted");
    }
    assert!(catch_unwind(AssertUnwindSafe(|| site.world.kill(42, &Reason::KILLED))).is_err());
    assert_eq!(plane.quota_used(THERE), 3);
    // The next call processes the backlog first, and loses one delivery to the panic.
    assert!(catch_unwind(AssertUnwindSafe(|| plane.connected(THERE, 1))).is_err());
    assert_eq!(plane.monitors_with(THERE), (0, 0));
    assert!(plane.quota_used(THERE) >= 2, "the account counts the backlog");
    angry.store(false, Ordering::Relaxed);
    plane.resume();
    assert_eq!(plane.quota_used(THERE), 0);
}

struct Nowhere;

impl Sender for Nowhere {
    fn send(&self, _: RoutedMessage) -> Result<(), NoConnection> {
        Ok(())
    }
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// With the real relay: two threads of one peer set up and withdraw monitors as fast as they can.
#[test]
fn n25_a_peer_cannot_outrun_the_relay() {
    let runtime = Runtime::builder().cores(2).build().expect("the runtime starts");
    let options = Options::new(HERE, 1).inbound_limit(QUOTA);
    let plane = Relay::start(&runtime, options, Arc::new(Nowhere), |_, _, _| {}).expect("memory");
    let now = plane.connected(THERE, 1);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let plane = &plane;
            scope.spawn(move || {
                for number in 0..50_000 {
                    let number = 2 * number + thread;
                    let target = plane.name_of((1 << 32) | (number + 100));
                    let _ = plane.receive(now, monitor_p(number, there(9), target));
                    let _ = plane.receive(now, demonitor_p(number, there(9), target));
                    // One more for each thread that is withdrawing.
                    assert!(plane.watched() <= QUOTA + 2, "{} are watched", plane.watched());
                }
            });
        }
    });
    until("every watch is collected", || plane.watched() == 0);
    assert_eq!(plane.monitors_with(THERE), (0, 0));
}

/// More live targets than the quota, one after the other: the relay drops its monitors, and quota
/// becomes free again.
#[test]
fn n25_live_targets_are_unwatched_and_watched_again() {
    let runtime = Runtime::builder().cores(2).build().expect("the runtime starts");
    let options = Options::new(HERE, 1).inbound_limit(4);
    let sent = Arc::new(RecordingSender::new());
    let plane = Relay::start(&runtime, options, sent.clone(), |_, _, _| {}).expect("memory");
    let waits =
        |handle: &Handle| -> Address<()> { handle.spawn(async |cx: Context<()>| drop(cx.recv().await)).expect("fits") };
    let targets: Vec<_> = (0..50).map(|_| waits(&runtime)).collect();
    let now = plane.connected(Node::new(2), 1);
    for (number, target) in (1_u64..).zip(&targets) {
        let target = plane.name_of(target.pid().to_raw());
        until("the quota is free again", || plane.receive(now, monitor_p(number, there(9), target)).is_ok());
        plane.receive(now, demonitor_p(number, there(9), target)).expect("the peer's own monitor");
    }
    until("no process is watched", || plane.watched() == 0);
    sent.drain();
    let again = &targets[7];
    let target = plane.name_of(again.pid().to_raw());
    plane.receive(now, monitor_p(99, there(9), target)).expect("the quota is free");
    runtime.exit(*again, Reason::KILL).expect("the target is alive");
    let mut told = Vec::new();
    until("the peer gets the exit notice", || {
        told.extend(sent.drain().into_iter().map(|routed| routed.message));
        !told.is_empty()
    });
    assert_eq!(told, [exit_p(reference(99), there(9), target, Reason::KILLED)]);
}
