//! A bytecode interpreter on Atropos: its processes are bodies that count reductions and call the
//! facilities, side by side with async processes.
//!
//!     # Starts 10,000 processes, half of them busy loops, and kills them:
//!     cargo run --release --example interpreter
//!     # Runs a program of your own, from its label main:
//!     cargo run --release --example interpreter -- --program FILE
//!
//! The instructions are in `machine/program.rs`, the syntax in `machine/assembler.rs`.

mod machine;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use atropos::facility::OutputError;
use atropos::kernel::Tombstone;
use atropos::{Reason, Runtime};
use clap::Parser;
use machine::assembler::assemble;
use machine::services::Services;
use machine::storm::{self, quantile};

/// A bytecode interpreter on Atropos.
#[derive(Parser)]
struct Arguments {
    /// The program to run, instead of the demonstration.
    #[arg(long)]
    program: Option<PathBuf>,
    /// The number of bytecode processes in the demonstration.
    #[arg(long, default_value_t = 10_000)]
    processes: usize,
    /// The number of instructions before the next process runs.
    #[arg(long, default_value_t = 500)]
    quantum: u32,
    /// The number of cores; by default one for each CPU.
    #[arg(long)]
    cores: Option<usize>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(arguments.quantum > 0, "--quantum 0: no process would ever run");
    let cores = arguments.cores.map_or_else(|| std::thread::available_parallelism().map(usize::from), Ok)?;
    match &arguments.program {
        Some(path) => run(path.clone(), cores, arguments.quantum),
        None => demonstrate(cores, arguments.processes, arguments.quantum),
    }
}

fn demonstrate(cores: usize, processes: usize, quantum: u32) -> Result<()> {
    let figures = storm::run(cores, processes, quantum, Duration::from_secs(2))?;
    println!(
        "{} bytecode processes on {cores} cores, half of them busy loops of {quantum} instructions a turn",
        processes
    );
    println!("all killed in {:?}; {} DOWNs say killed", figures.killed_in, figures.downs);
    for (what, answers) in ["while they ran", "while they were killed"].iter().zip(&figures.answers) {
        let [half, most, worst] = [500, 990, 1000].map(|part| quantile(answers, part));
        println!("async answers {what}: {} of them, p50 {half:?}, p99 {most:?}, worst {worst:?}", answers.len());
    }
    if let Some(waited) = figures.waited {
        println!("the times include {waited:?} for which the threads waited for a CPU that other programs used");
    }
    Ok(())
}

fn run(path: PathBuf, cores: usize, quantum: u32) -> Result<()> {
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let program = assemble(&text).with_context(|| format!("{} is not a valid program", path.display()))?;
    let runtime = Runtime::builder().cores(cores).build()?;
    let print = |_: u64, bytes: &[u8]| {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.write_all(b"\n")).map_err(|_| OutputError)
    };
    let services: Arc<Services> = Services::new(runtime.handle(), program, quantum, print);
    let main =
        services.start("main", Vec::new()).context("the program has no label main: put \"main:\" on a line")??;
    let reason = loop {
        if let Tombstone::Known(reason) = runtime.tombstone(main) {
            break reason;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    runtime.shutdown(Duration::from_secs(1))?;
    anyhow::ensure!(reason == Reason::NORMAL, "the program exited: {reason}");
    Ok(())
}
