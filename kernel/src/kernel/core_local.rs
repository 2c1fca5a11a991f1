//! [`CoreLocal`], a core's own state, and [`CoreShared`], the part of a core that other cores see.
//!
//! One thread at a time drives a core, and everything that the core does goes through `&CoreLocal`,
//! including the kernel operations of a running body. So the parts are in cells. Each is borrowed
//! for the length of one operation that calls no foreign code.
//!
//! Two parts, the queues and the wheel, are the core's [`Half`]. Other processes wait for what is
//! in there, so another core may take it while a body does not yield (`stall`), by the protocol
//! of `custody`.
//!
//! - **H1, held.** The owner has the half while kernel code runs, and leaves it while foreign code
//!   runs: a body, or a destructor ([`CoreLocal::outside`]). A kernel operation of the body takes
//!   it for that one operation.
//! - **H2, without.** While a rescuer has the half, the core uses other places. A woken process
//!   goes to the inbox, and a started timer to the `arrivals`. A cancelled timer goes to the list
//!   of those that other cores have cancelled. The next process is one that all cores may take. If
//!   there is none, the core reports that it has worked, and its driver runs it again. No core
//!   waits.
//! - **H3, arrivals first.** The core that has the wheel puts the arrivals on it before it does
//!   anything else. So a cancelled timer is on the wheel, was on it, or its core is just about to
//!   put it there: its reference leads to it before that (`ops::timer`).
//! - **H4, cancelled ahead.** In that last case, another thread may cancel a timer, and a rescuer
//!   may settle the cancelled timers, before the timer arrives. The rescuer finds a timer that has
//!   never been on the wheel. It marks the timer as refused and leaves the wheel's reference with
//!   it. The timer's core, or the core that takes the arrivals, finds the mark and releases the
//!   reference instead of putting the timer on the wheel.
//! - **H5, no nesting.** The owner borrows the half for one operation of this module at a time. The
//!   operation calls only the queues and the wheel, which know no core, and no foreign code. So no
//!   second borrow begins while it lasts.

use alloc::sync::Arc;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use crate::intrusive::list::List;
use crate::kernel::Kernel;
use crate::kernel::custody::{Barrier, Custody};
use crate::kernel::pace::Pace;
use crate::memory::pool::{POOLED_BLOCKS, Pool};
use crate::mutation::mutant;
use crate::pid::{Pid, Reference};
use crate::process::header::Header;
use crate::process::owned::{Owned, Vacated};
use crate::process::references::ReferenceBlock;
use crate::process::table::{Claim, FreeSlots, HeldSlot, TableFull};
use crate::process::timer_record::{CancelledShare, CancelledTimer, TimerMessage, ToWheel};
use crate::reclaim::return_queue::ReturnQueue;
use crate::reclaim::{Limbo, Participant};
use crate::runq::node::HeldRunNode;
use crate::runq::{Local, Queued, Queues, Shared};
use crate::shipped::Shipped;
use crate::sync::{Cell, MutPtr, Ordering, PlainAtomicBool, PlainAtomicUsize, UnsafeCell, spin_loop};
use crate::timer::inbox::TimerInbox;
use crate::timer::wheel::Wheel;

/// The number of timers that cascade ahead of time in one step.
const TIDY: usize = 64;

/// The part of a core that other cores see, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct CoreShared {
    /// The core's run queues.
    pub queues: Shared,
    /// Timers of this core's wheel that other cores have cancelled.
    pub cancelled: List<CancelledShare>,
    /// Timers that were started while a rescuer had this core's wheel.
    arrivals: TimerInbox,
    /// What the core runs, for the cores that monitor it.
    pub mark: RunningMark,
    made: PlainAtomicBool,
    custody: Custody,
    half: Apart,
}

/// The half, on cache lines of its own: other cores read the fields beside it.
#[derive(Debug)]
#[repr(align(128))]
struct Apart(UnsafeCell<Half>);

// SAFETY: C1, only the core that has the half by `custody` uses the contents.
unsafe impl Sync for Apart {}

/// The state that a core has to itself, except for rescuers; see the module.
#[derive(Debug)]
struct Half {
    queues: Local,
    wheel: Wheel,
}

/// The half in the hands of the core that has it (`custody`, C1), with the shared part that belongs
/// to it.
pub(crate) struct HeldHalf<'h> {
    half: MutPtr<Half>,
    shared: &'h CoreShared,
}

