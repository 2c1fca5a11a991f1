//! Models of batches of blocks on their way between cores (`memory/depot`). One core at a time owns
//! a batch, and sees it as its previous core left it.
#![cfg(loom)]

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use atropos_kernel::internals::memory::depot::{Depot, Orders, Shipped};
use atropos_kernel::internals::memory::pool::FreeBlock;
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

fn batch() -> NonNull<FreeBlock> {
    NonNull::from(Box::leak(Box::new(Batch { free: MaybeUninit::uninit(), owner: UnsafeCell::new(0) }))).cast()
}

fn use_it(batch: NonNull<FreeBlock>) {
    // SAFETY: `batch` is a `Batch`, which the model leaks until `free`.
    let batch = unsafe { batch.cast::<Batch>().as_ref() };
    // SAFETY: this thread is the batch's only owner: the model's claim, which loom checks.
    batch.owner.with_mut(|owner| unsafe { *owner += 1 });
}

fn free(batch: NonNull<FreeBlock>) {
    // SAFETY: `batch` leaked the box, and each batch is freed once, at the model's end.
    drop(unsafe { Box::from_raw(batch.cast::<Batch>().as_ptr()) });
}

/// Some threads put batches and some take them: none is left over or lost.
fn put_or_take<O: Orders + Send + Sync>(givers: usize, takers: usize) {
    let depot = Arc::new(Depot::<O>::new());
    let giving: Vec<_> = (0..givers)
        .map(|_| {
            let depot = depot.clone();
            thread::spawn(move || {
                let batch = batch();
                use_it(batch);
                let put = depot.put(0, batch);
                if !put {
                    use_it(batch);
                    free(batch);
                }
                usize::from(!put)
            })
        })
        .collect();
    let taking: Vec<_> = (0..takers)
        .map(|_| {
            let depot = depot.clone();
            thread::spawn(move || {
                let taken = depot.take(0);
                if let Some(batch) = taken {
                    use_it(batch);
                    free(batch);
                }
                usize::from(taken.is_some())
            })
        })
        .collect();
    let mut ended: usize = giving.into_iter().chain(taking).map(|thread| thread.join().unwrap()).sum();
    while let Some(batch) = depot.take(0) {
        use_it(batch);
        free(batch);
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
