//! The workloads that compare this runtime with others: one workload, all, or a page about them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use atropos_bench::measure::campaign::{Campaign, all_right};
use atropos_bench::measure::machine::Machine;
use atropos_bench::measure::page;
use atropos_bench::measure::run::PEAK;
use atropos_bench::measure::store::{Distribution, Store, append};
use atropos_bench::workloads::tools::peak;
use atropos_bench::workloads::{ALL, Ask, Workload};
use clap::Parser;

/// Runs one workload and prints its result as a line of JSON. Runs `all` of them and prints a
/// table. Or makes a `report`, a page with plots.
#[derive(Parser)]
#[command(name = "atropos-bench", after_help = names())]
struct Arguments {
    /// A workload, `all` or `report`; `list` prints the workloads' names and sizes.
    what: String,
    /// The number of operations, for one workload.
    #[arg(long)]
    n: Option<u64>,
    /// Scheduler threads: 2 for one workload, otherwise 1 and 2.
    #[arg(long)]
    threads: Option<usize>,
    /// The number of processes that take part, for workloads with a variable number.
    #[arg(long)]
    p: Option<u64>,
    /// The number of other processes that wait at the same time, for one workload.
    #[arg(long, default_value_t = 0)]
    beside: u64,
    /// Appends the distribution of a workload's latencies to this file.
    #[arg(long, value_name = "FILE")]
    latencies: Option<PathBuf>,
    /// Prints the maximum resident memory on standard error.
    #[arg(long)]
    peak: bool,
    /// `all`, `report`: small sizes that take seconds; the figures mean little.
    #[arg(long)]
    quick: bool,
    /// `all`, `report`: the number of runs of each workload.
    #[arg(long, default_value_t = 1)]
    reps: u32,
    /// `all`, `report`: a factor for the sizes.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// `all`, `report`: only these workloads, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// `all`, `report`: the folder for the results.
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
    /// `report`: measures nothing, and draws the results in the folder.
    #[arg(long)]
    draw: bool,
}

fn names() -> String {
    ALL.iter().fold("Workloads:\n".to_owned(), |text, workload| {
        format!("{text}  {:<18} {} (n {})\n", workload.name, workload.what, workload.n)
    })
}

fn main() -> ExitCode {
    // A crash of a workload's process makes the result invalid, so it ends the program.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("atropos-bench: {panic}");
        std::process::exit(1);
    }));
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("atropos-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let campaign = Campaign {
        quick: arguments.quick,
        threads: arguments.threads.map_or(vec![1, 2], |threads| vec![threads]),
        reps: arguments.reps.max(1),
        scale: arguments.scale,
        only: arguments.only.clone(),
    };
    match &*arguments.what {
        "list" => {
            ALL.iter().for_each(|workload| println!("{} {}", workload.name, workload.n));
            Ok(())
        }
        "all" => campaign.all(arguments.into.as_deref()),
        "report" => {
            let folder = arguments.into.as_deref().context("no folder given: use --into FOLDER")?;
            let store = Store::new(folder)?;
            let mut failed = Vec::new();
            if !arguments.draw {
                store.put_machine(&Machine::look())?;
                failed = campaign.for_page(&store)?;
            }
            page::draw(&store, &failed)?;
            all_right(&failed)
        }
        name => one(name, arguments),
    }
}

fn one(name: &str, arguments: &Arguments) -> Result<()> {
    let Some(workload) = Workload::of(name) else {
        println!("{}", serde_json::json!({ "peer": "atropos", "workload": name, "unsupported": "unknown workload" }));
        return Ok(());
    };
    let (n, threads) = (arguments.n.unwrap_or(workload.n), arguments.threads.unwrap_or(2));
    let ask = Ask { n, threads, p: arguments.p, beside: arguments.beside };
    let outcome = workload.run(&ask)?;
    if let (Some(file), Some(all)) = (&arguments.latencies, outcome.latencies()) {
        append(file, &Distribution::of(name, ask.threads, all))?;
    }
    if let Some(peak) = peak().filter(|_| arguments.peak) {
        eprintln!("{PEAK}{peak}");
    }
    println!("{}", serde_json::to_string(&outcome.line(name, &ask))?);
    Ok(())
}
