//! [`Config`]: the parameters of `CONFIG GET` and `CONFIG SET`, under Redis's names.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::glob;
use super::resp::{Limits, Reply};

/// The parameters. Each can be set while the server runs; a connection reads them for each batch.
#[derive(Debug)]
pub struct Config {
    /// `client-query-buffer-limit`: the limit on an unfinished request, on a transaction's queue,
    /// and on the keys that a client watches.
    pub query_buffer: AtomicUsize,
    /// `proto-max-bulk-len`: the longest argument.
    pub bulk: AtomicUsize,
    /// `client-output-buffer-limit normal`, the hard limit: the limit on the replies of one batch,
    /// which a transaction's replies are part of; 0 is no limit. Replies share their values with
    /// the shards, and the next batch is read only after they are written. So a client that does
    /// not read costs little even without a limit.
    pub output_buffer: AtomicUsize,
    /// `maxclients`: the largest number of clients.
    pub clients: AtomicUsize,
}

impl Default for Config {
    fn default() -> Self {
        let Limits { query_buffer, bulk, .. } = Limits::default();
        Self {
            query_buffer: query_buffer.into(),
            bulk: bulk.into(),
            output_buffer: AtomicUsize::new(0),
            clients: AtomicUsize::new(20_000),
        }
    }
}

/// Parameters that clients ask for, and that never change here.
const FIXED: &[(&str, &str)] = &[
    ("appendonly", "no"),
    ("databases", "1"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("requirepass", ""),
    ("save", ""),
    ("timeout", "0"),
];

impl Config {
    /// Returns the limits for the parser.
    pub fn limits(&self) -> Limits {
        // Relaxed, here and below: the parameters order no other access.
        Limits {
            query_buffer: self.query_buffer.load(Ordering::Relaxed),
            bulk: self.bulk.load(Ordering::Relaxed),
            ..Limits::default()
        }
    }

    fn get(&self) -> Vec<(&'static str, String)> {
        let number = |value: &AtomicUsize| value.load(Ordering::Relaxed).to_string();
        let output = format!("normal {} 0 0 slave 0 0 0 pubsub 0 0 0", number(&self.output_buffer));
        let mut all = vec![
            ("client-output-buffer-limit", output),
            ("client-query-buffer-limit", number(&self.query_buffer)),
            ("maxclients", number(&self.clients)),
            ("proto-max-bulk-len", number(&self.bulk)),
        ];
        all.extend(FIXED.iter().map(|(name, value)| (*name, (*value).to_owned())));
        all
    }

    fn set(&self, name: &[u8], value: &[u8]) -> Result<(), Reply> {
        let name = String::from_utf8_lossy(&name[..name.len().min(64)]).to_ascii_lowercase();
        let refused =
            |why: &str| Reply::err(format_args!("CONFIG SET failed (possibly related to argument '{name}') - {why}"));
        let least = |least: usize| {
            let value = memory(value).ok_or_else(|| refused("argument must be a memory value"))?;
            if value < least { Err(refused("argument is below what is allowed")) } else { Ok(value) }
        };
        match &name[..] {
            "client-query-buffer-limit" => self.query_buffer.store(least(1 << 20)?, Ordering::Relaxed),
            "proto-max-bulk-len" => self.bulk.store(least(1 << 20)?, Ordering::Relaxed),
            "maxclients" => self.clients.store(least(1)?, Ordering::Relaxed),
            "client-output-buffer-limit" => {
                let words: Vec<&[u8]> = value.split(u8::is_ascii_whitespace).collect();
                let [b"normal", hard, _, _] = words[..] else {
                    return Err(refused("expected normal and three numbers"));
                };
                let hard = memory(hard).ok_or_else(|| refused("argument must be a memory value"))?;
                self.output_buffer.store(hard, Ordering::Relaxed);
            }
            _ => {
                return Err(Reply::err(format_args!(
                    "Unknown option or number of arguments for CONFIG SET - '{name}'"
                )));
            }
        }
        Ok(())
    }

    /// Runs `CONFIG` with its arguments.
    pub fn command(&self, arguments: &[Bytes]) -> Reply {
        let Some((what, rest)) = arguments.split_first() else { return Reply::err("syntax error") };
        match (&what.to_ascii_lowercase()[..], rest) {
            (b"get", [_, ..]) => {
                if rest.iter().any(|pattern| pattern.len() > 64) || rest.len() > 64 {
                    return Reply::Map(Vec::new());
                }
                let patterns: Vec<_> = rest.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
                let wanted = |name: &str| patterns.iter().any(|pattern| glob::matches(pattern, name.as_bytes()));
                let found = self.get().into_iter().filter(|(name, _)| wanted(name));
                Reply::Map(found.map(|(name, value)| (Reply::text(name), Reply::text(value))).collect())
            }
            (b"set", [_, _, ..]) if rest.len().is_multiple_of(2) => {
                for pair in rest.chunks(2) {
                    if let Err(reply) = self.set(&pair[0], &pair[1]) {
                        return reply;
                    }
                }
                Reply::OK
            }
            (b"resetstat", []) => Reply::OK,
            (b"rewrite", []) => Reply::err("The server is running without a config file"),
            (b"get" | b"set" | b"resetstat" | b"rewrite", _) => super::command::wrong_number("config"),
            (other, _) => super::command::unknown_subcommand("CONFIG", other),
        }
    }
}

/// Parses a number of bytes as in Redis's settings: `1gb`, `512mb`, `100k`.
pub fn memory(text: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: usize = match &text[digits.len()..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}
