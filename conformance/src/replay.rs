//! Replays one case of either kind.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::driver::Driver;
use crate::{case, controller, supervisor};

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
