//! The mailbox: one word decides whether a process runs.
//!
//! A stack of signal nodes with one atomic head, and the head is also the process's
//! scheduling state:
//!
//! | head | means | a sender that finds it |
//! | --- | --- | --- |
//! | `IDLE` | waiting, nothing pending | swaps its node in and must queue the process |
//! | `ACTIVE` (null) | queued or running, nothing pending | pushes, done |
//! | a node | queued or running, signals pending | pushes, done |
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
//! (1) and (2) are [`Mailbox::push`], whose answer says which; (3) to (5) are the
//! owner's: [`Mailbox::take`], [`Mailbox::sleep`], [`Mailbox::close`]. (6) is anybody's, [`Mailbox::claim`]: who has something
//! to do to a process that waits, and no signal to send, becomes its owner, and must queue it or end it. So a message for
//! who waits goes straight into the private queue, which saves the owner the take; only a message, which is met by that,
//! since other signals have to be acted on.
//!
//! Invariants:
//! - **M1, no wake-up is lost.** Who changes `IDLE` to something else must queue the process; nobody
//!   else may. So a process with a pending signal is queued or running, and queued once.
//! - **M2, nothing is lost, nothing twice.** A node that was pushed is in exactly one chain
//!   that `take` or `close` returned; a push after `close` gives it back.
//! - **M3, order.** What one sender pushes comes out in the order it was pushed. What wakes is ahead of all that its
//!   sender pushes afterwards, and what the sender had pushed before was taken: the mailbox was empty.
//! - **M4, the short way.** [`Mailbox::is_clear`] is true only when every signal that the caller
//!   pushed before has been fetched *and acted on*. The head alone can't tell: a batch is
//!   taken before its exits are met. So the owner marks the time in between (`fetching`).
//!
//! The stack has no ABA: nodes are taken all at once, and a push never looks into the
//! node that it pushes on. It needs no reclamation of its own; what leads to the mailbox
//! does (`table`).
//!
//! Beside the word lies a hint of how many signals wait to be received, by which a sender is charged for what it adds to a
//! mailbox that is long ([`Mailbox::charge`]): it loses its slice sooner, and the receiver gets its own. Otherwise many senders
//! on several cores fill a mailbox faster than it is read, whatever its process does, and what it reads is cold.
//!
//! Progress: `push` is lock-free (a failed exchange means another push or the owner came
//! first), everything else is wait-free.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::config::{CHARGE_FROM, CHARGE_MOST};
use crate::signal::node::{SignalKind, Node};
use crate::sync::{AtomicBool, AtomicPtr, Ordering, PlainAtomicU32};

/// The orderings of the protocol, a parameter so that a model can weaken one and see it fail.
pub trait Orders: 'static {
    /// Of a push. Release: pairs with the Acquire of `TAKE`, hands over the node's fields.
    const PUSH: Ordering = Ordering::Release;
    /// Of taking or closing. Acquire: sees what was pushed. Release: pairs with the Acquire
    /// load in `is_clear`, which must see `fetching` set.
    const TAKE: Ordering = Ordering::AcqRel;
    /// Of the end of a fetch. Release: who sees it sees the exits acted on.
    const SETTLE: Ordering = Ordering::Release;
    /// Of a claim. Acquire: pairs with the Release of `sleep`, sees what the last owner did.
    const CLAIM: Ordering = Ordering::Acquire;
}

/// The orderings as they must be.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

/// See the module. `repr(C)`, here and in what else `Header` begins with: where its parts lie is relied on there.
#[repr(C)]
#[derive(Debug)]
pub struct Mailbox<O = Shipped> {
    head: AtomicPtr<Node>,
    /// Written by the owner: signals that waited to be received when it fetched last, 0 when it sleeps.
    waiting: PlainAtomicU32,
    /// Written by the owner: a batch is taken and its exits are not yet all acted on.
    fetching: AtomicBool,
    /// Messages are counted (`bound`). Here because every send asks.
    bounded: bool,
    orders: PhantomData<O>,
}

/// What a push did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "after `Wake` the process must be queued"]
pub enum Pushed {
    /// The process is queued or running and will meet the signal.
    Quiet,
    /// The process was waiting: the caller, and nobody else, must queue it.
    Wake,
    /// The process is dead or dying; the node is the caller's still.
    Closed,
}

