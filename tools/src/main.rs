//! `cargo xtask`: the checks of this workspace, for developers and for CI.
//!
//! [`steps`] runs and times the parts, and reports at the end what passed, failed and was skipped.
//! [`need`] reports what a machine lacks, or installs it. [`lint`] refuses code in the kernel that
//! the rules forbid, [`prose`] refuses unclear comments, [`references`] names of code that does not
//! exist, [`promises`] checks that each promise and fault has its test, and [`layers`] refuses
//! imports that lead upwards. [`models`] runs loom; [`shuttle`] runs the webs; [`cases`] replays
//! the conformance cases. [`model`] runs random programs on the kernel and on the model of OTP's
//! rules, [`chaos`] plays random programs on whole runtimes, and [`fuzz`] lets libFuzzer make them.
//! [`dist`] has Erlang drive `atropos-node`. [`sanitize`] runs the stress tests under the
//! sanitizers; [`bare`] boots the image; [`bench`](mod@bench) runs the workloads, also next to
//! other systems, and [`instructions`] counts the instructions of single operations. [`book`]
//! builds the book, and [`versions`] checks the oldest compiler and dependencies. [`report`] is the
//! table of a part's results.

mod bare;
mod bench;
mod book;
mod cases;
mod chaos;
mod comments;
mod dist;
mod fuzz;
mod instructions;
mod layers;
mod lint;
mod model;
mod models;
mod need;
mod promises;
mod prose;
mod references;
mod report;
mod sanitize;
mod shuttle;
mod steps;
mod versions;

use anyhow::Result;
use clap::{Parser, Subcommand};

use steps::{Steps, cargo};

