//! The core's run queues, used by the core itself.

use crate::kernel::Kernel;
use crate::kernel::core_local::CoreLocal;
use crate::mutation::mutant;
use crate::process::header::ANY_CORE;
use crate::process::owned::Owned;
use crate::runq::node::HeldRunNode;
use crate::runq::{Queued, Shared};

impl CoreLocal {
    /// Takes the next process, and `true` if one that was hidden in the LIFO slot has become
    /// stealable.
    #[inline]
    pub(crate) fn pop(&self) -> Option<(HeldRunNode, bool)> {
        let mut half = self.half()?;
        let mut queues = half.queues();
        let node = queues.pop()?;
        Some((node, queues.publish_seen()))
    }

    /// Ends a slice that has `left` of its budget ([`Queues::end_slice`]).
    #[inline]
    pub(crate) fn end_slice(&self, left: u32) {
        if let Some(mut half) = self.half() {
            half.queues().end_slice(left);
        }
    }

    /// Ends a slice that has `left` of its budget, and takes the next process if it continues the
    /// budget ([`Queues::pop_continuing`]).
    #[inline(always)]
    pub(crate) fn end_slice_and_pop(&self, left: u32) -> Option<(HeldRunNode, u32)> {
        let mut half = self.half()?;
        let mut queues = half.queues();
        queues.end_slice(left);
        queues.pop_continuing()
    }

    /// Returns the reduction budget of the process that was taken last ([`Queues::budget`]).
    #[inline]
    pub(crate) fn budget(&self) -> Option<(u32, bool)> {
        Some(self.half()?.queues().budget())
    }

    /// Charges reductions to the quantum ([`Queues::charge`]). Does nothing while a rescuer has the
    /// queues.
    #[inline]
    pub(crate) fn charge(&self, reductions: u32) {
        if let Some(mut half) = self.half() {
            half.queues().charge(reductions);
        }
    }

    /// Moves processes that other threads woke into the queues.
    pub(crate) fn drain_inboxes(&self) {
        if let Some(mut half) = self.half() {
            half.queues().drain();
        }
    }

    /// Takes work from another core ([`Queues::steal`]).
    pub(crate) fn steal(&self, victim: &Shared) -> Option<HeldRunNode> {
        self.half()?.queues().steal(victim)
    }

    /// Takes everything that another core has queued ([`Queues::take_over`]).
    pub(crate) fn take_over(&self, victim: &Shared) -> usize {
        self.half().map_or(0, |mut half| half.queues().take_over(victim))
    }

    /// Returns `true` if this core has a process to run, or a rescuer has its queues.
    pub(crate) fn has_work(&self) -> bool {
        self.half().is_none_or(|mut half| half.queues().has_work())
    }

    /// Queues a process that was just woken on this core, or started.
    #[inline(always)]
    pub(crate) fn schedule(&self, kernel: &Kernel, owned: Owned<'_>, newborn: bool) {
        if owned.core != ANY_CORE {
            return self.schedule_pinned(owned);
        }
        let node = owned.into_run_node();
        let queued = match self.half() {
            Some(mut half) => half.queues().push_next(node, newborn),
            None => self.hand_in(node),
        };
        if queued == Queued::Stealable {
            self.wake_peer_relaxed(kernel);
        }
    }

    /// Moves the process that was woken last behind the others ([`Queues::demote_next`]).
    pub(crate) fn demote_woken(&self) {
        if let Some(mut half) = self.half() {
            half.queues().demote_next();
        }
    }

    /// Queues a process that may run on this core only, like [`CoreLocal::schedule`].
    #[inline(never)]
    fn schedule_pinned(&self, owned: Owned<'_>) {
        let node = owned.into_run_node();
        match self.half() {
            Some(mut half) => half.queues().push_pinned(node),
            // No other core can run the process, so none is woken.
            None => self.shared().queues.pinned.push(node),
        }
    }

    /// Queues a process whose slice is over, behind the queued processes. Wakes another core if
    /// more work is left.
    pub(crate) fn requeue(&self, kernel: &Kernel, owned: Owned<'_>) {
        if owned.core != ANY_CORE {
            return self.schedule_pinned(owned);
        }
        let node = owned.into_run_node();
        let helps = match self.half() {
            Some(mut half) => {
                let mut queues = half.queues();
                // The process in the LIFO slot (`push_next`) runs here next. Then another core
                // could run this process.
                let more = queues.has_work();
                queues.push(node);
                more
            }
            None => self.hand_in(node) == Queued::Stealable,
        };
        if helps {
            self.wake_peer_relaxed(kernel);
        }
    }

    /// Queues a process where all cores see it, while a rescuer has the queues (H2).
    #[cold]
    fn hand_in(&self, node: HeldRunNode) -> Queued {
        self.shared().queues.inbox.push(node);
        Queued::Stealable
    }

    /// Wakes another core without a fence, if the kernel has one; [`CoreLocal::flush_wakes`] must
    /// follow.
    #[inline]
    fn wake_peer_relaxed(&self, kernel: &Kernel) {
        if kernel.cores() > 1 {
            self.unfenced.set(true);
            kernel.notify_relaxed();
        }
    }

    /// Returns `true` if [`CoreLocal::flush_wakes`] has something to do.
    #[inline(always)]
    pub(crate) fn has_unflushed_wakes(&self) -> bool {
        self.unfenced.get()
    }

    /// Checks for idle cores again with a fence, at the end of a slice or of kernel work, so that
    /// no core has missed the queued work.
    #[inline]
    pub(crate) fn flush_wakes(&self, kernel: &Kernel) {
        if self.unfenced.take() {
            mutant!(kernel.mutations, NeverLooksBack, right => kernel.notify(), wrong => ());
        }
    }
}
