//! Hostile clients, and the other clients beside them.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::kv::config::Config;
use crate::wire::{Wire, request, requests, session};
use crate::{server, server_with};

/// Issue 14, 24: a web page makes the browser talk to the server. No command is carried out, the
/// connection is closed, and the log records it.
#[test]
fn n24_web_requests() {
    let server = server();
    for sent in [
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nSET pwned yes\r\nPING\r\n",
        "Host: 127.0.0.1\r\nSET pwned yes\r\nPING\r\n",
        "hOsT: x\r\nSET pwned yes\r\n",
        "MULTI\r\nPOST /\r\nSET pwned yes\r\nEXEC\r\n",
        "*1\r\n$4\r\npost\r\nSET pwned yes\r\n",
    ] {
        let said = session(&server, sent.as_bytes());
        assert_eq!(said, if sent.starts_with("MULTI") { "+OK\r\n" } else { "" }, "{sent:?}");
    }
    let said = session(&server, b"GET / HTTP/1.1\r\nHost: x\r\nSET pwned yes\r\n");
    assert_eq!(said, "-ERR wrong number of arguments for 'get' command\r\n");
    assert_eq!(session(&server, &requests("DBSIZE")), ":0\r\n");
    let log = server.log.lock().expect("not poisoned").clone();
    assert_eq!(log.iter().filter(|line| line.contains("SECURITY ATTACK")).count(), 6, "{log:?}");
}

/// Issue 14, 24: patterns and keys whose match would take minutes block no other client, and the
/// requesting client can be killed.
#[test]
fn n24_patterns_block_no_other_client() {
    let server = server();
    let mut wire = Wire::to(&server);
    wire.expect(&request(&["SET", &"a".repeat(40), "v"]), "+OK\r\n");
    for pattern in ["a*".repeat(20) + "b", "*".repeat(60_000) + "zz"] {
        wire.expect(&request(&["KEYS", &pattern]), "*0\r\n");
        wire.expect(&request(&["SCAN", "0", "MATCH", &pattern, "COUNT", "1000"]), "*2\r\n$1\r\n0\r\n*0\r\n");
    }
    wire.expect(&request(&["KEYS", &"*".repeat(1 << 20)]), "-ERR the pattern is too long\r\n");
    // Long texts on both sides: 2^31 steps per key.
    for n in 0..8 {
        let key = format!("{}{n}", "a".repeat(1 << 20));
        wire.expect(&request(&["SET", &key, "v"]), "+OK\r\n");
    }
    let mut asker = Wire::to(&server);
    asker.send(&requests("CLIENT ID"));
    let id = asker.line()[1..].to_owned();
    let pattern = "*".to_owned() + &"a".repeat(30_000) + "b";
    asker.send(&request(&["KEYS", &pattern]));
    for n in 0..100 {
        wire.ask(&format!("SET other{n} v\nGET other{n}"), "+OK\r\n$1\r\nv\r\n");
    }
    wire.ask(&format!("CLIENT KILL ID {id}"), ":1\r\n");
    assert_eq!(asker.rest(), "");
}

/// Issue 14, 24: expiries that overflow are refused, with Redis's texts; `TTL` returns what fits.
#[test]
fn n24_expiries_that_overflow() {
    let server = server();
    let mut wire = Wire::to(&server);
    for (command, time) in [
        ("SET k v EX", "9223372036854775807"),
        ("SET k v PX", "9223372036854775807"),
        ("SET k v EX", "9223372036854775"),
        ("SET k v EXAT", "9223372036854776"),
        ("SET k v EX", "0"),
        ("SET k v PX", "-1"),
    ] {
        wire.ask(&format!("{command} {time}"), "-ERR invalid expire time in 'set' command\r\n");
    }
    wire.ask("SETEX k 0 v", "-ERR invalid expire time in 'setex' command\r\n");
    wire.ask("PSETEX k 9223372036854775807 v", "-ERR invalid expire time in 'psetex' command\r\n");
    wire.ask("SET k v\nGETEX k EX 9223372036854775807", "+OK\r\n-ERR invalid expire time in 'getex' command\r\n");
    for (name, time) in [
        ("EXPIRE", "9223372036854775"),
        ("PEXPIRE", "9223372036854775807"),
        ("EXPIREAT", "9223372036854776"),
        ("EXPIRE", "-9223372036854776"),
    ] {
        let expected = format!("-ERR invalid expire time in '{}' command\r\n", name.to_ascii_lowercase());
        wire.ask(&format!("{name} k {time}"), &expected);
    }
    wire.ask("TTL k\nEXPIRE k 1000000000000\nTTL k", ":-1\r\n:1\r\n:1000000000000\r\n");
    wire.ask("PEXPIREAT k 9223372036854775807\nPEXPIRETIME k", ":1\r\n:9223372036854775807\r\n");
    wire.ask(
        "EXPIRE k 100 NX\nEXPIRE k 100 GT\nEXPIRE k 100 LT\nEXPIRE k 200 XX\nTTL k",
        ":0\r\n:0\r\n:1\r\n:1\r\n:200\r\n",
    );
    wire.ask("EXPIRE k 1 NX GT", "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n");
    wire.ask("EXPIRE k -1\nEXISTS k", ":1\r\n:0\r\n");
}

