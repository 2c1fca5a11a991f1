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
mod half;
mod mark;
mod processes;
mod queues;
mod timers;

use alloc::sync::Arc;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

pub(crate) use self::half::{CoreShared, HeldHalf};
pub(crate) use self::mark::RunningMark;
use crate::kernel::Kernel;
use crate::kernel::custody::Barrier;
use crate::kernel::pace::Pace;
use crate::memory::pool::Pool;
use crate::pid::Reference;
use crate::process::header::{ANY_CORE, Header};
use crate::process::references::ReferenceBlock;
use crate::process::table::FreeSlots;
use crate::reclaim::Limbo;
use crate::reclaim::return_queue::ReturnQueue;
use crate::sync::{Cell, UnsafeCell, spin_loop};

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

    /// Borrows the half for one operation of this module, if no rescuer has it (H5).
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
        process.core == ANY_CORE || usize::from(process.core) == self.id
    }
}
