//! Models of reclamation by the kernel's own interface to the real crossbeam-epoch. The
//! participants are warmed and flushed, so that retired objects are freed within the model: not
//! under a guard, and exactly once (`reclaim`).
#![cfg(loom)]

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering as Plain;

use atropos_kernel::reclaim::return_queue::ReturnQueue;
use atropos_kernel::reclaim::{Domain, Participant, Pool};
use atropos_loom::host::{Mortal, flush};
use atropos_loom::{model, mutant};
use loom::sync::atomic::{AtomicPtr, Ordering};
use loom::thread;

/// The fault of a mutant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// A reader does not pin.
    Unpinned,
    /// A reader repins and keeps the pointer that it had loaded.
    Kept,
    /// The object is retired before it is unlinked from its place.
    RetiredFirst,
}

fn warmed(domain: &Domain) -> Participant {
    let member = domain.register();
    drop(member.pin());
    member
}

fn read(place: &AtomicPtr<Mortal>, member: &Participant, wrong: Wrong) {
    let mut guard = (wrong != Wrong::Unpinned).then(|| member.pin());
    // Acquire: as in `Table::at`.
    let found = place.load(Ordering::Acquire);
    if wrong == Wrong::Kept
        && let Some(guard) = &mut guard
    {
        guard.repin();
    }
    if !found.is_null() {
        // SAFETY: the model keeps the memory. Whether the object is alive is what the canary
        // checks.
        unsafe { &*found }.sing();
    }
}

/// Readers load an object while it is unlinked and retired.
fn read_or_retire(readers: usize, wrong: Wrong) {
    let domain = Domain::new();
    let (object, ends) = Mortal::new();
    let place = Arc::new(AtomicPtr::new(ptr::from_ref(&*object).cast_mut()));
    let retirer = warmed(&domain);
    let readers: Vec<_> = (0..readers)
        .map(|_| {
            let (place, member) = (place.clone(), warmed(&domain));
            thread::spawn(move || {
                read(&place, &member, wrong);
                member
            })
        })
        .collect();
    if wrong == Wrong::RetiredFirst {
        object.retire(&retirer);
        flush(&retirer);
    }
    // Release: as in `Table::vacate`.
    place.store(ptr::null_mut(), Ordering::Release);
    if wrong != Wrong::RetiredFirst {
        object.retire(&retirer);
        flush(&retirer);
    }
    let members: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    flush(&retirer);
    assert_eq!(ends.load(Plain::Relaxed), 1, "freed once no reader has a guard");
    drop((members, retirer, object));
}

/// A core's dead processes come back to it (`reclaim/return_queue`), while the core drains its
/// return queue and ends.
fn come_back_or_end(closes: bool) {
    let domain = Domain::new();
    let return_queue = Arc::new(ReturnQueue::new());
    let (objects, ends): (Vec<_>, Vec<_>) = (0..2).map(|_| Mortal::new()).unzip();
    let collector = warmed(&domain);
    Mortal::retire_all(&objects, &collector, Some(&return_queue));
    let collecting = thread::spawn(move || {
        flush(&collector);
        collector
    });
    return_queue.drain_into(&Pool::new(0, Arc::default()));
    if closes {
        return_queue.close();
    } else {
        return_queue.drain_into(&Pool::new(0, Arc::default()));
        // An object that arrives later is not freed by the drop of the queue either.
        std::mem::forget(return_queue.clone());
    }
    let collector = collecting.join().unwrap();
    flush(&collector);
    for ends in &ends {
        assert_eq!(ends.load(Plain::Relaxed), 1, "freed, by the core or by the thread that found the queue closed");
    }
    drop((collector, objects));
}

#[test]
fn protocol() {
    model("return queue: come back, core ends", None, || come_back_or_end(true));
    model("epoch: retire, one reader", None, || read_or_retire(1, Wrong::Nothing));
    model("epoch: retire, two readers", Some(2), || read_or_retire(2, Wrong::Nothing));
}

#[test]
fn mutants() {
    mutant("return queue, never closed", Some(2), || come_back_or_end(false));
    mutant("epoch, a reader does not pin", Some(2), || read_or_retire(1, Wrong::Unpinned));
    mutant("epoch, a reader repins and keeps", None, || read_or_retire(1, Wrong::Kept));
    mutant("epoch, retired before it is unlinked", Some(2), || read_or_retire(1, Wrong::RetiredFirst));
}
