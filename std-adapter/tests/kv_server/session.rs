//! The commands that clients send when they connect, and the state that a connection keeps.

use crate::server;
use crate::wire::{Wire, request, requests, session};

/// Issue 14, 23: `HELLO` chooses the protocol, from its own reply on.
#[test]
fn n23_hello() {
    let server = server();
    let mut wire = Wire::to(&server);
    wire.ask("GET nothing\nHELLO 3\nGET nothing", "$-1\r\n%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n");
    let rest = String::from_utf8(wire.read(1)).expect("text")
        + &{
            let mut lines = Vec::new();
            while lines.last().is_none_or(|line: &String| line != "_") {
                lines.push(wire.line());
            }
            lines.join("|")
        };
    assert!(rest.contains("proto|:3|") && rest.ends_with("modules|*0|_"), "{rest}");
    wire.ask("HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    wire.ask("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n");
    wire.ask("HELLO 2 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'\r\n");
    // An invalid HELLO changes nothing.
    wire.ask("GET nothing\nHELLO 2 AUTH default x SETNAME me", "_\r\n*14\r\n");
    let said = session(&server, &requests("HELLO 2 SETNAME me\nCLIENT GETNAME\nHELLO 3 AUTH nobody x\nGET nothing"));
    assert!(
        said.ends_with("$2\r\nme\r\n-WRONGPASS invalid username-password pair or user is disabled.\r\n$-1\r\n"),
        "{said}"
    );
}

/// Issue 14, 23: the other commands that clients send at the start.
#[test]
fn n23_clients_begin() {
    let server = server();
    let mut wire = Wire::to(&server);
    wire.ask("CLIENT GETNAME\nCLIENT SETNAME worker\nCLIENT GETNAME", "$-1\r\n+OK\r\n$6\r\nworker\r\n");
    wire.ask(
        "CLIENT SETINFO LIB-NAME mine\nCLIENT SETINFO LIB-VER 1.2\nCLIENT SETINFO X 1",
        "+OK\r\n+OK\r\n-ERR Unrecognized option 'x'\r\n",
    );
    let refused = "-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
    wire.expect(&request(&["CLIENT", "SETNAME", "a b"]), refused);
    wire.expect(&request(&["CLIENT", "SETINFO", "LIB-NAME", "a\nb"]), refused);
    wire.ask(
        "SELECT 0\nSELECT 1\nSELECT x",
        "+OK\r\n-ERR DB index is out of range\r\n-ERR value is not an integer or out of range\r\n",
    );
    wire.ask("CONFIG GET maxmemory\nCONFIG GET nothing", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n*0\r\n");
    wire.ask("CONFIG SET maxmemory 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'maxmemory'\r\n");
    wire.ask("COMMAND INFO get nothing", "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*1\r\n+@read\r\n*0\r\n*0\r\n*0\r\n*-1\r\n");
    wire.send(&requests("COMMAND COUNT\nCOMMAND"));
    let (count, all) = (wire.line(), wire.line());
    assert_eq!(count[1..], all[1..]);
    let said = session(&server, &requests("CLIENT INFO\nINFO server"));
    assert!(said.contains("resp=2 ") && said.contains("redis_version:") && !said.contains("# Clients"), "{said}");
    let listed = session(&server, &requests("CLIENT LIST"));
    assert!(listed.contains("name=worker ") && listed.contains("lib-name=mine lib-ver=1.2 "), "{listed}");
    // A client that kills itself gets a reply.
    let id = session(&server, &requests("CLIENT ID"));
    assert!(id.starts_with(':'));
    assert_eq!(session(&server, &requests("CLIENT KILL ID 1 SKIPME no\nPING")).chars().next(), Some(':'));
    let mut other = Wire::to(&server);
    other.send(&requests("CLIENT ID"));
    let id = other.line()[1..].to_owned();
    other.send(&requests(&format!("CLIENT KILL ID {id} SKIPME no\nPING")));
    assert_eq!(other.rest(), ":1\r\n");
}

/// Issue 14, 23: commands take effect in order, including those that are not for keys.
#[test]
fn n23_commands_in_their_order() {
    let server = server();
    let mut wire = Wire::to(&server);
    wire.ask(
        "SET a 1\nKEYS *\nDEL a\nKEYS *\nSET b 2\nSCAN 0 COUNT 1000\nDBSIZE\nFLUSHALL\nDBSIZE",
        "+OK\r\n*1\r\n$1\r\na\r\n:1\r\n*0\r\n+OK\r\n*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n:1\r\n+OK\r\n:0\r\n",
    );
    // A crash takes effect after the earlier commands.
    let keys: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
    let sets: String = keys.iter().map(|key| format!("SET {key} v\n")).collect();
    wire.send(&requests(&format!("{sets}SHARD CRASH 1\nPING")));
    for _ in 0..51 {
        assert_eq!(wire.line(), "+OK");
    }
    assert_eq!(wire.line(), "+PONG");
}

/// Issue 14, 23: `SCAN` with its options returns every key that is present throughout, whatever is
/// deleted during the scan.
#[test]
fn n23_scan() {
    let server = server();
    let mut wire = Wire::to(&server);
    for n in 0..1000 {
        wire.ask(&format!("SET key:{n} v"), "+OK\r\n");
    }
    for (options, wanted) in [("", 500), ("MATCH key:*5", 100), ("COUNT 100 TYPE string", 500), ("TYPE list", 0)] {
        let (mut cursor, mut seen, mut turns) = ("0".to_owned(), std::collections::BTreeSet::new(), 0);
        loop {
            wire.send(&requests(&format!("SCAN {cursor} {options}")));
            assert_eq!((wire.line(), wire.line().starts_with('$')), ("*2".to_owned(), true));
            cursor = wire.line();
            let count: usize = wire.line()[1..].parse().expect("a count");
            for _ in 0..count {
                wire.line();
                seen.insert(wire.line());
            }
            if cursor == "0" {
                break;
            }
            // Even keys are deleted, a few in each turn.
            for n in (0..1000).step_by(2).skip(turns * 7).take(7) {
                wire.send(&requests(&format!("DEL key:{n}")));
                wire.line();
            }
            turns += 1;
        }
        let odd = seen.iter().filter(|key| key.ends_with(['1', '3', '5', '7', '9'])).count();
        assert_eq!(odd, wanted, "{options}");
    }
    for (asked, said) in [
        ("SCAN x", "-ERR invalid cursor\r\n"),
        ("SCAN 0 COUNT 0", "-ERR syntax error\r\n"),
        ("SCAN 0 COUNT", "-ERR syntax error\r\n"),
        ("SCAN 0 BOGUS 1", "-ERR syntax error\r\n"),
        ("SCAN 18446744073709551615", "*2\r\n$1\r\n0\r\n*0\r\n"),
    ] {
        wire.ask(asked, said);
    }
}
