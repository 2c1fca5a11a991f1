//! A single core, and bodies that are closures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atropos_kernel::reclaim::{Domain, Guard, Participant};
use atropos_kernel::{Body, BodyPoll, Core, Cx, Host, Kernel, Options, Pid, RunOutcome, SpawnOptions};
use atropos_sim::{ClosureBody, Environment, SimPlatform, body};

/// A clock that advances by one microsecond on each read. A read costs a few instructions, as with
/// the processor's counter. The counts of a tool that slows everything down do not depend on how
/// slow it is.
struct Clock(AtomicU64);

impl Environment for Clock {
    fn now(&self) -> u64 {
        // Relaxed: one thread reads it, and no exchange is counted.
        let now = self.0.load(Ordering::Relaxed) + 1_000;
        self.0.store(now, Ordering::Relaxed);
        now
    }

    fn wake(&self, _: usize) {}
}

/// A single core, with a host to drive it.
#[derive(Debug)]
pub(crate) struct Bench {
    core: Core,
    participant: Participant,
}

impl Default for Bench {
    fn default() -> Self {
        let kernel =
            Kernel::new(Options::default(), Domain::new(), Arc::new(SimPlatform::new(Clock(AtomicU64::new(1)))));
        let participant = kernel.register();
        Self { core: Core::new(kernel, 0), participant }
    }
}

impl Bench {
    /// Starts a process from outside.
    ///
    /// # Panics
    /// Panics when the process table is full.
    pub(crate) fn spawn<B: Body>(&self, body: B) -> Pid {
        let host = Host::new(self.core.kernel(), &self.participant);
        host.spawn(&SpawnOptions::new(), body).expect("a free slot").pid
    }

    /// Runs `f` as a host.
    pub(crate) fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        f(&Host::new(self.core.kernel(), &self.participant))
    }

    /// Runs `f` under a guard.
    pub(crate) fn pinned(&self, f: impl FnOnce(&Kernel, &Guard<'_>)) {
        f(self.core.kernel(), &self.participant.pin());
    }

    /// Runs the core until there is nothing left to do.
    pub(crate) fn run(&mut self) {
        while self.core.run(1 << 20) == RunOutcome::Worked {}
    }
}

/// Returns a body that runs `f` each time it is resumed.
pub(crate) fn does<F: FnMut(&Cx<'_, Pid>) -> BodyPoll + Send + 'static>(f: F) -> ClosureBody<Pid, F> {
    body(f)
}
