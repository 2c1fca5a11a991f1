//! The steps of a check: each is announced, timed, and listed at the end.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::need::Need;

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// The steps that have run so far.
pub(crate) struct Steps {
    done: Vec<(&'static str, Duration, Outcome)>,
}

/// Returns `true` in CI, where nothing may be skipped.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1")
}

/// Returns the workspace's root.
pub(crate) fn root() -> Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("tools lies in the workspace")?.to_owned())
}

/// Runs a command with this program's input and output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{} did not start", command.get_program().display()))?;
    ensure!(status.success(), "{} ended with {status}", command.get_program().display());
    Ok(())
}

/// Runs cargo.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    println!("$ cargo {}", arguments.join(" "));
    run(Command::new("cargo").args(arguments))
}

/// Returns the folder of cargo's build outputs.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(std::env::var_os("CARGO_TARGET_DIR").map_or(root()?.join("target"), PathBuf::from))
}

/// Builds a measuring program of the workspace, optimised like the programs that it is compared
/// with. Returns its path.
pub(crate) fn built(package: &str, program: &str) -> Result<PathBuf> {
    cargo(&["build", "--profile", "bench", "--quiet", "-p", package, "--bin", program])?;
    // Cargo puts the outputs of the profile `bench` there.
    Ok(target()?.join("release").join(program))
}

/// Returns a command that must not hang. In CI it is ended after `minutes` minutes, with all its
/// children, and that is a failure. A developer has Ctrl-C, which would not pass through `timeout`.
pub(crate) fn bounded(program: impl AsRef<OsStr>, minutes: u32) -> Command {
    if !is_ci() {
        return Command::new(program);
    }
    let mut command = Command::new("timeout");
    command.args(["--kill-after=30s", &format!("{minutes}m")]).arg(program);
    command
}

/// Returns the output of a command.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("{program} did not start"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { done: Vec::new() }
    }

    /// Runs a step; its failure does not keep later steps from running.
    pub(crate) fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = match step() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                println!("{name} FAILED: {error:#}");
                Outcome::Failed(format!("{error:#}"))
            }
        };
        self.done.push((name, start.elapsed(), outcome));
    }

    /// Runs a step that needs something from the machine. Without it the step is skipped and
    /// reported as skipped; in CI this is a failure.
    pub(crate) fn need_and_run(&mut self, name: &'static str, need: Need, step: impl FnOnce() -> Result<()>) {
        self.prepare_and_run(name, || need.meet(), step);
    }

    /// Runs a step after `prepare` has installed what it needs. If that fails the step is skipped
    /// and reported as skipped; in CI this is a failure.
    pub(crate) fn prepare_and_run(
        &mut self,
        name: &'static str,
        prepare: impl FnOnce() -> Result<()>,
        step: impl FnOnce() -> Result<()>,
    ) {
        match prepare() {
            Ok(()) => self.run(name, step),
            Err(error) if is_ci() => self.run(name, || Err(error)),
            Err(error) => {
                println!("\n== {name}: SKIPPED: {error:#}");
                self.done.push((name, Duration::ZERO, Outcome::Skipped(format!("{error:#}"))));
            }
        }
    }

    /// Runs a step that prepares something from a network. If it fails, the step is reported as
    /// skipped, also in CI: a third party provides what it prepares.
    pub(crate) fn need_and_try(&mut self, name: &'static str, need: Need, step: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        let outcome = match need.meet().and_then(|()| step()) {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                println!("\n== {name}: SKIPPED: {error:#}");
                Outcome::Skipped(format!("{error:#}"))
            }
        };
        self.done.push((name, start.elapsed(), outcome));
    }

    /// Prints the list of steps, and fails if a step failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!();
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for (name, took, outcome) in &self.done {
            let seconds = took.as_secs_f64();
            match outcome {
                Outcome::Passed => {
                    passed += 1;
                    println!("  ok       {name:<16} {seconds:>7.1} s");
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    println!("  FAILED   {name:<16} {seconds:>7.1} s  {why}");
                }
                Outcome::Skipped(why) => {
                    skipped += 1;
                    println!("  SKIPPED  {name:<16} {why}");
                }
            }
        }
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            bail!("{failed} steps failed");
        }
        Ok(())
    }
}
