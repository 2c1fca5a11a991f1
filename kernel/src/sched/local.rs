//! [`CoreLocal`], what a core has to itself, and [`CoreShared`], what others see of it.
//!
//! A core is driven by one thread of execution at a time, and everything it does goes
//! through `&CoreLocal`, also what a running body asks of the kernel. So the parts are in
//! cells, each borrowed for the length of one operation that calls nothing foreign.
//!
//! Two of them, its queues and its wheel, are its [`Half`]: others wait for what lies there, and so another core may take it while the
//! body does not let go (`lookout`), by the protocol of `custody`.
//!
//! - **H1, held.** The owner has the half while the kernel's own code runs, and leaves it while foreign code does: a body, or a
//!   destructor ([`CoreLocal::outside`]). What a body asks meanwhile takes it for one operation.
//! - **H2, without.** When a rescuer has it, who is woken goes to the inbox, a timer that is started to the
//!   `arrivals`, and one that is cancelled to the list of those that were cancelled elsewhere. The next process is one that all
//!   may take; and when there is none, the core says that it has worked, and its driver runs it again. Nobody waits.
//! - **H3, arrivals first.** Whoever has the wheel puts the arrivals on it before anything else. So a timer that is cancelled is on
//!   the wheel, or was, or its core is just about to put it there: its reference leads to it before that (`timer::start`).
//! - **H4, cancelled ahead.** Other threads may cancel a timer, and a rescuer may settle what was cancelled, at that very moment. The rescuer finds a
//!   timer that has never been on the wheel. It marks the timer as refused, and the wheel's share stays with it; its core, or
//!   whoever takes the arrivals, finds the mark and gives the share up instead of putting it on the wheel.

use alloc::sync::Arc;
use core::mem::offset_of;
use core::ptr::NonNull;

use crate::kernel::{Kernel, Limits};
use crate::list::List;
use crate::memory::depot::Depot;
use crate::memory::pool::{KEEPS, Pool};
use crate::mutate::Mutation;
use crate::pid::{ReferenceBlock, Pid, Reference};
use crate::process::header::Header;
use crate::reclaim::basket::ReturnQueue;
use crate::reclaim::{Limbo, Participant};
use crate::runq::{Local, Queued, Shared};
use crate::sched::custody::{Barrier, Custody};
use crate::sched::pace::Pace;
use crate::sync::{Cell, Ordering, PlainAtomicBool, PlainAtomicUsize, UnsafeCell, spin_loop};
use crate::table::{Claim, FreeSlots, TableFull};
use crate::timer::arrivals::TimerInbox;
use crate::timer::record::TimerHead;
use crate::timer::wheel::{TimerNode, Wheel};

/// Timers that are moved ahead at a time.
const TIDY: usize = 64;

/// What others see of a core; on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct CoreShared {
    /// Its run queues.
    pub queues: Shared,
    /// Timers of its wheel that were cancelled elsewhere.
    pub cancelled: List<TimerHead>,
    /// Timers that were started while another had its wheel.
    arrivals: TimerInbox,
    /// What it runs, for whoever watches how long.
    pub mark: RunningMark,
    made: PlainAtomicBool,
    custody: Custody,
    half: Apart,
}

/// On cache lines of its own: others look at what is beside it.
#[derive(Debug)]
#[repr(align(128))]
struct Apart(UnsafeCell<Half>);

// SAFETY: whoever looks into it has it by the custody (C1).
unsafe impl Sync for Apart {}

/// What a core has to itself but for rescuers; see the module.
#[derive(Debug)]
pub(crate) struct Half {
    pub queues: Local,
    pub wheel: Wheel,
}

impl Half {
    /// Puts the arrivals on the wheel (H3).
    #[cold]
    fn arrive(&mut self, shared: &CoreShared, pool: &Pool) {
        // SAFETY: started, and not yet on a wheel; the wheel's share comes with it.
        shared.arrivals.take(|node, due| unsafe { self.put_on(node, due, pool) });
    }

    /// Puts a timer on the wheel, unless it was cancelled ahead of this (H4).
    ///
    /// # Safety
    /// The timer has not been on a wheel, and the wheel's share comes with it.
    #[inline]
    unsafe fn put_on(&mut self, node: NonNull<TimerNode>, due: u64, pool: &Pool) {
        // SAFETY: live by the wheel's share.
        if unsafe { node.as_ref() }.is_refused() {
            // SAFETY: by contract.
            return unsafe { Self::give_up_refused(node, pool) };
        }
        // SAFETY: by contract; the wheel's share keeps it.
        unsafe { self.wheel.insert(node, due) };
    }

