//! The conformance cases: on 1 core, on 2 cores ten times, and on simulated cores under 100 seeds.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};

use crate::steps::{bounded, cargo, output, run};

/// The cases of processes and signals, and of supervisors.
const CASES: [&str; 2] = ["conformance/cases/signals.jsonl", "conformance/cases/supervisor.jsonl"];
const JUDGE: &str = "conformance/cases/check.py";
const SEEDS: u32 = 100;

pub(crate) fn check() -> Result<()> {
    cargo(&["build", "--release", "-p", "atropos-conformance", "--bin", "conformance-runner"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let runner = target.join("release/conformance-runner");
    CASES.iter().try_for_each(|cases| check_all(&runner, &target, cases))?;
    through_the_facilities(&runner, &target.join("observed.jsonl"))
}

/// Replays the cases of processes and signals once more, with scripts that use the facilities.
fn through_the_facilities(runner: &Path, observed: &Path) -> Result<()> {
    let worlds = [&["--cores", "1"][..], &["--cores", "2"]].into_iter();
    let stepped = ["1", "2", "3", "4"].map(|seed| ["--stepped", "--seed", seed, "--cores", seed]);
    for world in worlds.chain(stepped.iter().map(|world| &world[..])) {
        let said = replay(runner, observed, CASES[0], &[&["--through", "facility"], world].concat())?;
        println!("through the facilities, {}: {said}", world.join(" "));
    }
    Ok(())
}

fn check_all(runner: &Path, target: &Path, cases: &str) -> Result<()> {
    println!("{cases}");
    let observed = target.join("observed.jsonl");
    println!("1 core: {}", replay(runner, &observed, cases, &["--cores", "1"])?);
    for round in 1..=10 {
        println!("2 cores, round {round}: {}", replay(runner, &observed, cases, &["--cores", "2"])?);
    }
    step_all(runner, target, cases)?;
    let again = observed.with_extension("again");
    replay(runner, &observed, cases, &["--stepped", "--seed", &SEEDS.to_string(), "--cores", "1"])?;
    replay(runner, &again, cases, &["--stepped", "--seed", &SEEDS.to_string(), "--cores", "1"])?;
    let same = std::fs::read(&again)? == std::fs::read(&observed)?;
    ensure!(same, "the same seed gave other observations: compare {} and {}", again.display(), observed.display());
    println!("the same seed gives the same observations");
    Ok(())
}

/// Replays the cases under each seed, as many at a time as there are cores: a stepped world runs on
/// one thread.
fn step_all(runner: &Path, target: &Path, cases: &str) -> Result<()> {
    let next = AtomicU32::new(1);
    let worker = |number: usize| -> Result<()> {
        let observed = target.join(format!("observed.{number}.jsonl"));
        loop {
            // Relaxed: the number is all that the workers share.
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > SEEDS {
                return Ok(());
            }
            let (cores, seed) = ((seed % 4 + 1).to_string(), seed.to_string());
            let said = replay(runner, &observed, cases, &["--stepped", "--seed", &seed, "--cores", &cores])?;
            if seed.ends_with('0') {
                println!("seed {seed}, {cores} stepped cores: {said}");
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let worker = &worker;
        let workers: Vec<_> = (0..workers).map(|number| scope.spawn(move || worker(number))).collect();
        let results = workers.into_iter().map(|worker| worker.join().expect("a worker does not panic"));
        results.fold(Ok(()), Result::and)
    })
}

/// Returns the judge's verdict on a replay.
fn replay(runner: &Path, observed: &Path, cases: &str, arguments: &[&str]) -> Result<String> {
    let file = File::create(observed).with_context(|| format!("{} can't be written", observed.display()))?;
    run(bounded(runner, 3).arg(cases).args(arguments).stdout(file))?;
    let observed = observed.to_str().context("a path in UTF-8")?;
    let said = output("python3", &[JUDGE, cases, observed]).with_context(|| {
        format!("conformance-runner {cases} {}: see python3 {JUDGE} {cases} {observed}", arguments.join(" "))
    })?;
    Ok(said.trim().to_owned())
}
