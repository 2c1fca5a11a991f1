//! The workloads, and beside them those of other systems: `cargo xtask bench`.
//!
//! With `--peers` the drivers of `peers` (a workspace of its own, whose dependencies are none of ours) and `atropos-bench` run in
//! turn, each workload so many times, so that what else the machine does falls on all alike. The table has the median of
//! each and, in front, how ours stands to the best of the others: below 1 is faster. A driver that finds its own result wrong
//! is a failure, which does not keep the others from running; one that does not end in time is said to be too slow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::steps::{self, cargo, output, run};

/// Drivers, and the names of their programs.
const PEERS: [&str; 6] = ["tokio", "actix", "ractor", "kameo", "rusm", "beamr"];
/// Workloads that are about their slowest.
const BY_TAIL: [&str; 2] = ["timer_fire", "hog_latency"];
/// A driver is ended after so many seconds.
const PATIENCE: &str = "60";

/// What was asked for.
pub(crate) struct Asked {
    pub(crate) quick: bool,
    pub(crate) peers: bool,
    pub(crate) threads: usize,
    pub(crate) reps: u32,
    pub(crate) scale: f64,
    pub(crate) only: Vec<String>,
    pub(crate) raw: Option<PathBuf>,
}

pub(crate) fn check(asked: &Asked) -> Result<()> {
    let ours = steps::built("atropos-bench", "atropos-bench")?;
    if !asked.peers {
        let mut all = Command::new(ours);
        all.args(["all", "--reps", &asked.reps.to_string(), "--scale", &asked.scale.to_string()]);
        if asked.quick {
            all.arg("--quick");
        }
        if !asked.only.is_empty() {
            all.args(["--only", &asked.only.join(",")]);
        }
        return run(&mut all);
    }
    let mut drivers = vec![("atropos", ours)];
    let folder = build_peers()?;
    drivers.extend(PEERS.map(|name| (name, folder.join(format!("peer-{name}")))));
    compare(asked, &drivers)
}

/// Builds the drivers; where they are.
fn build_peers() -> Result<PathBuf> {
    let target = steps::target()?.join("peers");
    let folder = target.to_str().context("the target folder's path")?;
    cargo(&["build", "--release", "--manifest-path", "peers/Cargo.toml", "--target-dir", folder])?;
    Ok(target.join("release"))
}

/// What came of a run.
enum Ran {
    Line(Value),
    /// The driver has nothing for this workload.
    Unsupported,
    TooSlow,
}

/// One run of a driver.
fn once(driver: &Path, workload: &str, n: u64, threads: usize) -> Result<Ran> {
    let ran = Command::new("timeout")
        .arg(PATIENCE)
        .arg(driver)
        .args([workload, "--n", &n.to_string(), "--threads", &threads.to_string()])
        .output()
        .context("timeout did not start")?;
    if ran.status.code() == Some(124) {
        return Ok(Ran::TooSlow);
    }
    ensure!(ran.status.success(), "{}: {}", ran.status, String::from_utf8_lossy(&ran.stderr).trim());
    let text = String::from_utf8(ran.stdout)?;
    let line: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).context("no JSON")?;
    Ok(if line.get("unsupported").is_some() { Ran::Unsupported } else { Ran::Line(line) })
}

/// What a line is about.
fn figure(workload: &str, line: &Value) -> Option<f64> {
    let field = match workload {
        "idle_memory" => "bytes_per_process",
        workload if BY_TAIL.contains(&workload) => "p99_ns",
        _ => "per_op_ns",
    };
    line.get(field)?.as_f64()
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// The workloads and their sizes, as our own program knows them.
fn sizes(ours: &Path) -> Result<Vec<(String, u64)>> {
    let text = output(ours.to_str().context("the program's path")?, &["list"])?;
    let sizes: Option<Vec<_>> = text
        .lines()
        .map(|line| line.split_once(' ').and_then(|(name, n)| Some((name.to_owned(), n.parse().ok()?))))
        .collect();
    sizes.context("a list of names and sizes")
}

fn compare(asked: &Asked, drivers: &[(&str, PathBuf)]) -> Result<()> {
    let mut failed = Vec::new();
    let mut raw = String::new();
    let names: Vec<&str> = drivers.iter().map(|(name, _)| *name).collect();
    println!(
        "medians of {}, {} threads; ns, bytes for idle_memory, p99 for {}",
        asked.reps,
        asked.threads,
        BY_TAIL.join(", ")
    );
    println!("| workload | ours / best | {} |\n| --- |{}", names.join(" | "), " ---: |".repeat(names.len() + 1));
    let scale = if asked.quick { asked.scale / 50.0 } else { asked.scale };
    for (workload, n) in sizes(&drivers[0].1)? {
        if !asked.only.is_empty() && !asked.only.contains(&workload) {
            continue;
        }
        let n = ((n as f64 * scale) as u64).max(10);
        let mut figures: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut out: BTreeMap<&str, &str> = BTreeMap::new();
        for _ in 0..asked.reps {
            for (name, driver) in drivers {
                if out.contains_key(name) {
                    continue;
                }
                match once(driver, &workload, n, asked.threads) {
                    Ok(Ran::Line(line)) => {
                        let _ = writeln!(raw, "{line}");
                        figures.entry(name).or_default().extend(figure(&workload, &line));
                    }
                    Ok(Ran::Unsupported) => drop(out.insert(name, "–")),
                    Ok(Ran::TooSlow) => drop(out.insert(name, "too slow")),
                    Err(error) => {
                        eprintln!("{name}, {workload}: {error:#}");
                        failed.push(format!("{name}: {workload}"));
                        out.insert(name, "failed");
                    }
                }
            }
        }
        let of = |name: &str| figures.get(name).cloned().and_then(median);
        let best = names[1..].iter().filter_map(|name| of(name)).min_by(f64::total_cmp);
        let ratio = of(names[0]).zip(best).map_or(String::new(), |(ours, best)| format!("{:.2}", ours / best));
        let cell =
            |name: &&str| of(name).map_or_else(|| out.get(*name).unwrap_or(&"").to_string(), |ns| format!("{ns:.0}"));
        println!("| {workload} | {ratio} | {} |", names.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    if let Some(file) = &asked.raw {
        std::fs::write(file, raw).with_context(|| format!("no {}", file.display()))?;
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_some() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn each_workload_has_its_figure() {
        let line = serde_json::json!({"per_op_ns": 5.0, "p99_ns": 7, "bytes_per_process": 9.0});
        assert_eq!(figure("call", &line), Some(5.0));
        assert_eq!(figure("hog_latency", &line), Some(7.0));
        assert_eq!(figure("idle_memory", &line), Some(9.0));
    }
}
