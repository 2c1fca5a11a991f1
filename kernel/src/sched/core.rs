//! [`Core`], one scheduler, stepped from outside.
//!
//! `run` takes processes from the run queue, gives each a slice, and says what it did. It
//! never blocks and keeps no thread: whoever drives it decides when it goes on, which is
//! how the same core runs under a thread, a seeded simulation and an interrupt loop.

use alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;

use crate::config::SLICE;
use crate::cx::Slice;
use crate::hand::KernelCx;
use crate::handle;
use crate::kernel::Kernel;
use crate::memory::pool::BATCH;
use crate::mutate::Mutation;
use crate::process::exit::die;
use crate::process::header::Header;
use crate::reason::Reason;
use crate::reclaim::Participant;
use crate::runq::node::RunNode;
use crate::sched::local::CoreLocal;
use crate::sched::lookout::StallDetector;
use crate::sched::turn::{TurnOutcome, CurrentGuard, turn};
use crate::sync::{Cell, spin_loop};
use crate::timer::record::TimerHead;

/// Slices under one guard, and between two looks at timers, at most.
const SLICES_A_PIN: u32 = 8;

/// Timers that are fired at a time: others have their turns also when very many are due.
const FIRES_A_PIN: usize = 1024;

/// Batches of the dead that are handed on before the epochs are pushed on, which allocates.
const BATCHES_AN_EPOCH: u32 = 4;

/// What [`Core::run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "an idle core must be run again when it is woken or its time has come"]
pub enum RunOutcome {
    /// There may be more to do: it used its budget, or it saw work that it could not get just now.
    Worked,
    /// There is nothing to do: run it again when the world is asked to wake it, or at
    /// `until` (nanoseconds of the world's clock) for the next timer.
    Idle {
        /// When the next timer may be due.
        until: Option<u64>,
    },
}

/// One scheduler's private half. Whoever drives it owns it; it may move between threads.
pub struct Core {
    kernel: Arc<Kernel>,
    handle: Arc<handle::Kernel>,
    local: CoreLocal,
    participant: Participant,
    announced: bool,
    unflushed: bool,
    batches: u32,
    /// The last look has found work elsewhere.
    seen: Cell<bool>,
    /// Somebody counts on it to find work elsewhere (`idle`, I4).
    owes: Cell<bool>,
    /// What it knows of the others.
    lookout: StallDetector,
    /// It has not had a slice since it was idle.
    rested: Cell<bool>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("id", &self.local.id()).finish_non_exhaustive()
    }
}

