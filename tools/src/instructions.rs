//! Instruction counts of single operations of the kernel, by valgrind: `cargo xtask instructions`.
//!
//! A count repeats where a time does not, so a change of a few instructions is visible. Each
//! operation is done N and 2 N times. The difference, divided by N, is the cost of one operation,
//! without the code before and after it. The numbers are compared with those in
//! `docs/instructions.json`, which `--save` replaces. The command is a report and fails for no
//! number: a compiler may be better or worse, and fewer instructions may be slower.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::steps::{self, output};

const SAVED: &str = "docs/instructions.json";
/// A multiple of the batch size of the operations.
const TIMES: u64 = 6_400;

/// The counts, and the compiler that made the code.
#[derive(Serialize, Deserialize)]
struct Counts {
    compiler: String,
    operations: BTreeMap<String, f64>,
}

pub(crate) fn check(save: bool) -> Result<()> {
    let program = build()?;
    let program = program.to_str().context("the program's path")?;
    let saved = read(Path::new(SAVED))?;
    let mut counts =
        Counts { compiler: output("rustc", &["--version"])?.trim().to_owned(), operations: BTreeMap::new() };
    if let Some(saved) = saved.as_ref().filter(|saved| saved.compiler != counts.compiler) {
        println!("the saved numbers are of {}, these of {}", saved.compiler, counts.compiler);
    }
    println!("| operation | instructions | saved | change |\n| --- | ---: | ---: | ---: |");
    for name in output(program, &[])?.lines() {
        let each = (count(program, name, 2 * TIMES)? - count(program, name, TIMES)?) / TIMES as f64;
        let before = saved.as_ref().and_then(|saved| saved.operations.get(name)).copied();
        let (was, change) = before.map_or((String::new(), String::new()), |before| {
            (format!("{before:.1}"), format!("{:+.1} %", (each / before - 1.0) * 100.0))
        });
        println!("| {name} | {each:.1} | {was} | {change} |");
        // A tenth is as exact as the clock's own instructions permit.
        counts.operations.insert(name.to_owned(), (each * 10.0).round() / 10.0);
    }
    if save {
        std::fs::write(SAVED, serde_json::to_string_pretty(&counts)? + "\n")?;
        println!("saved in {SAVED}");
    }
    Ok(())
}

fn read(file: &Path) -> Result<Option<Counts>> {
    if !file.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file)?;
    serde_json::from_str(&text).map(Some).with_context(|| format!("in {}", file.display()))
}

fn build() -> Result<std::path::PathBuf> {
    steps::built("atropos-benches", "operations")
}

/// Counts the instructions of the whole program, which does the operation `times` times.
fn count(program: &str, name: &str, times: u64) -> Result<f64> {
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", program, name, &times.to_string()])
        .output()
        .context("valgrind did not start")?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{name}: {said}");
    collected(&said).with_context(|| format!("{name}: valgrind printed no count: {said}"))
}

fn collected(said: &str) -> Option<f64> {
    said.lines().find_map(|line| line.split_once("Collected : ")).and_then(|(_, count)| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_output_of_valgrind() {
        let said =
            "==7== Callgrind\n==7== Events    : Ir\n==7== Collected : 123456\n==7== \n==7== I   refs:      123,456\n";
        assert_eq!(collected(said), Some(123_456.0));
        assert_eq!(collected("nothing"), None);
    }

    #[test]
    fn reads_its_own_output() {
        let counts = Counts { compiler: "a compiler".into(), operations: BTreeMap::from([("it".into(), 1.5)]) };
        let text = serde_json::to_string_pretty(&counts).expect("JSON");
        let read: Counts = serde_json::from_str(&text).expect("JSON");
        assert_eq!((read.compiler, read.operations), (counts.compiler, counts.operations));
    }
}
