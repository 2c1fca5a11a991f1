//! [`Campaign`]: many runs of every workload, repeated, and with growing sizes.
//!
//! Repetitions are interleaved, so that other load on the machine affects all workloads alike. A
//! failed run is reported and counted, and the other runs continue. A run that takes long is not
//! repeated.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::run::run;
use super::store::{Record, Store, Why};
use super::table::{markdown, short};
use crate::workloads::{ALL, Ask, Crowd, Workload};

/// The divisors of a workload's size.
const PARTS: [u64; 3] = [100, 10, 1];
/// Numbers of live processes.
const CROWDS: [u64; 5] = [100, 1_000, 10_000, 100_000, 1_000_000];
/// Numbers of live processes in a quick run.
const QUICK_CROWDS: [u64; 3] = [100, 1_000, 10_000];
/// The minimum number of runs of each growing size: the sizes are compared with each other, so one
/// odd run must not matter.
const GROWTH_REPS: u32 = 3;
/// The duration above which a run is not repeated.
const LONG: Duration = Duration::from_secs(10);

/// The plan of a measurement.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// `true` for sizes that take seconds in total.
    pub quick: bool,
    /// Numbers of scheduler threads.
    pub threads: Vec<usize>,
    /// The number of runs of each workload.
    pub reps: u32,
    /// A factor for the sizes.
    pub scale: f64,
    /// The workloads to run; empty for all.
    pub only: Vec<String>,
}

#[derive(Clone, Copy)]
struct Run {
    why: Why,
    workload: &'static Workload,
    ask: Ask,
}

impl Run {
    fn with(why: Why, workload: &'static Workload, n: u64, threads: usize) -> Self {
        Self { why, workload, ask: Ask { n, threads, p: None, beside: 0 } }
    }
}

/// Returns the parameters of a workload with this many live processes, if it normally does `size`
/// operations.
fn crowded(workload: &Workload, size: u64, processes: u64, threads: usize) -> Ask {
    let (n, p, beside) = match workload.crowd {
        Crowd::Done => (processes, None, 0),
        // Each process does more than one operation.
        Crowd::Members => (size.max(4 * processes), Some(processes), 0),
        // The same total work for every group size.
        Crowd::Group => ((size * workload.p.unwrap_or(1) / processes).max(1), Some(processes), 0),
        Crowd::Few(few) => (size, None, processes.saturating_sub(few)),
    };
    Ask { n, threads, p, beside }
}

impl Campaign {
    fn chosen(&self) -> impl Iterator<Item = &'static Workload> {
        ALL.iter().filter(|workload| self.only.is_empty() || self.only.iter().any(|name| name == workload.name))
    }

    fn size(&self, workload: &Workload) -> u64 {
        let n = if self.quick { workload.quick } else { workload.n };
        ((n as f64 * self.scale) as u64).max(1)
    }

    fn figures(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        for _ in 0..self.reps {
            for workload in self.chosen() {
                runs.extend(self.threads.iter().map(|t| Run::with(Why::Figure, workload, self.size(workload), *t)));
            }
        }
        runs
    }

    fn growth(&self) -> Vec<Run> {
        let crowds: &[u64] = if self.quick { &QUICK_CROWDS } else { &CROWDS };
        // A quick run uses only the largest number of threads.
        let threads = if self.quick { &self.threads[self.threads.len().saturating_sub(1)..] } else { &self.threads };
        let mut runs = Vec::new();
        for _ in 0..if self.quick { 1 } else { self.reps.max(GROWTH_REPS) } {
            for workload in self.chosen() {
                let size = self.size(workload);
                for threads in threads {
                    let parts = PARTS.iter().map(|part| size / part).filter(|n| *n > 0);
                    runs.extend(parts.map(|n| Run::with(Why::GrowthOfN, workload, n, *threads)));
                    runs.extend(crowds.iter().map(|processes| {
                        let ask = crowded(workload, size, *processes, *threads);
                        Run { why: Why::GrowthOfP, workload, ask }
                    }));
                }
            }
        }
        runs
    }

    /// Runs every workload, prints its progress, and prints the table.
    pub fn all(&self, into: Option<&Path>) -> Result<()> {
        let store = into.map(Store::new).transpose()?;
        let (records, failed) = go(&self.figures(), store.as_ref())?;
        println!("{}", markdown(&records));
        all_right(&failed)
    }

    /// Runs all that a page needs. Returns the failed runs, which the page lists.
    pub fn for_page(&self, store: &Store) -> Result<Vec<String>> {
        let runs = [self.figures(), self.growth()].concat();
        go(&runs, Some(store)).map(|(_, failed)| failed)
    }
}

/// Returns an error if a run has failed.
pub fn all_right(failed: &[String]) -> Result<()> {
    ensure!(failed.is_empty(), "failed: {}", failed.join("; "));
    Ok(())
}

/// Performs the runs. Returns their results, and the failed runs.
fn go(runs: &[Run], store: Option<&Store>) -> Result<(Vec<Record>, Vec<String>)> {
    let begun = Instant::now();
    let (mut records, mut failed, mut once) = (Vec::new(), Vec::new(), HashSet::new());
    for (number, Run { why, workload, ask }) in runs.iter().enumerate() {
        let p = ask.p.map(|p| format!(", p {p}")).unwrap_or_default();
        let beside = if ask.beside > 0 { format!(", {} beside", ask.beside) } else { String::new() };
        let what = format!("{:<18} n {}{p}{beside}, {} threads", workload.name, ask.n, ask.threads);
        eprint!("{:>3} s {:>4} of {}  {what}: ", begun.elapsed().as_secs(), number + 1, runs.len());
        if once.contains(&what) {
            eprintln!("not again");
            continue;
        }
        let latencies = store.filter(|_| *why == Why::Figure).map(Store::latencies);
        let this = Instant::now();
        match run(*why, workload.name, ask, latencies.as_deref()) {
            Ok(record) => {
                let figure = record.line.figure().map(|(figure, unit)| format!("{} {unit}", short(figure)));
                eprintln!("{}", figure.unwrap_or_default());
                if let Some(store) = store {
                    store.add(&record)?;
                }
                records.push(record);
                if this.elapsed() > LONG {
                    once.insert(what);
                }
            }
            Err(error) => {
                eprintln!("FAILED: {error:#}");
                failed.push(what.clone());
                once.insert(what);
            }
        }
    }
    Ok((records, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_runs_with_every_crowd() {
        for workload in ALL {
            for processes in CROWDS {
                let ask = crowded(workload, workload.n, processes, 1);
                let alive = workload.processes(ask.n, ask.p) + ask.beside;
                assert_eq!(alive, processes, "{}", workload.name);
                assert!(ask.n > 0);
            }
        }
    }

    #[test]
    fn a_campaign_has_all_sizes_and_repeats_them() {
        let campaign = |quick| Campaign { quick, threads: vec![1, 2], reps: 1, scale: 1.0, only: vec!["ring".into()] };
        let count = |quick, why| campaign(quick).growth().iter().filter(|run| run.why == why).count();
        assert_eq!(count(false, Why::GrowthOfN), PARTS.len() * 2 * GROWTH_REPS as usize);
        assert_eq!(count(false, Why::GrowthOfP), CROWDS.len() * 2 * GROWTH_REPS as usize);
        // A quick run: on two threads only, once.
        assert_eq!((count(true, Why::GrowthOfN), count(true, Why::GrowthOfP)), (PARTS.len(), QUICK_CROWDS.len()));
        assert_eq!(campaign(false).figures().len(), 2);
    }
}
