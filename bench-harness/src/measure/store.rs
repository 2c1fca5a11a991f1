//! The folder in which results are kept: [`Store`].
//!
//! `lines.jsonl` has one line for each run, as the run printed it, and with what the line does not say: why it was run, and
//! how many processes took part. `latencies.jsonl` has the distributions. Both only grow. `machine.json` is what the
//! last of them ran on.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::workloads::{Crowd, Latencies, Line, Workload};

/// Why something was run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// For its figure.
    Figure,
    /// To see how the figure grows with how much is done.
    GrowthOfN,
    /// To see how the figure grows with the number of processes.
    GrowthOfP,
}

/// A run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Why it was run.
    pub why: Why,
    /// What `--p` said, where it did.
    pub p: Option<u64>,
    /// How many other processes waited meanwhile.
    #[serde(default)]
    pub beside: u64,
    /// Resident memory at its most, in bytes, where it is known.
    #[serde(default)]
    pub peak: Option<u64>,
    /// What it printed.
    #[serde(flatten)]
    pub line: Line,
}

impl Record {
    /// What was run.
    pub fn workload(&self) -> Option<&'static Workload> {
        Workload::of(&self.line.workload)
    }

    /// How many of the workload's processes were alive at one time.
    pub fn processes(&self) -> u64 {
        self.workload().map_or(0, |workload| workload.processes(self.line.n, self.p))
    }

    /// What one operation costs, and what that counts: of a group, of one of the group.
    pub fn cost(&self) -> Option<(f64, &'static str)> {
        let (figure, unit) = self.line.figure()?;
        let group = self.workload().is_some_and(|workload| workload.crowd == Crowd::Group);
        Some(if group { (figure / self.processes() as f64, "ns each") } else { (figure, unit) })
    }
}

/// A distribution: what part of all is within how many nanoseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Distribution {
    /// Of what.
    pub workload: String,
    /// On so many threads.
    pub threads: usize,
    /// Parts of all (0 to 1), and nanoseconds.
    pub points: Vec<(f64, u64)>,
}

impl Distribution {
    /// Of what was recorded.
    pub fn of(workload: &str, threads: usize, all: &Latencies) -> Self {
        let points = all.iter_quantiles(5).map(|at| (at.quantile_iterated_to(), at.value_iterated_to())).collect();
        Self { workload: workload.to_owned(), threads, points }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// A folder, made if it is not there.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("no folder {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where the distributions are.
    pub fn latencies(&self) -> PathBuf {
        self.folder.join("latencies.jsonl")
    }

    /// Where the page is.
    pub fn page(&self) -> PathBuf {
        self.folder.join("index.html")
    }

    fn lines(&self) -> PathBuf {
        self.folder.join("lines.jsonl")
    }

    /// One more run.
    pub fn add(&self, record: &Record) -> Result<()> {
        append(&self.lines(), record)
    }

    /// All runs so far.
    pub fn records(&self) -> Result<Vec<Record>> {
        read(&self.lines())
    }

    /// Keeps what is measured on.
    pub fn put_machine(&self, machine: &Machine) -> Result<()> {
        Ok(fs::write(self.folder.join("machine.json"), serde_json::to_string(machine)?)?)
    }

    /// What was measured on, if it was noted.
    pub fn machine(&self) -> Result<Option<Machine>> {
        let all: Vec<Machine> = read(&self.folder.join("machine.json"))?;
        Ok(all.into_iter().next_back())
    }

    /// All distributions so far.
    pub fn distributions(&self) -> Result<Vec<Distribution>> {
        read(&self.latencies())
    }
}

/// One more line of a file.
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
