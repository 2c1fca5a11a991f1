//! The loom models: each prints a line, and a search that was cut short is a failure.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// What starts the line of a model (`loom-tests/src/lib.rs`).
const MARK: &str = "model: ";

pub(crate) fn check(filter: Option<&str>) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args([
            "test",
            "--package",
            "atropos-loom",
            "--features",
            "epoch-loom",
            "--profile",
            "loom",
            "--",
            "--nocapture",
            "--test-threads=1",
        ])
        .args(filter)
        .env("RUSTFLAGS", "--cfg loom --cfg crossbeam_loom")
        .env("CARGO_TARGET_DIR", "target/loom")
        .env("LOOM_CHECKPOINT_INTERVAL", "500")
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cargo did not start")?;
    let out = child.stdout.take().context("it is piped")?;
    let mut models = Vec::new();
    for line in BufReader::new(out).lines() {
        let line = line?;
        if let Some((_, model)) = line.split_once(MARK) {
            println!("{model}");
            models.push(model.to_owned());
        } else if line.contains("FAILED") {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "the models ended with {status}: cargo xtask loom NAME runs one");
    ensure!(!models.is_empty(), "no model ran");
    let mutants = models.iter().filter(|model| model.contains(" caught ")).count();
    println!("{} models complete, {mutants} mutants caught", models.len() - mutants);
    if models.iter().any(|model| model.contains(" CUT ")) {
        bail!("a search was cut short: it proves nothing");
    }
    Ok(())
}
