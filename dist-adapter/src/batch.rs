//! [`Work`]: a batch of monitors that one event ends. The batch survives a panic in external code.
//!
//! A node's loss and a process's death end many monitors, and each needs a call of external code.
//! By then the records have left their maps, so only the thread that iterates over them holds them.
//! If a call panics, the rest of the batch goes on the plane's backlog and the panic continues. The
//! next call of the plane processes the backlog ([`crate::ControlPlane::resume`]).

use alloc::collections::btree_map::IntoValues;
use alloc::sync::Arc;

use atropos_kernel::Reason;

use crate::control_plane::ControlPlane;
use crate::local::Attachment;
use crate::model::Rules;
use crate::record::{Inbound, Key, Outbound};
use crate::reference::RemoteReference;
use crate::session::Records;
use crate::sync::Ordering;

/// A batch of monitors that one event ends.
#[derive(Debug)]
pub(crate) struct Work {
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

impl Work {
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

/// A batch in progress. If it is dropped unfinished, the rest goes on the backlog.
struct InHand<'a, R: Rules> {
    plane: &'a ControlPlane<R>,
    work: Work,
}

impl<R: Rules> InHand<'_, R> {
    fn run(&mut self) {
        let Self { plane, work } = self;
        for record in &mut work.forget {
            plane.visited();
            plane.withdraw_inbound(&record);
        }
        for record in &mut work.lost {
            plane.visited();
            plane.answer_outbound(&record, Reason::NOCONNECTION);
        }
        for record in &mut work.answer {
            plane.visited();
            plane.answer_inbound(&record, work.reason.clone());
        }
        for record in &mut work.withdraw {
            plane.visited();
            plane.withdraw(&record);
        }
    }
}

impl<R: Rules> Drop for InHand<'_, R> {
    fn drop(&mut self) {
        if !self.work.is_done() {
            // The thread is unwinding from a panic.
            self.plane.backlog.lock().push(core::mem::replace(&mut self.work, Work::nothing()));
            // Release: pairs with the Acquire in `resume`. The counter is only a hint; the lock
            // orders the rest.
            self.plane.left_over.fetch_add(1, Ordering::Release);
        }
    }
}

impl<R: Rules> ControlPlane<R> {
    /// Processes a batch, in order.
    pub(crate) fn work(&self, work: Work) {
        InHand { plane: self, work }.run();
    }

    /// Processes the backlog and then a batch. If the backlog panics, the batch goes on the backlog
    /// as well.
    pub(crate) fn work_after(&self, work: Work) {
        let mut in_hand = InHand { plane: self, work };
        self.resume();
        in_hand.run();
    }

    /// Processes the work that panics in external code have left.
    ///
    /// Every other call does so first. Call it when no other call may come.
    pub fn resume(&self) {
        // Acquire: pairs with the Release in `InHand::drop`.
        while self.left_over.load(Ordering::Acquire) != 0 {
            // A separate binding, so that the lock is released before the work starts.
            let work = self.backlog.lock().pop();
            let Some(work) = work else { return };
            self.left_over.fetch_sub(1, Ordering::Relaxed);
            self.work(work);
        }
    }
}
