//! [`Custody`]: which core has the private half of a core, its owner or a rescuer.
//!
//! A core uses its private half (its wheel, the LIFO slot, the overflow that is not published yet)
//! without any exchange. But a body may keep its core for seconds while other processes wait for
//! what is in the half. A core that finds another core in one slice for a long time therefore takes
//! that core's half for a few steps, and gives it back. It is called a *rescuer*
//! (`sched::stall`).
//!
//! ```text
//! owner:    busy = true; light barrier; taken? ── no ──▶ the half is its own … busy = false
//!                                          └── yes ─▶ busy = false: it does without
//! rescuer:  taken: false → true; heavy barrier; busy? ── no ──▶ the half is its own … taken = false
//!                                                   └── yes ─▶ taken = false: it tries again some other time
//! ```
//!
//! - **C1, one at a time.** Each side writes its own word and then reads the other's, with a
//!   barrier between the two steps. So one of them sees the other, and gives up. Of several
//!   rescuers, only the one whose exchange on `taken` succeeds goes on.
//! - **C2, no waiting.** The side that gives up goes on with other work. The owner has a public
//!   place for everything that it would do with the half (`kernel::core_local`, H2); a rescuer
//!   checks again later.
//! - **C3, the rare side pays.** The owner uses the half in each slice, a rescuer only after a
//!   millisecond of one slice. If the platform can make all threads execute a barrier
//!   ([`crate::Platform::heavy_barrier`]), the owner's barrier is a compiler barrier only.
//!   Elsewhere both are fences. If no core rescues ([`crate::Platform::rescues_after`], or a kernel
//!   with one core), there is no barrier.
//!
//! Progress: all operations are wait-free.

use core::marker::PhantomData;

use crate::shipped::Shipped;
use crate::sync::{AtomicBool, Ordering, compiler_fence, fence};

/// The steps of the protocol. A model can omit one and see the failure.
pub trait Steps: 'static {
    /// The barriers are executed.
    const BARRIERS: bool = true;
    /// A rescuer checks `busy`.
    const LOOKS: bool = true;
    /// The owner checks `taken`.
    const HONOURS: bool = true;
}

impl Steps for Shipped {}

/// The barriers that the two sides use (C3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Barrier {
    /// No barrier: no core rescues.
    Alone,
    /// The rescuer uses the platform's barrier, the owner a compiler barrier.
    Heavy,
    /// Both sides use fences.
    Both,
}

/// The two flags that decide which core has the half; see the module.
#[derive(Debug)]
pub struct Custody<S = Shipped> {
    busy: AtomicBool,
    taken: AtomicBool,
    steps: PhantomData<S>,
}

impl<S: Steps> Custody<S> {
    /// Creates the state in which the owner has the half.
    pub fn new() -> Self {
        Self { busy: AtomicBool::new(true), taken: AtomicBool::new(false), steps: PhantomData }
    }

    /// Enters for the owner. Returns `true` if the half is its own until [`Custody::leave`].
    #[inline(always)]
    pub fn enter(&self, barrier: Barrier) -> bool {
        // Relaxed: ordered by the barrier (C1).
        self.busy.store(true, Ordering::Relaxed);
        match barrier {
            // Pairs with the barrier of `take`, which runs on all threads.
            Barrier::Heavy => compiler_fence(Ordering::SeqCst),
            // Pairs with the fence of `take`.
            Barrier::Both if S::BARRIERS => fence(Ordering::SeqCst),
            _ => {}
        }
        // Acquire: pairs with `give_back`. Without it the owner could miss what a rescuer has done.
        if S::HONOURS && self.taken.load(Ordering::Acquire) {
            // Release: as in `leave`, because a rescuer may read this store instead of that one.
            self.busy.store(false, Ordering::Release);
            return false;
        }
        true
    }

    /// Leaves the half as its owner.
    #[inline(always)]
    pub fn leave(&self) {
        // Release: pairs with the Acquire load in `take`: a rescuer sees what the owner has done.
        self.busy.store(false, Ordering::Release);
    }

    /// Takes the half for a rescuer. Returns `true` if the half is its own until
    /// [`Custody::give_back`]. `heavy` is the platform's barrier.
    pub fn take(&self, barrier: Barrier, heavy: impl FnOnce() -> bool) -> bool {
        // Acquire: pairs with `give_back` of the previous rescuer.
        if self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        let ordered = match barrier {
            Barrier::Alone => false,
            Barrier::Heavy => heavy(),
            Barrier::Both => {
                if S::BARRIERS {
                    // Pairs with the fence of `enter` (C1).
                    fence(Ordering::SeqCst);
                }
                true
            }
        };
        // Acquire: pairs with `leave`. Without it the rescuer could miss what the owner has done.
        if ordered && !(S::LOOKS && self.busy.load(Ordering::Acquire)) {
            return true;
        }
        // Release: as in `give_back`, because the owner may read this store, and must see what the
        // previous rescuer has done.
        self.taken.store(false, Ordering::Release);
        false
    }

    /// Gives the half back.
    pub fn give_back(&self) {
        // Release: pairs with the Acquire of `enter` and of `take`.
        self.taken.store(false, Ordering::Release);
    }
}

impl<S: Steps> Default for Custody<S> {
    fn default() -> Self {
        Self::new()
    }
}
