//! [`Node`]: what all parts of a node share, and the one lock that orders its signals (W1).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use atropos::facility::KernelAccess;
use atropos::{Handle, Pid, Reason};
use tracing::warn;

use crate::machine::{Action, ConnectionId, Counts, Machine, Object};
use crate::term::{Atom, ErlPid, Term};
use crate::wire::{Flags, Local, WireLimits};

use super::connection::{Connection, Ending, Outgoing, Stage};
use super::exports::Exports;
use super::identity::{ProcessId, atom};
use super::keeper::Kept;
use super::mail::{Mail, remote_object};
use super::net;
use super::proxy::Notice;
use super::reason::{reason_of, term_of};

/// The options of a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address to listen on.
    pub listen: std::net::IpAddr,
    /// The port to listen on; 0 is any free one.
    pub port: u16,
    /// The node does not announce that it is visible.
    pub hidden: bool,
    /// The node registers with epmd, and asks it for others.
    pub epmd: bool,
    /// The address and port of epmd of this machine.
    pub epmd_address: std::net::IpAddr,
    /// The port of epmd everywhere.
    pub epmd_port: u16,
    /// Where peers are, before epmd is asked: name, then address and port.
    pub peers: BTreeMap<String, (String, u16)>,
    /// Time without any byte from a peer after which it is given up.
    pub tick_time: Duration,
    /// How long a handshake may take.
    pub setup_time: Duration,
    /// The bytes queued for a peer from which on its senders are held back.
    pub busy_limit: usize,
    /// The limits on what a peer sends.
    pub limits: WireLimits,
    /// How many monitors and links a peer may have here.
    pub peer_quota: usize,
    /// How many proxies the processes of one peer may have here.
    pub peer_proxies: usize,
    /// How many messages may wait in the mailbox of a proxy; 0 means no limit.
    pub proxy_mailbox: u32,
    /// The scopes of `pg` besides `pg`.
    pub pg_scopes: Vec<String>,
    /// The node speaks TLS, and with no one who does not.
    pub tls: Option<net::TlsFiles>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: std::net::Ipv4Addr::UNSPECIFIED.into(),
            port: 0,
            hidden: false,
            epmd: true,
            epmd_address: std::net::Ipv4Addr::LOCALHOST.into(),
            epmd_port: crate::wire::epmd::PORT,
            peers: BTreeMap::new(),
            tick_time: Duration::from_secs(60),
            setup_time: Duration::from_secs(7),
            busy_limit: 1 << 20,
            limits: WireLimits::default(),
            peer_quota: 1_000_000,
            peer_proxies: 100_000,
            proxy_mailbox: 65_536,
            pg_scopes: Vec::new(),
            tls: None,
        }
    }
}

/// A node. Cheap to clone; all clones are the same node.
#[derive(Clone)]
pub struct Node(pub(super) Arc<Inner>);

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.0.name).field("creation", &self.0.creation).finish_non_exhaustive()
    }
}

/// What all parts of a node share.
pub(super) struct Inner {
    pub(super) name: Atom,
    pub(super) creation: u32,
    pub(super) port: u16,
    pub(super) options: Options,
    pub(super) handle: Handle,
    pub(super) tokio: tokio::runtime::Handle,
    pub(super) local: Arc<Local>,
    pub(super) tls: Option<net::Tls>,
    pub(super) exports: Exports,
    machine: Mutex<Machine<Arc<Connection>>>,
    /// The current connection to each node. Locked before the machine, never after it.
    connections: RwLock<HashMap<Atom, Arc<Connection>>>,
    next_connection: AtomicU64,
    /// The process of each alias.
    aliases: Mutex<HashMap<u64, Pid>>,
    /// What the node knows of each of its processes, while it lives.
    processes: Mutex<HashMap<u64, Known>>,
    /// Names that processes of the node have registered; the kernel says which are in force.
    names: Mutex<BTreeSet<String>>,
    pub(super) kept: Kept,
    /// The proxies of other nodes' processes.
    pub(super) proxies: super::proxy::Proxies,
    /// The names, locks and known nodes of `global`.
    pub(super) global: super::global::Tables,
    /// Handshakes that this node has accepted.
    pub(super) accepting: net::UnderWay,
    /// The listener, and the registration with epmd.
    pub(super) tasks: Mutex<Vec<tokio::task::AbortHandle>>,
    pub(super) stopping: AtomicBool,
    pub(super) stopped: tokio::sync::Notify,
}

