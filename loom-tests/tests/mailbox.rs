//! Models of the mailbox. No signal is lost or received twice, a wake comes exactly when it is
//! needed, each sender's order is kept, and the fast path is open only when every signal is handled
//! (`mailbox`, M1 to M4).
#![cfg(loom)]

use std::marker::PhantomData;
use std::ptr::NonNull;

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::mailbox::{Batch, Mailbox, Orders, Pushed};
use atropos_kernel::internals::memory::pool::Pool;
use atropos_kernel::internals::signal::held::HeldNode;
use atropos_kernel::internals::signal::node::{Node, SignalKind};
use atropos_loom::{model, mutant};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// A signal with a number. Its cell makes a missing Release a reported violation.
#[repr(C)]
struct Letter {
    node: Node,
    number: UnsafeCell<usize>,
}

unsafe fn release(node: NonNull<Node>, _: Option<&Pool>) {
    // SAFETY: `letter` made the box, and each letter is released once.
    drop(unsafe { Box::from_raw(node.cast::<Letter>().as_ptr()) });
}

fn letter(number: usize) -> HeldNode {
    let letter = Box::new(Letter { node: Node::new(SignalKind::Message, release), number: UnsafeCell::new(number) });
    // SAFETY: the letter is new and in no queue, and comes with its node.
    unsafe { HeldNode::from_raw(NonNull::from(Box::leak(letter)).cast()) }
}

fn open(node: HeldNode) -> usize {
    let letter = node.into_raw();
    // SAFETY: the letter was taken from the mailbox or never pushed, so this thread owns it.
    let number = unsafe { letter.cast::<Letter>().as_ref() }.number.with(|number| unsafe { *number });
    // SAFETY: this thread owns the letter, and releases it once.
    unsafe { release(letter, None) };
    number
}

fn read_letters(batch: Batch) -> Vec<usize> {
    batch.into_fifo().map(open).collect()
}

/// Returns `None` if the mailbox is closed.
fn push<O: Orders>(mailbox: &Mailbox<O>, number: usize) -> Option<Pushed> {
    let refused = |letter| assert_eq!(open(letter), number, "a closed mailbox returns the letter that was sent");
    mailbox.push(letter(number)).map_err(refused).ok()
}

fn asleep<O: Orders>() -> Mailbox<O> {
    let mailbox = Mailbox::new();
    assert!(mailbox.sleep());
    mailbox
}

/// Two senders to a sleeping owner: one wake, and both letters arrive.
fn two_senders<O: Orders>() {
    let mailbox = Arc::new(asleep::<O>());
    let other = mailbox.clone();
    let sender = thread::spawn(move || usize::from(push(&other, 1) == Some(Pushed::Wake)));
    let wakes = usize::from(push(&mailbox, 2) == Some(Pushed::Wake));
    let wakes = wakes + sender.join().unwrap();
    assert_eq!(wakes, 1);
    let mut all = read_letters(mailbox.take());
    all.sort_unstable();
    assert_eq!(all, [1, 2]);
}

/// A sender to an owner that takes its letters and goes to sleep: the owner does not sleep on a
/// letter.
fn push_or_sleep<O: Orders>() {
    let mailbox = Arc::new(Mailbox::<O>::new());
    let other = mailbox.clone();
    let sender = thread::spawn(move || (push(&other, 1), push(&other, 2)));
    let mut got = read_letters(mailbox.take());
    mailbox.end_fetch();
    let mut slept = mailbox.sleep();
    if !slept {
        got.extend(read_letters(mailbox.take()));
        mailbox.end_fetch();
        slept = mailbox.sleep();
    }
    let (first, second) = sender.join().unwrap();
    let wakes = usize::from(first == Some(Pushed::Wake)) + usize::from(second == Some(Pushed::Wake));
    let rest = read_letters(mailbox.close());
    if slept {
        assert_eq!(wakes, usize::from(!rest.is_empty()), "the owner slept, so the first later letter wakes it");
    } else {
        assert_eq!(wakes, 0, "the owner was awake, so no letter wakes it");
    }
    got.extend(rest);
    assert_eq!(got, [1, 2], "each letter once, in the order of its sender");
}

