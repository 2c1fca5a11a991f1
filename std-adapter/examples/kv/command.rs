//! What a client asks for: requests read into [`Command`]s, with the errors that Redis gives.

use std::time::Duration;

use bytes::Bytes;

use super::resp::{Reply, Request};
use super::store::{Expiry, Op, When};

/// What to do about a request.
#[derive(Debug)]
pub enum Command {
    /// It is answered at once.
    Now(Reply),
    /// One shard has the answer.
    One(Op),
    /// Several ops, each for its key's shard; the answers are added up.
    Sum(Vec<Op>),
    /// Several ops, each for its key's shard; the answers are an array.
    Each(Vec<Op>),
    /// Several ops, all of which answer `OK`.
    AllOk(Vec<Op>),
    /// Every shard; the answers are added up.
    SumOfShards(Op),
    /// Every shard; the answers are put together.
    AllOfShards(Op),
    /// Every shard answers `OK`.
    ShardsOk(Op),
    /// What the server knows of itself.
    Info,
    /// What the server knows of its clients.
    ClientList,
    /// Ends another connection's process.
    ClientKill(u64),
    /// This connection's number.
    ClientId,
    /// Crashes a shard's process, to see what happens.
    CrashShard(usize),
    /// Says goodbye.
    Quit,
}

/// The key whose shard an op is for.
pub fn key(op: &Op) -> Option<&Bytes> {
    match op {
        Op::Get(key)
        | Op::Set { key, .. }
        | Op::Del(key)
        | Op::Exists(key)
        | Op::IncrBy(key, _)
        | Op::Expire(key, _)
        | Op::Ttl { key, .. }
        | Op::Persist(key) => Some(key),
        Op::Keys(_) | Op::Size | Op::Flush => None,
    }
}

const NOT_AN_INTEGER: &str = "value is not an integer or out of range";

fn number(word: &Bytes) -> Result<i64, Reply> {
    let number = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Reply::err(NOT_AN_INTEGER))
}

/// Reads a request; an error is its reply.
pub fn read(request: Request) -> Command {
    let name = String::from_utf8_lossy(&request[0]).to_ascii_lowercase();
    match known(&name, &request[1..]) {
        Ok(Some(command)) => command,
        Ok(None) => {
            Command::Now(Reply::err(format_args!("unknown command '{}'", String::from_utf8_lossy(&request[0]))))
        }
        Err(reply) => Command::Now(reply),
    }
}

