//! The data of a shard: values by key, some of which expire.
//!
//! - **S1.** Each operation is short, however large the store is. A scan ([`Op::Scan`]) and the
//!   collection of expired keys ([`Store::collect`]) run in slices. Flushed data is handed out, to
//!   be dropped elsewhere ([`Store::garbage`]).
//! - **S2.** A key that expires has one entry in `expiries`, which is removed with its expiry.
//!   Setting an expiry repeatedly leaves nothing behind.
//! - **S3.** An expired key is absent for every operation, whether it is collected or not.
//! - **S4.** A scan goes down from the last index. A deletion moves the last key into the index
//!   that it frees. So it moves a key that the scan has already returned, or keeps it below the
//!   scan. A key that is present throughout the scan is therefore returned, perhaps twice.

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::resp::{Reply, number};

/// The condition of a `SET`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum When {
    /// Sets always.
    #[default]
    Always,
    /// Sets only if the key has no value (`NX`).
    Absent,
    /// Sets only if the key has a value (`XX`).
    Present,
}

/// The effect of a `SET` on a key's expiry.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Expiry {
    /// Removes the expiry.
    #[default]
    Never,
    /// Keeps the expiry.
    Keep,
    /// Sets the expiry to this time ([`super::clock`]).
    At(i64),
}

/// The condition of an `EXPIRE`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Only {
    /// `NX`: only a key without an expiry.
    pub without: bool,
    /// `XX`: only a key with one.
    pub with: bool,
    /// `GT`: only if the new expiry is later.
    pub later: bool,
    /// `LT`: only if the new expiry is sooner.
    pub sooner: bool,
}

/// The format in which an expiry is returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// `true` for milliseconds, `false` for seconds.
    pub millis: bool,
    /// `true` for a point in time, `false` for the time left.
    pub absolute: bool,
}

/// An operation of a shard. All keys belong to this shard.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "named after Redis's commands")]
pub enum Op {
    Get(Bytes),
    GetMany(Vec<Bytes>),
    GetAndDelete(Bytes),
    GetAndExpire(Bytes, Expiry),
    Set {
        key: Bytes,
        value: Bytes,
        when: When,
        expiry: Expiry,
        get: bool,
    },
    SetAbsent(Bytes, Bytes),
    SetMany(Vec<(Bytes, Bytes)>),
    Delete(Vec<Bytes>),
    Count(Vec<Bytes>),
    Length(Bytes),
    Type(Bytes),
    IncrBy(Bytes, i64),
    Expire {
        key: Bytes,
        at: i64,
        only: Only,
    },
    Ttl(Bytes, Told),
    Persist(Bytes),
    /// Returns the keys at up to `most` indices below `before` ([`TOP`] starts a scan).
    Scan {
        before: u64,
        most: usize,
    },
    /// Returns the version that `WATCH` remembers.
    Version(Bytes),
    Size,
    Flush,
}

/// The start of a scan: above all indices.
pub const TOP: u64 = 1 << 40;

/// An answer of a shard.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// A reply for the client.
    Reply(Reply),
    /// The keys of a scan, and the index below which it continues; 0 ends the scan.
    Keys(u64, Vec<Bytes>),
    /// A key's version: it changes with each write, and is 0 without a value.
    Version(u64),
    /// `true` if the shard is held ([`super::shard`]).
    Held(bool),
    /// The guards of a transaction failed.
    Aborted,
}

struct Entry {
    value: Bytes,
    expires: Option<i64>,
    version: u64,
}

type Entries = IndexMap<Bytes, Entry, RandomState>;

/// The time of the next call of [`Store::collect`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// At once: more keys have expired.
    Now,
    /// After this time.
    After(Duration),
    /// Once a new expiry is set.
    Never,
}

/// The data of a flush, to be dropped where no client waits.
#[derive(Default)]
pub struct Garbage {
    entries: Entries,
    expiries: BTreeSet<(i64, Bytes)>,
}

impl Garbage {
    /// Drops a part of the data. Returns `true` if more is left.
    pub fn sweep(&mut self, most: usize) -> bool {
        for _ in 0..most {
            if self.entries.pop().is_none() & self.expiries.pop_first().is_none() {
                return false;
            }
        }
        true
    }
}

