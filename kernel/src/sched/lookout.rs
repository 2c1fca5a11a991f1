//! [`StallDetector`]: how a core looks after what lies with another whose body does not let go.
//!
//! A body may block, or compute, for seconds. Then nothing but its own process waits for it, and those that may run on that
//! core only: what is due on the wheel of its core is fired by another core, and whoever is queued there runs elsewhere.
//!
//! - **L1, who is stuck.** A core whose note ([`super::local::RunningMark`]) says the same slice as [`crate::Platform::rescues_after`]
//!   ago; or that it fires timers, as it did then: a message that nobody receives is dropped there, by its own destructor. Each
//!   core remembers what it has seen of the others.
//! - **L2, what is done.** The rescuer takes the private half of the stuck core (`custody`), settles its wheel, takes off what is due
//!   and decides it (`timer::record`: the word says FIRED from then on, so that whoever cancels comes too late), puts the process in the
//!   next-up slot and what has overflowed where all can see them, and gives the half back. Only then it delivers the timers, which
//!   may run foreign destructors, and takes over what the stuck core has queued.
//! - **L3, who looks.** A core at work does so between two pins, when its looks at the clock say that it is time. Of
//!   the idle cores one has the watch (`runq::idle`, I5): it wakes for it, the less often the less there is to see, and when the wheel of the stuck
//!   core is due. When nobody has been at work for some looks it gives the watch up: an idle kernel makes no wake-ups.
//! - **L4, nobody is waited for.** A rescuer that finds the owner in the kernel's own code goes on, and looks again later.
//!
//! What a rescuer has taken off and not yet delivered, 256 timers at most, waits for a destructor that blocks there.
//!
//! What stays with a stuck core: the memory that its guard protects (`reclaim`), its free slots and blocks.

use alloc::boxed::Box;
use core::ptr::{self, NonNull};

use crate::hand::KernelCx;
use crate::sched::local::CoreLocal;
use crate::sync::Cell;
use crate::timer::record::TimerHead;

/// Timers that are taken off at a time.
const RESCUED_AT_A_TIME: usize = 256;

/// Looks without any work before the watch is given up.
pub(crate) const QUIET: u32 = 5;

/// The time between two looks doubles so often when there is nothing to see.
const SLOWER: u32 = 2;

/// What was seen of a core: how many slices it had begun, and when that was seen first.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    slices: usize,
    since: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct StallDetector {
    /// Nanoseconds of one slice after which a core is stuck; 0: nobody looks.
    after: u64,
    seen: Box<[Cell<Seen>]>,
    looked: Cell<u64>,
    /// Looks that have found nothing to do.
    quiet: Cell<u32>,
    /// When the wheel of a stuck core is due.
    due: Cell<u64>,
}

impl StallDetector {
    /// Of a core of so many.
    pub(crate) fn new(cores: usize, after: Option<u64>) -> Self {
        let after = if cores == 1 { 0 } else { after.unwrap_or(0) };
        let seen = if after == 0 { 0 } else { cores };
        Self {
            after,
            seen: (0..seen).map(|_| Cell::default()).collect(),
            looked: Cell::new(0),
            quiet: Cell::new(0),
            due: Cell::new(u64::MAX),
        }
    }

    /// Whether anybody looks in this world.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.after != 0
    }

    /// Whether it is time to look, at `now`; 0: nobody knows.
    #[inline]
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now != 0 && self.is_on() && now >= self.looked.get().saturating_add(self.after).min(self.due.get())
    }

    /// When to look again.
    pub(crate) fn next(&self, now: u64) -> u64 {
        now.saturating_add(self.after << self.quiet.get().min(SLOWER)).min(self.due.get())
    }

    /// Whether there has been nothing to see for long.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.get() >= QUIET
    }

    /// The watch begins.
    pub(crate) fn begins(&self) {
        self.quiet.set(0);
    }

    /// Looks at the other cores, and rescues what lies with those that are stuck: whether there is anything to run now.
    /// The caller is between two slices of its own.
    #[cold]
    #[inline(never)]
    pub(crate) fn look(&self, now: u64, hand: &KernelCx<'_>, local: &CoreLocal) -> bool {
        self.looked.set(now);
        self.due.set(u64::MAX);
        let (mut found, mut at_work) = (false, false);
        for (core, seen) in self.seen.iter().enumerate() {
            if core == local.id() {
                continue;
            }
            let (slices, runs) = hand.kernel.cores[core].mark.progress();
            let before = seen.get();
            if !runs || before.slices != slices {
                at_work |= before.slices != slices;
                seen.set(Seen { slices, since: now });
            } else if now.saturating_sub(before.since) >= self.after {
                found |= self.rescue(core, now, hand, local);
            } else {
                at_work = true;
            }
        }
        self.quiet.set(if found || at_work { 0 } else { self.quiet.get().saturating_add(1) });
        found
    }

    /// See L2. Whether anything was found.
    fn rescue(&self, core: usize, now: u64, hand: &KernelCx<'_>, local: &CoreLocal) -> bool {
        let stuck = &hand.kernel.cores[core];
        let (mut first, mut last) = (ptr::null_mut::<TimerHead>(), None::<NonNull<TimerHead>>);
        let rescued = stuck.rescue(hand.kernel, |half| {
            half.settle(stuck, local.pool());
            for _ in 0..RESCUED_AT_A_TIME {
                let Some(timer) = half.wheel.pop_due(now).map(TimerHead::of_wheel) else { break };
                // SAFETY: taken off the wheel just now, by who has it.
                if !unsafe { TimerHead::claim(timer) } {
                    // Cancelled: its canceller has seen to the wheel's share.
                    continue;
                }
                TimerHead::chain(timer, ptr::null_mut());
                match last.replace(timer) {
                    None => first = timer.as_ptr(),
                    Some(last) => TimerHead::chain(last, timer.as_ptr()),
                }
            }
            let due = half.wheel.next_due();
            half.queues.hand_over(&stuck.queues);
            due
        });
        let Some(due) = rescued else {
            // Its owner is in the kernel, or another rescuer is at it.
            return false;
        };
        self.due.set(self.due.get().min(due.unwrap_or(u64::MAX).max(now.saturating_add(1))));
        let mut found = !first.is_null();
        let firing = found.then(|| {
            // A message that nobody receives is dropped here, which may take long: another takes the watch, and looks after this core too.
            if let Some(core) = hand.kernel.idle.begins(local.id()) {
                hand.kernel.world().wake(core);
            }
            hand.kernel.cores[local.id()].mark.fires()
        });
        while let Some(timer) = NonNull::new(first) {
            first = TimerHead::chained(timer);
            // SAFETY: claimed, with the share that was the wheel's.
            unsafe { TimerHead::deliver(timer, hand) };
        }
        drop(firing);
        let own = &hand.kernel.cores[local.id()].queues;
        let taken = local.queues(|queues| queues.take_over(own, &stuck.queues)).unwrap_or(0);
        found |= taken > 0;
        if taken > 1 {
            hand.kernel.work_added();
        }
        found
    }
}
