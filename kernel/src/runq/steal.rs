//! Work stealing (F5), also from a core whose process does not yield (`sched::stall`).

use core::ptr::{self, NonNull};

use crate::config::RING;
use crate::runq::newborn_deque::Steal;
use crate::runq::node::{RunList, RunNode};
use crate::runq::{Local, NORMAL, PRIORITIES, Shared, Steps};
use crate::sync::Ordering;

impl<S: Steps> Local<S> {
    /// Takes work from another core: half of a ring, else half of its newborns, else its inbox,
    /// else an overflow. Returns one process to run and queues the rest here. Lock-free.
    pub fn steal(&mut self, shared: &Shared, victim: &Shared) -> Option<NonNull<RunNode>> {
        self.quantum.begin();
        self.steal_some(shared, victim)
    }

    /// Takes everything that another core has queued, behind what this core has. Returns a lower
    /// bound of the number of processes taken. Lock-free.
    pub fn take_over(&mut self, shared: &Shared, victim: &Shared) -> usize {
        let mut taken = 0;
        // A ring gives half at a time.
        while taken < RING
            && let Some(node) = self.steal_some(shared, victim)
        {
            // SAFETY: R1, `steal_some` gave us the node.
            unsafe { self.push(shared, node) };
            taken += 1;
        }
        if taken > 0 {
            self.publish(shared);
        }
        taken
    }

    /// Moves hidden processes to where other cores can take them. The caller is the owner, or has
    /// taken over its `Local`.
    pub fn hand_over(&mut self, shared: &Shared) {
        if let Some(node) = NonNull::new(shared.next.load(Ordering::Relaxed)) {
            shared.next.store(ptr::null_mut(), Ordering::Relaxed);
            // SAFETY: R1, the node was in `next`, which the caller owns or has taken over.
            unsafe { shared.inbox.push(node) };
        }
        if self.unpublished {
            self.publish(shared);
        }
    }

    fn steal_some(&mut self, shared: &Shared, victim: &Shared) -> Option<NonNull<RunNode>> {
        for priority in 0..PRIORITIES {
            let mut first = None;
            victim.rings[priority].steal(|node| match first {
                None => first = Some(node),
                // SAFETY: R1, the ring's `steal` gave us the node.
                Some(_) => unsafe { self.push(shared, node) },
            });
            if first.is_some() {
                return first;
            }
        }
        let half = victim.brood.len().div_ceil(2);
        let mut first = None;
        for _ in 0..half {
            match (victim.brood.steal(), first) {
                (Steal::One(node), None) => first = Some(node),
                // SAFETY: R1, the deque's `steal` gave us the node.
                (Steal::One(node), Some(_)) => unsafe { self.push(shared, node) },
                (Steal::Retry, _) => {}
                (Steal::Empty, _) => break,
            }
        }
        if first.is_some() {
            return first;
        }
        let mut chain = victim.inbox.take();
        if let Some(first) = chain.pop() {
            while let Some(node) = chain.pop() {
                // SAFETY: R1, `take` gave us all nodes of the inbox.
                unsafe { self.push(shared, node) };
            }
            return Some(first);
        }
        for priority in 0..PRIORITIES {
            let place = &victim.overflow[priority];
            if place.load(Ordering::Relaxed).is_null() {
                continue;
            }
            // Acquire: pairs with the Release store in `check_in`.
            // SAFETY: R1, `into_raw` made the pointer, and the swap gives it to one taker only.
            let mut chain = unsafe { RunList::from_raw(place.swap(ptr::null_mut(), Ordering::Acquire)) };
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
