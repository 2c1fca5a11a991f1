//! [`Work`]: the monitors that one event ends, and the promise that none is left when somebody's code panics.
//!
//! A node's loss and a process's death end many monitors, each with a call of foreign code. The records have been taken out of
//! their maps by then, so they exist only in the hands of who walks them. If a call panics, what was still to do goes on the
//! plane's backlog and the panic on its way; the next call of the plane does it ([`crate::ControlPlane::resume`]).

use alloc::collections::btree_map::IntoValues;
use alloc::sync::Arc;

use atropos_kernel::Reason;

use crate::local::Attachment;
use crate::plane::ControlPlane;
use crate::record::{Inbound, Key, Outbound};
use crate::reference::RemoteReference;
use crate::rules::Rules;
use crate::session::Records;
use crate::sync::Ordering;

/// See the module.
#[derive(Debug)]
pub(crate) struct Work {
    /// Registrations of a peer that is lost: they are forgotten.
    forget: IntoValues<Key, Arc<Inbound>>,
    /// Monitors of processes here that get `noconnection`: their node is lost.
    lost: IntoValues<RemoteReference, Arc<Outbound>>,
    /// Registrations of peers that get the reason: their target has ended.
    answer: IntoValues<u64, Arc<Inbound>>,
    reason: Reason,
    /// Monitors to withdraw: their watcher has ended.
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

/// Work in hand.
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
            // A panic is on its way.
            self.plane.backlog.lock().push(core::mem::replace(&mut self.work, Work::nothing()));
            // Release: pairs with `resume`. Only a hint, the lock orders the rest.
            self.plane.left_over.fetch_add(1, Ordering::Release);
        }
    }
}

impl<R: Rules> ControlPlane<R> {
    /// Does it all, in order.
    pub(crate) fn work(&self, work: Work) {
        InHand { plane: self, work }.run();
    }

    /// Does it after the backlog, and also when that panics: then it is on the backlog itself.
    pub(crate) fn work_after(&self, work: Work) {
        let mut in_hand = InHand { plane: self, work };
        self.resume();
        in_hand.run();
    }

    /// Does what panics of foreign code have left. Every other call does so first; call it when none may come.
    pub fn resume(&self) {
        // Acquire: pairs with the drop above.
        while self.left_over.load(Ordering::Acquire) != 0 {
            // Bound, so that the lock is let go before the work is done.
            let work = self.backlog.lock().pop();
            let Some(work) = work else { return };
            self.left_over.fetch_sub(1, Ordering::Relaxed);
            self.work(work);
        }
    }
}
