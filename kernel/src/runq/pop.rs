//! The choice of the next process to run (F1 to F3).

use core::ptr::{self, NonNull};

use crate::config::RING;
use crate::runq::newborn_deque::Steal;
use crate::runq::node::{RunList, RunNode};
use crate::runq::{Local, NORMAL, PRIORITIES, Shared, Steps};
use crate::sync::Ordering;

impl<S: Steps> Local<S> {
    /// Takes the next process to run. Lock-free.
    #[inline]
    pub fn pop(&mut self, shared: &Shared) -> Option<NonNull<RunNode>> {
        self.tick = self.tick.wrapping_add(1);
        if self.tick.is_multiple_of(32) {
            self.drain(shared);
        }
        let next = NonNull::new(shared.next.load(Ordering::Relaxed));
        if next.is_some() {
            shared.next.store(ptr::null_mut(), Ordering::Relaxed);
            if self.quantum.lasts() && self.try_ping_pong(shared) {
                self.quantum.go_on();
                return next;
            }
        }
        self.pop_after_newborns(shared, next)
    }

    /// Does the first part of [`Local::pop`] at the end of a slice: returns the next process that
    /// continues the current budget, and what is left of it. Returns `None`, and does nothing,
    /// where the full [`Local::pop`] must decide. Wait-free.
    #[inline(always)]
    pub fn pop_continuing(&mut self, shared: &Shared) -> Option<(NonNull<RunNode>, u32)> {
        let tick = self.tick.wrapping_add(1);
        if tick.is_multiple_of(32) || self.became_stealable || !self.quantum.lasts() {
            return None;
        }
        // Relaxed: only this core looks behind the pointer.
        let node = match NonNull::new(shared.next.load(Ordering::Relaxed)) {
            Some(next) if self.quantum.in_ping_pong() => {
                shared.next.store(ptr::null_mut(), Ordering::Relaxed);
                next
            }
            Some(_) => return None,
            // SAFETY: the caller is the owner of the deque, as in `pop`.
            None => unsafe { shared.brood.pop() }?,
        };
        self.tick = tick;
        self.quantum.go_on();
        Some((node, self.quantum.budget().0))
    }

