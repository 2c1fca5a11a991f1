//! The relay under faults: external code panics, or memory runs out. No process's end is lost. Each
//! test covers a bug that existed once.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::kernel::Limits;
use atropos::{Address, Context, Handle, Peek, Reason, Runtime};
use atropos_dist::relay::Relay;
use atropos_dist::{
    MonitorControlMessage, NoConnection, Node, Options, RemotePid, RemoteReference, RoutedMessage, Sender,
};

const HERE: Node = Node::new(1);
const THERE: Node = Node::new(2);

fn there(number: u64) -> RemotePid {
    RemotePid::new(THERE, number, 0, 1)
}

fn waits(handle: &Handle) -> Address<()> {
    let waits = async |cx: Context<()>| drop(cx.recv().await);
    handle.spawn(waits).expect("memory")
}

/// Waits for a condition that another thread brings about.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Nowhere;

impl Sender for Nowhere {
    fn send(&self, _: RoutedMessage) -> Result<(), NoConnection> {
        Ok(())
    }
}

/// A sender's panic carries a value whose destructor panics as well.
#[test]
fn a_panicking_panic_payload_does_not_end_the_relay() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    struct Throws;
    impl Sender for Throws {
        fn send(&self, routed: RoutedMessage) -> Result<(), NoConnection> {
            match routed.message {
                MonitorControlMessage::DemonitorP { .. } => panic_any(Bomb),
                _ => Ok(()),
            }
        }
    }
    let runtime = Runtime::builder().cores(1).build().expect("the runtime starts");
    let plane = Relay::start(&runtime, Options::new(HERE, 1), Arc::new(Throws), |_, _, _| ()).expect("memory");
    let relay = runtime.processes()[0];
    plane.connected(THERE, 1);
    for number in 0..3 {
        let watcher = waits(&runtime);
        plane.monitor_remote(watcher.pid().to_raw(), there(number)).expect("connected");
        runtime.exit(watcher, Reason::KILL).expect("the process is alive");
        until("the watcher's monitors are withdrawn", || plane.monitors_of(watcher.pid().to_raw()).is_empty());
    }
    assert!(runtime.is_alive(relay), "{:?}", runtime.tombstone(relay));
}

/// There is no memory for the relay's first message: the start fails, and the caller gets an error.
#[test]
fn a_relay_without_memory_for_its_first_message_is_not_started() {
    let limits = Limits { nodes: 4, ..Limits::default() };
    let runtime = Runtime::builder().cores(1).limits(limits).build().expect("the runtime starts");
    let hog = async |cx: Context<u32>| drop(cx.recv_match(|seen| matches!(seen, Peek::Message(9))).await);
    let hog = runtime.spawn(hog).expect("memory");
    for message in 0..4 {
        runtime.send(hog, message).expect("the first four messages fit");
    }
    let started = Relay::start(&runtime, Options::new(HERE, 1), Arc::new(Nowhere), |_, _, _| ());
    assert!(started.is_err());
    runtime.exit(hog, Reason::KILL).expect("the process is alive");
    until("no process is left", || runtime.processes().is_empty());
}

/// Deliveries that panic leave a backlog, which the next reported end processes first. That end is
/// reported all the same.
#[test]
fn a_panicking_backlog_loses_no_exit() {
    #[derive(Default)]
    struct Notes(Mutex<Vec<MonitorControlMessage>>);
    impl Sender for Notes {
        fn send(&self, routed: RoutedMessage) -> Result<(), NoConnection> {
            self.0.lock().expect("the mutex is not poisoned").push(routed.message);
            Ok(())
        }
    }
    let runtime = Runtime::builder().cores(1).build().expect("the runtime starts");
    let notes = Arc::new(Notes::default());
    let plane =
        Relay::start(&runtime, Options::new(HERE, 1), notes.clone(), |_, _, _| panic!("delivering")).expect("memory");
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
    plane.receive(peer, monitors).expect("accepted");
    // Two deliveries that panic: the first here, the second from the backlog.
    assert!(catch_unwind(AssertUnwindSafe(|| plane.disconnected(lost))).is_err());
    runtime.exit(target, Reason::KILL).expect("the process is alive");
    let told = |message: &MonitorControlMessage| matches!(message, MonitorControlMessage::MonitorPExit { .. });
    until("the peer gets the exit notice", || {
        let _ = catch_unwind(AssertUnwindSafe(|| plane.resume()));
        notes.0.lock().expect("the mutex is not poisoned").iter().any(told)
    });
}
