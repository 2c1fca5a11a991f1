//! Models of the capacity of a bounded mailbox. A sender that waits for capacity is notified,
//! whatever happens at the same time, and no slot is taken twice (`capacity`).
//!
//! A notification is a flag here, which the owner sets where it would send the signal. A notified
//! sender tries again, as its resumed process would. Each message costs one slot.
#![cfg(loom)]

use atropos_kernel::Pid;
use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::capacity::{Capacity, Orders, Waiter};
use atropos_kernel::internals::counted::Ref;
use atropos_loom::{model, mutant};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// A mailbox's capacity, the flags of its senders, and the count of requests that its owner check
/// the waiters.
struct Scene<O: Orders> {
    room: Capacity<O>,
    called: [AtomicBool; 3],
    nudged: AtomicUsize,
}

/// The fault in a sender's part.
#[derive(Clone, Copy, PartialEq)]
enum Slip {
    None,
    /// It counts as a waiter before its record is on the list.
    MarksFirst,
    /// It cancels without a notification.
    GoesInSilence,
    /// It takes its message back without a notification.
    RetractsInSilence,
}

impl<O: Orders> Scene<O> {
    /// Creates a scene with `limit` messages in it.
    fn full(limit: u32) -> Arc<Self> {
        let room = Capacity::new(limit);
        for _ in 0..limit {
            assert!(room.try_reserve(limit));
        }
        let called = std::array::from_fn(|_| AtomicBool::new(false));
        Arc::new(Self { room, called, nudged: AtomicUsize::new(0) })
    }

    fn notify_waiters(&self, pid: Pid) {
        let before = self.called[pid.index() as usize].swap(true, Ordering::Release);
        assert!(!before, "notified twice");
    }

    /// The owner receives a message.
    fn receive(&self) {
        if self.room.release() {
            // SAFETY: the model has one owner at a time.
            unsafe { self.room.notify_waiters(|pid| self.notify_waiters(pid)) };
        }
    }

    /// The owner handles the notifications that have come.
    fn meet(&self) {
        if self.nudged.swap(0, Ordering::Acquire) > 0 {
            // SAFETY: the model has one owner at a time.
            unsafe { self.room.notify_if_free(|pid| self.notify_waiters(pid)) };
        }
    }

    fn request_wake(&self) {
        self.nudged.fetch_add(1, Ordering::Release);
    }

    /// Sends, or enqueues the sender. Returns the record if the sender waits.
    fn send(&self, number: u32, slip: Slip) -> Option<Ref<Waiter>> {
        if self.room.try_reserve(self.room.limit()) {
            return None;
        }
        let (waiter, queued) = Waiter::try_new(Pid::new(number, 1).expect("a valid pid")).expect("memory");
        if slip == Slip::MarksFirst && self.room.reserve_or_wait() {
            return None;
        }
        self.room.push_waiter(queued).expect("the mailbox is open");
        if slip != Slip::MarksFirst && self.room.reserve_or_wait() {
            self.cancel(&waiter, slip);
            return None;
        }
        Some(waiter)
    }

    fn cancel(&self, waiter: &Waiter, slip: Slip) {
        if waiter.cancel() && slip != Slip::GoesInSilence {
            self.request_wake();
        }
    }

    /// Checks the quiet state: every waiter that was not notified waits for good reason.
    fn assert_no_wait_is_lost(&self, waiting: &[(u32, Ref<Waiter>)]) {
        let free = self.room.limit() - self.room.messages();
        let called = |number: u32| self.called[number as usize].load(Ordering::Acquire);
        let forgotten = waiting.iter().filter(|(number, _)| !called(*number)).count();
        let promised = waiting.iter().filter(|(number, _)| called(*number)).count() as u32;
        assert!(forgotten == 0 || free <= promised, "{free} slots are free, and {forgotten} waiters were not notified");
        // SAFETY: the model has one owner at a time.
        unsafe { self.room.close(|pid| self.notify_waiters(pid)) };
        for (number, _) in waiting {
            assert!(called(*number), "the close notifies every waiter");
        }
    }
}

/// Senders find no capacity, while the owner receives all messages.
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