/// The keys and values of a shard (S1 to S4).
pub struct Store {
    entries: Entries,
    /// Exactly the keys that expire, soonest first (S2).
    expiries: BTreeSet<(i64, Bytes)>,
    versions: u64,
    /// The flushed data.
    pub garbage: Option<Garbage>,
}

const NOT_AN_INTEGER: &str = "value is not an integer or out of range";

impl Store {
    /// Returns an empty store. Versions of a store made later are different.
    pub fn new(now: i64) -> Self {
        let versions = (now.max(1) as u64) << 20;
        Self { entries: Entries::default(), expiries: BTreeSet::new(), versions, garbage: None }
    }

    /// Returns the number of keys that have a value, or are expired and not yet collected.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the number of keys that expire.
    pub fn expiring(&self) -> usize {
        self.expiries.len()
    }

    /// Drops up to `most` expired keys.
    pub fn collect(&mut self, now: i64, most: usize) -> Next {
        for _ in 0..most {
            match self.expiries.first() {
                None => return Next::Never,
                Some((at, _)) if *at > now => {
                    return Next::After(Duration::from_millis(at.saturating_sub(now) as u64));
                }
                Some(_) => {}
            }
            if let Some((_, key)) = self.expiries.pop_first() {
                self.entries.swap_remove(&key);
            }
        }
        Next::Now
    }

