//! Parsing of requests into [`Command`]s, with the errors that Redis gives.

use bytes::Bytes;

use super::glob;
use super::resp::{Reply, Request, number};
use super::store::{Expiry, Only, Op, TOP, Told, When};
use super::table;

/// How a request is carried out.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// It has its reply already.
    Now(Reply),
    /// It is for keys: shards answer it, and it may be sent to them together with others.
    Keyed(Keyed),
    /// It is for the server or the connection, once all earlier commands are done.
    Other(Other),
}

/// A command for keys.
#[derive(Clone, PartialEq, Debug)]
pub enum Keyed {
    /// An op for the shard of this key.
    One(Bytes, Op),
    /// Reads the values of keys; the reply is an array.
    Values(Vec<Bytes>),
    /// Sets pairs.
    SetAll(Vec<(Bytes, Bytes)>),
    /// Deletes keys; the answers are added up.
    Delete(Vec<Bytes>),
    /// Counts keys; the answers are added up.
    Count(Vec<Bytes>),
    /// Counts the keys of every shard; the answers are added up.
    Size,
    /// Flushes every shard; each answers `OK`.
    Flush,
}

/// A command that waits until all earlier ones are done.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "named after Redis's commands")]
pub enum Other {
    Keys {
        pattern: Bytes,
    },
    Scan(Scan),
    Info(Vec<Bytes>),
    /// Has a long reply, so that a transaction queues the request and not the reply.
    Command(Vec<Bytes>),
    Client(Vec<Bytes>),
    Config(Vec<Bytes>),
    Hello(Vec<Bytes>),
    Multi,
    Exec,
    Discard,
    Watch(Vec<Bytes>),
    Unwatch,
    Reset,
    Quit,
    /// An HTTP request: a web page made the browser send it to this server.
    Attack,
    /// Crashes a shard's process, as a demonstration.
    Crash(usize),
}

/// The arguments of a `SCAN`.
#[derive(Clone, PartialEq, Debug)]
pub struct Scan {
    /// The cursor: see [`super::walk`].
    pub cursor: u64,
    /// The pattern that keys must match.
    pub pattern: Option<Bytes>,
    /// The number of keys to look at.
    pub count: usize,
    /// `true` if the server has values of the requested type.
    pub is_type: bool,
}

const NOT_AN_INTEGER: &str = "value is not an integer or out of range";
const SYNTAX: &str = "syntax error";

/// Parses an integer argument.
pub fn integer(word: &Bytes) -> Result<i64, Reply> {
    number::integer(word).ok_or_else(|| Reply::err(NOT_AN_INTEGER))
}

fn syntax<T>() -> Result<T, Reply> {
    Err(Reply::err(SYNTAX))
}

/// Returns the beginning of a word, as text for an error.
fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(&word[..word.len().min(128)]).into_owned()
}

/// Parses a request, which is not empty, at the time `now`.
///
/// # Errors
/// The reply to an invalid request; a transaction remembers it.
pub fn read(request: Request, now: i64) -> Result<Command, Reply> {
    let [name, arguments @ ..] = &request[..] else { return Err(Reply::err("empty command")) };
    if name.len() > 64 {
        return Err(unknown(name, arguments));
    }
    let lower = name.to_ascii_lowercase();
    if lower == b"post" || lower == b"host:" {
        return Ok(Command::Other(Other::Attack));
    }
    let Some(spec) = table::find(&lower) else { return Err(unknown(name, arguments)) };
    if !spec.takes(request.len()) {
        return Err(wrong_number(spec.name));
    }
    known(spec.name, request, now)
}

fn unknown(name: &[u8], arguments: &[Bytes]) -> Reply {
    let mut text = format!("unknown command '{}', with args beginning with: ", shown(name));
    for argument in arguments {
        if text.len() > 256 {
            break;
        }
        text += &format!("'{}' ", shown(argument));
    }
    Reply::err(text)
}

/// Returns the reply to a request with too few or too many arguments.
pub fn wrong_number(name: &str) -> Reply {
    Reply::err(format_args!("wrong number of arguments for '{name}' command"))
}

