//! The shares of a record: who gives up the last has it to itself (`shares`).
#![cfg(loom)]

use atropos_kernel::internals::shares::{Orders, Shipped, RefCount};
use atropos_loom::{model, mutant};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

/// A record's reason, as far as the last share is concerned.
struct Record<O> {
    shares: RefCount<O>,
    reason: UnsafeCell<u8>,
}

/// Whether it was the last; then it looks, which loom checks.
fn give_up<O: Orders>(record: &Record<O>) -> usize {
    let last = record.shares.give_up();
    if last {
        record.reason.with_mut(|_| ());
    }
    usize::from(last)
}

/// One side writes and gives up, the other gives up: who frees the record has it to itself.
fn last_share<O: Orders>() {
    let record = Arc::new(Record { shares: RefCount::<O>::new(2), reason: UnsafeCell::new(0) });
    let other = record.clone();
    let dies = thread::spawn(move || {
        // SAFETY: the other side looks only when both shares are gone: the model's claim.
        other.reason.with_mut(|reason| unsafe { *reason = 1 });
        give_up(&other)
    });
    let freed = give_up(&record) + dies.join().unwrap();
    assert_eq!(freed, 1, "one of them frees it");
}

/// As [`last_share`], and the one side makes another share before it gives up both.
fn added_share<O: Orders>() {
    let record = Arc::new(Record { shares: RefCount::<O>::new(2), reason: UnsafeCell::new(0) });
    let other = record.clone();
    let adds = thread::spawn(move || {
        other.shares.add();
        let first = give_up(&other);
        assert_eq!(first, 0, "its other share is left");
        // SAFETY: as above, by the share that is left.
        other.reason.with_mut(|reason| unsafe { *reason = 1 });
        give_up(&other)
    });
    let freed = give_up(&record) + adds.join().unwrap();
    assert_eq!(freed, 1, "one of them frees it");
}

struct Relaxed;
impl Orders for Relaxed {
    const GIVE_UP: Ordering = Ordering::Relaxed;
}
struct NoRelease;
impl Orders for NoRelease {
    const GIVE_UP: Ordering = Ordering::Acquire;
}
struct LooksRelaxed;
impl Orders for LooksRelaxed {
    const LAST: Ordering = Ordering::Relaxed;
}
struct NoAcquire;
impl Orders for NoAcquire {
    const GIVE_UP: Ordering = Ordering::Release;
}

#[test]
fn protocol() {
    model("link, the last share", None, last_share::<Shipped>);
    model("link, a share is added", None, added_share::<Shipped>);
}

#[test]
fn mutants() {
    mutant("link, the last share Relaxed", Some(2), last_share::<Relaxed>);
    mutant("link, the last share without Release", Some(2), last_share::<NoRelease>);
    mutant("link, the last share looked for Relaxed", Some(2), last_share::<LooksRelaxed>);
    mutant("link, the last share without Acquire", Some(2), last_share::<NoAcquire>);
}
