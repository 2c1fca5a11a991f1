//! A driver's program: its arguments, and its line.

use std::future::Future;
use std::process::ExitCode;

use anyhow::Result;
use atropos_bench::workloads::{Ask, Outcome, Workload};
use clap::Parser;

use crate::common;
use crate::system::System;

/// Runs one workload on another system and prints its line of JSON.
#[derive(Parser)]
struct Arguments {
    workload: String,
    #[arg(long)]
    n: Option<u64>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long)]
    p: Option<u64>,
}

/// What a library has besides processes and messages.
pub trait Special: System {
    /// The library.
    const PEER: &'static str;
    /// Which.
    const VERSION: &'static str;

    /// A workload that needs more than processes and messages; `None` when the library has nothing for it, or this driver.
    fn special(&self, workload: &str, ask: &Ask) -> impl Future<Output = Option<Result<Outcome>>> + Send;
}

async fn one<S: Special>(system: S, workload: String, ask: Ask) -> Result<()> {
    let outcome = match common::run(&system, &workload, &ask).await {
        Some(outcome) => Some(outcome),
        None => system.special(&workload, &ask).await,
    };
    let line = match outcome {
        Some(outcome) => serde_json::to_string(&outcome?.line_of(S::PEER, S::VERSION, &workload, &ask))?,
        None => {
            let why = "this driver has nothing for it";
            serde_json::json!({ "peer": S::PEER, "workload": workload, "unsupported": why }).to_string()
        }
    };
    println!("{line}");
    Ok(())
}

/// Runs the driver; `make` makes the system for so many threads, and `run` has a future run by it to its end.
pub fn drive<S: Special>(
    make: impl FnOnce(usize) -> S,
    run: impl FnOnce(&S, std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>) -> Result<()>,
) -> ExitCode {
    // What crashes a process makes the result wrong, whatever the library does about it.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{}: {panic}", S::PEER);
        std::process::exit(1);
    }));
    let arguments = Arguments::parse();
    let n = arguments.n.or_else(|| Workload::of(&arguments.workload).map(|workload| workload.n)).unwrap_or(1);
    let ask = Ask { n, threads: arguments.threads, p: arguments.p, beside: 0 };
    let system = make(ask.threads);
    let future = one(system.clone(), arguments.workload, ask);
    let code = match run(&system, Box::pin(future)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{}: {error:#}", S::PEER);
            1
        }
    };
    // Not all of these systems can be taken down.
    std::process::exit(code)
}

/// A Tokio runtime of so many threads.
pub fn tokio_of(threads: usize) -> tokio::runtime::Runtime {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    built.unwrap_or_else(|error| panic!("no runtime: {error}"))
}
