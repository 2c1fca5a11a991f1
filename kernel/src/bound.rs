//! [`MailboxLimit`]: how many messages may wait at a process, and what becomes of one too many ([`Overflow`]).
//!
//! The owner of a mailbox chooses; a sender need not know. Only messages are counted: what is sent, by pid, name or
//! alias. EXITs, DOWNs, links, monitors, questions and wake-ups always come through, at once and in their place, and so
//! do the messages of timers, which have had their memory since they were started.
//!
//! | overflow | a message that finds `limit` waiting | waiting at most |
//! | --- | --- | --- |
//! | `Refuse` | comes back to its sender, who may get in line for room (`room`, `in_line`) | `limit` |
//! | `DropNewest` | is dropped by its sender's core, which says that it was sent | `limit` |
//! | `DropOldest` | is let in; when the process fetches, the oldest beyond `limit` are dropped | 2 × `limit` |
//!
//! Only its owner takes anything out of a mailbox, so only the owner can drop the oldest. It does so whenever it has fetched:
//! before each resumption of the body, while it is suspended too, and at each receive that looks for more. A process that has
//! unfetched messages is queued already, so no sender need wake it for that. What comes between two fetches, while the
//! process waits for its turn or for its own slice's end, may go up to twice the limit; beyond that the newest is
//! dropped, so memory is bounded also when a core is blocked for ever.
//!
//! What is dropped is counted, and dropped as any message is that nobody receives: a [`crate::Reply`] in it tells its asker.
//! A process without a bound has none of this but one null pointer.

use core::ptr::NonNull;

use crate::hand::KernelCx;
use crate::memory::{self, NoMemory};
use crate::pid::Pid;
use crate::process::private::OwnerState;
use crate::room::{MOST, Capacity};
use crate::signal::node::{SignalKind, Node};
use crate::signal::queue::Queue;
use crate::sync::{Cell, Ordering, PlainAtomicUsize};
use crate::task::waker;

/// What becomes of a message that is one too many.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Overflow {
    /// It comes back to its sender, who may wait for room ([`crate::Context::send_wait`], [`crate::Cx::send_or_enqueue`]).
    #[default]
    Reject,
    /// The oldest message that waits is dropped in its place; see [`crate::SpawnOptions::overflow`].
    DropOldest,
    /// It is dropped.
    DropNewest,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    Accepted,
    Rejected,
    Dropped,
}

/// See the module.
#[derive(Debug)]
pub struct MailboxLimit {
    pub room: Capacity,
    pub overflow: Overflow,
    dropped: PlainAtomicUsize,
    /// The owner's: messages in its private queue.
    held: Cell<u32>,
}

/// A process's bound, if it has one.
#[derive(Debug)]
pub struct OptionalLimit(Option<NonNull<MailboxLimit>>);

// SAFETY: it owns the bound, whose fields are atomic, or touched by the process's owner alone (`header`, P1).
unsafe impl Send for OptionalLimit {}
// SAFETY: as above.
unsafe impl Sync for OptionalLimit {}

impl OptionalLimit {
    /// For so many messages; 0 for no bound.
    #[inline(always)]
    pub fn try_new(limit: u32, overflow: Overflow) -> Result<Self, NoMemory> {
        if limit == 0 { Ok(Self(None)) } else { Self::try_some(limit, overflow) }
    }

    #[cold]
    fn try_some(limit: u32, overflow: Overflow) -> Result<Self, NoMemory> {
        let bound = MailboxLimit { room: Capacity::new(limit), overflow, dropped: PlainAtomicUsize::new(0), held: Cell::new(0) };
        memory::try_new(bound).map(|bound| Self(Some(bound))).map_err(|_| NoMemory)
    }

    /// The bound.
    #[inline(always)]
    pub fn get(&self) -> Option<&MailboxLimit> {
        // SAFETY: owned, so live.
        self.0.map(|bound| unsafe { bound.as_ref() })
    }
}

impl Drop for OptionalLimit {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(bound) = self.0 {
            // SAFETY: owned, and not used again.
            unsafe { free(bound) };
        }
    }
}

/// # Safety
/// It was made by `OptionalLimit::try_new`, and is not used again.
#[cold]
unsafe fn free(bound: NonNull<MailboxLimit>) {
    // SAFETY: by contract.
    unsafe { memory::drop_and_free(bound) };
}

/// Has a process that was in line look again.
fn call(hand: &KernelCx<'_>, pid: Pid) {
    if let Some(process) = hand.find(pid) {
        waker::nudge(process, hand);
    }
}

// Cold, all of it: in the code of who has no bound it is one jump that is not taken.
impl MailboxLimit {
    /// What becomes of a message that is about to be sent; after `In` it is counted. Lock-free.
    #[cold]
    pub fn admit(&self) -> Admission {
        let limit = self.room.limit();
        let most = if self.overflow == Overflow::DropOldest { 2 * limit } else { limit };
        if self.room.enter(most) {
            return Admission::Accepted;
        }
        if self.overflow == Overflow::Reject {
            return Admission::Rejected;
        }
        self.count_dropped();
        Admission::Dropped
    }

    fn count_dropped(&self) {
        // Relaxed: statistics.
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages dropped so far.
    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A message is in the private queue. The owner's.
    #[cold]
    pub fn fetched(&self) {
        self.held.set(self.held.get() + 1);
    }

    /// A message has left the private queue. The owner's.
    #[cold]
    pub fn received(&self, hand: &KernelCx<'_>) {
        self.held.set(self.held.get() - 1);
        self.left(hand);
    }

    /// A message that was counted is gone. The owner's.
    #[cold]
    pub fn left(&self, hand: &KernelCx<'_>) {
        if self.room.leave() {
            // SAFETY: the owner.
            unsafe { self.room.call(|pid| call(hand, pid)) };
        }
    }

    /// A place was given back by somebody else, or kept for who has gone. The owner's.
    #[cold]
    pub fn look(&self, hand: &KernelCx<'_>) {
        // SAFETY: the owner.
        unsafe { self.room.look(|pid| call(hand, pid)) };
    }

    /// The process is dead: who is in line learns it, if `tells`. The owner's.
    #[cold]
    pub fn close(&self, hand: &KernelCx<'_>, tells: bool) {
        // SAFETY: the owner, for the last time.
        unsafe {
            self.room.close(|pid| {
                if tells {
                    call(hand, pid);
                }
            });
        }
    }

    /// Takes the oldest messages beyond the limit out of the private queue. The owner's, after a fetch; O(1) for each
    /// that is taken, amortised.
    #[cold]
    pub fn trim(&self, private: &mut OwnerState, dropped: &mut Queue) {
        if self.overflow != Overflow::DropOldest {
            return;
        }
        while self.held.get() > self.room.limit() {
            let is_message = |node: NonNull<Node>| {
                // SAFETY: in the queue, so the owner's.
                matches!(unsafe { Node::kind(node) }, SignalKind::Message | SignalKind::AliasMessage | SignalKind::Request)
            };
            let Some(oldest) = private.queue.take_first(is_message) else {
                // Otherwise the count is wrong, and nothing else.
                debug_assert!(false, "as many messages are in the queue as are counted");
                return;
            };
            self.held.set(self.held.get() - 1);
            // Nobody is in line where nobody is refused.
            let in_line = self.room.leave();
            debug_assert!(!in_line, "nobody gets in line here");
            self.count_dropped();
            // SAFETY: taken out of the queue, so in none.
            unsafe { dropped.push_back(oldest) };
        }
    }
}

const _: () = assert!(MOST.checked_mul(4).is_some(), "twice the limit can be counted, times two");
