//! The mailbox limit, [`MailboxLimit`]: how many messages may wait at a process, and what happens
//! to one that exceeds the limit ([`Overflow`]).
//!
//! The owner of a mailbox chooses the limit; a sender need not know of it. Only messages are
//! counted, sent by pid, name or alias. EXITs, DOWNs, links, monitors, queries and wake-ups always
//! get through, immediately and in order. So do the messages of timers, whose memory was allocated
//! when they were started.
//!
//! | overflow | effect on a message that finds `limit` messages waiting | waiting at most |
//! | --- | --- | --- |
//! | `Reject` | is returned to its sender, which may wait for capacity (`capacity`, `send_reservation`) | `limit` |
//! | `DropNewest` | is dropped by its sender's core, which reports it as sent | `limit` |
//! | `DropOldest` | is accepted; at the next fetch the oldest beyond `limit` are dropped | 2 × `limit` |
//!
//! Only its owner takes anything out of a mailbox, so only the owner can drop the oldest messages.
//! It does so after every fetch: before each resumption of the body (also while the process is
//! suspended), and at each receive that looks for more. A process that has unfetched messages is
//! queued already, so no sender need wake it for that. Between two fetches, while the process waits
//! for its turn or for the end of its own slice, the count may reach twice the limit. Beyond that
//! the newest message is dropped, so memory stays bounded even when a core is blocked for ever.
//!
//! Dropped messages are counted, and each is dropped like any message that no process receives: a
//! [`crate::Reply`] in it notifies its caller. A process without a limit has only one null pointer
//! of all this.

use core::ops::Deref;

use crate::mailbox::capacity::{Capacity, MAX_CAPACITY};
use crate::mailbox::queue::Queue;
use crate::memory::NoMemory;
use crate::memory::pool_box::PoolBox;
use crate::pid::Pid;
use crate::signal::held::NodeRef;
use crate::signal::node::SignalKind;
use crate::sync::{Cell, Ordering, PlainAtomicUsize};

/// The policy for a message that exceeds the limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Overflow {
    /// The message is returned to its sender, which may wait for capacity
    /// ([`crate::Context::send_wait`], [`crate::Cx::send_or_enqueue`]).
    #[default]
    Reject,
    /// The oldest waiting message is dropped in place of the new one; see
    /// [`crate::SpawnOptions::overflow`].
    DropOldest,
    /// The new message is dropped.
    DropNewest,
}

/// The outcome of admitting a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// The message is counted, and must be sent.
    Accepted,
    /// The message returns to its sender.
    Rejected,
    /// The message must be dropped.
    Dropped,
}

/// The mailbox limit of one process: its capacity, its overflow policy and its counters (see the
/// module).
#[derive(Debug)]
pub struct MailboxLimit {
    /// The capacity of the mailbox, with the senders that wait for it.
    pub room: Capacity,
    /// The policy for a message that exceeds the limit.
    pub overflow: Overflow,
    dropped: PlainAtomicUsize,
    /// The number of messages in the private queue. Only the owner touches it.
    pub(crate) held: Cell<u32>,
}

/// The mailbox limit of a process, if it has one.
#[derive(Debug)]
pub struct OptionalLimit(Option<PoolBox<MailboxLimit>>);

// SAFETY: P1: it owns the limit, whose fields are atomic or touched only by the process's owner.
unsafe impl Send for OptionalLimit {}
// SAFETY: P1: the fields are atomic or touched only by the process's owner, also through `&`.
unsafe impl Sync for OptionalLimit {}

impl OptionalLimit {
    /// Allocates a limit of `limit` messages; 0 means no limit.
    #[inline(always)]
    pub fn try_new(limit: u32, overflow: Overflow) -> Result<Self, NoMemory> {
        if limit == 0 { Ok(Self(None)) } else { Self::try_some(limit, overflow) }
    }

    #[cold]
    fn try_some(limit: u32, overflow: Overflow) -> Result<Self, NoMemory> {
        let bound = MailboxLimit {
            room: Capacity::new(limit),
            overflow,
            dropped: PlainAtomicUsize::new(0),
            held: Cell::new(0),
        };
        PoolBox::try_new(bound, None).map(|bound| Self(Some(bound))).map_err(|_| NoMemory)
    }

    /// Returns the limit, if there is one.
    #[inline(always)]
    pub fn get(&self) -> Option<&MailboxLimit> {
        self.0.as_deref()
    }
}

