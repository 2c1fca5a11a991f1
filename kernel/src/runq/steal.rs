//! What is taken from another core (F5).

use core::ptr::{self, NonNull};

use super::brood::Stolen;
use super::node::{Chain, RunNode};
use super::{Local, NORMAL, PRIORITIES, Shared, Steps};
use crate::sync::Ordering;

impl<S: Steps> Local<S> {
    /// Takes work from another core: half a ring, else half its brood, else its inbox, else its overflow.
    /// Returns one process to run and queues the others here. Lock-free.
    pub fn steal(&mut self, shared: &Shared, victim: &Shared) -> Option<NonNull<RunNode>> {
        self.quantum.begin();
        for priority in 0..PRIORITIES {
            let mut first = None;
            victim.rings[priority].steal(|node| match first {
                None => first = Some(node),
                // SAFETY: stolen, so ours.
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
                (Stolen::One(node), None) => first = Some(node),
                // SAFETY: stolen, so ours.
                (Stolen::One(node), Some(_)) => unsafe { self.push(shared, node) },
                (Stolen::Lost, _) => {}
                (Stolen::Empty, _) => break,
            }
        }
        if first.is_some() {
            return first;
        }
        let mut chain = victim.inbox.take();
        if let Some(first) = chain.pop() {
            while let Some(node) = chain.pop() {
                // SAFETY: taken, so ours.
                unsafe { self.push(shared, node) };
            }
            return Some(first);
        }
        for priority in 0..PRIORITIES {
            let place = &victim.overflow[priority];
            if place.load(Ordering::Relaxed).is_null() {
                continue;
            }
            // Acquire: pairs with the Release of `check_in`.
            // SAFETY: checked in by `into_raw`, taken once by the swap.
            let mut chain = unsafe { Chain::from_raw(place.swap(ptr::null_mut(), Ordering::Acquire)) };
            if let Some(first) = chain.pop() {
                self.overflow[priority].append(chain);
                self.mixed |= priority != NORMAL;
                // Before another searcher is woken for it (F5).
                self.check_in(shared, priority);
                return Some(first);
            }
        }
        None
    }
}
