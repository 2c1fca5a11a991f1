//! The mailbox: one atomic word decides whether a process runs.
//!
//! A mailbox is a stack of signal nodes with one atomic head. The head is also the process's
//! scheduling state:
//!
//! | head | meaning | effect on a sender that finds it |
//! | --- | --- | --- |
//! | `IDLE` | waiting, nothing pending | swaps its node in and must queue the process |
//! | `ACTIVE` (null) | queued or running, nothing pending | pushes its node, done |
//! | a node | queued or running, signals pending | pushes its node, done |
//! | `CLOSED` | dead or dying | gets its node back |
//!
//! ```text
//!            push (1)                      push (2)
//!     IDLE ───────────▶ node ◀──────────────────────── ACTIVE
//!      ▲ │               │  ▲ push (2)                 ▲ │
//!      │ │               └──┴──────── take (3) ────────┤ │
//!      │ └─────────────────────── claim (6) ───────────┘ │
//!      └──────────────────────── sleep (4) ──────────────┘
//!     any ── close (5) ──▶ CLOSED, for ever
//! ```
//!
//! (1) and (2) are [`Mailbox::push`], whose return value says which one it was. (3) to (5) belong
//! to the owner: [`Mailbox::take`], [`Mailbox::sleep`], [`Mailbox::close`]. (6) is
//! [`Mailbox::claim`], open to any thread: it takes ownership of an idle process without sending a
//! signal. The claimer must then queue the process or end it. Senders use it to put a message
//! straight into an idle receiver's private queue, which saves the receiver a `take`. Only plain
//! messages may go this way: placing a message in the queue is all that handling it requires. Every
//! other signal must be acted on.
//!
//! Invariants:
//! - **M1, no wake-up is lost.** The thread whose exchange moves the head away from `IDLE` must
//!   queue the process, and no other thread may. Hence a process with a pending signal is queued or
//!   running, and is queued at most once.
//! - **M2, no node is lost or duplicated.** A pushed node is in exactly one chain that `take` or
//!   `close` returned. A push after `close` returns the node to its sender.
//! - **M3, order.** The nodes that one sender pushes come out in the order of the pushes. The node
//!   that wakes the process is ahead of everything that its sender pushes afterwards. Everything
//!   that the sender had pushed before was taken already, because the mailbox was empty.
//! - **M4, the fast path.** [`Mailbox::is_settled`] returns `true` only when every signal that the
//!   caller pushed before has been fetched *and acted on*. The head alone cannot tell this: the
//!   owner takes a batch before it handles the EXITs in it. So the owner marks the time in between
//!   (`fetching`).
//!
//! The stack has no ABA problem: the owner takes all nodes at once, and a push never reads the node
//! that it pushes onto. The mailbox needs no reclamation of its own. The memory that leads to the
//! mailbox does (`table`).
//!
//! Beside the word lies a hint: the number of signals that wait to be received. It provides
//! back-pressure. A sender that adds to a long mailbox is charged extra reductions
//! ([`Mailbox::backlog_cost`]), so it uses up its slice sooner and the receiver gets its own.
//! Without the charge, many senders on several cores fill a mailbox faster than its process can
//! read it, and the messages are no longer in the cache when the process reads them.
//!
//! Progress: `push` is lock-free (a failed exchange means that another push or the owner came
//! first). Everything else is wait-free.

pub mod capacity;
pub mod limit;
pub mod queue;

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::config::{BACKLOG_COST_MAX, BACKLOG_FREE};
use crate::memory::pool_box::PoolBox;
use crate::shipped::Shipped;
use crate::signal::held::{BoxedSignal, HeldNode};
use crate::signal::node::{Node, SignalKind};
use crate::sync::{AtomicBool, AtomicPtr, Ordering, PlainAtomicU32};

/// The orderings of the protocol. They are a parameter so that a loom model can weaken one of them
/// and show that it then fails.
pub trait Orders: 'static {
    /// The ordering of a push. Release: pairs with the Acquire of `TAKE` and publishes the node's
    /// fields.
    const PUSH: Ordering = Ordering::Release;
    /// The ordering of taking or closing. Acquire: sees what was pushed. Release: pairs with the
    /// Acquire load in `is_settled`, which must see `fetching` set.
    const TAKE: Ordering = Ordering::AcqRel;
    /// The ordering of the end of a fetch. Release: a thread that sees it also sees that the EXITs
    /// are acted on.
    const SETTLE: Ordering = Ordering::Release;
    /// The ordering of a claim. Acquire: pairs with the Release of `sleep` and sees what the last
    /// owner did.
    const CLAIM: Ordering = Ordering::Acquire;
}