/// LINE is still set for a waiter that has been notified and has responded. While the owner finds
/// no waiter, another sender takes the slot that the owner freed, and then enqueues as well. In the
/// end every message has been received, and the waiter was notified.
fn steal_and_wait<O: Orders>() {
    let scene = Scene::<O>::full(1);
    let first = scene.send(0, Slip::None).expect("full");
    scene.receive();
    assert!(scene.called[0].load(Ordering::Acquire), "the first waiter is notified");
    assert!(scene.room.try_reserve(1), "the notified waiter takes the slot");
    scene.cancel(&first, Slip::None);
    drop(first);
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

/// Two senders wait; the owner receives while the first of them cancels: the second is notified if
/// the slot is free.
fn go_or_call(slip: Slip) {
    let scene = Scene::<Shipped>::full(1);
    let (first, second) = (scene.send(0, slip).expect("full"), scene.send(1, slip).expect("full"));
    let other = scene.clone();
    let goes = thread::spawn(move || {
        other.cancel(&first, slip);
        first
    });
    scene.receive();
    scene.meet();
    let first = goes.join().unwrap();
    scene.meet();
    drop(first);
    scene.assert_no_wait_is_lost(&[(1, second)]);
}

/// A sender's message cannot be delivered, while another sender waits for its slot.
fn retract_or_wait(slip: Slip) {
    let scene = Scene::<Shipped>::full(1);
    let other = scene.clone();
    let sender = thread::spawn(move || other.send(0, Slip::None));
    scene.room.unreserve();
    if slip != Slip::RetractsInSilence {
        scene.request_wake();
    }
    scene.meet();
    let waiting: Vec<_> = sender.join().unwrap().map(|record| (0, record)).into_iter().collect();
    scene.assert_no_wait_is_lost(&waiting);
}

/// The receiver dies while a sender enqueues: the sender is notified, or learns it immediately.
fn wait_or_die() {
    let scene = Scene::<Shipped>::full(1);
    let other = scene.clone();
    let sender = thread::spawn(move || {
        let (waiter, queued) = Waiter::try_new(Pid::new(0, 1).expect("a valid pid")).expect("memory");
        if other.room.push_waiter(queued).is_err() {
            return None;
        }
        assert!(!other.room.reserve_or_wait(), "the receiver frees no slot");
        Some(waiter)
    });
    // SAFETY: the model has one owner at a time.
    unsafe { scene.room.close(|pid| scene.notify_waiters(pid)) };
    if sender.join().unwrap().is_some() {
        assert!(scene.called[0].load(Ordering::Acquire), "a death notifies every waiter");
    }
}

struct LineRelaxed;
impl Orders for LineRelaxed {
    const HAS_WAITERS: Ordering = Ordering::Relaxed;
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
    model("capacity: wait, receive", None, || wait_or_receive::<Shipped>(1, 1, Slip::None));
    model("capacity: wait, wait, receive", Some(3), || wait_or_receive::<Shipped>(1, 2, Slip::None));
    model("capacity: wait, wait, receive two", Some(2), || wait_or_receive::<Shipped>(2, 2, Slip::None));
    model("capacity: steal, wait, receive", Some(3), steal_and_wait::<Shipped>);
    model("capacity: cancel, receive", None, || go_or_call(Slip::None));
    model("capacity: retract, wait", None, || retract_or_wait(Slip::None));
    model("capacity: wait, die", None, wait_or_die);
}

#[test]
fn mutants() {
    mutant("capacity, LINE Relaxed", Some(2), || wait_or_receive::<LineRelaxed>(1, 1, Slip::None));
    mutant("capacity, release and clear Relaxed", Some(2), || wait_or_receive::<LeaveRelaxed>(1, 1, Slip::None));
    mutant("capacity, clear Relaxed", Some(2), steal_and_wait::<ClearRelaxed>);
    mutant("capacity, a waiter before it is on the list", Some(2), || {
        wait_or_receive::<Shipped>(1, 1, Slip::MarksFirst)
    });
    mutant("capacity, a silent cancellation", Some(2), || go_or_call(Slip::GoesInSilence));
    mutant("capacity, a silent retract", Some(2), || retract_or_wait(Slip::RetractsInSilence));
}
