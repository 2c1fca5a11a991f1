//! [`ControlPlane`]: the control plane for one node's remote monitors.
//!
//! Events drive it: a process sets up a monitor (`outbound`), a message arrives (`inbound`), a
//! process ends ([`ControlPlane::exited`]), a connection begins or ends. It has no thread and no
//! clock and does no I/O. Messages leave through the [`Sender`], and DOWNs through the
//! [`RuntimeHooks`]. Many threads may call its methods at once, also from inside a call of the
//! `Sender` or the `RuntimeHooks`.
//!
//! # Invariants
//!
//! - **D1.** The thread that fires a monitor's state word answers the monitor, and the thread that
//!   cancels the word withdraws it. Exactly one thread succeeds (`state`). So each monitor that
//!   `monitor_remote` has returned gets one DOWN, unless it was withdrawn. A monitor that it has
//!   refused gets none.
//! - **D2.** A record is inserted into its local process's map before its session's map, and its
//!   request is sent after both. A closed map accepts no record. So the end of the process and the
//!   end of the connection each find the record, or the thread that creates the record finds the
//!   map closed.
//! - **D3.** The plane sends messages about a monitor only on the connection of the monitor's
//!   session. A peer's message acts only on monitors in the session of its own connection, and a
//!   message from a connection that has ended is dropped (`receive`). So if one node has discarded
//!   a monitor with its connection, the other node does not keep it.
//! - **D4.** No external code runs while a lock is held, and the plane is consistent between any
//!   two such calls. So a panic in external code leaves a working plane. The rest of the
//!   interrupted caller's work goes on the backlog (`batch`).
//! - **D5.** A resource that the node keeps for a peer is charged to the peer's account from before
//!   its creation until it is freed, whatever holds it: a record, a watch and the orders for it to
//!   the runtime, the backlog (`quota`). So the quota also bounds monitors that a peer sets up
//!   and withdraws faster than the runtime runs, and a new connection does not start with an empty
//!   account.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use atropos_kernel::Reason;

use crate::batch::{Apply, Backlog, Batch};
use crate::hooks::RuntimeHooks;
use crate::local::Locals;
use crate::message::Connection;
use crate::model::{PlaneRules, Shipped};
use crate::pid::{Node, RemotePid};
use crate::quota::Account;
use crate::record::{Inbound, Outbound};
use crate::reference::{References, RemoteReference};
use crate::sender::Sender;
use crate::session::Session;
use crate::sync::{AtomicU64, Ordering, PlainAtomicUsize};
use crate::table::Table;

/// The options of a [`ControlPlane`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub(crate) node: Node,
    pub(crate) incarnation: u32,
    pub(crate) inbound_limit: usize,
    pub(crate) first: RemoteReference,
}

impl Options {
    /// Creates the options for this node, with this creation of it.
    pub const fn new(node: Node, incarnation: u32) -> Self {
        Self { node, incarnation, inbound_limit: 1 << 18, first: RemoteReference::FIRST }
    }

    /// Sets the peer quota: how many resources the node keeps for one peer at a time. The default
    /// is 2^18.
    ///
    /// The quota covers the peer's monitors of local processes, and for withdrawn monitors what the
    /// runtime has not collected yet. So it also bounds monitors that a peer sets up and withdraws
    /// faster than the runtime runs, over any number of connections. A monitor beyond the quota is
    /// answered with `noconnection`.
    #[must_use]
    pub const fn inbound_limit(mut self, limit: usize) -> Self {
        self.inbound_limit = limit;
        self
    }

    /// Sets the first reference, for a plane that replaces another under the same creation of the
    /// node.
    #[must_use]
    pub const fn first_reference(mut self, first: RemoteReference) -> Self {
        self.first = first;
        self
    }
}

/// The control plane for one node's remote monitors: a state machine that events drive.
///
/// The type parameter selects the rules, for models only.
pub struct ControlPlane<R: PlaneRules = Shipped> {
    pub(crate) node: Node,
    pub(crate) incarnation: u32,
    pub(crate) inbound_limit: usize,
    pub(crate) sender: Arc<dyn Sender>,
    pub(crate) hooks: Arc<dyn RuntimeHooks>,
    pub(crate) references: References,
    /// The current session of each peer, by node number.
    pub(crate) sessions: Table<Session>,
    pub(crate) locals: Locals,
    /// The account of each peer, by node number.
    accounts: Table<Account>,
    generations: AtomicU64,
    /// The next registration's order.
    pub(crate) orders: AtomicU64,
    backlog: Backlog,
    visits: PlainAtomicUsize,
    rules: PhantomData<R>,
}

impl<R: PlaneRules> fmt::Debug for ControlPlane<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane")
            .field("node", &self.node)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Creates a plane without connections.
    pub fn new(options: Options, sender: Arc<dyn Sender>, hooks: Arc<dyn RuntimeHooks>) -> Self {
        Self::with_rules(options, sender, hooks)
    }
}

