//! The short examples: what they print, and that the README shows the first one.

use std::path::Path;
use std::process::Command;

/// Runs an example, which `cargo test -p atropos` builds beside this test. Returns what it printed.
fn printed(example: &str) -> String {
    let here = std::env::current_exe().expect("this test");
    let folder = here.parent().and_then(Path::parent).expect("the folder of the build");
    let program = folder.join("examples").join(format!("{example}{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "the example is not built: cargo build -p atropos --example {example}");
    let out = Command::new(program).output().expect("the example starts");
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{example} ended with {}: {errors}", out.status);
    String::from_utf8(out.stdout).expect("text")
}

/// The README's first program is the example, apart from the example's doc line.
#[test]
fn readme_shows_the_first_example() {
    let readme = include_str!("../../README.md");
    let block = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a program");
    let example = include_str!("../examples/hello.rs");
    let program = example.split_once("\n\n").expect("a doc line, then the program").1;
    assert_eq!(block, program, "examples/hello.rs and the first program of README.md differ");
}

#[test]
fn hello_prints_the_message_and_the_down() {
    let printed = printed("hello");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 2, "{printed}");
    assert_eq!(lines[0], "the child sent 42");
    assert!(lines[1].starts_with("received the DOWN of #"), "{printed}");
}

#[test]
fn supervisor_prints_a_crash_and_a_restart() {
    let printed = printed("supervisor");
    let lines: Vec<&str> = printed.lines().collect();
    let place = |what: &str| lines.iter().position(|line| *line == what).unwrap_or_else(|| panic!("{what}: {printed}"));
    let ups: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].starts_with("the server is up: <")).collect();
    // The supervisor and the caller learn of the crash independently of each other.
    let unanswered = place("100 / 0 has no answer: the server is down: crash: attempt to divide by zero");
    let terminated = place("the server terminated: crash: attempt to divide by zero");
    let [first, second] = ups[..] else { panic!("{printed}") };
    let steps = [first, place("100 / 5 = 20"), terminated.min(unanswered)];
    assert!(steps.is_sorted(), "{printed}");
    let steps = [terminated.max(unanswered), second, place("100 / 4 = 25"), place("100 / 2 = 50")];
    assert!(steps.is_sorted(), "{printed}");
    assert_eq!(lines.len(), 7, "{printed}");
    assert_ne!(lines[first], lines[second], "a restart is a new process");
}
