//! What is queued, and when others see it.

use core::ptr::{self, NonNull};

use super::node::{RunList, RunNode};
use super::{Local, NORMAL, PRIORITIES, Queued, Shared, Steps};
use crate::config::RING;
use crate::sync::{AtomicPtr, Ordering};

impl<S: Steps> Local<S> {
    /// Queues a node behind the others. Wait-free.
    ///
    /// # Safety
    /// The caller is this core and has the node (R1).
    pub unsafe fn push(&mut self, shared: &Shared, node: NonNull<RunNode>) {
        // SAFETY: the caller's.
        let priority = unsafe { node.as_ref() }.priority();
        self.mixed |= priority != NORMAL;
        let overflow = &mut self.overflow[priority];
        // Behind what overflowed before, checked in or not (F4). Relaxed: only the owner makes it non-null.
        let first = overflow.is_empty() && shared.overflow[priority].load(Ordering::Relaxed).is_null();
        // SAFETY: the caller is the owner, and has the node.
        if first && unsafe { shared.rings[priority].push(node) } {
            return;
        }
        // SAFETY: the caller's.
        unsafe { overflow.push(node) };
        self.unpublished = true;
        if overflow.len() >= RING {
            self.check_in(shared, priority);
        }
    }

    /// Queues a process that this core has just woken, or started (`newborn`): it runs next. Wait-free.
    ///
    /// # Safety
    /// As for [`Local::push`].
    pub unsafe fn push_next(&mut self, shared: &Shared, node: NonNull<RunNode>, newborn: bool) -> Queued {
        // SAFETY: the caller's.
        if unsafe { node.as_ref() }.priority() != NORMAL {
            // SAFETY: by contract.
            unsafe { self.push(shared, node) };
            return Queued::Stealable;
        }
        // Relaxed: only this core looks behind the pointer.
        let displaced = shared.next.load(Ordering::Relaxed);
        shared.next.store(node.as_ptr(), Ordering::Relaxed);
        let was_newborn = core::mem::replace(&mut self.next_is_newborn, newborn);
        match NonNull::new(displaced) {
            None => Queued::Local,
            Some(displaced) => {
                // SAFETY: it was in `next`, so it is the queue's to move.
                if !was_newborn || !unsafe { shared.brood.push(displaced) } {
                    // SAFETY: likewise.
                    unsafe { self.push(shared, displaced) };
                }
                Queued::Stealable
            }
        }
    }

    /// Queues a process that may run here only.
    ///
    /// # Safety
    /// As for [`Local::push`].
    pub unsafe fn push_pinned(&mut self, node: NonNull<RunNode>) {
        // SAFETY: the caller's.
        let priority = unsafe { node.as_ref() }.priority();
        // SAFETY: the caller's.
        unsafe { self.pinned[priority].push(node) };
        self.pinned_len += 1;
        self.mixed |= priority != NORMAL;
    }

    /// The owner's own overflow, or what a thief has left of it.
    pub(super) fn take_out(place: &AtomicPtr<RunNode>) -> RunList {
        let head = if S::SWAPS {
            // Acquire: pairs with our own Release; a thief stores only null.
            place.swap(ptr::null_mut(), Ordering::Acquire)
        } else {
            let head = place.load(Ordering::Acquire);
            place.store(ptr::null_mut(), Ordering::Relaxed);
            head
        };
        // SAFETY: checked in by `into_raw`, taken once by the swap.
        unsafe { RunList::from_raw(head) }
    }

    pub(super) fn check_in(&mut self, shared: &Shared, priority: usize) {
        let place = &shared.overflow[priority];
        let mut chain = Self::take_out(place);
        chain.append(core::mem::take(&mut self.overflow[priority]));
        // Release: pairs with the Acquire of the thief's swap: the chain is whole.
        place.store(chain.into_raw(), Ordering::Release);
    }

    /// A slice is over that has so much of its budget left: everything that it has queued and that can be stolen is visible.
    #[inline]
    pub fn end_slice(&mut self, shared: &Shared, left: u32) {
        self.quantum.end_slice(left);
        if self.unpublished {
            self.publish(shared);
        }
    }

    /// Makes everything that can be stolen visible.
    #[cold]
    pub(super) fn publish(&mut self, shared: &Shared) {
        self.unpublished = false;
        for priority in 0..PRIORITIES {
            if !self.overflow[priority].is_empty() {
                self.check_in(shared, priority);
            }
        }
    }
}