impl HeldHalf<'_> {
    #[inline(always)]
    fn half(&mut self) -> &mut Half {
        // SAFETY: C1, this core has the half for as long as this value exists, and this value is
        // the core's only access to it.
        self.half.with(|half| unsafe { &mut *half })
    }

    /// Returns the queues.
    #[inline(always)]
    pub(crate) fn queues(&mut self) -> Queues<'_> {
        let shared = &self.shared.queues;
        // SAFETY: C1, this core has the half, whose queues are used with this shared part only.
        // With one core no thread steals.
        unsafe { Queues::of(&mut self.half().queues, shared) }
    }

    /// Returns the wheel.
    #[inline(always)]
    pub(crate) fn wheel(&mut self) -> &mut Wheel {
        &mut self.half().wheel
    }

    /// Puts the arrivals on the wheel (H3).
    #[cold]
    fn accept_down(&mut self, pool: &Pool) {
        let shared = self.shared;
        // SAFETY: H3, the arrivals were started and are not on a wheel yet, and we have the wheel.
        shared.arrivals.take(|node| self.put_on(unsafe { ToWheel::of(node) }, pool));
    }

    /// Puts a timer on the wheel, unless it was cancelled before it arrived (H4).
    #[inline]
    fn put_on(&mut self, timer: ToWheel, pool: &Pool) {
        if timer.is_refused() {
            return Self::give_up_refused(timer, pool);
        }
        // SAFETY: `ToWheel` says that the timer is on its way to this wheel, and live until it is
        // taken off.
        unsafe { self.wheel().insert(timer.node(), timer.due) };
    }

    /// Releases a refused timer.
    #[cold]
    fn give_up_refused(timer: ToWheel, pool: &Pool) {
        // SAFETY: H4, the timer is refused, and was never on a wheel.
        unsafe { timer.release(Some(pool)) };
    }

    /// Takes a due timer off the wheel and decides that it fires. Returns `None` if no timer is
    /// due, and `Some(None)` for a timer that was cancelled in between.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<Option<TimerMessage>> {
        // SAFETY: we have the wheel (C1), and have just taken the timer off.
        self.wheel().pop_due(now).map(|node| unsafe { ToWheel::of(node) }.fire::<Shipped>())
    }

    /// Takes any timer off the wheel and decides that it is cancelled, as [`HeldHalf::pop_due`]
    /// does.
    fn pop_any(&mut self) -> Option<Option<CancelledTimer>> {
        // SAFETY: we have the wheel (C1), and have just taken the timer off.
        self.wheel().pop_any().map(|node| unsafe { ToWheel::of(node) }.cancel())
    }

    /// Takes off the timers that other cores have cancelled.
    pub(crate) fn settle(&mut self, pool: &Pool) {
        // This order matters: a timer that was cancelled by now has arrived, or has not been put
        // anywhere yet (H4).
        let cancelled = self.shared.cancelled.take();
        if !self.shared.arrivals.is_empty() {
            self.accept_down(pool);
        }
        for timer in cancelled {
            self.remove_timer(timer, pool);
        }
    }

    /// Takes a cancelled timer off the wheel, or marks it as refused (H4). There are no arrivals.
    #[inline]
    fn remove_timer(&mut self, timer: CancelledShare, pool: &Pool) {
        if timer.is_on_wheel() {
            // SAFETY: the timer is this core's, so its node is on this wheel.
            unsafe { self.wheel().remove(timer.node()) };
        } else if !timer.was_put() {
            // SAFETY: the kernel outlives its nodes (`Budget::node`), of which the record is one.
            mutant!(unsafe { timer.kernel().get() }.mutations, ForgetsTheRefused,
                right => return timer.refuse(),
                wrong => (),
            );
        }
        // SAFETY: the timer is off its wheel for good: taken off above, or before it was cancelled.
        unsafe { timer.release(Some(pool)) };
    }
}

impl CoreShared {
    /// Creates the shared part of one of `cores` cores, at the time `now`.
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

