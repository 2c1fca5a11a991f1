//! [`run`]: one run of a workload in an operating-system process of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::store::{Record, Why};
use crate::workloads::Ask;

/// The text before a run's maximum resident memory, on its standard error.
pub const PEAK: &str = "bytes resident at most: ";

/// Runs this program again for one workload, and appends the distribution of its latencies to the
/// given file, if any.
pub fn run(why: Why, workload: &str, ask: &Ask, latencies: Option<&Path>) -> Result<Record> {
    let own = std::env::current_exe().context("the path of this program is unknown")?;
    let mut command = Command::new(own);
    command.args([workload, "--peak", "--n", &ask.n.to_string(), "--threads", &ask.threads.to_string()]);
    command.args(["--beside", &ask.beside.to_string()]);
    if let Some(p) = ask.p {
        command.args(["--p", &p.to_string()]);
    }
    if let Some(file) = latencies {
        command.arg("--latencies").arg(file);
    }
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{workload} did not start"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{workload}: {}: {}", output.status, said.trim());
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().with_context(|| format!("{workload} printed nothing"))?;
    let line = serde_json::from_str(last).with_context(|| format!("{workload} printed {last}"))?;
    let peak = said.lines().find_map(|line| line.strip_prefix(PEAK)).and_then(|bytes| bytes.parse().ok());
    Ok(Record { why, p: ask.p, beside: ask.beside, peak, line })
}
