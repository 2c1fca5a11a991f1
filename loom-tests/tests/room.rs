//! Room in a bounded mailbox: who waits for it is called, whatever happens at the same time; no place is taken twice
//! (`room`).
//!
//! A call is a flag here, set by the owner as the signal would be sent; a sender that has been called tries again, as it
//! would be resumed to. What a message is worth is a place.
#![cfg(loom)]

use std::ptr::NonNull;

use atropos_kernel::Pid;
use atropos_kernel::internals::room::{Orders, Shipped, Capacity, Waiter};
use atropos_loom::{model, mutant};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// A room, the flags of its senders, and whether its owner was asked to look at the line.
struct Scene<O: Orders> {
    room: Capacity<O>,
    called: [AtomicBool; 3],
    nudged: AtomicUsize,
}

/// How a sender's part is wrong.
#[derive(Clone, Copy, PartialEq)]
enum Slip {
    None,
    /// It is in line before its record is on the list.
    MarksFirst,
    /// It goes away and says nothing.
    GoesInSilence,
    /// It takes its message back and says nothing.
    RetractsInSilence,
}

struct Record(NonNull<Waiter>);

// SAFETY: a share of a record of atomics.
unsafe impl Send for Record {}

impl<O: Orders> Scene<O> {
    /// With `limit` messages in it.
    fn full(limit: u32) -> Arc<Self> {
        let room = Capacity::new(limit);
        for _ in 0..limit {
            assert!(room.enter(limit));
        }
        let called = std::array::from_fn(|_| AtomicBool::new(false));
        Arc::new(Self { room, called, nudged: AtomicUsize::new(0) })
    }

    fn call(&self, pid: Pid) {
        let before = self.called[pid.index() as usize].swap(true, Ordering::Release);
        assert!(!before, "called twice");
    }

    /// The owner receives a message.
    fn receive(&self) {
        if self.room.leave() {
            // SAFETY: the model has one owner at a time.
            unsafe { self.room.call(|pid| self.call(pid)) };
        }
    }

    /// The owner meets the nudges that have come.
    fn meet(&self) {
        if self.nudged.swap(0, Ordering::Acquire) > 0 {
            // SAFETY: the model has one owner at a time.
            unsafe { self.room.look(|pid| self.call(pid)) };
        }
    }

    fn nudge(&self) {
        self.nudged.fetch_add(1, Ordering::Release);
    }

    /// Sends, or gets in line; the record, if it waits.
    fn send(&self, number: u32, slip: Slip) -> Option<Record> {
        if self.room.enter(self.room.limit()) {
            return None;
        }
        let waiter = Waiter::try_new(Pid::new(number, 1).expect("a pid")).expect("memory");
        if slip == Slip::MarksFirst && self.room.get_in_line() {
            for _share in 0..2 {
                // SAFETY: both shares are ours.
                unsafe { Waiter::give_up(waiter) };
            }
            return None;
        }
        // SAFETY: new.
        unsafe { self.room.line_up(waiter) }.expect("it is open");
        if slip != Slip::MarksFirst && self.room.get_in_line() {
            self.go(&Record(waiter), slip);
            // SAFETY: the waiter's own share.
            unsafe { Waiter::give_up(waiter) };
            return None;
        }
        Some(Record(waiter))
    }

    fn go(&self, record: &Record, slip: Slip) {
        // SAFETY: its share keeps it.
        if unsafe { record.0.as_ref() }.go() && slip != Slip::GoesInSilence {
            self.nudge();
        }
    }

    /// When all is quiet: who waits and was not called waits for good reason.
    fn assert_no_wait_is_lost(&self, waiting: &[(u32, Record)]) {
        let free = self.room.limit() - self.room.messages();
        let called = |number: u32| self.called[number as usize].load(Ordering::Acquire);
        let forgotten = waiting.iter().filter(|(number, _)| !called(*number)).count();
        let promised = waiting.iter().filter(|(number, _)| called(*number)).count() as u32;
        assert!(forgotten == 0 || free <= promised, "{free} places are free, and {forgotten} wait who were not called");
        // SAFETY: the model has one owner at a time.
        unsafe { self.room.close(|pid| self.call(pid)) };
        for (number, record) in waiting {
            assert!(called(*number), "the end is told to all in line");
            // SAFETY: the waiter's own share.
            unsafe { Waiter::give_up(record.0) };
        }
    }
}

/// Senders find no room, while the owner receives all that is there.
fn wait_or_receive<O: Orders>(limit: u32, senders: u32, slip: Slip) {
    let scene = Scene::<O>::full(limit);
    let threads: Vec<_> = (0..senders)
        .map(|number| {
            let scene = scene.clone();
            thread::spawn(move || scene.send(number, slip).map(|record| (number, record)))
        })
        .collect();
    for _ in 0..limit {
        scene.receive();
    }
    let waiting: Vec<_> = threads.into_iter().filter_map(|sender| sender.join().unwrap()).collect();
    scene.meet();
    scene.assert_no_wait_is_lost(&waiting);
}