/// What the node knows of a process.
#[derive(Debug)]
struct Known {
    leader: ProcessId,
    /// The senders of exit signals that the kernel has carried, and that the process has not
    /// received: it receives them only if it has begun to trap exits after they were sent.
    senders: VecDeque<ErlPid>,
}

/// The machine of a node, which keeps the connections by their numbers.
pub(super) type NodeMachine = Machine<Arc<Connection>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside a lock would be one of this module: the data is whole between two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(super) fn new(
        options: Options,
        local: Local,
        port: u16,
        tls: Option<net::Tls>,
        handle: Handle,
        tokio: tokio::runtime::Handle,
        exports: Exports,
    ) -> Self {
        Self {
            name: atom(&local.name),
            creation: local.creation,
            port,
            machine: Mutex::new(Machine::new(options.peer_quota)),
            options,
            handle,
            tokio,
            local: Arc::new(local),
            tls,
            exports,
            connections: RwLock::default(),
            next_connection: AtomicU64::new(1),
            aliases: Mutex::default(),
            processes: Mutex::default(),
            names: Mutex::default(),
            kept: Kept::default(),
            proxies: super::proxy::Proxies::default(),
            global: super::global::Tables::default(),
            accepting: net::UnderWay::default(),
            tasks: Mutex::default(),
            stopping: AtomicBool::new(false),
            stopped: tokio::sync::Notify::new(),
        }
    }
}

impl Node {
    /// Returns the node's name.
    pub fn name(&self) -> &Atom {
        &self.0.name
    }

    /// Returns the node's incarnation.
    pub fn creation(&self) -> u32 {
        self.0.creation
    }

    /// Returns the port that the node listens on.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Returns the runtime of the node's processes.
    pub fn runtime(&self) -> &Handle {
        &self.0.handle
    }

    /// Returns the flags that the node announces.
    pub(super) fn flags(hidden: bool) -> Flags {
        if hidden { Flags::HIDDEN_NODE } else { Flags::HIDDEN_NODE.union(Flags::PUBLISHED) }
    }

    // The machine.

    /// Runs an event of the machine, and performs its actions under the same lock (W1).
    pub(super) fn event<R>(&self, event: impl FnOnce(&mut NodeMachine) -> R) -> R {
        let mut machine = lock(&self.0.machine);
        let result = event(&mut machine);
        loop {
            let actions = machine.take_actions();
            if actions.is_empty() {
                return result;
            }
            let mut last = None;
            for action in actions {
                self.perform(&mut machine, action, &mut last);
            }
        }
    }

