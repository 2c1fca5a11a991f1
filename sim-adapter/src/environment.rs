//! [`VirtualEnvironment`]: virtual time, counted wakes, and panics that are caught and counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use atropos_kernel::Reason;
use atropos_kernel::platform::CatchPanic;

use crate::panics;
use crate::platform::{Environment, SimPlatform};

/// The platform of a [`VirtualEnvironment`].
pub type VirtualPlatform = SimPlatform<VirtualEnvironment>;

/// An environment whose time passes only when the test moves it.
///
/// It allocates only the text of a panic. Its counters are `Relaxed` atomics of `std`: they order
/// nothing that the kernel does not order, and loom and shuttle do not see them.
#[derive(Default, Debug)]
pub struct VirtualEnvironment {
    now: AtomicU64,
    wakes: AtomicUsize,
    unhandled_panics: AtomicUsize,
    propagates_panics: bool,
    rescues_after: Option<u64>,
    fails_on_unhandled_panic: bool,
}

impl VirtualEnvironment {
    /// Creates an environment at time 0, which catches panics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets panics propagate through the kernel, as on a platform that cannot catch them.
    #[must_use]
    pub fn propagating_panics(self) -> Self {
        Self { propagates_panics: true, ..self }
    }

    /// Lets cores rescue one another when a slice has lasted `nanos` nanoseconds.
    #[must_use]
    pub fn rescuing_after(self, nanos: u64) -> Self {
        Self { rescues_after: Some(nanos), ..self }
    }

    /// Panics when a destructor's panic has no other place to be reported.
    #[must_use]
    pub fn failing_on_unhandled_panic(self) -> Self {
        Self { fails_on_unhandled_panic: true, ..self }
    }

    /// Returns the virtual time, in nanoseconds since the start.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Advances the time by `nanos` nanoseconds.
    pub fn advance(&self, nanos: u64) {
        self.now.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Advances the time to `now`, in nanoseconds since the start. An earlier time is ignored.
    pub fn advance_to(&self, now: u64) {
        self.now.fetch_max(now, Ordering::Relaxed);
    }

    /// Returns how many times a core was woken.
    pub fn wakes(&self) -> usize {
        self.wakes.load(Ordering::Relaxed)
    }

    /// Returns how many panics of destructors had no other place to be reported.
    pub fn unhandled_panics(&self) -> usize {
        self.unhandled_panics.load(Ordering::Relaxed)
    }
}

impl Environment for VirtualEnvironment {
    fn now(&self) -> u64 {
        self.now()
    }

    fn rescues_after(&self) -> Option<u64> {
        self.rescues_after
    }

    fn wake(&self, _core: usize) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }

    fn catch_panic(&self, code: &mut dyn FnMut()) -> Result<(), Reason> {
        if self.propagates_panics {
            code();
            return Ok(());
        }
        panics::catch_panic(code)
    }

    fn panic_catcher(&self) -> Option<CatchPanic> {
        (!self.propagates_panics).then_some(panics::drop_panic)
    }

    fn on_unhandled_panic(&self, reason: &Reason) {
        self.unhandled_panics.fetch_add(1, Ordering::Relaxed);
        assert!(!self.fails_on_unhandled_panic, "a destructor panicked: {reason}");
    }
}
