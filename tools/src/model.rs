//! Random programs on the kernel and on the sequential model of OTP's rules: the test of
//! `reference`, with many cases.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::report::{Report, Row};
use crate::steps::bounded;

/// The prefix of the line that the test prints (`reference/tests/reference.rs`).
const MARK: &str = "model: ";

/// Reads the text after the mark: `NAME: N programs of up to B operations in S s`.
fn read(line: &str) -> Option<Row> {
    let (name, rest) = line.rsplit_once(": ")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [programs, "programs", "of", "up", "to", operations, "operations", "in", seconds, "s"] = words[..] else {
        return None;
    };
    Some(Row {
        name: name.to_owned(),
        bound: format!("{operations} operations"),
        iterations: programs.parse().ok()?,
        took: std::time::Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?,
        result: Ok("agrees".into()),
    })
}

pub(crate) fn check(cases: u64) -> Result<()> {
    let arguments = ["test", "--release", "-p", "atropos-reference", "--test", "reference", "--", "--nocapture"];
    println!("$ PROPTEST_CASES={cases} cargo {}", arguments.join(" "));
    // Most of the time goes into compiling the dependencies; 20,000 programs take seconds.
    let mut command: Command = bounded("cargo", 30);
    command.args(arguments).env("PROPTEST_CASES", cases.to_string()).env("RUST_BACKTRACE", "0").stdout(Stdio::piped());
    let output = command.spawn().context("cargo did not start")?.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut report = Report::default();
    for line in text.lines() {
        match line.split_once(MARK) {
            Some((_, told)) => {
                let mut row = read(told).with_context(|| format!("a line that cannot be read: {told}"))?;
                if !output.status.success() {
                    row.result = Err("see above".into());
                } else if row.iterations < cases {
                    row.result = Err(format!("{cases} programs were requested"));
                }
                report.add(row);
            }
            None => println!("{line}"),
        }
    }
    ensure!(output.status.success(), "the kernel and the rules disagree, or the tests ended with {}", output.status);
    report.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_test_prints() {
        let row = read("the rules: 20000 programs of up to 120 operations in 1.25 s").expect("the line can be read");
        assert_eq!((row.name.as_str(), row.bound.as_str(), row.iterations), ("the rules", "120 operations", 20_000));
        assert_eq!(row.took.as_millis(), 1250);
        for line in
            ["x", "x: many programs of up to 120 operations in 1 s", "x: 1 programs of up to 9 operations in -1 s"]
        {
            assert!(read(line).is_none(), "{line}");
        }
    }
}
