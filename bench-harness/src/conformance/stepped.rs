//! Virtual cores that one thread steps. A seed decides which core runs next and for how long; each
//! core's own sequence decides which core it steals from. Time is virtual, and passes only when no
//! core has work. The same seed gives the same observations.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use atropos::Reason;
use atropos::kernel::platform::{CurrentSlot, Platform};
use atropos::kernel::reclaim::{Domain, Participant};
use atropos::kernel::{Core, Host, Kernel, Options, RunOutcome};

use super::Driver;
use super::through::{Facilitated, Joins, Through};

thread_local! {
    static HERE: CurrentSlot = const { Cell::new(std::ptr::null()) };
}

fn current_slot() -> *const CurrentSlot {
    HERE.with(std::ptr::from_ref)
}

/// The crash text of a process that panics without a text of its own.
pub const PANIC: &str = "a panic in a scripted process";

struct Clock(AtomicU64);

// SAFETY: `current_slot` returns the thread's own cell, which is null at first. All virtual cores
// run on one thread, and `catch_panic` calls the code on that thread before it returns.
unsafe impl Platform for Clock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn wake(&self, _core: usize) {
        // The stepper queries the kernel for woken cores (`is_idle`).
    }

    fn current_slot(&self) -> fn() -> *const CurrentSlot {
        current_slot
    }

    fn catch_panic(&self, code: &mut dyn FnMut()) -> Result<(), Reason> {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(code));
        caught.map_err(|panic| match panic.downcast::<String>() {
            Ok(text) => Reason::crash(*text),
            Err(_) => Reason::crash(PANIC),
        })
    }
}

/// Virtual cores that one thread steps.
pub struct Stepped {
    kernel: Arc<Kernel>,
    clock: Arc<Clock>,
    cores: Vec<(Core, Option<u64>)>,
    participant: Participant,
    random: u64,
}

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stepped")
    }
}

impl Stepped {
    /// Creates `cores` virtual cores, scheduled by `seed`.
    pub fn new(cores: usize, seed: u64) -> Self {
        Self::with(Options { cores, seed, ..Options::default() })
    }

    /// Creates virtual cores with these options.
    pub fn with(options: Options) -> Self {
        let clock = Arc::new(Clock(AtomicU64::new(0)));
        let (cores, seed) = (options.cores, options.seed);
        let kernel = Kernel::new(options, Domain::new(), clock.clone());
        let cores = (0..cores).map(|id| (Core::new(kernel.clone(), id), None)).collect();
        let participant = kernel.register();
        Self { kernel, clock, cores, participant, random: seed.wrapping_mul(2).wrapping_add(1) }
    }

    /// Makes the scripted processes call the facilities.
    pub fn through_facilities(self) -> Facilitated<Self> {
        let through = Through::new(Joins(self.kernel.clone()));
        Facilitated::new(self, through)
    }

    /// Returns the next SplitMix64 number below `below`.
    fn random(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as usize % below
    }

    /// Returns the number of cores.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Returns the shared kernel.
    pub fn shared(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// Lets time pass without running a core.
    pub fn pass(&mut self, time: Duration) {
        self.clock.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Runs until every core is idle and no timer is due.
    pub fn rest(&mut self) -> Result<()> {
        for _ in 0..1_000_000 {
            self.settle()?;
            let now = self.clock.now();
            let Some(core) = self.cores.iter().position(|(_, due)| due.is_some_and(|due| due <= now)) else {
                return Ok(());
            };
            self.step(core);
        }
        anyhow::bail!("timers are due, and do not fire")
    }

    fn step(&mut self, core: usize) {
        let slices = 1 + self.random(4) as u32;
        self.step_core(core, slices);
    }

    /// Runs a core for this many slices.
    pub fn step_core(&mut self, core: usize, slices: u32) {
        let (core, due) = &mut self.cores[core];
        *due = match core.run(slices) {
            RunOutcome::Worked => None,
            RunOutcome::Idle { until } => until,
        };
    }

    /// Returns the time when the next timer may be due.
    fn next_due(&self) -> Option<u64> {
        self.cores.iter().filter_map(|(_, due)| *due).min()
    }

    fn advance(&mut self, to: u64) -> Result<()> {
        self.clock.0.fetch_max(to, Ordering::Relaxed);
        for core in 0..self.cores.len() {
            self.step(core);
        }
        self.settle()
    }
}

impl Driver for Stepped {
    fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        f(&Host::new(&self.kernel, &self.participant))
    }

    fn settle(&mut self) -> Result<()> {
        for _ in 0..1_000_000 {
            let awake: Vec<usize> = (0..self.cores.len()).filter(|core| !self.kernel.is_idle(*core)).collect();
            if awake.is_empty() {
                ensure!(self.kernel.is_quiescent(), "all cores are idle, but work is left");
                return Ok(());
            }
            let core = awake[self.random(awake.len())];
            self.step(core);
        }
        anyhow::bail!("the system does not come to rest")
    }

    fn sleep(&mut self, time: Duration) -> Result<()> {
        let end = self.clock.now() + u64::try_from(time.as_nanos())?;
        while let Some(due) = self.next_due().filter(|due| *due <= end) {
            self.advance(due)?;
        }
        self.advance(end)
    }

    fn sleep_a_little(&mut self) -> Result<()> {
        let due = self.next_due();
        ensure!(due.is_some(), "no event will follow");
        self.advance(due.unwrap_or_default())
    }
}
