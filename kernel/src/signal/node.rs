//! [`Node`], the intrusive head of everything that travels through a mailbox.
//!
//! A node is the first field of a `repr(C)` whole: a message, an exit signal, or a
//! record (link, monitor, timer) that becomes a signal when its time comes. So a
//! signal that reports a death was allocated when the link or monitor was made.
//!
//! # Who owns the fields when
//!
//! Rule N1: `next`, `prev` and `kind` belong to whoever holds the node: first its
//! maker; after a push that succeeded, the mailbox's owner (handed over by the
//! push's Release and the take's Acquire). A push that fails gives it back.
//! Rule N2: a node is in at most one queue. A record that may have to travel twice
//! at once has two nodes.
//!
//! `prev` is used in the owner's private queue only; it makes removing a signal from
//! the middle (selective receive, demonitor with flush) O(1).

use core::ptr::{self, NonNull};

use crate::memory::pool::Pool;
use crate::sync::{Ordering, PlainAtomicUsize, UnsafeCell};

/// What a node is the head of, which decides its layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalKind {
    /// `message::Message<M>`: a message.
    Message,
    /// `message::AliasMessage<M>`: a message that came through an alias.
    AliasMessage,
    /// `message::Request<M>`: a message whose sender waits for an answer.
    Request,
    /// `timer::MessageTimer<M>`: a message whose time has come.
    Timer,
    /// `timer::WakeTimer`: the end of a sleep or of a receive's patience.
    Alarm,
    /// `exit_signal::ExitSignal`: somebody called `exit`.
    Exit,
    /// `link::Link`, its exit node: the other side died.
    LinkExit,
    /// `link::Link`, its request node: a link that keeps its place among the signals.
    LinkRequest,
    /// `monitor::Monitor` on its way to the target.
    MonitorRequest,
    /// `monitor::Monitor` on its way back: the DOWN.
    Down,
    /// Part of the process: an async waker was called.
    Wake,
    /// `ask::QueryNode`: a question that the process answers when it meets it.
    Ask,
    /// `proxy::OwnerOp`: something that the process is to do.
    Proxy,
}

/// Frees what a node heads, to the pool if there is one here; how depends on what it is.
pub type Release = unsafe fn(NonNull<Node>, Option<&Pool>);

/// The intrusive head; see the module.
#[derive(Debug)]
#[repr(C)]
pub struct Node {
    pub(super) next: UnsafeCell<*mut Node>,
    pub(super) prev: UnsafeCell<*mut Node>,
    what: UnsafeCell<NodeTag>,
    budget: BudgetPermit,
}

/// Who counts a node, or whatever else it lies in; null when nobody does. Gives its place back when it goes.
#[derive(Debug)]
pub struct BudgetPermit(*const Budget);

impl BudgetPermit {
    /// Counted by nobody.
    pub const NOT: Self = Self(ptr::null());
}

/// How many nodes there may be at a time: messages, exit signals, links, monitors, timers and
/// questions. Without a limit nothing is counted, and nothing shared is touched.
#[derive(Debug)]
pub struct Budget {
    used: PlainAtomicUsize,
    limit: usize,
}

impl Budget {
    /// A budget of so many nodes; `usize::MAX` for no limit.
    pub const fn new(limit: usize) -> Self {
        Self { used: PlainAtomicUsize::new(0), limit }
    }

    /// A node like [`Node::new`]'s, counted until it is dropped; `None` when the limit is reached.
    /// Wait-free. The budget outlives it: it is the kernel's, which releases every signal before it ends.
    pub fn node(&self, kind: SignalKind, release: Release) -> Option<Node> {
        Some(Node { budget: self.count()?, ..Node::new(kind, release) })
    }

    /// A place in the budget, for as long as what is returned is there. As for [`Budget::node`].
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