    /// # Safety
    /// As for [`Half::put_on`].
    #[cold]
    unsafe fn give_up_refused(node: NonNull<TimerNode>, pool: &Pool) {
        // SAFETY: by contract.
        unsafe { TimerHead::give_up(TimerHead::of_wheel(node), Some(pool)) };
    }

    /// Takes off the timers that were cancelled elsewhere.
    pub(super) fn settle(&mut self, shared: &CoreShared, pool: &Pool) {
        // In this order: what was cancelled had arrived, or has not been put anywhere yet (H4).
        let cancelled = shared.cancelled.take();
        if !shared.arrivals.is_empty() {
            self.arrive(shared, pool);
        }
        for timer in cancelled {
            // SAFETY: pushed by a canceller with the wheel's share.
            unsafe { self.take_off(timer, pool) };
        }
    }

    /// # Safety
    /// The timer is of this wheel, cancelled, and the wheel's share is the caller's. There are no arrivals.
    unsafe fn take_off(&mut self, timer: NonNull<TimerHead>, pool: &Pool) {
        let node = TimerHead::wheel(timer);
        // SAFETY: live by the wheel's share, and the wheel is ours.
        let inner = unsafe { node.as_ref() };
        if inner.is_on_wheel() {
            // SAFETY: on the wheel.
            unsafe { self.wheel.remove(node) };
        } else if !inner.was_put() {
            // SAFETY: live by the wheel's share.
            if !unsafe { timer.as_ref() }.kernel().mutated(Mutation::ForgetsTheRefused) {
                return inner.refuse();
            }
        }
        // SAFETY: by contract.
        unsafe { TimerHead::give_up(timer, Some(pool)) };
    }
}

impl CoreShared {
    /// Of one of so many cores, at this time.
    pub(crate) fn new(cores: usize, now: u64) -> Self {
        Self {
            queues: Shared::new(),
            cancelled: List::new(),
            arrivals: TimerInbox::new(),
            mark: RunningMark::default(),
            made: PlainAtomicBool::new(false),
            custody: Custody::new(),
            half: Apart(UnsafeCell::new(Half { queues: Local::of(cores), wheel: Wheel::new(now) })),
        }
    }

    /// Lends the half to another core, unless its owner or a rescuer is at it. `f` calls nothing foreign.
    pub(super) fn rescue<R>(&self, kernel: &Kernel, f: impl FnOnce(&mut Half) -> R) -> Option<R> {
        if !self.custody.take(kernel.barrier, || kernel.world().heavy_barrier()) {
            return None;
        }
        // SAFETY: taken (C1).
        let result = self.half.0.with_mut(|half| f(unsafe { &mut *half }));
        self.custody.give_back();
        Some(result)
    }

    /// Whether the caller is the first who makes the core. Wait-free.
    pub(crate) fn claim(&self) -> bool {
        !self.made.swap(true, Ordering::AcqRel)
    }
}

/// A note of what a core runs: the slot's index and one, 0 for nothing, [`FIRING`] while it fires timers; and how many slices it
/// has begun. Written by the core by plain stores, read by anybody as a hint.
#[derive(Debug, Default)]
pub(crate) struct RunningMark {
    slices: PlainAtomicUsize,
    slot: PlainAtomicUsize,
}

/// The core fires timers until this goes, also by a panic in a world that contains none.
#[must_use]
#[derive(Debug)]
pub(crate) struct Firing<'m>(&'m RunningMark);

impl Drop for Firing<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// No slot's index and one: there are fewer slots.
const FIRING: usize = usize::MAX;