    /// Performs one action. `last` is the connection of the action before, which is usually that of
    /// the next one.
    fn perform(&self, machine: &mut NodeMachine, action: Action, last: &mut Option<Arc<Connection>>) {
        match action {
            Action::Send { connection, signal } => {
                if last.as_ref().is_none_or(|last| last.id != connection) {
                    *last = machine.handle(connection);
                }
                if let Some(connection) = last {
                    connection.push(Outgoing::Signal(signal));
                }
            }
            Action::Watch(raw) => self.watch(machine, raw),
            // A process that has ended gives `noproc` to a relation that comes too late. If its
            // proxy has another relation with it, that one has the reason.
            Action::Down { watcher, object: Object::Pid(object), reason, .. }
                if reason.view().is_atom("noproc") && machine.is_proxied(watcher, &object) => {}
            Action::Exit { to, reason, .. }
                if reason.view().is_atom("noproc") && machine.has_monitors(to) && self.is_proxy(to) => {}
            // A proxy monitors what it stands for, and nothing else.
            Action::Down { watcher, reason, .. } if self.end_proxy(watcher, &reason) => {}
            Action::Down { watcher, reference, object, reason } => {
                self.deliver(watcher, Mail::Down(reference, remote_object(object), reason));
            }
            Action::Exit { to, reason, .. } if self.end_proxy(to, &reason) => {}
            Action::Exit { to, from, reason } => self.deliver_exit(to, from, &reason),
            Action::Unlinked { proxy, pid } => {
                if let Some(pid) = Pid::from_raw(pid) {
                    self.notify_proxy(proxy, Notice::Unlinked(pid));
                }
            }
            Action::Spawned { parent, outcome, .. } if self.spawned_for_proxy(parent, &outcome) => {}
            Action::Spawned { parent, reference, outcome } => {
                self.deliver(parent, Mail::Spawned(reference, outcome));
            }
            Action::Node { to, event } => self.deliver(to, Mail::Node(event)),
            Action::Close { connection, why } => {
                if let Some(connection) = machine.handle(connection) {
                    connection.close(Ending { text: why.to_owned(), reason: Term::atom("connection_closed") });
                }
            }
        }
    }

    fn watch(&self, machine: &mut NodeMachine, raw: u64) {
        let node = self.clone();
        let told = move |outcome: atropos::Outcome| node.process_ended(raw, &outcome);
        let watched = Pid::from_raw(raw).map(|pid| self.0.handle.on_exit(pid, told));
        if !matches!(watched, Some(Ok(_))) {
            // A pid that was never given out, or a runtime that ends.
            machine.exited(raw, &Term::atom("noproc"));
        }
    }

    /// Answers all that peers have asked of a process that has ended.
    fn process_ended(&self, raw: u64, outcome: &atropos::Outcome) {
        self.process_has_ended(raw, outcome.reason.as_ref().map_or_else(|| Term::atom("noproc"), term_of));
    }

    /// Does the same with a reason, behind what the process has sent through proxies.
    pub(super) fn process_has_ended(&self, raw: u64, reason: Term) {
        let busy = self.0.proxies.waiting_nodes();
        let later = self.event(|machine| machine.exited_except(raw, &reason, |at| busy.contains(at)));
        for at in later {
            let (node, reason, told) = (self.clone(), reason.clone(), at.clone());
            let tell = move || drop(node.event(|machine| machine.exited_except(raw, &reason, |at| *at != told)));
            // A peer that does not read holds up what concerns it, and nothing else.
            self.after_waiting(&at, tell);
        }
    }

    /// Asks for the end of the node once a process has ended. What peers have asked of it has been
    /// answered then: the queues of the connections hold the answers.
    pub(super) fn stop_after(&self, pid: Pid) {
        let (node, raw) = (self.clone(), pid.to_raw());
        let watched = self.0.handle.on_exit(pid, move |outcome| {
            // The watch of the machine may be told later, and then finds nothing.
            node.process_ended(raw, &outcome);
            node.request_stop();
        });
        if watched.is_err() {
            self.request_stop();
        }
    }

    /// Puts mail into the mailbox of a process. A process that is dead, or that takes other
    /// messages, gets none.
    pub(super) fn deliver(&self, raw: u64, mail: Mail) {
        if let Some(pid) = Pid::from_raw(raw) {
            let _ = self.0.handle.send(pid, mail);
        }
    }

