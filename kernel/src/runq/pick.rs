//! The choice of the next process to run (F1 to F3).

use core::ptr::{self, NonNull};

use super::brood::Steal;
use super::node::{RunList, RunNode};
use super::{Local, NORMAL, PRIORITIES, Shared, Steps};
use crate::config::RING;
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
            if self.quantum.lasts() && self.takes_turn(shared) {
                self.quantum.go_on();
                return next;
            }
        }
        self.pop_behind(shared, next)
    }

    /// Takes the next process when the one from `next` has no turn left: it goes behind the queues.
    fn pop_behind(&mut self, shared: &Shared, next: Option<NonNull<RunNode>>) -> Option<NonNull<RunNode>> {
        let lasts = self.quantum.lasts();
        if !lasts {
            self.grow_up(shared);
        }
        if let Some(node) = next {
            // SAFETY: R1, the node was in `next`, which is this core's.
            unsafe { self.push(shared, node) };
            self.went_behind = self.pinned_len > 0;
        }
        // SAFETY: the caller is the deque's owner, as for every method of `Local`.
        if lasts && let Some(node) = unsafe { shared.brood.pop() } {
            self.quantum.go_on();
            return Some(node);
        }
        self.quantum.begin();
        self.pop_queued(shared).or_else(|| {
            self.drain(shared);
            self.pop_queued(shared)
        })
    }

    /// Returns `true` if a process that was hidden in `next` has become stealable since the last
    /// call.
    #[inline]
    pub fn has_shown(&mut self) -> bool {
        core::mem::take(&mut self.went_behind)
    }

    #[inline]
    fn takes_turn(&mut self, shared: &Shared) -> bool {
        if self.quantum.is_in_turns() {
            return true;
        }
        // Only processes that would come first count: low priority has its own share (F1), and so
        // has an inbox (F3).
        // Newborns come before any queued process, for a whole quantum.
        let waits = !self.next_is_newborn
            && shared.brood.is_empty()
            && (0..PRIORITIES - 1).any(|priority| self.waits(shared, priority));
        self.quantum.begins_turns(waits)
    }

    /// Moves the newborns that are left behind the queues (F2).
    fn grow_up(&mut self, shared: &Shared) {
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
        let first = if self.alone { unsafe { ring.pop_alone() } } else { unsafe { ring.pop() } };
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
