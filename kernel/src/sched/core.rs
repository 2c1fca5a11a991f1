//! [`Core`], one scheduler, stepped by its driver.
//!
//! `run` takes processes from the run queue, gives each a slice, and reports what it did. It never
//! blocks and has no thread of its own. The driver decides when it continues. So the same core runs
//! under a thread, a seeded simulation and an interrupt loop.

use alloc::sync::Arc;
use core::fmt;

use crate::config::SLICE;
use crate::kernel::Kernel;
use crate::kernel::core_local::CoreLocal;
use crate::kernel::handle;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::slice::{Slice, Turns};
use crate::memory::pool::BATCH;
use crate::mutation::mutant;
use crate::ops::exit::terminate;
use crate::ops::timer_outcome;
use crate::process::owned::Owned;
use crate::reason::Reason;
use crate::reclaim::Participant;
use crate::runq::node::HeldRunNode;
use crate::sched::stall::StallDetector;
use crate::sched::turn::{TurnOutcome, turn};
use crate::sync::{Cell, spin_loop};

/// The most slices under one epoch guard, and between two checks of the timers.
const SLICES_A_PIN: u32 = 8;

/// The most timers that are fired at a time, so that processes get their turns even if very many
/// timers are due.
const FIRES_A_PIN: usize = 1024;

/// The number of batches of dead processes flushed before the epoch is advanced, which allocates.
const BATCHES_AN_EPOCH: u32 = 4;

/// Returns the process whose node was taken out of a run queue.
#[inline(always)]
fn taken_out<'a>(_kernel_cx: &KernelCx<'a>, node: HeldRunNode) -> Owned<'a> {
    // SAFETY: a kernel queues only nodes of owned processes. The process dies on this core at the
    // earliest, and then its memory is retired: the guard, which lasts for `'a`, keeps it.
    unsafe { Owned::from_run_node(node) }
}

/// What [`Core::run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "an idle core must be run again when it is woken or its next timer is due"]
pub enum RunOutcome {
    /// The core may have more to do: it used its budget, or it saw work that it could not get at
    /// that moment.
    Worked,
    /// The core has nothing to do. Run it again when the platform is asked to wake it, or at
    /// `until` (nanoseconds of the platform's clock) for the next timer.
    Idle {
        /// The time when the next timer may be due.
        until: Option<u64>,
    },
}

/// The private half of one scheduler. Its driver owns it, and may move it between threads.
pub struct Core {
    kernel: Arc<Kernel>,
    handle: Arc<handle::Kernel>,
    local: CoreLocal,
    participant: Participant,
    announced: bool,
    unflushed: bool,
    batches: u32,
    /// `true` if the last check found work on another core.
    seen: Cell<bool>,
    /// `true` if a producer relies on this core to find work on other cores (`idle`, I4).
    must_rewake: Cell<bool>,
    /// What this core knows of the other cores.
    detector: StallDetector,
    /// `true` if the core has run no slice since it was idle.
    rested: Cell<bool>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("id", &self.local.id()).finish_non_exhaustive()
    }
}