    /// Delivers an exit signal of another node's process that is not a kill.
    ///
    /// A process that does not trap exits at this moment is bound to end, and gets a signal of the
    /// kernel; one that traps exits gets mail that names the sender.
    pub(super) fn deliver_exit(&self, raw: u64, from: ErlPid, reason: &Term) {
        let Some(pid) = Pid::from_raw(raw) else { return };
        let mut traps = false;
        self.0.handle.enter(&mut |host| traps = host.act_as(pid, |caller| caller.trap_exit()) == Ok(true));
        if traps {
            match self.0.handle.send(pid, Mail::Exit(from.clone(), reason.clone())) {
                Err(atropos::SendError::WrongType(_)) => {}
                _ => return,
            }
        }
        if traps || !reason.view().is_atom("normal") {
            if let Some(known) = lock(&self.0.processes).get_mut(&raw) {
                known.senders.push_back(from);
            }
            let _ = self.0.handle.exit(pid, reason_of(reason));
        }
    }

    /// Delivers `exit(Pid, Reason)` of another node's process.
    pub(super) fn deliver_exit2(&self, pid: Pid, from: ErlPid, reason: &Term) {
        if reason.view().is_atom("kill") {
            let _ = self.0.handle.exit(pid, Reason::KILL);
        } else {
            self.deliver_exit(pid.to_raw(), from, reason);
        }
    }

    /// Returns how many relations with other nodes there are.
    pub fn counts(&self) -> Counts {
        self.event(|machine| machine.counts())
    }

    // Connections.

