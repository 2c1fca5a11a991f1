//! The loom models: each prints a line as it ends, and together they make a table. A search that
//! was cut short is a failure, and so is a line that cannot be read, so no model drops out of the
//! table unnoticed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use anyhow::{Context as _, Result, bail, ensure};

use crate::steps::{bounded, root};

/// The prefix of a model's line (`loom-tests/src/lib.rs`).
const MARK: &str = "model: ";
/// The prefix of a line of a trace (`loom-tests/src/trace.rs`).
const TRACE: &str = "trace| ";

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

/// What the command line asks for.
#[derive(Default, Debug)]
pub(crate) struct Asked {
    /// A file of `loom-tests/tests`, `FILE::TEST`, or a part of a test's name.
    pub(crate) name: Option<String>,
    /// Traces the failing execution of a model.
    pub(crate) trace: bool,
    /// Traces mutants whose names contain this, in place of models.
    pub(crate) mutant: Option<String>,
}

impl Asked {
    /// Returns the file of tests, and the part of a test's name.
    fn selection(&self) -> (Option<&str>, Option<&str>) {
        let Some(name) = self.name.as_deref() else { return (None, None) };
        let tests = root().map(|root| root.join("loom-tests/tests")).unwrap_or_default();
        let is_file = |file: &str| tests.join(file).with_extension("rs").is_file();
        match name.split_once("::") {
            Some((file, test)) if is_file(file) => (Some(file), Some(test)),
            None if is_file(name) => (Some(name), None),
            _ => (None, Some(name)),
        }
    }

    /// Returns what the harness is asked to trace.
    fn traced(&self) -> Option<String> {
        let mutants = self.mutant.as_ref().map(|part| format!("mutants:{part}"));
        self.trace.then(|| mutants.unwrap_or_else(|| "models".to_owned()))
    }
}

/// The file of models that takes longest. It starts first, so that at the end no core waits for it.
const LONGEST: &str = "cascade";

/// Minutes after which a build, or one file of models, is ended in CI. Compiling the dependencies
/// takes as long as the models, on two cores that other programs use.
const MINUTES: u32 = 40;

/// Builds the models, and returns their programs.
fn build(file: Option<&str>) -> Result<Vec<PathBuf>> {
    let output = bounded("cargo", MINUTES)
        .args(["test", "--package", "atropos-loom", "--features", "epoch-loom", "--profile", "loom"])
        .args(file.map(|file| format!("--test={file}")))
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .env("RUSTFLAGS", "--cfg loom --cfg crossbeam_loom")
        .env("CARGO_TARGET_DIR", "target/loom")
        .stderr(Stdio::inherit())
        .output()
        .context("cargo did not start")?;
    ensure!(output.status.success(), "the models cannot be built: {}", output.status);
    let mut programs = programs(&String::from_utf8(output.stdout)?);
    ensure!(!programs.is_empty(), "cargo built no models");
    let is_longest = |program: &PathBuf| {
        program.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{LONGEST}-")))
    };
    programs.sort_by_key(|program| !is_longest(program));
    Ok(programs)
}

/// Reads cargo's messages, and returns the test programs that they name.
fn programs(messages: &str) -> Vec<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let tests = messages.filter(|message| message["profile"]["test"].as_bool() == Some(true));
    tests.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect()
}

/// Runs one program, and sends its lines.
fn run(program: &Path, asked: &Asked, lines: &Sender<String>) -> Result<()> {
    let mut command = bounded(program, MINUTES);
    command
        .args(["--nocapture", "--test-threads=1"])
        .args(asked.selection().1)
        .env("RUST_BACKTRACE", "0")
        .current_dir(root()?.join("loom-tests"))
        .stdout(Stdio::piped());
    if let Some(traced) = asked.traced() {
        command.env("ATROPOS_LOOM_TRACE", traced);
    }
    let mut child = command.spawn().with_context(|| format!("{} did not start", program.display()))?;
    for line in BufReader::new(child.stdout.take().context("stdout is piped")?).lines() {
        // The receiver ends early only if a line cannot be read; then nothing more is printed.
        let _ = lines.send(line?);
    }
    let status = child.wait()?;
    ensure!(status.success(), "{} ended with {status}", program.display());
    Ok(())
}

/// Runs the programs, as many at a time as there are cores, and sends their lines. A failure of one
/// keeps no other out of the table.
fn run_all(programs: Vec<PathBuf>, asked: &Asked, lines: &Sender<String>) -> Result<()> {
    // Traces are read from top to bottom, so they come one after the other.
    let workers = if asked.trace { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    let left = Mutex::new(programs.into_iter());
    let next = || left.lock().expect("no worker panics with the lock").next();
    std::thread::scope(|scope| {
        let worker = || {
            let mut result = Ok(());
            while let Some(program) = next() {
                result = result.and(run(&program, asked, lines));
            }
            result
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let results = workers.into_iter().map(|worker| worker.join().expect("a worker does not panic"));
        results.fold(Ok(()), Result::and)
    })
}

pub(crate) fn check(asked: &Asked) -> Result<()> {
    let programs = build(asked.selection().0)?;
    let (mut models, mut traced) = (Vec::new(), false);
    let (lines, printed) = std::sync::mpsc::channel();
    let outcome = std::thread::scope(|scope| -> Result<Result<()>> {
        let programs = scope.spawn(move || run_all(programs, asked, &lines));
        for line in printed {
            if let Some((_, model)) = line.split_once(MARK) {
                println!("{model}");
                models.push(Model::read(model).with_context(|| format!("a line that cannot be read: {model}"))?);
            } else if let Some((_, trace)) = line.split_once(TRACE) {
                println!("{trace}");
                traced = true;
            } else if line.contains("FAILED") {
                println!("{line}");
            }
        }
        Ok(programs.join().expect("the workers' failures are values"))
    })?;
    if !models.is_empty() {
        println!("\n{}", table(&models));
    }
    if models.iter().any(|model| model.end == End::Cut) {
        bail!("a search was cut short: it proves nothing");
    }
    outcome
        .context("a model failed: cargo xtask loom NAME runs one file or test, --trace prints a failing execution")?;
    ensure!(!models.is_empty(), "no model ran");
    if asked.trace && !traced {
        println!("nothing failed, so there is no trace; --mutant traces mutants");
    }
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
    fn programs_are_those_that_cargo_built_for_tests() {
        let messages = r#"
{"reason":"compiler-artifact","profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","profile":{"test":true},"executable":"/target/loom/deps/mailbox-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(programs(messages), [PathBuf::from("/target/loom/deps/mailbox-1")]);
    }

    #[test]
    fn a_name_selects_a_file_or_tests() {
        for (name, expected) in [
            ("refcount", (Some("refcount"), None)),
            ("refcount::mut", (Some("refcount"), Some("mut"))),
            ("protocol", (None, Some("protocol"))),
            ("nowhere::protocol", (None, Some("nowhere::protocol"))),
        ] {
            let asked = Asked { name: Some(name.to_owned()), ..Asked::default() };
            assert_eq!(asked.selection(), expected, "{name}");
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