/// Issue 14, 24: limits on requests and replies. A client beyond them is disconnected, and the log
/// records it.
#[test]
fn n24_limits_of_requests_and_replies() {
    let config = Config::default();
    config.query_buffer.store(1 << 20, Ordering::Relaxed);
    config.bulk.store(100_000, Ordering::Relaxed);
    config.output_buffer.store(300_000, Ordering::Relaxed);
    config.clients.store(3, Ordering::Relaxed);
    let server = server_with(config);
    let mut wire = Wire::to(&server);
    let value = vec![b'x'; 100_000];
    assert_eq!(session(&server, b"*2\r\n$4\r\nECHO\r\n$100001\r\n"), "-ERR Protocol error: invalid bulk length\r\n");
    wire.expect(&request(&[&b"SET"[..], b"k", &value]), "+OK\r\n");
    let sent_away = |sent: &[u8], after: &str| {
        let mut wire = Wire::to(&server);
        // The server may close before everything is written.
        let _ = wire.0.write_all(sent);
        let _ = wire.0.shutdown(Shutdown::Write);
        assert_eq!(wire.rest(), after);
    };
    let mget: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(std::iter::repeat_n(&value[..], 11)).collect();
    sent_away(&request(&mget), "");
    sent_away(&requests("MGET k k k k"), "");
    let queued = [requests("MULTI"), request(&[&b"SET"[..], b"q", &value]).repeat(11)].concat();
    sent_away(&queued, &("+OK\r\n".to_owned() + &"+QUEUED\r\n".repeat(10)));
    let log = server.log.lock().expect("not poisoned").join("\n");
    for why in ["request is larger", "transaction is larger", "replies are larger"] {
        assert!(log.contains(why), "{why}: {log}");
    }
    // A client beyond the limit gets an error; the others are served. The clients above may take a
    // moment to leave.
    let until = |what: &str, is: &dyn Fn() -> bool| {
        let end = Instant::now() + Duration::from_secs(60);
        while !is() {
            assert!(Instant::now() < end, "{what}");
        }
    };
    until("they leave", &|| session(&server, &requests("INFO clients")).contains("connected_clients:2\r"));
    // The client that asked may take a moment to leave as well, and then another is refused.
    let admitted = || {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let mut wire = Wire::to(&server);
            let mut reply = [0; 7];
            // A refused client may be disconnected before it has written.
            let _ = wire.0.write_all(&requests("PING"));
            if wire.0.read_exact(&mut reply).is_ok() && reply == *b"+PONG\r\n" {
                return wire;
            }
            assert!(Instant::now() < end, "a client is admitted");
        }
    };
    let two = [admitted(), admitted()];
    assert_eq!(Wire::to(&server).rest(), "-ERR max number of clients reached\r\n");
    drop(two);
    until("a place is free", &|| session(&server, &requests("PING")) == "+PONG\r\n");
    wire.ask("CONFIG SET proto-max-bulk-len 2mb\nCONFIG SET client-output-buffer-limit x", "+OK\r\n");
}

/// Issue 14, 24: commands with very many keys, floods of commands, and clients that do not read, do
/// not starve other clients.
#[test]
fn n24_a_flood_does_not_starve_other_clients() {
    let server = server();
    let mut wire = Wire::to(&server);
    wire.expect(&request(&["SET", "big", &"x".repeat(1_000_000)]), "+OK\r\n");
    let many: Vec<String> = std::iter::once("DEL".to_owned()).chain((0..100_000).map(|n| format!("k{n}"))).collect();
    let mut floods: Vec<Wire> = (0..4).map(|_| Wire::to(&server)).collect();
    floods[0].send(&request(&many));
    floods[1].send(&requests("GET big").repeat(1000));
    floods[2].send(b"*1048576\r\n$1\r\nx\r\n$536870912\r\n");
    floods[3].send(&requests("PING").repeat(2000));
    for n in 0..100 {
        wire.ask(&format!("SET key{n} v\nGET key{n}"), "+OK\r\n$1\r\nv\r\n");
    }
    assert_eq!(floods[0].line(), ":0");
    (0..2000).for_each(|_| assert_eq!(floods[3].line(), "+PONG"));
    assert_eq!(floods[1].line(), "$1000000");
}

