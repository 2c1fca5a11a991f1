//! [`SimPlatform`]: the platform of all tests, over a safe trait.
//!
//! Memory safety rests on where the current slice is recorded and on where foreign code runs, and
//! both are decided here. What a test varies (the clock, the wakes, the fate of panics) is an
//! [`Environment`], which needs no `unsafe` code.

use std::ops::Deref;

use atropos_kernel::platform::{CatchPanic, CurrentSlot, Platform};
use atropos_kernel::{FiredWatch, Reason};

use crate::current_slot::current_slot;

/// The parts of a platform that a test decides. Each method is the platform's of the same name.
///
/// No implementation can break memory safety. `catch_panic` receives a borrowed closure that is not
/// `Send`, so it can run the closure only on its own thread, and before it returns.
pub trait Environment: Send + Sync + 'static {
    /// Returns the nanoseconds since a moment that the environment chooses. Never goes back.
    fn now(&self) -> u64;

    /// Handles the wake of an idle core.
    fn wake(&self, core: usize);

    /// Returns the nanoseconds that a slice may run before other cores take over the work of its
    /// core. Always the same value.
    fn rescues_after(&self) -> Option<u64> {
        None
    }

    /// Runs foreign code once. The default lets its panics propagate.
    fn catch_panic(&self, code: &mut dyn FnMut()) -> Result<(), Reason> {
        code();
        Ok(())
    }

    /// Returns a plain function that works like [`Environment::catch_panic`], or `None` if panics
    /// propagate.
    fn panic_catcher(&self) -> Option<CatchPanic> {
        None
    }

    /// Handles the exit for which a host thread has waited. The default runs the callback here.
    fn on_watch_fired(&self, fired: FiredWatch) {
        let mut fired = Some(fired);
        if let Err(reason) = self.catch_panic(&mut || fired.take().into_iter().for_each(FiredWatch::run)) {
            self.on_unhandled_panic(&reason);
        }
    }

    /// Handles a panic of a destructor that has no other place to be reported.
    fn on_unhandled_panic(&self, reason: &Reason) {
        let _ = reason;
    }
}

/// A platform of the kernel, over an environment, to which it dereferences.
#[derive(Default, Debug)]
pub struct SimPlatform<E> {
    environment: E,
}

impl<E: Environment> SimPlatform<E> {
    /// Creates the platform of an environment.
    pub fn new(environment: E) -> Self {
        Self { environment }
    }
}

impl<E> Deref for SimPlatform<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.environment
    }
}

// SAFETY: `current_slot` is always the same function. Its place is a thread-local without a
// destructor, null at first, and only the kernel gets a pointer to it, so each thread has its own
// place for as long as it runs. Loom and shuttle switch stacks inside a call into the kernel, and
// give each of their threads its own thread-locals, so a call always finds the same place. An
// environment can run the code of `catch_panic` only on this thread and before it returns (see
// `Environment`). `heavy_barrier` keeps its default, which claims nothing.
unsafe impl<E: Environment> Platform for SimPlatform<E> {
    #[inline]
    fn now(&self) -> u64 {
        self.environment.now()
    }

    fn rescues_after(&self) -> Option<u64> {
        self.environment.rescues_after()
    }

    #[inline]
    fn wake(&self, core: usize) {
        self.environment.wake(core);
    }

    fn current_slot(&self) -> fn() -> *const CurrentSlot {
        current_slot
    }

    #[inline]
    fn catch_panic(&self, code: &mut dyn FnMut()) -> Result<(), Reason> {
        self.environment.catch_panic(code)
    }

    fn panic_catcher(&self) -> Option<CatchPanic> {
        self.environment.panic_catcher()
    }

    fn on_watch_fired(&self, fired: FiredWatch) {
        self.environment.on_watch_fired(fired);
    }

    fn on_unhandled_panic(&self, reason: &Reason) {
        self.environment.on_unhandled_panic(reason);
    }
}
