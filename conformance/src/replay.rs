//! Replays one case of either kind.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::driver::Driver;
use crate::{case, controller, supervisor};

/// Replays one line's case, of either kind: one in which an op names a supervisor is a case of
/// supervisors. Returns its name, and the observation or the reason why there is none.
///
/// # Errors
/// The line is no JSON object with an id. Any other line that cannot be replayed, such as one with
/// an unknown op, is an answer of its own, and the cases after it are not concerned.
pub fn replay<W: Driver>(world: &mut W, line: &str) -> anyhow::Result<(String, anyhow::Result<Value>)> {
    let case: Value = serde_json::from_str(line)?;
    let id = case.get("id").and_then(Value::as_str).context("a case has an id")?.to_owned();
    let mut ops = case.get("ops").and_then(Value::as_array).into_iter().flatten();
    let observed = if ops.any(|op| op.get("sup").is_some()) {
        case::parse(line).map_err(Into::into).and_then(|case| supervisor::controller::replay(world, &case))
    } else {
        case::parse(line).map_err(Into::into).and_then(|case| controller::replay(world, &case))
    };
    Ok((id, observed))
}

/// Returns the line for the judge.
pub fn row((id, observed): (String, anyhow::Result<Value>)) -> Value {
    match observed {
        Ok(observed) => json!({"id": id, "observed": observed}),
        Err(error) => json!({"id": id, "unsupported": format!("{error:#}")}),
    }
}
