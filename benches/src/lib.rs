//! What the benches share: one core, stepped by the thread that measures, so that what is measured is the
//! kernel and not the operating system's way with threads. The figures are for comparing two builds on one
//! machine; workloads, and other systems, are measured elsewhere.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use atropos_kernel::reclaim::{Domain, Participant};
use atropos_kernel::world::{Here, World};
use atropos_kernel::{Body, Core, Cx, Host, Kernel, Options, Pid, Ran, Resumed, SpawnOptions};

thread_local! {
    static HERE: Here = const { Cell::new(std::ptr::null()) };
}

fn here() -> *const Here {
    HERE.with(std::ptr::from_ref)
}

struct Clock(Instant);

// SAFETY: `here` is a thread-local.
unsafe impl World for Clock {
    fn now(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    fn wake(&self, _: usize) {}

    fn here(&self) -> fn() -> *const Here {
        here
    }
}

/// One core.
#[derive(Debug)]
pub struct Bench {
    core: Core,
    participant: Participant,
}

impl Default for Bench {
    fn default() -> Self {
        let kernel = Kernel::new(Options::default(), Domain::new(), Arc::new(Clock(Instant::now())));
        let participant = kernel.register();
        Self { core: Core::new(kernel, 0), participant }
    }
}

impl Bench {
    /// Starts a process from outside.
    ///
    /// # Panics
    /// When there is no room.
    pub fn spawn<B: Body>(&self, body: B) -> Pid {
        let host = Host::new(self.core.kernel(), &self.participant);
        host.spawn(&SpawnOptions::new(), body).expect("room").pid
    }

    /// Does something as the host.
    pub fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        f(&Host::new(self.core.kernel(), &self.participant))
    }

    /// Runs until there is nothing to do.
    pub fn run(&mut self) {
        while self.core.run(1 << 20) == Ran::Worked {}
    }
}

/// A body that is a closure.
pub struct Does<F>(F);

/// A body that does this each time it is resumed.
pub fn does<F: FnMut(&Cx<'_, Pid>) -> Resumed + Send + 'static>(f: F) -> Does<F> {
    Does(f)
}

impl<F> std::fmt::Debug for Does<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Does")
    }
}

impl<F: FnMut(&Cx<'_, Pid>) -> Resumed + Send + 'static> Body for Does<F> {
    type Message = Pid;

    fn resume(&mut self, cx: &Cx<'_, Pid>) -> Resumed {
        (self.0)(cx)
    }
}
