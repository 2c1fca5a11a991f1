//! Replays cases that were recorded from the real Erlang/OTP.
//!
//! [`case`] is the format of a case, [`script`] the processes that perform it, and [`controller`]
//! runs a case step by step in a [`Driver`]: on the real runtime ([`threads`]), or on virtual cores
//! stepped by a seed ([`stepped`]). The processes call the kernel directly, or through the
//! facilities ([`through`]). [`reason`] translates reasons. [`supervisor`] does the same for cases
//! of supervisors.

pub mod case;
pub mod controller;
pub mod reason;
pub mod script;
pub mod stepped;
pub mod supervisor;
pub mod threads;
pub mod through;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use atropos::kernel::{Host, Kernel};
use serde_json::{Value, json};

use self::through::Through;

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

/// Replays one line's case, of either kind. Returns its name, and the observation or the reason why
/// there is none.
pub fn replay<W: Driver>(world: &mut W, line: &str) -> anyhow::Result<(String, anyhow::Result<Value>)> {
    let family: Value = serde_json::from_str(line)?;
    let family = family.get("family").and_then(Value::as_str).context("a case has a family")?;
    if family.starts_with("sup.") {
        let case = case::parse(line)?;
        let observed = supervisor::controller::replay(world, &case);
        return Ok((case.id, observed));
    }
    let case = case::parse(line)?;
    let observed = controller::replay(world, &case);
    Ok((case.id, observed))
}

/// Returns the line for the judge.
pub fn row((id, observed): (String, anyhow::Result<Value>)) -> Value {
    match observed {
        Ok(observed) => json!({"id": id, "observed": observed}),
        Err(error) => json!({"id": id, "unsupported": format!("{error:#}")}),
    }
}
