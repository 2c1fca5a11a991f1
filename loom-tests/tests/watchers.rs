//! Models of the lists that a death closes, and of their sweeps. Each record is fired once or was
//! cancelled, and a sweep loses none (`list`, `sweep_list`).
#![cfg(loom)]

use std::ptr::NonNull;

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::handle::Handle;
use atropos_kernel::internals::list::{Chain, Linked, Links, List, Orders};
use atropos_kernel::internals::sweep_list::SweepList;
use atropos_loom::{model, mutant};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

const ARMED: usize = 0;
const FIRED: usize = 1;
const CANCELLED: usize = 2;

struct Record {
    place: Links<Record>,
    owner: UnsafeCell<usize>,
    state: AtomicUsize,
    downs: AtomicUsize,
}

// SAFETY: the links are a field of the record.
unsafe impl Linked for Record {
    fn place(&self) -> &Links<Self> {
        &self.place
    }
}

fn record(owner: usize) -> Arc<Record> {
    Arc::new(Record {
        place: Links::new(),
        owner: UnsafeCell::new(owner),
        state: AtomicUsize::new(ARMED),
        downs: AtomicUsize::new(0),
    })
}

/// The right to put a record on a list. It does not keep the record, so that a list may drop it.
#[derive(Debug, PartialEq)]
struct Listed(NonNull<Record>);

// SAFETY: the model keeps every record to its end, and its fields are atomic, or checked by loom.
unsafe impl Send for Listed {}

impl Listed {
    fn record(&self) -> &Record {
        // SAFETY: the model keeps every record to its end.
        unsafe { self.0.as_ref() }
    }
}

// SAFETY: the model makes one of each record, and keeps every record to its end.
unsafe impl Handle for Listed {
    type Record = Record;

    fn into_raw(self) -> NonNull<Record> {
        self.0
    }

    unsafe fn from_raw(record: NonNull<Record>) -> Self {
        Self(record)
    }
}

fn listed(record: &Arc<Record>) -> Listed {
    Listed(NonNull::from(&**record))
}

/// Handles a record as a death does: one DOWN, unless the record was cancelled.
fn fire(listed: Listed) {
    let record = listed.record();
    // SAFETY: the owner was written before the record was pushed; loom checks that.
    record.owner.with(|owner| unsafe { assert!(*owner < 10) });
    if record.state.compare_exchange(ARMED, FIRED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        record.downs.fetch_add(1, Ordering::Relaxed);
    }
}

fn close<O: Orders>(list: &List<Listed, O>) {
    list.close().for_each(fire);
}

/// Two watchers register while the target dies: a record on the list is fired once; a refused
/// record stays with its owner.
fn register_or_die<O: Orders>() {
    let list = Arc::new(List::<Listed, O>::new());
    let watchers: Vec<_> = (0..2)
        .map(|number| {
            let (list, record) = (list.clone(), record(number));
            thread::spawn(move || {
                let pushed = list.push(listed(&record)).is_ok();
                (record, pushed)
            })
        })
        .collect();
    close(&list);
    for watcher in watchers {
        let (record, pushed) = watcher.join().unwrap();
        let downs = record.downs.load(Ordering::Relaxed);
        assert_eq!(downs, usize::from(pushed), "exactly one DOWN for a registered watcher");
    }
}

/// Three monitors; the watcher cancels two and so sweeps, while the target dies. The third is fired
/// once, by the death or by the sweep. Each cancelled one is fired or cancelled.
fn sweep_or_die(fire_what_is_left: bool) {
    let roll = Arc::new(SweepList::<Listed>::new());
    let records: Vec<_> = (0..3).map(record).collect();
    for record in &records {
        assert!(roll.push(listed(record)).is_ok());
    }
    let (dying, kept) = (roll.clone(), records.clone());
    let target = thread::spawn(move || {
        dying.close().for_each(fire);
        drop(kept);
    });
    for record in &records[..2] {
        let armed = record.state.compare_exchange(ARMED, CANCELLED, Ordering::AcqRel, Ordering::Acquire);
        if armed.is_ok() {
            let live = |listed: &Listed| listed.record().state.load(Ordering::Relaxed) == ARMED;
            let orphaned = roll.cancelled(live, drop);
            if fire_what_is_left {
                orphaned.for_each(fire);
            } else {
                orphaned.for_each(drop);
            }
        }
    }
    target.join().unwrap();
    assert_eq!(records[2].downs.load(Ordering::Relaxed), 1, "the live record is fired once");
    for record in &records[..2] {
        let fired = record.state.load(Ordering::Relaxed) == FIRED;
        assert_eq!(record.downs.load(Ordering::Relaxed), usize::from(fired));
    }
}

/// A monitor is added while the cancellation of another one sweeps: the new one is on the list
/// afterwards.
fn register_or_sweep() {
    let list = Arc::new(List::<Listed>::new());
    let old = record(0);
    assert!(list.push(listed(&old)).is_ok());
    let (other, new) = (list.clone(), record(1));
    let adder = thread::spawn(move || {
        assert!(other.push(listed(&new)).is_ok());
        new
    });
    let taken = list.take();
    assert!(list.push_back_chain(taken).is_ok());
    let new = adder.join().unwrap();
    close(&list);
    assert_eq!(old.downs.load(Ordering::Relaxed), 1);
    assert_eq!(new.downs.load(Ordering::Relaxed), 1);
}

struct PushRelaxed;
impl Orders for PushRelaxed {
    const PUSH: Ordering = Ordering::Relaxed;
}
struct CloseRelaxed;
impl Orders for CloseRelaxed {
    const CLOSE: Ordering = Ordering::Relaxed;
}

#[test]
fn protocol() {
    model("watchers: register, register, die", None, register_or_die::<Shipped>);
    model("watchers: cancel, cancel and sweep, die", None, || sweep_or_die(true));
    model("watchers: register, sweep", None, register_or_sweep);
    let empty: Chain<Listed> = Chain::empty();
    assert_eq!(empty.count(), 0);
}

#[test]
fn mutants() {
    mutant("watchers, push Relaxed", Some(2), register_or_die::<PushRelaxed>);
    mutant("watchers, close Relaxed", Some(2), register_or_die::<CloseRelaxed>);
    mutant("watchers, a sweep that drops what it holds", Some(2), || sweep_or_die(false));
}
