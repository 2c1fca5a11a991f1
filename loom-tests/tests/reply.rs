//! Models of one answer from one thread to another: it arrives once, or its loss does, and every
//! wait ends (`request`).
#![cfg(loom)]

use std::task::{Context, Poll, Wake, Waker};

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::request::{NoReply, Orders, reply_with};
use atropos_loom::host::LeakOnPanic;
use atropos_loom::{model, mutant};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// A waker that counts its calls. (Relaxed: what its owner learns, it must learn from the cell.)
struct Counting(AtomicUsize);

struct Wakes(std::sync::Arc<Counting>);

impl Wake for Counting {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn new() -> Self {
        Self(std::sync::Arc::new(Counting(AtomicUsize::new(0))))
    }

    fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    fn woken(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) > 0
    }
}

/// A value whose transfer loom checks.
struct Checked(loom::cell::UnsafeCell<u32>, Arc<AtomicUsize>);

// SAFETY: the model's own cell, which loom checks.
unsafe impl Send for Checked {}

impl Drop for Checked {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

/// The caller polls twice, with another waker each time; the responder answers, or drops the reply.
/// A pending second poll is followed by a call of the second waker.
fn ask_or_drop<O: Orders>(answers: bool) {
    let drops = Arc::new(AtomicUsize::new(0));
    let (reply, replied) = reply_with::<Checked, O>().expect("memory");
    let (reply, mut replied) = (LeakOnPanic::new(reply), LeakOnPanic::new(replied));
    let value = Checked(loom::cell::UnsafeCell::new(0), drops.clone());
    let answerer = thread::spawn(move || {
        // SAFETY: no other thread has the value yet; loom checks that.
        value.0.with_mut(|place| unsafe { *place = 7 });
        if answers {
            drop(reply.take().try_send(value));
        }
    });
    let (first, second) = (Wakes::new(), Wakes::new());
    let mut polled = replied.poll_reply(&mut Context::from_waker(&first.waker()));
    if polled.is_pending() {
        polled = replied.poll_reply(&mut Context::from_waker(&second.waker()));
    }
    let waits = polled.is_pending();
    if let Poll::Ready(Ok(value)) = &polled {
        // SAFETY: the value came through the reply; loom checks that.
        value.0.with(|place| unsafe { assert_eq!(*place, 7) });
    }
    answerer.join().unwrap();
    if waits {
        assert!(second.woken(), "a waiting caller is woken");
        polled = replied.poll_reply(&mut Context::from_waker(&second.waker()));
    }
    match polled {
        Poll::Ready(Ok(value)) => {
            assert!(answers);
            // SAFETY: the value came through the reply; loom checks that.
            value.0.with(|place| unsafe { assert_eq!(*place, 7) });
        }
        Poll::Ready(Err(NoReply)) => assert!(!answers),
        Poll::Pending => panic!("the answer must be there"),
    }
    drop(replied);
    assert_eq!(drops.load(Ordering::Relaxed), 1, "each value is dropped once");
}

/// The caller abandons the request while the responder answers: the last of the two frees the cell,
/// and a late answer with it.
fn release() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (reply, mut replied) = reply_with::<Checked, Shipped>().expect("memory");
    let value = Checked(loom::cell::UnsafeCell::new(0), drops.clone());
    let answerer = thread::spawn(move || drop(reply.try_send(value)));
    let wakes = Wakes::new();
    let polled = replied.poll_reply(&mut Context::from_waker(&wakes.waker()));
    drop(replied);
    answerer.join().unwrap();
    drop(polled);
    assert_eq!(drops.load(Ordering::Relaxed), 1, "each value is dropped once");
    assert_eq!(std::sync::Arc::strong_count(&wakes.0), 1, "no waker is left");
}

#[test]
fn an_answer_arrives_once_and_ends_the_wait() {
    model("reply: an answer", None, || ask_or_drop::<Shipped>(true));
}

#[test]
fn a_dropped_reply_ends_the_wait() {
    model("reply: no answer", None, || ask_or_drop::<Shipped>(false));
}

#[test]
fn an_abandoned_reply_is_freed() {
    model("reply: the caller abandons", Some(5), release);
}

#[test]
fn mutants() {
    #[derive(Debug)]
    struct Done;
    impl Orders for Done {
        const EVENT: Ordering = Ordering::Acquire;
    }
    mutant("mutant: the answer is not released", None, || ask_or_drop::<Done>(true));

    #[derive(Debug)]
    struct Look;
    impl Orders for Look {
        const LOOK: Ordering = Ordering::Relaxed;
        const REGISTER: Ordering = Ordering::Release;
    }
    mutant("mutant: the answer is not acquired", None, || ask_or_drop::<Look>(true));

    #[derive(Debug)]
    struct Register;
    impl Orders for Register {
        const REGISTER: Ordering = Ordering::Relaxed;
    }
    mutant("mutant: the waker is not released", None, || ask_or_drop::<Register>(true));
}
