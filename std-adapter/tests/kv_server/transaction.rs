//! `MULTI` and its related commands.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::server;
use crate::wire::{Wire, requests};

/// Issue 14, 23: the rules, one by one.
#[test]
fn n23_transactions() {
    let server = server();
    let mut wire = Wire::to(&server);
    wire.ask("MULTI\nSET a 1\nINCR a\nGET nothing\nPING\nMSET b 2 c 3\nKEYS *\nEXEC", "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*6\r\n+OK\r\n:2\r\n$-1\r\n+PONG\r\n+OK\r\n*3\r\n");
    (0..6).for_each(|_| drop(wire.line()));
    wire.ask("EXEC\nDISCARD", "-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n");
    wire.ask("MULTI\nMULTI\nWATCH a\nSET a 9\nDISCARD\nGET a", "+OK\r\n-ERR MULTI calls can not be nested\r\n-ERR WATCH inside MULTI is not allowed\r\n+QUEUED\r\n+OK\r\n$1\r\n2\r\n");
    let spoilt = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    wire.ask("MULTI\nSET a 9\nGET", "+OK\r\n+QUEUED\r\n-ERR wrong number of arguments for 'get' command\r\n");
    wire.ask("EXEC\nGET a", &format!("{spoilt}$1\r\n2\r\n"));
    wire.ask("MULTI\nBOGUS", "+OK\r\n-ERR unknown command 'BOGUS', with args beginning with: \r\n");
    wire.ask("EXEC", spoilt);
    // An error of one command stops no other.
    wire.ask(
        "SET t text\nMULTI\nINCR t\nSET a 5\nEXEC",
        "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n-ERR value is not an integer or out of range\r\n+OK\r\n",
    );
    wire.ask("MULTI\nEXEC", "+OK\r\n*0\r\n");
    // Watched keys: changed by another client, by the client itself, deleted, and unchanged.
    let mut other = Wire::to(&server);
    wire.ask("WATCH a b", "+OK\r\n");
    other.ask("SET b x", "+OK\r\n");
    wire.ask("MULTI\nSET a 6\nEXEC\nGET a", "+OK\r\n+QUEUED\r\n*-1\r\n$1\r\n5\r\n");
    wire.ask("WATCH a\nDEL a\nMULTI\nPING\nEXEC", "+OK\r\n:1\r\n+OK\r\n+QUEUED\r\n*-1\r\n");
    wire.ask(
        "WATCH a b\nMULTI\nSET a 7\nPING\nEXEC\nGET a",
        "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+PONG\r\n$1\r\n7\r\n",
    );
    wire.ask("WATCH a\nUNWATCH", "+OK\r\n+OK\r\n");
    other.ask("SET a 1", "+OK\r\n");
    wire.ask("MULTI\nGET a\nEXEC", "+OK\r\n+QUEUED\r\n*1\r\n$1\r\n1\r\n");
    wire.ask("WATCH a", "+OK\r\n");
    other.ask("EXPIRE a 100", ":1\r\n");
    wire.ask("MULTI\nGET a\nEXEC\nRESET", "+OK\r\n+QUEUED\r\n*-1\r\n+RESET\r\n");
}

/// Issue 14, 23: many clients move money between keys of all shards. No sum is seen in the middle
/// of a transaction, and no optimistic increment is lost.
#[test]
fn n23_transactions_are_isolated() {
    const CLIENTS: usize = 4;
    const TURNS: u64 = 150;
    let server = server();
    let mut wire = Wire::to(&server);
    wire.ask("MSET a 1000 b 1000 c 1000 d 1000 e 1000 n 0", "+OK\r\n");
    let (done, retries) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let movers: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (server, retries) = (&server, &retries);
                scope.spawn(move || {
                    let mut wire = Wire::to(server);
                    for turn in 0..TURNS {
                        let keys = ["a", "b", "c", "d", "e"];
                        let (from, to) =
                            (keys[(client + turn as usize) % 5], keys[(client * 2 + turn as usize * 3 + 1) % 5]);
                        wire.send(&requests(&format!("MULTI\nDECRBY {from} 7\nINCRBY {to} 7\nEXEC")));
                        (0..6).for_each(|_| drop(wire.line()));
                        loop {
                            wire.send(&requests("WATCH n\nGET n"));
                            let (_, _, n) = (wire.line(), wire.line(), wire.line());
                            let n: u64 = n.parse().expect("a number");
                            // The written key may belong to another shard.
                            wire.send(&requests(&format!("MULTI\nSET n {}\nSET last{client} {n}\nEXEC", n + 1)));
                            (0..3).for_each(|_| drop(wire.line()));
                            if wire.line() == "*2" {
                                (0..2).for_each(|_| drop(wire.line()));
                                break;
                            }
                            retries.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut wire = Wire::to(&server);
            while !done.load(Ordering::Relaxed) {
                wire.send(&requests("MULTI\nGET a\nGET b\nGET c\nGET d\nGET e\nEXEC"));
                (0..6).for_each(|_| drop(wire.line()));
                assert_eq!(wire.line(), "*5");
                let sum: i64 = (0..5).map(|_| (wire.line(), wire.line()).1.parse::<i64>().expect("a number")).sum();
                assert_eq!(sum, 5000);
            }
        });
        let ended: Vec<_> = movers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    println!("{} transactions were tried again", retries.load(Ordering::Relaxed));
    let total = (CLIENTS as u64 * TURNS).to_string();
    wire.ask("GET n", &format!("${}\r\n{total}\r\n", total.len()));
}
