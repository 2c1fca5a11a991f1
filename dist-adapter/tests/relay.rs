//! The relay under bad conditions: what is foreign panics, or there is no memory. No end is lost. Each was a fault once.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::kernel::Limits;
use atropos::{Address, Context, Handle, Peek, Reason, Runtime};
use atropos_dist::relay::Relay;
use atropos_dist::{MonitorControlMessage, NoConnection, Node, Options, RemotePid, RemoteReference, Routed, Sender};

const HERE: Node = Node::new(1);
const THERE: Node = Node::new(2);

fn there(number: u64) -> RemotePid {
    RemotePid::new(THERE, number, 0, 1)
}

fn waits(handle: &Handle) -> Address<()> {
    let waits = async |cx: Context<()>| drop(cx.recv().await);
    handle.spawn(waits).expect("room")
}

/// Waits for what another thread brings about.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Nowhere;

impl Sender for Nowhere {
    fn send(&self, _: Routed) -> Result<(), NoConnection> {
        Ok(())
    }
}

/// A sender's panic carries a value whose destructor panics as well.
#[test]
fn a_panics_value_does_not_end_the_relay() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    struct Throws;
    impl Sender for Throws {
        fn send(&self, routed: Routed) -> Result<(), NoConnection> {
            match routed.message {
                MonitorControlMessage::DemonitorP { .. } => panic_any(Bomb),
                _ => Ok(()),
            }
        }
    }
    let runtime = Runtime::builder().cores(1).build().expect("a thread");
    let plane = Relay::start(&runtime, Options::new(HERE, 1), Arc::new(Throws), |_, _, _| ()).expect("room");
    let relay = runtime.processes()[0];
    plane.connected(THERE, 1);
    for number in 0..3 {
        let watcher = waits(&runtime);
        plane.monitor_remote(watcher.pid().to_raw(), there(number)).expect("connected");
        runtime.exit(watcher, Reason::KILL).expect("a kill");
        until("its end is told", || plane.monitors_of(watcher.pid().to_raw()).is_empty());
    }
    assert!(runtime.is_alive(relay), "{:?}", runtime.tombstone(relay));
}

/// The relay's first message finds no memory: it is not started, and whoever asked is told.
#[test]
fn a_relay_that_cannot_be_told_whom_it_serves_is_not_started() {
    let limits = Limits { nodes: 4, ..Limits::default() };
    let runtime = Runtime::builder().cores(1).limits(limits).build().expect("a thread");
    let hog = async |cx: Context<u32>| drop(cx.recv_match(|seen| matches!(seen, Peek::Message(9))).await);
    let hog = runtime.spawn(hog).expect("room");
    for message in 0..4 {
        runtime.send(hog, message).expect("there are four nodes");
    }
    let started = Relay::start(&runtime, Options::new(HERE, 1), Arc::new(Nowhere), |_, _, _| ());
    assert!(started.is_err());
    runtime.exit(hog, Reason::KILL).expect("a kill");
    until("nothing is left of it", || runtime.processes().is_empty());
}

/// Answers that panic leave a backlog, which is gone on with when the next end comes: that end is told all the same.
#[test]
fn an_end_is_not_lost_to_a_backlog_that_panics() {
    #[derive(Default)]
    struct Notes(Mutex<Vec<MonitorControlMessage>>);
    impl Sender for Notes {
        fn send(&self, routed: Routed) -> Result<(), NoConnection> {
            self.0.lock().expect("whole").push(routed.message);
            Ok(())
        }
    }
    let runtime = Runtime::builder().cores(1).build().expect("a thread");
    let notes = Arc::new(Notes::default());
    let plane =
        Relay::start(&runtime, Options::new(HERE, 1), notes.clone(), |_, _, _| panic!("delivering")).expect("room");
    let lost = plane.connected(THERE, 1);
    let peer = plane.connected(Node::new(3), 1);
    let (watcher, target) = (waits(&runtime), waits(&runtime));
    for number in 0..2 {
        plane.monitor_remote(watcher.pid().to_raw(), there(number)).expect("connected");
    }
    let monitors = MonitorControlMessage::MonitorP {
        reference: RemoteReference::FIRST,
        watcher: RemotePid::new(Node::new(3), 7, 0, 1),
        target: plane.name_of(target.pid().to_raw()),
    };
    plane.receive(peer, monitors).expect("taken");
    // Two answers, each of which panics: the first here, the second on the backlog.
    assert!(catch_unwind(AssertUnwindSafe(|| plane.disconnected(lost))).is_err());
    runtime.exit(target, Reason::KILL).expect("a kill");
    let told = |message: &MonitorControlMessage| matches!(message, MonitorControlMessage::MonitorPExit { .. });
    until("the peer is told of the death", || {
        let _ = catch_unwind(AssertUnwindSafe(|| plane.resume()));
        notes.0.lock().expect("whole").iter().any(told)
    });
}