impl Orders for Shipped {}

/// The mailbox of a process: signal stack and scheduling state in one word (see the module).
///
/// `repr(C)`, as in everything at the start of `Header`: code there relies on where its parts lie.
#[repr(C)]
#[derive(Debug)]
pub struct Mailbox<O = Shipped> {
    head: AtomicPtr<Node>,
    /// The number of signals that waited to be received when the owner last fetched; 0 when the
    /// process sleeps. Written by the owner.
    waiting: PlainAtomicU32,
    /// `true` while a batch is taken and its EXITs are not yet all acted on. Written by the owner.
    fetching: AtomicBool,
    /// `true` if messages are counted (`limit`). It lies here because every send reads it.
    bounded: bool,
    orders: PhantomData<O>,
}

/// The outcome of a push that the mailbox accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "after `Wake` the process must be queued"]
pub enum Pushed {
    /// The process is queued or running and will handle the signal.
    Quiet,
    /// The process was waiting: the caller, and no other thread, must queue it.
    Wake,
}

/// The meaning of a mailbox's head, as an observer sees it (`dump`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// `IDLE`: the process waits and nothing is pending.
    Idle,
    /// `ACTIVE`: the process is queued or running and nothing is pending.
    Active,
    /// A node: the process is queued or running and signals are pending.
    Pending,
    /// `CLOSED`: the process is dead or dying.
    Closed,
}

const ACTIVE: *mut Node = ptr::null_mut();
const IDLE: *mut Node = ptr::without_provenance_mut(1);
const CLOSED: *mut Node = ptr::without_provenance_mut(2);

impl<O: Orders> Mailbox<O> {
    /// Creates the mailbox of a process that is about to be queued for its first slice.
    pub fn new() -> Self {
        Self::of(false)
    }

    /// Creates a mailbox as [`Mailbox::new`] does; `bounded` says if its messages are counted.
    pub fn of(bounded: bool) -> Self {
        Self {
            head: AtomicPtr::new(ACTIVE),
            fetching: AtomicBool::new(false),
            waiting: PlainAtomicU32::new(0),
            bounded,
            orders: PhantomData,
        }
    }