    /// Lends the half to another core, unless its owner or a rescuer has it. `f` calls no foreign
    /// code.
    pub(crate) fn rescue<R>(&self, kernel: &Kernel, f: impl FnOnce(&mut HeldHalf<'_>) -> R) -> Option<R> {
        if !self.custody.take(kernel.barrier, || kernel.world().heavy_barrier()) {
            return None;
        }
        // C1: `take` succeeded, so the half is ours until `give_back`.
        let result = f(&mut HeldHalf { half: self.half.0.get_mut(), shared: self });
        self.custody.give_back();
        Some(result)
    }

    /// Returns `true` if the caller is the first to create the core. Wait-free.
    pub(crate) fn claim(&self) -> bool {
        !self.made.swap(true, Ordering::AcqRel)
    }
}

/// A record of what a core runs: the slot's index plus one, 0 for nothing, [`FIRING`] while it
/// fires timers; and how many slices it has begun. The core writes it by plain stores, and any
/// thread reads it as a hint.
#[derive(Debug, Default)]
pub(crate) struct RunningMark {
    slices: PlainAtomicUsize,
    slot: PlainAtomicUsize,
}

/// A guard: the core fires timers until it is dropped, also by a panic on a platform that catches
/// none.
#[must_use]
#[derive(Debug)]
pub(crate) struct Firing<'m>(&'m RunningMark);

impl Drop for Firing<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The value of `slot` while the core fires timers. It is no slot's index plus one, because there
/// are fewer slots.
const FIRING: usize = usize::MAX;

impl RunningMark {
    /// Marks the core as firing timers, between two slices, until the returned guard is dropped. A
    /// message that no process receives is dropped there.
    pub(crate) fn fires(&self) -> Firing<'_> {
        self.slot.store(FIRING, Ordering::Relaxed);
        Firing(self)
    }

    /// Marks the beginning of a slice of the process.
    pub(crate) fn enter(&self, pid: Pid) {
        // Relaxed: a hint. There is one writer, so no read-modify-write is needed.
        self.slices.store(self.slices.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.slot.store(pid.index() as usize + 1, Ordering::Relaxed);
    }

    /// Marks the end of the slice, or of firing timers.
    pub(crate) fn leave(&self) {
        self.slot.store(0, Ordering::Relaxed);
    }

    /// Returns how many slices the core has begun, and `true` if it is in one, or fires timers.
    pub(crate) fn progress(&self) -> (usize, bool) {
        (self.slices.load(Ordering::Relaxed), self.slot.load(Ordering::Relaxed) != 0)
    }

    /// Returns the number of the running slice, and the index of its process's slot.
    pub(crate) fn read(&self) -> Option<(usize, u32)> {
        let slot = self.slot.load(Ordering::Relaxed);
        (slot != 0 && slot != FIRING).then(|| (self.slices.load(Ordering::Relaxed), slot as u32 - 1))
    }
}

/// The state that only the core's own thread uses; see the module.
#[derive(Debug)]
pub(crate) struct CoreLocal {
    id: usize,
    /// The core's part of the kernel, which `_kernel` keeps.
    shared: Own,
    _kernel: Arc<Kernel>,
    barrier: Barrier,
    /// `true` while the owner has the half (H1).
    held: Cell<bool>,
    /// `true` while the owner uses the half (H5). Only debug builds look.
    in_use: Cell<bool>,
    limbo: UnsafeCell<Limbo>,
    return_queue: Arc<ReturnQueue>,
    slots: UnsafeCell<FreeSlots>,
    block: UnsafeCell<ReferenceBlock>,
    pool: Pool,
    /// The limit of the core's slices in time.
    pub(crate) pace: Pace,
    /// `true` if the core has queued stealable work, and has checked for idle cores without a fence
    /// only (`runq::idle`, I1).
    unfenced: Cell<bool>,
    /// The number of processes that the core may start without using the kernel's counter.
    credit: Cell<u32>,
    random: Cell<u64>,
    max_timers: usize,
}

/// The half that its owner uses, until this value is dropped.
pub(crate) struct OwnHalf<'c> {
    half: HeldHalf<'c>,
    /// `true` if the owner leaves the half afterwards.
    for_once: bool,
    #[cfg(debug_assertions)]
    in_use: &'c Cell<bool>,
}

impl<'c> Deref for OwnHalf<'c> {
    type Target = HeldHalf<'c>;

    #[inline(always)]
    fn deref(&self) -> &HeldHalf<'c> {
        &self.half
    }
}

