//! The intrusive head of every signal that travels through a mailbox, [`Node`].
//!
//! A node is the first field of a larger `repr(C)` struct: a message, an exit signal, or a record
//! (link, monitor, timer) that becomes a signal when its event happens. So a signal that reports a
//! death was allocated when the link or monitor was made.
//!
//! # Who owns the fields when
//!
//! - **Rule N1.** `next`, `prev` and `kind` belong to the holder of the node. The first holder is
//!   its creator. After a successful push it is the mailbox's owner (the push's Release and the
//!   take's Acquire pass it on). A push that fails returns the node to its holder.
//! - **Rule N2.** A node is in at most one queue. A record that may travel twice at once has two
//!   nodes.
//!
//! `prev` is used only in the owner's private queue. It makes removing a signal from the middle
//! (selective receive, demonitor with flush) O(1).

use core::ptr::{self, NonNull};

use crate::memory::pool::Pool;
use crate::sync::{Ordering, PlainAtomicUsize, UnsafeCell};

/// The kind of signal that a node heads, which decides its layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalKind {
    /// `message::Message<M>`: a message.
    Message,
    /// `message::AliasMessage<M>`: a message that came through an alias.
    AliasMessage,
    /// `request_message::Request<M>`: a message whose sender waits for an answer.
    Request,
    /// `timer_record::MessageTimer<M>`: a message whose time has come.
    Timer,
    /// `timer_record::TimerHead` without a message: the end of a sleep or of a receive's timeout.
    Alarm,
    /// `exit_signal::ExitSignal`: a process or the host called `exit`.
    Exit,
    /// `link::Link`, its exit node: the peer died.
    LinkExit,
    /// `link::Link`, its request node: a link that keeps its place among the signals.
    LinkRequest,
    /// `monitor::Monitor` on its way to the target.
    MonitorRequest,
    /// `monitor::Monitor` on its way back: the DOWN.
    Down,
    /// A part of the process: an async waker was called.
    Wake,
    /// `query::QueryNode`: a query, which the process answers when it handles the signal.
    Ask,
    /// `owner_op::OwnerOp`: an operation that the owner must perform.
    Proxy,
}

/// A function that frees the struct that a node heads, to the pool if there is one; its kind
/// decides how.
pub type Release = unsafe fn(NonNull<Node>, Option<&Pool>);

/// The intrusive head of a signal (see the module).
#[derive(Debug)]
#[repr(C)]
pub struct Node {
    /// Belongs to the holder of the node (N1). `held` and the queues read and write it.
    pub(super) fields: UnsafeCell<NodeFields>,
    budget: BudgetPermit,
}

/// The fields of a node that belong to its holder.
#[derive(Debug)]
#[repr(C)]
pub(super) struct NodeFields {
    pub(super) next: *mut Node,
    pub(super) prev: *mut Node,
    pub(super) release: Release,
    /// Its number in a private queue (`mailbox::queue`, C1); 0 for none yet. Uses what would be
    /// padding.
    pub(super) stamp: u32,
    pub(super) kind: SignalKind,
}

/// A permit of a [`Budget`], held by a node or by another record; null if the record is not
/// counted. Dropping it returns the permit.
#[derive(Debug)]
pub struct BudgetPermit(*const Budget);

impl BudgetPermit {
    /// No permit: the record is not counted.
    pub const NOT: Self = Self(ptr::null());
}

/// The limit on the number of live nodes: messages, exit signals, links, monitors, timers and
/// queries. Without a limit nothing is counted, and nothing shared is touched.
#[derive(Debug)]
pub struct Budget {
    used: PlainAtomicUsize,
    limit: usize,
}

impl Budget {
    /// Creates a budget of `limit` nodes; `usize::MAX` means no limit.
    pub const fn new(limit: usize) -> Self {
        Self { used: PlainAtomicUsize::new(0), limit }
    }

    /// Creates a node as [`Node::new`] does, counted until it is dropped; `None` if the limit is
    /// reached. Wait-free. The budget outlives the node: it belongs to the kernel, which releases
    /// every signal before it ends.
    #[inline(always)]
    pub fn node(&self, kind: SignalKind, release: Release) -> Option<Node> {
        Some(Node { budget: self.count()?, ..Node::new(kind, release) })
    }

    /// Acquires a permit of the budget, which is released when the returned value is dropped. See
    /// [`Budget::node`].
    pub fn count(&self) -> Option<BudgetPermit> {
        if self.limit == usize::MAX {
            return Some(BudgetPermit::NOT);
        }
        // Relaxed: a count that bounds memory and orders nothing.
        if self.used.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.used.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(BudgetPermit(self))
    }

    /// Returns the number of counted nodes, if there is a limit.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        if let Some(budget) = NonNull::new(self.0.cast_mut()) {
            // SAFETY: the kernel owns the budget and outlives its nodes (`Budget::node`).
            unsafe { budget.as_ref() }.used.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Node {
    /// Creates a node that is in no queue. `release` drops and frees the struct that the node heads
    /// (or releases the reference that travels with it) if no process receives it.
    #[inline(always)]
    pub fn new(kind: SignalKind, release: Release) -> Self {
        let fields = NodeFields { next: ptr::null_mut(), prev: ptr::null_mut(), release, stamp: 0, kind };
        Self { fields: UnsafeCell::new(fields), budget: BudgetPermit::NOT }
    }
}
