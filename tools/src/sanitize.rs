//! The stress tests and the random programs of `chaos` under AddressSanitizer (with LeakSanitizer),
//! and the stress tests under ThreadSanitizer, by a nightly toolchain with its own precompiled
//! library. Each test runs at least once. The stress test repeats with new seeds for the requested
//! time, and `chaos` runs for the same time.
//!
//! The kernel's own tests, on one thread each, cover what Miri would find. They run under
//! AddressSanitizer. They run with every type that is not `repr(C)` laid out by a seed and with the
//! checks of the library's unsafe functions (`-Zrandomize-layout`, `-Zub-checks`), once for each of
//! [`LAYOUTS`] seeds. And they run under valgrind, which finds reads of uninitialised memory.
//!
//! ThreadSanitizer does not understand fences, and sees no synchronisation inside the library. So:
//! - crossbeam-epoch has loads in their place when it is compiled for ThreadSanitizer, and so has
//!   the kernel (`cfg(tsan)`, `kernel/src/sync.rs`); the other fences there order stores with
//!   loads, and publish nothing.
//! - Its false reports about the library's own functions are suppressed by name
//!   (`tools/sanitizers`). The suppression of `Arc`'s fence would also hide what an `Arc`'s last
//!   owner destroys. So half of the rounds take all atomics as sequentially consistent, where that
//!   suppression is not needed, and the other half take the orderings as they are.
//! - Two tests are left out (`OUT`): they pass values through the library's locks, or Tokio's.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::report::{Report, Row};
use crate::steps::bounded;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The arguments that build tests.
const TEST: [&str; 2] = ["test", "--no-run"];
/// Tests of the package `atropos`. The last takes a seed.
const TESTS: [&str; 5] = ["runtime", "scheduling", "churn", "cascade", "stress"];
/// Tests of the package `atropos-kernel`.
const KERNEL: [&str; 9] =
    ["identity", "platform", "contained", "reentry", "request", "bounded", "caller", "exit_inline", "timers"];
/// Tests of the same package, for one hart.
const ONE_HART: [&str; 2] = ["one_hart", "send"];
/// Layouts of the kernel's types that each run tries.
const LAYOUTS: u64 = 3;
/// Kernel tests that leak memory on purpose: on a platform that never runs some processes, or that
/// lets panics pass through the kernel.
const LOSES: [&str; 2] = ["n03_what_is_never_run_is_lost_and_no_more", "a_panic_that_goes_through_leaves_no_trace"];
/// Tests that do not run under ThreadSanitizer: it cannot see a contended lock of the library's,
/// nor any part of Tokio that is in the library. The pool of blocking threads
/// (`std-adapter/src/blocking.rs`) has no unsafe code of its own.
const OUT: [&str; 2] = ["blocking_work_keeps_no_core", "tokio_beside_and_inside"];

/// A sanitizer and its settings.
struct Sanitizer {
    name: &'static str,
    /// The folder of the build; several settings may share one.
    build: &'static str,
    flags: String,
    /// The variable with the sanitizer's options, and the options.
    options: (&'static str, String),
    leaves_out: &'static [&'static str],
}

fn sanitizers(root: &Path) -> Vec<Sanitizer> {
    let suppressions = root.join("tools/sanitizers");
    let thread = |name, file: &str, more: &str| Sanitizer {
        name,
        build: "tsan",
        // The library is not instrumented: the compiler requires a flag that acknowledges this.
        flags: "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg tsan".into(),
        options: (
            "TSAN_OPTIONS",
            // `history_size` bounds the memory of past accesses, so that both sides of a race can
            // be shown.
            format!("halt_on_error=0 history_size=4{more} suppressions={}", suppressions.join(file).display()),
        ),
        leaves_out: &OUT,
    };
    vec![
        Sanitizer {
            name: "address, leaks",
            build: "asan",
            flags: "-Zsanitizer=address --cfg asan".into(),
            options: ("ASAN_OPTIONS", "detect_leaks=1 detect_stack_use_after_return=1".into()),
            leaves_out: &LOSES,
        },
        thread("thread", "tsan.supp", ""),
        thread("thread, seq-cst", "tsan-seq-cst.supp", " force_seq_cst_atomics=1"),
    ]
}