    fn entry(&self, key: &Bytes, now: i64) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.expires.is_none_or(|at| at > now))
    }

    fn delete(&mut self, key: &Bytes, now: i64) -> Option<Bytes> {
        let entry = self.entries.swap_remove(key)?;
        if let Some(at) = entry.expires {
            self.expiries.remove(&(at, key.clone()));
        }
        entry.expires.is_none_or(|at| at > now).then_some(entry.value)
    }

    fn version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    fn put(&mut self, key: Bytes, value: Bytes, expires: Option<i64>) {
        let entry = Entry { value, expires, version: self.version() };
        if let Some(at) = expires {
            self.expiries.insert((at, key.clone()));
        }
        let (place, old) = self.entries.insert_full(key, entry);
        if let Some(at) = old.and_then(|old| old.expires).filter(|at| Some(*at) != expires)
            && let Some((key, _)) = self.entries.get_index(place)
        {
            self.expiries.remove(&(at, key.clone()));
        }
    }

    /// Sets the expiry of a key that has a value.
    fn expire(&mut self, key: &Bytes, expires: Option<i64>) {
        let version = self.version();
        let Some((_, own, entry)) = self.entries.get_full_mut(key) else { return };
        entry.version = version;
        let old = mem::replace(&mut entry.expires, expires);
        // The key's own memory, not that of the request.
        let own = own.clone();
        if let Some(at) = old {
            self.expiries.remove(&(at, own.clone()));
        }
        if let Some(at) = expires {
            self.expiries.insert((at, own));
        }
    }

    /// Returns a key's version: see [`Answer::Version`].
    pub fn version_of(&self, key: &Bytes, now: i64) -> u64 {
        self.entry(key, now).map_or(0, |entry| entry.version)
    }

    /// Carries out an operation.
    pub fn perform(&mut self, op: Op, now: i64) -> Answer {
        let value = |entry: Option<&Entry>| entry.map_or(Reply::Nil, |entry| Reply::Bulk(entry.value.clone()));
        Answer::Reply(match op {
            Op::Get(key) => value(self.entry(&key, now)),
            Op::GetMany(keys) => Reply::Array(keys.iter().map(|key| value(self.entry(key, now))).collect()),
            Op::GetAndDelete(key) => self.delete(&key, now).map_or(Reply::Nil, Reply::Bulk),
            Op::GetAndExpire(key, expiry) => {
                let reply = value(self.entry(&key, now));
                match expiry {
                    _ if reply == Reply::Nil => {}
                    Expiry::At(at) if at <= now => drop(self.delete(&key, now)),
                    Expiry::At(at) => self.expire(&key, Some(at)),
                    Expiry::Never => self.expire(&key, None),
                    Expiry::Keep => {}
                }
                reply
            }
            Op::Set { key, value, when, expiry, get } => self.set(key, value, when, expiry, get, now),
            Op::SetAbsent(key, value) => {
                let is_absent = self.entry(&key, now).is_none();
                if is_absent {
                    self.put(key, value, None);
                }
                Reply::Integer(i64::from(is_absent))
            }
            Op::SetMany(pairs) => {
                for (key, value) in pairs {
                    self.put(key, value, None);
                }
                Reply::OK
            }
            Op::Delete(keys) => {
                Reply::Integer(keys.iter().filter(|key| self.delete(key, now).is_some()).count() as i64)
            }
            Op::Count(keys) => Reply::Integer(keys.iter().filter(|key| self.entry(key, now).is_some()).count() as i64),
            Op::Length(key) => Reply::Integer(self.entry(&key, now).map_or(0, |entry| entry.value.len() as i64)),
            Op::Type(key) => Reply::Simple(if self.entry(&key, now).is_some() { "string" } else { "none" }),
            Op::IncrBy(key, by) => self.add(key, by, now),
            Op::Expire { key, at, only } => Reply::Integer(i64::from(self.expire_if(&key, at, only, now))),
            Op::Ttl(key, told) => Reply::Integer(match self.entry(&key, now).map(|entry| entry.expires) {
                None => -2,
                Some(None) => -1,
                Some(Some(at)) => {
                    let time = if told.absolute { at } else { at - now };
                    // Rounded half up, as in Redis.
                    if told.millis { time } else { time / 1000 + i64::from(time % 1000 >= 500) }
                }
            }),
            Op::Persist(key) => {
                let had = self.entry(&key, now).is_some_and(|entry| entry.expires.is_some());
                if had {
                    self.expire(&key, None);
                }
                Reply::Integer(i64::from(had))
            }
            Op::Scan { before, most } => return self.walk(before, most, now),
            Op::Version(key) => return Answer::Version(self.version_of(&key, now)),
            Op::Size => Reply::Integer(self.entries.len() as i64),
            Op::Flush => {
                let (entries, expiries) = (mem::take(&mut self.entries), mem::take(&mut self.expiries));
                self.garbage = Some(Garbage { entries, expiries });
                Reply::OK
            }
        })
    }

    fn walk(&self, before: u64, most: usize, now: i64) -> Answer {
        let end = usize::try_from(before).unwrap_or(usize::MAX).min(self.entries.len());
        let start = end.saturating_sub(most);
        let places = self.entries.get_range(start..end);
        let living = places.into_iter().flatten().filter(|(_, entry)| entry.expires.is_none_or(|at| at > now));
        Answer::Keys(start as u64, living.map(|(key, _)| key.clone()).collect())
    }

    fn set(&mut self, key: Bytes, value: Bytes, when: When, expiry: Expiry, get: bool, now: i64) -> Reply {
        let old = self.entry(&key, now);
        let refused = match when {
            When::Always => false,
            When::Absent => old.is_some(),
            When::Present => old.is_none(),
        };
        let before = if get { old.map_or(Reply::Nil, |entry| Reply::Bulk(entry.value.clone())) } else { Reply::OK };
        if refused {
            return if get { before } else { Reply::Nil };
        }
        match expiry {
            Expiry::Never => self.put(key, value, None),
            Expiry::Keep => {
                let expires = old.and_then(|entry| entry.expires);
                self.put(key, value, expires);
            }
            // The time is past: the value is deleted at once.
            Expiry::At(at) if at <= now => drop(self.delete(&key, now)),
            Expiry::At(at) => self.put(key, value, Some(at)),
        }
        before
    }

    fn add(&mut self, key: Bytes, by: i64, now: i64) -> Reply {
        let old = self.entry(&key, now);
        let (number, expires) = match old {
            Some(entry) => (number::integer(&entry.value), entry.expires),
            None => (Some(0), None),
        };
        let Some(number) = number else { return Reply::err(NOT_AN_INTEGER) };
        let Some(sum) = number.checked_add(by) else {
            return Reply::err("increment or decrement would overflow");
        };
        self.put(key, Bytes::from(sum.to_string()), expires);
        Reply::Integer(sum)
    }

    fn expire_if(&mut self, key: &Bytes, at: i64, only: Only, now: i64) -> bool {
        let Some(entry) = self.entry(key, now) else { return false };
        // A key without an expiry counts as expiring last.
        let current = entry.expires.unwrap_or(i64::MAX);
        let refused = only.without && entry.expires.is_some()
            || only.with && entry.expires.is_none()
            || only.later && at <= current
            || only.sooner && at >= current;
        if refused {
            return false;
        }
        if at <= now {
            self.delete(key, now);
        } else {
            self.expire(key, Some(at));
        }
        true
    }
}