impl RunningMark {
    /// The core fires timers, between two slices, until what is returned goes: a message that nobody receives is dropped there.
    pub(crate) fn fires(&self) -> Firing<'_> {
        self.slot.store(FIRING, Ordering::Relaxed);
        Firing(self)
    }

    /// A slice of the process begins.
    pub(crate) fn enter(&self, pid: Pid) {
        // Relaxed: a hint. One writer, so no read-modify-write.
        self.slices.store(self.slices.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.slot.store(pid.index() as usize + 1, Ordering::Relaxed);
    }

    /// The slice is over, or the timers have been fired.
    pub(crate) fn leave(&self) {
        self.slot.store(0, Ordering::Relaxed);
    }

    /// How many slices it has begun, and whether one is under way, or timers are being fired.
    pub(crate) fn progress(&self) -> (usize, bool) {
        (self.slices.load(Ordering::Relaxed), self.slot.load(Ordering::Relaxed) != 0)
    }

    /// The number of the running slice, and the index of its process's slot.
    pub(crate) fn read(&self) -> Option<(usize, u32)> {
        let slot = self.slot.load(Ordering::Relaxed);
        (slot != 0 && slot != FIRING).then(|| (self.slices.load(Ordering::Relaxed), slot as u32 - 1))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct CoreLocal {
    id: usize,
    shared: Own,
    barrier: Barrier,
    /// The half is its own just now (H1).
    held: Cell<bool>,
    limbo: UnsafeCell<Limbo>,
    basket: Arc<ReturnQueue>,
    slots: UnsafeCell<FreeSlots>,
    block: UnsafeCell<ReferenceBlock>,
    pool: Pool,
    /// How its slices are bounded in time.
    pub(crate) pace: Pace,
    /// It has queued what others may take, and has looked for sleepers without a fence (`runq::idle`, I1).
    unfenced: Cell<bool>,
    /// Processes that it may start without asking the kernel.
    credit: Cell<u32>,
    random: Cell<u64>,
    max_timers: usize,
}

/// A core's shared part, as its owner has it.
#[derive(Debug)]
struct Own(NonNull<CoreShared>);

// SAFETY: it leads to the kernel, which the core holds, and which all cores may look at.
unsafe impl Send for Own {}

/// Foreign code runs, and the half is left, until this goes.
#[must_use]
#[derive(Debug)]
pub(crate) struct Outside<'c>(Option<&'c CoreLocal>);

impl Drop for Outside<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(core) = self.0 {
            let _has_it = core.hold();
        }
    }
}

impl CoreLocal {
    /// The private half of core `id`.
    ///
    /// # Safety
    /// The core is this kernel's, which outlives what is returned; made once.
    pub(crate) unsafe fn new(id: usize, kernel: &Kernel, seed: u64, limits: &Limits, depot: Arc<Depot>) -> Self {
        Self {
            id,
            shared: Own(NonNull::from(&kernel.cores[id])),
            barrier: kernel.barrier,
            held: Cell::new(true),
            limbo: UnsafeCell::new(Limbo::new()),
            basket: Arc::new(ReturnQueue::new()),
            slots: UnsafeCell::new(FreeSlots::new()),
            block: UnsafeCell::new(ReferenceBlock::default()),
            pool: Pool::new(limits.kept, depot),
            pace: Pace::new(),
            unfenced: Cell::new(false),
            credit: Cell::new(0),
            random: Cell::new(seed | 1),
            max_timers: limits.timers,
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> usize {
        self.id
    }

    #[inline(always)]
    fn shared(&self) -> &CoreShared {
        // SAFETY: the kernel outlives this (see `new`).
        unsafe { self.shared.0.as_ref() }
    }

    /// Has the half from now on, if no rescuer has it. Wait-free.
    #[inline(always)]
    pub(crate) fn hold(&self) -> bool {
        if !self.held.get() {
            self.held.set(self.shared().custody.enter(self.barrier));
        }
        self.held.get()
    }

    /// Has the half for good. The core ends; waits for a rescuer that is at it, which takes a few steps of its own.
    pub(crate) fn hold_for_good(&self) {
        while !self.hold() {
            spin_loop();
        }
    }

    /// What runs now is foreign: the half is left until what is returned goes (H1).
    #[inline(always)]
    pub(crate) fn outside(&self) -> Outside<'_> {
        if self.barrier == Barrier::Alone || !self.held.replace(false) {
            return Outside(None);
        }
        self.shared().custody.leave();
        Outside(Some(self))
    }

    /// Borrows the half, if no rescuer has it. `f` calls nothing foreign and not this core.
    #[inline(always)]
    fn half<R>(&self, f: impl FnOnce(&mut Half) -> R) -> Option<R> {
        if self.held.get() {
            // SAFETY: a core is driven by one thread, and borrows do not nest (see the module); no rescuer has it (C1).
            return Some(self.shared().half.0.with_mut(|half| f(unsafe { &mut *half })));
        }
        self.half_for_once(f)
    }

    /// As [`CoreLocal::half`], for one operation of foreign code (H1). By itself, so that the other way needs no registers for this one.
    #[inline(never)]
    fn half_for_once<R>(&self, f: impl FnOnce(&mut Half) -> R) -> Option<R> {
        let shared = self.shared();
        if !shared.custody.enter(self.barrier) {
            return None;
        }
        // SAFETY: as in `half`: entered just now.
        let result = shared.half.0.with_mut(|half| f(unsafe { &mut *half }));
        shared.custody.leave();
        Some(result)
    }

    /// Borrows the queues, if no rescuer has them. `f` calls nothing foreign and not this core.
    #[inline(always)]
    pub(crate) fn queues<R>(&self, f: impl FnOnce(&mut Local) -> R) -> Option<R> {
        self.half(|half| f(&mut half.queues))
    }

    /// Borrows the wheel, likewise.
    #[inline(always)]
    fn wheel<R>(&self, f: impl FnOnce(&mut Half) -> R) -> Option<R> {
        self.half(|half| {
            if self.barrier != Barrier::Alone && !self.shared().arrivals.is_empty() {
                half.arrive(self.shared(), &self.pool);
            }
            f(half)
        })
    }

    fn limbo<R>(&self, f: impl FnOnce(&mut Limbo) -> R) -> R {
        // SAFETY: as for `queues`.
        self.limbo.with_mut(|limbo| f(unsafe { &mut *limbo }))
    }

    fn slots<R>(&self, f: impl FnOnce(&mut FreeSlots) -> R) -> R {
        // SAFETY: as for `queues`.
        self.slots.with_mut(|slots| f(unsafe { &mut *slots }))
    }

    /// The blocks that it keeps.
    #[inline]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A number of its own sequence (xorshift).
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }

    /// A reference that nobody else has.
    pub(crate) fn reference(&self, kernel: &Kernel) -> Option<Reference> {
        // SAFETY: as for `queues`.
        self.block.with_mut(|block| kernel.references.next(unsafe { &mut *block }))
    }

    /// Whether the process may run here.
    pub(crate) fn takes(&self, process: &Header) -> bool {
        process.core == u32::MAX || process.core as usize == self.id
    }

    /// Queues a process that was just woken here, or started.
    pub(crate) fn schedule(&self, kernel: &Kernel, process: &Header, newborn: bool) {
        let node = process.run_node();
        let shared = &kernel.cores[self.id].queues;
        let queued = self.queues(|queues| {
            if process.core == u32::MAX {
                // SAFETY: the caller woke the process, so it has it, and this is the core.
                unsafe { queues.push_next(shared, node, newborn) }
            } else {
                // SAFETY: likewise.
                unsafe { queues.push_pinned(node) };
                Queued::Local
            }
        });
        // SAFETY: as above: nobody has queued it.
        let queued = queued.unwrap_or_else(|| unsafe { self.hand_in(shared, process) });
        if queued == Queued::Stealable {
            self.calls_for_help(kernel);
        }
    }

    /// Queues a process whose slice is over, behind the others; and has another core help, if there is more to do.
    pub(crate) fn requeue(&self, kernel: &Kernel, process: &Header) {
        let node = process.run_node();
        let shared = &kernel.cores[self.id].queues;
        let helps = self.queues(|queues| {
            if process.core != u32::MAX {
                // SAFETY: the core ran the process, so it has it.
                unsafe { queues.push_pinned(node) };
                return false;
            }
            // What was hidden so far (`push_next`) runs here next; then this one could run elsewhere.
            let more = queues.has_work(shared);
            // SAFETY: the core ran the process, so it has it.
            unsafe { queues.push(shared, node) };
            more
        });
        // SAFETY: as above: nobody has queued it.
        let helps = helps.unwrap_or_else(|| unsafe { self.hand_in(shared, process) } == Queued::Stealable);
        if helps {
            self.calls_for_help(kernel);
        }
    }

    /// Queues a process where all see it, while a rescuer has the queues (H2).
    ///
    /// # Safety
    /// The core has the process.
    #[cold]
    unsafe fn hand_in(&self, shared: &Shared, process: &Header) -> Queued {
        let node = process.run_node();
        if process.core != u32::MAX {
            // SAFETY: by contract.
            unsafe { shared.pinned.push(node) };
            return Queued::Local;
        }
        // SAFETY: by contract.
        unsafe { shared.inbox.push(node) };
        Queued::Stealable
    }

