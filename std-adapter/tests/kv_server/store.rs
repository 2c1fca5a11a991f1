//! The data of a shard, without its process.

use bytes::Bytes;

use crate::kv::resp::Reply;
use crate::kv::store::{Answer, Expiry, Next, Only, Op, Store, TOP, When};

const NOW: i64 = 1_000_000;

fn set(key: &str, at: Option<i64>) -> Op {
    let expiry = at.map_or(Expiry::Never, Expiry::At);
    Op::Set {
        key: Bytes::from(key.to_owned()),
        value: Bytes::from_static(b"v"),
        when: When::Always,
        expiry,
        get: false,
    }
}

fn key(key: &str) -> Bytes {
    Bytes::from(key.to_owned())
}

/// Issue 14, 24: a key's expiry is one entry, however often it is set.
#[test]
fn n24_one_entry_for_an_expiry() {
    let mut store = Store::new(NOW);
    store.perform(set("first", Some(NOW + 10)), NOW);
    for turn in 0..1000 {
        store.perform(set("key", Some(NOW + 1000 + turn)), NOW);
        let at = NOW + 2000 + turn;
        store.perform(Op::Expire { key: key("key"), at, only: Only::default() }, NOW);
        store.perform(Op::GetAndExpire(key("key"), Expiry::At(at + 1)), NOW);
        assert_eq!(store.expiring(), 2);
    }
    store.perform(Op::IncrBy(key("number"), 1), NOW);
    store.perform(Op::Persist(key("key")), NOW);
    assert_eq!(store.expiring(), 1);
    store.perform(set("first", None), NOW);
    assert_eq!(store.expiring(), 0);
    for op in [
        set("key", Some(NOW + 1)),
        Op::Delete(vec![key("key")]),
        set("key", Some(NOW + 1)),
        Op::GetAndDelete(key("key")),
    ] {
        store.perform(op, NOW);
    }
    assert_eq!((store.expiring(), store.len()), (0, 2));
}

/// Issue 14, 24: keys that expire at the same time are collected in slices, and are absent before
/// they are collected.
#[test]
fn n24_expiry_in_slices() {
    let mut store = Store::new(NOW);
    for n in 0..1000 {
        store.perform(set(&format!("key{n}"), Some(NOW + 5)), NOW);
    }
    assert!(matches!(store.collect(NOW, 100), Next::After(time) if time.as_millis() == 5));
    let later = NOW + 5;
    assert_eq!(store.perform(Op::Get(key("key1")), later), Answer::Reply(Reply::Nil));
    assert_eq!(store.perform(Op::Count(vec![key("key1"), key("key2")]), later), Answer::Reply(Reply::Integer(0)));
    assert_eq!(store.perform(Op::Delete(vec![key("key1")]), later), Answer::Reply(Reply::Integer(0)));
    assert_eq!(store.perform(Op::Scan { before: TOP, most: 10_000 }, later), Answer::Keys(0, Vec::new()));
    assert_eq!(store.perform(Op::IncrBy(key("key2"), 7), later), Answer::Reply(Reply::Integer(7)));
    let mut slices = 0;
    while store.collect(later, 100) == Next::Now {
        slices += 1;
    }
    assert_eq!((slices, store.len(), store.expiring()), (9, 1, 0));
}

/// Issue 14, 24: a flush hands its data out, to be dropped in slices.
#[test]
fn n24_flush_in_slices() {
    let mut store = Store::new(NOW);
    for n in 0..1000 {
        store.perform(set(&format!("key{n}"), Some(NOW + 5)), NOW);
    }
    store.perform(Op::Flush, NOW);
    assert_eq!((store.len(), store.expiring()), (0, 0));
    let mut garbage = store.garbage.take().expect("what was flushed");
    assert!((0..10).all(|_| garbage.sweep(100)));
    assert!(!garbage.sweep(1));
}

/// Issue 14, 24: a scan returns every key that is present throughout, whatever is deleted and added
/// during it.
#[test]
fn n24_a_scan_returns_every_key_that_stays() {
    let mut store = Store::new(NOW);
    for n in 0..1000 {
        store.perform(set(&format!("stays{n}"), None), NOW);
        store.perform(set(&format!("goes{n}"), None), NOW);
    }
    let (mut before, mut met, mut turn) = (TOP, std::collections::HashSet::new(), 0_usize);
    while before > 0 {
        let Answer::Keys(next, keys) = store.perform(Op::Scan { before, most: 10 }, NOW) else { panic!("keys") };
        met.extend(keys);
        before = next;
        for n in 0..5 {
            store.perform(Op::Delete(vec![key(&format!("goes{}", (turn * 37 + n * 211) % 1000))]), NOW);
            store.perform(set(&format!("new{turn}-{n}"), None), NOW);
        }
        turn += 1;
    }
    assert!((0..1000).all(|n| met.contains(format!("stays{n}").as_bytes())));
}
