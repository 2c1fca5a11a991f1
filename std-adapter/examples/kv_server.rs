//! A key-value server that speaks the Redis protocol: one process for each connection, and the data
//! in sharded processes, so that a crash affects nothing else.
//!
//!     cargo run --release --example kv_server
//!     redis-cli -p 6380 set greeting hello
//!     redis-cli -p 6380 shard crash 0        # and see the log

mod kv;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
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
    /// The number of processes that share the data.
    #[arg(long, default_value_t = 4)]
    shards: usize,
    /// The number of cores; by default one for each CPU.
    #[arg(long)]
    cores: Option<usize>,
    /// The largest number of clients at one time.
    #[arg(long, value_name = "COUNT")]
    maxclients: Option<usize>,
    /// The largest unfinished request of a client, for example 64mb.
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    client_query_buffer_limit: Option<usize>,
    /// The longest argument of a request.
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    proto_max_bulk_len: Option<usize>,
    /// The largest size of the replies that wait to be written to a client; 0 is no limit.
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    client_output_buffer_limit: Option<usize>,
}

fn memory(text: &str) -> Result<usize, &'static str> {
    kv::config::memory(text.as_bytes()).ok_or("a number of bytes, as in 64mb")
}

impl Arguments {
    fn config(&self) -> kv::config::Config {
        let config = kv::config::Config::default();
        let given = [
            (self.maxclients, &config.clients),
            (self.client_query_buffer_limit, &config.query_buffer),
            (self.proto_max_bulk_len, &config.bulk),
            (self.client_output_buffer_limit, &config.output_buffer),
        ];
        for (value, place) in given {
            if let Some(value) = value {
                place.store(value, Ordering::Relaxed);
            }
        }
        config
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(arguments.shards > 0, "--shards 0: at least one shard must hold the data");
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut builder = Runtime::builder().tokio(tokio.handle().clone());
    if let Some(cores) = arguments.cores {
        builder = builder.cores(cores);
    }
    builder = builder.on_long_slice(Duration::from_millis(200), |slice| {
        eprintln!("process {} has occupied core {} for {:?}", slice.pid, slice.core, slice.since);
    });
    let runtime = builder.build()?;
    tokio.block_on(async {
        let at = SocketAddr::from(([127, 0, 0, 1], arguments.port));
        let log = Box::new(|line| eprintln!("{line}"));
        let bound = kv::server::start(&runtime, at, arguments.shards, arguments.config(), log).await;
        let bound = bound.with_context(|| format!("can't listen on {at}: try --port"))?;
        println!("listening on {bound}: redis-cli -p {}", bound.port());
        tokio::signal::ctrl_c().await.context("no signal handler")
    })?;
    println!("shutting down");
    runtime.shutdown(Duration::from_secs(5))?;
    Ok(())
}
