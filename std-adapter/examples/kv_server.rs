//! A key-value server that speaks the Redis protocol: one process for each connection, the data in sharded processes,
//! so that what crashes hurts nobody else.
//!
//!     cargo run --release --example kv_server
//!     redis-cli -p 6380 set greeting hello
//!     redis-cli -p 6380 shard crash 0        # and see the log

mod kv;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use atropos::Runtime;
use clap::Parser;

/// A key-value server that speaks the Redis protocol.
#[derive(Parser)]
struct Arguments {
    /// The port to listen on, on the loopback address.
    #[arg(long, default_value_t = 6380)]
    port: u16,
    /// Processes that the data is divided between.
    #[arg(long, default_value_t = 4)]
    shards: usize,
    /// Cores of the runtime; all by default.
    #[arg(long)]
    cores: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(arguments.shards > 0, "--shards 0: at least one has to hold the data");
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut builder = Runtime::builder().tokio(tokio.handle().clone());
    if let Some(cores) = arguments.cores {
        builder = builder.cores(cores);
    }
    builder = builder.on_long_slice(Duration::from_millis(200), |slice| {
        eprintln!("process {} has kept core {} for {:?}", slice.pid, slice.core, slice.since);
    });
    let runtime = builder.build()?;
    tokio.block_on(async {
        let at = SocketAddr::from(([127, 0, 0, 1], arguments.port));
        let log = Box::new(|line| eprintln!("{line}"));
        let bound = kv::server::start(&runtime, at, arguments.shards, log).await;
        let bound = bound.with_context(|| format!("can't listen on {at}: try --port"))?;
        println!("listening on {bound}: redis-cli -p {}", bound.port());
        tokio::signal::ctrl_c().await.context("no signal handler")
    })?;
    println!("shutting down");
    runtime.shutdown(Duration::from_secs(5))?;
    Ok(())
}