impl<R: PlaneRules> ControlPlane<R> {
    /// Creates a plane that keeps other rules (for models).
    #[doc(hidden)]
    pub fn with_rules(options: Options, sender: Arc<dyn Sender>, hooks: Arc<dyn RuntimeHooks>) -> Self {
        Self {
            node: options.node,
            incarnation: options.incarnation,
            inbound_limit: options.inbound_limit,
            sender,
            hooks,
            references: References::starting_at(options.first),
            sessions: Table::new(),
            locals: Locals::new(),
            accounts: Table::new(),
            generations: AtomicU64::new(1),
            orders: AtomicU64::new(0),
            backlog: Backlog::new(),
            visits: PlainAtomicUsize::new(0),
            rules: PhantomData,
        }
    }

    /// Returns the node that this plane belongs to.
    pub fn node(&self) -> Node {
        self.node
    }

    /// Returns the node's creation.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Returns the name of a local process for other nodes.
    pub fn name_of(&self, pid: u64) -> RemotePid {
        RemotePid::new(self.node, pid, 0, self.incarnation)
    }

    /// Reports a new connection to `node`, with this creation of it. An older connection to the
    /// node ends with this call.
    pub fn connected(&self, node: Node, incarnation: u32) -> Connection {
        // Relaxed: the number only needs to be unique.
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

    /// Reports the end of a connection: each local monitor over it gets a DOWN with `noconnection`,
    /// and the peer's monitors over it are discarded.
    ///
    /// Returns `false` if the connection had ended already. The cost depends on this connection's
    /// monitors only.
    pub fn disconnected(&self, connection: Connection) -> bool {
        let session = self.sessions.take_if(connection.node.number(), |session| session.connection == connection);
        match &session {
            Some(session) => self.end(session),
            None => self.resume(),
        }
        session.is_some()
    }

    /// Returns the current connection to a node.
    pub fn connection(&self, node: Node) -> Option<Connection> {
        self.sessions.get(node.number()).map(|session| session.connection)
    }

    fn end(&self, session: &Session) {
        self.backlog.run_after(self, Batch::lost(session.close()));
    }

    /// Reports the end of a local process: its remote watchers get exit notices, and its own remote
    /// monitors are withdrawn.
    pub fn exited(&self, pid: u64, reason: &Reason) {
        self.backlog.run_after(self, Batch::ended(self.locals.close(pid), reason.clone()));
    }

    /// Returns the monitors that a local process has of remote processes.
    pub fn monitors_of(&self, pid: u64) -> Vec<(RemoteReference, RemotePid)> {
        let monitors = self.locals.get(pid).map(|local| local.outbound()).unwrap_or_default();
        monitors.into_iter().map(|key| (key.reference, key.target)).collect()
    }

    /// Returns the remote processes that monitor a local process, in the order of their requests.
    pub fn monitored_by(&self, pid: u64) -> Vec<(RemoteReference, RemotePid)> {
        let watchers = self.locals.get(pid).map(|local| local.inbound()).unwrap_or_default();
        watchers.into_iter().map(|key| (key.reference, key.watcher)).collect()
    }

    /// Returns the number of active monitors with a node: of its processes by local ones, and of
    /// local processes by its own.
    pub fn monitors_with(&self, node: Node) -> (usize, usize) {
        self.sessions.get(node.number()).map_or((0, 0), |session| session.len())
    }

    /// Returns the number of charges on a peer's account, bounded by [`Options::inbound_limit`].
    pub fn quota_used(&self, node: Node) -> usize {
        self.accounts.get(node.number()).map_or(0, |account| account.charges())
    }

    /// Returns the number of local processes that the runtime watches for the plane: live processes
    /// that have had a remote monitor, or have been the target of one.
    pub fn watched(&self) -> usize {
        self.locals.len()
    }

    /// Returns the number of records visited so far because a node was lost or a process ended.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }

    /// Processes the work that panics in external code have left.
    ///
    /// Every other call does so first. Call it when no other call may come.
    pub fn resume(&self) {
        self.backlog.resume(self);
    }
}

impl<R: PlaneRules> Apply for ControlPlane<R> {
    fn count(&self) {
        // Relaxed: statistics.
        self.visits.fetch_add(1, Ordering::Relaxed);
    }

    fn forget(&self, record: &Arc<Inbound>) {
        self.withdraw_inbound(record);
    }

    fn lost(&self, record: &Arc<Outbound>) {
        self.answer_outbound(record, Reason::NOCONNECTION);
    }

    fn answer(&self, record: &Arc<Inbound>, reason: Reason) {
        self.answer_inbound(record, reason);
    }

    fn withdraw(&self, record: &Arc<Outbound>) {
        ControlPlane::withdraw(self, record);
    }
}