fn known(name: &'static str, mut request: Request, now: i64) -> Result<Command, Reply> {
    let arguments = request.split_off(1);
    let other = |other| Ok(Command::Other(other));
    match name {
        "multi" => return other(Other::Multi),
        "exec" => return other(Other::Exec),
        "discard" => return other(Other::Discard),
        "watch" => return other(Other::Watch(arguments)),
        "unwatch" => return other(Other::Unwatch),
        "reset" => return other(Other::Reset),
        "quit" => return other(Other::Quit),
        "hello" => return other(Other::Hello(arguments)),
        "client" => return other(Other::Client(arguments)),
        "config" => return other(Other::Config(arguments)),
        "info" => return other(Other::Info(arguments)),
        "mget" => return Ok(Command::Keyed(Keyed::Values(arguments))),
        "del" | "unlink" => return Ok(Command::Keyed(Keyed::Delete(arguments))),
        "exists" | "touch" => return Ok(Command::Keyed(Keyed::Count(arguments))),
        "dbsize" => return Ok(Command::Keyed(Keyed::Size)),
        "command" => {
            check_command(&arguments)?;
            return other(Other::Command(arguments));
        }
        _ => {}
    }
    let key = arguments.first().cloned().unwrap_or_default();
    let one = |op| Ok(Command::Keyed(Keyed::One(key.clone(), op)));
    let told = |millis, absolute| one(Op::Ttl(key.clone(), Told { millis, absolute }));
    match (name, &arguments[..]) {
        ("ping", []) => Ok(Command::Now(Reply::Simple("PONG"))),
        ("ping" | "echo", [text]) => Ok(Command::Now(Reply::Bulk(text.clone()))),
        ("ping", _) => Err(wrong_number(name)),
        ("time", _) => {
            let text = |number: i64| Reply::text(number.to_string());
            Ok(Command::Now(Reply::Array(vec![text(now / 1000), text(now % 1000 * 1000)])))
        }
        ("select", [number]) => match integer(number)? {
            0 => Ok(Command::Now(Reply::OK)),
            _ => Err(Reply::err("DB index is out of range")),
        },
        ("auth", [_]) => Err(Reply::err(
            "AUTH <password> called without any password configured for the default user. Are you sure your configuration is \
             correct?",
        )),
        ("auth", [user, _]) => authenticate(user).map(|()| Command::Now(Reply::OK)),
        ("get", _) => one(Op::Get(key.clone())),
        ("getdel", _) => one(Op::GetAndDelete(key.clone())),
        ("getex", [_, options @ ..]) => one(Op::GetAndExpire(key.clone(), get_and_expire(options, now)?)),
        ("strlen", _) => one(Op::Length(key.clone())),
        ("type", _) => one(Op::Type(key.clone())),
        ("set", [_, value, options @ ..]) => one(set(&key, value, options, now)?),
        ("setnx", [_, value]) => one(Op::SetAbsent(key.clone(), value.clone())),
        ("getset", [_, value]) => one(always(&key, value, Expiry::Never, true)),
        ("setex" | "psetex", [_, time, value]) => {
            let at = until(integer(time)?, if name == "setex" { 1000 } else { 1 }, now, name)?;
            one(always(&key, value, Expiry::At(at), false))
        }
        ("mset", pairs) if pairs.len().is_multiple_of(2) => {
            let pairs = pairs.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
            Ok(Command::Keyed(Keyed::SetAll(pairs)))
        }
        ("incr", _) => one(Op::IncrBy(key.clone(), 1)),
        ("decr", _) => one(Op::IncrBy(key.clone(), -1)),
        ("incrby", [_, by]) => one(Op::IncrBy(key.clone(), integer(by)?)),
        ("decrby", [_, by]) => {
            let by = integer(by)?.checked_neg().ok_or_else(|| Reply::err("decrement would overflow"))?;
            one(Op::IncrBy(key.clone(), by))
        }
        ("expire" | "pexpire" | "expireat" | "pexpireat", [_, time, options @ ..]) => {
            let unit = if name.starts_with('p') { 1 } else { 1000 };
            let base = if name.ends_with("at") { 0 } else { now };
            // Redis parses the integer first.
            let time = integer(time)?;
            let only = only(options)?;
            let at = time.checked_mul(unit).and_then(|time| time.checked_add(base));
            one(Op::Expire { key: key.clone(), at: at.ok_or_else(|| invalid_time(name))?, only })
        }
        ("ttl", _) => told(false, false),
        ("pttl", _) => told(true, false),
        ("expiretime", _) => told(false, true),
        ("pexpiretime", _) => told(true, true),
        ("persist", _) => one(Op::Persist(key.clone())),
        ("keys", [pattern]) => {
            let pattern = pattern_of(pattern)?;
            other(Other::Keys { pattern })
        }
        ("scan", [cursor, options @ ..]) => other(Other::Scan(scan(cursor, options)?)),
        ("flushdb" | "flushall", []) => Ok(Command::Keyed(Keyed::Flush)),
        ("flushdb" | "flushall", [how]) if how.eq_ignore_ascii_case(b"sync") || how.eq_ignore_ascii_case(b"async") => {
            Ok(Command::Keyed(Keyed::Flush))
        }
        ("shard", [what, which]) if what.eq_ignore_ascii_case(b"crash") => {
            let number = usize::try_from(integer(which)?).map_err(|_| Reply::err("no such shard"))?;
            other(Other::Crash(number))
        }
        ("mset", _) => Err(wrong_number(name)),
        _ => syntax(),
    }
}

