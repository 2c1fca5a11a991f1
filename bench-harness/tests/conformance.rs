//! The recorded cases, as a test: on the runtime with one and two cores, and on virtual cores.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use atropos_bench::conformance::stepped::Stepped;
use atropos_bench::conformance::threads::Threads;
use atropos_bench::conformance::{Driver, replay, row};

fn cases() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Returns the observations of all cases of a file, one line each.
fn observe(world: &mut impl Driver, file: &str) -> String {
    let mut observed = String::new();
    let lines = std::fs::read_to_string(cases().join(file)).expect("the file of cases exists");
    for line in lines.lines() {
        let (id, seen) = replay(world, line).expect("the line is a case");
        let seen = seen.expect("the system settles and leaves no process");
        writeln!(observed, "{}", row((id, Ok(seen)))).expect("a string accepts any text");
    }
    observed
}

/// Runs the judge and compares its summary with the expected one.
fn judge(name: &str, cases_file: &str, expected: &str, observed: &str) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, observed).expect("the file is writable");
    let judge = Command::new("python3")
        .arg(cases().join("check.py"))
        .arg(cases().join(cases_file))
        .arg(&file)
        .output()
        .expect("python3 judges the cases: apt-get install python3");
    let said = String::from_utf8_lossy(&judge.stdout);
    assert!(judge.status.success(), "{said}");
    assert_eq!(said.trim(), expected);
}

fn signals(name: &str, observed: &str) {
    judge(name, "signals.jsonl", "496 passed, 0 failed", observed);
}

fn supervisors(name: &str, observed: &str) {
    judge(name, "supervisor.jsonl", "165 passed, 0 failed", observed);
}

#[test]
fn on_one_core() {
    signals("one.jsonl", &observe(&mut Threads::new(1).expect("the runtime starts"), "signals.jsonl"));
}

#[test]
fn on_two_cores() {
    signals("two.jsonl", &observe(&mut Threads::new(2).expect("the runtime starts"), "signals.jsonl"));
}

#[test]
fn through_the_facilities_on_one_core_and_on_two() {
    for cores in [1, 2] {
        let mut world = Threads::new(cores).expect("the runtime starts").through_facilities();
        signals(&format!("facility-{cores}.jsonl"), &observe(&mut world, "signals.jsonl"));
    }
}

#[test]
fn through_the_facilities_on_stepped_cores() {
    for seed in 1..=4 {
        let mut world = Stepped::new(seed as usize, seed).through_facilities();
        signals(&format!("facility-stepped-{seed}.jsonl"), &observe(&mut world, "signals.jsonl"));
    }
}

#[test]
fn on_stepped_cores_the_same_seed_gives_the_same_result() {
    let once = observe(&mut Stepped::new(3, 7), "signals.jsonl");
    signals("stepped.jsonl", &once);
    assert_eq!(observe(&mut Stepped::new(3, 7), "signals.jsonl"), once);
}

#[test]
fn supervisors_on_one_core() {
    supervisors("sup-one.jsonl", &observe(&mut Threads::new(1).expect("the runtime starts"), "supervisor.jsonl"));
}

#[test]
fn supervisors_on_two_cores_ten_times() {
    for round in 0..10 {
        let observed = observe(&mut Threads::new(2).expect("the runtime starts"), "supervisor.jsonl");
        supervisors(&format!("sup-two-{round}.jsonl"), &observed);
    }
}

#[test]
fn supervisors_on_stepped_cores_the_same_seed_gives_the_same_result() {
    for seed in 1..=10 {
        let once = observe(&mut Stepped::new(1 + seed as usize % 3, seed), "supervisor.jsonl");
        supervisors(&format!("sup-stepped-{seed}.jsonl"), &once);
        assert_eq!(observe(&mut Stepped::new(1 + seed as usize % 3, seed), "supervisor.jsonl"), once);
    }
}
