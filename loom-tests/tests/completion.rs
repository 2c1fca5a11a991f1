//! Models of completion tickets. An answer takes its number when it arrives, by its waker, once.
//! The gatherer of the answers finds what has arrived (`ops/request/completion`, R1, R2). Issue 14,
//! 28.
#![cfg(loom)]

use std::sync::Arc;
use std::task::{Wake, Waker};

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::request::completion::{CompletionOrder, Orders, Ticket};
use atropos_loom::host::Outcomes;
use atropos_loom::mutant;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// The waker of the gatherer, which counts its calls.
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        // Release: a wake orders what its caller did before the woken process looks next.
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Returns the gatherer's waker, and its calls.
fn gatherer() -> (Arc<Calls>, Waker) {
    let calls = Arc::new(Calls(AtomicUsize::new(0)));
    (calls.clone(), Waker::from(calls))
}

/// An answer, for the thread that finds its place.
struct Answer(UnsafeCell<u8>);

// SAFETY: loom checks every access to the cell.
unsafe impl Send for Answer {}
// SAFETY: loom checks every access to the cell, also through shared references.
unsafe impl Sync for Answer {}

/// Two answers arrive while their gatherer looks: where it finds a place it finds the answer.
fn come_or_look<O: Orders>(outcomes: &Outcomes) {
    let (row, (_, waker)) = (CompletionOrder::new(), gatherer());
    let answers = [(); 2].map(|()| (Ticket::<O>::new(&row, &waker), Arc::new(Answer(UnsafeCell::new(0)))));
    let come = answers.each_ref().map(|(arrival, answer)| {
        let (waker, answer) = (arrival.waker(), answer.clone());
        thread::spawn(move || {
            // SAFETY: no thread reads the answer before it has a place: the model's claim, which
            // loom checks.
            answer.0.with_mut(|answer| unsafe { *answer = 1 });
            waker.wake();
        })
    });
    let found = answers.iter().filter(|(arrival, answer)| {
        let found = arrival.place().is_some();
        // SAFETY: the answer has a place, so its write is complete: the model's claim, which loom
        // checks.
        assert!(!found || answer.0.with(|answer| unsafe { *answer }) == 1);
        found
    });
    let found = found.count();
    come.into_iter().for_each(|come| come.join().unwrap());
    let [first, second] = answers.each_ref().map(|(arrival, _)| arrival.place().unwrap());
    assert_ne!(first, second, "each place belongs to one answer");
    outcomes.saw(found);
}

/// Two answers arrive: a gatherer that was woken n times finds at least n places.
fn come_or_be_woken<O: Orders>(outcomes: &Outcomes) {
    let (row, (calls, waker)) = (CompletionOrder::new(), gatherer());
    let arrivals = [(); 2].map(|()| Ticket::<O>::new(&row, &waker));
    let come = arrivals.each_ref().map(|arrival| {
        let waker = arrival.waker();
        thread::spawn(move || waker.wake())
    });
    let woken = calls.0.load(Ordering::Acquire);
    let found = arrivals.iter().filter(|arrival| arrival.place().is_some()).count();
    assert!(found >= woken, "woken although no answer has a place");
    come.into_iter().for_each(|come| come.join().unwrap());
    assert_eq!(calls.0.load(Ordering::Relaxed), 2, "each waker passes its call on");
    outcomes.saw(woken);
}

/// One answer arrives before another, which arrives in another thread: the first precedes the
/// second in the row.
fn one_then_the_other(outcomes: &Outcomes) {
    let (row, (_, waker)) = (CompletionOrder::new(), gatherer());
    let [one, other] = [(); 2].map(|()| Ticket::<Shipped>::new(&row, &waker));
    let there = Arc::new(AtomicUsize::new(0));
    let (first, tells) = (one.waker(), there.clone());
    let comes = thread::spawn(move || {
        first.wake();
        tells.store(1, Ordering::Release);
    });
    let known = there.load(Ordering::Acquire) == 1;
    other.comes();
    comes.join().unwrap();
    let (one, other) = (one.place().unwrap(), other.place().unwrap());
    assert!(!known || one < other, "the first answer is the first in the row");
    outcomes.saw(usize::from(known));
}

/// An answer's waker is called twice at the same time: the answer has one place, and keeps it.
fn twice<O: Orders>(outcomes: &Outcomes) {
    let (row, (_, waker)) = (CompletionOrder::new(), gatherer());
    let arrival = Ticket::<O>::new(&row, &waker);
    let again = arrival.waker();
    let other = thread::spawn(move || again.wake());
    arrival.waker().wake();
    let place = arrival.place().unwrap();
    other.join().unwrap();
    assert_eq!(arrival.place(), Some(place), "a place is kept");
    outcomes.saw(place - 1);
}

struct TakesRelaxed;
impl Orders for TakesRelaxed {
    const TAKE: Ordering = Ordering::Relaxed;
}
struct LooksRelaxed;
impl Orders for LooksRelaxed {
    const LOOK: Ordering = Ordering::Relaxed;
}
struct TakesAgain;
impl Orders for TakesAgain {
    const TAKES_ONCE: bool = false;
}
struct PassesOnFirst;
impl Orders for PassesOnFirst {
    const TAKES_FIRST: bool = false;
}

#[test]
fn protocol() {
    Outcomes::model("arrivals: arrive, arrive, look", Some(4), 3, come_or_look::<Shipped>);
    Outcomes::model("arrivals: arrive, arrive, be woken", Some(3), 3, come_or_be_woken::<Shipped>);
    Outcomes::model("arrivals: one, then the other", None, 2, one_then_the_other);
    Outcomes::model("arrivals: one arrives twice", None, 2, twice::<Shipped>);
}

#[test]
fn mutants() {
    let none = Outcomes::default;
    mutant("arrivals, a place taken Relaxed", Some(2), move || come_or_look::<TakesRelaxed>(&none()));
    mutant("arrivals, a place looked at Relaxed", Some(2), move || come_or_look::<LooksRelaxed>(&none()));
    mutant("arrivals, the last call has the place", Some(2), move || twice::<TakesAgain>(&none()));
    mutant("arrivals, passed on before there is a place", Some(2), move || come_or_be_woken::<PassesOnFirst>(&none()));
}
