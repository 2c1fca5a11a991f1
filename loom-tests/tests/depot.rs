//! Models of batches of blocks on their way between cores (`memory/depot`). One core at a time owns
//! a batch, and sees it as its previous core left it.
#![cfg(loom)]

use std::mem::MaybeUninit;
use std::ptr;

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::memory::depot::{Depot, Orders};
use atropos_kernel::internals::memory::pool::{FreeBlock, FreeChain};
use atropos_loom::{model, mutant};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

/// The first block of a batch, and a cell by which loom detects two owners.
#[repr(C)]
struct Batch {
    free: MaybeUninit<FreeBlock>,
    owner: UnsafeCell<usize>,
}

fn batch() -> FreeChain {
    let batch = Box::leak(Box::new(Batch { free: MaybeUninit::uninit(), owner: UnsafeCell::new(0) }));
    // SAFETY: the depot never reads into a batch, which comes with this pointer.
    unsafe { FreeChain::from_raw(ptr::from_mut(batch).cast()) }
}

fn use_it(batch: FreeChain) -> FreeChain {
    let raw = batch.into_raw();
    // SAFETY: `raw` is a `Batch`, which the model leaks until `free`.
    let batch = unsafe { &*raw.cast::<Batch>() };
    // SAFETY: this thread is the batch's only owner: the model's claim, which loom checks.
    batch.owner.with_mut(|owner| unsafe { *owner += 1 });
    // SAFETY: the chain was taken apart above.
    unsafe { FreeChain::from_raw(raw) }
}

fn free(batch: FreeChain) {
    // SAFETY: `batch` leaked the box, and each batch is freed once, at the model's end.
    drop(unsafe { Box::from_raw(batch.into_raw().cast::<Batch>()) });
}

/// Some threads put batches and some take them: none is left over or lost.
fn put_or_take<O: Orders + Send + Sync>(givers: usize, takers: usize) {
    let depot = Arc::new(Depot::<O>::new());
    let giving: Vec<_> = (0..givers)
        .map(|_| {
            let depot = depot.clone();
            thread::spawn(move || {
                let refused = depot.put(0, use_it(batch())).err();
                refused.map_or(0, |batch| {
                    free(use_it(batch));
                    1
                })
            })
        })
        .collect();
    let taking: Vec<_> = (0..takers)
        .map(|_| {
            let depot = depot.clone();
            thread::spawn(move || {
                depot.take(0).map_or(0, |batch| {
                    free(use_it(batch));
                    1
                })
            })
        })
        .collect();
    let mut ended: usize = giving.into_iter().chain(taking).map(|thread| thread.join().unwrap()).sum();
    while let Some(batch) = depot.take(0) {
        free(use_it(batch));
        ended += 1;
    }
    assert_eq!(ended, givers, "a batch is lost or duplicated");
}

macro_rules! weakened {
    ($name:ident, $order:ident) => {
        struct $name;
        impl Orders for $name {
            const $order: Ordering = Ordering::Relaxed;
        }
    };
}
weakened!(PutRelaxed, PUT);
weakened!(TakeRelaxed, TAKE);

#[test]
fn protocol() {
    model("depot: one gives, two take", Some(3), || put_or_take::<Shipped>(1, 2));
    model("depot: two give, one takes", Some(3), || put_or_take::<Shipped>(2, 1));
    model("depot: three give, with two places", Some(2), || put_or_take::<Shipped>(3, 0));
}

#[test]
fn mutants() {
    mutant("depot, put Relaxed", Some(2), || put_or_take::<PutRelaxed>(1, 1));
    mutant("depot, take Relaxed", Some(2), || put_or_take::<TakeRelaxed>(1, 1));
}
