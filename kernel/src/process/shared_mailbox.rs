//! [`SharedMailbox`]: the mailbox of a process, as every thread may use it.
//!
//! That a thread owns a process follows from the state of its mailbox (`header`, P1). So the steps
//! that only the owner may take are methods of [`Owned`](crate::process::owned::Owned), and the
//! mailbox itself is reachable only from there.

use crate::mailbox::{Batch, Mailbox, Pushed, State};
use crate::memory::pool_box::PoolBox;
use crate::signal::held::{BoxedSignal, HeldNode};

/// The mailbox of a process (see the module).
#[derive(Debug)]
#[repr(transparent)]
pub struct SharedMailbox(Mailbox);

impl SharedMailbox {
    /// Creates the mailbox of a new process.
    pub(super) fn new(bounded: bool) -> Self {
        Self(Mailbox::of(bounded))
    }

    /// Returns the mailbox, for the owner's steps.
    #[inline(always)]
    pub(super) fn of_owner(&self) -> &Mailbox {
        &self.0
    }

    /// Returns the steps of a fetch.
    #[inline(always)]
    pub(super) fn fetching(&self) -> Fetching<'_> {
        Fetching(&self.0)
    }

    /// Takes ownership of a waiting process: see [`Mailbox::claim`].
    #[inline(always)]
    #[must_use = "after `true` the process must be queued or ended"]
    pub(super) fn claim(&self) -> bool {
        self.0.claim()
    }

    /// Adds a signal: see [`Mailbox::push`].
    #[inline(always)]
    pub(super) fn push(&self, node: HeldNode) -> Result<Pushed, HeldNode> {
        self.0.push(node)
    }

    /// Adds a signal of a known type: see [`Mailbox::push`].
    #[inline(always)]
    pub(super) fn push_box<T: BoxedSignal>(&self, signal: PoolBox<T>) -> Result<Pushed, PoolBox<T>> {
        self.0.push_box(signal)
    }

    /// Returns `true` if the mailbox is limited.
    #[inline(always)]
    pub fn is_bounded(&self) -> bool {
        self.0.is_bounded()
    }

    /// Returns the extra reductions that a sender spends: see [`Mailbox::backlog_cost`].
    #[inline(always)]
    pub fn backlog_cost(&self) -> u32 {
        self.0.backlog_cost()
    }

    /// Returns `true` if the caller has nothing pending here: see [`Mailbox::is_settled`].
    #[inline(always)]
    pub fn is_settled(&self) -> bool {
        self.0.is_settled()
    }

    /// Returns `true` if the process is dead or dying.
    #[inline(always)]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Returns what the mailbox's head means at this moment. Only a hint; wait-free.
    pub fn state(&self) -> State {
        self.0.state()
    }

    /// Returns the last recorded number of waiting signals. Only a hint; wait-free.
    pub fn noted(&self) -> usize {
        self.0.noted()
    }

    /// Returns `true` if a signal waits to be fetched. Only a hint.
    #[inline(always)]
    pub fn has_pending(&self) -> bool {
        self.0.has_pending()
    }
}

/// The steps of a fetch, for the owner.
#[derive(Debug)]
pub(crate) struct Fetching<'m>(&'m Mailbox);

impl Fetching<'_> {
    /// Takes all pending signals: see [`Mailbox::take`].
    #[inline(always)]
    pub(crate) fn take(&self) -> Batch {
        self.0.take()
    }

    /// Ends the fetch, and records how many signals wait: see [`Mailbox::end_fetch`].
    #[inline(always)]
    pub(crate) fn end(self, waiting: usize) {
        self.0.end_fetch();
        self.0.record_backlog(waiting);
    }
}
