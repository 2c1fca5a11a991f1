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

use alloc::sync::Arc;
use core::mem::offset_of;
use core::ptr::NonNull;

use crate::intrusive::list::List;
use crate::kernel::custody::{Barrier, Custody};
use crate::kernel::pace::Pace;
use crate::kernel::{Kernel, Limits};
use crate::memory::depot::Depot;
use crate::memory::pool::{POOLED_BLOCKS, Pool};
use crate::mutation::Mutation;
use crate::pid::{Pid, Reference};
use crate::process::header::Header;
use crate::process::references::ReferenceBlock;
use crate::process::table::{Claim, FreeSlots, TableFull};
use crate::process::timer_record::TimerHead;
use crate::reclaim::return_queue::ReturnQueue;
use crate::reclaim::{Limbo, Participant};
use crate::runq::{Local, Queued, Shared};
use crate::sync::{Cell, Ordering, PlainAtomicBool, PlainAtomicUsize, UnsafeCell, spin_loop};
use crate::timer::inbox::TimerInbox;
use crate::timer::wheel::{TimerNode, Wheel};

/// The number of timers that cascade ahead of time in one step.
const TIDY: usize = 64;

/// The part of a core that other cores see, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct CoreShared {
    /// The core's run queues.
    pub queues: Shared,
    /// Timers of this core's wheel that other cores have cancelled.
    pub cancelled: List<TimerHead>,
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
pub(crate) struct Half {
    pub queues: Local,
    pub wheel: Wheel,
}

impl Half {
    /// Puts the arrivals on the wheel (H3).
    #[cold]
    fn accept_down(&mut self, shared: &CoreShared, pool: &Pool) {
        // SAFETY: H3, the arrivals were started and are not on a wheel yet; the wheel's reference
        // comes with each.
        shared.arrivals.take(|node, due| unsafe { self.put_on(node, due, pool) });
    }

    /// Puts a timer on the wheel, unless it was cancelled before it arrived (H4).
    ///
    /// # Safety
    /// The timer has not been on a wheel, and the caller passes the wheel's reference with it.
    #[inline]
    unsafe fn put_on(&mut self, node: NonNull<TimerNode>, due: u64, pool: &Pool) {
        // SAFETY: the wheel's reference keeps the record live.
        if unsafe { node.as_ref() }.is_refused() {
            // SAFETY: H4, the timer was never on a wheel, and the caller passes the wheel's
            // reference (this function's contract).
            return unsafe { Self::give_up_refused(node, pool) };
        }
        // SAFETY: the timer has not been on a wheel (this function's contract), and the wheel's
        // reference keeps it live.
        unsafe { self.wheel.insert(node, due) };
    }

    /// Releases a refused timer.
    ///
    /// # Safety
    /// The timer has not been on a wheel, and the caller passes the wheel's reference with it.
    #[cold]
    unsafe fn give_up_refused(node: NonNull<TimerNode>, pool: &Pool) {
        // SAFETY: the caller passes the wheel's reference (this function's contract), and the
        // record is not used again.
        unsafe { TimerHead::release(TimerHead::of_wheel(node), Some(pool)) };
    }

    /// Takes off the timers that other cores have cancelled.
    pub(crate) fn settle(&mut self, shared: &CoreShared, pool: &Pool) {
        // This order matters: a timer that was cancelled by now has arrived, or has not been put
        // anywhere yet (H4).
        let cancelled = shared.cancelled.take();
        if !shared.arrivals.is_empty() {
            self.accept_down(shared, pool);
        }
        for timer in cancelled {
            // SAFETY: the canceller pushed the timer with the wheel's reference, and the arrivals
            // are on the wheel.
            unsafe { self.remove_timer(timer, pool) };
        }
    }