/// Schedules of each kind when everything is checked: enough for faults that are easy to find.
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
    /// Everything: format, lints, tests, conformance, no_std builds, models, the bare-metal image,
    /// instruction counts.
    #[command(visible_alias = "ci")]
    Test,
    /// The conformance cases on 1 and 2 cores, and stepped under many seeds.
    Conformance,
    /// The loom models and their mutants.
    Loom {
        /// Runs only these: a file of `loom-tests/tests`, FILE::TEST, or a part of a test's name.
        name: Option<String>,
        /// Runs only the models, and prints the execution of one that fails, with values and
        /// locations.
        #[arg(long, requires = "name")]
        trace: bool,
        /// With `--trace`: runs only mutants, those whose printed names contain TEXT, and prints
        /// the execution that catches each.
        #[arg(long, requires = "trace", value_name = "TEXT", num_args = 0..=1, default_missing_value = "")]
        mutant: Option<String>,
    },
    /// Whole-kernel programs under shuttle's random and PCT schedules; FILTER picks those whose
    /// names contain it.
    Shuttle {
        /// Schedules of each kind for each program (20,000).
        #[arg(long, value_name = "N")]
        schedules: Option<u64>,
        /// Seed of the schedules: the same number gives the same schedules.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Replays a failure's schedule, given as text or as a file; FILTER is then the program's
        /// name.
        #[arg(long, value_name = "SCHEDULE", requires = "filter")]
        replay: Option<String>,
        /// A part of a test's name.
        filter: Option<String>,
    },
    /// Random programs on the kernel and on a sequential model of OTP's rules, which must agree.
    Model {
        /// Number of programs.
        #[arg(long, default_value_t = 20_000)]
        cases: u64,
    },
    /// Random programs on whole runtimes, by a seed; in the end the accounts must balance.
    Chaos {
        /// Duration in seconds.
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// Seed of the first round; each round's seed is one more.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Cores of each runtime; by default 1, 2 or 4, by the seed.
        #[arg(long)]
        cores: Option<usize>,
        /// Classes of actions to switch on and off: `usual,-timers,+retry`.
        #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
        actions: Vec<String>,
        /// Plays every round with the same seed.
        #[arg(long)]
        same: bool,
        /// Lists the classes.
        #[arg(long)]
        list: bool,
    },
    /// The acceptance suite of `atropos-node`, which is driven by real Erlang nodes.
    Dist {
        /// Runs the cases whose names match this regular expression, of all groups.
        #[arg(long, value_name = "REGEX")]
        filter: Option<String>,
        /// Keeps the files of the run, and the output of the nodes as `nodes.log`.
        #[arg(long)]
        keep: bool,
    },
    /// The fuzz targets: the kernel's states compared with the model, the RESP parser, and the
    /// terms, frames and handshakes of the distribution. Needs a nightly toolchain.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Runs only this target.
        target: Option<String>,
    },
    /// The stress tests and `chaos` under AddressSanitizer, with leaks, and the stress tests under
    /// ThreadSanitizer. Needs a nightly toolchain.
    Sanitize {
        /// Least time in seconds for which each sanitizer runs the stress test, with new seeds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Builds the bare-metal image, runs it under QEMU and checks its output.
    Bare,
    /// The workloads; with `--peers`, next to those of other systems.
    Bench {
        /// Uses small sizes: everything runs, but the figures mean little.
        #[arg(long)]
        quick: bool,
        /// Builds and runs the drivers of `peers` as well.
        #[arg(long)]
        peers: bool,
        /// Number of scheduler threads, with `--peers`.
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Number of runs of each workload; the table has the medians.
        #[arg(long, default_value_t = 3)]
        reps: u32,
        /// Multiplies the sizes.
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
        /// Runs only these workloads, separated by commas.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// Writes all lines to a file, with `--peers`.
        #[arg(long, value_name = "FILE")]
        raw: Option<std::path::PathBuf>,
    },
    /// Instructions of single operations, counted by valgrind, next to those in
    /// `docs/instructions.json`. Only a report.
    Instructions {
        /// Saves the numbers in the file.
        #[arg(long)]
        save: bool,
    },
    /// Refuses std, locks, statics, thread-locals and unchecked atomics in the kernel, and promises
    /// and faults without a test. Refuses unclear prose, and references to code that does not
    /// exist, in comments and Markdown.
    Lint,
    /// Prints which folder imports which, and refuses imports that lead upwards.
    Layers,
    /// Builds the book, without a warning.
    Book,
    /// The libraries with the oldest compiler, and with the oldest dependencies, that they promise.
    Versions,
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
        Command::Test => &[need::REDIS, need::PYTHON, need::BARE, need::VALGRIND, need::ERLANG],
        Command::Dist { .. } => &[need::ERLANG],
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
        | Command::Lint
        | Command::Layers
        | Command::Book
        | Command::Versions => &[],
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
            lint_sources(&mut steps);
            steps.run("layers", layers::check);
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
            steps.run("features", lint_features);
            steps.run("documentation", document);
            build_book(&mut steps);
            check_versions(&mut steps);
            steps.run("no_std", no_std);
            // One test needs the clients, and prints a notice when it skips; the other tests do not
            // depend on them.
            steps.need_and_run("redis clients", need::REDIS, || Ok(()));
            // The same for the libraries: where they cannot be installed (no network, no pip), two
            // tests skip, and this step reports why.
            let mut libraries = None;
            steps.need_and_try("redis libraries", need::LIBRARIES, || {
                libraries = Some(need::client_libraries()?);
                Ok(())
            });
            // Optimised: the stress tests have realistic sizes, and one build serves tests and
            // runner.
            steps.run("tests", || {
                // A failure in one file keeps no other file from running.
                let arguments = [
                    "test",
                    "--workspace",
                    "--release",
                    "--no-fail-fast",
                    "--exclude",
                    "atropos-loom",
                    "--exclude",
                    "atropos-shuttle",
                    "--exclude",
                    "atropos-otp",
                ];
                println!("$ cargo {}", arguments.join(" "));
                let mut tests = steps::bounded("cargo", 30);
                if let Some(libraries) = &libraries {
                    tests.env("ATROPOS_REDIS_CLIENTS", libraries);
                }
                steps::run(tests.args(arguments))
            });
            // These tests have many types of servers and small sizes: optimising them takes six
            // times as long as compiling them. And so the assertions of debug builds run as well.
            steps.run("tests of otp", || {
                let arguments = ["test", "-p", "atropos-otp", "--no-fail-fast"];
                println!("$ cargo {}", arguments.join(" "));
                steps::run(steps::bounded("cargo", 30).args(arguments))
            });
            steps.need_and_run("conformance", need::PYTHON, cases::check);
            steps.run("model", || model::check(SOME_PROGRAMS));
            steps.run("chaos", || chaos::check(&chaos::some()));
            steps.run("loom", || models::check(&models::Asked::default()));
            let some = shuttle::Asked { schedules: Some(SOME_SCHEDULES), ..shuttle::Asked::default() };
            steps.run("shuttle", || shuttle::check(&some));
            steps.need_and_run("distribution", need::ERLANG, || dist::check(None, false));
            steps.need_and_run("bare metal", need::BARE, bare::check);
            // Only a report: no number is a failure.
            steps.need_and_run("instructions", need::VALGRIND, || instructions::check(false));
        }
        Command::Conformance => steps.need_and_run("conformance", need::PYTHON, cases::check),
        Command::Loom { name, trace, mutant } => {
            let asked = models::Asked { name, trace, mutant };
            steps.run("loom", || models::check(&asked));
        }
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
        Command::Dist { filter, keep } => {
            steps.need_and_run("distribution", need::ERLANG, || dist::check(filter.as_deref(), keep));
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
        Command::Lint => lint_sources(&mut steps),
        Command::Layers => steps.run("layers", layers::check),
        Command::Book => build_book(&mut steps),
        Command::Versions => check_versions(&mut steps),
    }
    steps.finish()
}

