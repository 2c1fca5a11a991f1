//! The acceptance suite of `atropos-node`: real Erlang nodes drive it (`dist-adapter/acceptance`).

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};

use crate::steps::{bounded, cargo, target};

/// Builds the node and runs the suite against it: the cases that match `filter`, or all. The error
/// names the failed cases, and the command that runs each alone.
pub(crate) fn check(filter: Option<&str>, keep: bool) -> Result<()> {
    cargo(&["build", "--release", "--quiet", "-p", "atropos-node"])?;
    let node = std::path::absolute(target()?.join("release").join("atropos-node"))?;
    let mut suite = bounded("dist-adapter/acceptance/run", 20);
    suite.env("NODE_CMD", node).stdout(Stdio::piped());
    if let Some(filter) = filter {
        suite.args(["--filter", filter]);
    }
    if keep {
        suite.arg("--keep");
    }
    let mut suite = suite.spawn().context("dist-adapter/acceptance/run did not start")?;
    let output = suite.stdout.take().context("the suite's output is piped")?;
    let mut failed = Vec::new();
    let mut count = None;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("the suite's output ends early")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(case) = failed_case(&line) {
            failed.push(case.to_owned());
        } else if line.contains(" passed, ") {
            count = Some(line.into_owned());
        }
    }
    let status = suite.wait()?;
    if !failed.is_empty() {
        let each = failed.iter().map(|case| format!("\n    cargo xtask dist --keep --filter '^{case}$'"));
        bail!("{}; each alone:{}", count.as_deref().unwrap_or("cases failed"), each.collect::<String>());
    }
    ensure!(status.success(), "the suite ended with {status} before its last case");
    Ok(())
}

/// Returns the case that a line of the suite's output reports as failed.
fn failed_case(line: &str) -> Option<&str> {
    line.strip_prefix("FAIL ")?.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failed_cases_are_found() {
        assert_eq!(failed_case("FAIL life/init_stop (12 ms): {timeout,x}"), Some("life/init_stop"));
        assert_eq!(failed_case("PASS life/init_stop (12 ms)"), None);
        assert_eq!(failed_case("failed: life/init_stop"), None);
    }
}
