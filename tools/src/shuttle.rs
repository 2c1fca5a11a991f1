//! The webs under shuttle: each prints a line for each kind of schedule, and together they make a
//! table. A line that cannot be read is a failure, as in [`crate::models`]. The schedule of a
//! failure is kept in a file, and can be replayed.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};

use crate::steps::{bounded, root};

/// The prefix of a web's line (`shuttle-tests/src/lib.rs`).
const MARK: &str = "web: ";

/// The arguments of `cargo xtask shuttle`.
#[derive(Default, Debug)]
pub(crate) struct Asked {
    /// Number of schedules of each kind for each web; a mutant takes as many as it needs.
    pub(crate) schedules: Option<u64>,
    /// Seed of the schedules.
    pub(crate) seed: Option<u64>,
    /// A part of a test's name; for a replay, the name of the web.
    pub(crate) filter: Option<String>,
    /// A schedule, or the file that contains it.
    pub(crate) replay: Option<String>,
}

/// The end of a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Passed,
    Failed,
    Caught,
    /// A mutant that schedules of this kind did not catch: those of the other kind follow.
    Missed,
}

/// The contents of a line.
#[derive(PartialEq, Eq, Debug)]
struct Web {
    name: String,
    scheduler: String,
    schedules: u64,
    seconds: String,
    end: End,
}

impl Web {
    /// Reads the text after the mark: `NAME SCHEDULER N schedules S s END`.
    fn read(line: &str) -> Option<Self> {
        let (front, back) = line.rsplit_once(" schedules ")?;
        let (front, schedules) = front.trim().rsplit_once(char::is_whitespace)?;
        let (name, scheduler) = front.trim().rsplit_once(char::is_whitespace)?;
        let words: Vec<&str> = back.split_whitespace().collect();
        let [seconds, "s", end] = words[..] else { return None };
        let end = match end {
            "passed" => End::Passed,
            "FAILED" => End::Failed,
            "caught" => End::Caught,
            "missed" => End::Missed,
            _ => return None,
        };
        seconds.parse::<f64>().ok()?;
        Some(Self {
            name: name.trim().to_owned(),
            scheduler: scheduler.to_owned(),
            schedules: schedules.parse().ok()?,
            seconds: seconds.to_owned(),
            end,
        })
    }
}

/// Returns the table, with a count of each result under it.
fn table(webs: &[Web]) -> String {
    let width = webs.iter().map(|web| web.name.chars().count()).chain([4]).max().unwrap_or_default();
    let mut text = format!("{:<width$}  {:<9}  {:>9}  {:>7}  result\n", "name", "scheduler", "schedules", "seconds");
    for Web { name, scheduler, schedules, seconds, end } in webs {
        let result = match end {
            End::Passed => "passed",
            End::Failed => "FAILED",
            End::Caught => "caught",
            End::Missed => "missed, and searched on",
        };
        text += &format!("{name:<width$}  {scheduler:<9}  {schedules:>9}  {seconds:>7}  {result}\n");
    }
    let count = |end| webs.iter().filter(|web| web.end == end).count();
    let (passed, caught, failed) = (count(End::Passed), count(End::Caught), count(End::Failed));
    text + &format!("{passed} searches passed, {caught} mutants caught, {failed} searches failed")
}

/// Returns `true` if shuttle prints this line for every failure, which a mutant is meant to be. The
/// harness reports it in fewer words.
fn is_noise(line: &str) -> bool {
    const SAID: [&str; 6] = [
        "Task failed, serializing schedule",
        "test panicked in task ",
        "failing seed:",
        "To replay the failure, either:",
        "    1) pass the seed to",
        "    2) set the environment variable SHUTTLE",
    ];
    line == "\"" || SAID.iter().any(|said| line.starts_with(said)) || line.parse::<u64>().is_ok()
}