/// Checks a user name. Only the default user exists, and it has no password.
pub fn authenticate(user: &Bytes) -> Result<(), Reply> {
    if &user[..] == b"default" {
        return Ok(());
    }
    Err(Reply::Error("WRONGPASS invalid username-password pair or user is disabled.".to_owned()))
}

fn always(key: &Bytes, value: &Bytes, expiry: Expiry, get: bool) -> Op {
    Op::Set { key: key.clone(), value: value.clone(), when: When::Always, expiry, get }
}

fn invalid_time(name: &str) -> Reply {
    Reply::err(format_args!("invalid expire time in '{name}' command"))
}

/// Returns the time this many units after now. Redis refuses a time that is not in the future or
/// does not fit.
fn until(time: i64, unit: i64, now: i64, name: &str) -> Result<i64, Reply> {
    let at = time.checked_mul(unit).filter(|time| *time > 0).and_then(|time| time.checked_add(now));
    at.ok_or_else(|| invalid_time(name))
}

/// Returns the unit and the base time of an `EX`, `PX`, `EXAT` or `PXAT` option, if it is one of
/// these.
fn expiry_option(option: &[u8], now: i64) -> Option<(i64, i64)> {
    match option {
        b"ex" => Some((1000, now)),
        b"px" => Some((1, now)),
        b"exat" => Some((1000, 0)),
        b"pxat" => Some((1, 0)),
        _ => None,
    }
}

fn set(key: &Bytes, value: &Bytes, options: &[Bytes], now: i64) -> Result<Op, Reply> {
    let (mut when, mut expiry, mut get) = (None, None, false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let option = option.to_ascii_lowercase();
        match &option[..] {
            b"nx" if when.is_none_or(|when| when == When::Absent) => when = Some(When::Absent),
            b"xx" if when.is_none_or(|when| when == When::Present) => when = Some(When::Present),
            b"get" => get = true,
            b"keepttl" if expiry.is_none_or(|expiry| expiry == Expiry::Keep) => expiry = Some(Expiry::Keep),
            other if expiry.is_none() => {
                let Some((unit, base)) = expiry_option(other, now) else { return syntax() };
                let Some(time) = options.next() else { return syntax() };
                expiry = Some(Expiry::At(until(integer(time)?, unit, base, "set")?));
            }
            _ => return syntax(),
        }
    }
    let (when, expiry) = (when.unwrap_or_default(), expiry.unwrap_or_default());
    Ok(Op::Set { key: key.clone(), value: value.clone(), when, expiry, get })
}

fn get_and_expire(options: &[Bytes], now: i64) -> Result<Expiry, Reply> {
    match options {
        [] => Ok(Expiry::Keep),
        [option] if option.eq_ignore_ascii_case(b"persist") => Ok(Expiry::Never),
        [option, time] => match expiry_option(&option.to_ascii_lowercase(), now) {
            Some((unit, base)) => Ok(Expiry::At(until(integer(time)?, unit, base, "getex")?)),
            None => syntax(),
        },
        _ => syntax(),
    }
}

