//! `cargo xtask`: how this workspace is checked, by people and by CI alike.
//!
//! [`steps`] runs and times the parts and says at the end what was done, failed and skipped;
//! [`need`] says what a machine lacks, or installs it; [`lint`] refuses in the kernel what has no place
//! there; [`models`] runs loom; [`cases`] replays the conformance cases; [`bare`] boots the image.

mod bare;
mod cases;
mod lint;
mod models;
mod need;
mod steps;

use anyhow::Result;
use clap::{Parser, Subcommand};

use steps::{Steps, cargo};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks the Atropos workspace", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything: format, lints, tests, conformance, no_std builds, models, the bare-metal image.
    #[command(visible_alias = "ci")]
    Test,
    /// The conformance cases on 1 and 2 cores, and stepped under many seeds.
    Conformance,
    /// The loom models; FILTER picks those whose names contain it.
    Loom {
        /// A part of a test's name.
        filter: Option<String>,
    },
    /// Builds the bare-metal image, runs it under QEMU and checks what it prints.
    Bare,
    /// Refuses std, locks, statics, thread-locals and unchecked atomics in the kernel.
    Lint,
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let command = Arguments::parse().command;
    std::env::set_current_dir(steps::root()?)?;
    let mut steps = Steps::new();
    let needs: &[need::Need] = match command {
        Command::Test => &[need::REDIS, need::PYTHON, need::BARE],
        Command::Conformance => &[need::PYTHON],
        Command::Bare => &[need::BARE],
        Command::Loom { .. } | Command::Lint => &[],
    };
    if !needs.is_empty() {
        steps.run("preflight", || {
            need::install(needs);
            Ok(())
        });
    }
    match command {
        Command::Test => {
            steps.run("format", || cargo(&["fmt", "--all", "--check"]));
            steps.run("source rules", lint::check);
            steps.run("clippy", || {
                cargo(&[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--all-features",
                    "--exclude",
                    "atropos-loom",
                    "--",
                    "-D",
                    "warnings",
                ])
            });
            steps.run("clippy, one hart", || {
                cargo(&[
                    "clippy",
                    "-p",
                    "atropos-kernel",
                    "--no-default-features",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ])
            });
            steps.run("no_std", no_std);
            // One test needs them, and says loudly when it skips; the others need not wait for them.
            steps.need_and_run("redis clients", need::REDIS, || Ok(()));
            // Optimised: the stress tests are real sizes, and one build serves tests and runner.
            steps.run("tests", || {
                let arguments = ["test", "--workspace", "--release", "--exclude", "atropos-loom"];
                println!("$ cargo {}", arguments.join(" "));
                steps::run(steps::bounded("cargo", 15).args(arguments))
            });
            steps.need_and_run("conformance", need::PYTHON, cases::check);
            steps.run("loom", || models::check(None));
            steps.need_and_run("bare metal", need::BARE, bare::check);
        }
        Command::Conformance => steps.need_and_run("conformance", need::PYTHON, cases::check),
        Command::Loom { filter } => steps.run("loom", || models::check(filter.as_deref())),
        Command::Bare => steps.need_and_run("bare metal", need::BARE, bare::check),
        Command::Lint => steps.run("source rules", lint::check),
    }
    steps.finish()
}

/// The kernel builds with no std in its tree, with and without epochs, and so does what stands on it.
fn no_std() -> Result<()> {
    cargo(&["build", "-p", "atropos-kernel", "--no-default-features"])?;
    cargo(&["build", "-p", "atropos-otp", "--no-default-features"])?;
    // The kernel of one hart; it shows exactly what the exit path allocates.
    cargo(&["test", "--release", "-p", "atropos-kernel", "--no-default-features"])?;
    cargo(&["build", "-p", "atropos-kernel"])?;
    let tree = steps::output("cargo", &["tree", "-p", "atropos-otp", "-e", "normal,features", "--prefix", "none"])?;
    let std_features: Vec<&str> = tree.lines().filter(|line| line.contains("feature \"std\"")).collect();
    anyhow::ensure!(std_features.is_empty(), "the tree asks for std:\n{}", std_features.join("\n"));
    Ok(())
}