/// Issue 14, 24: what a client has the server keep counts against its limits, in all the forms that
/// are larger in memory than in the request.
#[test]
fn n24_limits_count_what_is_kept() {
    let config = Config::default();
    config.query_buffer.store(1 << 20, Ordering::Relaxed);
    config.output_buffer.store(3 << 20, Ordering::Relaxed);
    let server = server_with(config);
    let sent_away = |sent: &[u8]| {
        let before = server.log.lock().expect("not poisoned").len();
        let mut wire = Wire::to(&server);
        let _ = wire.0.write_all(sent);
        let _ = wire.0.shutdown(Shutdown::Write);
        let _ = wire.rest();
        server.log.lock().expect("not poisoned")[before..].join("\n")
    };
    // Each argument of a queued command has memory of its own: 20,000 of one byte each.
    let keys = request(&[&["DEL"][..], &["k"; 10_000]].concat()).repeat(2);
    assert!(sent_away(&[requests("MULTI"), keys].concat()).contains("transaction is larger"));
    // Watched keys stay until `EXEC`.
    let mut wire = Wire::to(&server);
    for n in 0..10 {
        wire.expect(&request(&["WATCH", &format!("{n}{}", "x".repeat(100_000))]), "+OK\r\n");
    }
    let eleventh = request(&["WATCH", &"y".repeat(100_000)]);
    wire.expect(&eleventh, "-ERR too many keys are watched\r\n");
    wire.ask("UNWATCH", "+OK\r\n");
    wire.expect(&eleventh, "+OK\r\n");
    // A name takes much more room in the reply than in the request.
    let names = request(&[&["COMMAND", "INFO"][..], &["get"; 2000]].concat());
    wire.expect(&names, "-ERR too many command names\r\n");
    // A client that reads its replies is served, however much it asks for at once: 64 times 280 KB.
    for n in 0..5 {
        let pairs: Vec<String> = (0..1000).flat_map(|k| [format!("{n}-{k:037}"), "v".to_owned()]).collect();
        let set: Vec<&str> = std::iter::once("MSET").chain(pairs.iter().map(String::as_str)).collect();
        wire.expect(&request(&set), "+OK\r\n");
    }
    wire.send(&requests("KEYS *").repeat(64));
    for _ in 0..64 {
        assert_eq!(wire.line(), "*5000");
        wire.read(5000 * "$39\r\n0-0000000000000000000000000000000000000\r\n".len());
    }
    // In a transaction the replies come at once.
    let together = requests(&("MULTI\n".to_owned() + &"KEYS *\n".repeat(64) + "EXEC"));
    assert!(sent_away(&together).contains("replies are larger"));
}

/// Issue 14, 24: a client list takes each number once, in any order, also if it has a million.
#[test]
fn n24_many_numbers_of_clients() {
    let server = server();
    let mut wires: Vec<Wire> = (0..3).map(|_| Wire::to(&server)).collect();
    let ids: Vec<String> = wires
        .iter_mut()
        .map(|wire| {
            wire.send(&requests("CLIENT ID"));
            wire.line()[1..].to_owned()
        })
        .collect();
    let unknown: Vec<String> = (0..300_000).map(|n| (1_000_000 + n).to_string()).collect();
    let ask = |words: &[&str], ids: &[&str]| {
        let words: Vec<&str> = words.iter().chain(ids).copied().chain(unknown.iter().map(String::as_str)).collect();
        request(&words)
    };
    wires[0].send(&ask(&["CLIENT", "LIST", "ID"], &[&ids[2], &ids[1], &ids[2]]));
    wires[0].line();
    let list = wires[0].line();
    let listed: Vec<&str> = list.lines().filter_map(|line| line.strip_prefix("id=")?.split(' ').next()).collect();
    assert_eq!(listed, ids[1..], "{list}");
    let [one, two] = [&ids[1], &ids[2]].map(String::as_str);
    wires[0].send(&requests(&format!("CLIENT KILL ID {two} ID {one} ID {two} ID 77777")));
    assert_eq!(wires[0].line(), ":2");
    assert_eq!(wires[1].rest() + &wires[2].rest(), "");
}
