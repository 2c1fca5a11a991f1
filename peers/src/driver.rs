//! The main program of a driver: its arguments, and its line of output.

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

/// The features of a library beyond processes and messages.
pub trait Special: System {
    /// The name of the library.
    const PEER: &'static str;
    /// The version of the library.
    const VERSION: &'static str;

    /// Runs a workload that needs more than processes and messages; `None` if the library or this
    /// driver does not support it.
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

/// Runs the driver. `make` makes the system for a number of threads, and `run` drives a future to
/// completion on it.
pub fn drive<S: Special>(
    make: impl FnOnce(usize) -> S,
    run: impl FnOnce(&S, std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>) -> Result<()>,
) -> ExitCode {
    // A panic in a process makes the result wrong, however the library handles it.
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
    // Some of these systems cannot be shut down.
    std::process::exit(code)
}

/// Returns a Tokio runtime with this many worker threads.
pub fn tokio_of(threads: usize) -> tokio::runtime::Runtime {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    built.unwrap_or_else(|error| panic!("no runtime: {error}"))
}
