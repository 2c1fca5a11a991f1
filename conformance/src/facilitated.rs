//! [`Facilitated`]: a driver whose processes call the facilities in place of the kernel.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use atropos::kernel::{Host, Kernel};

use crate::driver::Driver;
use crate::script::through::Through;

/// A driver whose scripted processes call the facilities.
#[derive(Debug)]
pub struct Facilitated<D> {
    driver: D,
    through: Arc<Through>,
}

impl<D> Facilitated<D> {
    /// Makes the scripted processes of a driver call the facilities.
    pub fn new(driver: D, through: Arc<Through>) -> Self {
        Self { driver, through }
    }
}

impl<D: Driver> Driver for Facilitated<D> {
    fn kernel(&self) -> &Kernel {
        self.driver.kernel()
    }

    fn through(&self) -> Option<Arc<Through>> {
        Some(self.through.clone())
    }

    fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        self.driver.host(f)
    }

    fn settle(&mut self) -> Result<()> {
        self.driver.settle()
    }

    fn sleep(&mut self, time: Duration) -> Result<()> {
        self.driver.sleep(time)
    }

    fn sleep_a_little(&mut self) -> Result<()> {
        self.driver.sleep_a_little()
    }
}
