//! [`ControlPlane`]: the control plane of remote monitors of one node.
//!
//! It is stepped by what happens: a process asks (`outbound`), a message comes (`inbound`), a process ends
//! ([`ControlPlane::exited`]), a connection begins or ends. It has no thread and no clock, and does no I/O: messages go out by the
//! [`Sender`], answers by the [`Watchers`]. All its methods may be called by many threads at once, and from inside a
//! call of either.
//!
//! # What holds it up
//!
//! - **D1.** A monitor is answered by whoever fires its word, and withdrawn by whoever cancels it; one wins (`state`). So
//!   each monitor that `monitor_remote` has returned gets one answer, unless it was withdrawn; one that it has refused gets none.
//! - **D2.** A record is in its local process's map before it is in its session's, and its request is sent after both. A map
//!   that has been closed takes none. So the end of the process and the end of the connection each find it, or its
//!   maker finds them.
//! - **D3.** Nothing is told to the peer of a monitor that is not in the session of the message's connection; what comes by a
//!   connection that has ended is dropped (`receive`). So what one side has forgotten with a connection the other
//!   does not remember.
//! - **D4.** Nothing foreign is called while a lock is held, and each state between two calls is a right one. So a panic in
//!   foreign code leaves a plane that works; what its caller had still to do goes on the backlog (`work`).
//! - **D5.** What a peer has the node keep is on the peer's account from before it is made until it is freed, whoever holds it
//!   meanwhile: a record, a watch and the runtime's orders for it, the backlog (`account`). So its quota bounds what it
//!   makes and withdraws faster than the runtime runs, and a new connection does not begin with an empty account.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use atropos_kernel::Reason;

use crate::account::Account;
use crate::local::Locals;
use crate::message::Connection;
use crate::pid::{Node, RemotePid};
use crate::reference::{References, RemoteReference};
use crate::rules::{Rules, Shipped};
use crate::sender::Sender;
use crate::session::Session;
use crate::sync::{AtomicU64, Mutex, Ordering, PlainAtomicUsize};
use crate::table::Table;
use crate::watchers::Watchers;
use crate::work::Work;

/// What a plane is made with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub(crate) node: Node,
    pub(crate) incarnation: u32,
    pub(crate) inbound_limit: usize,
    pub(crate) first: RemoteReference,
}

impl Options {
    /// For this node, in this life of it.
    pub const fn new(node: Node, incarnation: u32) -> Self {
        Self { node, incarnation, inbound_limit: 1 << 18, first: RemoteReference::FIRST }
    }

    /// How much the node keeps for a peer at one time; unless said, 2^18. That is its monitors of processes here, and of those
    /// that it has withdrawn, what the runtime has not collected yet: so it bounds also what is made and withdrawn
    /// faster than the runtime runs, over whatever connections. One monitor more is answered with `noconnection`.
    #[must_use]
    pub const fn inbound_limit(mut self, limit: usize) -> Self {
        self.inbound_limit = limit;
        self
    }

    /// Where the references begin, for a plane that follows another in the same life of the node.
    #[must_use]
    pub const fn first_reference(mut self, first: RemoteReference) -> Self {
        self.first = first;
        self
    }
}

/// See the module.
pub struct ControlPlane<R: Rules = Shipped> {
    pub(crate) node: Node,
    pub(crate) incarnation: u32,
    pub(crate) inbound_limit: usize,
    pub(crate) sender: Arc<dyn Sender>,
    pub(crate) watchers: Arc<dyn Watchers>,
    pub(crate) references: References,
    /// By node.
    pub(crate) sessions: Table<Session>,
    pub(crate) locals: Locals,
    /// By node.
    accounts: Table<Account>,
    generations: AtomicU64,
    /// The order of registrations.
    pub(crate) orders: AtomicU64,
    pub(crate) backlog: Mutex<Vec<Work>>,
    /// How much is on the backlog.
    pub(crate) left_over: PlainAtomicUsize,
    visits: PlainAtomicUsize,
    rules: PhantomData<R>,
}

impl<R: Rules> fmt::Debug for ControlPlane<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plane")
            .field("node", &self.node)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// A plane without connections.
    pub fn new(options: Options, sender: Arc<dyn Sender>, watchers: Arc<dyn Watchers>) -> Self {
        Self::with_rules(options, sender, watchers)
    }
}