/// LINE is still set for one who has been called and come. While the owner finds nobody in line, the place that it has
/// made is taken by another sender, who then gets in line as well. In the end all has been received, and it was called.
fn steal_and_wait<O: Orders>() {
    let scene = Scene::<O>::full(1);
    let first = scene.send(0, Slip::None).expect("full");
    scene.receive();
    assert!(scene.called[0].load(Ordering::Acquire), "the first in line");
    assert!(scene.room.enter(1), "and the first to come");
    scene.go(&first, Slip::None);
    // SAFETY: the waiter's own share.
    unsafe { Waiter::give_up(first.0) };
    let other = scene.clone();
    let thief = thread::spawn(move || {
        let sent = |number| other.send(number, Slip::None).map(|record| (number, record));
        sent(1).or_else(|| sent(2))
    });
    scene.receive();
    let second = thief.join().unwrap();
    while scene.room.messages() > 0 {
        scene.receive();
    }
    let waiting: Vec<_> = second.into_iter().collect();
    scene.assert_no_wait_is_lost(&waiting);
}

/// Two are in line; the owner receives while the first of them goes away: the other is called if the place is free.
fn go_or_call(slip: Slip) {
    let scene = Scene::<Shipped>::full(1);
    let (first, second) = (scene.send(0, slip).expect("full"), scene.send(1, slip).expect("full"));
    let other = scene.clone();
    let goes = thread::spawn(move || {
        other.go(&first, slip);
        first
    });
    scene.receive();
    scene.meet();
    let first = goes.join().unwrap();
    scene.meet();
    // SAFETY: the waiter's own share.
    unsafe { Waiter::give_up(first.0) };
    scene.assert_no_wait_is_lost(&[(1, second)]);
}

/// A sender's message cannot be delivered, for which another one waits.
fn retract_or_wait(slip: Slip) {
    let scene = Scene::<Shipped>::full(1);
    let other = scene.clone();
    let sender = thread::spawn(move || other.send(0, Slip::None));
    scene.room.retract();
    if slip != Slip::RetractsInSilence {
        scene.nudge();
    }
    scene.meet();
    let waiting: Vec<_> = sender.join().unwrap().map(|record| (0, record)).into_iter().collect();
    scene.assert_no_wait_is_lost(&waiting);
}

/// The receiver dies while somebody gets in line: it is called, or learns it at once.
fn wait_or_die() {
    let scene = Scene::<Shipped>::full(1);
    let other = scene.clone();
    let sender = thread::spawn(move || {
        let waiter = Waiter::try_new(Pid::new(0, 1).expect("a pid")).expect("memory");
        // SAFETY: new.
        if unsafe { other.room.line_up(waiter) }.is_err() {
            for _share in 0..2 {
                // SAFETY: both shares are ours still.
                unsafe { Waiter::give_up(waiter) };
            }
            return None;
        }
        assert!(!other.room.get_in_line(), "nobody receives");
        Some(Record(waiter))
    });
    // SAFETY: the model has one owner at a time.
    unsafe { scene.room.close(|pid| scene.call(pid)) };
    if let Some(record) = sender.join().unwrap() {
        assert!(scene.called[0].load(Ordering::Acquire), "a death is told to all in line");
        // SAFETY: the waiter's own share.
        unsafe { Waiter::give_up(record.0) };
    }
}

struct LineRelaxed;
impl Orders for LineRelaxed {
    const LINE: Ordering = Ordering::Relaxed;
}
struct LeaveRelaxed;
impl Orders for LeaveRelaxed {
    const LEAVE: Ordering = Ordering::Relaxed;
    const CLEAR: Ordering = Ordering::Relaxed;
}
struct ClearRelaxed;
impl Orders for ClearRelaxed {
    const CLEAR: Ordering = Ordering::Relaxed;
}

#[test]
fn protocol() {
    model("room: wait, receive", None, || wait_or_receive::<Shipped>(1, 1, Slip::None));
    model("room: wait, wait, receive", Some(3), || wait_or_receive::<Shipped>(1, 2, Slip::None));
    model("room: wait, wait, receive two", Some(2), || wait_or_receive::<Shipped>(2, 2, Slip::None));
    model("room: steal, wait, receive", Some(3), steal_and_wait::<Shipped>);
    model("room: go, receive", None, || go_or_call(Slip::None));
    model("room: retract, wait", None, || retract_or_wait(Slip::None));
    model("room: wait, die", None, wait_or_die);
}

#[test]
fn mutants() {
    mutant("room, LINE Relaxed", Some(2), || wait_or_receive::<LineRelaxed>(1, 1, Slip::None));
    mutant("room, leaving and clearing Relaxed", Some(2), || wait_or_receive::<LeaveRelaxed>(1, 1, Slip::None));
    mutant("room, clearing Relaxed", Some(2), steal_and_wait::<ClearRelaxed>);
    mutant("room, in line before it is on the list", Some(2), || wait_or_receive::<Shipped>(1, 1, Slip::MarksFirst));
    mutant("room, one who goes in silence", Some(2), || go_or_call(Slip::GoesInSilence));
    mutant("room, a place given back in silence", Some(2), || retract_or_wait(Slip::RetractsInSilence));
}