/// A sender to an owner that takes its letters and goes to sleep, by the path of plain messages. A
/// sender that claims the owner puts its letter into the owner's private queue, and the first
/// letter precedes the second.
fn wake_or_sleep<O: Orders>() {
    let mailbox = Arc::new((Mailbox::<O>::new(), UnsafeCell::new(Vec::new())));
    let send = |mailbox: &(Mailbox<O>, UnsafeCell<Vec<usize>>), number| {
        if mailbox.0.claim() {
            // SAFETY: this sender claimed the process (`mailbox`, edge 6); loom checks that.
            mailbox.1.with_mut(|queue| unsafe { (*queue).push(number) });
            return true;
        }
        // The owner may go to sleep in between.
        push(&mailbox.0, number) == Some(Pushed::Wake)
    };
    let fetch = |mailbox: &(Mailbox<O>, UnsafeCell<Vec<usize>>)| {
        let came = read_letters(mailbox.0.take());
        mailbox.0.end_fetch();
        // SAFETY: this thread owns the process; loom checks that.
        mailbox.1.with_mut(|queue| unsafe { (*queue).extend(came) });
    };
    let other = mailbox.clone();
    let sender = thread::spawn(move || usize::from(send(&other, 1)) + usize::from(send(&other, 2)));
    fetch(&mailbox);
    let slept = mailbox.0.sleep();
    // Asleep, the queue is no longer this thread's. Awake, this thread goes on, and does not sleep
    // again.
    if !slept {
        fetch(&mailbox);
    }
    let wakes = sender.join().unwrap();
    assert!(wakes <= usize::from(slept), "woken once, if the owner slept");
    assert_eq!(slept && wakes == 0, mailbox.0.claim(), "asleep until a sender wakes the owner");
    // The current owner of the queue has passed it to this thread by the join.
    fetch(&mailbox);
    // SAFETY: the sender has been joined, so this thread owns the queue; loom checks that.
    assert_eq!(mailbox.1.with(|queue| unsafe { (*queue).clone() }), [1, 2], "each letter once, in order");
}

/// A sender and a claimer to an owner that goes to sleep: one of them becomes its owner, and sees
/// it as the last owner left it.
fn claim_or_push<O: Orders>() {
    let mailbox = Arc::new(Mailbox::<O>::new());
    // State that only the owner of the process may access.
    let own = Arc::new(UnsafeCell::new(0));
    let touch = |own: &UnsafeCell<usize>| {
        // SAFETY: this thread owns the process; loom checks that.
        own.with_mut(|own| unsafe { *own += 1 });
    };
    let sender = {
        let (mailbox, own) = (mailbox.clone(), own.clone());
        thread::spawn(move || {
            let woke = push(&mailbox, 1) == Some(Pushed::Wake);
            if woke {
                touch(&own);
            }
            woke
        })
    };
    let claimer = {
        let (mailbox, own) = (mailbox.clone(), own.clone());
        thread::spawn(move || {
            let claimed = mailbox.claim();
            if claimed {
                touch(&own);
            }
            claimed
        })
    };
    touch(&own);
    let slept = mailbox.sleep();
    let (woke, claimed) = (sender.join().unwrap(), claimer.join().unwrap());
    assert_eq!(
        usize::from(woke) + usize::from(claimed),
        usize::from(slept),
        "a sleeping process has exactly one new owner"
    );
    assert_eq!(read_letters(mailbox.close()), [1], "the letter arrives, whichever thread owns the process");
}

