//! How the webs are run; the webs are in `tests/webs`, one file for each. `cargo xtask shuttle` runs them.
//!
//! A web is a program on a whole kernel: threads that step its cores, threads that are hosts, and processes that do
//! things at random to each other. [`web`] runs it under so many schedules of two kinds, each with its own random
//! numbers, prints a line for each kind, and leaves the schedule of a failure in a file from which it can be replayed.
//! [`mutant`] runs a web with one thing wrong, and passes only if a schedule finds it.
//!
//! Shuttle takes every atomic as sequentially consistent: the orderings are loom's business, the programs are ours.
//! Without `--cfg shuttle` the crate is empty.
#![cfg(shuttle)]

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use schedule::{Choices, Recorder, Tape};

pub mod ground;
pub mod notes;
pub mod schedule;

/// Schedules of each kind, unless `ATROPOS_SHUTTLE_SCHEDULES` says.
const SCHEDULES: usize = 20_000;
/// What decides the first schedule, unless `ATROPOS_SHUTTLE_SEED` says.
const SEED: u64 = 0x5EED;
/// Preemptions and one, as PCT counts them.
const DEPTH: usize = 3;
/// Steps after which an execution is taken to run for ever; a web takes a few thousand.
const LONGEST: usize = 400_000;

/// What shuttle says when it replays a schedule of another program.
const OF_ANOTHER_PROGRAM: [&str; 2] = ["expected random choice but", "expected context switch but"];

/// How the next task is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Any, at each step.
    Random,
    /// The first of a random order that changes at a few random steps.
    Pct,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Pct => "pct-3",
        }
    }
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// What the failure said.
    pub says: String,
    /// The schedule that led to it.
    pub schedule: String,
}

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => otherwise,
    }
}

fn schedules() -> usize {
    number("ATROPOS_SHUTTLE_SCHEDULES", SCHEDULES as u64) as usize
}

fn config() -> Config {
    let mut config = Config::new();
    // The recorder has the schedule.
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(LONGEST);
    config.silence_warnings = true;
    config.stack_size = 1 << 17;
    config
}

/// The text of a panic.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

std::thread_local! {
    /// A failure on this thread is what is looked for.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the panics that are looked for from the output. Shuttle puts its own hook before this one, once.
fn quiet_hook() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            if !QUIET.get() {
                eprintln!("{panic}");
            }
        }));
    });
}

/// Runs what is meant to fail, and keeps its failures from the output.
pub fn quietly<R>(f: impl FnOnce() -> R) -> R {
    QUIET.set(true);
    let result = f();
    QUIET.set(false);
    result
}

fn run<S: Scheduler + 'static>(scheduler: S, tape: &Tape, f: impl Fn() + Send + Sync + 'static) -> Option<Found> {
    let recorder = Recorder::new(scheduler, tape.clone());
    quiet_hook();
    let panic = catch_unwind(AssertUnwindSafe(|| Runner::new(recorder, config()).run(f))).err()?;
    Some(Found { says: text(&*panic), schedule: tape.text() })
}

/// Runs a web under so many schedules: how many it took, and what was found.
pub fn search(kind: Kind, schedules: usize, f: impl Fn() + Send + Sync + 'static) -> (usize, Option<Found>) {
    let seed = number("ATROPOS_SHUTTLE_SEED", SEED);
    let tape = Tape::default();
    let found = match kind {
        Kind::Random => run(RandomScheduler::new_from_seed(seed, schedules), &tape, f),
        Kind::Pct => run(PctScheduler::new_from_seed(seed, DEPTH, schedules), &tape, f),
    };
    (tape.executions(), found)
}

/// Runs a web once, under the schedule of a failure: what it finds.
///
/// # Panics
/// When the text is no schedule.
pub fn replay(schedule: &str, f: impl Fn() + Send + Sync + 'static) -> Option<Found> {
    let choices = Choices::read(schedule).unwrap_or_else(|| panic!("this is no schedule: {schedule}"));
    let mut scheduler = ReplayScheduler::new_from_schedule(choices.schedule());
    // A failure ends the schedule in the middle of the program: one that is mended goes on behind it.
    scheduler.set_allow_incomplete();
    run(scheduler, &Tape::default(), f)
}