    /// Returns `true` if messages are counted.
    #[inline(always)]
    pub fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// Pushes a signal. Lock-free.
    ///
    /// # Errors
    /// The signal, if the process is dead or dying.
    pub fn push(&self, node: HeldNode) -> Result<Pushed, HeldNode> {
        // Relaxed: the value is only compared, never dereferenced.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                // Pairs with the Release of `close`: a sender that gets its signal back may read
                // the reason.
                crate::sync::acquire_by(|order| self.head.load(order));
                return Err(node);
            }
            if head != IDLE {
                match self.try_push(head, head, &node) {
                    Ok(()) => {
                        // The mailbox's stack has the node now (M2).
                        let _node = node.into_raw();
                        return Ok(Pushed::Quiet);
                    }
                    Err(now) => head = now,
                }
                continue;
            }
            match self.try_push(IDLE, ptr::null_mut(), &node) {
                Ok(()) => {
                    // As above.
                    let _node = node.into_raw();
                    // Pairs with the Release of `sleep`: the thread that queues the process also
                    // passes on what the process's last owner did.
                    crate::sync::acquire_by(|order| self.head.load(order));
                    return Ok(Pushed::Wake);
                }
                Err(now) => head = now,
            }
        }
    }

    /// Replaces `head` by the node, on top of the nodes `below`. Returns the head that it finds
    /// instead, if any.
    #[inline(always)]
    fn try_push(&self, head: *mut Node, below: *mut Node, node: &HeldNode) -> Result<(), *mut Node> {
        node.view().set_next(below);
        self.head.compare_exchange_weak(head, node.as_ptr(), O::PUSH, Ordering::Relaxed).map(|_| ())
    }

    /// Pushes a signal as [`Mailbox::push`] does, and returns it with its type if the process is
    /// dead or dying.
    #[inline]
    pub(crate) fn push_box<T: BoxedSignal>(&self, signal: PoolBox<T>) -> Result<Pushed, PoolBox<T>> {
        // SAFETY: `push` returns the node that it was given, which heads the signal.
        self.push(HeldNode::of(signal)).map_err(|node| unsafe { node.into_box_unchecked() })
    }

    /// Takes ownership of a waiting process with an empty mailbox, without a signal. Returns `true`
    /// if the caller owns the process now and must queue it or end it. Wait-free.
    #[must_use = "after `true` the process must be queued or ended"]
    #[inline]
    pub fn claim(&self) -> bool {
        // Relaxed: this load only saves an exchange that would fail. A failed exchange reads
        // nothing that the owner wrote.
        self.head.load(Ordering::Relaxed) == IDLE
            && self.head.compare_exchange(IDLE, ACTIVE, O::CLAIM, Ordering::Relaxed).is_ok()
    }

    /// Takes all pending signals. [`Mailbox::end_fetch`] must follow once the EXITs among them are
    /// acted on. Only the owner may call it. Wait-free.
    pub fn take(&self) -> Batch {
        // Relaxed: the owner itself wrote this value.
        if self.head.load(Ordering::Relaxed).is_null() {
            return Batch(Stack::EMPTY);
        }
        // Relaxed: the swap's Release publishes it.
        self.fetching.store(true, Ordering::Relaxed);
        let batch = self.head.swap(ACTIVE, O::TAKE);
        // Checked in release builds too: neither value is a node that could be dereferenced.
        assert!(batch != IDLE && batch != CLOSED, "only the owner may take, while the process runs");
        Batch(Stack(batch))
    }

    /// Ends a fetch: the batch's EXITs are acted on and the fast path (M4) is open again. Only the
    /// owner may call it.
    pub fn end_fetch(&self) {
        self.fetching.store(false, O::SETTLE);
    }

    /// Closes the fast path (M4) for good: the process has handled a fatal signal and will fetch
    /// nothing more. A query to it then waits for its death. Only the owner may call it.
    pub fn doom(&self) {
        // Release: pairs with the Acquire of `is_settled`, for a caller that learned of the doom in
        // another way.
        self.fetching.store(true, Ordering::Release);
    }

    /// Records how many signals wait to be received after a fetch. Only the owner may call it.
    pub fn record_backlog(&self, waiting: usize) {
        // Relaxed: only a hint.
        self.waiting.store(u32::try_from(waiting).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Returns the extra reductions that a sender spends for the messages that already wait here.
    #[inline]
    pub fn backlog_cost(&self) -> u32 {
        // Relaxed: only a hint.
        (self.waiting.load(Ordering::Relaxed) / BACKLOG_FREE).min(BACKLOG_COST_MAX)
    }

    /// Returns `true` if the caller has nothing pending here (M4), so that its next operation on
    /// the process's lists keeps its place in the signal order. Any thread may call it; wait-free.
    pub fn is_settled(&self) -> bool {
        // Acquire: pairs with the Release of `take`, so `fetching` reads as that take, or a later
        // step, left it.
        let head = self.head.load(Ordering::Acquire);
        // Acquire: pairs with the Release of `end_fetch`, and so sees the EXITs acted on.
        (head == ACTIVE || head == IDLE) && !self.fetching.load(Ordering::Acquire)
    }

    /// Goes to sleep unless a signal has arrived. Only the owner may call it; after `true` the
    /// caller no longer owns anything of the process.
    #[must_use = "after `false` the process must continue"]
    pub fn sleep(&self) -> bool {
        // Relaxed: only a hint. Most processes that sleep have received everything, and one that
        // has not is not reading.
        self.waiting.store(0, Ordering::Relaxed);
        // Release: pairs with the fence of the push that wakes.
        self.head.compare_exchange(ACTIVE, IDLE, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Closes the mailbox for good and takes what is left. Only the owner may call it, once.
    pub fn close(&self) -> Batch {
        let batch = self.head.swap(CLOSED, O::TAKE);
        Batch(if batch == IDLE || batch == CLOSED { Stack::EMPTY } else { Stack(batch) })
    }

    /// Returns `true` if the process is dead or dying.
    pub fn is_closed(&self) -> bool {
        // Acquire: pairs with `close`, so what was written before it is visible.
        self.head.load(Ordering::Acquire) == CLOSED
    }

    /// Returns what the head means at this moment. Only a hint; wait-free.
    pub fn state(&self) -> State {
        // Relaxed: the value is only compared, and out of date when the caller uses it.
        let head = self.head.load(Ordering::Relaxed);
        if head == IDLE {
            State::Idle
        } else if head == ACTIVE {
            State::Active
        } else if head == CLOSED {
            State::Closed
        } else {
            State::Pending
        }
    }

    /// Returns the number that [`Mailbox::record_backlog`] last recorded. Only a hint; wait-free.
    pub fn noted(&self) -> usize {
        // Relaxed: only a hint.
        self.waiting.load(Ordering::Relaxed) as usize
    }

    /// Returns `true` if a signal waits to be fetched. Only a hint.
    pub fn has_pending(&self) -> bool {
        // A node's address is above the three words that are not nodes.
        self.head.load(Ordering::Relaxed).addr() > CLOSED.addr()
    }
}

impl<O: Orders> Default for Mailbox<O> {
    fn default() -> Self {
        Self::new()
    }
}

/// A chain of nodes that its holder owns, linked by `next`: the newest or the oldest first. A chain
/// that is dropped leaks them: releasing a signal may run foreign code, which the owner does
/// explicitly.
///
/// **S1.** The pointer is null or the first node of such a chain: it came from a mailbox's head
/// (M2), which [`Mailbox::push`] links the same way, or from [`Stack::push`].
#[derive(Debug)]
struct Stack(*mut Node);

impl Stack {
    const EMPTY: Self = Self(ptr::null_mut());

    #[inline(always)]
    fn push(&mut self, node: HeldNode) {
        node.view().set_next(self.0);
        self.0 = node.into_raw().as_ptr();
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<HeldNode> {
        // SAFETY: S1: the holder of the chain owns its first node, and takes it out here.
        let node = unsafe { HeldNode::from_raw(NonNull::new(self.0)?) };
        self.0 = node.view().next();
        Some(node)
    }
}

/// The bits of the kinds of plain messages. Every other kind has a bit beside them.
const PLAIN: u8 = SignalKind::Message as u8 | SignalKind::Request as u8;
const _: () = {
    let mut kind = 0;
    while kind <= SignalKind::Proxy as u8 {
        let is_plain = kind == SignalKind::Message as u8 || kind == SignalKind::Request as u8;
        assert!((kind | PLAIN == PLAIN) == is_plain, "the bits tell plain messages from all others");
        kind += 1;
    }
};

/// Signals taken from a mailbox, newest first.
#[derive(Debug)]
#[must_use = "the signals in it must be handled or released"]
pub struct Batch(Stack);

impl Batch {
    /// Reverses the batch: oldest first.
    pub fn into_fifo(mut self) -> Fifo {
        let mut oldest = Stack::EMPTY;
        while let Some(node) = self.0.pop() {
            oldest.push(node);
        }
        Fifo(oldest)
    }

    /// Reverses the batch into a segment of a private queue.
    pub fn into_piece(mut self) -> Segment {
        let mut oldest = Stack::EMPTY;
        let (last, mut len, mut kinds) = (self.0.0, 0, PLAIN);
        while let Some(node) = self.0.pop() {
            node.view().set_prev(self.0.0);
            kinds |= node.kind() as u8;
            oldest.push(node);
            len += 1;
        }
        Segment { chain: oldest, last, len, plain: kinds == PLAIN }
    }

    /// Returns `true` if nothing was taken.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_null()
    }
}

/// Signals taken from a mailbox, oldest first, linked both ways.
#[derive(Debug)]
#[must_use = "the signals in it must be handled or released"]
pub struct Segment {
    chain: Stack,
    last: *mut Node,
    len: u32,
    plain: bool,
}

impl Segment {
    /// Returns `true` if all signals are messages or requests, which need only be in the private
    /// queue to count as handled.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Converts the segment into an iterator for handling the signals one by one.
    pub fn into_fifo(self) -> Fifo {
        Fifo(self.chain)
    }

    /// Returns the first node, the last node, and their number. The nodes belong to the caller,
    /// linked both ways; both pointers are null if there are none.
    fn into_raw(self) -> (*mut Node, *mut Node, u32) {
        (self.chain.0, self.last, self.len)
    }
}

/// Signals taken from a mailbox, oldest first.
#[derive(Debug)]
#[must_use = "the signals in it must be handled or released"]
pub struct Fifo(Stack);

impl Fifo {
    /// Creates an empty chain.
    pub const fn empty() -> Self {
        Self(Stack::EMPTY)
    }

    /// Returns `true` if the chain is empty.
    pub const fn is_empty(&self) -> bool {
        self.0.0.is_null()
    }
}

impl Iterator for Fifo {
    type Item = HeldNode;

    /// Removes and returns the oldest node; it is then in no queue.
    fn next(&mut self) -> Option<HeldNode> {
        self.0.pop()
    }
}
