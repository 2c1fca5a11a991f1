//! Models of tombstones. A query for the reason of a death returns the process's own reason or
//! reports it as forgotten, and never returns another process's. The reason is alive while a thread
//! may read it (`table`, T3).
#![cfg(loom)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use atropos_kernel::internals::table::{FreeSlots, Table, Tombstone};
use atropos_kernel::reclaim::{Domain, Limbo, Pool, Retired, RetiredObject};
use atropos_kernel::{BodyPoll, Cx, Host, Pid, Reason, ReasonKind, SpawnOptions};
use atropos_loom::host::{Canary, body, core, flush, kernel, member, spawn};
use atropos_loom::{model, mutant};
use loom::thread;

/// A reason of one process, whose value reveals a use after its drop.
#[derive(Debug)]
struct Why(usize, Canary);

impl PartialEq for Why {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// Creates a reason, and the count of its drops.
fn why(number: usize) -> (Reason, Arc<AtomicUsize>) {
    let (canary, ends) = Canary::new();
    (Reason::value(Why(number, canary)), ends)
}

/// Returns the number of the process whose reason it is.
fn read(dead: &Tombstone) -> Option<usize> {
    let Tombstone::Known(reason) = dead else { return None };
    let ReasonKind::Value(value) = reason.kind() else { panic!("a reason of no process: {reason:?}") };
    let why = value.downcast_ref::<Why>().expect("a reason of this model");
    why.1.sing();
    Some(why.0)
}

/// A holder of a tombstone that a claim took out, as a process is.
#[repr(C)]
struct Keeper {
    retired: Retired,
    tombstone: Option<Reason>,
}

/// A reader of the first process's tombstone, while its slot is reused by the second process, which
/// dies as well. `kept`: the tombstone that the claim took out is kept until the second process is
/// reclaimed.
fn read_or_reuse(kept: bool) {
    unsafe fn free(retired: std::ptr::NonNull<Retired>, _: Option<&Pool>) {
        // SAFETY: a keeper, made from a box below; the reclamation frees it once.
        drop(unsafe { Box::from_raw(retired.cast::<Keeper>().as_ptr()) });
    }
    let domain = Domain::new();
    let (deaths, readers) = (domain.register(), domain.register());
    drop((deaths.pin(), readers.pin()));
    let table = Arc::new(Table::new(1, 1));
    let mut slots = FreeSlots::new();
    let (first_reason, first_ends) = why(1);
    let (second_reason, second_ends) = why(2);
    let slot = table.claim(&mut slots).unwrap().slot;
    let first = slot.pid();
    table.put_tombstone(&slot, first_reason);
    table.release(slot, &mut slots);
    let reader = {
        let table = table.clone();
        thread::spawn(move || {
            let guard = readers.pin();
            let dead = table.tombstone(first, &guard);
            assert_ne!(dead, Tombstone::NeverAllocated);
            assert!(matches!(read(&dead), None | Some(1)), "the reason of another process");
            drop((guard, dead));
            readers
        })
    };
    let claim = table.claim(&mut slots).unwrap();
    assert_eq!(claim.slot.pid().index(), first.index(), "the model is about one slot");
    let keeper = Box::new(Keeper { retired: Retired::new(free), tombstone: claim.tombstone.filter(|_| kept) });
    table.put_tombstone(&claim.slot, second_reason);
    table.release(claim.slot, &mut slots);
    let mut limbo = Limbo::new();
    // SAFETY: the slot no longer leads to the keeper, and it is retired once.
    limbo.retire(unsafe { RetiredObject::new(std::ptr::NonNull::from(Box::leak(keeper)).cast()) });
    limbo.hand_on(&deaths, None);
    flush(&deaths);
    drop(reader.join().unwrap());
    flush(&deaths);
    assert_eq!(first_ends.load(Ordering::Relaxed), 1, "the first reason is dropped once no thread reads it");
    assert_eq!(second_ends.load(Ordering::Relaxed), 0, "the second reason is kept");
    drop(table);
    assert_eq!(second_ends.load(Ordering::Relaxed), 1);
}

/// The same on a whole kernel: a core starts the second process in the slot of the first and lets
/// it die.
fn kernel_reuse() {
    let (kernel, _) = kernel(1, 2);
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let mut core = core(&kernel, 0);
    let (reason, ends) = why(1);
    let (second_reason, second_ends) = why(2);
    let second = Arc::new(Mutex::new(None::<Pid>));
    let (pid, mut reasons) = (second.clone(), Some(second_reason));
    let spawner = spawn(&kernel, &ours, 0, move |cx: &Cx<'_, ()>| {
        if cx.receive().is_some() {
            let mut reason = reasons.take();
            let dies = body(move |_: &Cx<'_, ()>| BodyPoll::Exit(reason.take().unwrap()));
            let spawned = cx.spawn(&SpawnOptions::new(), dies).unwrap().pid;
            *pid.lock().unwrap() = Some(spawned);
        }
        BodyPoll::Wait
    });
    let mut reason = Some(reason);
    let first = spawn(&kernel, &ours, 0, move |_: &Cx<'_, ()>| BodyPoll::Exit(reason.take().unwrap()));
    let _ = core.run(4);
    Host::new(&kernel, &ours).send(spawner, ()).unwrap();
    let reader = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            let host = Host::new(&kernel, &theirs);
            let dead = host.tombstone(first);
            assert!(matches!(read(&dead), None | Some(1)), "the reason of another process");
            drop((host, dead));
            theirs
        })
    };
    let _ = core.run(4);
    let theirs = reader.join().unwrap();
    flush(&theirs);
    let second = second.lock().unwrap().expect("the second process was started");
    assert_eq!(second.index(), first.index(), "the model is about one slot");
    let host = Host::new(&kernel, &ours);
    assert_eq!((host.tombstone(first), read(&host.tombstone(second))), (Tombstone::Recycled, Some(2)));
    drop(host);
    assert_eq!(ends.load(Ordering::Relaxed), 1, "the second process, which kept the reason, is reclaimed");
    drop((core, theirs, ours, kernel));
    assert_eq!(second_ends.load(Ordering::Relaxed), 1);
}

#[test]
fn protocol() {
    model("tombstone: read, reuse of the slot, death", Some(4), || read_or_reuse(true));
    model("tombstone: read, respawn, on a kernel", Some(2), kernel_reuse);
}

#[test]
fn mutants() {
    mutant("tombstone, dropped by the claim", Some(2), || read_or_reuse(false));
}