    /// Has another core help, if there is another; [`CoreLocal::has_called`] follows.
    #[inline]
    fn calls_for_help(&self, kernel: &Kernel) {
        if kernel.cores() > 1 {
            self.unfenced.set(true);
            kernel.work_adding();
        }
    }

    /// The slice is over, or the kernel's own work is: nobody has missed what was queued.
    #[inline]
    pub(crate) fn has_called(&self, kernel: &Kernel) {
        if self.unfenced.take() && !kernel.mutated(Mutation::NeverLooksBack) {
            kernel.work_added();
        }
    }

    /// Claims a slot, and counts the process.
    pub(crate) fn claim(&self, kernel: &Kernel) -> Result<Claim, TableFull> {
        if self.credit.get() == 0 {
            self.credit.set(kernel.take_credit()?);
        }
        let claim = self.slots(|slots| kernel.table.claim(slots))?;
        self.credit.set(self.credit.get() - 1);
        Ok(claim)
    }

    /// Gives a slot back, and uncounts the process.
    pub(crate) fn release(&self, kernel: &Kernel, pid: Pid) {
        self.slots(|slots| kernel.table.release(pid, slots));
        self.credit.set(self.credit.get() + 1);
        let block = kernel.credit_block();
        if self.credit.get() >= 2 * block {
            self.credit.set(self.credit.get() - block);
            kernel.return_credit(block);
        }
    }

    /// Gives back what it keeps for processes to come, so that the counts are exact.
    pub(crate) fn settle_accounts(&self, kernel: &Kernel) {
        kernel.return_credit(self.credit.replace(0));
    }

    /// Gives its free slots to the others, for good.
    pub(crate) fn give_up_slots(&self, kernel: &Kernel) {
        self.slots(|slots| kernel.table.give_up(slots));
        kernel.references.timers.spill(&self.pool.timer_slots, 0);
    }

    /// Retires a dead process.
    ///
    /// # Safety
    /// The table leads to it no more; retired once.
    pub(crate) unsafe fn retire(&self, process: NonNull<Header>) {
        // SAFETY: within the process, of which it keeps the provenance: it is freed by this pointer.
        let retired = unsafe { process.byte_add(offset_of!(Header, retired)) }.cast();
        // SAFETY: by contract.
        self.limbo(|limbo| unsafe { limbo.retire(retired) });
    }

    /// Hands on what was retired, when there is enough of it or `all` is asked for;
    /// whether anything was. The caller holds no guard.
    pub(crate) fn hand_on(&self, participant: &Participant, all: bool) -> bool {
        self.limbo(|limbo| {
            let due = !limbo.is_empty() && (all || limbo.len() >= 64);
            if due {
                limbo.hand_on(participant, KEEPS.then_some(&self.basket));
            }
            due
        })
    }

    /// Takes its dead back into its pool.
    #[inline]
    pub(crate) fn take_back(&self) {
        if !self.basket.is_empty() {
            self.basket.empty_into(&self.pool);
        }
    }

    /// Its dead do not come back any more.
    pub(crate) fn close_basket(&self) {
        self.basket.close();
    }

    /// Whether the wheel takes one more.
    pub(crate) fn has_room_for_a_timer(&self) -> bool {
        self.timers() < self.max_timers
    }

    /// Puts a timer on the wheel, whether or not there is room by the limit.
    ///
    /// # Safety
    /// The timer is new, for this core; the wheel's share goes with it.
    pub(crate) unsafe fn start(&self, timer: NonNull<TimerHead>) {
        let node = TimerHead::wheel(timer);
        // SAFETY: shared, so live.
        let due = unsafe { timer.as_ref() }.due;
        // SAFETY: by contract.
        if self.wheel(|half| unsafe { half.put_on(node, due, &self.pool) }).is_none() {
            // SAFETY: by contract; it is on no wheel yet (H2).
            unsafe { self.shared().arrivals.push(node, due) };
        }
    }

    /// Takes a cancelled timer off the wheel and gives up the wheel's share; or leaves both to whoever has the wheel next (H2).
    ///
    /// # Safety
    /// The timer is of this core's wheel, cancelled, and the wheel's share is the caller's.
    pub(crate) unsafe fn take_off(&self, kernel: &Kernel, timer: NonNull<TimerHead>) {
        // SAFETY: by contract, and the arrivals are on the wheel.
        if self.wheel(|half| unsafe { half.take_off(timer, &self.pool) }).is_none() {
            // SAFETY: cancelled; the wheel's share goes with it.
            unsafe { kernel.timer_cancelled(timer) };
        }
    }

