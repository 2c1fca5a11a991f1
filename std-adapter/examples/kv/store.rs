//! What a shard holds: values by key, some of which expire.
//!
//! - **S1.** Each operation is short, whatever the store holds: a walk ([`Op::Scan`]) and the collection of what has expired
//!   ([`Store::collect`]) are made in slices; all that is flushed is given away, to be dropped elsewhere ([`Store::garbage`]).
//! - **S2.** A key that expires has one entry in `expiries`, which goes with its expiry. To set an expiry again and again
//!   leaves nothing behind.
//! - **S3.** A key that has expired is not there for any operation, collected or not.
//! - **S4.** A walk goes down from the last place. A deletion moves the last key into the place that it leaves, so it moves
//!   keys that the walk has met, or keeps them before it: what is there all the time is met, perhaps twice.

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::resp::{Reply, number};

/// When a `SET` sets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum When {
    /// Always.
    #[default]
    Always,
    /// Only if the key has no value (`NX`).
    Absent,
    /// Only if it has one (`XX`).
    Present,
}

/// What becomes of a key's expiry with a `SET`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Expiry {
    /// None.
    #[default]
    Never,
    /// The one it had.
    Keep,
    /// At this time ([`super::clock`]).
    At(i64),
}

/// For which keys an `EXPIRE` is meant.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Only {
    /// `NX`: those without an expiry.
    pub without: bool,
    /// `XX`: those with one.
    pub with: bool,
    /// `GT`: those that would expire later than now set.
    pub later: bool,
    /// `LT`: those that would expire sooner.
    pub sooner: bool,
}

/// How an expiry is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// In milliseconds, not seconds.
    pub millis: bool,
    /// As a time, not as what is left.
    pub absolute: bool,
}

/// What a shard is asked to do. The keys are all of this shard.
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
    /// The keys in up to so many places before this one ([`TOP`] begins).
    Scan {
        before: u64,
        most: usize,
    },
    /// What `WATCH` remembers.
    Version(Bytes),
    Size,
    Flush,
}

/// Where a walk begins: after all places.
pub const TOP: u64 = 1 << 40;

/// What a shard answers.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// For the client.
    Reply(Reply),
    /// Keys of a walk, and before which place it goes on; at 0 it is at its end.
    Keys(u64, Vec<Bytes>),
    /// A key's version: another after each write, 0 when it has no value.
    Version(u64),
    /// Whether the shard is held ([`super::shard`]).
    Held(bool),
    /// A transaction whose guards did not hold.
    Aborted,
}

struct Entry {
    value: Bytes,
    expires: Option<i64>,
    version: u64,
}

type Entries = IndexMap<Bytes, Entry, RandomState>;

/// When [`Store::collect`] is to be called again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Soon: there is more.
    Now,
    /// After so long.
    After(Duration),
    /// When something was set.
    Never,
}

/// What a flush has left, to be dropped where nobody waits.
#[derive(Default)]
pub struct Garbage {
    entries: Entries,
    expiries: BTreeSet<(i64, Bytes)>,
}

impl Garbage {
    /// Drops some of it; whether there is more.
    pub fn sweep(&mut self, most: usize) -> bool {
        for _ in 0..most {
            if self.entries.pop().is_none() & self.expiries.pop_first().is_none() {
                return false;
            }
        }
        true
    }
}

/// See the module.
pub struct Store {
    entries: Entries,
    /// Exactly the keys that expire, soonest first (S2).
    expiries: BTreeSet<(i64, Bytes)>,
    versions: u64,
    /// What was flushed.
    pub garbage: Option<Garbage>,
}

const NOT_AN_INTEGER: &str = "value is not an integer or out of range";

impl Store {
    /// An empty one. The versions of a store made later are others.
    pub fn new(now: i64) -> Self {
        let versions = (now.max(1) as u64) << 20;
        Self { entries: Entries::default(), expiries: BTreeSet::new(), versions, garbage: None }
    }

    /// Keys that have a value, or had and are not collected.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Keys that expire.
    pub fn expiring(&self) -> usize {
        self.expiries.len()
    }

    /// Drops up to `most` of what has expired.
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

    /// A key's version: see [`Answer::Version`].
    pub fn version_of(&self, key: &Bytes, now: i64) -> u64 {
        self.entry(key, now).map_or(0, |entry| entry.version)
    }

    /// Does what is asked.
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
                    // Rounded up from the half, as in Redis.
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
            // A time that is past: the value is gone at once.
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
        // What never expires does so later than anything.
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
