//! The server: what its processes share, and how they are started.

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

/// Where the server says what happens.
pub type Log = Box<dyn Fn(String) + Send + Sync>;

/// The version of Redis that clients are told: what they may expect of the commands that are there.
pub const REDIS_VERSION: &str = "7.2.0";

/// Counters, and what never changes; the data is the shards' own.
pub struct Shared {
    /// Keys of each shard.
    pub shards: Vec<Arc<Gauge>>,
    /// Shards that were started again.
    pub restarts: AtomicU64,
    /// Commands taken up.
    pub commands: AtomicU64,
    /// Clients in the list.
    pub clients: AtomicUsize,
    /// Connections that are open.
    pub open: AtomicUsize,
    /// Connections that were accepted, and that were turned away.
    pub accepted: AtomicU64,
    /// See `accepted`.
    pub refused: AtomicU64,
    /// Decides a key's shard.
    pub hasher: RandomState,
    /// The parameters.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// See [`Log`].
    pub log: Log,
    /// Seconds since the start, and how many lines about clients were logged in that second.
    said_of_clients: (AtomicU64, AtomicUsize),
    port: u16,
    since: Instant,
    runtime: atropos::Handle,
}

/// The most lines about clients in a second: a client must not fill the log, nor make the server wait for who reads it.
const MOST_LINES: usize = 100;

impl Shared {
    /// Says in the log what a client did, unless the clients have filled it in this second.
    pub fn log_of_client(&self, line: String) {
        let (second, lines) = &self.said_of_clients;
        let now = self.since.elapsed().as_secs();
        // Relaxed: a line more or less at a second's end does no harm.
        if second.swap(now, Ordering::Relaxed) != now {
            lines.store(0, Ordering::Relaxed);
        }
        if lines.fetch_add(1, Ordering::Relaxed) < MOST_LINES {
            (self.log)(line);
        }
    }

    /// The shard of a key.
    pub fn shard_of(&self, key: &Bytes) -> usize {
        self.hasher.hash_one(key) as usize % self.shards.len()
    }

    /// What `INFO` says, of these sections or of all.
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

/// A place among the clients, given back with the connection's process.
pub struct Admission(Arc<Shared>);

impl Admission {
    /// A place, if one is free.
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let most = shared.config.clients.load(Ordering::Relaxed);
        let up = |open| (open < most).then_some(open + 1);
        // Relaxed: only the number matters.
        shared.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, up).ok()?;
        Some(Self(shared.clone()))
    }

    /// What all share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts the server's processes on a runtime that has entered Tokio's; where it listens.
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

/// One process for each client.
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
        // A full house closes the connection: the socket is dropped with the body.
        if let Err(error) = cx.spawn(move |cx| connection::serve(cx, socket, id, admission)) {
            shared.log_of_client(format!("a client was turned away: {error}"));
        }
        // A storm of clients leaves the others their turns.
        cx.yield_now().await;
    }
}

fn turn_away(socket: TcpStream, shared: &Shared) {
    shared.refused.fetch_add(1, Ordering::Relaxed);
    // Without waiting: it fits an empty buffer; if not, the client sees the end only.
    let _ = socket.into_std().and_then(|mut socket| socket.write(b"-ERR max number of clients reached\r\n"));
}