impl DerefMut for OwnHalf<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.half
    }
}

impl Drop for OwnHalf<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        assert!(self.in_use.replace(false), "the half was in use");
        if self.for_once {
            self.half.shared.custody.leave();
        }
    }
}

/// The owner's pointer to its core's shared part.
#[derive(Debug)]
struct Own(NonNull<CoreShared>);

// SAFETY: it points into the kernel, which the core holds, and which all cores may share.
unsafe impl Send for Own {}

/// A guard: foreign code runs, and the owner does not have the half, until it is dropped.
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
    /// Creates the private part of core `id`.
    ///
    /// # Panics
    /// If the kernel has no such core, or the core has been created before: its queues have one
    /// owner.
    pub(crate) fn new(id: usize, kernel: Arc<Kernel>, seed: u64) -> Self {
        assert!(id < kernel.cores(), "the kernel has {} cores", kernel.cores());
        assert!(kernel.cores[id].claim(), "core {id} has been made before");
        let (limits, depot) = (&kernel.options.limits, kernel.depot.clone());
        Self {
            id,
            shared: Own(NonNull::from(&kernel.cores[id])),
            barrier: kernel.barrier,
            held: Cell::new(true),
            in_use: Cell::new(false),
            limbo: UnsafeCell::new(Limbo::new()),
            return_queue: Arc::new(ReturnQueue::new()),
            slots: UnsafeCell::new(FreeSlots::new()),
            block: UnsafeCell::new(ReferenceBlock::default()),
            pool: Pool::new(limits.kept, depot),
            pace: Pace::new(),
            unfenced: Cell::new(false),
            credit: Cell::new(0),
            random: Cell::new(seed | 1),
            max_timers: limits.timers,
            _kernel: kernel,
        }
    }

    /// Returns the core's number.
    pub(crate) fn id(&self) -> usize {
        self.id
    }

    /// Returns the part of the core that other cores see.
    #[inline(always)]
    pub(crate) fn shared(&self) -> &CoreShared {
        // SAFETY: it is a part of the kernel, which this value holds and which does not move.
        unsafe { self.shared.0.as_ref() }
    }

    /// Takes the half for the owner, if no rescuer has it. Returns `true` if the owner has it.
    /// Wait-free.
    #[inline(always)]
    pub(crate) fn hold(&self) -> bool {
        if !self.held.get() {
            self.held.set(self.shared().custody.enter(self.barrier));
        }
        self.held.get()
    }

    /// Takes the half for an owner that ends. Waits for a rescuer that has it, which needs only a
    /// few steps of its own.
    pub(crate) fn hold_for_good(&self) {
        while !self.hold() {
            spin_loop();
        }
    }

    /// Leaves the half for foreign code, until the returned guard is dropped (H1).
    #[inline(always)]
    pub(crate) fn outside(&self) -> Outside<'_> {
        if self.barrier == Barrier::Alone || !self.held.replace(false) {
            return Outside(None);
        }
        self.shared().custody.leave();
        Outside(Some(self))
    }

    /// Borrows the half for one operation of this file, if no rescuer has it (H5).
    #[inline(always)]
    fn half(&self) -> Option<OwnHalf<'_>> {
        let shared = self.shared();
        debug_assert!(!self.in_use.replace(true), "the core's half is in use");
        // In foreign code, for this operation only (H1).
        let for_once = !self.held.get();
        if for_once && !shared.custody.enter(self.barrier) {
            debug_assert!(self.in_use.replace(false));
            return None;
        }
        Some(OwnHalf {
            half: HeldHalf { half: shared.half.0.get_mut(), shared },
            for_once,
            #[cfg(debug_assertions)]
            in_use: &self.in_use,
        })
    }

    /// Takes the next process, and `true` if one that was hidden in the LIFO slot has become
    /// stealable.
    #[inline]
    pub(crate) fn pop(&self) -> Option<(HeldRunNode, bool)> {
        let mut half = self.half()?;
        let mut queues = half.queues();
        let node = queues.pop()?;
        Some((node, queues.publish_seen()))
    }

    /// Ends a slice that has `left` of its budget ([`Queues::end_slice`]).
    #[inline]
    pub(crate) fn end_slice(&self, left: u32) {
        if let Some(mut half) = self.half() {
            half.queues().end_slice(left);
        }
    }

    /// Ends a slice that has `left` of its budget, and takes the next process if it continues the
    /// budget ([`Queues::pop_continuing`]).
    #[inline(always)]
    pub(crate) fn end_slice_and_pop(&self, left: u32) -> Option<(HeldRunNode, u32)> {
        let mut half = self.half()?;
        let mut queues = half.queues();
        queues.end_slice(left);
        queues.pop_continuing()
    }

    /// Returns the reduction budget of the process that was taken last ([`Queues::budget`]).
    #[inline]
    pub(crate) fn budget(&self) -> Option<(u32, bool)> {
        Some(self.half()?.queues().budget())
    }

    /// Charges reductions to the quantum ([`Queues::charge`]). Does nothing while a rescuer has the
    /// queues.
    #[inline]
    pub(crate) fn charge(&self, reductions: u32) {
        if let Some(mut half) = self.half() {
            half.queues().charge(reductions);
        }
    }

    /// Moves processes that other threads woke into the queues.
    pub(crate) fn drain_inboxes(&self) {
        if let Some(mut half) = self.half() {
            half.queues().drain();
        }
    }

    /// Takes work from another core ([`Queues::steal`]).
    pub(crate) fn steal(&self, victim: &Shared) -> Option<HeldRunNode> {
        self.half()?.queues().steal(victim)
    }

    /// Takes everything that another core has queued ([`Queues::take_over`]).
    pub(crate) fn take_over(&self, victim: &Shared) -> usize {
        self.half().map_or(0, |mut half| half.queues().take_over(victim))
    }

    /// Returns `true` if this core has a process to run, or a rescuer has its queues.
    pub(crate) fn has_work(&self) -> bool {
        self.half().is_none_or(|mut half| half.queues().has_work())
    }

    /// Borrows the half with the arrivals on the wheel (H3), if no rescuer has it.
    #[inline(always)]
    fn wheel(&self) -> Option<OwnHalf<'_>> {
        let mut half = self.half()?;
        if self.barrier != Barrier::Alone && !self.shared().arrivals.is_empty() {
            half.accept_down(&self.pool);
        }
        Some(half)
    }

    fn limbo<R>(&self, f: impl FnOnce(&mut Limbo) -> R) -> R {
        // SAFETY: one thread drives the core, and borrows do not nest (see the module).
        self.limbo.with_mut(|limbo| f(unsafe { &mut *limbo }))
    }

    fn slots<R>(&self, f: impl FnOnce(&mut FreeSlots) -> R) -> R {
        // SAFETY: one thread drives the core, and borrows do not nest (see the module).
        self.slots.with_mut(|slots| f(unsafe { &mut *slots }))
    }

    /// Returns the core's pool of free memory blocks.
    #[inline]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Returns the next number of the core's own random sequence (xorshift).
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }

    /// Returns a reference that no other object has, or `None` if none is left.
    pub(crate) fn reference(&self, kernel: &Kernel) -> Option<Reference> {
        // SAFETY: one thread drives the core, and borrows do not nest (see the module).
        self.block.with_mut(|block| kernel.references.next(unsafe { &mut *block }))
    }

    /// Returns `true` if the process may run on this core.
    pub(crate) fn takes(&self, process: &Header) -> bool {
        process.core == u32::MAX || process.core as usize == self.id
    }

    /// Queues a process that was just woken on this core, or started.
    #[inline(always)]
    pub(crate) fn schedule(&self, kernel: &Kernel, owned: Owned<'_>, newborn: bool) {
        if owned.core != u32::MAX {
            return self.schedule_pinned(owned);
        }
        let node = owned.into_run_node();
        let queued = match self.half() {
            Some(mut half) => half.queues().push_next(node, newborn),
            None => self.hand_in(node),
        };
        if queued == Queued::Stealable {
            self.wake_peer_relaxed(kernel);
        }
    }

    /// Queues a process that may run on this core only, like [`CoreLocal::schedule`].
    #[inline(never)]
    fn schedule_pinned(&self, owned: Owned<'_>) {
        let node = owned.into_run_node();
        match self.half() {
            Some(mut half) => half.queues().push_pinned(node),
            // No other core can run the process, so none is woken.
            None => self.shared().queues.pinned.push(node),
        }
    }

    /// Queues a process whose slice is over, behind the queued processes. Wakes another core if
    /// more work is left.
    pub(crate) fn requeue(&self, kernel: &Kernel, owned: Owned<'_>) {
        if owned.core != u32::MAX {
            return self.schedule_pinned(owned);
        }
        let node = owned.into_run_node();
        let helps = match self.half() {
            Some(mut half) => {
                let mut queues = half.queues();
                // The process in the LIFO slot (`push_next`) runs here next. Then another core
                // could run this process.
                let more = queues.has_work();
                queues.push(node);
                more
            }
            None => self.hand_in(node) == Queued::Stealable,
        };
        if helps {
            self.wake_peer_relaxed(kernel);
        }
    }

    /// Queues a process where all cores see it, while a rescuer has the queues (H2).
    #[cold]
    fn hand_in(&self, node: HeldRunNode) -> Queued {
        self.shared().queues.inbox.push(node);
        Queued::Stealable
    }

    /// Wakes another core without a fence, if the kernel has one; [`CoreLocal::flush_wakes`] must
    /// follow.
    #[inline]
    fn wake_peer_relaxed(&self, kernel: &Kernel) {
        if kernel.cores() > 1 {
            self.unfenced.set(true);
            kernel.notify_relaxed();
        }
    }

    /// Returns `true` if [`CoreLocal::flush_wakes`] has something to do.
    #[inline(always)]
    pub(crate) fn has_unflushed_wakes(&self) -> bool {
        self.unfenced.get()
    }

    /// Checks for idle cores again with a fence, at the end of a slice or of kernel work, so that
    /// no core has missed the queued work.
    #[inline]
    pub(crate) fn flush_wakes(&self, kernel: &Kernel) {
        if self.unfenced.take() {
            mutant!(kernel.mutations, NeverLooksBack, right => kernel.notify(), wrong => ());
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
    pub(crate) fn release(&self, kernel: &Kernel, slot: HeldSlot) {
        self.slots(|slots| kernel.table.release(slot, slots));
        self.credit.set(self.credit.get() + 1);
        let block = kernel.credit_block();
        if self.credit.get() >= 2 * block {
            self.credit.set(self.credit.get() - block);
            kernel.return_credit(block);
        }
    }

    /// Returns the credit that the core keeps for future processes, so that the counts are exact.
    pub(crate) fn return_credit_of_slice(&self, kernel: &Kernel) {
        kernel.return_credit(self.credit.replace(0));
    }

    /// Returns the core's free slots to the common table, for good.
    pub(crate) fn give_up_slots(&self, kernel: &Kernel) {
        self.slots(|slots| kernel.table.flush_cache(slots));
        kernel.references.timers.spill(&self.pool.timer_slots, 0);
    }

    /// Retires a dead process.
    pub(crate) fn retire(&self, process: Vacated) {
        let retired = process.into_retired();
        self.limbo(|limbo| limbo.retire(retired));
    }

    /// Passes retired processes on to reclamation, when there are enough of them or `all` is set.
    /// Returns `true` if there were any to pass on. The caller holds no guard.
    pub(crate) fn hand_on(&self, participant: &Participant, all: bool) -> bool {
        self.limbo(|limbo| {
            let due = !limbo.is_empty() && (all || limbo.len() >= 64);
            if due {
                limbo.hand_on(participant, POOLED_BLOCKS.then_some(&self.return_queue));
            }
            due
        })
    }

    /// Takes the memory of the core's dead processes back into its pool.
    #[inline]
    pub(crate) fn reclaim_returned(&self) {
        if !self.return_queue.is_empty() {
            self.return_queue.drain_into(&self.pool);
        }
    }

    /// Stops the return of dead processes' memory to this core.
    pub(crate) fn close_return_queue(&self) {
        self.return_queue.close();
    }

    /// Returns `true` if the wheel may take one more timer.
    pub(crate) fn can_add_timer(&self) -> bool {
        self.timers() < self.max_timers
    }

    /// Puts a timer of this core on the wheel, even above the limit.
    #[inline]
    pub(crate) fn start(&self, timer: ToWheel) {
        match self.wheel() {
            Some(mut half) => half.put_on(timer, &self.pool),
            None => self.start_later(timer),
        }
    }

    /// Leaves a new timer to the core that has the wheel next (H2).
    #[cold]
    #[inline(never)]
    fn start_later(&self, timer: ToWheel) {
        // SAFETY: H2, the timer is on no wheel, and it is live until it is taken off one.
        unsafe { self.shared().arrivals.push(timer.node()) };
    }

    /// Takes a cancelled timer of this core off the wheel and releases the wheel's reference, or
    /// leaves both to the core that has the wheel next (H2).
    #[inline]
    pub(crate) fn remove_timer(&self, kernel: &Kernel, timer: CancelledShare) {
        match self.wheel() {
            // `wheel` has put the arrivals on the wheel (H3).
            Some(mut half) => half.remove_timer(timer, &self.pool),
            None => kernel.timer_cancelled(timer),
        }
    }

    /// Takes off the timers that other cores have cancelled.
    pub(crate) fn drain_cancelled(&self) {
        if !self.shared().cancelled.is_empty() {
            let _settled = self.half().map(|mut half| half.settle(&self.pool));
        }
    }

    /// Closes the list of cancelled timers when the core ends. From now on each canceller releases
    /// the wheel's reference itself.
    pub(crate) fn close_cancelled(&self) {
        for timer in self.shared().cancelled.close() {
            // `wheel` has put the arrivals on the wheel (H3).
            let _taken = self.wheel().map(|mut half| half.remove_timer(timer, &self.pool));
        }
    }

    /// Takes a due timer off the wheel; see [`HeldHalf::pop_due`].
    pub(crate) fn pop_due(&self, now: u64) -> Option<Option<TimerMessage>> {
        self.wheel()?.pop_due(now)
    }

    /// Takes any timer off the wheel; see [`HeldHalf::pop_any`].
    pub(crate) fn pop_timer(&self) -> Option<Option<CancelledTimer>> {
        self.wheel()?.pop_any()
    }

    /// Cascades some timers ahead of time. Returns `true` if there were any
    /// ([`Wheel::cascade_ahead`]).
    #[inline]
    pub(crate) fn tidy_timers(&self) -> bool {
        self.wheel().is_some_and(|mut half| half.wheel().cascade_ahead(TIDY))
    }

    /// Returns the number of timers on the wheel; 0 while a rescuer has it.
    pub(crate) fn timers(&self) -> usize {
        self.wheel().map_or(0, |mut half| half.wheel().len())
    }

    /// Returns when the wheel must be checked again.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.wheel()?.wheel().next_due()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::kernel::platform::Nowhere;
    use crate::kernel::{Limits, Options};
    use crate::ops::timer_outcome;
    use crate::process::timer_record::{NewTimer, Settled, Target};
    use crate::reclaim::Domain;

    /// Issue 14, 10 and 21: a timer is cancelled by its reference, and the cancelled timers are
    /// settled, before its core has put the timer on the wheel (H4). The timer never reaches the
    /// wheel.
    #[test]
    fn n10_timer_cancelled_before_arrival_never_reaches_the_wheel() {
        let options = Options { limits: Limits { nodes: 4, ..Limits::default() }, ..Options::default() };
        let kernel = Kernel::new(options, Domain::new(), Arc::new(Nowhere));
        let core = CoreLocal::new(0, kernel.clone(), 1);
        let participant = kernel.register();
        let guard = participant.pin();
        let (here, elsewhere) = (kernel.kernel_cx(&guard, Some(&core)), kernel.kernel_cx(&guard, None));
        for arrives in [false, true] {
            let nobody = Target::Pid(Pid::new(0, 1).expect("a valid pid"));
            let timer = NewTimer::message(&here, nobody, 1 << 30, false, None, ()).expect("enough memory for a timer");
            let reference = timer.reference;
            let Settled::Armed(wheel, starter, None) = timer.settle(0, false) else { panic!("it is armed") };
            assert_eq!(timer_outcome::cancel_named(reference, &elsewhere), Some(1 << 30));
            core.drain_cancelled();
            if arrives {
                // SAFETY: the timer is on no wheel, and is live until it has arrived.
                unsafe { core.shared().arrivals.push(wheel.node()) };
                let _settled = core.half().map(|mut half| half.settle(&core.pool));
            } else {
                core.start(wheel);
            }
            assert_eq!(core.timers(), 0, "the timer is not on the wheel");
            starter.release(None);
            assert_eq!(kernel.nodes_used(), 0, "all nodes are freed");
        }
    }
}