impl<R: Rules> ControlPlane<R> {
    /// For models: a plane that keeps other rules.
    #[doc(hidden)]
    pub fn with_rules(options: Options, sender: Arc<dyn Sender>, watchers: Arc<dyn Watchers>) -> Self {
        Self {
            node: options.node,
            incarnation: options.incarnation,
            inbound_limit: options.inbound_limit,
            sender,
            watchers,
            references: References::starting_at(options.first),
            sessions: Table::new(),
            locals: Locals::new(),
            accounts: Table::new(),
            generations: AtomicU64::new(1),
            orders: AtomicU64::new(0),
            backlog: Mutex::default(),
            left_over: PlainAtomicUsize::new(0),
            visits: PlainAtomicUsize::new(0),
            rules: PhantomData,
        }
    }

    /// Whose plane it is.
    pub fn node(&self) -> Node {
        self.node
    }

    /// In which life of the node.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// How others call a local process.
    pub fn name_of(&self, pid: u64) -> RemotePid {
        RemotePid::new(self.node, pid, 0, self.incarnation)
    }

    /// There is a connection to `node`, in this life of it. An older connection to it has ended with that.
    pub fn connected(&self, node: Node, incarnation: u32) -> Connection {
        // Relaxed: the number only has to be another one.
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        let connection = Connection { node, generation };
        self.accounts.drop_unused();
        let account = self.accounts.get_or_add(node.number(), || Account::new(self.inbound_limit));
        let session = Arc::new(Session::new(connection, incarnation, account));
        let old = self.sessions.replace(node.number(), session);
        match old {
            Some(old) => self.end(&old),
            None => self.resume(),
        }
        connection
    }

    /// The connection is gone: each monitor over it gets its `noconnection`, and what the peer had asked for is forgotten.
    /// False when it had ended before. Takes time for that connection's monitors, not for others'.
    pub fn disconnected(&self, connection: Connection) -> bool {
        let session = self.sessions.take_if(connection.node.number(), |session| session.connection == connection);
        match &session {
            Some(session) => self.end(session),
            None => self.resume(),
        }
        session.is_some()
    }

    /// The connection that there is to a node.
    pub fn connection(&self, node: Node) -> Option<Connection> {
        self.sessions.get(node.number()).map(|session| session.connection)
    }

    fn end(&self, session: &Session) {
        self.work_after(Work::lost(session.close()));
    }

    /// A local process has ended: its watchers elsewhere are told, and its own monitors are withdrawn there.
    pub fn exited(&self, pid: u64, reason: &Reason) {
        self.work_after(Work::ended(self.locals.close(pid), reason.clone()));
    }

    /// The monitors that a local process has of remote ones.
    pub fn monitors_of(&self, pid: u64) -> Vec<(RemoteReference, RemotePid)> {
        let monitors = self.locals.get(pid).map(|local| local.outbound()).unwrap_or_default();
        monitors.into_iter().map(|key| (key.reference, key.target)).collect()
    }

    /// The remote processes that monitor a local one, in the order in which they asked.
    pub fn monitored_by(&self, pid: u64) -> Vec<(RemoteReference, RemotePid)> {
        let watchers = self.locals.get(pid).map(|local| local.inbound()).unwrap_or_default();
        watchers.into_iter().map(|key| (key.reference, key.watcher)).collect()
    }

    /// How many monitors are in force with a node: ours of its processes, and its of ours.
    pub fn monitors_with(&self, node: Node) -> (usize, usize) {
        self.sessions.get(node.number()).map_or((0, 0), |session| session.len())
    }

    /// How much the node keeps for a peer, of what its quota allows ([`Options::inbound_limit`]).
    pub fn kept_for(&self, node: Node) -> usize {
        self.accounts.get(node.number()).map_or(0, |account| account.charges())
    }

    /// How many local processes are watched: those that have had a remote monitor, or were a target of one, and live.
    pub fn watched(&self) -> usize {
        self.locals.len()
    }

    /// How many records have been looked at since the start because a node was lost or a process ended.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }

    pub(crate) fn visited(&self) {
        // Relaxed: statistics.
        self.visits.fetch_add(1, Ordering::Relaxed);
    }
}
