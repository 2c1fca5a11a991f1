//! A minimal runtime for the tests: processes are numbers, alive until killed.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use atropos_dist::{
    Connection, ControlPlane, LoopbackPair, MonitorControlMessage, NoConnection, Node, Options, RecordingSender,
    RemotePid, RemoteReference, RoutedMessage, RuntimeHooks, Sender,
};
use atropos_kernel::{NoMemory, Reason};

pub(crate) const HERE: Node = Node::new(1);
pub(crate) const THERE: Node = Node::new(2);
pub(crate) const ELSEWHERE: Node = Node::new(3);

/// A small xorshift generator, with a seed other than 0.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// A delivered DOWN.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Down {
    pub(crate) watcher: u64,
    pub(crate) reference: RemoteReference,
    pub(crate) target: RemotePid,
    pub(crate) reason: Reason,
}

#[derive(Default)]
struct Processes {
    dead: HashSet<u64>,
    watched: HashSet<u64>,
    downs: Vec<Down>,
}

type Hook = Box<dyn Fn(u64) + Send + Sync>;

/// The processes of a node.
#[derive(Default)]
pub(crate) struct World {
    processes: Mutex<Processes>,
    plane: OnceLock<Weak<ControlPlane>>,
    /// A function that runs at the start of each watch.
    pub(crate) on_watch: OnceLock<Hook>,
    /// A function that runs after each delivery, and may panic.
    pub(crate) on_down: OnceLock<Hook>,
    pub(crate) no_memory: std::sync::atomic::AtomicBool,
}

impl World {
    fn plane(&self) -> Arc<ControlPlane> {
        self.plane.get().and_then(Weak::upgrade).expect("the plane is alive")
    }

    /// Kills a process, and reports its end to the plane if the plane watches it.
    pub(crate) fn kill(&self, pid: u64, reason: &Reason) {
        let mut processes = self.processes.lock().unwrap();
        processes.dead.insert(pid);
        let watched = processes.watched.remove(&pid);
        drop(processes);
        if watched {
            self.plane().exited(pid, reason);
        }
    }

    /// Returns the DOWNs since the last `drain`.
    pub(crate) fn drain(&self) -> Vec<Down> {
        std::mem::take(&mut self.processes.lock().unwrap().downs)
    }
}

impl RuntimeHooks for World {
    fn deliver_down(&self, watcher: u64, reference: RemoteReference, target: RemotePid, reason: Reason) {
        self.processes.lock().unwrap().downs.push(Down { watcher, reference, target, reason });
        if let Some(hook) = self.on_down.get() {
            hook(watcher);
        }
    }

    fn watch(&self, pid: u64) -> Result<(), NoMemory> {
        if self.no_memory.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(NoMemory);
        }
        if let Some(hook) = self.on_watch.get() {
            hook(pid);
        }
        let mut processes = self.processes.lock().unwrap();
        if processes.dead.contains(&pid) {
            drop(processes);
            self.plane().exited(pid, &Reason::NOPROC);
        } else {
            processes.watched.insert(pid);
        }
        Ok(())
    }
}

/// A sender that calls a function.
pub(crate) struct Calls<F>(pub(crate) F);

impl<F: Fn(&RoutedMessage) -> Result<(), NoConnection> + Send + Sync> Sender for Calls<F> {
    fn send(&self, message: RoutedMessage) -> Result<(), NoConnection> {
        (self.0)(&message)
    }
}

/// A node of a test.
pub(crate) struct Site {
    pub(crate) plane: Arc<ControlPlane>,
    pub(crate) world: Arc<World>,
}

impl Site {
    pub(crate) fn with(options: Options, sender: Arc<dyn Sender>) -> Self {
        let world = Arc::new(World::default());
        let plane = Arc::new(ControlPlane::new(options, sender, world.clone()));
        world.plane.set(Arc::downgrade(&plane)).expect("set once");
        Self { plane, world }
    }

    /// Creates `HERE` with a sender that calls a function, which also gets the plane.
    pub(crate) fn calling(
        send: impl Fn(&ControlPlane, &RoutedMessage) -> Result<(), NoConnection> + Send + Sync + 'static,
    ) -> Self {
        let place: Arc<OnceLock<Weak<ControlPlane>>> = Arc::default();
        let own = place.clone();
        let sender = Calls(move |message: &RoutedMessage| {
            let plane = own.get().and_then(Weak::upgrade).expect("the plane is alive");
            send(&plane, message)
        });
        let site = Self::with(Options::new(HERE, 1), Arc::new(sender));
        place.set(Arc::downgrade(&site.plane)).expect("set once");
        site
    }
}

/// `HERE`, connected to `THERE`, with a record of the messages that it sends.
pub(crate) struct Recorded {
    pub(crate) site: Site,
    pub(crate) sent: Arc<RecordingSender>,
    pub(crate) there: Connection,
}

impl Recorded {
    pub(crate) fn new() -> Self {
        Self::with(Options::new(HERE, 1))
    }

    pub(crate) fn with(options: Options) -> Self {
        let sent = Arc::new(RecordingSender::new());
        let site = Site::with(options, sent.clone());
        let there = site.plane.connected(THERE, 1);
        Self { site, sent, there }
    }

    /// Returns the messages since the last call.
    pub(crate) fn messages(&self) -> Vec<MonitorControlMessage> {
        self.sent.drain().into_iter().map(|routed| routed.message).collect()
    }
}

/// Two nodes, connected by a cable.
pub(crate) struct Pair {
    pub(crate) left: Site,
    pub(crate) right: Site,
    pub(crate) cable: Arc<LoopbackPair>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let cable = LoopbackPair::new();
        let [left, right] = cable.ends();
        let left = Site::with(Options::new(HERE, 1), left);
        let right = Site::with(Options::new(THERE, 1), right);
        cable.join(&left.plane, &right.plane);
        Self { left, right, cable }
    }

    pub(crate) fn pump(&self) {
        while self.cable.pump(&self.left.plane, &self.right.plane, usize::MAX) > 0 {}
    }

    pub(crate) fn cut(&self) {
        assert!(self.cable.cut(&self.left.plane, &self.right.plane));
    }
}

/// Returns the name of a process of `THERE`; the next functions name others.
pub(crate) fn there(number: u64) -> RemotePid {
    RemotePid::new(THERE, number, 0, 1)
}

pub(crate) fn elsewhere(number: u64) -> RemotePid {
    RemotePid::new(ELSEWHERE, number, 0, 1)
}

pub(crate) fn here(number: u64) -> RemotePid {
    RemotePid::new(HERE, number, 0, 1)
}

pub(crate) fn reference(number: u64) -> RemoteReference {
    RemoteReference::from_raw(number)
}

pub(crate) fn monitor_p(number: u64, watcher: RemotePid, target: RemotePid) -> MonitorControlMessage {
    MonitorControlMessage::MonitorP { reference: reference(number), watcher, target }
}

pub(crate) fn demonitor_p(number: u64, watcher: RemotePid, target: RemotePid) -> MonitorControlMessage {
    MonitorControlMessage::DemonitorP { reference: reference(number), watcher, target }
}

pub(crate) fn exit_p(
    reference: RemoteReference,
    watcher: RemotePid,
    target: RemotePid,
    reason: Reason,
) -> MonitorControlMessage {
    MonitorControlMessage::MonitorPExit { reference, watcher, target, reason }
}
