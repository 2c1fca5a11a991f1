//! The recorded cases, as a test: on the runtime with one and two cores, and on virtual cores.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use atropos_bench::conformance::stepped::Stepped;
use atropos_bench::conformance::threads::Threads;
use atropos_bench::conformance::{World, case, controller};
use serde_json::json;

fn cases() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// The observations of all cases, a line each.
fn observe(world: &mut impl World) -> String {
    let mut observed = String::new();
    let lines = std::fs::read_to_string(cases().join("signals.jsonl")).expect("the cases are here");
    for line in lines.lines() {
        let case = case::parse(line).expect("a case");
        let seen = controller::replay(world, &case).expect("it comes to rest, and leaves nothing behind");
        writeln!(observed, "{}", json!({"id": case.id, "observed": seen})).expect("a string takes all");
    }
    observed
}

/// What the judge says.
fn judge(name: &str, observed: &str) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, observed).expect("written");
    let judge = Command::new("python3")
        .arg(cases().join("check.py"))
        .arg(cases().join("signals.jsonl"))
        .arg(&file)
        .output()
        .expect("python3 judges the cases: apt-get install python3");
    let said = String::from_utf8_lossy(&judge.stdout);
    assert!(judge.status.success(), "{said}");
    assert_eq!(said.trim(), "496 passed, 0 failed");
}

#[test]
fn on_one_core() {
    judge("one.jsonl", &observe(&mut Threads::new(1).expect("a thread")));
}

#[test]
fn on_two_cores() {
    judge("two.jsonl", &observe(&mut Threads::new(2).expect("threads")));
}

#[test]
fn on_stepped_cores_the_same_seed_sees_the_same() {
    let once = observe(&mut Stepped::new(3, 7));
    judge("stepped.jsonl", &once);
    assert_eq!(observe(&mut Stepped::new(3, 7)), once);
}
