//! `cargo xtask`: how this workspace is checked, by people and by CI alike.
//!
//! [`steps`] runs and times the parts and says at the end what was done, failed and skipped;
//! [`need`] says what a machine lacks, or installs it; [`lint`] refuses in the kernel what has no place
//! there, and [`promises`] sees that each promise and fault has its test; [`models`] runs loom; [`shuttle`] runs the webs; [`cases`] replays the conformance cases; [`model`] runs
//! random programs beside the model of OTP's rules, [`chaos`] plays random programs on whole runtimes, [`fuzz`] lets libFuzzer make them; [`sanitize`] runs the stress
//! tests under the sanitizers; [`bare`] boots the image; [`bench`] runs the workloads, also beside other systems, and
//! [`instructions`] counts what single operations take. [`report`] is the table of what a part has run.

mod bare;
mod bench;
mod cases;
mod chaos;
mod fuzz;
mod instructions;
mod lint;
mod model;
mod models;
mod need;
mod promises;
mod report;
mod sanitize;
mod shuttle;
mod steps;

use anyhow::Result;
use clap::{Parser, Subcommand};

use steps::{Steps, cargo};

/// Schedules of each kind when everything is checked: enough to find what is easily found.
const SOME_SCHEDULES: u64 = 2_000;

/// Random programs in `cargo xtask test`.
const SOME_PROGRAMS: u64 = 20_000;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks the Atropos workspace", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything: format, lints, tests, conformance, no_std builds, models, the bare-metal image, instruction counts.
    #[command(visible_alias = "ci")]
    Test,
    /// The conformance cases on 1 and 2 cores, and stepped under many seeds.
    Conformance,
    /// The loom models; FILTER picks those whose names contain it.
    Loom {
        /// A part of a test's name.
        filter: Option<String>,
    },
    /// Whole-kernel programs under shuttle's random and PCT schedules; FILTER picks those whose names contain it.
    Shuttle {
        /// Schedules of each kind for each program (20,000).
        #[arg(long, value_name = "N")]
        schedules: Option<u64>,
        /// Decides the schedules: the same number, the same schedules.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Replays the schedule of a failure, or the file it is in; FILTER is then the program's name.
        #[arg(long, value_name = "SCHEDULE", requires = "filter")]
        replay: Option<String>,
        /// A part of a test's name.
        filter: Option<String>,
    },
    /// Random programs on the kernel and on a sequential model of OTP's rules, which must agree.
    Model {
        /// Programs.
        #[arg(long, default_value_t = 20_000)]
        cases: u64,
    },
    /// Everything at once on whole runtimes, by a seed; in the end the accounts must balance.
    Chaos {
        /// Rounds go on for so long.
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// The seed of the first round; each round's is one more.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The cores of each runtime; 1, 2 or 4 by the seed if none is said.
        #[arg(long)]
        cores: Option<usize>,
        /// Classes of actions to switch on and off: `usual,-timers,+retry`.
        #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
        actions: Vec<String>,
        /// Plays every round with the same seed.
        #[arg(long)]
        same: bool,
        /// Names the classes.
        #[arg(long)]
        list: bool,
    },
    /// The fuzz targets: the kernel's states beside the model, and the RESP parser. With a nightly toolchain.
    Fuzz {
        /// For each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only this one.
        target: Option<String>,
    },
    /// The stress tests and `chaos` under AddressSanitizer, with leaks, and the former under ThreadSanitizer. With a nightly toolchain.
    Sanitize {
        /// The least time for which each sanitizer looks at the stress test, with new seeds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Builds the bare-metal image, runs it under QEMU and checks what it prints.
    Bare,
    /// The workloads; with `--peers`, beside those of other systems.
    Bench {
        /// Small sizes: everything is run, and the figures mean little.
        #[arg(long)]
        quick: bool,
        /// Builds and runs the drivers of `peers` as well.
        #[arg(long)]
        peers: bool,
        /// Scheduler threads, beside others.
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Times that each is run; medians count.
        #[arg(long, default_value_t = 3)]
        reps: u32,
        /// Multiplies the sizes.
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
        /// Only these workloads, with commas between them.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// Writes all lines to a file, beside others.
        #[arg(long, value_name = "FILE")]
        raw: Option<std::path::PathBuf>,
    },
    /// How many instructions single operations take, by valgrind, beside those in `docs/instructions.json`. A report.
    Instructions {
        /// Puts the numbers into the file.
        #[arg(long)]
        save: bool,
    },
    /// Refuses std, locks, statics, thread-locals and unchecked atomics in the kernel, and promises and faults without a test.
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
        Command::Test => &[need::REDIS, need::PYTHON, need::BARE, need::VALGRIND],
        Command::Conformance => &[need::PYTHON],
        Command::Bare => &[need::BARE],
        Command::Instructions { .. } => &[need::VALGRIND],
        Command::Loom { .. }
        | Command::Shuttle { .. }
        | Command::Model { .. }
        | Command::Chaos { .. }
        | Command::Fuzz { .. }
        | Command::Sanitize { .. }
        | Command::Bench { .. }
        | Command::Lint => &[],
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
            steps.run("promises", promises::check);
            steps.run("clippy", || {
                cargo(&[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--all-features",
                    "--exclude",
                    "atropos-loom",
                    "--exclude",
                    "atropos-shuttle",
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
            steps.run("clippy, models", lint_models);
            steps.run("no_std", no_std);
            // One test needs them, and says loudly when it skips; the others need not wait for them.
            steps.need_and_run("redis clients", need::REDIS, || Ok(()));
            // Likewise: where they can't be installed (no network, no pip), two tests skip, and this step says why.
            let mut libraries = None;
            steps.need_and_try("redis libraries", need::LIBRARIES, || {
                libraries = Some(need::client_libraries()?);
                Ok(())
            });
            // Optimised: the stress tests are real sizes, and one build serves tests and runner.
            steps.run("tests", || {
                let arguments =
                    ["test", "--workspace", "--release", "--exclude", "atropos-loom", "--exclude", "atropos-shuttle"];
                println!("$ cargo {}", arguments.join(" "));
                let mut tests = steps::bounded("cargo", 30);
                if let Some(libraries) = &libraries {
                    tests.env("ATROPOS_REDIS_CLIENTS", libraries);
                }
                steps::run(tests.args(arguments))
            });
            steps.need_and_run("conformance", need::PYTHON, cases::check);
            steps.run("model", || model::check(SOME_PROGRAMS));
            steps.run("chaos", || chaos::check(&chaos::some()));
            steps.run("loom", || models::check(None));
            let some = shuttle::Asked { schedules: Some(SOME_SCHEDULES), ..shuttle::Asked::default() };
            steps.run("shuttle", || shuttle::check(&some));
            steps.need_and_run("bare metal", need::BARE, bare::check);
            // A report: no number is a failure.
            steps.need_and_run("instructions", need::VALGRIND, || instructions::check(false));
        }
        Command::Conformance => steps.need_and_run("conformance", need::PYTHON, cases::check),
        Command::Loom { filter } => steps.run("loom", || models::check(filter.as_deref())),
        Command::Shuttle { schedules, seed, replay, filter } => {
            let asked = shuttle::Asked { schedules, seed, filter, replay };
            steps.run("shuttle", || shuttle::check(&asked));
        }
        Command::Bare => steps.need_and_run("bare metal", need::BARE, bare::check),
        Command::Model { cases } => steps.run("model", || model::check(cases)),
        Command::Chaos { seconds, seed, cores, actions, same, list } => {
            let asked = chaos::Asked { seconds, seed, cores, actions, same, list };
            steps.run("chaos", || chaos::check(&[asked]));
        }
        Command::Fuzz { seconds, target } => steps.run("fuzz", || fuzz::check(seconds, target.as_deref())),
        Command::Sanitize { seconds } => steps.run("sanitize", || sanitize::check(seconds)),
        Command::Bench { quick, peers, threads, reps, scale, only, raw } => {
            let asked = bench::Asked { quick, peers, threads, reps, scale, only, raw };
            steps.run("bench", || bench::check(&asked));
        }
        Command::Instructions { save } => {
            steps.need_and_run("instructions", need::VALGRIND, || instructions::check(save));
        }
        Command::Lint => {
            steps.run("source rules", lint::check);
            steps.run("promises", promises::check);
        }
    }
    steps.finish()
}

/// What only the models' configurations compile.
fn lint_models() -> Result<()> {
    let clippy = |package: &str, flags: &str, folder: &str, more: &[&str]| {
        let mut clippy = steps::bounded("cargo", 10);
        clippy.args(["clippy", "--package", package, "--all-targets"]).args(more).args(["--", "-D", "warnings"]);
        steps::run(clippy.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", folder))
    };
    let loom = ["--features", "epoch-loom", "--profile", "loom"];
    clippy("atropos-loom", "--cfg loom --cfg crossbeam_loom", "target/loom", &loom)?;
    clippy("atropos-shuttle", "--cfg shuttle", "target/shuttle", &["--profile", "shuttle"])
}

/// The kernel builds with no std in its tree, with and without epochs, and so does what stands on it.
fn no_std() -> Result<()> {
    cargo(&["build", "-p", "atropos-kernel", "--no-default-features"])?;
    cargo(&["build", "-p", "atropos-otp", "--no-default-features"])?;
    // The kernel of one hart; it shows exactly what the exit path allocates.
    cargo(&["test", "--release", "-p", "atropos-kernel", "--no-default-features", "--", "--skip", "scenarios::"])?;
    // How many points each scenario has, said aloud.
    let sweep = ["--test", "failing_memory", "--", "--nocapture"];
    cargo(&[&["test", "--release", "-q", "-p", "atropos-kernel", "--no-default-features"], &sweep[..]].concat())?;
    cargo(&["build", "-p", "atropos-kernel"])?;
    cargo(&["build", "-p", "atropos-facility"])?;
    cargo(&["build", "-p", "atropos-dist"])?;
    for package in ["atropos-kernel", "atropos-otp", "atropos-facility", "atropos-dist"] {
        let tree = steps::output("cargo", &["tree", "-p", package, "-e", "normal,features", "--prefix", "none"])?;
        let std_features: Vec<&str> = tree.lines().filter(|line| line.contains("feature \"std\"")).collect();
        anyhow::ensure!(std_features.is_empty(), "{package}'s tree asks for std:\n{}", std_features.join("\n"));
    }
    Ok(())
}
