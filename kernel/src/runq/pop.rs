//! The choice of the next process to run (F1 to F3).

use core::mem::take;

use crate::config::RING;
use crate::runq::newborn_deque::Steal;
use crate::runq::node::{HeldRunNode, RunList};
use crate::runq::{Local, NORMAL, OwnShared, PRIORITIES, Steps};

impl<S: Steps> Local<S> {
    /// Takes the next process to run. Lock-free.
    #[inline]
    pub(super) fn pop(&mut self, shared: OwnShared<'_>) -> Option<HeldRunNode> {
        self.tick = self.tick.wrapping_add(1);
        if self.tick.is_multiple_of(32) {
            self.drain(shared);
        }
        let next = shared.take_next();
        if next.is_some() && self.quantum.lasts() && self.try_ping_pong(shared) {
            self.quantum.go_on();
            return next;
        }
        self.pop_after_newborns(shared, next)
    }

    /// Does the first part of [`Local::pop`] at the end of a slice: returns the next process that
    /// continues the current budget, and what is left of it. Returns `None`, and does nothing,
    /// where the full [`Local::pop`] must decide. Wait-free.
    #[inline(always)]
    pub(super) fn pop_continuing(&mut self, shared: OwnShared<'_>) -> Option<(HeldRunNode, u32)> {
        let tick = self.tick.wrapping_add(1);
        if tick.is_multiple_of(32) || self.became_stealable || !self.quantum.lasts() {
            return None;
        }
        let node = match shared.take_next_if(|| self.quantum.in_ping_pong())? {
            Some(next) => next,
            None => shared.newborns().pop()?,
        };
        self.tick = tick;
        self.quantum.go_on();
        Some((node, self.quantum.budget().0))
    }

    /// Takes the next process when the one from `next` has no turn left: it goes behind the queues.
    fn pop_after_newborns(&mut self, shared: OwnShared<'_>, next: Option<HeldRunNode>) -> Option<HeldRunNode> {
        let lasts = self.quantum.lasts();
        if !lasts {
            self.demote_newborns(shared);
        }
        if let Some(node) = next {
            self.push(shared, node);
            self.became_stealable = self.pinned_len > 0;
        }
        if lasts && let Some(node) = shared.newborns().pop() {
            self.quantum.go_on();
            return Some(node);
        }
        self.quantum.begin();
        self.pop_queued(shared).or_else(|| {
            if shared.0.inbox.is_empty() && shared.0.pinned.is_empty() {
                // Then there is nothing to drain, and a second look finds what the first has found.
                return None;
            }
            self.drain(shared);
            self.pop_queued(shared)
        })
    }

    /// Returns `true` if a process that was hidden in `next` has become stealable since the last
    /// call.
    #[inline]
    pub(super) fn publish_seen(&mut self) -> bool {
        take(&mut self.became_stealable)
    }

    #[inline]
    fn try_ping_pong(&mut self, shared: OwnShared<'_>) -> bool {
        if self.quantum.in_ping_pong() {
            return true;
        }
        // Only processes that would come first count: low priority has its own share (F1), and so
        // has an inbox (F3).
        // Newborns come before any queued process, for a whole quantum.
        let waits = !self.next_is_newborn
            && shared.0.newborns.is_empty()
            && (0..PRIORITIES - 1).any(|priority| self.waits(shared, priority));
        self.quantum.start_ping_pong(waits)
    }

    /// Moves the newborns that are left behind the queues (F2).
    fn demote_newborns(&mut self, shared: OwnShared<'_>) {
        loop {
            match shared.0.newborns.steal() {
                Steal::One(node) => self.push(shared, node),
                // A thief got the node. Only this core adds nodes, so the number of nodes bounds
                // the loop.
                Steal::Retry => {}
                Steal::Empty => return,
            }
        }
    }

    #[inline]
    fn pop_queued(&mut self, shared: OwnShared<'_>) -> Option<HeldRunNode> {
        if self.mixed { self.pop_mixed(shared) } else { self.pop_at(shared, NORMAL) }
    }

    /// Does the same as [`Local::pop_queued`] when processes of high or low priority may be queued.
    #[inline(never)]
    fn pop_mixed(&mut self, shared: OwnShared<'_>) -> Option<HeldRunNode> {
        self.picks = self.picks.wrapping_add(1);
        let order: [usize; PRIORITIES] = match self.picks {
            picks if picks.is_multiple_of(64) => [2, 0, 1],
            picks if picks.is_multiple_of(8) => [1, 0, 2],
            _ => [0, 1, 2],
        };
        let found = order.into_iter().find_map(|priority| self.pop_at(shared, priority));
        self.mixed = (0..PRIORITIES).any(|priority| priority != NORMAL && self.waits(shared, priority));
        found
    }

    fn pop_at(&mut self, shared: OwnShared<'_>, priority: usize) -> Option<HeldRunNode> {
        if self.pinned_len > 0 && !self.pinned[priority].is_empty() {
            let turn = &mut self.pinned_turn[priority];
            *turn = !*turn;
            if *turn {
                return self.pop_pinned(priority);
            }
        }
        let ring = shared.ring(priority);
        // SAFETY: `alone`: this is the only core, so no thread steals (`Queues::of`).
        let first = if self.alone { unsafe { ring.pop_single_core() } } else { ring.pop() };
        if first.is_some() {
            return first;
        }
        if self.overflow[priority].is_empty() && shared.0.overflow[priority].is_empty() {
            return if self.pinned_len == 0 { None } else { self.pop_pinned(priority) };
        }
        self.refill(shared, priority).or_else(|| self.pop_pinned(priority))
    }

