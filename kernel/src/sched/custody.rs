//! [`Custody`]: who has the private half of a core, its owner or a rescuer.
//!
//! What a core has to itself (its wheel, the next-up slot, what has overflowed and is not checked in) costs it no
//! exchange. But a body may keep its core for seconds, and others wait for what lies there. So whoever finds a
//! core in one slice for long takes that half, for a few steps, and gives it back: a *rescuer* (`sched::lookout`).
//!
//! ```text
//! owner:    busy = true; light barrier; taken? ── no ──▶ the half is its own … busy = false
//!                                          └── yes ─▶ busy = false: it does without
//! rescuer:  taken: false → true; heavy barrier; busy? ── no ──▶ the half is its own … taken = false
//!                                                   └── yes ─▶ taken = false: it tries again some other time
//! ```
//!
//! - **C1, one at a time.** Each side writes its own word and then looks at the other's, with a barrier between the two steps. One
//!   of them sees the other, and gives up. Of several rescuers the exchange on `taken` lets one through.
//! - **C2, nobody waits.** Who gives up goes on. The owner has a public place for all that it would do with the half (`sched::local`, H2);
//!   a rescuer looks again later.
//! - **C3, the dear side is the rare one.** The owner is at it with each slice, a rescuer after a millisecond of one. Where the world can have
//!   all threads execute a barrier ([`crate::Platform::heavy_barrier`]), the owner's is one for the compiler only. Elsewhere
//!   both are fences. Where nobody rescues ([`crate::Platform::rescues_after`], or there is one core) there is none at all.
//!
//! Progress: all wait-free.

use core::marker::PhantomData;

use crate::sync::{AtomicBool, Ordering, compiler_fence, fence};

/// The steps of the protocol, a parameter so that a model can leave one out and see it fail.
pub trait Steps: 'static {
    /// There are barriers.
    const BARRIERS: bool = true;
    /// A rescuer looks whether the owner is at it.
    const LOOKS: bool = true;
    /// The owner looks whether a rescuer is.
    const HONOURS: bool = true;
}

/// The steps as they must be.
#[derive(Debug)]
pub struct Shipped;
impl Steps for Shipped {}

/// Which barrier the two sides use (C3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Barrier {
    /// None: nobody rescues.
    Alone,
    /// The rescuer's is the world's, the owner's one for the compiler.
    Heavy,
    /// Fences.
    Both,
}

/// See the module.
#[derive(Debug)]
pub struct Custody<S = Shipped> {
    busy: AtomicBool,
    taken: AtomicBool,
    steps: PhantomData<S>,
}

impl<S: Steps> Custody<S> {
    /// The owner is at it.
    pub fn new() -> Self {
        Self { busy: AtomicBool::new(true), taken: AtomicBool::new(false), steps: PhantomData }
    }

    /// The owner would begin: whether the half is its own.
    #[inline(always)]
    pub fn enter(&self, barrier: Barrier) -> bool {
        // Relaxed: ordered by the barrier (C1).
        self.busy.store(true, Ordering::Relaxed);
        match barrier {
            // Pairs with the barrier of `take`, on all threads.
            Barrier::Heavy => compiler_fence(Ordering::SeqCst),
            // Pairs with the fence of `take`.
            Barrier::Both if S::BARRIERS => fence(Ordering::SeqCst),
            _ => {}
        }
        // Acquire: pairs with `give_back`: what a rescuer has done is seen.
        if S::HONOURS && self.taken.load(Ordering::Acquire) {
            // Release: as in `leave`, since a rescuer may find this store and not that one.
            self.busy.store(false, Ordering::Release);
            return false;
        }
        true
    }

    /// The owner is done.
    #[inline(always)]
    pub fn leave(&self) {
        // Release: pairs with the Acquire of `take`: what the owner has done is seen.
        self.busy.store(false, Ordering::Release);
    }

    /// A rescuer would begin: whether the half is its own until [`Custody::give_back`]. `heavy` is the world's barrier.
    pub fn take(&self, barrier: Barrier, heavy: impl FnOnce() -> bool) -> bool {
        // Acquire: pairs with `give_back` of the rescuer before.
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
        // Acquire: pairs with `leave`.
        if ordered && !(S::LOOKS && self.busy.load(Ordering::Acquire)) {
            return true;
        }
        // Release: as in `give_back`: the owner may find this store, and what the rescuer before has done must be seen by it.
        self.taken.store(false, Ordering::Release);
        false
    }

    /// The rescuer is done.
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
