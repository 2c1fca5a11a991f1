//! What becomes of a timer: it fires (1), is cancelled (2), is received (3).

use core::ptr::{self, NonNull};

use super::{GivesUp, Shipped, Steps, Target, TimerHead, value_of};
use crate::hand::KernelCx;
use crate::memory::pool::Pool;
use crate::pid::{Pid, Reference};
use crate::process::ties::watch_was_cancelled;
use crate::signal::node::Node;
use crate::timer::slot::Was;

/// The list of a process has a record that no longer waits; without this a process that lives long and is sent
/// many messages by timer would keep them all.
fn uncount_watch(listed: Option<Pid>, hand: &KernelCx<'_>) {
    if let Some(process) = listed.and_then(|pid| hand.find(pid)) {
        watch_was_cancelled(process, hand);
    }
}

impl TimerHead {
    /// (1) It is due. Consumes the wheel's share, which it has left. Lock-free.
    ///
    /// # Safety
    /// The caller is the wheel's core and has just taken it off.
    pub unsafe fn fire(this: NonNull<Self>, hand: &KernelCx<'_>) {
        // SAFETY: by contract.
        unsafe { Self::fire_by::<Shipped>(this, hand) }
    }

    /// [`TimerHead::fire`], by the steps `S`.
    ///
    /// # Safety
    /// As for [`TimerHead::fire`].
    pub unsafe fn fire_by<S: Steps>(this: NonNull<Self>, hand: &KernelCx<'_>) {
        // SAFETY: by contract.
        let fired = unsafe { Self::claim(this) };
        if S::ASKS && !fired {
            // Cancelled on another core: the wheel's share comes by the stack of the cancelled.
            return;
        }
        // SAFETY: claimed.
        unsafe { Self::deliver(this, hand) }
    }

    /// The first half of [`TimerHead::fire`]: decides that it fires. False: it was cancelled, and whoever did that sees to the wheel's share,
    /// so that the timer may be gone when this returns. Wait-free.
    ///
    /// # Safety
    /// The caller has the wheel, and has just taken it off.
    pub unsafe fn claim(this: NonNull<Self>) -> bool {
        // SAFETY: the wheel's share is given up by the party that has the wheel only.
        let timer = unsafe { this.as_ref() };
        timer.slot().fire(timer.name())
    }

    /// The second half: the message or alarm goes to its target. Lock-free.
    ///
    /// # Safety
    /// The caller has claimed it, and does not use it again.
    pub unsafe fn deliver(this: NonNull<Self>, hand: &KernelCx<'_>) {
        // SAFETY: claimed, so the wheel's share is the caller's.
        let timer = unsafe { this.as_ref() };
        let listed = timer.listed();
        let process = match timer.target {
            Target::Pid(pid) => hand.find(pid),
            // SAFETY: entries live as long as the kernel.
            Target::Name(entry) => unsafe { entry.as_ref() }.holder(hand.guard),
        };
        let node = this.cast::<Node>();
        if let Some(process) = process
            && timer.takes.is_none_or(|takes| takes == process.vtable.takes)
        {
            // SAFETY: who fires owns the node; the share goes with it.
            if unsafe { hand.push(process, node) } {
                return uncount_watch(listed, hand);
            }
        }
        // SAFETY: not delivered, so still ours.
        unsafe { hand.release(node) };
        uncount_watch(listed, hand);
    }

    /// Whose list of watchers it is on.
    fn listed(&self) -> Option<Pid> {
        match self.target {
            Target::Pid(pid) if self.watched => Some(pid),
            _ => None,
        }
    }

    /// (2) It is not wanted any more: whether it was still to come. Lock-free.
    ///
    /// # Safety
    /// The caller has a share, which it keeps.
    pub unsafe fn cancel(this: NonNull<Self>, hand: &KernelCx<'_>) -> bool {
        // SAFETY: by contract.
        let ended = unsafe { Self::end(this, hand) };
        if ended {
            // SAFETY: by the caller's share.
            uncount_watch(unsafe { this.as_ref() }.listed(), hand);
        }
        ended
    }

    /// # Safety
    /// As for [`TimerHead::cancel`].
    pub(super) unsafe fn end(this: NonNull<Self>, hand: &KernelCx<'_>) -> bool {
        // SAFETY: shared, so live.
        let timer = unsafe { this.as_ref() };
        if !timer.slot().cancel(timer.name()) {
            return false;
        }
        // SAFETY: cancelled here, of what was armed.
        unsafe { Self::cancelled(this, hand) };
        true
    }

