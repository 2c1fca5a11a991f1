//! Queueing of processes, and when other cores see them.

use core::ptr::{self, NonNull};

use crate::config::RING;
use crate::runq::node::{RunList, RunNode};
use crate::runq::{Local, NORMAL, PRIORITIES, Queued, Shared, Steps};
use crate::sync::{AtomicPtr, Ordering};

impl<S: Steps> Local<S> {
    /// Queues a node behind those already queued. Wait-free.
    ///
    /// # Safety
    /// The caller is this core and has the node (R1).
    pub unsafe fn push(&mut self, shared: &Shared, node: NonNull<RunNode>) {
        // SAFETY: R1, the caller has the node, so it is live.
        let priority = unsafe { node.as_ref() }.priority();
        self.mixed |= priority != NORMAL;
        let overflow = &mut self.overflow[priority];
        // Behind earlier overflow, published or not (F4). Relaxed: only the owner makes it
        // non-null.
        let first = overflow.is_empty() && shared.overflow[priority].load(Ordering::Relaxed).is_null();
        // SAFETY: R1, the caller is the ring's owner and has the node.
        if first && unsafe { shared.rings[priority].push(node) } {
            return;
        }
        // SAFETY: R1, the caller has the node, and the ring did not take it.
        unsafe { overflow.push(node) };
        self.unpublished = true;
        if overflow.len() >= RING {
            self.check_in(shared, priority);
        }
    }

    /// Queues a process that this core has just woken, or started (`newborn`), in the LIFO slot: it
    /// runs next. Wait-free.
    ///
    /// # Safety
    /// The caller is this core and has the node (R1).
    pub unsafe fn push_next(&mut self, shared: &Shared, node: NonNull<RunNode>, newborn: bool) -> Queued {
        // SAFETY: R1, the caller has the node, so it is live.
        if unsafe { node.as_ref() }.priority() != NORMAL {
            // SAFETY: R1, the caller is this core and has the node (this function's contract).
            unsafe { self.push(shared, node) };
            return Queued::Stealable;
        }
        // Relaxed: only this core dereferences the pointer.
        let displaced = shared.next.load(Ordering::Relaxed);
        shared.next.store(node.as_ptr(), Ordering::Relaxed);
        let was_newborn = core::mem::replace(&mut self.next_is_newborn, newborn);
        match NonNull::new(displaced) {
            None => Queued::Local,
            Some(displaced) => {
                // SAFETY: R1, the node was in `next`, so this core's queues have it.
                if !was_newborn || !unsafe { shared.brood.push(displaced) } {
                    // SAFETY: R1, the node was in `next`, and the deque did not take it.
                    unsafe { self.push(shared, displaced) };
                }
                Queued::Stealable
            }
        }
    }

    /// Queues a process that may run on this core only.
    ///
    /// # Safety
    /// The caller is this core and has the node (R1).
    pub unsafe fn push_pinned(&mut self, node: NonNull<RunNode>) {
        // SAFETY: R1, the caller has the node, so it is live.
        let priority = unsafe { node.as_ref() }.priority();
        // SAFETY: R1, the caller has the node (this function's contract).
        unsafe { self.pinned[priority].push(node) };
        self.pinned_len += 1;
        self.mixed |= priority != NORMAL;
    }

    /// Takes the published overflow out, or an empty chain if a thief took it.
    pub(super) fn take_out(place: &AtomicPtr<RunNode>) -> RunList {
        let head = if S::SWAPS {
            // Acquire: pairs with our own Release in `check_in`; a thief stores only null.
            place.swap(ptr::null_mut(), Ordering::Acquire)
        } else {
            let head = place.load(Ordering::Acquire);
            place.store(ptr::null_mut(), Ordering::Relaxed);
            head
        };
        // SAFETY: R1, `into_raw` made the pointer, and the swap gives it to one taker only.
        unsafe { RunList::from_raw(head) }
    }

    pub(super) fn check_in(&mut self, shared: &Shared, priority: usize) {
        let place = &shared.overflow[priority];
        let mut chain = Self::take_out(place);
        chain.append(core::mem::take(&mut self.overflow[priority]));
        // Release: pairs with the Acquire swap of a thief (`steal_some`): the thief sees the whole
        // chain.
        place.store(chain.into_raw(), Ordering::Release);
    }

    /// Ends a slice that has `left` of its budget, and makes all stealable processes that it queued
    /// visible.
    #[inline]
    pub fn end_slice(&mut self, shared: &Shared, left: u32) {
        self.quantum.end_slice(left);
        if self.unpublished {
            self.publish(shared);
        }
    }

    /// Makes all stealable processes visible to other cores.
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