/// Checks what the sources say, without compiling them.
fn lint_sources(steps: &mut Steps) {
    steps.run("source rules", lint::check);
    steps.run("prose", prose::check);
    steps.run("references", references::check);
    steps.run("promises", promises::check);
}

fn build_book(steps: &mut Steps) {
    steps.prepare_and_run("book", book::install, book::check);
}

/// Checks the oldest versions that the libraries promise.
fn check_versions(steps: &mut Steps) {
    steps.prepare_and_run("oldest compiler", versions::install_oldest, versions::check_compiler);
    steps.run("oldest crates", versions::check_dependencies);
}

/// Lints the code that only the models' configurations compile.
fn lint_models() -> Result<()> {
    let clippy = |model: &str, flags: &str, folder: &str, more: &[&str]| {
        let mut clippy = steps::bounded("cargo", 10);
        clippy.args(["clippy", "--package", model, "--package", "atropos-sim", "--all-targets"]);
        clippy.args(more).args(["--", "-D", "warnings"]);
        steps::run(clippy.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", folder))
    };
    // One command for both packages: crossbeam has loom only by the feature of `atropos-loom`.
    let loom = ["--features", "atropos-loom/epoch-loom", "--profile", "loom"];
    clippy("atropos-loom", "--cfg loom --cfg crossbeam_loom", "target/loom", &loom)?;
    clippy("atropos-shuttle", "--cfg shuttle", "target/shuttle", &["--profile", "shuttle"])
}

/// Lints the libraries with each of their features alone. The workspace as a whole is built with
/// all of them, which would hide an import that one feature needs and another has.
fn lint_features() -> Result<()> {
    let combinations: [(&str, &[&str]); 5] = [
        ("atropos-kernel", &["", "epoch"]),
        ("atropos-otp", &["", "epoch"]),
        ("atropos-sim", &["", "epoch"]),
        ("atropos-dist", &["", "relay", "node"]),
        ("atropos", &["", "tokio", "tracing", "tokio,tracing"]),
    ];
    for (package, sets) in combinations {
        for features in sets {
            let of_package = ["clippy", "--quiet", "--lib", "-p", package, "--no-default-features"];
            cargo(&[&of_package[..], &["--features", features, "--", "-D", "warnings"]].concat())?;
        }
    }
    Ok(())
}

/// Builds the documentation, in which no link may be broken.
fn document() -> Result<()> {
    // The crates of the models are empty in this build.
    let models = ["--exclude", "atropos-loom", "--exclude", "atropos-shuttle"];
    let arguments = [&["doc", "--workspace", "--no-deps", "--all-features", "--keep-going"], &models[..]].concat();
    println!("$ RUSTDOCFLAGS=\"-D warnings\" cargo {}", arguments.join(" "));
    steps::run(std::process::Command::new("cargo").args(arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Checks that the kernel, with and without epochs, and the crates on top of it build with no std
/// in their trees.
fn no_std() -> Result<()> {
    cargo(&["build", "-p", "atropos-kernel", "--no-default-features"])?;
    cargo(&["build", "-p", "atropos-otp", "--no-default-features"])?;
    // The kernel of one hart, which shows exactly what the exit path allocates.
    cargo(&["test", "--release", "-p", "atropos-kernel", "--no-default-features", "--", "--skip", "scenarios::"])?;
    // Prints how many allocation points each scenario has.
    let sweep = ["--test", "failing_memory", "--", "--nocapture"];
    cargo(&[&["test", "--release", "-q", "-p", "atropos-kernel", "--no-default-features"], &sweep[..]].concat())?;
    cargo(&["build", "-p", "atropos-kernel"])?;
    cargo(&["build", "-p", "atropos-facility"])?;
    cargo(&["build", "-p", "atropos-dist"])?;
    for package in ["atropos-kernel", "atropos-otp", "atropos-facility", "atropos-dist"] {
        let tree = steps::output("cargo", &["tree", "-p", package, "-e", "normal,features", "--prefix", "none"])?;
        let std_features: Vec<&str> = tree.lines().filter(|line| line.contains("feature \"std\"")).collect();
        anyhow::ensure!(std_features.is_empty(), "{package}'s tree uses std:\n{}", std_features.join("\n"));
    }
    Ok(())
}