    fn pop_pinned(&mut self, priority: usize) -> Option<HeldRunNode> {
        let node = self.pinned[priority].pop()?;
        self.pinned_len -= 1;
        Some(node)
    }

    #[inline(never)]
    fn refill(&mut self, shared: OwnShared<'_>, priority: usize) -> Option<HeldRunNode> {
        let place = &shared.0.overflow[priority];
        let mut chain = if place.is_empty() { RunList::new() } else { place.take(S::SWAPS) };
        chain.append(take(&mut self.overflow[priority]));
        let first = chain.pop()?;
        for _ in 0..RING / 2 {
            let Some(node) = chain.pop() else { break };
            if let Err(node) = shared.ring(priority).push(node) {
                chain.push_front(node);
                break;
            }
        }
        self.overflow[priority] = chain;
        self.publish(shared);
        Some(first)
    }

    /// Moves processes that other threads woke into the queues.
    pub(super) fn drain(&mut self, shared: OwnShared<'_>) {
        let mut chain = shared.0.inbox.take();
        while let Some(node) = chain.pop() {
            self.push(shared, node);
        }
        let mut chain = shared.0.pinned.take();
        while let Some(node) = chain.pop() {
            self.push_pinned(node);
        }
    }

    /// Returns `true` if a process of this priority is queued, newborns and inboxes aside.
    fn waits(&self, shared: OwnShared<'_>, priority: usize) -> bool {
        !shared.0.rings[priority].is_empty()
            || !self.overflow[priority].is_empty()
            || !shared.0.overflow[priority].is_empty()
            || !self.pinned[priority].is_empty()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::config::SLICE;
    use crate::runq::node::RunNode;
    use crate::runq::{Queues, Shared};
    use crate::shipped::Shipped;
    use alloc::vec::Vec;
    use core::ptr::NonNull;

    const NODES: usize = 48;

    /// A core's queues and all the nodes that may be in them.
    struct Core {
        shared: Shared,
        local: Local<Shipped>,
        nodes: Vec<RunNode>,
    }

    impl Core {
        fn new(cores: usize) -> Self {
            let nodes = (0..NODES).map(|number| RunNode::new(if number % 16 == 15 { 0 } else { 1 })).collect();
            Self { shared: Shared::new(), local: Local::of(cores), nodes }
        }

        fn number(&self, node: HeldRunNode) -> usize {
            let node = node.into_raw();
            (0..NODES).find(|number| NonNull::from(&self.nodes[*number]) == node).expect("one of the nodes")
        }

        fn queues(&mut self) -> Queues<'_> {
            // SAFETY: this thread is the core that the two parts belong to.
            unsafe { Queues::of(&mut self.local, &self.shared) }
        }

        /// Queues a node that is in no queue.
        fn push(&mut self, number: usize, how: u64) {
            // SAFETY: the node is in no queue, and lives as long as the queues.
            let node = unsafe { HeldRunNode::new(NonNull::from(&self.nodes[number])) };
            match how {
                0..8 => _ = self.queues().push_next(node, how < 3),
                8..10 => self.queues().push(node),
                10 => self.queues().push_pinned(node),
                _ => self.shared.inbox.push(node),
            }
        }
    }

    /// The short path, and the full pop where the short path returns `None`, together take the same
    /// processes with the same budgets as the full pop alone.
    #[test]
    fn the_short_way_picks_what_the_long_way_picks() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut short_ways = 0;
        for cores in [1, 2] {
            let (mut long, mut short) = (Core::new(cores), Core::new(cores));
            let mut free: Vec<usize> = (0..NODES).collect();
            for _ in 0..100_000 {
                for _ in 0..random(4) {
                    if free.is_empty() {
                        break;
                    }
                    let number = free.swap_remove(random(free.len() as u64) as usize);
                    let how = random(12);
                    long.push(number, how);
                    short.push(number, how);
                }
                if random(8) == 0 {
                    long.queues().demote_next();
                    short.queues().demote_next();
                }
                let left = random(u64::from(SLICE)) as u32;
                long.queues().end_slice(left);
                short.queues().end_slice(left);
                let expected = long.queues().pop().map(|node| long.number(node));
                let shown = long.queues().publish_seen();
                let found = match short.queues().pop_continuing() {
                    Some((node, budget)) => {
                        short_ways += 1;
                        assert_eq!((budget, false), long.queues().budget());
                        assert!(!shown, "the core would have told the others");
                        Some(node)
                    }
                    None => {
                        let node = short.queues().pop();
                        assert_eq!(short.queues().publish_seen(), shown);
                        node
                    }
                };
                let found = found.map(|node| short.number(node));
                assert_eq!((found, short.queues().budget()), (expected, long.queues().budget()));
                free.extend(found);
            }
        }
        assert!(short_ways > 10_000, "{short_ways}");
    }
}
