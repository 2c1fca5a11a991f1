//! The fuzz targets, each run for a number of seconds. `cargo-fuzz` is installed where it is
//! missing. Inputs that libFuzzer finds go to the build's folder; the seeds in `fuzz/corpus` stay
//! unchanged.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::report::{Report, Row};
use crate::sanitize::need_nightly;
use crate::steps::{bounded, cargo, run};

/// The targets, each with its longest input in bytes: programs of 400 operations; requests and
/// terms, which the targets inflate; frames; packets.
const TARGETS: [(&str, u32); 5] =
    [("states", 2004), ("resp", 1024), ("term", 1024), ("frames", 2048), ("handshake", 512)];

/// The last status line of libFuzzer: `#N DONE cov: C ft: F corp: I/B ...`.
#[derive(Default, Debug, PartialEq, Eq)]
struct Status {
    runs: u64,
    coverage: u64,
    corpus: String,
}

impl Status {
    /// Takes the values that a line contains.
    fn read(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let runs = words.next().and_then(|word| word.strip_prefix('#')).and_then(|number| number.parse().ok());
        let Some(runs) = runs else { return };
        self.runs = self.runs.max(runs);
        while let Some(word) = words.next() {
            match word {
                "cov:" => self.coverage = words.next().and_then(|n| n.parse().ok()).unwrap_or(self.coverage),
                "corp:" => self.corpus = words.next().unwrap_or_default().to_owned(),
                _ => {}
            }
        }
    }
}

pub(crate) fn check(seconds: u64, only: Option<&str>) -> Result<()> {
    let targets: Vec<_> = TARGETS.into_iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
    ensure!(!targets.is_empty(), "no such target; the targets are: {}", TARGETS.map(|(name, _)| name).join(", "));
    need_nightly()?;
    let there = Command::new("cargo").args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        println!("cargo-fuzz is missing: installing it");
        cargo(&["install", "cargo-fuzz", "--locked"])?;
    }
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let built = std::path::absolute(built.join("fuzz"))?;
    let mut report = Report::default();
    for (target, longest) in targets {
        run(bounded("cargo", 15).args(["+nightly", "fuzz", "build", target]).env("CARGO_TARGET_DIR", &built))?;
        report.add(fuzz(target, longest, seconds, &built)?);
    }
    report.finish()
}

fn fuzz(target: &str, longest: u32, seconds: u64, built: &Path) -> Result<Row> {
    let found = built.join("corpus").join(target);
    std::fs::create_dir_all(&found)?;
    let mut command = bounded("cargo", u32::try_from(seconds / 60)? + 10);
    command
        .args(["+nightly", "fuzz", "run", target])
        // libFuzzer puts new inputs into the first folder.
        .arg(&found)
        .arg(format!("fuzz/corpus/{target}"))
        .arg("--")
        .args([format!("-max_total_time={seconds}"), format!("-max_len={longest}")])
        // Longer programs come soon. A run takes milliseconds, so a run of seconds is a hang.
        .args(["-len_control=10", "-timeout=20", "-print_final_stats=1"])
        .env("CARGO_TARGET_DIR", built)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().context("cargo did not start")?;
    let said = child.stderr.take().context("stderr is piped")?;
    let (mut status, mut other) = (Status::default(), Vec::new());
    for line in BufReader::new(said).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if line.starts_with('#') {
            status.read(&line);
        } else {
            other.push(line);
        }
    }
    let ended = child.wait()?;
    let result = if ended.success() {
        Ok(format!("nothing found, coverage {}, corpus {}", status.coverage, status.corpus))
    } else {
        // Prints the finding itself, without libFuzzer's hints around it.
        println!("{}", other.join("\n"));
        Err(format!("{ended}: see above; cargo +nightly fuzz run {target} FILE runs it again"))
    };
    if ended.success() && start.elapsed() + Duration::from_secs(1) < Duration::from_secs(seconds) {
        bail!("{target} ended too early");
    }
    Ok(Row {
        name: target.into(),
        bound: format!("{longest} bytes"),
        iterations: status.runs,
        took: start.elapsed(),
        result,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_status_of_libfuzzer() {
        let mut status = Status::default();
        for line in [
            "INFO: Loaded 1 modules",
            "#2\tINITED cov: 30 ft: 31 corp: 1/1b exec/s: 0 rss: 40Mb",
            "#1048576\tpulse  cov: 4310 ft: 16690 corp: 1420/35Kb lim: 53 exec/s: 2368 rss: 425Mb",
            "#1048577\tDONE   cov: 4311 ft: 16690 corp: 1421/35Kb lim: 53 exec/s: 2331 rss: 425Mb",
            "# of nothing",
        ] {
            status.read(line);
        }
        assert_eq!(status, Status { runs: 1_048_577, coverage: 4311, corpus: "1421/35Kb".into() });
    }
}