/// A schedule: the text itself, or the text of the file of this name.
///
/// # Panics
/// When there is no such file either.
pub fn schedule_of(asked: &str) -> String {
    if Choices::read(asked).is_some() {
        return asked.to_owned();
    }
    std::fs::read_to_string(asked).unwrap_or_else(|error| panic!("{asked}: no schedule, and no file: {error}"))
}

/// The schedule that is to be replayed.
fn asked_to_replay() -> Option<String> {
    std::env::var("ATROPOS_SHUTTLE_REPLAY").ok().map(|asked| schedule_of(&asked))
}

/// Where the schedules of failures are put.
fn folder() -> PathBuf {
    std::env::var_os("ATROPOS_SHUTTLE_FAILURES").map_or_else(std::env::temp_dir, PathBuf::from)
}

fn line(name: &str, how: &str, schedules: usize, start: Instant, end: &str) {
    let seconds = start.elapsed().as_secs_f64();
    println!("web: {name:<52} {how:<6} {schedules:>8} schedules {seconds:>6.1} s  {end} ");
}

/// Runs a web under both kinds of schedules; or, when one is to be replayed, under that one.
///
/// # Panics
/// When a schedule fails.
pub fn web(name: &str, f: impl Fn() + Send + Sync + Clone + 'static) {
    if let Some(schedule) = asked_to_replay() {
        let start = Instant::now();
        let found = replay(&schedule, f);
        line(name, "replay", 1, start, if found.is_some() { "FAILED" } else { "passed" });
        if let Some(found) = found {
            let fits = !OF_ANOTHER_PROGRAM.iter().any(|said| found.says.starts_with(said));
            assert!(fits, "{name}: the program has changed: it chooses and draws in another order than the schedule");
            panic!("{name}: {}", found.says);
        }
        return;
    }
    let mut failures = Vec::new();
    for kind in [Kind::Random, Kind::Pct] {
        let start = Instant::now();
        let (count, found) = search(kind, schedules(), f.clone());
        line(name, kind.name(), count, start, if found.is_some() { "FAILED" } else { "passed" });
        let Some(found) = found else { continue };
        let file = folder().join(format!("{name}-{}.schedule", kind.name()));
        let kept = std::fs::write(&file, &found.schedule);
        let kept = kept.map_or_else(|error| format!("{error}; it is {}", found.schedule), |()| "kept".to_owned());
        failures.push(format!(
            "{}\n  its schedule: {kept}\n  cargo xtask shuttle --replay {} {name}",
            found.says,
            file.display()
        ));
    }
    assert!(failures.is_empty(), "{name}: {}", failures.join("\n"));
}

/// Runs a web that is wrong until a schedule of either kind finds it, and replays that one.
///
/// # Panics
/// When none does, when all that is found is an execution that does not end, or when the replay finds something else.
pub fn mutant(name: &str, f: impl Fn() + Send + Sync + Clone + 'static) {
    if asked_to_replay().is_some() {
        return;
    }
    let schedules = schedules().max(SCHEDULES);
    // What takes many random schedules is often a matter of a few preemptions, and the other way round.
    for (kind, schedules) in [(Kind::Random, 500), (Kind::Pct, schedules), (Kind::Random, schedules)] {
        let start = Instant::now();
        let (count, found) = quietly(|| search(kind, schedules, f.clone()));
        line(name, kind.name(), count, start, if found.is_some() { "caught" } else { "missed" });
        let Some(found) = found else { continue };
        assert!(!found.says.contains("exceeded max_steps"), "{name}: it does not end, which says nothing");
        let again =
            quietly(|| replay(&found.schedule, f)).unwrap_or_else(|| panic!("{name}: the replay finds nothing"));
        assert_eq!(again.says, found.says, "{name}: the replay finds something else");
        return;
    }
    panic!("{name}: the mutant was not caught");
}
