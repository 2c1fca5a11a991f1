//! Models of a record's reference count: the holder that releases the last reference owns the
//! record exclusively (`refcount`).
#![cfg(loom)]

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::refcount::{Orders, RefCount};
use atropos_loom::{model, mutant};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

/// A record's reason and its reference count.
struct Record<O> {
    shares: RefCount<O>,
    reason: UnsafeCell<u8>,
}

/// Releases a reference. Returns 1 if it was the last, after an access to the reason that loom
/// checks.
fn release<O: Orders>(record: &Record<O>) -> usize {
    let last = record.shares.release();
    if last {
        record.reason.with_mut(|_| ());
    }
    usize::from(last)
}

/// One side writes and releases, the other side releases: the side that frees the record owns it
/// exclusively.
fn last_share<O: Orders>() {
    let record = Arc::new(Record { shares: RefCount::<O>::new(2), reason: UnsafeCell::new(0) });
    let other = record.clone();
    let dies = thread::spawn(move || {
        // SAFETY: the other side accesses the reason only after both references are released: the
        // model's claim.
        other.reason.with_mut(|reason| unsafe { *reason = 1 });
        release(&other)
    });
    let freed = release(&record) + dies.join().unwrap();
    assert_eq!(freed, 1, "exactly one side frees the record");
}

/// The same as [`last_share`], but one side acquires another reference before it releases both.
fn added_share<O: Orders>() {
    let record = Arc::new(Record { shares: RefCount::<O>::new(2), reason: UnsafeCell::new(0) });
    let other = record.clone();
    let adds = thread::spawn(move || {
        other.shares.add();
        let first = release(&other);
        assert_eq!(first, 0, "the side's other reference is left");
        // SAFETY: this side still holds a reference, so the other side does not access the reason.
        other.reason.with_mut(|reason| unsafe { *reason = 1 });
        release(&other)
    });
    let freed = release(&record) + adds.join().unwrap();
    assert_eq!(freed, 1, "exactly one side frees the record");
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
    model("refcount, the last reference", None, last_share::<Shipped>);
    model("refcount, a reference is added", None, added_share::<Shipped>);
}

#[test]
fn mutants() {
    mutant("refcount, the last reference Relaxed", Some(2), last_share::<Relaxed>);
    mutant("refcount, the last reference without Release", Some(2), last_share::<NoRelease>);
    mutant("refcount, the last reference checked Relaxed", Some(2), last_share::<LooksRelaxed>);
    mutant("refcount, the last reference without Acquire", Some(2), last_share::<NoAcquire>);
}