fn command(asked: &Asked) -> Result<Command> {
    let failures = root()?.join("target/shuttle/failures");
    std::fs::create_dir_all(&failures)?;
    let mut command = bounded("cargo", 15);
    command.args(["test", "--package", "atropos-shuttle", "--profile", "shuttle", "--no-fail-fast"]);
    if asked.replay.is_some() {
        // Another test binary has no use for the schedule.
        command.args(["--test", "webs"]);
    }
    command.args(["--", "--nocapture"]);
    match (&asked.replay, &asked.filter) {
        (Some(schedule), Some(web)) => {
            let file = std::path::absolute(schedule).ok().filter(|file| file.is_file());
            let schedule = file.map_or_else(|| schedule.into(), |file| file.into_os_string());
            command.args(["--exact", &format!("{web}::{web}")]).env("ATROPOS_SHUTTLE_REPLAY", schedule);
        }
        (_, filter) => drop(command.args(filter)),
    }
    for (name, number) in [("ATROPOS_SHUTTLE_SCHEDULES", asked.schedules), ("ATROPOS_SHUTTLE_SEED", asked.seed)] {
        if let Some(number) = number {
            command.env(name, number.to_string());
        }
    }
    command
        .env("RUSTFLAGS", "--cfg shuttle")
        .env("CARGO_TARGET_DIR", "target/shuttle")
        .env("ATROPOS_SHUTTLE_FAILURES", failures)
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

pub(crate) fn check(asked: &Asked) -> Result<()> {
    let mut child = command(asked)?.spawn().context("cargo did not start")?;
    let out = child.stdout.take().context("stdout is piped")?;
    let err = child.stderr.take().context("stderr is piped")?;
    let passes_on = thread::spawn(move || {
        for line in BufReader::new(err).lines().map_while(std::io::Result::ok) {
            if !is_noise(&line) {
                eprintln!("{line}");
            }
        }
    });
    let mut webs = Vec::new();
    for line in BufReader::new(out).lines() {
        let line = line?;
        if let Some((_, web)) = line.split_once(MARK) {
            println!("{web}");
            webs.push(Web::read(web).with_context(|| format!("a line that cannot be read: {web}"))?);
        } else if line.contains("FAILED") {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    drop(passes_on.join());
    // The webs run in parallel.
    webs.sort_by(|one, other| one.name.cmp(&other.name));
    if !webs.is_empty() {
        println!("\n{}", table(&webs));
    }
    ensure!(status.success(), "the webs ended with {status}: cargo xtask shuttle NAME runs one");
    ensure!(!webs.is_empty(), "no web ran");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_helpers_print() {
        let web = Web::read("links: unlinks too early          random       26 schedules    0.1 s  caught ");
        let web = web.expect("the line can be read");
        assert_eq!((web.name.as_str(), web.scheduler.as_str()), ("links: unlinks too early", "random"));
        assert_eq!((web.schedules, web.seconds.as_str(), web.end), (26, "0.1", End::Caught));
        for line in ["x", "x random 1 schedules s passed", "x random many schedules 0.1 s passed", "x 1 schedules"] {
            assert_eq!(Web::read(line), None, "{line}");
        }
    }

    #[test]
    fn the_table_counts() {
        let lines = ["a random 5 schedules 0.1 s passed", "b pct-3 5 schedules 0.1 s missed"];
        let mut webs: Vec<Web> = lines.into_iter().filter_map(Web::read).collect();
        webs.extend(Web::read("b random 7 schedules 0.2 s caught"));
        webs.extend(Web::read("c random 7 schedules 0.2 s FAILED"));
        let table = table(&webs);
        assert!(table.ends_with("1 searches passed, 1 mutants caught, 1 searches failed"), "{table}");
        assert_eq!(table.lines().count(), 6, "{table}");
    }

    #[test]
    fn only_the_noise_is_noise() {
        assert!(is_noise("Task failed, serializing schedule") && is_noise("24301") && is_noise("\""));
        assert!(!is_noise("links: 2 is linked with 3") && !is_noise("error: could not compile"));
    }
}
