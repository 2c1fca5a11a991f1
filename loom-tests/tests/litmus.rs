//! Tests of the helpers themselves: `model` must find a fault, and `mutant` must pass only if there
//! is one.
//!
//! The tests use the two shapes on which every other model rests, each correct and each with one
//! ordering weakened. Store buffering: two threads each store one word and load the other's. With a
//! `SeqCst` fence between, they cannot both read the old value. Parking and going to sleep have
//! this shape. Message passing: a value that was written to a cell before a `Release` store may be
//! read after an `Acquire` load that sees the store. Every publication of a node has this shape.
//! Loom catches the weak variants as an access to the cell without an order. The last tests invert
//! the helpers: `model` must fail on a wrong protocol, and `mutant` on a correct one, or a green
//! run means nothing.
#![cfg(loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use atropos_loom::{model, mutant};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use loom::thread;

/// Both threads store, run `between`, and load; `between` is the fence.
fn store_buffering(between: fn()) {
    let words = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let other = words.clone();
    let thread = thread::spawn(move || {
        // Relaxed: the fence is under test.
        other.0.store(1, Ordering::Relaxed);
        between();
        other.1.load(Ordering::Relaxed)
    });
    words.1.store(1, Ordering::Relaxed);
    between();
    let here = words.0.load(Ordering::Relaxed);
    let there = thread.join().expect("the thread does not panic");
    assert!(here == 1 || there == 1, "both have read the old value");
}

/// One thread writes a cell and raises a flag; the other reads the cell if it sees the flag.
fn message_passing(raise: Ordering, see: Ordering) {
    struct Parcel(UnsafeCell<usize>, AtomicUsize);
    // SAFETY: the flag decides which thread may access the cell; where it does not, loom reports
    // it.
    unsafe impl Sync for Parcel {}
    let parcel = Arc::new(Parcel(UnsafeCell::new(0), AtomicUsize::new(0)));
    let writer = parcel.clone();
    let thread = thread::spawn(move || {
        writer.0.with_mut(|cell| {
            // SAFETY: the flag is not raised yet, so the other thread does not read.
            unsafe { *cell = 7 }
        });
        writer.1.store(1, raise);
    });
    if parcel.1.load(see) == 1 {
        let read = parcel.0.with(|cell| {
            // SAFETY: the flag is raised, so the writer is done.
            unsafe { *cell }
        });
        assert_eq!(read, 7);
    }
    thread.join().expect("the thread does not panic");
}

fn seq_cst() {
    fence(Ordering::SeqCst);
}

/// A fence that is weaker than a Dekker shape needs: it orders no store before a later load.
fn acq_rel() {
    fence(Ordering::AcqRel);
}

#[test]
fn store_buffering_needs_its_fences() {
    model("litmus: store buffering, SeqCst fences", None, || store_buffering(seq_cst));
    mutant("litmus: store buffering, AcqRel fences", None, || store_buffering(acq_rel));
    mutant("litmus: store buffering, no fences", None, || store_buffering(|| ()));
}

#[test]
fn message_passing_needs_both_ends() {
    model("litmus: message passing", None, || message_passing(Ordering::Release, Ordering::Acquire));
    mutant("litmus: message passing, Relaxed store", None, || message_passing(Ordering::Relaxed, Ordering::Acquire));
    mutant("litmus: message passing, Relaxed load", None, || message_passing(Ordering::Release, Ordering::Relaxed));
    mutant("litmus: message passing, both Relaxed", None, || message_passing(Ordering::Relaxed, Ordering::Relaxed));
}

#[test]
fn a_model_that_is_wrong_fails() {
    let run = catch_unwind(AssertUnwindSafe(|| {
        model("litmus: this one must fail", None, || store_buffering(|| ()));
    }));
    assert!(run.is_err(), "model() accepted a wrong protocol");
}

#[test]
fn a_mutant_that_is_right_fails() {
    let run = catch_unwind(AssertUnwindSafe(|| {
        mutant("litmus: this one must not be caught", None, || store_buffering(seq_cst));
    }));
    assert!(run.is_err(), "mutant() accepted a correct protocol");
}

#[test]
fn a_mutant_that_is_too_long_fails() {
    let run = catch_unwind(AssertUnwindSafe(|| {
        mutant("litmus: this one is right, and endless", None, || {
            let word = AtomicUsize::new(0);
            // No thread stores: the loop waits without yielding, until loom reaches its limit of
            // steps.
            while word.load(Ordering::Relaxed) == 0 {}
        });
    }));
    assert!(run.is_err(), "mutant() took a step limit for a fault");
}
