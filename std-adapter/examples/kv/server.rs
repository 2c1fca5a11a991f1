//! The server: what its processes share, and how they are started.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use atropos::prelude::*;
use foldhash::fast::RandomState;
use tokio::net::TcpListener;

use super::{clients, connection, shard};

/// Where the server says what happens.
pub type Log = Box<dyn Fn(String) + Send + Sync>;

/// Counters, and what never changes; the data is the shards' own.
pub struct Shared {
    /// Keys of each shard.
    pub shards: Vec<Arc<AtomicUsize>>,
    /// Shards that were started again.
    pub restarts: AtomicU64,
    /// Commands taken up.
    pub commands: AtomicU64,
    /// Clients connected.
    pub clients: AtomicUsize,
    /// Decides a key's shard.
    pub hasher: RandomState,
    /// See [`Log`].
    pub log: Log,
    runtime: atropos::Handle,
}

impl Shared {
    /// What `INFO` says.
    pub fn info(&self) -> String {
        let keys: usize = self.shards.iter().map(|keys| keys.load(Ordering::Relaxed)).sum();
        let lines = [
            "# Server".to_owned(),
            format!("atropos_version:{}", env!("CARGO_PKG_VERSION")),
            format!("processes:{}", self.runtime.processes().len()),
            "# Clients".to_owned(),
            format!("connected_clients:{}", self.clients.load(Ordering::Relaxed)),
            "# Stats".to_owned(),
            format!("total_commands_processed:{}", self.commands.load(Ordering::Relaxed)),
            "# Shards".to_owned(),
            format!("shards:{}", self.shards.len()),
            format!("shard_restarts:{}", self.restarts.load(Ordering::Relaxed)),
            "# Keyspace".to_owned(),
            format!("db0:keys={keys}"),
        ];
        lines.join("\r\n") + "\r\n"
    }
}

/// Starts the server's processes on a runtime that has entered Tokio's; where it listens.
pub async fn start(runtime: &atropos::Handle, at: SocketAddr, shards: usize, log: Log) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(at).await?;
    let bound = listener.local_addr()?;
    let shared = Arc::new(Shared {
        shards: (0..shards).map(|_| Arc::default()).collect(),
        restarts: AtomicU64::new(0),
        commands: AtomicU64::new(0),
        clients: AtomicUsize::new(0),
        hasher: RandomState::default(),
        log,
        runtime: runtime.clone(),
    });
    let (keeper, list) = (shared.clone(), shared.clone());
    runtime.spawn_with(&SpawnOptions::new().name("keeper"), move |cx| shard::keep(cx, keeper))?;
    runtime.spawn_with(&SpawnOptions::new().name(clients::NAME), move |cx| clients::run(cx, list))?;
    while runtime.whereis(&shard::name(shards - 1)).is_none() {
        tokio::task::yield_now().await;
    }
    runtime.spawn_with(&SpawnOptions::new().name("acceptor"), move |cx| accept(cx, listener, shared))?;
    Ok(bound)
}

/// One process for each client.
async fn accept(cx: Context<()>, listener: TcpListener, shared: Arc<Shared>) {
    for id in 1.. {
        match listener.accept().await {
            Ok((socket, _)) => {
                let shared = shared.clone();
                // A full house closes the connection: the socket is dropped with the body.
                if let Err(error) = cx.spawn(move |cx| connection::serve(cx, socket, id, shared.clone())) {
                    eprintln!("a client was turned away: {error}");
                }
            }
            Err(error) => {
                (shared.log)(format!("no connection was accepted: {error}"));
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}
