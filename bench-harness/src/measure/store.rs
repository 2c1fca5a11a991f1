//! [`Store`]: the folder of the results.
//!
//! `lines.jsonl` has one line for each run, as the run printed it, with what the line does not
//! contain: the purpose of the run, and the number of processes. `latencies.jsonl` has the
//! distributions. Both only grow. `machine.json` describes the machine of the last measurement.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::workloads::{Crowd, Latencies, Line, Workload};

/// The purpose of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The workload's figure.
    Figure,
    /// The growth of the figure with the number of operations.
    GrowthOfN,
    /// The growth of the figure with the number of processes.
    GrowthOfP,
}

/// The stored result of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The purpose of the run.
    pub why: Why,
    /// The value of `--p`, if it was given.
    pub p: Option<u64>,
    /// The number of other processes that waited at the same time.
    #[serde(default)]
    pub beside: u64,
    /// The maximum resident memory in bytes, if it is known.
    #[serde(default)]
    pub peak: Option<u64>,
    /// The line that the run printed.
    #[serde(flatten)]
    pub line: Line,
}

impl Record {
    /// Returns the workload of the run.
    pub fn workload(&self) -> Option<&'static Workload> {
        Workload::of(&self.line.workload)
    }

    /// Returns the number of the workload's processes that were alive at one time.
    pub fn processes(&self) -> u64 {
        self.workload().map_or(0, |workload| workload.processes(self.line.n, self.p))
    }

    /// Returns the cost of one operation and its unit. For a group, the cost is per member.
    pub fn cost(&self) -> Option<(f64, &'static str)> {
        let (figure, unit) = self.line.figure()?;
        let group = self.workload().is_some_and(|workload| workload.crowd == Crowd::Group);
        Some(if group { (figure / self.processes() as f64, "ns each") } else { (figure, unit) })
    }
}

/// A distribution: fractions of all latencies, and their upper bounds in nanoseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Distribution {
    /// The workload's name.
    pub workload: String,
    /// The number of threads.
    pub threads: usize,
    /// Fractions of all latencies (0 to 1), and nanoseconds.
    pub points: Vec<(f64, u64)>,
}

impl Distribution {
    /// Returns the distribution of the recorded latencies.
    pub fn of(workload: &str, threads: usize, all: &Latencies) -> Self {
        let points = all.iter_quantiles(5).map(|at| (at.quantile_iterated_to(), at.value_iterated_to())).collect();
        Self { workload: workload.to_owned(), threads, points }
    }
}

/// The folder of the results.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens a folder, and creates it if it does not exist.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("no folder {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Returns the path of the distributions.
    pub fn latencies(&self) -> PathBuf {
        self.folder.join("latencies.jsonl")
    }

    /// Returns the path of the page.
    pub fn page(&self) -> PathBuf {
        self.folder.join("index.html")
    }

    fn lines(&self) -> PathBuf {
        self.folder.join("lines.jsonl")
    }

    /// Adds a run.
    pub fn add(&self, record: &Record) -> Result<()> {
        append(&self.lines(), record)
    }

    /// Returns all stored runs.
    pub fn records(&self) -> Result<Vec<Record>> {
        read(&self.lines())
    }

    /// Stores the description of the machine.
    pub fn put_machine(&self, machine: &Machine) -> Result<()> {
        Ok(fs::write(self.folder.join("machine.json"), serde_json::to_string(machine)?)?)
    }

    /// Returns the description of the machine, if one is stored.
    pub fn machine(&self) -> Result<Option<Machine>> {
        let all: Vec<Machine> = read(&self.folder.join("machine.json"))?;
        Ok(all.into_iter().next_back())
    }

    /// Returns all stored distributions.
    pub fn distributions(&self) -> Result<Vec<Distribution>> {
        read(&self.latencies())
    }
}

/// Appends a line to a file.
pub fn append(file: &Path, row: &impl Serialize) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    writeln!(file, "{}", serde_json::to_string(row)?)?;
    Ok(())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let lines = BufReader::new(File::open(path)?).lines();
    let rows = lines.map(|line| serde_json::from_str(&line?).with_context(|| format!("in {}", path.display())));
    rows.collect()
}
