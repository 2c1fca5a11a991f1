//! Replays conformance cases and prints an observation for each.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use atropos_conformance::facilitated::Facilitated;
use atropos_conformance::threads::Threads;
use atropos_conformance::{Driver, replay, row};
use atropos_sim::Sim;
use clap::Parser;

#[derive(Clone, Copy, clap::ValueEnum)]
enum Through {
    Kernel,
    Facility,
}

/// Replays cases recorded from Erlang/OTP; `cases/check.py CASES OBSERVED` checks the output.
#[derive(Parser)]
struct Arguments {
    /// The cases, one JSON object per line.
    cases: PathBuf,
    /// The number of the runtime's cores.
    #[arg(long, default_value_t = 1)]
    cores: usize,
    /// Uses simulated cores that one thread steps, in virtual time.
    #[arg(long)]
    stepped: bool,
    /// The interface that the processes call: the kernel itself, or the facilities.
    #[arg(long, value_enum, default_value_t = Through::Kernel)]
    through: Through,
    /// The seed that decides the steps.
    #[arg(long, default_value_t = 1, requires = "stepped")]
    seed: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let through = arguments.through;
    if arguments.stepped {
        let world = Sim::new(arguments.cores, arguments.seed);
        match through {
            Through::Kernel => run(&arguments, &mut { world }),
            Through::Facility => run(&arguments, &mut Facilitated::simulated(world)),
        }
    } else {
        let world = Threads::new(arguments.cores)?;
        match through {
            Through::Kernel => run(&arguments, &mut { world }),
            Through::Facility => run(&arguments, &mut world.through_facilities()),
        }
    }
}

fn run(arguments: &Arguments, world: &mut impl Driver) -> Result<()> {
    let path = &arguments.cases;
    let file = File::open(path).with_context(|| format!("no cases in {}", path.display()))?;
    let progress = std::io::stderr().is_terminal();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let replayed = replay(world, &line).with_context(|| format!("{}:{}", path.display(), number + 1))?;
        if progress {
            eprint!("\r{:>5} {:<50}", number + 1, replayed.0);
        }
        let row = row(replayed);
        writeln!(out, "{row}")?;
    }
    if progress {
        eprintln!();
    }
    Ok(())
}
