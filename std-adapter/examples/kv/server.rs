//! The server: the state that its processes share, and its start.

use std::hash::BuildHasher as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use atropos::prelude::*;
use bytes::Bytes;
use foldhash::fast::RandomState;
use tokio::net::{TcpListener, TcpStream};

use super::clock::Clock;
use super::config::Config;
use super::shard::Gauge;
use super::{clients, connection, shard};

/// The hook that receives a line of the log.
pub type Log = Box<dyn Fn(String) + Send + Sync>;

/// The Redis version that clients see: it tells them what to expect of the commands that exist.
pub const REDIS_VERSION: &str = "7.2.0";

/// Counters, and settings; the data belongs to the shards.
pub struct Shared {
    /// The key counts of each shard.
    pub shards: Vec<Arc<Gauge>>,
    /// The number of shard restarts.
    pub restarts: AtomicU64,
    /// The number of commands started.
    pub commands: AtomicU64,
    /// The number of clients in the client list.
    pub clients: AtomicUsize,
    /// The number of open connections.
    pub open: AtomicUsize,
    /// The number of connections that were accepted.
    pub accepted: AtomicU64,
    /// The number of connections that were refused.
    pub refused: AtomicU64,
    /// The hash function that determines a key's shard.
    pub hasher: RandomState,
    /// The configuration parameters.
    pub config: Config,
    /// The clock for expiries.
    pub clock: Clock,
    /// The log's hook: see [`Log`].
    pub log: Log,
    /// Seconds since the start, and the number of client lines that were logged in that second.
    said_of_clients: (AtomicU64, AtomicUsize),
    port: u16,
    since: Instant,
    runtime: atropos::Handle,
}

/// The largest number of log lines about clients per second: a client must neither fill the log nor
/// make the server wait for the log's reader.
const MOST_LINES: usize = 100;

impl Shared {
    /// Logs an action of a client, unless clients have used up the lines of this second.
    pub fn log_of_client(&self, line: String) {
        let (second, lines) = &self.said_of_clients;
        let now = self.since.elapsed().as_secs();
        // Relaxed: a line more or less at the boundary of a second does no harm.
        if second.swap(now, Ordering::Relaxed) != now {
            lines.store(0, Ordering::Relaxed);
        }
        if lines.fetch_add(1, Ordering::Relaxed) < MOST_LINES {
            (self.log)(line);
        }
    }

    /// Returns the shard of a key.
    pub fn shard_of(&self, key: &Bytes) -> usize {
        self.hasher.hash_one(key) as usize % self.shards.len()
    }

    /// Returns the text of `INFO`, for these sections or for all.
    pub fn info(&self, wanted: &[Bytes]) -> String {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let sum = |of: fn(&Gauge) -> &AtomicUsize| -> usize {
            self.shards.iter().map(|gauge| of(gauge).load(Ordering::Relaxed)).sum()
        };
        let (keys, expiring) = (sum(|gauge| &gauge.keys), sum(|gauge| &gauge.expiring));
        let sections = [
            (
                "Server",
                vec![
                    format!("redis_version:{REDIS_VERSION}"),
                    "redis_mode:standalone".to_owned(),
                    format!("atropos_version:{}", env!("CARGO_PKG_VERSION")),
                    format!("process_id:{}", std::process::id()),
                    format!("tcp_port:{}", self.port),
                    format!("uptime_in_seconds:{}", self.since.elapsed().as_secs()),
                    format!("processes:{}", self.runtime.processes().len()),
                ],
            ),
            (
                "Clients",
                vec![
                    format!("connected_clients:{}", self.clients.load(Ordering::Relaxed)),
                    format!("maxclients:{}", self.config.clients.load(Ordering::Relaxed)),
                ],
            ),
            ("Persistence", vec!["loading:0".to_owned()]),
            (
                "Stats",
                vec![
                    format!("total_connections_received:{}", count(&self.accepted)),
                    format!("rejected_connections:{}", count(&self.refused)),
                    format!("total_commands_processed:{}", count(&self.commands)),
                ],
            ),
            ("Replication", vec!["role:master".to_owned(), "connected_slaves:0".to_owned()]),
            (
                "Shards",
                vec![format!("shards:{}", self.shards.len()), format!("shard_restarts:{}", count(&self.restarts))],
            ),
            ("Keyspace", vec![format!("db0:keys={keys},expires={expiring},avg_ttl=0")]),
        ];
        let all: [&[u8]; 3] = [b"all", b"default", b"everything"];
        let is_wanted = |name: &str| {
            wanted.is_empty()
                || wanted.iter().any(|word| {
                    word.eq_ignore_ascii_case(name.as_bytes()) || all.iter().any(|all| word.eq_ignore_ascii_case(all))
                })
        };
        let sections = sections.into_iter().filter(|(name, _)| is_wanted(name));
        let texts: Vec<String> =
            sections.map(|(name, lines)| format!("# {name}\r\n{}\r\n", lines.join("\r\n"))).collect();
        texts.join("\r\n")
    }
}

/// A permit for one client, released with the connection's process.
pub struct Admission(Arc<Shared>);

impl Admission {
    /// Acquires a permit, if one is free.
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let most = shared.config.clients.load(Ordering::Relaxed);
        let up = |open| (open < most).then_some(open + 1);
        // Relaxed: only the count matters.
        shared.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, up).ok()?;
        Some(Self(shared.clone()))
    }

    /// Returns the state that all processes share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts the server's processes on a runtime that has entered a Tokio runtime. Returns the address
/// that it listens on.
pub async fn start(
    runtime: &atropos::Handle,
    at: SocketAddr,
    shards: usize,
    config: Config,
    log: Log,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(at).await?;
    let bound = listener.local_addr()?;
    let shared = Arc::new(Shared {
        shards: (0..shards).map(|_| Arc::default()).collect(),
        restarts: AtomicU64::new(0),
        commands: AtomicU64::new(0),
        clients: AtomicUsize::new(0),
        open: AtomicUsize::new(0),
        accepted: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        hasher: RandomState::default(),
        config,
        clock: Clock::default(),
        log,
        said_of_clients: Default::default(),
        port: bound.port(),
        since: Instant::now(),
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

/// Spawns one process for each client.
async fn accept(cx: Context<()>, listener: TcpListener, shared: Arc<Shared>) {
    for id in 1.. {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                (shared.log)(format!("no connection was accepted: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let Some(admission) = Admission::take(&shared) else {
            turn_away(socket, &shared);
            continue;
        };
        // At the process limit the connection is closed: the socket is dropped with the body.
        if let Err(error) = cx.spawn(move |cx| connection::serve(cx, socket, id, admission)) {
            shared.log_of_client(format!("a client was turned away: {error}"));
        }
        // Yields, so that a burst of new clients does not starve the others.
        cx.yield_now().await;
    }
}

fn turn_away(socket: TcpStream, shared: &Shared) {
    shared.refused.fetch_add(1, Ordering::Relaxed);
    // Without waiting: the text fits an empty send buffer; otherwise the client only sees the end
    // of the connection.
    let _ = socket.into_std().and_then(|mut socket| socket.write(b"-ERR max number of clients reached\r\n"));
}
