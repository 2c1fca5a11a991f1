//! The workloads, next to those of other systems: `cargo xtask bench`.
//!
//! With `--peers`, the drivers of `peers` (a separate workspace, whose dependencies this one does
//! not share) and `atropos-bench` run in turn, each workload several times, so that other load on
//! the machine affects all of them equally. The table has the median of each and, in front, the
//! ratio of Atropos to the best peer: below 1 is faster. A driver that finds its own result wrong
//! is a failure. The failure is reported in the table and below it, with its reason, and does not
//! keep the other drivers from running. A driver that does not end in time is reported as too slow.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::steps::{self, cargo, output, run};

/// The drivers, by the names of their programs.
const PEERS: [&str; 6] = ["tokio", "actix", "ractor", "kameo", "rusm", "beamr"];
/// Workloads that measure the tail latency.
const BY_TAIL: [&str; 2] = ["timer_fire", "hog_latency"];
/// Timeout of a driver in seconds.
const PATIENCE: &str = "60";

/// The arguments of `cargo xtask bench`.
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

/// Builds the drivers. Returns their folder.
fn build_peers() -> Result<PathBuf> {
    let target = steps::target()?.join("peers");
    let folder = target.to_str().context("the target folder's path")?;
    cargo(&["build", "--release", "--manifest-path", "peers/Cargo.toml", "--target-dir", folder])?;
    Ok(target.join("release"))
}

/// The outcome of a run.
enum RunOutcome {
    Line(Value),
    /// The driver does not implement this workload.
    Unsupported,
    TooSlow,
}

/// Runs a driver once.
fn once(driver: &Path, workload: &str, n: u64, threads: usize) -> Result<RunOutcome> {
    let ran = Command::new("timeout")
        .arg(PATIENCE)
        .arg(driver)
        .args([workload, "--n", &n.to_string(), "--threads", &threads.to_string()])
        .output()
        .context("timeout did not start")?;
    if ran.status.code() == Some(124) {
        return Ok(RunOutcome::TooSlow);
    }
    ensure!(ran.status.success(), "{}: {}", ran.status, String::from_utf8_lossy(&ran.stderr).trim());
    let text = String::from_utf8(ran.stdout)?;
    let line: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).context("no JSON")?;
    Ok(if line.get("unsupported").is_some() { RunOutcome::Unsupported } else { RunOutcome::Line(line) })
}

/// Returns the figure in a line that the workload is about.
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

/// Returns the workloads and their sizes, as `atropos-bench` lists them.
fn sizes(ours: &Path) -> Result<Vec<(String, u64)>> {
    let text = output(ours.to_str().context("the program's path")?, &["list"])?;
    let sizes: Option<Vec<_>> = text
        .lines()
        .map(|line| line.split_once(' ').and_then(|(name, n)| Some((name.to_owned(), n.parse().ok()?))))
        .collect();
    sizes.context("a list of names and sizes")
}

/// The outcome of all runs of a driver on a workload.
#[derive(Clone, PartialEq, Debug, Default)]
struct Cell {
    figures: Vec<f64>,
    /// The reason for a missing figure, or for missing further ones. The table shows it instead.
    out: Option<&'static str>,
}

impl Cell {
    /// Returns the median figure of a driver that has not failed.
    fn figure(&self) -> Option<f64> {
        median(self.figures.clone()).filter(|_| self.out.is_none())
    }

    fn text(&self) -> String {
        self.figure().map_or_else(|| self.out.unwrap_or("?").to_owned(), |ns| format!("{ns:.0}"))
    }
}

/// Returns a row of the table, with Atropos first.
fn row(workload: &str, cells: &[Cell]) -> String {
    let best = cells[1..].iter().filter_map(Cell::figure).min_by(f64::total_cmp);
    let ratio = cells[0].figure().zip(best).map_or("–".to_owned(), |(ours, best)| format!("{:.2}", ours / best));
    let texts: Vec<String> = cells.iter().map(Cell::text).collect();
    format!("| {workload} | {ratio} | {} |", texts.join(" | "))
}

/// The texts next to the table.
struct Notes {
    /// All lines, as the drivers printed them.
    raw: String,
    /// The failures: driver, workload and reason.
    failures: Vec<String>,
    wrong: usize,
    /// Number of finished workloads, and of all workloads.
    done: usize,
    of: usize,
    begun: Instant,
}

impl Notes {
    fn new(of: usize) -> Self {
        Self { raw: String::new(), failures: Vec::new(), wrong: 0, done: 0, of, begun: Instant::now() }
    }

    /// Prints the current run, in a line that the next one overwrites.
    fn progress(&self, what: &str) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{} of {}, {} s: {what}", self.done + 1, self.of, self.begun.elapsed().as_secs());
        }
    }

    /// Prints the row of a finished workload in place of the progress line.
    fn row(&mut self, row: &str) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        self.done += 1;
        println!("{row}");
    }

    fn failed(&mut self, name: &str, workload: &str, why: &str) -> &'static str {
        self.failures.push(format!("{name}, {workload}: {why}"));
        self.wrong += 1;
        "failed"
    }
}