/// Checks that a nightly toolchain exists; the error tells how to install one.
pub(crate) fn need_nightly() -> Result<()> {
    let mut command = Command::new("cargo");
    let there = command.args(["+nightly", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        bail!("no nightly toolchain: rustup toolchain install nightly --profile minimal");
    }
    Ok(())
}

pub(crate) fn check(seconds: u64) -> Result<()> {
    need_nightly()?;
    ensure!(cfg!(all(target_arch = "x86_64", target_os = "linux")), "the sanitizers are run on {TARGET}");
    let mut report = Report::default();
    let sanitizers = sanitizers(&std::env::current_dir()?);
    for sanitizer in &sanitizers {
        let share = sanitizers.iter().filter(|other| other.build == sanitizer.build).count() as u32;
        sanitizer.run(Duration::from_secs(seconds) / share, &mut report)?;
    }
    for _ in 0..LAYOUTS {
        let seed = std::time::UNIX_EPOCH.elapsed()?.as_nanos() as u32;
        Sanitizer {
            name: "layout",
            build: "layout",
            flags: format!("-Zrandomize-layout -Zlayout-seed={seed} -Zub-checks=yes"),
            options: ("RUST_BACKTRACE", "0".into()),
            leaves_out: &[],
        }
        .run_kernel(&mut report)?;
    }
    match crate::need::VALGRIND.meet() {
        Ok(()) => memcheck(&mut report)?,
        Err(why) => println!("without valgrind: {why}"),
    }
    report.finish()
}

/// Runs the kernel's tests under valgrind.
fn memcheck(report: &mut Report) -> Result<()> {
    let mut command = bounded("cargo", 15);
    command.args(["test", "--no-run", "--message-format=json", "-p", "atropos-kernel"]);
    command.args(KERNEL.iter().flat_map(|test| ["--test", test])).stdout(Stdio::piped());
    let output = command.spawn().context("cargo did not start")?.wait_with_output()?;
    ensure!(output.status.success(), "the build for valgrind ended with {}", output.status);
    let said = String::from_utf8(output.stdout)?;
    for program in said.lines().filter_map(executable) {
        let name = program.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let start = Instant::now();
        let mut command = bounded("valgrind", 15);
        command.args(["--quiet", "--error-exitcode=99"]).arg(&program).arg("--test-threads=1");
        let output = command.env("RUST_BACKTRACE", "0").output().context("valgrind did not start")?;
        let result = match fault(output.status.success(), &output.stdout, &output.stderr) {
            None => Ok("clean".into()),
            Some(why) => {
                eprint!("{}", String::from_utf8_lossy(&output.stderr));
                Err(format!("{why}: {}, {}", output.status, program.display()))
            }
        };
        let name = format!("valgrind: {}", name.rsplit_once('-').map_or(name.as_str(), |(name, _)| name));
        report.add(Row { name, bound: "once".into(), iterations: 1, took: start.elapsed(), result });
    }
    Ok(())
}

impl Sanitizer {
    /// Builds tests, or programs if `what` is `build` in place of `TEST`. Returns their paths.
    fn build(&self, what: &[&str], arguments: &[&str]) -> Result<Vec<PathBuf>> {
        let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let built = std::path::absolute(built.join(self.build))?;
        let mut command = bounded("cargo", 15);
        command
            .arg("+nightly")
            .args(what)
            .args(["--release", "--target", TARGET, "--message-format=json"])
            .args(arguments)
            .env("RUSTFLAGS", &self.flags)
            .env("CARGO_TARGET_DIR", built)
            .stdout(Stdio::piped());
        println!("$ RUSTFLAGS='{}' cargo +nightly {} --release {}", self.flags, what.join(" "), arguments.join(" "));
        let output = command.spawn().context("cargo did not start")?.wait_with_output()?;
        ensure!(output.status.success(), "the build for {} ended with {}", self.name, output.status);
        let said = String::from_utf8(output.stdout)?;
        Ok(said.lines().filter_map(executable).collect())
    }

    fn run(&self, time: Duration, report: &mut Report) -> Result<()> {
        let mut arguments = vec!["-p", "atropos"];
        arguments.extend(TESTS.iter().flat_map(|test| ["--test", test]));
        let found = self.build(&TEST, &arguments)?;
        for test in TESTS {
            let program = found.iter().find(|path| is_test(path, test));
            let program = program.with_context(|| format!("cargo did not report the path of {test}"))?;
            let time = if test == "stress" { time } else { Duration::ZERO };
            report.add(self.repeat(test, program, time)?);
        }
        // The kernel's tests have one thread, or one hart: no race is possible.
        if self.build == "asan" {
            self.run_kernel(report)?;
            let found = self.build(&["build"], &["-p", "atropos-chaos"])?;
            let program = found.first().context("cargo did not report the path of atropos-chaos")?;
            report.add(self.chaos(program, time)?);
        }
        Ok(())
    }

    /// Runs the kernel's tests, once each.
    fn run_kernel(&self, report: &mut Report) -> Result<()> {
        for (features, tests) in [(None, &KERNEL[..]), (Some("--no-default-features"), &ONE_HART)] {
            let mut arguments = vec!["-p", "atropos-kernel"];
            arguments.extend(features);
            arguments.extend(tests.iter().flat_map(|test| ["--test", test]));
            let found = self.build(&TEST, &arguments)?;
            for test in tests {
                let program = found.iter().find(|path| is_test(path, test));
                let program = program.with_context(|| format!("cargo did not report the path of {test}"))?;
                report.add(self.repeat(test, program, Duration::ZERO)?);
            }
        }
        Ok(())
    }

    /// Plays `chaos` for the given time, with a new seed. Not under ThreadSanitizer: Tokio and the
    /// library synchronise in ways that it does not see.
    fn chaos(&self, program: &Path, time: Duration) -> Result<Row> {
        let (start, seed) = (Instant::now(), std::time::UNIX_EPOCH.elapsed()?.as_secs());
        let mut command = bounded(program, 5 + time.as_secs() as u32 / 60);
        command.arg(format!("--seconds={}", time.as_secs())).arg(format!("--seed={seed}"));
        // The sanitizer is slow, and the machine may be busy.
        command.arg("--patience=240").env(self.options.0, &self.options.1).env("RUST_BACKTRACE", "0");
        let output = command.output().with_context(|| format!("{} did not start", program.display()))?;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let report = stderr.lines().find(|line| line.starts_with("SUMMARY: ")).map(|line| line.trim().to_owned());
        let fault = report.or_else(|| (!output.status.success()).then(|| "a round failed".into()));
        if fault.is_some() {
            print!("{stdout}");
            eprint!("{stderr}");
        }
        Ok(Row {
            name: format!("{}: chaos", self.name),
            bound: format!("{} s", time.as_secs()),
            iterations: 1,
            took: start.elapsed(),
            result: fault.map_or(Ok("clean".into()), |why| Err(format!("{why}; --seed={seed}, {}", output.status))),
        })
    }

    /// Runs a test again and again, until the time is over.
    fn repeat(&self, test: &str, program: &Path, time: Duration) -> Result<Row> {
        let start = Instant::now();
        let mut row = Row {
            name: format!("{}: {test}", self.name),
            bound: if time.is_zero() { "once".into() } else { format!("{} s", time.as_secs()) },
            iterations: 0,
            took: Duration::ZERO,
            result: Ok("clean".into()),
        };
        loop {
            // Each run has a new seed, which the test prints.
            let seed = std::time::UNIX_EPOCH.elapsed()?.as_nanos() as u64;
            let mut command = bounded(program, 15);
            // One test at a time: the library passes a value that is made once per program (a
            // `LazyLock`) to the second test that uses it, and ThreadSanitizer does not see this.
            command.args(["--test-threads=1", "--nocapture"]).env(self.options.0, &self.options.1);
            command.env("ATROPOS_SEED", seed.to_string()).env("RUST_BACKTRACE", "0");
            for name in self.leaves_out {
                command.args(["--skip", name]);
            }
            let output = command.output().with_context(|| format!("{} did not start", program.display()))?;
            row.iterations += 1;
            row.took = start.elapsed();
            if let Some(why) = fault(output.status.success(), &output.stdout, &output.stderr) {
                print!("{}", String::from_utf8_lossy(&output.stdout));
                eprint!("{}", String::from_utf8_lossy(&output.stderr));
                row.result = Err(format!("{why}; ATROPOS_SEED={seed}, {}: {}", output.status, program.display()));
                return Ok(row);
            }
            if start.elapsed() >= time {
                return Ok(row);
            }
        }
    }
}

/// Returns the fault of a run, if any. A report is a fault, even if the program ended well, and so
/// is a run without any test.
fn fault(success: bool, stdout: &[u8], stderr: &[u8]) -> Option<String> {
    let (stdout, stderr) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
    let report = stderr.lines().find(|line| line.starts_with("SUMMARY: ") || line.contains("WARNING: ThreadSanitizer"));
    if let Some(line) = report {
        return Some(line.trim().to_owned());
    }
    if !success {
        return Some("a test failed".into());
    }
    let ran = stdout.lines().any(|line| line.starts_with("test result: ok. ") && !line.contains(" 0 passed"));
    (!ran).then(|| "no test was run".into())
}

/// Returns the path of the test program that a line of cargo's JSON names.
fn executable(line: &str) -> Option<PathBuf> {
    let (_, rest) = line.split_once("\"executable\":\"")?;
    // Cargo makes no path with a quote or a backslash in it.
    Some(PathBuf::from(rest.split('"').next()?))
}

fn is_test(path: &Path, test: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.rsplit_once('-').is_some_and(|(name, _)| name == test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_cargo_has_built() {
        let line = r#"{"reason":"compiler-artifact","executable":"/a/deps/stress-39b463","fresh":true}"#;
        let path = executable(line).expect("a path");
        assert!(is_test(&path, "stress") && !is_test(&path, "res"));
        assert_eq!(executable(r#"{"reason":"compiler-artifact","executable":null}"#), None);
    }

    #[test]
    fn a_report_is_a_fault_however_the_program_ended() {
        let ok = b"test result: ok. 3 passed; 0 failed";
        assert_eq!(fault(true, ok, b""), None);
        assert!(fault(true, ok, b"WARNING: ThreadSanitizer: data race (pid=1)").is_some());
        assert!(fault(true, ok, b"SUMMARY: AddressSanitizer: 8 byte(s) leaked").is_some());
        assert!(fault(false, ok, b"").is_some());
        assert!(fault(true, b"test result: ok. 0 passed; 0 failed", b"").is_some());
        assert!(fault(true, b"", b"").is_some());
    }

    #[test]
    fn nothing_of_the_project_is_suppressed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sanitizers");
        for file in ["tsan.supp", "tsan-seq-cst.supp"] {
            let text = std::fs::read_to_string(root.join(file)).expect("the file exists");
            let mut rules = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
            assert!(rules.peek().is_some());
            for rule in rules {
                let name = rule.strip_prefix("race:").expect("a race");
                let of_the_library = ["alloc::", "core::", "std::", "test::"].iter().any(|head| name.starts_with(head));
                assert!(of_the_library && !name.contains("atropos") && !name.ends_with("::*"), "{rule}");
            }
        }
    }
}
