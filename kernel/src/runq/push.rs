//! Queueing of processes, and when other cores see them.

use core::mem::take;

use crate::config::RING;
use crate::runq::node::HeldRunNode;
use crate::runq::{Local, NORMAL, OwnShared, PRIORITIES, Queued, Steps};

impl<S: Steps> Local<S> {
    /// Queues a node behind those already queued. Wait-free.
    pub(super) fn push(&mut self, shared: OwnShared<'_>, mut node: HeldRunNode) {
        let priority = node.priority();
        self.mixed |= priority != NORMAL;
        let overflow = &mut self.overflow[priority];
        // Behind earlier overflow, published or not (F4).
        if overflow.is_empty() && shared.0.overflow[priority].is_empty() {
            match shared.ring(priority).push(node) {
                Ok(()) => return,
                Err(back) => node = back,
            }
        }
        overflow.push(node);
        self.unpublished = true;
        if overflow.len() >= RING {
            self.check_in(shared, priority);
        }
    }

    /// Queues a process that this core has just woken, or started (`newborn`), in the LIFO slot: it
    /// runs next. Wait-free.
    pub(super) fn push_next(&mut self, shared: OwnShared<'_>, node: HeldRunNode, newborn: bool) -> Queued {
        if node.priority() != NORMAL {
            self.push(shared, node);
            return Queued::Stealable;
        }
        let displaced = shared.put_next(node);
        let was_newborn = core::mem::replace(&mut self.next_is_newborn, newborn);
        let Some(displaced) = displaced else { return Queued::Local };
        let displaced = if was_newborn { shared.newborns().push(displaced) } else { Err(displaced) };
        if let Err(displaced) = displaced {
            self.push(shared, displaced);
        }
        Queued::Stealable
    }

    /// Moves the process in the LIFO slot behind those already queued. Wait-free.
    pub(super) fn demote_next(&mut self, shared: OwnShared<'_>) {
        let Some(node) = shared.take_next() else { return };
        let displaced = if take(&mut self.next_is_newborn) { shared.newborns().push(node) } else { Err(node) };
        if let Err(node) = displaced {
            self.push(shared, node);
        }
    }

    /// Queues a process that may run on this core only.
    pub(super) fn push_pinned(&mut self, node: HeldRunNode) {
        let priority = node.priority();
        self.pinned[priority].push(node);
        self.pinned_len += 1;
        self.mixed |= priority != NORMAL;
    }

    pub(super) fn check_in(&mut self, shared: OwnShared<'_>, priority: usize) {
        let place = &shared.0.overflow[priority];
        let mut chain = place.take(S::SWAPS);
        chain.append(take(&mut self.overflow[priority]));
        place.put(chain);
    }

    /// Ends a slice that has `left` of its budget, and makes all stealable processes that it queued
    /// visible.
    #[inline]
    pub(super) fn end_slice(&mut self, shared: OwnShared<'_>, left: u32) {
        self.quantum.end_slice(left);
        if self.unpublished {
            self.publish(shared);
        }
    }

    /// Makes all stealable processes visible to other cores.
    #[cold]
    pub(super) fn publish(&mut self, shared: OwnShared<'_>) {
        self.unpublished = false;
        for priority in 0..PRIORITIES {
            if !self.overflow[priority].is_empty() {
                self.check_in(shared, priority);
            }
        }
    }
}
