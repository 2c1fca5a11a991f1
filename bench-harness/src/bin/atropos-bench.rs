//! The workloads by which this runtime and others are compared: one, all, or a page about them.

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

/// Runs one workload and prints its line of JSON; or `all` of them, as a table; or makes a `report`, a page with plots.
#[derive(Parser)]
#[command(name = "atropos-bench", after_help = names())]
struct Arguments {
    /// A workload, `all` or `report`; `list` prints their names and sizes.
    what: String,
    /// How much is done, for one workload.
    #[arg(long)]
    n: Option<u64>,
    /// Scheduler threads: 2 for one workload, otherwise 1 and 2.
    #[arg(long)]
    threads: Option<usize>,
    /// How many processes take part, where a workload lets one say.
    #[arg(long)]
    p: Option<u64>,
    /// How many other processes wait meanwhile, for one workload.
    #[arg(long, default_value_t = 0)]
    beside: u64,
    /// Adds the distribution of a workload's latencies to this file.
    #[arg(long, value_name = "FILE")]
    latencies: Option<PathBuf>,
    /// Says on standard error how much memory was resident at most.
    #[arg(long)]
    peak: bool,
    /// `all`, `report`: small sizes, in seconds; the figures mean little.
    #[arg(long)]
    quick: bool,
    /// `all`, `report`: times that each workload is run.
    #[arg(long, default_value_t = 1)]
    reps: u32,
    /// `all`, `report`: multiplies the sizes.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// `all`, `report`: only these workloads, with commas between them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// `all`, `report`: the folder in which results are kept.
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
    /// `report`: measures nothing, and draws what is in the folder.
    #[arg(long)]
    draw: bool,
}

fn names() -> String {
    ALL.iter().fold("Workloads:\n".to_owned(), |text, workload| {
        format!("{text}  {:<18} {} (n {})\n", workload.name, workload.what, workload.n)
    })
}

fn main() -> ExitCode {
    // What crashes a process of a workload makes its result wrong, whatever else it does.
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
            let folder = arguments.into.as_deref().context("where to? --into FOLDER")?;
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
