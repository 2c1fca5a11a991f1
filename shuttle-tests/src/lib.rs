//! The harness of the webs. The webs are in `tests/webs`, one file each. `cargo xtask shuttle` runs
//! them.
//!
//! A web is a program on a whole kernel: threads that step its cores, threads that are hosts, and
//! processes that act on one another at random. [`web`] runs it under a number of schedules of two
//! kinds, each with its own random numbers. It prints a line for each kind, and saves the schedule
//! of a failure in a file from which it can be replayed. [`mutant`] runs a web with one fault in
//! it, and passes only if a schedule finds the fault.
//!
//! Shuttle takes every atomic as sequentially consistent: loom checks the orderings, and these webs
//! check the programs. Without `--cfg shuttle` the crate is empty.
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

/// Number of schedules of each kind, unless `ATROPOS_SHUTTLE_SCHEDULES` gives another.
const SCHEDULES: usize = 20_000;
/// Seed of the first schedule, unless `ATROPOS_SHUTTLE_SEED` gives another.
const SEED: u64 = 0x5EED;
/// Number of preemptions plus one, as PCT counts them.
const DEPTH: usize = 3;
/// Number of steps after which an execution counts as endless. A web takes a few thousand.
const LONGEST: usize = 400_000;

/// The texts that shuttle reports when it replays a schedule of another program.
const OF_ANOTHER_PROGRAM: [&str; 2] = ["expected random choice but", "expected context switch but"];

/// The rule that chooses the next task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// At each step, any runnable task.
    Random,
    /// The first runnable task in a random order, which changes at a few random steps.
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

/// The result of a search that found a failure.
#[derive(Debug)]
pub struct Found {
    /// The text of the failure.
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
    // The recorder keeps the schedule.
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(LONGEST);
    config.silence_warnings = true;
    config.stack_size = 1 << 17;
    config
}

/// Returns the text of a panic.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

std::thread_local! {
    /// `true` while a failure on this thread is expected.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Hides expected panics from the output. Shuttle installs its own hook before this one, once.
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

/// Runs `f`, which is expected to fail, and hides its failures from the output.
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

/// Runs a web under up to `schedules` schedules. Returns how many it took, and what it found.
pub fn search(kind: Kind, schedules: usize, f: impl Fn() + Send + Sync + 'static) -> (usize, Option<Found>) {
    let seed = number("ATROPOS_SHUTTLE_SEED", SEED);
    let tape = Tape::default();
    let found = match kind {
        Kind::Random => run(RandomScheduler::new_from_seed(seed, schedules), &tape, f),
        Kind::Pct => run(PctScheduler::new_from_seed(seed, DEPTH, schedules), &tape, f),
    };
    (tape.executions(), found)
}

/// Runs a web once, under the schedule of a failure. Returns what it finds.
///
/// # Panics
/// Panics when the text is no schedule.
pub fn replay(schedule: &str, f: impl Fn() + Send + Sync + 'static) -> Option<Found> {
    let choices = Choices::read(schedule).unwrap_or_else(|| panic!("not a schedule: {schedule}"));
    let mut scheduler = ReplayScheduler::new_from_schedule(choices.schedule());
    // A failure ends the schedule in the middle of the program. A corrected program continues after
    // that point.
    scheduler.set_allow_incomplete();
    run(scheduler, &Tape::default(), f)
}

/// Returns a schedule: `asked` itself, or the contents of the file with this name.
///
/// # Panics
/// Panics when `asked` is neither a schedule nor a readable file.
pub fn schedule_of(asked: &str) -> String {
    if Choices::read(asked).is_some() {
        return asked.to_owned();
    }
    std::fs::read_to_string(asked)
        .unwrap_or_else(|error| panic!("{asked}: neither a schedule nor a readable file: {error}"))
}

/// Returns the schedule to replay, if one is given.
fn asked_to_replay() -> Option<String> {
    std::env::var("ATROPOS_SHUTTLE_REPLAY").ok().map(|asked| schedule_of(&asked))
}

/// Returns the folder in which the schedules of failures are saved.
fn folder() -> PathBuf {
    std::env::var_os("ATROPOS_SHUTTLE_FAILURES").map_or_else(std::env::temp_dir, PathBuf::from)
}

fn line(name: &str, how: &str, schedules: usize, start: Instant, end: &str) {
    let seconds = start.elapsed().as_secs_f64();
    println!("web: {name:<52} {how:<6} {schedules:>8} schedules {seconds:>6.1} s  {end} ");
}

/// Runs a web under both kinds of schedules, or under a given schedule only.
///
/// # Panics
/// Panics when a schedule fails.
pub fn web(name: &str, f: impl Fn() + Send + Sync + Clone + 'static) {
    if let Some(schedule) = asked_to_replay() {
        let start = Instant::now();
        let found = replay(&schedule, f);
        line(name, "replay", 1, start, if found.is_some() { "FAILED" } else { "passed" });
        if let Some(found) = found {
            let fits = !OF_ANOTHER_PROGRAM.iter().any(|said| found.says.starts_with(said));
            assert!(fits, "{name}: the program has changed: its choices no longer match the schedule");
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

/// Runs a faulty web until a schedule of either kind finds the fault, and replays that schedule.
///
/// # Panics
/// Panics when no schedule finds the fault, when all that is found is an endless execution, or when
/// the replay finds something else.
pub fn mutant(name: &str, f: impl Fn() + Send + Sync + Clone + 'static) {
    if asked_to_replay().is_some() {
        return;
    }
    let schedules = schedules().max(SCHEDULES);
    // A fault that takes many random schedules often takes only a few preemptions, and the other
    // way round.
    for (kind, schedules) in [(Kind::Random, 500), (Kind::Pct, schedules), (Kind::Random, schedules)] {
        let start = Instant::now();
        let (count, found) = quietly(|| search(kind, schedules, f.clone()));
        line(name, kind.name(), count, start, if found.is_some() { "caught" } else { "missed" });
        let Some(found) = found else { continue };
        assert!(!found.says.contains("exceeded max_steps"), "{name}: the execution does not end, which proves nothing");
        let again =
            quietly(|| replay(&found.schedule, f)).unwrap_or_else(|| panic!("{name}: the replay finds nothing"));
        assert_eq!(again.says, found.says, "{name}: the replay finds something else");
        return;
    }
    panic!("{name}: the mutant was not caught");
}
