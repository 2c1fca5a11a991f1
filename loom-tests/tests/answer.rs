//! Models of one answer between two threads. The answer is taken, or dropped with the cell, or
//! returned to the responder because the caller had abandoned the request. A waiting caller is
//! woken.
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::request::{NoReply, Orders, RequesterEnd, reply_with};
use atropos_loom::host::{Canary, Woken};
use atropos_loom::mutant;
use atropos_loom::platform::explore;
use loom::sync::atomic::AtomicBool;
use loom::thread;

fn poll<O: Orders>(replied: &mut RequesterEnd<Canary, O>, woken: &Arc<Woken>) -> Poll<Result<Canary, NoReply>> {
    let waker = Waker::from(woken.clone());
    replied.poll_reply(&mut Context::from_waker(&waker))
}

/// A responder answers or drops the reply, while its caller polls `looks` times and abandons the
/// request. A responder that knows of this gets its answer back.
fn asked<O: Orders>(looks: usize, answers: bool) -> &'static str {
    let (give, mut wait) = reply_with::<Canary, O>().unwrap();
    let (answer, ends) = Canary::new();
    let (woken, waker_ends) = Woken::new();
    let gone = loom::sync::Arc::new(AtomicBool::new(false));
    let known = gone.clone();
    let answerer = thread::spawn(move || {
        if !answers {
            drop(give);
            return None;
        }
        let gone = known.load(Ordering::Acquire);
        let given = give.try_send(answer);
        assert!(!gone || given.is_err(), "the caller has abandoned the request");
        Some(given)
    });
    let mut taken = None;
    let mut waited = false;
    for _ in 0..looks {
        match poll(&mut wait, &woken) {
            Poll::Pending => waited = true,
            Poll::Ready(answer) => {
                taken = Some(answer);
                break;
            }
        }
    }
    drop(wait);
    gone.store(true, Ordering::Release);
    let given = answerer.join().unwrap();
    if let Some(Ok(answer)) = &taken {
        answer.sing();
    }
    let outcome = match (&given, &taken) {
        (Some(Err(answer)), None) => {
            answer.sing();
            "returned"
        }
        (Some(Ok(())), Some(Ok(_))) => "taken",
        (Some(Ok(())), None) => {
            assert_eq!(ends.load(Ordering::Relaxed), 1, "dropped with the cell");
            "dropped"
        }
        (None, Some(Err(NoReply))) => "no answer",
        (None, None) => "not waited for",
        _ => panic!("an answer in two places, or in none"),
    };
    let calls = woken.calls();
    assert!(calls <= 1 && (calls == 0 || waited), "woken once, if the caller waited");
    drop((given, taken));
    assert_eq!(ends.load(Ordering::Relaxed), 1, "the answer ends once");
    assert_eq!(Arc::strong_count(&woken), 1, "no waker is left");
    drop(woken);
    assert_eq!(waker_ends.load(Ordering::Relaxed), 1);
    outcome
}

/// Checks that a waiting caller is woken, and finds the answer.
fn waits() -> &'static str {
    let (give, mut wait) = reply_with::<Canary, Shipped>().unwrap();
    let (answer, _) = Canary::new();
    let (woken, _) = Woken::new();
    let answerer = thread::spawn(move || assert!(give.try_send(answer).is_ok(), "the caller waits"));
    let outcome = match poll(&mut wait, &woken) {
        Poll::Ready(answer) => {
            answer.unwrap().sing();
            answerer.join().unwrap();
            "ready at once"
        }
        Poll::Pending => {
            answerer.join().unwrap();
            assert_eq!(woken.calls(), 1, "the caller waits, so it is woken");
            let Poll::Ready(Ok(answer)) = poll(&mut wait, &woken) else { panic!("woken without an answer") };
            answer.sing();
            "woken"
        }
    };
    drop(wait);
    outcome
}

#[test]
fn protocol() {
    explore("answer: answer || abandon", None, &["returned", "dropped"], || asked::<Shipped>(0, true));
    explore("answer: answer || look, abandon", Some(5), &["returned", "dropped", "taken"], || {
        asked::<Shipped>(1, true)
    });
    explore("answer: answer || look twice, abandon", Some(4), &["returned", "dropped", "taken"], || {
        asked::<Shipped>(2, true)
    });
    explore("answer: no answer || look, abandon", Some(5), &["not waited for", "no answer"], || {
        asked::<Shipped>(1, false)
    });
    explore("answer: answer || wait", None, &["ready at once", "woken"], waits);
}

#[test]
fn mutants() {
    #[derive(Debug)]
    struct Silent;
    impl Orders for Silent {
        const HEEDS_GONE: bool = false;
    }
    let lets_go = |looks| {
        move || {
            let _ = asked::<Silent>(looks, true);
        }
    };
    mutant("answer, the caller abandons silently", None, lets_go(0));
    mutant("answer, the caller looks, abandons silently", None, lets_go(1));
}