impl Drop for OptionalLimit {
    #[inline(always)]
    fn drop(&mut self) {
        if self.0.is_some() {
            free(&mut self.0);
        }
    }
}

#[cold]
#[inline(never)]
fn free(bound: &mut Option<PoolBox<MailboxLimit>>) {
    drop(bound.take());
}

// All methods are cold: for a process without a limit the code is one jump that is not taken.
impl MailboxLimit {
    /// Decides the fate of a message that is about to be sent; after `Accepted` it is counted.
    /// Lock-free.
    #[cold]
    pub fn admit(&self) -> Admission {
        let limit = self.room.limit();
        let most = if self.overflow == Overflow::DropOldest { 2 * limit } else { limit };
        if self.room.try_reserve(most) {
            return Admission::Accepted;
        }
        if self.overflow == Overflow::Reject {
            return Admission::Rejected;
        }
        self.count_dropped();
        Admission::Dropped
    }

    fn count_dropped(&self) {
        // Relaxed: a statistic that orders nothing.
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of messages dropped so far.
    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A mailbox limit in the hands of the owner of its process.
#[derive(Debug)]
pub struct OwnerLimit<'o>(&'o MailboxLimit);

impl<'o> OwnerLimit<'o> {
    /// Creates the owner's side.
    ///
    /// # Safety
    /// For `'o` the caller owns the process of the limit, and no other `OwnerLimit` of it exists.
    #[inline(always)]
    pub unsafe fn assume(limit: &'o MailboxLimit) -> Self {
        Self(limit)
    }
}

// All methods are cold: for a process without a limit the code is one jump that is not taken.
impl OwnerLimit<'_> {
    /// Records that a message is in the private queue.
    #[cold]
    pub fn on_fetched(&self) {
        self.held.set(self.held.get() + 1);
    }

    /// Records that a message has left the private queue.
    pub(crate) fn on_taken(&self) {
        self.held.set(self.held.get() - 1);
    }

    /// Returns the slot of a message that is gone. Returns `true` if a sender waits for it:
    /// [`OwnerLimit::notify_waiters`] must follow.
    pub(crate) fn release(&self) -> bool {
        self.room.release()
    }

    /// Notifies the sender that waits longest: see [`Capacity::notify_waiters`].
    pub(crate) fn notify_waiters(&self, call: impl FnMut(Pid)) -> bool {
        // SAFETY: the caller is the owner (`assume`).
        unsafe { self.room.notify_waiters(call) }
    }

    /// Notifies waiting senders if slots are free: see [`Capacity::notify_if_free`].
    pub(crate) fn notify_if_free(&self, call: impl FnMut(Pid)) {
        // SAFETY: the caller is the owner (`assume`).
        unsafe { self.room.notify_if_free(call) };
    }

    /// Closes the capacity of a dead process: see [`Capacity::close`].
    pub(crate) fn close_capacity(self, call: impl FnMut(Pid)) {
        // SAFETY: the caller is the owner (`assume`), and closes the mailbox of a process once.
        unsafe { self.room.close(call) };
    }

    /// Takes the oldest messages beyond the limit out of the private queue. To be called
    /// after a fetch. Amortised O(1) for each message that is taken.
    #[cold]
    pub fn drop_oldest_over_limit(&self, queue: &mut Queue, dropped: &mut Queue) {
        if self.overflow != Overflow::DropOldest {
            return;
        }
        while self.held.get() > self.room.limit() {
            let is_message = |node: NodeRef<'_>| {
                matches!(node.kind(), SignalKind::Message | SignalKind::AliasMessage | SignalKind::Request)
            };
            let Some(oldest) = queue.take_first(is_message) else {
                // Without such a message the count is wrong, and nothing else is.
                debug_assert!(false, "the queue holds as many messages as are counted");
                return;
            };
            self.on_taken();
            // No sender waits at a mailbox that rejects nothing.
            let in_line = self.room.release();
            debug_assert!(!in_line, "no sender waits at a mailbox that drops");
            self.count_dropped();
            dropped.push_back(oldest);
        }
    }
}

impl Deref for OwnerLimit<'_> {
    type Target = MailboxLimit;

    fn deref(&self) -> &MailboxLimit {
        self.0
    }
}

const _: () = assert!(MAX_CAPACITY.checked_mul(4).is_some(), "twice the limit can be counted, times two");