impl Core {
    /// Creates core number `id` of the kernel.
    ///
    /// # Panics
    /// If the kernel has no such core, or the core has been created before: its queues have one
    /// owner.
    pub fn new(handle: Arc<handle::Kernel>, id: usize) -> Self {
        let kernel = handle.inner().clone();
        let seed = (kernel.options.seed ^ (id as u64 + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let local = CoreLocal::new(id, kernel.clone(), seed);
        let detector = StallDetector::new(kernel.cores(), kernel.world().rescues_after());
        let participant = kernel.register();
        Self {
            kernel,
            handle,
            local,
            participant,
            announced: false,
            unflushed: false,
            batches: 0,
            seen: Cell::new(false),
            must_rewake: Cell::new(false),
            detector,
            rested: Cell::new(true),
        }
    }

    /// Returns the core's number.
    pub fn id(&self) -> usize {
        self.local.id()
    }

    /// Returns how many slices the core has begun, for a driver that checks whether [`Core::run`]
    /// found anything.
    pub fn slices(&self) -> usize {
        self.kernel.cores[self.local.id()].mark.progress().0
    }

    /// Returns the kernel that the core belongs to.
    pub fn kernel(&self) -> &Arc<handle::Kernel> {
        &self.handle
    }

    /// Runs at most `slices` slices.
    pub fn run(&mut self, slices: u32) -> RunOutcome {
        if core::mem::take(&mut self.announced) && !self.kernel.idle.retract(self.local.id()) {
            self.must_rewake.set(true);
        }
        // The time that the driver used since the last run is charged to no process.
        self.local.pace.rests();
        let mut left = slices;
        let mut seen = false;
        loop {
            let worked = self.run_pinned(&mut left);
            let handed = self.local.hand_on(&self.participant, !worked);
            self.unflushed |= handed;
            if handed && worked {
                self.batches += 1;
                if self.batches.is_multiple_of(BATCHES_AN_EPOCH) {
                    // Flushed regularly, so that the memory of dead processes is still in the cache
                    // when it comes back.
                    self.participant.flush();
                }
            }
            self.local.reclaim_returned();
            if worked {
                self.local.pool().trim(1);
            }
            if left == 0 {
                return RunOutcome::Worked;
            }
            if worked {
                seen = false;
                continue;
            }
            if let Some(idle) = self.try_idle() {
                return idle;
            }
            if core::mem::replace(&mut seen, true) {
                // Work exists, and another core, which may be preempted in the middle of it, is
                // taking it. To retry until that core is done would be to wait for it. That
                // decision is the driver's.
                spin_loop();
                return RunOutcome::Worked;
            }
        }
    }

    /// Runs several slices under one guard. Returns `false` if there was nothing to do.
    fn run_pinned(&mut self, left: &mut u32) -> bool {
        let guard = self.participant.pin();
        // SAFETY: the core's participant is of its kernel's domain (`new`).
        let kernel_cx = unsafe { self.kernel.kernel_cx_unchecked(&guard, Some(&self.local)) };
        let fired_all = self.tick(&kernel_cx);
        self.local.flush_wakes(&self.kernel);
        let mut may = SLICES_A_PIN.min(*left);
        if may == 0 {
            return true;
        }
        if self.detector.is_due(self.local.pace.last()) {
            let _found = self.detector.look(self.local.pace.last(), &kernel_cx, &self.local);
        }
        let Some(first) = self.next(&kernel_cx) else { return !fired_all };
        self.begins();
        let turns = Turns::new(kernel_cx, &self.local, first.process());
        self.grant(&turns);
        turns.run_as_current(&self.kernel, || {
            let mut process = Some(first);
            while let Some(first) = process {
                let before = may;
                process = self.run_contained(&turns, first, &mut may);
                *left -= before - may;
            }
        });
        may == 0 || self.local.pace.is_late()
    }

    /// Prepares to run foreign code: if the core was idle before, it makes another core take the
    /// watch (`idle`, I5).
    #[inline]
    fn begins(&self) {
        if self.rested.replace(false)
            && self.detector.is_on()
            && let Some(core) = self.kernel.idle.begins(self.local.id())
        {
            self.kernel.world().wake(core);
        }
    }

    /// Runs slices until one of them panics, `may` are over, or no process is left. So a platform
    /// pays for catching panics once for all of them. Returns the process to continue with after a
    /// panic, if any.
    ///
    /// Whether all slices ran, or one panicked, is observed here and not taken from the platform. A
    /// platform that runs the closure twice or never does no more harm than to lose the process.
    fn run_contained<'a>(&'a self, turns: &Turns<'a>, process: Owned<'a>, may: &mut u32) -> Option<Owned<'a>> {
        let mut first = Some(process);
        let mut ended = false;
        let contained = self.kernel.world().catch_panic(&mut || {
            let Some(mut running) = first.take() else { return };
            loop {
                let after = turn(turns, running);
                *may -= 1;
                match after {
                    TurnOutcome::Sleeps => {}
                    TurnOutcome::Yields(owned) => self.local.requeue(&self.kernel, owned),
                    // `terminate` itself catches panics of the foreign code in there.
                    TurnOutcome::Dies(owned, reason) => terminate(owned, turns, reason),
                }
                match self.turn_to_next(turns, *may) {
                    Some(next) => running = next,
                    None => break,
                }
            }
            ended = true;
        });
        if ended {
            return None;
        }
        assert!(first.is_none(), "the platform did not run the closure that it had to run");
        let reason = contained.err().unwrap_or_else(|| Reason::crash("a panic that the platform did not report"));
        // The process panicked in the middle of its turn.
        let Some(mut owned) = turns.recover() else { panic!("the kernel has panicked: {reason}") };
        *may -= 1;
        let dying = owned.state(|state| {
            state.reductions += turns.spent() + 1;
            state.dying.take()
        });
        terminate(owned, turns, dying.unwrap_or(reason));
        self.turn_to_next_after_a_panic(turns, *may)
    }

