//! [`Batch`]: the monitors that one event ends. A batch survives a panic in external code.
//!
//! A node's loss and a process's death end many monitors, and each needs a call of external code.
//! By then the records have left their maps, so only the thread that iterates over them holds them.
//! If a call panics, the rest of the batch goes on the plane's [`Backlog`] and the panic continues.
//! The next call of the plane processes the backlog ([`crate::ControlPlane::resume`]).

use alloc::collections::btree_map::IntoValues;
use alloc::sync::Arc;
use alloc::vec::Vec;

use atropos_kernel::Reason;

use crate::local::Attachment;
use crate::record::{Inbound, Key, Outbound};
use crate::reference::RemoteReference;
use crate::session::Records;
use crate::sync::{Mutex, Ordering, PlainAtomicUsize};

/// A batch of monitors that one event ends.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Registrations of a lost peer, to be discarded.
    forget: IntoValues<Key, Arc<Inbound>>,
    /// Local watchers' monitors of a lost node's processes. Each gets a DOWN with `noconnection`.
    lost: IntoValues<RemoteReference, Arc<Outbound>>,
    /// Peers' registrations for a process that has ended. Each gets an exit notice with the reason.
    answer: IntoValues<u64, Arc<Inbound>>,
    reason: Reason,
    /// Monitors of a watcher that has ended, to be withdrawn.
    withdraw: IntoValues<RemoteReference, Arc<Outbound>>,
}

impl Batch {
    fn nothing() -> Self {
        let reason = Reason::NOCONNECTION;
        let (forget, lost) = (IntoValues::default(), IntoValues::default());
        Self { forget, lost, answer: IntoValues::default(), reason, withdraw: IntoValues::default() }
    }

    pub(crate) fn lost(records: Records) -> Self {
        let (forget, lost) = (records.inbound.into_values(), records.outbound.into_values());
        Self { forget, lost, ..Self::nothing() }
    }

    pub(crate) fn ended(tied: Attachment, reason: Reason) -> Self {
        let (answer, withdraw) = (tied.inbound.into_values(), tied.outbound.into_values());
        Self { answer, withdraw, reason, ..Self::nothing() }
    }

    fn is_done(&self) -> bool {
        self.forget.len() == 0 && self.lost.len() == 0 && self.answer.len() == 0 && self.withdraw.len() == 0
    }
}

/// What happens to the records of a batch, one at a time.
pub(crate) trait Apply {
    /// Counts a record.
    fn count(&self);
    /// Discards the registration of a lost peer.
    fn forget(&self, record: &Arc<Inbound>);
    /// Answers a local watcher's monitor of a lost node's process.
    fn lost(&self, record: &Arc<Outbound>);
    /// Answers a peer's registration for a process that has ended with this reason.
    fn answer(&self, record: &Arc<Inbound>, reason: Reason);
    /// Withdraws the monitor of a watcher that has ended.
    fn withdraw(&self, record: &Arc<Outbound>);
}

/// The batches that panics in external code have left.
#[derive(Debug)]
pub(crate) struct Backlog {
    batches: Mutex<Vec<Batch>>,
    /// The number of batches.
    left_over: PlainAtomicUsize,
}

/// A batch in progress. If it is dropped unfinished, the rest goes on the backlog.
struct BatchGuard<'a, A: Apply> {
    backlog: &'a Backlog,
    to: &'a A,
    batch: Batch,
}

impl<A: Apply> BatchGuard<'_, A> {
    fn run(&mut self) {
        let Self { to, batch, .. } = self;
        for record in &mut batch.forget {
            to.count();
            to.forget(&record);
        }
        for record in &mut batch.lost {
            to.count();
            to.lost(&record);
        }
        for record in &mut batch.answer {
            to.count();
            to.answer(&record, batch.reason.clone());
        }
        for record in &mut batch.withdraw {
            to.count();
            to.withdraw(&record);
        }
    }
}

impl<A: Apply> Drop for BatchGuard<'_, A> {
    fn drop(&mut self) {
        if !self.batch.is_done() {
            // The thread is unwinding from a panic.
            self.backlog.batches.lock().push(core::mem::replace(&mut self.batch, Batch::nothing()));
            // Release: pairs with the Acquire in `resume`. The counter is only a hint; the lock
            // orders the rest.
            self.backlog.left_over.fetch_add(1, Ordering::Release);
        }
    }
}

impl Backlog {
    pub(crate) fn new() -> Self {
        Self { batches: Mutex::default(), left_over: PlainAtomicUsize::new(0) }
    }

    /// Processes the backlog and then a batch. If the backlog panics, the batch goes on the backlog
    /// as well.
    pub(crate) fn run_after(&self, to: &impl Apply, batch: Batch) {
        let mut guard = BatchGuard { backlog: self, to, batch };
        self.resume(to);
        guard.run();
    }

    /// Processes the batches that panics in external code have left.
    pub(crate) fn resume(&self, to: &impl Apply) {
        // Acquire: pairs with the Release in `BatchGuard::drop`.
        while self.left_over.load(Ordering::Acquire) != 0 {
            // A separate binding, so that the lock is released before the work starts.
            let batch = self.batches.lock().pop();
            let Some(batch) = batch else { return };
            self.left_over.fetch_sub(1, Ordering::Relaxed);
            BatchGuard { backlog: self, to, batch }.run();
        }
    }
}
