//! The key-value server of the examples, driven by the real `redis-cli` and `redis-benchmark`,
//! while its processes are being killed.

#[path = "../../examples/kv/mod.rs"]
mod kv;

mod client_libraries;
mod glob;
mod hostile;
mod memory;
mod parser;
mod session;
mod store;
mod transaction;
mod wire;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::{Pid, Reason, Runtime};

struct Server {
    runtime: Runtime,
    _tokio: tokio::runtime::Runtime,
    at: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

/// Returns `true` if the real clients are installed. In CI they must be.
fn has_clients() -> bool {
    let here = Command::new("redis-cli").arg("--version").output().is_ok();
    assert!(here || std::env::var_os("CI").is_none(), "redis-cli is not installed: apt-get install redis-tools");
    if !here {
        eprintln!("SKIPPED: redis-cli is not installed: apt-get install redis-tools");
    }
    here
}

fn server() -> Server {
    server_with(kv::config::Config::default())
}

fn server_with(config: kv::config::Config) -> Server {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("tokio");
    let runtime = Runtime::builder().cores(2).tokio(tokio.handle().clone()).build().expect("threads");
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = log.clone();
    let log_to = Box::new(move |line| lines.lock().expect("not poisoned").push(line));
    let at = SocketAddr::from(([127, 0, 0, 1], 0));
    let at = tokio.block_on(kv::server::start(&runtime, at, 4, config, log_to)).expect("a port");
    Server { runtime, _tokio: tokio, at, log }
}

impl Server {
    fn cli(&self, arguments: &[&str]) -> String {
        let port = self.at.port().to_string();
        let out = Command::new("redis-cli").args(["-p", &port]).args(arguments).output().expect("redis-cli");
        assert!(out.status.success(), "redis-cli {arguments:?}: {out:?}");
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    /// Waits until `count` processes are alive.
    fn await_processes(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.runtime.processes().len() != count {
            assert!(Instant::now() < end, "{} processes, not {count}", self.runtime.processes().len());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn speaks_to_redis_cli() {
    if !has_clients() {
        return;
    }
    let server = server();
    let cases: &[(&[&str], &str)] = &[
        (&["ping"], "PONG"),
        (&["ping", "hey"], "hey"),
        (&["echo", "two words"], "two words"),
        (&["set", "k", "v"], "OK"),
        (&["get", "k"], "v"),
        (&["get", "nothing"], ""),
        (&["set", "k", "w", "nx"], ""),
        (&["set", "new", "w", "xx"], ""),
        (&["set", "k", "w", "xx"], "OK"),
        (&["set", "k", "x", "get"], "w"),
        (&["set", "k", "x", "bogus"], "ERR syntax error"),
        (&["set", "k", "x", "ex", "0"], "ERR invalid expire time in 'set' command"),
        (&["exists", "k", "k", "nothing"], "2"),
        (&["incr", "n"], "1"),
        (&["incr", "n"], "2"),
        (&["decr", "n"], "1"),
        (&["incrby", "n", "41"], "42"),
        (&["incr", "k"], "ERR value is not an integer or out of range"),
        (&["set", "max", "9223372036854775807"], "OK"),
        (&["incr", "max"], "ERR increment or decrement would overflow"),
        (&["ttl", "k"], "-1"),
        (&["ttl", "nothing"], "-2"),
        (&["expire", "k", "100"], "1"),
        (&["ttl", "k"], "100"),
        (&["persist", "k"], "1"),
        (&["ttl", "k"], "-1"),
        (&["set", "brief", "x", "px", "30"], "OK"),
        (&["set", "long", "x", "ex", "100"], "OK"),
        (&["set", "long", "y", "keepttl"], "OK"),
        (&["ttl", "long"], "100"),
        (&["mset", "a1", "1", "a2", "2"], "OK"),
        (&["mget", "a1", "nothing", "a2"], "1\n\n2"),
        (&["keys", "a[1-2]"], "a1\na2"),
        (&["del", "a1", "a2", "nothing"], "2"),
        (&["get"], "ERR wrong number of arguments for 'get' command"),
        (&["bogus"], "ERR unknown command 'bogus', with args beginning with:"),
        (&["quit"], "OK"),
    ];
    for (arguments, expected) in cases {
        let said = server.cli(arguments);
        let mut lines: Vec<&str> = said.lines().collect();
        if arguments[0] == "keys" {
            lines.sort_unstable();
        }
        assert_eq!(lines.join("\n").trim_end(), *expected, "{arguments:?}");
    }
    // The key is collected once it has expired, without being read. Until then it counts.
    let end = Instant::now() + Duration::from_secs(60);
    while server.cli(&["dbsize"]) != "4" {
        assert!(Instant::now() < end, "the key is not collected");
    }
    assert!(server.cli(&["client", "list"]).contains("addr=127.0.0.1:"));
    assert!(server.cli(&["info"]).contains("shards:4"));
    assert_eq!(server.cli(&["flushdb"]), "OK");
    assert_eq!(server.cli(&["dbsize"]), "0");
}

/// A number of clients whose connections are killed, each replaced by a new one.
fn crowd(server: &Server, stop: &AtomicBool, killed: &AtomicUsize, spared: &[Pid]) {
    let mut clients: Vec<TcpStream> = Vec::new();
    let mut turn = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        if clients.len() < 20 {
            let mut client = TcpStream::connect(server.at).expect("the server accepts");
            client.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
            client.write_all(b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n").expect("written");
            let mut said = [0; 32];
            let len = client.read(&mut said).expect("answered");
            let id: String = said[1..len].iter().map(|byte| *byte as char).take_while(char::is_ascii_digit).collect();
            if turn.is_multiple_of(2) {
                // Killed by another client.
                assert_eq!(server.cli(&["client", "kill", "id", &id]), "1");
                killed.fetch_add(1, Ordering::Relaxed);
            } else {
                clients.push(client);
            }
        } else {
            // Killed by an exit signal to its process, which the client list names.
            let list = server.cli(&["client", "list"]);
            let peers: Vec<String> =
                clients.iter().map(|client| client.local_addr().expect("bound").to_string()).collect();
            for line in list.lines() {
                if let Some(process) = line.split("process=").nth(1)
                    && peers.iter().any(|peer| line.contains(&format!("addr={peer} ")))
                {
                    let wanted = |pid: &Pid| pid.to_string() == process && !spared.contains(pid);
                    if let Some(pid) = server.runtime.processes().into_iter().find(wanted) {
                        server.runtime.exit(pid, Reason::KILL).expect("memory");
                        killed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            clients.clear();
        }
    }
}

#[test]
fn serves_the_benchmark_while_connections_are_killed() {
    if !has_clients() {
        return;
    }
    let server = server();
    let before = server.runtime.processes();
    server.cli(&["set", "kept", "through it all"]);
    server.await_processes(before.len());
    let (stop, killed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let said = std::thread::scope(|scope| {
        scope.spawn(|| crowd(&server, &stop, &killed, &before));
        let port = server.at.port().to_string();
        let out = Command::new("redis-benchmark")
            .args(["-p", &port, "-t", "ping,set,get,incr", "-n", "200000", "-c", "50", "-P", "16", "--csv"])
            .output();
        stop.store(true, Ordering::Relaxed);
        out.expect("redis-benchmark")
    });
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    println!("{text}\n{} connections killed during the benchmark", killed.load(Ordering::Relaxed));
    assert!(said.status.success(), "{text}");
    assert!(!text.to_lowercase().contains("error"), "{text}");
    for test in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR"] {
        assert!(text.contains(&format!("\"{test}\"")), "{test} did not run: {text}");
    }
    assert!(killed.load(Ordering::Relaxed) > 0);
    // The benchmark's keys: one for SET, one for INCR.
    let mut keys: Vec<String> = server.cli(&["keys", "*"]).lines().map(str::to_owned).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["counter:__rand_int__", "kept", "key:__rand_int__"]);
    assert_eq!(server.cli(&["dbsize"]), "3");
    assert_eq!(server.cli(&["get", "counter:__rand_int__"]), "200000");
    assert_eq!(server.cli(&["get", "kept"]), "through it all");
    server.await_processes(before.len());
}

#[test]
fn a_shard_that_dies_loses_its_own_keys_only() {
    if !has_clients() {
        return;
    }
    let server = server();
    for i in 0..100 {
        server.cli(&["set", &format!("key{i}"), "x"]);
    }
    let lost_pid = server.runtime.whereis("shard.2").expect("registered");
    assert_eq!(server.cli(&["shard", "crash", "2"]), "OK");
    let end = Instant::now() + Duration::from_secs(30);
    while server.runtime.whereis("shard.2").is_none_or(|pid| pid == lost_pid)
        || server.log.lock().expect("not poisoned").is_empty()
    {
        assert!(Instant::now() < end, "the shard was not restarted");
        std::thread::yield_now();
    }
    let left: usize = server.cli(&["dbsize"]).parse().expect("a number");
    let log = server.log.lock().expect("not poisoned").clone();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].starts_with("shard 2 died (crash: SHARD CRASH was requested): "), "{log:?}");
    assert!(log[0].contains(&format!("{} keys are lost", 100 - left)), "{log:?}, and {left} are left");
    assert!(left > 0 && left < 100);
    assert!(server.cli(&["info"]).contains("shard_restarts:1"));
    // The restarted shard accepts keys.
    for i in 0..100 {
        server.cli(&["set", &format!("key{i}"), "x"]);
    }
    assert_eq!(server.cli(&["dbsize"]), "100");
}