    /// Takes off the timers that were cancelled elsewhere.
    pub(crate) fn drain_cancelled(&self) {
        if !self.shared().cancelled.is_empty() {
            let _settled = self.half(|half| half.settle(self.shared(), &self.pool));
        }
    }

    /// The core ends: what is cancelled from now on is given up by who does.
    pub(crate) fn close_cancelled(&self) {
        for timer in self.shared().cancelled.close() {
            // SAFETY: pushed with the wheel's share, cancelled.
            let _taken = self.wheel(|half| unsafe { half.take_off(timer, &self.pool) });
        }
    }

    /// A timer whose time has come, off the wheel.
    pub(crate) fn pop_due(&self, now: u64) -> Option<NonNull<TimerHead>> {
        self.wheel(|half| half.wheel.pop_due(now)).flatten().map(TimerHead::of_wheel)
    }

    /// Any timer, off the wheel.
    pub(crate) fn pop_timer(&self) -> Option<NonNull<TimerHead>> {
        self.wheel(|half| half.wheel.pop_any()).flatten().map(TimerHead::of_wheel)
    }

    /// Moves some timers ahead on the wheel: whether there were any ([`Wheel::tidy`]).
    pub(crate) fn tidy_timers(&self) -> bool {
        self.wheel(|half| half.wheel.tidy(TIDY)).unwrap_or(false)
    }

    /// Timers on the wheel; none while a rescuer has it.
    pub(crate) fn timers(&self) -> usize {
        self.wheel(|half| half.wheel.len()).unwrap_or(0)
    }

    /// When the wheel wants to be looked at.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.wheel(|half| half.wheel.next_due()).flatten()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::kernel::Options;
    use crate::reclaim::Domain;
    use crate::timer::record::Target;
    use crate::world::{CurrentSlot, Platform};
    use core::ptr;

    struct Nowhere;

    // SAFETY: nothing runs in it.
    unsafe impl Platform for Nowhere {
        fn now(&self) -> u64 {
            0
        }
        fn wake(&self, _: usize) {}
        fn here(&self) -> fn() -> *const CurrentSlot {
            || ptr::null()
        }
    }

    /// Issue 14, 10 and 21: a timer is cancelled by its reference, and what was cancelled is settled, when the reference leads to the timer
    /// already and its core has not put it on the wheel yet (H4). It never comes there.
    #[test]
    fn n10_a_timer_that_is_cancelled_ahead_never_comes_to_the_wheel() {
        let options = Options { limits: Limits { nodes: 4, ..Limits::default() }, ..Options::default() };
        let kernel = Kernel::new(options, Domain::new(), Arc::new(Nowhere));
        // SAFETY: made once, of a kernel that outlives it.
        let core = unsafe { CoreLocal::new(0, &kernel, 1, &kernel.options.limits, kernel.depot.clone()) };
        let participant = kernel.register();
        let guard = participant.pin();
        let (here, elsewhere) = (kernel.hand(&guard, Some(&core)), kernel.hand(&guard, None));
        for arrives in [false, true] {
            let nobody = Target::Pid(Pid::new(0, 1).expect("a pid"));
            let timer = TimerHead::try_message(&here, nobody, 1 << 30, false, ()).expect("memory");
            // SAFETY: live.
            let reference = unsafe { timer.as_ref() }.reference;
            // SAFETY: new, so ours.
            assert!(unsafe { TimerHead::settle(timer, 0, false) });
            assert_eq!(TimerHead::cancel_named(reference, &elsewhere), Some(1 << 30));
            core.drain_cancelled();
            if arrives {
                // SAFETY: on no wheel; the wheel's share goes with it.
                unsafe { core.shared().arrivals.push(TimerHead::wheel(timer), 1 << 30) };
                let _settled = core.half(|half| half.settle(core.shared(), &core.pool));
            } else {
                // SAFETY: new; the wheel's share goes with it.
                unsafe { core.start(timer) };
            }
            assert_eq!(core.timers(), 0, "it is not on the wheel");
            // SAFETY: the starter's share.
            unsafe { TimerHead::give_up(timer, None) };
            assert_eq!(kernel.nodes_used(), 0, "freed");
        }
    }
}