    #[cold]
    #[inline(never)]
    fn turn_to_next_after_a_panic<'a>(&'a self, turns: &Turns<'a>, may: u32) -> Option<Owned<'a>> {
        self.turn_to_next(turns, may)
    }

    /// Ends the slice, makes what it has queued visible to all cores, and begins the next slice, if
    /// one is left.
    #[inline(always)]
    fn turn_to_next<'a>(&'a self, turns: &Turns<'a>, may: u32) -> Option<Owned<'a>> {
        let shared = self.local.shared();
        let left = turns.end();
        // Late timers, and an inbox that has not been checked for long (`pace`, Z3), come before
        // the next slice.
        let pin_ends = may == 0 || self.local.pace.is_late();
        if !pin_ends && !self.must_rewake.get() && !self.local.has_unflushed_wakes() && self.local.hold() {
            // No core has to be woken. The next process most often continues the budget, and the
            // same borrow takes it.
            if let Some((node, reductions)) = self.local.end_slice_and_pop(left) {
                let owned = taken_out(&turns.kernel_cx, node);
                turns.turn_to(owned.process());
                turns.grant(reductions, false);
                shared.mark.enter(owned.pid);
                return Some(owned);
            }
        } else {
            self.local.end_slice(left);
            self.local.flush_wakes(&self.kernel);
            if pin_ends {
                return None;
            }
        }
        let owned = self.next(&turns.kernel_cx)?;
        turns.turn_to(owned.process());
        self.grant(turns);
        shared.mark.enter(owned.pid);
        Some(owned)
    }

    /// Grants the turn its reductions.
    #[inline]
    fn grant(&self, slice: &Slice<'_>) {
        let (reductions, fresh) = self.local.budget().unwrap_or((SLICE, true));
        slice.grant(reductions, fresh);
    }

    /// Fires due timers. Returns `false` if more are due than may fire at a time.
    fn tick(&self, kernel_cx: &KernelCx<'_>) -> bool {
        // If a rescuer has the half, the core does without it (`core_local`, H2).
        let _has_it = self.local.hold();
        self.local.drain_cancelled();
        if self.local.pace.ticks() {
            // Drained even if there is other work (`runq`, F3).
            self.local.drain_inboxes();
        }
        if self.local.timers() == 0 {
            return true;
        }
        let now = self.kernel.now();
        let mark = &self.local.shared().mark;
        let (mut firing, mut fired) = (None, 0);
        let are_all_fired = loop {
            match fired {
                1 => self.local.pace.rests(),
                FIRES_A_PIN => break false,
                _ => {}
            }
            let Some(timer) = self.local.pop_due(now) else {
                self.local.tidy_timers();
                break true;
            };
            // This core drops a message that no process receives. Other cores monitor it in the
            // meantime (`stall`, L1).
            firing.get_or_insert_with(|| {
                self.begins();
                mark.fires()
            });
            // `None`: another core cancelled it, and the wheel's reference arrives on the stack of
            // cancelled timers.
            timer.into_iter().for_each(|timer| timer_outcome::deliver(timer, kernel_cx));
            fired += 1;
        };
        if fired > 1 {
            self.local.demote_woken();
        }
        are_all_fired
    }

