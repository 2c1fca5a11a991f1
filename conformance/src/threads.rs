//! The cases on the real runtime: one thread for each core, in real time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atropos::Runtime;
use atropos::kernel::reclaim::Participant;
use atropos::kernel::{Host, Kernel};

use crate::driver::Driver;
use crate::facilitated::Facilitated;
use crate::script::through::Through;

/// The real runtime.
pub struct Threads {
    runtime: Runtime,
    participant: Participant,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Threads")
    }
}

impl Threads {
    /// Starts a runtime with this many cores.
    pub fn new(cores: usize) -> Result<Self> {
        let runtime = Runtime::builder().cores(cores).build()?;
        let participant = runtime.kernel().register();
        Ok(Self { runtime, participant })
    }
}

impl Threads {
    /// Makes the scripted processes call the facilities.
    pub fn through_facilities(self) -> Facilitated<Self> {
        let through = Through::new(self.runtime.handle());
        Facilitated::new(self, through)
    }
}

impl Driver for Threads {
    fn kernel(&self) -> &Kernel {
        self.runtime.kernel()
    }

    fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        f(&Host::new(self.runtime.kernel(), &self.participant))
    }

    fn settle(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        let mut looks = 0_u32;
        while !self.runtime.is_quiescent() {
            ensure!(Instant::now() < end, "the system does not come to rest");
            looks += 1;
            if looks < 100 { std::thread::yield_now() } else { std::thread::sleep(Duration::from_micros(20)) }
        }
        Ok(())
    }

    fn sleep(&mut self, time: Duration) -> Result<()> {
        std::thread::sleep(time);
        self.settle()
    }

    fn sleep_a_little(&mut self) -> Result<()> {
        self.sleep(Duration::from_millis(1))
    }
}
