//! A stepped platform for the kernel's tests: virtual time, panics caught, wake-ups counted.
#![allow(dead_code, reason = "each test uses what it needs")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atropos_kernel::reclaim::{Domain, Participant};
use atropos_kernel::{Body, BodyPoll, Core, Cx, Host, Kernel, Options, RunOutcome};
use atropos_sim::VirtualEnvironment;

pub(crate) use atropos_sim::{VirtualPlatform as Stepped, body as does};

/// Returns a stepped platform that cannot catch panics: they propagate through the kernel.
pub(crate) fn propagates_panics() -> Stepped {
    Stepped::new(VirtualEnvironment::new().propagating_panics())
}

/// Returns a stepped platform on which cores rescue one another when a slice has lasted `nanos`
/// nanoseconds.
pub(crate) fn rescues_after(nanos: u64) -> Stepped {
    Stepped::new(VirtualEnvironment::new().rescuing_after(nanos))
}

/// A kernel, its cores, and the membership of the host thread.
pub(crate) struct Stage {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) world: Arc<Stepped>,
    pub(crate) cores: Vec<Core>,
    pub(crate) participant: Participant,
}

impl Stage {
    pub(crate) fn new(options: Options) -> Self {
        Self::in_world(options, Stepped::default())
    }

    pub(crate) fn in_world(options: Options, world: Stepped) -> Self {
        let world = Arc::new(world);
        let kernel = Kernel::new(options, Domain::new(), world.clone());
        let cores = (0..kernel.cores()).map(|id| Core::new(kernel.clone(), id)).collect();
        let participant = kernel.register();
        Self { kernel, world, cores, participant }
    }

    pub(crate) fn host(&self) -> Host<'_> {
        Host::new(&self.kernel, &self.participant)
    }

    /// Steps the cores in turn until none has anything to do at this time.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut worked = false;
            for core in &mut self.cores {
                worked |= core.run(16) == RunOutcome::Worked;
            }
            if !worked {
                return;
            }
        }
        panic!("no end in sight");
    }

    /// Advances the clock, and runs the timers that come due.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.world.advance(time.as_nanos() as u64);
        self.settle();
    }
}

/// Creates a body that yields for ever, and counts its turns.
pub(crate) fn yields(turns: Arc<AtomicUsize>) -> impl Body<Message = ()> {
    does(move |_: &Cx<'_, ()>| {
        turns.fetch_add(1, Ordering::Relaxed);
        BodyPoll::Yield
    })
}