impl Core {
    /// Core number `id` of the kernel.
    ///
    /// # Panics
    /// When the kernel has no such core, or it has been made before: its queues have one owner.
    pub fn new(handle: Arc<handle::Kernel>, id: usize) -> Self {
        let kernel = handle.inner().clone();
        assert!(id < kernel.cores(), "the kernel has {} cores", kernel.cores());
        assert!(kernel.cores[id].claim(), "core {id} has been made before");
        let seed = (kernel.options.seed ^ (id as u64 + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // SAFETY: claimed just now, and the core holds the kernel.
        let local = unsafe { CoreLocal::new(id, &kernel, seed, &kernel.options.limits, kernel.depot.clone()) };
        let lookout = StallDetector::new(kernel.cores(), kernel.world().rescues_after());
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
            owes: Cell::new(false),
            lookout,
            rested: Cell::new(true),
        }
    }

    /// Its number.
    pub fn id(&self) -> usize {
        self.local.id()
    }

    /// How many slices it has begun: for a driver that wants to know whether [`Core::run`] has found anything.
    pub fn slices(&self) -> usize {
        self.kernel.cores[self.local.id()].mark.progress().0
    }

    /// The kernel that it is a core of.
    pub fn kernel(&self) -> &Arc<handle::Kernel> {
        &self.handle
    }

    /// Runs at most `slices` slices.
    pub fn run(&mut self, slices: u32) -> RunOutcome {
        if core::mem::take(&mut self.announced) && !self.kernel.idle.retract(self.local.id()) {
            self.owes.set(true);
        }
        // What its driver did meanwhile is charged to nobody.
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
                    // Not only now and then: the memory of the dead is warm still when it comes back.
                    self.participant.flush();
                }
            }
            self.local.take_back();
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
                // There is work, and another core, which may be preempted in the middle of it, is taking it. To try again
                // until it has would be to wait for it: that is for the driver to do, or not to do.
                spin_loop();
                return RunOutcome::Worked;
            }
        }
    }

    /// Some slices under one guard; false when there was nothing to do.
    fn run_pinned(&mut self, left: &mut u32) -> bool {
        let guard = self.participant.pin();
        let hand = self.kernel.hand(&guard, Some(&self.local));
        let fired_all = self.tick(&hand);
        self.local.has_called(&self.kernel);
        let mut may = SLICES_A_PIN.min(*left);
        if may == 0 {
            return true;
        }
        if self.lookout.is_due(self.local.pace.last()) {
            let _found = self.lookout.look(self.local.pace.last(), &hand, &self.local);
        }
        let Some(first) = self.next() else { return !fired_all };
        self.begins();
        // SAFETY: popped from the run queues, so ours (P1); the guard keeps it while the slice has it.
        let slice = Slice::new(hand, &self.local, unsafe { first.as_ref() });
        self.grant(&slice);
        let noted = CurrentGuard::of(&slice, &self.kernel);
        let mut process = Some(first);
        while let Some(first) = process {
            let before = may;
            // SAFETY: popped, so ours, and the slice's.
            process = unsafe { self.run_contained(&slice, first, &mut may) };
            *left -= before - may;
        }
        drop(noted);
        may == 0 || self.local.pace.is_late()
    }

    /// It is about to run what is foreign: if it has rested, another takes the watch (`idle`, I5).
    #[inline]
    fn begins(&self) {
        if self.rested.replace(false)
            && self.lookout.is_on()
            && let Some(core) = self.kernel.idle.begins(self.local.id())
        {
            self.kernel.world().wake(core);
        }
    }

    /// Runs slices until one of them panics, so many are over or there is none: a world pays for what survives a panic once
    /// for all of them. The process that is to go on, if any. Whether all has been run, or one has panicked, is seen here and not
    /// taken from the world: what is run twice or never does no more harm than to be lost.
    ///
    /// # Safety
    /// The caller has `process` (P1), and it is the slice's.
    unsafe fn run_contained(
        &self,
        slice: &Slice<'_>,
        process: NonNull<Header>,
        may: &mut u32,
    ) -> Option<NonNull<Header>> {
        let mut running = process;
        let (mut began, mut ended) = (false, false);
        let contained = self.kernel.world().catch_panic(&mut || {
            if core::mem::replace(&mut began, true) {
                return;
            }
            loop {
                // SAFETY: popped, so ours, and the slice's.
                let after = unsafe { turn(slice, running) };
                *may -= 1;
                match after {
                    // Somebody else may have the process already: it is not looked at again.
                    TurnOutcome::Sleeps => {}
                    TurnOutcome::Yields => self.local.requeue(&self.kernel, slice.process()),
                    // What is foreign in there is contained by itself.
                    // SAFETY: ours, and not used again.
                    TurnOutcome::Dies(reason) => unsafe { die(running, slice, reason) },
                }
                match self.turn_to_next(slice, *may) {
                    Some(next) => running = next,
                    None => break,
                }
            }
            ended = true;
        });
        if ended {
            return None;
        }
        assert!(began, "the world has not run what it was to contain");
        let reason = contained.err().unwrap_or_else(|| Reason::crash("a panic of which the world has said nothing"));
        assert!(slice.resumed.replace(false), "the kernel has panicked: {reason}");
        *may -= 1;
        // SAFETY: ours: it has panicked in the middle of its turn.
        let private = unsafe { slice.process().private() };
        private.reductions += slice.spent() + 1;
        let reason = private.dying.take().unwrap_or(reason);
        // SAFETY: ours, and not used again.
        unsafe { die(running, slice, reason) };
        self.turn_to_next_after_a_panic(slice, *may)
    }

    #[cold]
    #[inline(never)]
    fn turn_to_next_after_a_panic(&self, slice: &Slice<'_>, may: u32) -> Option<NonNull<Header>> {
        self.turn_to_next(slice, may)
    }

    /// The slice is over: what it has queued is seen by all, and the next one begins, if there may be one.
    #[inline(always)]
    fn turn_to_next(&self, slice: &Slice<'_>, may: u32) -> Option<NonNull<Header>> {
        let shared = &self.kernel.cores[self.local.id()];
        let left = slice.end();
        let _known = self.local.queues(|queues| queues.end_slice(&shared.queues, left));
        self.local.has_called(&self.kernel);
        // Late timers, and an inbox that nobody has looked into for long (`pace`, Z3), come before the next one.
        if may == 0 || self.local.pace.is_late() {
            return None;
        }
        let process = self.next()?;
        // SAFETY: popped, so ours (P1); the slice's guard keeps it.
        slice.turn_to(unsafe { process.as_ref() });
        self.grant(slice);
        shared.mark.enter(slice.process().pid);
        Some(process)
    }

    /// Gives the turn what its process has.
    #[inline]
    fn grant(&self, slice: &Slice<'_>) {
        let (reductions, fresh) = self.local.queues(|queues| queues.budget()).unwrap_or((SLICE, true));
        slice.grant(reductions, fresh);
    }

    /// Fires what is due; false when it was too much for one time.
    fn tick(&self, hand: &KernelCx<'_>) -> bool {
        // Or it does without what a rescuer has (`local`, H2).
        let _has_it = self.local.hold();
        self.local.drain_cancelled();
        if self.local.pace.ticks() {
            // Whatever there is to do here (`runq`, F3).
            let _drained = self.local.queues(|queues| queues.drain(&self.kernel.cores[self.local.id()].queues));
        }
        if self.local.timers() == 0 {
            return true;
        }
        let now = self.kernel.now();
        let mark = &self.kernel.cores[self.local.id()].mark;
        let mut firing = None;
        for fired in 0..FIRES_A_PIN {
            if fired == 1 {
                self.local.pace.rests();
            }
            let Some(timer) = self.local.pop_due(now) else {
                self.local.tidy_timers();
                return true;
            };
            // A message that nobody receives is dropped by this core: others look after it meanwhile (`lookout`, L1).
            firing.get_or_insert_with(|| {
                self.begins();
                mark.fires()
            });
            // SAFETY: taken off this core's wheel just now.
            unsafe { TimerHead::fire(timer, hand) };
        }
        false
    }

    /// The next process: its own, or another core's.
    #[inline]
    fn next(&self) -> Option<NonNull<Header>> {
        let shared = &self.kernel.cores[self.local.id()].queues;
        if !self.local.hold() {
            // SAFETY: as below.
            return shared.pop_public().map(|node| unsafe { Header::of_run_node(node) });
        }
        let popped = self.local.queues(|queues| queues.pop(shared).map(|node| (node, queues.has_shown())));
        let node = match popped.flatten() {
            Some((node, shown)) => {
                if self.owes.take() || shown {
                    self.tell();
                }
                node
            }
            None => self.find()?,
        };
        // SAFETY: all that is queued is queued by `CoreLocal` and `Kernel`, by these nodes.
        Some(unsafe { Header::of_run_node(node) })
    }

    /// Who is about to run somebody, perhaps for long, sees that what is there besides is found.
    #[cold]
    fn tell(&self) {
        if self.kernel.cores.iter().any(|core| core.queues.has_stealable())
            && !self.kernel.mutated(Mutation::KeepsTheClaim)
        {
            self.kernel.work_added();
        }
    }

    /// Searches the other cores.
    #[inline(never)]
    fn find(&self) -> Option<NonNull<RunNode>> {
        if self.kernel.cores() == 1 || !self.kernel.idle.start_search(self.kernel.cores(), self.seen.take()) {
            return None;
        }
        self.owes.set(false);
        let found = self.steal();
        if let Some(core) = self.kernel.idle.end_search(found.is_some()) {
            self.kernel.world().wake(core);
        }
        found
    }

    fn steal(&self) -> Option<NonNull<RunNode>> {
        let count = self.kernel.cores();
        let shared = &self.kernel.cores[self.local.id()].queues;
        let first = self.local.random() as usize % count;
        (0..count).map(|i| (first + i) % count).filter(|victim| *victim != self.local.id()).find_map(|victim| {
            let victim = &self.kernel.cores[victim].queues;
            self.local.queues(|queues| queues.steal(shared, victim)).flatten()
        })
    }

    /// Announces that there is nothing to do, and looks once more.
    fn try_idle(&mut self) -> Option<RunOutcome> {
        if !self.local.hold() {
            // A rescuer is at it, for a few steps. What lies there is not known, so this is no time to sleep.
            spin_loop();
            return Some(RunOutcome::Worked);
        }
        if core::mem::take(&mut self.unflushed) {
            // Three epochs: what was handed on before the first is freed in the third.
            for _ in 0..3 {
                self.participant.flush();
            }
            self.local.take_back();
        }
        self.local.settle_accounts(&self.kernel);
        if self.local.tidy_timers() || self.local.pool().trim(BATCH) {
            // Some at a time: there may be something better to do by now.
            return None;
        }
        let kernel = &self.kernel;
        let id = self.local.id();
        let now = if self.lookout.is_on() { kernel.now().max(1) } else { 0 };
        // Not if another has the watch. It lays its own down whenever it begins to work, which may be often.
        if kernel.idle.may_watch(id) && self.lookout.is_due(now) {
            let guard = self.participant.pin();
            if self.lookout.look(now, &kernel.hand(&guard, Some(&self.local)), &self.local) {
                return None;
            }
        }
        kernel.idle.announce(id);
        let own = self.local.queues(|queues| queues.has_work(&kernel.cores[id].queues)).unwrap_or(true);
        let work = own || kernel.cores.iter().any(|core| core.queues.has_stealable());
        if work {
            // If somebody has claimed the bit meanwhile, their wake comes for nothing. Also when there is work of its own, there
            // may be some elsewhere, for which its search, or this claim, has kept others from being woken.
            kernel.idle.retract(id);
            self.seen.set(!own);
            self.owes.set(true);
            return None;
        }
        self.announced = true;
        self.rested.set(true);
        let due = self.local.next_due();
        let watch = self.watch_until(now);
        Some(RunOutcome::Idle { until: due.into_iter().chain(watch).min() })
    }

    /// It has announced itself: when it wakes for the watch, if that is its own (`idle`, I5).
    fn watch_until(&self, now: u64) -> Option<u64> {
        if !self.lookout.is_on() {
            return None;
        }
        let (idle, id, cores) = (&self.kernel.idle, self.local.id(), self.kernel.cores());
        let had = idle.has_watch(id);
        let has = if had && self.lookout.is_quiet() { idle.resigns(id, cores) } else { idle.takes_watch(id, cores) };
        if has && !had {
            self.lookout.begins();
        }
        has.then(|| self.lookout.next(now))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if core::mem::take(&mut self.announced) && !self.kernel.idle.retract(self.local.id()) {
            // What it was claimed for is another's to find.
            self.kernel.work_added();
        }
        self.local.hold_for_good();
        if let Some(core) = self.kernel.idle.ends(self.local.id()) {
            // It takes the watch (`idle`, I5).
            self.kernel.world().wake(core);
        }
        let guard = self.participant.pin();
        // The wheel ends: its timers are dropped with their messages.
        while let Some(timer) = self.local.pop_timer() {
            // A message's destructor runs outside: the half is taken back for the next one.
            let hand = self.kernel.hand(&guard, Some(&self.local));
            // SAFETY: the wheel's share, which it had.
            unsafe { TimerHead::cancel(timer, &hand) };
            self.local.hold_for_good();
        }
        self.local.close_cancelled();
        self.local.has_called(&self.kernel);
        self.kernel.core_ended(&guard, &self.local);
        drop(guard);
        self.local.settle_accounts(&self.kernel);
        self.local.give_up_slots(&self.kernel);
        self.local.hand_on(&self.participant, true);
        for _ in 0..3 {
            self.participant.flush();
        }
        self.local.close_basket();
    }
}
