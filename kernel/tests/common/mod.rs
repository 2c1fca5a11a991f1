//! A stepped platform for the kernel's tests: virtual time, panics caught, wake-ups counted.
#![allow(dead_code, reason = "each test uses what it needs")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use atropos_kernel::platform::{CurrentSlot, Platform};
use atropos_kernel::reclaim::{Domain, Participant};
use atropos_kernel::{Body, CatchPanic, Core, Cx, Host, Kernel, Options, Reason, Resumed, RunOutcome};

thread_local! {
    static HERE: CurrentSlot = const { Cell::new(std::ptr::null()) };
}

fn current_slot() -> *const CurrentSlot {
    HERE.with(std::ptr::from_ref)
}

/// Returns `true` if a slice is recorded as running on this thread.
pub(crate) fn is_inside() -> bool {
    HERE.with(|current_slot| !current_slot.get().is_null())
}

/// The stepped platform.
#[derive(Default)]
pub(crate) struct Stepped {
    pub(crate) now: AtomicU64,
    /// Number of times that a core was woken.
    pub(crate) wakes: AtomicUsize,
    /// Number of panics that could not be reported to a caller.
    pub(crate) lost: AtomicUsize,
    /// `true` if panics propagate through the kernel, as on a platform that cannot catch them.
    pub(crate) lets_through: bool,
    /// `true` if cores rescue each other when a slice lasts for a millisecond.
    pub(crate) rescues: bool,
}

// SAFETY: `current_slot` is a thread-local, so each thread has its own place. `catch_panic` runs
// its argument on this thread.
unsafe impl Platform for Stepped {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn rescues_after(&self) -> Option<u64> {
        self.rescues.then_some(1_000_000)
    }

    fn wake(&self, _: usize) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }

    fn current_slot(&self) -> fn() -> *const CurrentSlot {
        current_slot
    }

    fn catch_panic(&self, code: &mut dyn FnMut()) -> Result<(), Reason> {
        if self.lets_through {
            code();
            return Ok(());
        }
        catch_unwind(AssertUnwindSafe(code)).map_err(|panic| match panic.downcast_ref::<&str>() {
            Some(text) => Reason::crash(*text),
            None => Reason::crash("a panic"),
        })
    }

    fn panic_catcher(&self) -> Option<CatchPanic> {
        let contain: CatchPanic = |code| drop(catch_unwind(AssertUnwindSafe(code)));
        (!self.lets_through).then_some(contain)
    }

    fn on_unhandled_panic(&self, _: &Reason) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
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
        self.world.now.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        self.settle();
    }
}

/// A body that is a closure.
pub(crate) struct Does<M, F>(F, std::marker::PhantomData<fn(M)>);

pub(crate) fn does<M, F>(does: F) -> Does<M, F>
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>) -> Resumed + Send + 'static,
{
    Does(does, std::marker::PhantomData)
}

impl<M: Send + 'static, F: FnMut(&Cx<'_, M>) -> Resumed + Send + 'static> Body for Does<M, F> {
    type Message = M;

    fn resume(&mut self, cx: &Cx<'_, M>) -> Resumed {
        (self.0)(cx)
    }
}

/// Creates a body that yields for ever, and counts its turns.
pub(crate) fn yields(turns: Arc<AtomicUsize>) -> impl Body<Message = ()> {
    does(move |_: &Cx<'_, ()>| {
        turns.fetch_add(1, Ordering::Relaxed);
        Resumed::Yield
    })
}
