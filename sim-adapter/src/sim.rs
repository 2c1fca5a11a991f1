//! [`Sim`]: simulated cores that one thread steps.
//!
//! A seed decides which core runs next and for how many slices; each core's own sequence decides
//! which core it steals from. Time is virtual, and passes only when the test says so. The same seed
//! gives the same observations.

use std::error::Error;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use atropos_kernel::reclaim::{Domain, Participant};
use atropos_kernel::{Core, Host, Kernel, Options, RunOutcome};

use crate::environment::{VirtualEnvironment, VirtualPlatform};

/// Why simulated cores cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stuck {
    /// The cores do not become idle.
    Busy,
    /// All cores are idle, but work is left.
    WorkLeft,
    /// Timers are due, and do not fire.
    TimersLeft,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the system does not become idle",
            Self::WorkLeft => "all cores are idle, but work is left",
            Self::TimersLeft => "timers are due, and do not fire",
        })
    }
}

impl Error for Stuck {}

/// A core, and the time at which it must run again for its timers.
struct SimCore {
    core: Core,
    due: Option<u64>,
}

/// A kernel on simulated cores, and the host thread that steps them.
///
/// A destructor's panic that has no other place to be reported is a panic of the step.
pub struct Sim {
    kernel: Arc<Kernel>,
    platform: Arc<VirtualPlatform>,
    cores: Vec<SimCore>,
    participant: Participant,
    random: u64,
    slices: RangeInclusive<u32>,
    max_steps: usize,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("cores", &self.cores.len()).field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Sim {
    /// Creates `cores` simulated cores, scheduled by `seed`.
    pub fn new(cores: usize, seed: u64) -> Self {
        Self::with(Options { cores, seed, ..Options::default() })
    }

    /// Creates simulated cores with these options. [`Options::seed`] schedules them, too.
    pub fn with(options: Options) -> Self {
        let platform = Arc::new(VirtualPlatform::new(VirtualEnvironment::new().failing_on_unhandled_panic()));
        let (cores, random) = (options.cores, options.seed);
        let kernel = Kernel::new(options, Domain::new(), platform.clone());
        let cores = (0..cores).map(|id| SimCore { core: Core::new(kernel.clone(), id), due: None }).collect();
        let participant = kernel.register();
        Self { kernel, platform, cores, participant, random, slices: 1..=4, max_steps: 10_000_000 }
    }

    /// Sets how many slices a core runs in one step; the seed decides within the range. The default
    /// is 1 to 4.
    #[must_use]
    pub fn slices_per_step(self, slices: RangeInclusive<u32>) -> Self {
        Self { slices, ..self }
    }

    /// Sets the number of steps after which cores that still have work are taken to have work for
    /// ever. The default is 10,000,000.
    #[must_use]
    pub fn max_steps(self, max_steps: usize) -> Self {
        Self { max_steps, ..self }
    }

    /// Returns the kernel.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// Returns the kernel as the host thread sees it.
    pub fn host(&self) -> Host<'_> {
        Host::new(&self.kernel, &self.participant)
    }

    /// Returns the number of cores.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Returns the virtual time since the start.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.platform.now())
    }

    /// Returns the next SplitMix64 number below `below`.
    fn random(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as usize % below
    }

    /// Runs a core for `slices` slices.
    pub fn step_core(&mut self, core: usize, slices: u32) {
        let SimCore { core, due } = &mut self.cores[core];
        *due = match core.run(slices) {
            RunOutcome::Worked => None,
            RunOutcome::Idle { until } => until,
        };
    }

    /// Runs a core for a number of slices that the seed decides.
    fn step_one(&mut self, core: usize) {
        let (least, most) = (*self.slices.start(), *self.slices.end());
        // No number is drawn where there is no choice.
        let more = if least < most { self.random((most - least + 1) as usize) as u32 } else { 0 };
        self.step_core(core, least + more);
    }

    /// Steps a core that has work; the seed decides which. Returns `false` if none has any.
    pub fn step(&mut self) -> bool {
        let awake: Vec<usize> = (0..self.cores.len()).filter(|core| !self.kernel.is_idle(*core)).collect();
        if awake.is_empty() {
            return false;
        }
        let core = awake[self.random(awake.len())];
        self.step_one(core);
        true
    }

    /// Steps until no core has work before time advances.
    ///
    /// # Errors
    /// Returns why the cores do not come to rest.
    pub fn settle(&mut self) -> Result<(), Stuck> {
        for _ in 0..self.max_steps {
            if !self.step() {
                return if self.kernel.is_quiescent() { Ok(()) } else { Err(Stuck::WorkLeft) };
            }
        }
        Err(Stuck::Busy)
    }

    /// Settles, and fires the timers that are due now, until none is.
    ///
    /// # Errors
    /// Returns why the cores do not come to rest.
    pub fn settle_timers(&mut self) -> Result<(), Stuck> {
        for _ in 0..self.max_steps {
            self.settle()?;
            let now = self.platform.now();
            let Some(core) = self.cores.iter().position(|core| core.due.is_some_and(|due| due <= now)) else {
                return Ok(());
            };
            self.step_one(core);
        }
        Err(Stuck::TimersLeft)
    }

    /// Lets time pass without running a core.
    pub fn pass(&mut self, time: Duration) {
        self.platform.advance(nanos(time));
    }

    /// Returns the time at which the next timer may be due.
    fn next_due(&self) -> Option<u64> {
        self.cores.iter().filter_map(|core| core.due).min()
    }

    fn advance(&mut self, to: u64) -> Result<(), Stuck> {
        self.platform.advance_to(to);
        for core in 0..self.cores.len() {
            self.step_one(core);
        }
        self.settle()
    }

    /// Settles, and then lets time pass, timer by timer.
    ///
    /// # Errors
    /// Returns why the cores do not come to rest.
    pub fn sleep(&mut self, time: Duration) -> Result<(), Stuck> {
        self.settle()?;
        let end = self.platform.now().saturating_add(nanos(time));
        while let Some(due) = self.next_due().filter(|due| *due <= end) {
            self.advance(due)?;
        }
        self.advance(end)
    }

    /// Settles, and then lets time pass until the next timer is due. Returns `false` if there is
    /// none.
    ///
    /// # Errors
    /// Returns why the cores do not come to rest.
    pub fn next_timer(&mut self) -> Result<bool, Stuck> {
        self.settle()?;
        let due = self.next_due();
        if let Some(due) = due {
            self.advance(due)?;
        }
        Ok(due.is_some())
    }
}

/// Returns a duration in nanoseconds, at most `u64::MAX`.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