    /// Returns the current connection to a node, pending or up.
    pub(super) fn connection(&self, node: &Atom) -> Option<Arc<Connection>> {
        self.0.connections.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    /// Returns the current connection to a node; begins to make one if there is none. `None` for
    /// this node itself, and while it ends.
    pub(super) fn connect_to(&self, node: &Atom) -> Option<Arc<Connection>> {
        if let Some(connection) = self.connection(node) {
            return Some(connection);
        }
        if node == self.name() || self.is_stopping() {
            return None;
        }
        let mut connections = self.0.connections.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connections.get(node) {
            return Some(connection.clone());
        }
        let connection = self.open(node.clone());
        connections.insert(node.clone(), connection.clone());
        self.event(|machine| machine.opened(connection.id, node, connection.clone()));
        drop(connections);
        net::dial(self, connection.clone());
        Some(connection)
    }

    fn open(&self, node: Atom) -> Arc<Connection> {
        // Relaxed: the number only needs to be unique.
        let id = ConnectionId(self.0.next_connection.fetch_add(1, Ordering::Relaxed));
        Arc::new(Connection::new(id, node, self.0.options.busy_limit))
    }

    /// Returns the connection that adopts a socket whose peer has proved the cookie: the one that
    /// waits for a socket, or a new one in place of the current one, which ends. `None` if the
    /// current one is not the one that the socket `replaces` (`net::under_way`, M2).
    pub(super) fn adopt(&self, node: &Atom, replaces: Option<ConnectionId>) -> Option<Arc<Connection>> {
        // Before the lock: a message that is being handled may want it. The connection ends in any
        // case, since only a node that stops refuses the socket that replaces it.
        if let Some(old) = self.connection(node).filter(|old| Some(old.id) == replaces) {
            old.stop_receiving();
        }
        let mut connections = self.0.connections.write().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopping() {
            return None;
        }
        let old = connections.get(node).cloned();
        if let Some(pending) = old.as_ref().filter(|old| *old.stage.borrow() == Stage::Pending) {
            return Some(pending.clone());
        }
        if old.as_ref().is_some_and(|old| Some(old.id) != replaces && *old.stage.borrow() == Stage::Up) {
            return None;
        }
        let connection = self.open(node.clone());
        connections.insert(node.clone(), connection.clone());
        // The machine ends the old connection with this event.
        self.event(|machine| machine.opened(connection.id, node, connection.clone()));
        drop(connections);
        if let Some(old) = old {
            let reason = Term::atom("connection_closed");
            old.close(Ending { text: "the peer has connected anew".to_owned(), reason });
        }
        Some(connection)
    }

    /// Ends a connection for all: what went over it is answered.
    pub(super) fn lose(&self, connection: &Connection, reason: Term) {
        let mut connections = self.0.connections.write().unwrap_or_else(PoisonError::into_inner);
        if connections.get(&connection.node).is_some_and(|current| current.id == connection.id) {
            connections.remove(&connection.node);
        }
        drop(connections);
        self.event(|machine| machine.lost(connection.id, reason));
        connection.shut();
    }

    /// Connects to a node, and returns `true` once it is connected, `false` if it cannot be.
    pub async fn connect(&self, node: &Atom) -> bool {
        if node == self.name() {
            return true;
        }
        match self.connect_to(node) {
            Some(connection) => connection.decided().await,
            None => false,
        }
    }

    /// Ends the connection to a node. Returns `false` if there is none.
    pub async fn disconnect(&self, node: &Atom) -> bool {
        self.disconnect_for(node, "disconnected from here").await
    }

    /// Disconnects as [`Node::disconnect`] does; `text` says why in the log.
    pub(super) async fn disconnect_for(&self, node: &Atom, text: &str) -> bool {
        let Some(connection) = self.connection(node).filter(|_| self.event(|machine| machine.is_up(node))) else {
            return false;
        };
        connection.close(Ending { text: text.to_owned(), reason: Term::atom("disconnect") });
        let mut stage = connection.stage.subscribe();
        let _ = stage.wait_for(|stage| *stage == Stage::Closed).await;
        true
    }

    pub(super) fn all_connections(&self) -> Vec<Arc<Connection>> {
        self.0.connections.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn is_stopping(&self) -> bool {
        // Acquire: pairs with the store of `Node::stop`.
        self.0.stopping.load(Ordering::Acquire)
    }

    // Aliases, group leaders, names.

    pub(super) fn add_alias(&self, number: u64, pid: Pid) {
        lock(&self.0.aliases).insert(number, pid);
    }

    pub(super) fn remove_alias(&self, number: u64) {
        lock(&self.0.aliases).remove(&number);
    }

    pub(super) fn alias(&self, number: u64) -> Option<Pid> {
        lock(&self.0.aliases).get(&number).copied()
    }

    pub(super) fn begin_process(&self, pid: Pid, leader: ProcessId) {
        lock(&self.0.processes).insert(pid.to_raw(), Known { leader, senders: VecDeque::new() });
    }

    pub(super) fn end_process(&self, pid: Pid) {
        lock(&self.0.processes).remove(&pid.to_raw());
    }

    /// Returns the group leader of a process of the node.
    pub fn group_leader(&self, pid: Pid) -> Option<ProcessId> {
        lock(&self.0.processes).get(&pid.to_raw()).map(|known| known.leader.clone())
    }

    /// Sets the group leader of a process of the node. A process that is not there is left alone.
    pub fn set_group_leader(&self, pid: Pid, leader: ProcessId) {
        if let Some(known) = lock(&self.0.processes).get_mut(&pid.to_raw()) {
            known.leader = leader;
        }
    }

    /// Returns the sender of an exit signal that the kernel has carried for another node's process.
    pub(super) fn exit_sender(&self, pid: Pid) -> Option<ErlPid> {
        lock(&self.0.processes).get_mut(&pid.to_raw()).and_then(|known| known.senders.pop_front())
    }

    /// Notes a name that may be registered.
    pub(super) fn note_name(&self, name: &str) {
        lock(&self.0.names).insert(name.to_owned());
    }

    /// Returns the registered names.
    pub fn registered(&self) -> Vec<String> {
        let mut names = lock(&self.0.names);
        names.retain(|name| self.0.handle.whereis(name).is_some());
        names.iter().cloned().collect()
    }

    /// Writes a line about a connection that was refused or has ended.
    pub(super) fn log(&self, peer: &str, what: &str, why: &str) {
        warn!(node = self.name().as_str(), peer, "{what}: {why}");
    }
}
