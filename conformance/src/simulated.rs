//! The cases on simulated cores, in virtual time.

use std::time::Duration;

use anyhow::{Result, ensure};
use atropos::kernel::{Host, Kernel};
use atropos_sim::Sim;

use crate::driver::Driver;
use crate::facilitated::Facilitated;
use crate::script::through::{Joins, Through};

impl Driver for Sim {
    fn kernel(&self) -> &Kernel {
        Self::kernel(self)
    }

    fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        f(&Self::host(self))
    }

    fn settle(&mut self) -> Result<()> {
        Ok(Self::settle(self)?)
    }

    fn sleep(&mut self, time: Duration) -> Result<()> {
        Ok(Self::sleep(self, time)?)
    }

    fn sleep_a_little(&mut self) -> Result<()> {
        ensure!(self.next_timer()?, "no event will follow");
        Ok(())
    }
}

impl Facilitated<Sim> {
    /// Makes the scripted processes on simulated cores call the facilities.
    pub fn simulated(sim: Sim) -> Self {
        let through = Through::new(Joins(sim.kernel().clone()));
        Self::new(sim, through)
    }
}