fn only(options: &[Bytes]) -> Result<Only, Reply> {
    let mut only = Only::default();
    for option in options {
        match &option.to_ascii_lowercase()[..] {
            b"nx" => only.without = true,
            b"xx" => only.with = true,
            b"gt" => only.later = true,
            b"lt" => only.sooner = true,
            _ => return Err(Reply::err(format_args!("Unsupported option {}", shown(option)))),
        }
    }
    if only.without && (only.with || only.later || only.sooner) {
        return Err(Reply::err("NX and XX, GT or LT options at the same time are not compatible"));
    }
    if only.later && only.sooner {
        return Err(Reply::err("GT and LT options at the same time are not compatible"));
    }
    Ok(only)
}

fn pattern_of(pattern: &Bytes) -> Result<Bytes, Reply> {
    if pattern.len() > glob::LONGEST {
        return Err(Reply::err("the pattern is too long"));
    }
    Ok(pattern.clone())
}

fn scan(cursor: &Bytes, options: &[Bytes]) -> Result<Scan, Reply> {
    let number = std::str::from_utf8(cursor).ok().and_then(|text| text.parse().ok());
    let cursor = number.ok_or_else(|| Reply::err("invalid cursor"))?;
    let mut scan = Scan { cursor, pattern: None, count: 10, is_type: true };
    if !options.len().is_multiple_of(2) {
        return syntax();
    }
    for option in options.chunks(2) {
        match &option[0].to_ascii_lowercase()[..] {
            b"match" => scan.pattern = Some(pattern_of(&option[1])?),
            b"count" => {
                let count = integer(&option[1])?;
                let count = usize::try_from(count.min(TOP as i64)).ok().filter(|count| *count > 0);
                scan.count = count.map_or_else(syntax, Ok)?;
            }
            b"type" => scan.is_type = option[1].eq_ignore_ascii_case(b"string"),
            _ => return syntax(),
        }
    }
    Ok(scan)
}

/// The largest number of names of a `COMMAND INFO` or `COMMAND DOCS`: each may be any command, and
/// takes much more room in the reply than in the request.
const MOST_NAMES: usize = 1024;

fn check_command(arguments: &[Bytes]) -> Result<(), Reply> {
    let Some((what, names)) = arguments.split_first() else { return Ok(()) };
    match (&what.to_ascii_lowercase()[..], names) {
        _ if names.len() > MOST_NAMES => Err(Reply::err("too many command names")),
        (b"count" | b"list", []) | (b"info" | b"docs", _) => Ok(()),
        (other, _) => Err(unknown_subcommand("COMMAND", other)),
    }
}

/// Returns the reply to `COMMAND` with its arguments.
pub fn describe(arguments: &[Bytes]) -> Reply {
    let named = |names: &[Bytes]| -> Vec<Option<&'static table::Spec>> {
        names.iter().map(|name| table::find(&name.to_ascii_lowercase())).collect()
    };
    let all = || table::COMMANDS.iter();
    let Some((what, names)) = arguments.split_first() else {
        return Reply::Array(all().map(table::Spec::info).collect());
    };
    match (&what.to_ascii_lowercase()[..], names) {
        (b"count", []) => Reply::Integer(table::COMMANDS.len() as i64),
        (b"list", []) => Reply::Array(all().map(|spec| Reply::text(spec.name)).collect()),
        (b"info", []) => Reply::Array(all().map(table::Spec::info).collect()),
        (b"info", names) => {
            Reply::Array(named(names).into_iter().map(|spec| spec.map_or(Reply::NilArray, table::Spec::info)).collect())
        }
        (b"docs", []) => Reply::Map(all().map(table::Spec::docs).collect()),
        (b"docs", names) => Reply::Map(named(names).into_iter().flatten().map(table::Spec::docs).collect()),
        (other, _) => unknown_subcommand("COMMAND", other),
    }
}

/// Returns the reply to an unknown subcommand.
pub fn unknown_subcommand(container: &str, what: &[u8]) -> Reply {
    Reply::err(format_args!("unknown subcommand '{}'. Try {container} HELP.", shown(what)))
}