    /// Takes the next process: its own, or another core's.
    #[inline(never)]
    fn next<'a>(&self, kernel_cx: &KernelCx<'a>) -> Option<Owned<'a>> {
        if !self.local.hold() {
            return self.local.shared().queues.pop_public().map(|node| taken_out(kernel_cx, node));
        }
        let node = match self.local.pop() {
            Some((node, shown)) => {
                if self.must_rewake.take() || shown {
                    self.tell();
                }
                node
            }
            None => self.find()?,
        };
        Some(taken_out(kernel_cx, node))
    }

    /// Wakes a helper if stealable work is left: this core is about to run a process, perhaps for
    /// long.
    #[cold]
    fn tell(&self) {
        if self.kernel.cores.iter().any(|core| core.queues.has_stealable()) {
            mutant!(self.kernel.mutations, KeepsTheClaim, right => self.kernel.notify(), wrong => ());
        }
    }

    /// Searches the other cores for work.
    #[inline(never)]
    fn find(&self) -> Option<HeldRunNode> {
        if self.kernel.cores() == 1 || !self.kernel.idle.start_search(self.kernel.cores(), self.seen.take()) {
            return None;
        }
        self.must_rewake.set(false);
        let found = self.steal();
        if let Some(core) = self.kernel.idle.end_search(found.is_some()) {
            self.kernel.world().wake(core);
        }
        found
    }

    fn steal(&self) -> Option<HeldRunNode> {
        let count = self.kernel.cores();
        let first = self.local.random() as usize % count;
        (0..count).map(|i| (first + i) % count).filter(|victim| *victim != self.local.id()).find_map(|victim| {
            let victim = &self.kernel.cores[victim].queues;
            self.local.steal(victim)
        })
    }

    /// Announces that the core has nothing to do, and checks once more.
    fn try_idle(&mut self) -> Option<RunOutcome> {
        if !self.local.hold() {
            // A rescuer has the half for a few steps. Its contents are unknown until then, so the
            // core must not sleep now.
            spin_loop();
            return Some(RunOutcome::Worked);
        }
        if core::mem::take(&mut self.unflushed) {
            // Three epochs: memory flushed before the first is freed in the third.
            for _ in 0..3 {
                self.participant.flush();
            }
            self.local.reclaim_returned();
        }
        self.local.return_credit_of_slice(&self.kernel);
        if self.local.tidy_timers() || self.local.pool().trim(BATCH) {
            // Cascaded and trimmed in small portions: a process may be ready by now.
            return None;
        }
        let kernel = &self.kernel;
        let id = self.local.id();
        let now = if self.detector.is_on() { kernel.now().max(1) } else { 0 };
        // Not if another core has the watch. A core that begins to work gives its own watch up,
        // which may happen often.
        if kernel.idle.may_watch(id) && self.detector.is_due(now) {
            let guard = self.participant.pin();
            if self.detector.look(now, &kernel.kernel_cx(&guard, Some(&self.local)), &self.local) {
                return None;
            }
        }
        kernel.idle.announce(id);
        let own = self.local.has_work();
        let work = own || kernel.cores.iter().any(|core| core.queues.has_stealable());
        if work {
            // If a waker has claimed the bit in between, its wake has no effect. Even if the core
            // has work of its own, other cores may have some too, for which this core's search, or
            // this claim, kept other cores from being woken.
            kernel.idle.retract(id);
            self.seen.set(!own);
            self.must_rewake.set(true);
            return None;
        }
        self.announced = true;
        self.rested.set(true);
        let due = self.local.next_due();
        let watch = self.watch_until(now);
        Some(RunOutcome::Idle { until: due.into_iter().chain(watch).min() })
    }

    /// Returns when the announced core wakes for the watch, if it has the watch (`idle`, I5).
    fn watch_until(&self, now: u64) -> Option<u64> {
        if !self.detector.is_on() {
            return None;
        }
        let (idle, id, cores) = (&self.kernel.idle, self.local.id(), self.kernel.cores());
        let had = idle.has_watch(id);
        let has = if had && self.detector.is_quiet() { idle.resigns(id, cores) } else { idle.takes_watch(id, cores) };
        if has && !had {
            self.detector.begins();
        }
        has.then(|| self.detector.next(now))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if core::mem::take(&mut self.announced) && !self.kernel.idle.retract(self.local.id()) {
            // Another core must find the work for which this core was claimed.
            self.kernel.notify();
        }
        self.local.hold_for_good();
        if let Some(core) = self.kernel.idle.ends(self.local.id()) {
            // That core takes the watch (`idle`, I5).
            self.kernel.world().wake(core);
        }
        let guard = self.participant.pin();
        // The wheel ends: its timers are dropped with their messages.
        while let Some(timer) = self.local.pop_timer() {
            // A message's destructor runs without the half, which is taken back for the next timer.
            let kernel_cx = self.kernel.kernel_cx(&guard, Some(&self.local));
            timer.into_iter().for_each(|timer| timer_outcome::end(timer, &kernel_cx));
            self.local.hold_for_good();
        }
        self.local.close_cancelled();
        self.local.flush_wakes(&self.kernel);
        self.kernel.on_core_drop(&guard, &self.local);
        drop(guard);
        self.local.return_credit_of_slice(&self.kernel);
        self.local.give_up_slots(&self.kernel);
        self.local.hand_on(&self.participant, true);
        for _ in 0..3 {
            self.participant.flush();
        }
        self.local.close_return_queue();
    }
}
