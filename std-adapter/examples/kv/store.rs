//! What a shard holds: values by key, some of which expire.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::resp::Reply;

/// When a `SET` sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Always.
    Always,
    /// Only if the key has no value (`NX`).
    Absent,
    /// Only if it has one (`XX`).
    Present,
}

/// What becomes of a key's expiry with a `SET`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// None.
    Never,
    /// The one it had.
    Keep,
    /// After so long.
    After(Duration),
}

/// What a shard is asked to do.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "named after Redis's commands")]
pub enum Op {
    Get(Bytes),
    Set { key: Bytes, value: Bytes, when: When, expiry: Expiry, get: bool },
    Del(Bytes),
    Exists(Bytes),
    IncrBy(Bytes, i64),
    Expire(Bytes, i64),
    Ttl { key: Bytes, millis: bool },
    Persist(Bytes),
    Keys(Bytes),
    Size,
    Flush,
}

struct Entry {
    value: Bytes,
    expires: Option<Instant>,
}

/// See the module.
#[derive(Default)]
pub struct Store {
    entries: HashMap<Bytes, Entry, RandomState>,
    /// What expires, soonest first; an item may be out of date.
    expiries: BinaryHeap<Reverse<(Instant, Bytes)>>,
}

impl Store {
    /// Keys that have a value.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Drops what has expired; how long until there is more.
    pub fn expire(&mut self, now: Instant) -> Option<Duration> {
        while let Some(Reverse((when, key))) = self.expiries.peek() {
            let current = self.entries.get(key).and_then(|entry| entry.expires);
            if current == Some(*when) && *when > now {
                return Some(*when - now);
            }
            if current == Some(*when) {
                self.entries.remove(key);
            }
            self.expiries.pop();
        }
        None
    }

    fn set_expiry(&mut self, key: &Bytes, when: Option<Instant>) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.expires = when;
            if let Some(when) = when {
                self.expiries.push(Reverse((when, key.clone())));
            }
        }
    }

    /// Does what is asked, after [`Store::expire`] for the same moment.
    pub fn perform(&mut self, op: Op, now: Instant) -> Reply {
        match op {
            Op::Get(key) => Reply::Bulk(self.entries.get(&key).map(|entry| entry.value.clone())),
            Op::Set { key, value, when, expiry, get } => self.set(key, value, when, expiry, get, now),
            Op::Del(key) => Reply::Integer(i64::from(self.entries.remove(&key).is_some())),
            Op::Exists(key) => Reply::Integer(i64::from(self.entries.contains_key(&key))),
            Op::IncrBy(key, by) => self.add(key, by),
            Op::Expire(key, millis) => {
                let exists = self.entries.contains_key(&key);
                match u64::try_from(millis) {
                    Ok(millis) if millis > 0 => self.set_expiry(&key, now.checked_add(Duration::from_millis(millis))),
                    _ => drop(self.entries.remove(&key)),
                }
                Reply::Integer(i64::from(exists))
            }
            Op::Ttl { key, millis } => Reply::Integer(match self.entries.get(&key).map(|entry| entry.expires) {
                None => -2,
                Some(None) => -1,
                Some(Some(when)) => {
                    let left = (when - now).as_millis() as i64;
                    if millis { left } else { (left + 500) / 1000 }
                }
            }),
            Op::Persist(key) => {
                let had = self.entries.get_mut(&key).and_then(|entry| entry.expires.take());
                Reply::Integer(i64::from(had.is_some()))
            }
            Op::Keys(pattern) => {
                let keys = self.entries.keys().filter(|key| matches(&pattern, key));
                Reply::Array(keys.map(|key| Reply::Bulk(Some(key.clone()))).collect())
            }
            Op::Size => Reply::Integer(self.entries.len() as i64),
            Op::Flush => {
                *self = Self::default();
                Reply::OK
            }
        }
    }

    fn set(&mut self, key: Bytes, value: Bytes, when: When, expiry: Expiry, get: bool, now: Instant) -> Reply {
        let old = self.entries.get(&key);
        let refused = match when {
            When::Always => false,
            When::Absent => old.is_some(),
            When::Present => old.is_none(),
        };
        let before = Reply::Bulk(old.map(|entry| entry.value.clone()));
        if refused {
            return if get { before } else { Reply::NIL };
        }
        let expires = match expiry {
            Expiry::Never => None,
            Expiry::Keep => old.and_then(|entry| entry.expires),
            Expiry::After(time) => now.checked_add(time),
        };
        self.entries.insert(key.clone(), Entry { value, expires: None });
        self.set_expiry(&key, expires);
        if get { before } else { Reply::OK }
    }

    fn add(&mut self, key: Bytes, by: i64) -> Reply {
        let entry = self.entries.entry(key).or_insert_with(|| Entry { value: Bytes::from_static(b"0"), expires: None });
        let number = std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse::<i64>().ok());
        let Some(number) = number else { return Reply::err("value is not an integer or out of range") };
        match number.checked_add(by) {
            Some(sum) => {
                entry.value = Bytes::from(sum.to_string());
                Reply::Integer(sum)
            }
            None => Reply::err("increment or decrement would overflow"),
        }
    }
}

/// Whether a key matches a pattern with `*`, `?`, `[a-c]`, `[^a]` and `\` as Redis reads them.
pub fn matches(pattern: &[u8], key: &[u8]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, key) || key.split_first().is_some_and(|(_, left)| matches(pattern, left))
        }
        (Some((b'?', rest)), Some((_, left))) => matches(rest, left),
        (Some((b'[', rest)), Some((byte, left))) => match class(rest, *byte) {
            Some((true, rest)) => matches(rest, left),
            _ => false,
        },
        (Some((b'\\', [escaped, rest @ ..])), Some((byte, left))) => escaped == byte && matches(rest, left),
        (Some((wanted, rest)), Some((byte, left))) => wanted == byte && matches(rest, left),
        _ => false,
    }
}

/// Whether a byte is in the class that starts here, and what follows the class.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    loop {
        match rest {
            [] => return None,
            [b']', after @ ..] => return Some((found != negated, after)),
            [b'\\', one, after @ ..] => {
                found |= *one == byte;
                rest = after;
            }
            [low, b'-', high, after @ ..] if *high != b']' => {
                found |= (low.min(high)..=low.max(high)).contains(&&byte);
                rest = after;
            }
            [one, after @ ..] => {
                found |= *one == byte;
                rest = after;
            }
        }
    }
}