/// Runs all drivers on one workload, in turn.
fn runs(asked: &Asked, drivers: &[(&str, PathBuf)], workload: &str, n: u64, notes: &mut Notes) -> Vec<Cell> {
    let mut cells = vec![Cell::default(); drivers.len()];
    for rep in 1..=asked.reps {
        for ((name, driver), cell) in drivers.iter().zip(&mut cells) {
            if cell.out.is_some() {
                continue;
            }
            notes.progress(&format!("{workload}, {rep} of {}: {name}", asked.reps));
            match once(driver, workload, n, asked.threads) {
                Ok(RunOutcome::Line(line)) => {
                    let _ = writeln!(notes.raw, "{line}");
                    match figure(workload, &line) {
                        Some(figure) => cell.figures.push(figure),
                        None => cell.out = Some(notes.failed(name, workload, "its line has no figure")),
                    }
                }
                Ok(RunOutcome::Unsupported) => cell.out = Some("–"),
                Ok(RunOutcome::TooSlow) => {
                    notes.failures.push(format!("{name}, {workload}: not finished after {PATIENCE} s"));
                    cell.out = Some("too slow");
                }
                Err(error) => cell.out = Some(notes.failed(name, workload, &format!("{error:#}"))),
            }
        }
    }
    cells
}

fn compare(asked: &Asked, drivers: &[(&str, PathBuf)]) -> Result<()> {
    let wanted = |workload: &String| asked.only.is_empty() || asked.only.contains(workload);
    let mut all = sizes(&drivers[0].1)?;
    all.retain(|(workload, _)| wanted(workload));
    let names: Vec<&str> = drivers.iter().map(|(name, _)| *name).collect();
    println!(
        "medians of {}, {} threads; ns, bytes for idle_memory, p99 for {}; –: not implemented by the driver\n",
        asked.reps,
        asked.threads,
        BY_TAIL.join(", ")
    );
    println!("| workload | ours / best | {} |\n| --- |{}", names.join(" | "), " ---: |".repeat(names.len() + 1));
    let scale = if asked.quick { asked.scale / 50.0 } else { asked.scale };
    let mut notes = Notes::new(all.len());
    for (workload, n) in all {
        let n = ((n as f64 * scale) as u64).max(10);
        let cells = runs(asked, drivers, &workload, n, &mut notes);
        notes.row(&row(&workload, &cells));
    }
    if let Some(file) = &asked.raw {
        std::fs::write(file, &notes.raw).with_context(|| format!("no {}", file.display()))?;
    }
    if !notes.failures.is_empty() {
        println!("\nNot in the table:\n- {}", notes.failures.join("\n- "));
    }
    ensure!(notes.wrong == 0, "{} runs have failed", notes.wrong);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_figure() {
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

    #[test]
    fn a_driver_that_failed_once_has_no_figure() {
        let cell = |figures: &[f64], out| Cell { figures: figures.to_vec(), out };
        let cells = [
            cell(&[50.0, 40.0, 60.0], None),
            cell(&[10.0], Some("failed")),
            cell(&[100.0], None),
            cell(&[], Some("–")),
            cell(&[], Some("too slow")),
        ];
        assert_eq!(row("ring", &cells), "| ring | 0.50 | 50 | failed | 100 | – | too slow |");
        assert_eq!(row("ring", &[cell(&[], Some("failed")), cell(&[1.0], None)]), "| ring | – | failed | 1 |");
    }

    #[test]
    fn a_run_reports_its_outcome() {
        let folder = std::env::temp_dir().join(format!("atropos-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let driver = |name: &'static str, body: &str| {
            let file = folder.join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{body}\n")).expect("a script");
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
            (name, file)
        };
        let drivers = [
            driver("good", "echo '{\"per_op_ns\": 5.0}'"),
            driver("none", "echo '{\"unsupported\": \"why\"}'"),
            driver("wrong", "echo 'three are missing' >&2; exit 1"),
            driver("silent", "exit 0"),
        ];
        let asked = Asked { quick: true, peers: true, threads: 1, reps: 2, scale: 1.0, only: Vec::new(), raw: None };
        let mut notes = Notes::new(1);
        let cells = runs(&asked, &drivers, "ring", 7, &mut notes);
        assert_eq!(cells.iter().map(Cell::text).collect::<Vec<_>>(), ["5", "–", "failed", "failed"]);
        assert_eq!((cells[0].figures.as_slice(), notes.wrong), (&[5.0, 5.0][..], 2));
        assert_eq!(notes.failures[0], "wrong, ring: exit status: 1: three are missing");
        std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    }
}
