//! Work stealing (F5), also from a core whose process does not yield (`sched::stall`).

use crate::config::RING;
use crate::runq::newborn_deque::Steal;
use crate::runq::node::HeldRunNode;
use crate::runq::{Local, NORMAL, OwnShared, PRIORITIES, Shared, Steps};

impl<S: Steps> Local<S> {
    /// Takes work from another core: half of a ring, else half of its newborns, else its inbox,
    /// else an overflow. Returns one process to run and queues the rest here. Lock-free.
    pub(super) fn steal(&mut self, shared: OwnShared<'_>, victim: &Shared) -> Option<HeldRunNode> {
        self.quantum.begin();
        self.steal_some(shared, victim)
    }

    /// Takes everything that another core has queued, behind what this core has. Returns a lower
    /// bound of the number of processes taken. Lock-free.
    pub(super) fn take_over(&mut self, shared: OwnShared<'_>, victim: &Shared) -> usize {
        let mut taken = 0;
        // A ring gives half at a time.
        while taken < RING
            && let Some(node) = self.steal_some(shared, victim)
        {
            self.push(shared, node);
            taken += 1;
        }
        if taken > 0 {
            self.publish(shared);
        }
        taken
    }

    /// Moves hidden processes to where other cores can take them.
    pub(super) fn hand_over(&mut self, shared: OwnShared<'_>) {
        if let Some(node) = shared.take_next() {
            shared.0.inbox.push(node);
        }
        if self.unpublished {
            self.publish(shared);
        }
    }

    fn steal_some(&mut self, shared: OwnShared<'_>, victim: &Shared) -> Option<HeldRunNode> {
        for priority in 0..PRIORITIES {
            let mut first = None;
            victim.rings[priority].steal(|node| match first {
                None => first = Some(node),
                Some(_) => self.push(shared, node),
            });
            if first.is_some() {
                return first;
            }
        }
        let half = victim.newborns.len().div_ceil(2);
        let mut first = None;
        for _ in 0..half {
            match victim.newborns.steal() {
                Steal::One(node) if first.is_none() => first = Some(node),
                Steal::One(node) => self.push(shared, node),
                Steal::Retry => {}
                Steal::Empty => break,
            }
        }
        if first.is_some() {
            return first;
        }
        let mut chain = victim.inbox.take();
        if let Some(first) = chain.pop() {
            while let Some(node) = chain.pop() {
                self.push(shared, node);
            }
            return Some(first);
        }
        for priority in 0..PRIORITIES {
            let place = &victim.overflow[priority];
            if place.is_empty() {
                continue;
            }
            let mut chain = place.take(true);
            if let Some(first) = chain.pop() {
                self.overflow[priority].append(chain);
                self.mixed |= priority != NORMAL;
                // Published before another searcher is woken for it (F5).
                self.check_in(shared, priority);
                return Some(first);
            }
        }
        None
    }
}
