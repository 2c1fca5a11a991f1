//! [`Driver`]: the system that the processes of a case run on.

use std::sync::Arc;
use std::time::Duration;

use atropos::kernel::{Host, Kernel};

use crate::script::through::Through;

/// The system that the processes of a case run on.
pub trait Driver {
    /// Returns the kernel.
    fn kernel(&self) -> &Kernel;

    /// Returns the facilities that scripted processes call in place of the kernel, if any.
    fn through(&self) -> Option<Arc<Through>> {
        None
    }

    /// Runs a function with the access of a host thread.
    fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R;

    /// Waits until every signal is handled and every process waits.
    fn settle(&mut self) -> anyhow::Result<()>;

    /// Lets time pass.
    fn sleep(&mut self, time: Duration) -> anyhow::Result<()>;

    /// Lets time pass until something may have happened.
    fn sleep_a_little(&mut self) -> anyhow::Result<()>;
}