    /// Takes a cancelled timer off the wheel, or marks it as refused (H4).
    ///
    /// # Safety
    /// The timer belongs to this wheel and is cancelled, and the caller has the wheel's reference.
    /// There are no arrivals.
    #[inline]
    unsafe fn remove_timer(&mut self, timer: NonNull<TimerHead>, pool: &Pool) {
        let node = TimerHead::wheel(timer);
        // SAFETY: the wheel's reference keeps the record live, and we have the wheel (C1).
        let inner = unsafe { node.as_ref() };
        if inner.is_on_wheel() {
            // SAFETY: the node is on this wheel.
            unsafe { self.wheel.remove(node) };
        } else if !inner.was_put() {
            // SAFETY: the wheel's reference keeps the record live.
            let kernel = unsafe { timer.as_ref() }.kernel();
            // SAFETY: the kernel outlives its nodes (`Budget::node`), of which the record is one.
            if !unsafe { kernel.get() }.mutated(Mutation::ForgetsTheRefused) {
                return inner.refuse();
            }
        }
        // SAFETY: the caller has the wheel's reference (this function's contract), and the record
        // is not used again.
        unsafe { TimerHead::release(timer, Some(pool)) };
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
    pub(crate) fn rescue<R>(&self, kernel: &Kernel, f: impl FnOnce(&mut Half) -> R) -> Option<R> {
        if !self.custody.take(kernel.barrier, || kernel.world().heavy_barrier()) {
            return None;
        }
        // SAFETY: C1, `take` succeeded, so the half is ours until `give_back`.
        let result = self.half.0.with_mut(|half| f(unsafe { &mut *half }));
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
    shared: Own,
    barrier: Barrier,
    /// `true` while the owner has the half (H1).
    held: Cell<bool>,
    limbo: UnsafeCell<Limbo>,
    basket: Arc<ReturnQueue>,
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
    /// # Safety
    /// The core is this kernel's, and the kernel outlives the result. It is created once.
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

    /// Returns the core's number.
    pub(crate) fn id(&self) -> usize {
        self.id
    }

    /// What others see of it.
    #[inline(always)]
    pub(crate) fn shared(&self) -> &CoreShared {
        // SAFETY: the kernel outlives this value (`new`'s contract).
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

    /// Borrows the half, if no rescuer has it. `f` calls no foreign code, and does not use this
    /// core.
    #[inline(always)]
    fn half<R>(&self, f: impl FnOnce(&mut Half) -> R) -> Option<R> {
        let shared = self.shared();
        // In foreign code, for this operation only (H1).
        let for_once = !self.held.get();
        if for_once && !shared.custody.enter(self.barrier) {
            return None;
        }
        // One call of `f`, so that its code is inlined here and is not a function of its own.
        // SAFETY: C1, the owner has the half. One thread drives the core, and borrows do not nest
        // (see the module).
        let result = shared.half.0.with_mut(|half| f(unsafe { &mut *half }));
        if for_once {
            shared.custody.leave();
        }
        Some(result)
    }

    /// Borrows the queues, if no rescuer has them. `f` calls no foreign code, and does not use this
    /// core.
    #[inline(always)]
    pub(crate) fn queues<R>(&self, f: impl FnOnce(&mut Local) -> R) -> Option<R> {
        self.half(|half| f(&mut half.queues))
    }

    /// Borrows the queues without a closure.
    ///
    /// # Safety
    /// The core has its half ([`CoreLocal::hold`]). The caller does not use the reference after it
    /// calls anything else of the core, or foreign code.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "the contract excludes another borrow")]
    pub(crate) unsafe fn held_queues(&self) -> &mut Local {
        debug_assert!(self.held.get(), "the half is the core's own");
        // SAFETY: C1, the core has its half (this function's contract); one thread drives the core,
        // and borrows do not nest.
        self.shared().half.0.with_mut(|half| unsafe { &mut (*half).queues })
    }

    /// Borrows the half with the arrivals on the wheel (H3), if no rescuer has it. `f` calls no
    /// foreign code, and does not use this core.
    #[inline(always)]
    fn wheel<R>(&self, f: impl FnOnce(&mut Half) -> R) -> Option<R> {
        self.half(|half| {
            if self.barrier != Barrier::Alone && !self.shared().arrivals.is_empty() {
                half.accept_down(self.shared(), &self.pool);
            }
            f(half)
        })
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
    pub(crate) fn schedule(&self, kernel: &Kernel, process: &Header, newborn: bool) {
        if process.core != u32::MAX {
            return self.schedule_pinned(process);
        }
        let node = process.run_node();
        let shared = &self.shared().queues;
        // SAFETY: P1, the caller woke the process, so it owns it, and this is the core.
        let queued = self.queues(|queues| unsafe { queues.push_next(shared, node, newborn) });
        // SAFETY: P1, the caller woke the process, and the closure did not run, so it is in no
        // queue.
        let queued = queued.unwrap_or_else(|| unsafe { self.hand_in(shared, process) });
        if queued == Queued::Stealable {
            self.wake_peer_relaxed(kernel);
        }
    }

    /// Queues a process that may run on this core only, like [`CoreLocal::schedule`].
    #[inline(never)]
    fn schedule_pinned(&self, process: &Header) {
        // SAFETY: P1, the caller woke the process, so it owns it, and this is the core.
        let queued = self.queues(|queues| unsafe { queues.push_pinned(process.run_node()) });
        if queued.is_none() {
            // No other core can run the process, so none is woken.
            // SAFETY: P1, the caller woke the process, and the closure did not run, so it is in no
            // queue.
            let _hidden = unsafe { self.hand_in(&self.shared().queues, process) };
        }
    }

    /// Queues a process whose slice is over, behind the queued processes. Wakes another core if
    /// more work is left.
    pub(crate) fn requeue(&self, kernel: &Kernel, process: &Header) {
        let node = process.run_node();
        let shared = &self.shared().queues;
        let helps = self.queues(|queues| {
            if process.core != u32::MAX {
                // SAFETY: P1, the core ran the process, so it owns it.
                unsafe { queues.push_pinned(node) };
                return false;
            }
            // The process in the LIFO slot (`push_next`) runs here next. Then another core could
            // run this process.
            let more = queues.has_work(shared);
            // SAFETY: P1, the core ran the process, so it owns it.
            unsafe { queues.push(shared, node) };
            more
        });
        // SAFETY: P1, the core ran the process, and the closure did not run, so it is in no queue.
        let helps = helps.unwrap_or_else(|| unsafe { self.hand_in(shared, process) } == Queued::Stealable);
        if helps {
            self.wake_peer_relaxed(kernel);
        }
    }

    /// Queues a process where all cores see it, while a rescuer has the queues (H2).
    ///
    /// # Safety
    /// The core owns the process (P1).
    #[cold]
    unsafe fn hand_in(&self, shared: &Shared, process: &Header) -> Queued {
        let node = process.run_node();
        if process.core != u32::MAX {
            // SAFETY: P1, the core owns the process (this function's contract).
            unsafe { shared.pinned.push(node) };
            return Queued::Local;
        }
        // SAFETY: P1, the core owns the process (this function's contract).
        unsafe { shared.inbox.push(node) };
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
        if self.unfenced.take() && !kernel.mutated(Mutation::NeverLooksBack) {
            kernel.notify();
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
    ///
    /// # Safety
    /// The table no longer leads to the process, and it is retired once.
    pub(crate) unsafe fn retire(&self, process: NonNull<Header>) {
        // SAFETY: the offset is within the process. The pointer keeps its provenance for the whole
        // process, which is freed through it.
        let retired = unsafe { process.byte_add(offset_of!(Header, retired)) }.cast();
        // SAFETY: the table no longer leads to the process, and it is retired once (this function's
        // contract).
        self.limbo(|limbo| unsafe { limbo.retire(retired) });
    }

    /// Passes retired processes on to reclamation, when there are enough of them or `all` is set.
    /// Returns `true` if there were any to pass on. The caller holds no guard.
    pub(crate) fn hand_on(&self, participant: &Participant, all: bool) -> bool {
        self.limbo(|limbo| {
            let due = !limbo.is_empty() && (all || limbo.len() >= 64);
            if due {
                limbo.hand_on(participant, POOLED_BLOCKS.then_some(&self.basket));
            }
            due
        })
    }

    /// Takes the memory of the core's dead processes back into its pool.
    #[inline]
    pub(crate) fn reclaim_returned(&self) {
        if !self.basket.is_empty() {
            self.basket.drain_into(&self.pool);
        }
    }

    /// Stops the return of dead processes' memory to this core.
    pub(crate) fn close_return_queue(&self) {
        self.basket.close();
    }

    /// Returns `true` if the wheel may take one more timer.
    pub(crate) fn can_add_timer(&self) -> bool {
        self.timers() < self.max_timers
    }

    /// Puts a timer on the wheel, even above the limit.
    ///
    /// # Safety
    /// The timer is new and for this core, and the caller passes the wheel's reference with it.
    pub(crate) unsafe fn start(&self, timer: NonNull<TimerHead>) {
        let node = TimerHead::wheel(timer);
        // SAFETY: the caller's reference keeps the record live (this function's contract).
        let due = unsafe { timer.as_ref() }.due;
        // SAFETY: the timer is new, and the wheel's reference comes with it (this function's
        // contract).
        if self.wheel(|half| unsafe { half.put_on(node, due, &self.pool) }).is_none() {
            // SAFETY: H2, the closure did not run, so the timer is on no wheel; the wheel's
            // reference goes with it.
            unsafe { self.shared().arrivals.push(node, due) };
        }
    }

    /// Takes a cancelled timer off the wheel and releases the wheel's reference, or leaves both to
    /// the core that has the wheel next (H2).
    ///
    /// # Safety
    /// The timer belongs to this core's wheel and is cancelled, and the caller has the wheel's
    /// reference.
    pub(crate) unsafe fn remove_timer(&self, kernel: &Kernel, timer: NonNull<TimerHead>) {
        // SAFETY: H3, the timer is cancelled with the wheel's reference ours (this function's
        // contract), and `wheel` has put the arrivals on the wheel.
        if self.wheel(|half| unsafe { half.remove_timer(timer, &self.pool) }).is_none() {
            // SAFETY: H2, the closure did not run, so the timer is cancelled and the wheel's
            // reference, still ours, goes with it.
            unsafe { kernel.timer_cancelled(timer) };
        }
    }

    /// Takes off the timers that other cores have cancelled.
    pub(crate) fn drain_cancelled(&self) {
        if !self.shared().cancelled.is_empty() {
            let _settled = self.half(|half| half.settle(self.shared(), &self.pool));
        }
    }

    /// Closes the list of cancelled timers when the core ends. From now on each canceller releases
    /// the wheel's reference itself.
    pub(crate) fn close_cancelled(&self) {
        for timer in self.shared().cancelled.close() {
            // SAFETY: H3, the canceller pushed the timer with the wheel's reference, and `wheel`
            // has put the arrivals on the wheel.
            let _taken = self.wheel(|half| unsafe { half.remove_timer(timer, &self.pool) });
        }
    }

    /// Takes a due timer off the wheel.
    pub(crate) fn pop_due(&self, now: u64) -> Option<NonNull<TimerHead>> {
        self.wheel(|half| half.wheel.pop_due(now)).flatten().map(TimerHead::of_wheel)
    }

    /// Takes any timer off the wheel.
    pub(crate) fn pop_timer(&self) -> Option<NonNull<TimerHead>> {
        self.wheel(|half| half.wheel.pop_any()).flatten().map(TimerHead::of_wheel)
    }

    /// Cascades some timers ahead of time. Returns `true` if there were any
    /// ([`Wheel::cascade_ahead`]).
    pub(crate) fn tidy_timers(&self) -> bool {
        self.wheel(|half| half.wheel.cascade_ahead(TIDY)).unwrap_or(false)
    }

    /// Returns the number of timers on the wheel; 0 while a rescuer has it.
    pub(crate) fn timers(&self) -> usize {
        self.wheel(|half| half.wheel.len()).unwrap_or(0)
    }

    /// Returns when the wheel must be checked again.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.wheel(|half| half.wheel.next_due()).flatten()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::kernel::Options;
    use crate::kernel::platform::{CurrentSlot, Platform};
    use crate::process::timer_record::Target;
    use crate::reclaim::Domain;
    use core::ptr;

    struct Nowhere;

    // SAFETY: no core runs on this platform.
    unsafe impl Platform for Nowhere {
        fn now(&self) -> u64 {
            0
        }
        fn wake(&self, _: usize) {}
        fn current_slot(&self) -> fn() -> *const CurrentSlot {
            || ptr::null()
        }
    }

    /// Issue 14, 10 and 21: a timer is cancelled by its reference, and the cancelled timers are
    /// settled, before its core has put the timer on the wheel (H4). The timer never reaches the
    /// wheel.
    #[test]
    fn n10_timer_cancelled_before_arrival_never_reaches_the_wheel() {
        let options = Options { limits: Limits { nodes: 4, ..Limits::default() }, ..Options::default() };
        let kernel = Kernel::new(options, Domain::new(), Arc::new(Nowhere));
        // SAFETY: the core is created once, of a kernel that outlives it.
        let core = unsafe { CoreLocal::new(0, &kernel, 1, &kernel.options.limits, kernel.depot.clone()) };
        let participant = kernel.register();
        let guard = participant.pin();
        let (here, elsewhere) = (kernel.kernel_cx(&guard, Some(&core)), kernel.kernel_cx(&guard, None));
        for arrives in [false, true] {
            let nobody = Target::Pid(Pid::new(0, 1).expect("a valid pid"));
            let timer = TimerHead::try_message(&here, nobody, 1 << 30, false, ()).expect("enough memory for a timer");
            // SAFETY: the starter's reference keeps the record live.
            let reference = unsafe { timer.as_ref() }.reference;
            // SAFETY: the timer is new, and both references are ours.
            assert!(unsafe { TimerHead::settle(timer, 0, false) });
            assert_eq!(TimerHead::cancel_named(reference, &elsewhere), Some(1 << 30));
            core.drain_cancelled();
            if arrives {
                // SAFETY: the timer is on no wheel; the wheel's reference goes with it.
                unsafe { core.shared().arrivals.push(TimerHead::wheel(timer), 1 << 30) };
                let _settled = core.half(|half| half.settle(core.shared(), &core.pool));
            } else {
                // SAFETY: the timer is new; the wheel's reference goes with it.
                unsafe { core.start(timer) };
            }
            assert_eq!(core.timers(), 0, "the timer is not on the wheel");
            // SAFETY: this is the starter's reference, and the record is not used again.
            unsafe { TimerHead::release(timer, None) };
            assert_eq!(kernel.nodes_used(), 0, "all nodes are freed");
        }
    }
}
