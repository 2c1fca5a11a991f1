//! The loom models: each prints a line as it ends, and together they make a table. A search that
//! was cut short is a failure, and so is a line that cannot be read, so no model drops out of the
//! table unnoticed.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};

use crate::steps::bounded;

/// The prefix of a model's line (`loom-tests/src/lib.rs`).
const MARK: &str = "model: ";

/// The end of a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Complete,
    Caught,
    Cut,
}

/// The contents of a line.
#[derive(PartialEq, Eq, Debug)]
struct Model {
    name: String,
    bound: String,
    iterations: u64,
    seconds: String,
    end: End,
}

impl Model {
    /// Reads the text after the mark: `NAME bound B N iterations S s END`.
    fn read(line: &str) -> Option<Self> {
        let (name, rest) = line.rsplit_once(" bound ")?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [bound, iterations, "iterations", seconds, "s", end] = words[..] else { return None };
        let end = match end {
            "complete" => End::Complete,
            "caught" => End::Caught,
            "CUT" => End::Cut,
            _ => return None,
        };
        seconds.parse::<f64>().ok()?;
        Some(Self {
            name: name.trim().to_owned(),
            bound: bound.to_owned(),
            iterations: iterations.parse().ok()?,
            seconds: seconds.to_owned(),
            end,
        })
    }
}

/// Returns the table, with a count of each result under it.
fn table(models: &[Model]) -> String {
    let width = models.iter().map(|model| model.name.chars().count()).chain([4]).max().unwrap_or_default();
    let mut text = format!("{:<width$}  {:>5}  {:>10}  {:>7}  result\n", "name", "bound", "iterations", "seconds");
    for Model { name, bound, iterations, seconds, end } in models {
        let result = match end {
            End::Complete => "complete",
            End::Caught => "caught",
            End::Cut => "CUT",
        };
        text += &format!("{name:<width$}  {bound:>5}  {iterations:>10}  {seconds:>7}  {result}\n");
    }
    let count = |end| models.iter().filter(|model| model.end == end).count();
    let (complete, caught, cut) = (count(End::Complete), count(End::Caught), count(End::Cut));
    text + &format!("{complete} models complete, {caught} mutants caught, {cut} searches cut")
}

pub(crate) fn check(filter: Option<&str>) -> Result<()> {
    // Compiling the dependencies takes as long as the models, on two cores that other programs use.
    let mut command = bounded("cargo", 40);
    command
        .args([
            "test",
            "--package",
            "atropos-loom",
            "--features",
            "epoch-loom",
            "--profile",
            "loom",
            // A failure in one file keeps no other file out of the table.
            "--no-fail-fast",
            "--",
            "--nocapture",
            "--test-threads=1",
        ])
        .args(filter)
        .env("RUSTFLAGS", "--cfg loom --cfg crossbeam_loom")
        .env("CARGO_TARGET_DIR", "target/loom")
        .env("LOOM_CHECKPOINT_INTERVAL", "500")
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cargo did not start")?;
    let out = child.stdout.take().context("stdout is piped")?;
    let mut models = Vec::new();
    for line in BufReader::new(out).lines() {
        let line = line?;
        if let Some((_, model)) = line.split_once(MARK) {
            println!("{model}");
            models.push(Model::read(model).with_context(|| format!("a line that cannot be read: {model}"))?);
        } else if line.contains("FAILED") {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    if !models.is_empty() {
        println!("\n{}", table(&models));
    }
    if models.iter().any(|model| model.end == End::Cut) {
        bail!("a search was cut short: it proves nothing");
    }
    ensure!(status.success(), "the models ended with {status}: cargo xtask loom NAME runs one");
    ensure!(!models.is_empty(), "no model ran");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Model {
        Model::read(line).expect("the line can be read")
    }

    #[test]
    fn reads_what_the_helpers_print() {
        let model =
            read("mailbox: two senders, bound for one          bound 2        1234 iterations    0.5 s  complete ");
        assert_eq!(model.name, "mailbox: two senders, bound for one");
        assert_eq!((model.bound.as_str(), model.iterations, model.seconds.as_str()), ("2", 1234, "0.5"));
        assert_eq!(model.end, End::Complete);
        assert_eq!(read("x bound none 1 iterations 0.0 s caught").end, End::Caught);
        assert_eq!(read("x bound 3 1 iterations 120.0 s CUT").end, End::Cut);
        for line in ["x", "x bound 2 many iterations 0.0 s complete", "x bound 2 1 iterations 0.0 s well"] {
            assert_eq!(Model::read(line), None, "{line}");
        }
    }

    #[test]
    fn a_cut_search_does_not_count_as_complete() {
        let lines = ["a bound 2 1 iterations 0.1 s complete", "b bound 2 1 iterations 0.1 s caught"];
        let mut models: Vec<Model> = lines.into_iter().map(read).collect();
        models.push(read("c bound 2 1 iterations 120.0 s CUT"));
        let table = table(&models);
        assert!(table.ends_with("1 models complete, 1 mutants caught, 1 searches cut"), "{table}");
        assert_eq!(table.lines().count(), 5, "{table}");
    }
}