    /// Nodes there are, if there is a limit.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        if let Some(budget) = NonNull::new(self.0.cast_mut()) {
            // SAFETY: the kernel's, which outlives its nodes (`Budget::node`).
            unsafe { budget.as_ref() }.used.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct NodeTag {
    kind: SignalKind,
    /// Its number in a private queue (`queue`, C1), 0 for none yet. In what would be padding.
    stamp: u32,
    release: Release,
}

impl Node {
    /// A node in no queue. `release` drops and frees the whole that it heads (or gives
    /// up the share that travels with it) when nobody receives it.
    pub fn new(kind: SignalKind, release: Release) -> Self {
        Self {
            next: UnsafeCell::new(ptr::null_mut()),
            prev: UnsafeCell::new(ptr::null_mut()),
            what: UnsafeCell::new(NodeTag { kind, stamp: 0, release }),
            budget: BudgetPermit::NOT,
        }
    }

    /// What the node heads.
    ///
    /// # Safety
    /// The caller holds the node (rule N1).
    pub unsafe fn kind(this: NonNull<Self>) -> SignalKind {
        // SAFETY: held, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract nobody writes.
        this.what.with(|what| unsafe { (*what).kind })
    }

    /// Its number in a private queue, 0 for none yet.
    ///
    /// # Safety
    /// The caller holds the node (rule N1).
    pub unsafe fn stamp(this: NonNull<Self>) -> u32 {
        // SAFETY: held, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract nobody writes.
        this.what.with(|what| unsafe { (*what).stamp })
    }

    /// Numbers the node.
    ///
    /// # Safety
    /// The caller holds the node (rule N1).
    pub unsafe fn set_stamp(this: NonNull<Self>, stamp: u32) {
        // SAFETY: held, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract nobody else looks.
        this.what.with_mut(|what| unsafe { (*what).stamp = stamp });
    }

    /// The node before this one in a private queue; null for the first.
    ///
    /// # Safety
    /// The caller holds the node (rule N1), and it is in a private queue.
    pub unsafe fn prev(this: NonNull<Self>) -> *mut Node {
        // SAFETY: held, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract nobody writes.
        this.prev.with(|prev| unsafe { *prev })
    }

    /// Makes the node another signal of the same record.
    ///
    /// # Safety
    /// The caller holds the node (rule N1).
    pub unsafe fn become_kind(this: NonNull<Self>, kind: SignalKind) {
        // SAFETY: held, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract nobody else looks.
        this.what.with_mut(|what| unsafe { (*what).kind = kind });
    }

    /// The node below (in a stack) or behind (in a queue).
    ///
    /// # Safety
    /// The caller holds the node (rule N1).
    pub unsafe fn next(this: NonNull<Self>) -> *mut Node {
        // SAFETY: held, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract nobody writes.
        this.next.with(|next| unsafe { *next })
    }

    /// # Safety
    /// The caller holds the node (rule N1).
    pub unsafe fn set_next(this: NonNull<Self>, to: *mut Node) {
        // SAFETY: held, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract nobody else looks.
        this.next.with_mut(|next| unsafe { *next = to });
    }

    /// Puts the node between two of its queue, or null.
    ///
    /// # Safety
    /// The caller holds the node (rule N1).
    pub unsafe fn set_between(this: NonNull<Self>, prev: *mut Node, next: *mut Node) {
        // SAFETY: by contract.
        unsafe { Self::set_next(this, next) };
        // SAFETY: held, so live.
        let this = unsafe { this.as_ref() };
        // SAFETY: by contract nobody else looks.
        this.prev.with_mut(|place| unsafe { *place = prev });
    }

    /// Gives up a signal that nobody receives.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1) and does not use it again.
    pub unsafe fn release(node: NonNull<Node>, pool: Option<&Pool>) {
        // SAFETY: by contract live and held.
        let release = unsafe { node.as_ref() }.what.with(|what| {
            // SAFETY: held, so nobody writes.
            unsafe { (*what).release }
        });
        // SAFETY: `release` was given for the whole that this node heads.
        unsafe { release(node, pool) }
    }
}
