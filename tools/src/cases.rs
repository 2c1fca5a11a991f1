//! The conformance cases: 1 core, 2 cores ten times, and virtual cores under a hundred seeds.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::steps::{bounded, cargo, output, run};

const CASES: &str = "bench-harness/cases/signals.jsonl";
const JUDGE: &str = "bench-harness/cases/check.py";
const SEEDS: u32 = 100;

pub(crate) fn check() -> Result<()> {
    cargo(&["build", "--release", "-p", "atropos-bench", "--bin", "conformance-runner"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let runner = target.join("release/conformance-runner");
    let observed = target.join("observed.jsonl");
    println!("1 core: {}", replay(&runner, &observed, &["--cores", "1"])?);
    for round in 1..=10 {
        println!("2 cores, round {round}: {}", replay(&runner, &observed, &["--cores", "2"])?);
    }
    let through = ["--through", "facility"];
    for cores in ["1", "2"] {
        let said = replay(&runner, &observed, &[&through[..], &["--cores", cores]].concat())?;
        println!("through the facilities, {cores} cores: {said}");
    }
    for seed in ["1", "2", "3", "4"] {
        let said =
            replay(&runner, &observed, &[&through[..], &["--stepped", "--seed", seed, "--cores", seed]].concat())?;
        println!("through the facilities, {seed} stepped cores: {said}");
    }
    for seed in 1..=SEEDS {
        let (cores, seed) = ((seed % 4 + 1).to_string(), seed.to_string());
        let said = replay(&runner, &observed, &["--stepped", "--seed", &seed, "--cores", &cores])?;
        if seed.ends_with("0") {
            println!("{cores} stepped cores, up to seed {seed}: {said}");
        }
    }
    let again = observed.with_extension("again");
    replay(&runner, &again, &["--stepped", "--seed", &SEEDS.to_string(), "--cores", "1"])?;
    let same = std::fs::read(&again)? == std::fs::read(&observed)?;
    ensure!(same, "the same seed gave other observations: compare {} and {}", again.display(), observed.display());
    println!("the same seed gives the same observations");
    Ok(())
}

/// What the judge says of a replay.
fn replay(runner: &Path, observed: &Path, arguments: &[&str]) -> Result<String> {
    let file = File::create(observed).with_context(|| format!("{} can't be written", observed.display()))?;
    run(bounded(runner, 3).arg(CASES).args(arguments).stdout(file))?;
    let observed = observed.to_str().context("a path in UTF-8")?;
    let said = output("python3", &[JUDGE, CASES, observed]).with_context(|| {
        format!("conformance-runner {CASES} {}: see python3 {JUDGE} {CASES} {observed}", arguments.join(" "))
    })?;
    Ok(said.trim().to_owned())
}
