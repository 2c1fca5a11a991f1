//! The memory of the real program, in MiB, after sessions that leave little behind. The bounds are
//! ten times the measured values.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::wire::{Wire, request};

struct ServerProgram(Child);

impl Drop for ServerProgram {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl ServerProgram {
    /// Starts the program, if it has been built beside this test.
    fn start() -> Option<(Self, SocketAddr)> {
        let here = std::env::current_exe().expect("this test");
        let program = here.parent()?.parent()?.join("examples/kv_server");
        if !program.exists() || !cfg!(target_os = "linux") {
            eprintln!("SKIPPED: {} is not built: cargo build --example kv_server", program.display());
            return None;
        }
        let mut command = Command::new(program);
        command.args(["--port", "0", "--cores", "2"]).stdout(Stdio::piped());
        let mut program = Self(command.spawn().expect("it starts"));
        // It prints its port once it listens.
        let mut line = String::new();
        let printed = BufReader::new(program.0.stdout.take().expect("a pipe")).read_line(&mut line);
        printed.expect("a line");
        let port = line.trim_end().rsplit(' ').next().and_then(|port| port.parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("no port: {line:?}"));
        Some((program, SocketAddr::from(([127, 0, 0, 1], port))))
    }

    fn mib(&self) -> usize {
        self.status("VmRSS")
    }

    fn status(&self, what: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(what)).expect("a line");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") / 1024
    }

    /// Waits until the program's memory is at most this large.
    #[track_caller]
    fn keeps_at_most(&self, most: usize, what: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.mib() > most && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(self.mib() <= most, "{} MiB after {what}", self.mib());
    }
}

/// Issue 14, 24: a session that leaves no data leaves no memory: no buffers, no rest of a large
/// request, no old expiries, no unread replies.
#[test]
fn n24_the_programs_memory_is_that_of_its_data() {
    let Some((program, at)) = ServerProgram::start() else { return };
    let connect = || Wire(TcpStream::connect(at).expect("it accepts"));
    let mut wire = connect();
    let start = program.mib();
    println!("{start} MiB at the beginning");
    let big = vec![b'x'; 2_000_000];
    let set = |key: &str, value: &[u8]| request(&[&b"SET"[..], key.as_bytes(), value]);
    let get = request(&["GET", "k"]);
    // Idle connections that have each written and read a large value.
    let idle: Vec<Wire> = (0..100)
        .map(|_| {
            let mut wire = connect();
            wire.expect(&set("k", &big), "+OK\r\n");
            wire.expect(&get, "$2000000\r\n");
            wire.read(big.len() + 2);
            wire
        })
        .collect();
    program.keeps_at_most(start + 100, "a hundred connections with 2 MB each, one after the other");
    // A client that requests much and does not read.
    let mut lazy = connect();
    lazy.send(&get.repeat(1000));
    std::thread::sleep(Duration::from_millis(200));
    program.keeps_at_most(start + 100, "a thousand unread replies of 2 MB");
    // Small values beside large ones.
    for n in 0..50 {
        let beside = [request(&[&b"ECHO"[..], &big]), set(&format!("small{n}"), b"v")].concat();
        wire.send(&beside);
        wire.read("$2000000\r\n".len() + big.len() + 2 + "+OK\r\n".len());
        let key = format!("beside{n}");
        wire.expect(&request(&[&b"MSET"[..], key.as_bytes(), b"v", b"k", &big]), "+OK\r\n");
    }
    wire.expect(&request(&["DEL", "k"]), ":1\r\n");
    drop((lazy, idle));
    program.keeps_at_most(start + 100, "a hundred small values that came with large ones");
    // One key whose expiry is set repeatedly.
    let refresh = request(&["SET", "session", &"v".repeat(1000), "EX", "7200"]).repeat(1000);
    wire.expect(&request(&["SET", "first", "v", "EX", "3600"]), "+OK\r\n");
    for _ in 0..100 {
        wire.send(&refresh);
        wire.read(5 * 1000);
    }
    program.keeps_at_most(start + 100, "100,000 expiries of one key");
    println!("{} MiB at the end", program.mib());
}

/// Issue 14, 24: a client that is sent away for its replies has not had the server make all of them
/// first: 256 times the names of 20,000 keys are more than 200 MiB, as are the replies to 10,000
/// times `COMMAND`.
#[test]
fn n24_replies_beyond_the_limit_are_not_collected() {
    let Some((program, at)) = ServerProgram::start() else { return };
    let connect = || Wire(TcpStream::connect(at).expect("it accepts"));
    let mut wire = connect();
    for n in 0..20 {
        let pairs: Vec<String> = (0..1000).flat_map(|key| [format!("key{n}-{key}"), "v".to_owned()]).collect();
        let set: Vec<&str> = std::iter::once("MSET").chain(pairs.iter().map(String::as_str)).collect();
        wire.expect(&request(&set), "+OK\r\n");
    }
    let start = program.status("VmHWM");
    // A transaction queues requests, and not replies.
    let mut queues = connect();
    queues.send(&[request(&["MULTI"]), request(&["COMMAND"]).repeat(10_000)].concat());
    queues.read("+OK\r\n".len() + 10_000 * "+QUEUED\r\n".len());
    let keys = request(&["KEYS", "*"]).repeat(256);
    // A client that does not read.
    let mut lazy = connect();
    lazy.send(&keys);
    // A transaction, with a limit.
    wire.expect(&request(&["CONFIG", "SET", "client-output-buffer-limit", "normal 3mb 0 0"]), "+OK\r\n");
    let mut greedy = connect();
    greedy.send(&[request(&["MULTI"]), keys, request(&["EXEC"])].concat());
    greedy.rest();
    let peak = program.status("VmHWM");
    println!("{start} MiB, {peak} MiB at most");
    assert!(peak < start + 100, "{peak} MiB, {start} before");
}
