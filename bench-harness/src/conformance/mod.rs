//! Replays cases that were recorded from the real Erlang/OTP.
//!
//! [`case`] is what a case says, [`script`] the processes that do it, [`controller`] performs a case
//! step by step in a [`World`]: on the real runtime ([`threads`]), or on virtual cores stepped by a
//! seed ([`stepped`]). [`reason`] translates reasons.

pub mod case;
pub mod controller;
pub mod reason;
pub mod script;
pub mod stepped;
pub mod threads;

use std::time::Duration;

use atropos::kernel::{Host, Kernel};

/// Where the processes of a case run.
pub trait World {
    /// The kernel.
    fn kernel(&self) -> &Kernel;

    /// Does something as the host.
    fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R;

    /// Waits until every signal is handled and every process waits.
    fn settle(&mut self) -> anyhow::Result<()>;

    /// Lets time pass.
    fn sleep(&mut self, time: Duration) -> anyhow::Result<()>;

    /// Lets time pass until something may have happened.
    fn sleep_a_little(&mut self) -> anyhow::Result<()>;
}