    /// Takes the next process when the one from `next` has no turn left: it goes behind the queues.
    fn pop_after_newborns(&mut self, shared: &Shared, next: Option<NonNull<RunNode>>) -> Option<NonNull<RunNode>> {
        let lasts = self.quantum.lasts();
        if !lasts {
            self.demote_newborns(shared);
        }
        if let Some(node) = next {
            // SAFETY: R1, the node was in `next`, which is this core's.
            unsafe { self.push(shared, node) };
            self.became_stealable = self.pinned_len > 0;
        }
        // SAFETY: the caller is the deque's owner, as for every method of `Local`.
        if lasts && let Some(node) = unsafe { shared.brood.pop() } {
            self.quantum.go_on();
            return Some(node);
        }
        self.quantum.begin();
        self.pop_queued(shared).or_else(|| {
            if shared.inbox.is_empty() && shared.pinned.is_empty() {
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
    pub fn publish_seen(&mut self) -> bool {
        core::mem::take(&mut self.became_stealable)
    }

    #[inline]
    fn try_ping_pong(&mut self, shared: &Shared) -> bool {
        if self.quantum.in_ping_pong() {
            return true;
        }
        // Only processes that would come first count: low priority has its own share (F1), and so
        // has an inbox (F3).
        // Newborns come before any queued process, for a whole quantum.
        let waits = !self.next_is_newborn
            && shared.brood.is_empty()
            && (0..PRIORITIES - 1).any(|priority| self.waits(shared, priority));
        self.quantum.start_ping_pong(waits)
    }

    /// Moves the newborns that are left behind the queues (F2).
    fn demote_newborns(&mut self, shared: &Shared) {
        loop {
            match shared.brood.steal() {
                // SAFETY: R1, `steal` gave us the node.
                Steal::One(node) => unsafe { self.push(shared, node) },
                // A thief got the node. Only this core adds nodes, so the number of nodes bounds
                // the loop.
                Steal::Retry => {}
                Steal::Empty => return,
            }
        }
    }

    #[inline]
    fn pop_queued(&mut self, shared: &Shared) -> Option<NonNull<RunNode>> {
        if self.mixed { self.pop_mixed(shared) } else { self.pop_at(shared, NORMAL) }
    }

    /// Does the same as [`Local::pop_queued`] when processes of high or low priority may be queued.
    #[inline(never)]
    fn pop_mixed(&mut self, shared: &Shared) -> Option<NonNull<RunNode>> {
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

    fn pop_at(&mut self, shared: &Shared, priority: usize) -> Option<NonNull<RunNode>> {
        if self.pinned_len > 0 && !self.pinned[priority].is_empty() {
            let turn = &mut self.pinned_turn[priority];
            *turn = !*turn;
            if *turn {
                return self.pop_pinned(priority);
            }
        }
        let ring = &shared.rings[priority];
        // SAFETY: the caller is the ring's owner, and if this is the only core, no thread calls
        // `steal`.
        let first = if self.alone { unsafe { ring.pop_single_core() } } else { unsafe { ring.pop() } };
        if first.is_some() {
            return first;
        }
        // Relaxed: only the owner makes it non-null.
        if self.overflow[priority].is_empty() && shared.overflow[priority].load(Ordering::Relaxed).is_null() {
            return if self.pinned_len == 0 { None } else { self.pop_pinned(priority) };
        }
        self.refill(shared, priority).or_else(|| self.pop_pinned(priority))
    }

    fn pop_pinned(&mut self, priority: usize) -> Option<NonNull<RunNode>> {
        let node = self.pinned[priority].pop()?;
        self.pinned_len -= 1;
        Some(node)
    }

    #[inline(never)]
    fn refill(&mut self, shared: &Shared, priority: usize) -> Option<NonNull<RunNode>> {
        let place = &shared.overflow[priority];
        let mut chain = RunList::new();
        if !place.load(Ordering::Relaxed).is_null() {
            chain = Self::take_out(place);
        }
        chain.append(core::mem::take(&mut self.overflow[priority]));
        let first = chain.pop()?;
        for _ in 0..RING / 2 {
            let Some(node) = chain.pop() else { break };
            // SAFETY: R1, the caller is the ring's owner, and the node came from its chain.
            if !unsafe { shared.rings[priority].push(node) } {
                let mut back = RunList::new();
                // SAFETY: R1, the node came from our chain and is in no ring.
                unsafe { back.push(node) };
                back.append(chain);
                chain = back;
                break;
            }
        }
        self.overflow[priority] = chain;
        self.publish(shared);
        Some(first)
    }

    /// Moves processes that other threads woke into the queues.
    pub fn drain(&mut self, shared: &Shared) {
        let mut chain = shared.inbox.take();
        while let Some(node) = chain.pop() {
            // SAFETY: R1, this core took the node from the inbox.
            unsafe { self.push(shared, node) };
        }
        let mut chain = shared.pinned.take();
        while let Some(node) = chain.pop() {
            // SAFETY: R1, this core took the node from its pinned inbox.
            unsafe { self.push_pinned(node) };
        }
    }

    /// Returns `true` if a process of this priority is queued, newborns and inboxes aside.
    fn waits(&self, shared: &Shared, priority: usize) -> bool {
        // Relaxed: only the owner makes it non-null.
        !shared.rings[priority].is_empty()
            || !self.overflow[priority].is_empty()
            || !shared.overflow[priority].load(Ordering::Relaxed).is_null()
            || !self.pinned[priority].is_empty()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::config::SLICE;
    use crate::runq::Shipped;
    use alloc::vec::Vec;

    const NODES: usize = 48;

    /// A core's queues and all the nodes that may be in them.
    struct Queues {
        shared: Shared,
        local: Local<Shipped>,
        nodes: Vec<RunNode>,
    }

    impl Queues {
        fn new(cores: usize) -> Self {
            let nodes = (0..NODES).map(|number| RunNode::new(if number % 16 == 15 { 0 } else { 1 })).collect();
            Self { shared: Shared::new(), local: Local::of(cores), nodes }
        }

        fn node(&self, number: usize) -> NonNull<RunNode> {
            NonNull::from(&self.nodes[number])
        }

        fn number(&self, node: NonNull<RunNode>) -> usize {
            (0..NODES).find(|number| self.node(*number) == node).expect("one of the nodes")
        }

        /// Queues a node that is in no queue.
        fn push(&mut self, number: usize, how: u64) {
            let node = self.node(number);
            match how {
                // SAFETY: the node is in no queue, and this thread is the core.
                0..8 => _ = unsafe { self.local.push_next(&self.shared, node, how < 3) },
                // SAFETY: the node is in no queue, and this thread is the core.
                8..10 => unsafe { self.local.push(&self.shared, node) },
                // SAFETY: the node is in no queue, and this thread is the core.
                10 => unsafe { self.local.push_pinned(node) },
                // SAFETY: the node is in no queue, and this thread is the core.
                _ => unsafe { self.shared.inbox.push(node) },
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
            let (mut long, mut short) = (Queues::new(cores), Queues::new(cores));
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
                let left = random(u64::from(SLICE)) as u32;
                long.local.end_slice(&long.shared, left);
                short.local.end_slice(&short.shared, left);
                let expected = long.local.pop(&long.shared).map(|node| long.number(node));
                let shown = long.local.publish_seen();
                let found = match short.local.pop_continuing(&short.shared) {
                    Some((node, budget)) => {
                        short_ways += 1;
                        assert_eq!((budget, false), long.local.budget());
                        assert!(!shown, "the core would have told the others");
                        Some(node)
                    }
                    None => {
                        let node = short.local.pop(&short.shared);
                        assert_eq!(short.local.publish_seen(), shown);
                        node
                    }
                };
                let found = found.map(|node| short.number(node));
                assert_eq!((found, short.local.budget()), (expected, long.local.budget()));
                free.extend(found);
            }
        }
        assert!(short_ways > 10_000, "{short_ways}");
    }
}