fn known(name: &str, arguments: &[Bytes]) -> Result<Option<Command>, Reply> {
    let arity = || Err(Reply::err(format_args!("wrong number of arguments for '{name}' command")));
    let keys = |op: fn(Bytes) -> Op| arguments.iter().cloned().map(op).collect::<Vec<_>>();
    Ok(Some(match (name, arguments) {
        ("ping", []) => Command::Now(Reply::Simple("PONG")),
        ("ping" | "echo", [text]) => Command::Now(Reply::Bulk(Some(text.clone()))),
        ("get", [key]) => Command::One(Op::Get(key.clone())),
        ("set", [key, value, options @ ..]) => set(key, value, options)?,
        ("setnx", [key, value]) => {
            let op = |when| Op::Set { key: key.clone(), value: value.clone(), when, expiry: Expiry::Never, get: false };
            Command::One(op(When::Absent))
        }
        ("mget", [_, ..]) => Command::Each(keys(Op::Get)),
        ("mset", [_, _, ..]) if arguments.len().is_multiple_of(2) => Command::AllOk(
            arguments
                .chunks(2)
                .map(|pair| {
                    let (key, value) = (pair[0].clone(), pair[1].clone());
                    Op::Set { key, value, when: When::Always, expiry: Expiry::Never, get: false }
                })
                .collect(),
        ),
        ("del" | "unlink", [_, ..]) => Command::Sum(keys(Op::Del)),
        ("exists", [_, ..]) => Command::Sum(keys(Op::Exists)),
        ("incr", [key]) => Command::One(Op::IncrBy(key.clone(), 1)),
        ("decr", [key]) => Command::One(Op::IncrBy(key.clone(), -1)),
        ("incrby", [key, by]) => Command::One(Op::IncrBy(key.clone(), number(by)?)),
        ("decrby", [key, by]) => {
            let by = number(by)?.checked_neg().ok_or_else(|| Reply::err("decrement would overflow"))?;
            Command::One(Op::IncrBy(key.clone(), by))
        }
        ("expire", [key, seconds]) => {
            let millis = number(seconds)?.checked_mul(1000);
            Command::One(Op::Expire(
                key.clone(),
                millis.ok_or_else(|| Reply::err("invalid expire time in 'expire' command"))?,
            ))
        }
        ("pexpire", [key, millis]) => Command::One(Op::Expire(key.clone(), number(millis)?)),
        ("ttl", [key]) => Command::One(Op::Ttl { key: key.clone(), millis: false }),
        ("pttl", [key]) => Command::One(Op::Ttl { key: key.clone(), millis: true }),
        ("persist", [key]) => Command::One(Op::Persist(key.clone())),
        ("keys", [pattern]) => Command::AllOfShards(Op::Keys(pattern.clone())),
        ("dbsize", []) => Command::SumOfShards(Op::Size),
        ("flushdb" | "flushall", [] | [_]) => Command::ShardsOk(Op::Flush),
        ("info", _) => Command::Info,
        ("client", [what, rest @ ..]) => client(what, rest)?,
        ("shard", [what, which]) if what.eq_ignore_ascii_case(b"crash") => {
            Command::CrashShard(usize::try_from(number(which)?).map_err(|_| Reply::err("no such shard"))?)
        }
        // Asked by redis-cli and redis-benchmark when they begin.
        ("command", _) => Command::Now(Reply::Array(Vec::new())),
        ("config", [what, name]) if what.eq_ignore_ascii_case(b"get") => {
            Command::Now(Reply::Array(vec![Reply::Bulk(Some(name.clone())), Reply::text("")]))
        }
        ("select", [_]) => Command::Now(Reply::OK),
        ("quit", []) => Command::Quit,
        (
            "ping" | "echo" | "get" | "set" | "setnx" | "mget" | "mset" | "del" | "unlink" | "exists" | "incr" | "decr"
            | "incrby" | "decrby" | "expire" | "pexpire" | "ttl" | "pttl" | "persist" | "keys" | "dbsize" | "flushdb"
            | "flushall" | "client" | "shard" | "config" | "select" | "quit",
            _,
        ) => return arity(),
        _ => return Ok(None),
    }))
}

fn set(key: &Bytes, value: &Bytes, options: &[Bytes]) -> Result<Command, Reply> {
    let (mut when, mut expiry, mut get) = (None, None, false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let option = option.to_ascii_lowercase();
        match &option[..] {
            b"nx" if when.is_none() => when = Some(When::Absent),
            b"xx" if when.is_none() => when = Some(When::Present),
            b"get" => get = true,
            b"keepttl" if expiry.is_none() => expiry = Some(Expiry::Keep),
            b"ex" | b"px" if expiry.is_none() => {
                let time = number(options.next().ok_or_else(|| Reply::err("syntax error"))?)?;
                let unit = if option == b"ex" { 1000 } else { 1 };
                let millis = u64::try_from(time).ok().filter(|time| *time > 0).and_then(|time| time.checked_mul(unit));
                let millis = millis.ok_or_else(|| Reply::err("invalid expire time in 'set' command"))?;
                expiry = Some(Expiry::After(Duration::from_millis(millis)));
            }
            _ => return Err(Reply::err("syntax error")),
        }
    }
    Ok(Command::One(Op::Set {
        key: key.clone(),
        value: value.clone(),
        when: when.unwrap_or(When::Always),
        expiry: expiry.unwrap_or(Expiry::Never),
        get,
    }))
}

fn client(what: &Bytes, rest: &[Bytes]) -> Result<Command, Reply> {
    let what = what.to_ascii_lowercase();
    Ok(match (&what[..], rest) {
        (b"list", _) => Command::ClientList,
        (b"id", []) => Command::ClientId,
        (b"kill", [by, id]) if by.eq_ignore_ascii_case(b"id") => Command::ClientKill(
            u64::try_from(number(id)?).map_err(|_| Reply::err("client-id should be greater than 0"))?,
        ),
        (b"setname" | b"setinfo", _) => Command::Now(Reply::OK),
        (b"getname", []) => Command::Now(Reply::NIL),
        _ => return Err(Reply::err("syntax error")),
    })
}
