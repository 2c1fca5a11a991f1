//! [`StallDetector`]: how a core takes over the work of another core whose body does not yield.
//!
//! A body may block, or compute, for seconds. Then only its own process has to wait, and the
//! processes pinned to its core. Another core fires the due timers of the stuck core's wheel, and
//! runs the processes queued there.
//!
//! - **L1, which core is stuck.** A core whose mark ([`crate::kernel::core_local::RunningMark`])
//!   has shown the same slice for [`crate::Platform::rescues_after`], or has shown for as long that
//!   it fires timers: a message that no process receives is dropped there, by its own destructor.
//!   Each core remembers what it has seen of the other cores.
//! - **L2, what a rescuer does.** The rescuer takes the private half of the stuck core (`custody`)
//!   and settles its wheel. It takes due timers off and decides that they fire (`timer_record`:
//!   the word is FIRED from then on, so a later cancel fails). It puts the process in the LIFO slot
//!   and the unpublished overflow where all cores can see them, and gives the half back. Only then
//!   it delivers the timers, which may run foreign destructors, and takes over the processes that
//!   the stuck core has queued.
//! - **L3, which core checks.** A working core checks between two pins, when its clock reads show
//!   that it is time. Of the idle cores, one has the watch (`runq::idle`, I5). It wakes to check,
//!   less often while it finds nothing, and when the stuck core's wheel is due. If no core has
//!   worked for some checks, it gives the watch up: an idle kernel causes no wake-ups.
//! - **L4, no waiting.** A rescuer that finds the owner in kernel code goes on, and checks again
//!   later.
//!
//! Timers that a rescuer has taken off but not yet delivered, at most 256, wait if a destructor
//! blocks there.
//!
//! A stuck core keeps the memory that its guard protects (`reclaim`), and its free slots and
//! blocks.

use alloc::boxed::Box;

use crate::intrusive::list::Chain;
use crate::kernel::core_local::CoreLocal;
use crate::kernel::kernel_cx::KernelCx;
use crate::ops::timer_outcome;
use crate::sync::Cell;

/// The most timers that are taken off at a time.
const RESCUED_AT_A_TIME: usize = 256;

/// The number of checks without any work before the watch is given up.
pub(crate) const QUIET: u32 = 5;

/// How many times the interval between two checks doubles while they find nothing.
const SLOWER: u32 = 2;

/// What was seen of a core: how many slices it had begun, and when that was first seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    slices: usize,
    since: u64,
}

/// What a core knows of the other cores; see the module.
#[derive(Debug)]
pub(crate) struct StallDetector {
    /// The nanoseconds in one slice after which a core is stuck; 0: no core checks.
    after: u64,
    seen: Box<[Cell<Seen>]>,
    looked: Cell<u64>,
    /// The number of checks that have found nothing to do.
    quiet: Cell<u32>,
    /// The time when the wheel of a stuck core is due.
    due: Cell<u64>,
}

impl StallDetector {
    /// Creates the state of one of `cores` cores.
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

    /// Returns `true` if cores monitor one another on this platform.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.after != 0
    }

    /// Returns `true` if it is time to check at `now`; 0: the time is unknown.
    #[inline]
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now != 0 && self.is_on() && now >= self.looked.get().saturating_add(self.after).min(self.due.get())
    }

    /// Returns when to check again.
    pub(crate) fn next(&self, now: u64) -> u64 {
        now.saturating_add(self.after << self.quiet.get().min(SLOWER)).min(self.due.get())
    }

    /// Returns `true` if the last checks have found nothing for long.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.get() >= QUIET
    }

    /// Begins the watch.
    pub(crate) fn begins(&self) {
        self.quiet.set(0);
    }

    /// Checks the other cores, and rescues the work of those that are stuck. Returns `true` if
    /// there is work to run now. The caller is between two slices of its own.
    #[cold]
    #[inline(never)]
    pub(crate) fn look(&self, now: u64, kernel_cx: &KernelCx<'_>, local: &CoreLocal) -> bool {
        self.looked.set(now);
        self.due.set(u64::MAX);
        let (mut found, mut at_work) = (false, false);
        for (core, seen) in self.seen.iter().enumerate() {
            if core == local.id() {
                continue;
            }
            let (slices, runs) = kernel_cx.kernel.cores[core].mark.progress();
            let before = seen.get();
            if !runs || before.slices != slices {
                at_work |= before.slices != slices;
                seen.set(Seen { slices, since: now });
            } else if now.saturating_sub(before.since) >= self.after {
                found |= self.rescue(core, now, kernel_cx, local);
            } else {
                at_work = true;
            }
        }
        self.quiet.set(if found || at_work { 0 } else { self.quiet.get().saturating_add(1) });
        found
    }

    /// Rescues the work of a stuck core (L2). Returns `true` if there was any.
    fn rescue(&self, core: usize, now: u64, kernel_cx: &KernelCx<'_>, local: &CoreLocal) -> bool {
        let stuck = &kernel_cx.kernel.cores[core];
        let mut fired = Chain::empty();
        let rescued = stuck.rescue(kernel_cx.kernel, |half| {
            half.settle(local.pool());
            for _ in 0..RESCUED_AT_A_TIME {
                let Some(timer) = half.pop_due(now) else { break };
                // `None`: it was cancelled, and the canceller deals with the wheel's reference.
                timer.into_iter().for_each(|timer| fired.push(timer));
            }
            let due = half.wheel().next_due();
            half.queues().hand_over();
            due
        });
        let Some(due) = rescued else {
            // The owner is in kernel code, or another rescuer has the half.
            return false;
        };
        self.due.set(self.due.get().min(due.unwrap_or(u64::MAX).max(now.saturating_add(1))));
        let mut found = !fired.is_empty();
        let firing = found.then(|| {
            // A message that no process receives is dropped here, which may take long. So another
            // core takes the watch, and monitors this core too.
            if let Some(core) = kernel_cx.kernel.idle.begins(local.id()) {
                kernel_cx.kernel.world().wake(core);
            }
            kernel_cx.kernel.cores[local.id()].mark.fires()
        });
        let mut delivered = 0;
        for timer in fired.reversed() {
            timer_outcome::deliver(timer, kernel_cx);
            delivered += 1;
        }
        drop(firing);
        if delivered > 1 {
            local.demote_woken();
        }
        let taken = local.take_over(&stuck.queues);
        found |= taken > 0;
        if taken > 1 {
            kernel_cx.kernel.notify();
        }
        found
    }
}
