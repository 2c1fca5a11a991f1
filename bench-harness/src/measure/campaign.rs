//! Many runs: every workload, repeated, and with growing sizes ([`Campaign`]).
//!
//! Repetitions are interleaved, so that what else the machine does falls on all alike. A run that fails is said and counted,
//! and does not keep the others from running.

use std::path::Path;

use anyhow::{Result, ensure};

use super::run::run;
use super::store::{Record, Store, Why};
use super::table::{markdown, short};
use crate::workloads::{ALL, Ask, Workload};

/// Workloads whose number of processes can be said and means the same at any number; and at most so many.
const BY_PROCESSES: [(&str, u64); 3] = [("ring", 1_000_000), ("fan_out", 1_000_000), ("big", 1_000_000)];

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// With sizes that take seconds in all.
    pub quick: bool,
    /// Numbers of scheduler threads.
    pub threads: Vec<usize>,
    /// Times that each workload is run.
    pub reps: u32,
    /// Multiplies the sizes.
    pub scale: f64,
    /// Only these workloads; empty for all.
    pub only: Vec<String>,
}

struct Run {
    why: Why,
    workload: &'static Workload,
    ask: Ask,
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
                for threads in &self.threads {
                    let ask = Ask { n: self.size(workload), threads: *threads, p: None };
                    runs.push(Run { why: Why::Figure, workload, ask });
                }
            }
        }
        runs
    }

    fn growth(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        for workload in self.chosen() {
            for part in [1000, 100, 10, 1] {
                let n = self.size(workload) / part;
                for threads in self.threads.iter().filter(|_| n >= 10) {
                    let ask = Ask { n, threads: *threads, p: None };
                    runs.push(Run { why: Why::GrowthOfN, workload, ask });
                }
            }
        }
        for (name, most) in BY_PROCESSES {
            let most = if self.quick { most / 100 } else { most };
            for workload in self.chosen().filter(|workload| workload.name == name) {
                for p in [100, 1_000, 10_000, 100_000, 1_000_000].into_iter().filter(|p| *p <= most) {
                    for threads in &self.threads {
                        // Each does something at least.
                        let ask = Ask { n: self.size(workload).max(p), threads: *threads, p: Some(p) };
                        runs.push(Run { why: Why::GrowthOfP, workload, ask });
                    }
                }
            }
        }
        runs
    }

    /// Runs every workload, says how far it is, and prints the table.
    pub fn all(&self, into: Option<&Path>) -> Result<()> {
        let store = into.map(Store::new).transpose()?;
        let records = go(self.figures(), store.as_ref())?;
        println!("{}", markdown(&records));
        Ok(())
    }

    /// Runs all that a page is drawn of.
    pub fn for_page(&self, store: &Store) -> Result<()> {
        let mut runs = self.figures();
        runs.extend(self.growth());
        go(runs, Some(store)).map(|_| ())
    }
}

fn go(runs: Vec<Run>, store: Option<&Store>) -> Result<Vec<Record>> {
    let (count, mut records, mut failed) = (runs.len(), Vec::new(), Vec::new());
    for (number, Run { why, workload, ask }) in runs.into_iter().enumerate() {
        let with = ask.p.map(|p| format!(", {p} processes")).unwrap_or_default();
        eprint!("{:>4} of {count}  {:<18} n {}, {} threads{with}: ", number + 1, workload.name, ask.n, ask.threads);
        let latencies = store.filter(|_| why == Why::Figure).map(Store::latencies);
        match run(workload.name, &ask, latencies.as_deref()) {
            Ok(line) => {
                let figure = line.figure().map(|(figure, unit)| format!("{} {unit}", short(figure)));
                eprintln!("{}", figure.unwrap_or_default());
                let record = Record { why, p: ask.p, line };
                if let Some(store) = store {
                    store.add(&record)?;
                }
                records.push(record);
            }
            Err(error) => {
                eprintln!("FAILED: {error:#}");
                failed.push(workload.name);
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(records)
}