/// Two senders to a dying owner: each letter is in a chain, or returned.
fn push_or_close<O: Orders>() {
    let mailbox = Arc::new(Mailbox::<O>::new());
    let senders: Vec<_> = (1..=2)
        .map(|number| {
            let mailbox = mailbox.clone();
            thread::spawn(move || push(&mailbox, number).map(|_| number))
        })
        .collect();
    let mut got = read_letters(mailbox.take());
    got.extend(read_letters(mailbox.close()));
    let mut sent: Vec<usize> = senders.into_iter().filter_map(|sender| sender.join().unwrap()).collect();
    got.sort_unstable();
    sent.sort_unstable();
    assert_eq!(got, sent);
    assert_eq!(push(&mailbox, 3), None, "closed");
}

/// M4. The sender sends an exit and then checks if the mailbox is clear; if it is, the exit has
/// been handled.
fn short_way<O: Orders>(settle_first: bool) {
    let mailbox = Arc::new(Mailbox::<O>::new());
    let acted = Arc::new((AtomicUsize::new(0), UnsafeCell::new(0)));
    let (other, seen) = (mailbox.clone(), acted.clone());
    let sender = thread::spawn(move || {
        assert_eq!(push(&other, 1), Some(Pushed::Quiet));
        // Lets loom continue with the owner, which it does not while the owner has yielded.
        thread::yield_now();
        if other.is_settled() {
            assert_eq!(seen.0.load(Ordering::Relaxed), 1, "the mailbox is clear, but the exit is not handled");
            // SAFETY: M4: the owner settled before the mailbox was seen clear; loom checks that.
            seen.1.with(|acted| unsafe { assert_eq!(*acted, 1) });
        }
    });
    // The owner runs, and takes until a signal has come.
    let mut batch = mailbox.take();
    while batch.is_empty() {
        thread::yield_now();
        batch = mailbox.take();
    }
    if settle_first {
        mailbox.end_fetch();
    }
    assert_eq!(read_letters(batch), [1]);
    // SAFETY: M4: the owner alone writes until it settles; loom checks that.
    acted.1.with_mut(|acted| unsafe { *acted = 1 });
    acted.0.store(1, Ordering::Relaxed);
    mailbox.end_fetch();
    sender.join().unwrap();
    let _ = read_letters(mailbox.take());
}

macro_rules! weakened {
    ($name:ident, $which:ident, $ordering:ident) => {
        struct $name(PhantomData<Shipped>);
        impl Orders for $name {
            const $which: Ordering = Ordering::$ordering;
        }
    };
}
weakened!(PushRelaxed, PUSH, Relaxed);
weakened!(TakeRelaxed, TAKE, Relaxed);
weakened!(TakeWithoutRelease, TAKE, Acquire);
weakened!(SettleRelaxed, SETTLE, Relaxed);
weakened!(ClaimRelaxed, CLAIM, Relaxed);

#[test]
fn protocol() {
    model("mailbox: push, push to a sleeper", None, two_senders::<Shipped>);
    model("mailbox: push, push, take, sleep", None, push_or_sleep::<Shipped>);
    model("mailbox: wake or push, twice, take, sleep", None, wake_or_sleep::<Shipped>);
    model("mailbox: push, push, take, close", Some(3), push_or_close::<Shipped>);
    model("mailbox: push, claim, sleep", Some(3), claim_or_push::<Shipped>);
    model("mailbox: exit, then the fast path", None, || short_way::<Shipped>(false));
}

#[test]
fn mutants() {
    mutant("mailbox, push Relaxed", Some(2), push_or_sleep::<PushRelaxed>);
    mutant("mailbox, wake Relaxed", Some(2), wake_or_sleep::<ClaimRelaxed>);
    mutant("mailbox, take Relaxed", Some(2), push_or_sleep::<TakeRelaxed>);
    mutant("mailbox, take without Release", Some(2), || short_way::<TakeWithoutRelease>(false));
    mutant("mailbox, settle Relaxed", Some(2), || short_way::<SettleRelaxed>(false));
    mutant("mailbox, claim Relaxed", Some(2), claim_or_push::<ClaimRelaxed>);
    mutant("mailbox, settled before handled", Some(2), || short_way::<Shipped>(true));
}