    /// What a canceller has to do with a timer of a wheel: its message ends, and its wheel's core takes it off.
    ///
    /// # Safety
    /// The caller has cancelled it, and so has the message, and the wheel's share, which goes with this.
    unsafe fn cancelled(this: NonNull<Self>, hand: &KernelCx<'_>) {
        // SAFETY: by the wheel's share.
        let timer = unsafe { this.as_ref() };
        if let Some(drop_value) = timer.drop_value {
            // SAFETY: who cancels owns the value; a destructor's panic is contained.
            hand.catch_panic(|| unsafe { drop_value(this) });
        }
        match hand.core {
            // SAFETY: cancelled, so on its wheel until its core takes it off.
            Some(core) if core.id() == timer.core => unsafe { core.take_off(hand.kernel, this) },
            // SAFETY: the wheel's share goes with it.
            _ => unsafe { hand.kernel.timer_cancelled(this) },
        }
    }

    /// (2) Whatever timer of the kernel the reference names is not wanted any more: when it would have been due, if it was still to come. From
    /// anywhere, by a caller that need have no share of it. Lock-free.
    pub fn cancel_named(reference: Reference, hand: &KernelCx<'_>) -> Option<u64> {
        Self::cancel_named_by::<Shipped>(reference, hand)
    }

    /// [`TimerHead::cancel_named`], by the steps `S`.
    pub fn cancel_named_by<S: Steps>(reference: Reference, hand: &KernelCx<'_>) -> Option<u64> {
        let (this, was) = hand.kernel.references.timers.cancel::<S>(reference, hand.kernel)?;
        // SAFETY: the wheel's share is the canceller's (`slot`, S2).
        let timer = unsafe { this.as_ref() };
        let due = timer.due;
        match was {
            Was::Armed => {
                let listed = timer.listed();
                // SAFETY: cancelled just now, of what was armed.
                unsafe { Self::cancelled(this, hand) };
                uncount_watch(listed, hand);
            }
            Was::Prepared => {
                // On no wheel, and on no list: its message ends, and who has it on its way lets go of the rest.
                let _share = GivesUp { timer: this, pool: hand.pool(), shares: 1 };
                if let Some(drop_value) = timer.drop_value {
                    // SAFETY: who cancels owns the value; a destructor's panic is contained.
                    hand.catch_panic(|| unsafe { drop_value(this) });
                }
            }
        }
        Some(due)
    }

    /// When whatever timer of the kernel the reference names is due, if it is still to come. From anywhere. Wait-free.
    pub fn read_named(reference: Reference, hand: &KernelCx<'_>) -> Option<u64> {
        Self::read_named_by::<Shipped>(reference, hand)
    }

    /// [`TimerHead::read_named`], by the steps `S`.
    pub fn read_named_by<S: Steps>(reference: Reference, hand: &KernelCx<'_>) -> Option<u64> {
        hand.kernel.references.timers.read::<S>(reference, hand.kernel)
    }

    /// (3) Takes the message of a fetched timer and gives up the signal's share.
    ///
    /// # Safety
    /// The caller fetched the node of this timer with an `M`, and does not use it again.
    pub unsafe fn open<M>(this: NonNull<Self>, pool: Option<&Pool>) -> M {
        // SAFETY: fired: the value is the node's holder's.
        let value = unsafe { ptr::read(value_of::<M>(this)) };
        // SAFETY: the signal's share.
        unsafe { Self::give_up(this, pool) };
        value
    }

    /// The message of a fetched timer.
    ///
    /// # Safety
    /// The caller holds the node of this timer with an `M`.
    pub unsafe fn peek<'a, M>(this: NonNull<Self>) -> &'a M {
        // SAFETY: fired: the value is the node's holder's.
        unsafe { &*value_of::<M>(this) }
    }

    /// Gives up a share. Wait-free.
    ///
    /// # Safety
    /// The caller has it and does not use the record again.
    pub unsafe fn give_up(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: shared, so live.
        let timer = unsafe { this.as_ref() };
        if timer.shares.give_up() {
            let (free, slot, name) = (timer.free, timer.slot, timer.name());
            // SAFETY: slots live as long as the kernel.
            let kernel = unsafe { slot.as_ref() }.kernel();
            // SAFETY: it outlives its nodes (`Budget::node`), of which the record is one.
            let kernel = unsafe { &*kernel };
            let slots = &kernel.references.timers;
            // SAFETY: the record is nobody's any more, and neither is its slot; the pool is one of this kernel's.
            unsafe { slots.give_back(slot, name, pool) };
            // SAFETY: the last share.
            unsafe { free(this, pool) };
        }
    }
}