/// What the head of a mailbox means, for a look from outside (`dump`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// `IDLE`.
    Idle,
    /// `ACTIVE`.
    Active,
    /// A node.
    Pending,
    /// `CLOSED`.
    Closed,
}

/// Signals taken from a mailbox, newest first.
#[derive(Debug)]
#[must_use = "the signals in it must be met or released"]
pub struct Batch(*mut Node);

const ACTIVE: *mut Node = ptr::null_mut();
const IDLE: *mut Node = ptr::without_provenance_mut(1);
const CLOSED: *mut Node = ptr::without_provenance_mut(2);

impl<O: Orders> Mailbox<O> {
    /// The mailbox of a process that is about to be queued for its first slice.
    pub fn new() -> Self {
        Self::of(false)
    }

    /// As [`Mailbox::new`]; whether the messages in it are counted.
    pub fn of(bounded: bool) -> Self {
        Self {
            head: AtomicPtr::new(ACTIVE),
            fetching: AtomicBool::new(false),
            waiting: PlainAtomicU32::new(0),
            bounded,
            orders: PhantomData,
        }
    }

    /// Whether messages are counted.
    #[inline(always)]
    pub fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// Pushes a signal. Lock-free.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1). Unless the answer is `Closed` it is the
    /// mailbox's from then on.
    pub unsafe fn push(&self, node: NonNull<Node>) -> Pushed {
        // Relaxed: only compared, never followed.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                // Pairs with the Release of `close`: who is told `Closed` may look at why.
                crate::sync::acquire_by(|order| self.head.load(order));
                return Pushed::Closed;
            }
            let below = if head == IDLE { ptr::null_mut() } else { head };
            // SAFETY: held until the exchange succeeds.
            unsafe { Node::set_next(node, below) };
            match self.head.compare_exchange_weak(head, node.as_ptr(), O::PUSH, Ordering::Relaxed) {
                Ok(_) if head == IDLE => {
                    // Pairs with the Release of `sleep`: who queues the process hands on
                    // what its last owner did.
                    crate::sync::acquire_by(|order| self.head.load(order));
                    return Pushed::Wake;
                }
                Ok(_) => return Pushed::Quiet,
                Err(now) => head = now,
            }
        }
    }

    /// Wakes a process that waits, and for which nothing has come, without a signal: whether the caller owns it now, and must
    /// queue it or see to its end. Wait-free.
    #[must_use = "after `true` the process must be queued, or end"]
    #[inline]
    pub fn claim(&self) -> bool {
        // Relaxed: a look that saves an exchange which would fail. A failed exchange sees nothing of the owner's.
        self.head.load(Ordering::Relaxed) == IDLE
            && self.head.compare_exchange(IDLE, ACTIVE, O::CLAIM, Ordering::Relaxed).is_ok()
    }

    /// Takes everything that has come; [`Mailbox::settle`] must follow once its exits are
    /// acted on. The owner's. Wait-free.
    pub fn take(&self) -> Batch {
        // Relaxed: the owner's own word.
        if self.head.load(Ordering::Relaxed).is_null() {
            return Batch(ptr::null_mut());
        }
        // Relaxed: made visible by the swap's Release.
        self.fetching.store(true, Ordering::Relaxed);
        let batch = self.head.swap(ACTIVE, O::TAKE);
        // Checked always: neither is a node that could be followed.
        assert!(batch != IDLE && batch != CLOSED, "take is the owner's, while the process runs");
        Batch(batch)
    }

    /// The batch's exits are acted on: the short way is open again. The owner's.
    pub fn settle(&self) {
        self.fetching.store(false, O::SETTLE);
    }

    /// The process has met what it dies of, and will fetch nothing any more: the short way is closed, so that what is asked of it
    /// waits for its death. The owner's.
    pub fn doom(&self) {
        // Release: pairs with the Acquire of `is_clear`, for a caller that has heard of the doom by another way.
        self.fetching.store(true, Ordering::Release);
    }

    /// After a fetch so many signals wait to be received. The owner's.
    pub fn note(&self, waiting: usize) {
        // Relaxed: a hint.
        self.waiting.store(u32::try_from(waiting).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The reductions that a sender spends on top for what waits here already.
    #[inline]
    pub fn charge(&self) -> u32 {
        // Relaxed: a hint.
        (self.waiting.load(Ordering::Relaxed) / CHARGE_FROM).min(CHARGE_MOST)
    }

    /// Whether the caller has nothing pending here (M4), so that what it does next to the
    /// process's lists keeps its place. Any caller; wait-free.
    pub fn is_clear(&self) -> bool {
        // Acquire: pairs with the Release of `take`, so `fetching` is seen as that take, or
        // what came after it, left it.
        let head = self.head.load(Ordering::Acquire);
        // Acquire: pairs with `settle`.
        (head == ACTIVE || head == IDLE) && !self.fetching.load(Ordering::Acquire)
    }

    /// Goes to sleep unless something has come. The owner's; after `true` it owns nothing any more.
    #[must_use = "after `false` the process must go on"]
    pub fn sleep(&self) -> bool {
        // Relaxed: a hint. Most who sleep have received all, and who has not is not reading.
        self.waiting.store(0, Ordering::Relaxed);
        // Release: pairs with the fence of the push that wakes.
        self.head.compare_exchange(ACTIVE, IDLE, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Closes for good and takes what is left. The owner's, once.
    pub fn close(&self) -> Batch {
        let batch = self.head.swap(CLOSED, O::TAKE);
        Batch(if batch == IDLE || batch == CLOSED { ptr::null_mut() } else { batch })
    }

    /// Whether the process is dead or dying.
    pub fn is_closed(&self) -> bool {
        // Acquire: pairs with `close`, so what was settled before it is seen.
        self.head.load(Ordering::Acquire) == CLOSED
    }

    /// What the head means just now. A hint; wait-free.
    pub fn state(&self) -> State {
        // Relaxed: only compared, and old when it is used.
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

    /// What [`Mailbox::note`] was told last. A hint; wait-free.
    pub fn noted(&self) -> usize {
        // Relaxed: a hint.
        self.waiting.load(Ordering::Relaxed) as usize
    }

    /// Whether a signal waits to be fetched. A hint.
    pub fn has_pending(&self) -> bool {
        // A node lies behind the three words that are none.
        self.head.load(Ordering::Relaxed).addr() > CLOSED.addr()
    }
}

impl<O: Orders> Default for Mailbox<O> {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// Turns the batch round: oldest first.
    pub fn into_fifo(self) -> Fifo {
        let (mut newest, mut oldest) = (self.0, ptr::null_mut());
        while let Some(node) = NonNull::new(newest) {
            // SAFETY: a taken node is held by the taker (N1, M2).
            newest = unsafe { Node::next(node) };
            // SAFETY: likewise.
            unsafe { Node::set_next(node, oldest) };
            oldest = node.as_ptr();
        }
        Fifo(oldest)
    }

    /// Turns the batch round, as a piece of a private queue.
    pub fn into_piece(self) -> Segment {
        let (mut newest, mut oldest) = (self.0, ptr::null_mut());
        let (last, mut len, mut plain) = (self.0, 0, true);
        while let Some(node) = NonNull::new(newest) {
            // SAFETY: a taken node is held by the taker (N1, M2).
            newest = unsafe { Node::next(node) };
            // SAFETY: likewise.
            unsafe { Node::set_between(node, newest, oldest) };
            // SAFETY: likewise.
            plain &= matches!(unsafe { Node::kind(node) }, SignalKind::Message | SignalKind::Request);
            oldest = node.as_ptr();
            len += 1;
        }
        Segment { first: oldest, last, len, plain }
    }

    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_null()
    }
}

/// Signals taken from a mailbox, oldest first, linked both ways.
#[derive(Debug)]
#[must_use = "the signals in it must be met or released"]
pub struct Segment {
    pub(crate) first: *mut Node,
    pub(crate) last: *mut Node,
    pub(crate) len: u32,
    plain: bool,
}

impl Segment {
    /// Whether all are messages or requests, which are met by being in the private queue.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// To be met one by one.
    pub fn into_fifo(self) -> Fifo {
        Fifo(self.first)
    }
}

/// Signals taken from a mailbox, oldest first.
#[derive(Debug)]
#[must_use = "the signals in it must be met or released"]
pub struct Fifo(*mut Node);

impl Fifo {
    /// Nothing.
    pub const fn empty() -> Self {
        Self(ptr::null_mut())
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_null()
    }
}

impl Iterator for Fifo {
    type Item = NonNull<Node>;

    /// Hands over the oldest; it is in no queue any more.
    fn next(&mut self) -> Option<NonNull<Node>> {
        let node = NonNull::new(self.0)?;
        // SAFETY: held by the taker (N1, M2).
        self.0 = unsafe { Node::next(node) };
        Some(node)
    }
}
