//! [`CoreLocal`], what a core has to itself, and [`CoreShared`], what others see of it.
//!
//! A core is driven by one thread of execution at a time, and everything it does goes
//! through `&CoreLocal`, also what a running body asks of the kernel. So the parts are in
//! cells, each borrowed for the length of one operation that calls nothing foreign.

use alloc::sync::Arc;
use core::mem::offset_of;
use core::ptr::NonNull;

use crate::kernel::{Kernel, Limits};
use crate::list::List;
use crate::memory::depot::Depot;
use crate::memory::pool::{KEEPS, Pool};
use crate::mutate::Mutation;
use crate::pid::{Block, Pid, Reference};
use crate::process::header::Header;
use crate::reclaim::basket::Basket;
use crate::reclaim::{Limbo, Participant};
use crate::runq::{Local, Queued, Shared};
use crate::sync::{Cell, Ordering, PlainAtomicBool, PlainAtomicUsize, UnsafeCell};
use crate::table::{Claim, FreeSlots, NoSlot};
use crate::timer::record::TimerHead;
use crate::timer::wheel::Wheel;

/// Timers that are moved ahead at a time.
const TIDY: usize = 64;

/// What others see of a core; on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CoreShared {
    /// Its run queues.
    pub queues: Shared,
    /// Timers of its wheel that were cancelled elsewhere.
    pub cancelled: List<TimerHead>,
    /// What it runs, for whoever watches how long.
    pub mark: Mark,
    made: PlainAtomicBool,
}

impl CoreShared {
    /// Whether the caller is the first who makes the core. Wait-free.
    pub(crate) fn claim(&self) -> bool {
        !self.made.swap(true, Ordering::AcqRel)
    }
}

/// A note of what a core runs: the slot's index and one, 0 for nothing; and how many slices it
/// has begun. Written by the core by plain stores, read by anybody as a hint.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    slices: PlainAtomicUsize,
    slot: PlainAtomicUsize,
}

impl Mark {
    /// A slice of the process begins.
    pub(crate) fn enter(&self, pid: Pid) {
        // Relaxed: a hint. One writer, so no read-modify-write.
        self.slices.store(self.slices.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.slot.store(pid.index() as usize + 1, Ordering::Relaxed);
    }

    /// The slice is over.
    pub(crate) fn leave(&self) {
        self.slot.store(0, Ordering::Relaxed);
    }

    /// The number of the running slice, and the index of its process's slot.
    pub(crate) fn read(&self) -> Option<(usize, u32)> {
        let slot = self.slot.load(Ordering::Relaxed);
        (slot != 0).then(|| (self.slices.load(Ordering::Relaxed), slot as u32 - 1))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct CoreLocal {
    id: usize,
    queues: UnsafeCell<Local>,
    wheel: UnsafeCell<Wheel>,
    limbo: UnsafeCell<Limbo>,
    basket: Arc<Basket>,
    slots: UnsafeCell<FreeSlots>,
    block: UnsafeCell<Block>,
    pool: Pool,
    /// It has queued what others may take, and has looked for sleepers without a fence (`runq::idle`, I1).
    unfenced: Cell<bool>,
    /// Processes that it may start without asking the kernel.
    credit: Cell<u32>,
    random: Cell<u64>,
    max_timers: usize,
}

impl CoreLocal {
    /// The private half of core `id`.
    pub(crate) fn new(id: usize, cores: usize, now: u64, seed: u64, limits: &Limits, depot: Arc<Depot>) -> Self {
        Self {
            id,
            queues: UnsafeCell::new(Local::of(cores)),
            wheel: UnsafeCell::new(Wheel::new(now)),
            limbo: UnsafeCell::new(Limbo::new()),
            basket: Arc::new(Basket::new()),
            slots: UnsafeCell::new(FreeSlots::new()),
            block: UnsafeCell::new(Block::default()),
            pool: Pool::new(limits.kept, depot),
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

    /// Borrows the queues. `f` calls nothing foreign and not this core.
    pub(crate) fn queues<R>(&self, f: impl FnOnce(&mut Local) -> R) -> R {
        // SAFETY: a core is driven by one thread, and borrows do not nest (see the module).
        self.queues.with_mut(|queues| f(unsafe { &mut *queues }))
    }

    fn wheel<R>(&self, f: impl FnOnce(&mut Wheel) -> R) -> R {
        // SAFETY: as for `queues`.
        self.wheel.with_mut(|wheel| f(unsafe { &mut *wheel }))
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
                Queued::Hidden
            }
        });
        if queued == Queued::Visible {
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
        if helps {
            self.calls_for_help(kernel);
        }
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
    pub(crate) fn claim(&self, kernel: &Kernel) -> Result<Claim, NoSlot> {
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
        self.wheel(|wheel| unsafe { wheel.insert(node, due) });
    }

    /// Takes a cancelled timer off the wheel and gives up the wheel's share.
    ///
    /// # Safety
    /// The timer is of this core's wheel, cancelled, and the wheel's share is the caller's.
    pub(crate) unsafe fn take_off(&self, timer: NonNull<TimerHead>) {
        let node = TimerHead::wheel(timer);
        // SAFETY: live by the wheel's share, and this is the wheel's core.
        if unsafe { node.as_ref() }.is_on_wheel() {
            // SAFETY: on the wheel.
            self.wheel(|wheel| unsafe { wheel.remove(node) });
        }
        // SAFETY: by contract.
        unsafe { TimerHead::give_up(timer, Some(&self.pool)) };
    }

    /// Takes off the timers that were cancelled elsewhere.
    pub(crate) fn drain_cancelled(&self, kernel: &Kernel) {
        let shared = &kernel.cores[self.id].cancelled;
        if !shared.is_empty() {
            for timer in shared.take() {
                // SAFETY: pushed by a canceller with the wheel's share.
                unsafe { self.take_off(timer) };
            }
        }
    }

    /// A timer whose time has come, off the wheel.
    pub(crate) fn pop_due(&self, now: u64) -> Option<NonNull<TimerHead>> {
        self.wheel(|wheel| wheel.pop_due(now)).map(TimerHead::of_wheel)
    }

    /// Any timer, off the wheel.
    pub(crate) fn pop_timer(&self) -> Option<NonNull<TimerHead>> {
        self.wheel(Wheel::pop_any).map(TimerHead::of_wheel)
    }

    /// Moves some timers ahead on the wheel: whether there were any ([`Wheel::tidy`]).
    pub(crate) fn tidy_timers(&self) -> bool {
        self.wheel(|wheel| wheel.tidy(TIDY))
    }

    /// Timers on the wheel.
    pub(crate) fn timers(&self) -> usize {
        self.wheel(|wheel| wheel.len())
    }

    /// When the wheel wants to be looked at.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.wheel(|wheel| wheel.next_due())
    }
}
