//! Models of the cell of a request, with its three parties in three threads. The caller polls, with
//! one waker or several, and abandons the request. The responder answers, or drops the reply. The
//! watch reports that the process is dead, or is released. The answer arrives once, or its loss
//! does. An answer takes precedence over a death, and a death over a dropped reply. A waiting
//! caller is woken. Everything that the cell has held is dropped once, and only the caller runs
//! foreign code.
#![cfg(loom)]

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use atropos_kernel::Reason;
use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::request::{Orders, RequestError, RequesterEnd, request_with};
use atropos_loom::host::{Canary, LeakOnPanic, Woken};
use atropos_loom::mutant;
use atropos_loom::platform::explore;
use loom::thread;

/// The watch's action.
#[derive(Clone, Copy, PartialEq)]
enum Watch {
    /// The process dies.
    Dies,
    /// The watch is released.
    Goes,
    /// The watch is released if it may be; otherwise the process dies.
    Settles,
}
use Watch::{Dies, Goes, Settles};

/// Polls as an executor does: again when the waker was called during the poll.
fn look<O: Orders>(requested: &mut RequesterEnd<Canary, O>, woken: &Arc<Woken>) -> Poll<Result<Canary, RequestError>> {
    loop {
        woken.count_anew();
        let waker = Waker::from(woken.clone());
        let polled = requested.poll_request(&mut Context::from_waker(&waker));
        if polled.is_ready() || woken.calls() == 0 {
            return polled;
        }
        thread::yield_now();
    }
}

const WHY: Reason = Reason::SHUTDOWN;

/// The caller polls `looks` times, each time with another waker; then it abandons the request, or
/// `waits` for the rest. Returns how it ended.
fn three<O: Orders>(looks: usize, waits: bool, answers: bool, watch: Watch) -> &'static str {
    let (reply, watching, requested) = request_with::<Canary, O>().unwrap();
    let (reply, watching, mut requested) =
        (LeakOnPanic::new(reply), LeakOnPanic::new(watching), LeakOnPanic::new(requested));
    let (answer, ends) = Canary::new();
    let answerer = thread::spawn(move || {
        if answers {
            reply.take().try_send(answer).err()
        } else {
            drop(reply);
            Some(answer)
        }
    });
    let watcher = thread::spawn(move || {
        let watching = watching.take();
        let watching = if watch == Settles { watching.settle::<O>(None) } else { Some(watching) };
        match watching {
            Some(watching) if watch != Goes => {
                if let Some(waker) = watching.down::<O>(&WHY) {
                    waker.wake();
                }
                true
            }
            rest => {
                rest.into_iter().for_each(|watching| watching.release_by::<O>(None));
                false
            }
        }
    });
    let wakers: Vec<_> = (0..looks.max(1)).map(|_| Woken::new()).collect();
    // What has arrived, `true` once the loss of the reply was reported, and the waker that waits.
    let (mut came, mut told, mut waiting) = (None, false, None);
    let mut see =
        |requested: &mut RequesterEnd<Canary, O>, woken: &Arc<Woken>, told: &mut bool| match look(requested, woken) {
            Poll::Pending => false,
            Poll::Ready(Err(RequestError::ReplyDropped)) => {
                assert!(!*told && !answers, "the loss is reported once, and is real");
                *told = true;
                false
            }
            Poll::Ready(other) => {
                came = Some(other);
                true
            }
        };
    let mut done = false;
    for (woken, _) in &wakers[..looks] {
        let before = told;
        done = see(&mut requested, woken, &mut told);
        if done {
            break;
        }
        waiting = (told == before).then_some(woken);
    }
    if waits {
        let down = watcher.join().unwrap();
        let back = answerer.join().unwrap();
        assert_eq!(back.is_some(), !answers, "the caller still waits, so an answer is not returned");
        if !done {
            if let Some(woken) = waiting.filter(|_| !told || down) {
                assert!(woken.calls() > 0, "a waiting caller is woken");
            }
            done = see(&mut requested, &wakers[0].0, &mut told) || see(&mut requested, &wakers[0].0, &mut told);
            assert!(done, "every event has happened");
            match came.as_ref().unwrap() {
                Ok(_) => assert!(answers),
                Err(RequestError::Down(_)) => assert!(!answers && down, "an answer takes precedence over a death"),
                Err(RequestError::NoReply) => {
                    assert!(!answers && !down, "a death takes precedence over a dropped reply")
                }
                Err(RequestError::ReplyDropped) => unreachable!(),
            }
        }
        drop(requested);
        drop(back);
    } else {
        drop(requested);
        watcher.join().unwrap();
        if let Some(answer) = answerer.join().unwrap() {
            answer.sing();
        }
    }
    let outcome = match &came {
        Some(Ok(answer)) => {
            answer.sing();
            assert!(answers);
            "answered"
        }
        Some(Err(RequestError::Down(reason))) => {
            assert!(watch != Goes && *reason == WHY);
            "down"
        }
        Some(Err(RequestError::NoReply)) => {
            assert!(!answers && watch != Dies);
            "no reply"
        }
        Some(Err(RequestError::ReplyDropped)) => unreachable!(),
        None => "abandoned",
    };
    drop(came);
    assert_eq!(ends.load(Ordering::Relaxed), 1, "the answer ends once");
    for (woken, ends) in wakers {
        assert_eq!(Arc::strong_count(&woken), 1, "no waker is left");
        drop(woken);
        assert_eq!(ends.load(Ordering::Relaxed), 1);
    }
    outcome
}

/// The caller abandons the request while one of the other parties acts and the third does nothing
/// yet. Foreign values (the waker, an answer that was not taken) are dropped before the third party
/// finishes.
fn leaves_nothing<O: Orders>(answers: bool) -> &'static str {
    let (reply, watching, requested) = request_with::<Canary, O>().unwrap();
    let (reply, watching, mut requested) =
        (LeakOnPanic::new(reply), LeakOnPanic::new(watching), LeakOnPanic::new(requested));
    let (answer, ends) = Canary::new();
    let (woken, _) = Woken::new();
    let (mut reply, mut watching, mut answer) = (Some(reply), Some(watching), Some(answer));
    let other = if answers {
        let (reply, answer) = (reply.take().unwrap(), answer.take().unwrap());
        thread::spawn(move || reply.take().try_send(answer).err())
    } else {
        let watching = watching.take();
        thread::spawn(move || {
            watching.into_iter().for_each(|watching| watching.take().release_by::<O>(None));
            None
        })
    };
    let polled = look(&mut requested, &woken);
    drop(requested);
    let back = other.join().unwrap();
    assert_eq!(Arc::strong_count(&woken), 1, "no waker is left");
    let outcome = match (&polled, back.is_some()) {
        (Poll::Ready(Ok(_)), false) => "taken",
        (Poll::Pending, true) => "returned",
        (Poll::Pending, false) => "abandoned",
        _ => panic!("an answer in two places, or none"),
    };
    drop((polled, back, answer));
    assert_eq!(ends.load(Ordering::Relaxed), 1, "the answer has ended");
    drop((reply, watching));
    outcome
}

/// The process answers itself and passes its watch, which finishes with the answer or reports the
/// death of the process afterwards. The caller polls `looks` times, and abandons the request.
/// Returns how it ended, and if the watch was left.
fn answers_itself<O: Orders>(looks: usize) -> &'static str {
    let (reply, watching, requested) = request_with::<Canary, O>().unwrap();
    let (reply, watching, mut requested) =
        (LeakOnPanic::new(reply), LeakOnPanic::new(watching), LeakOnPanic::new(requested));
    let (answer, ends) = Canary::new();
    let (woken, wakers) = Woken::new();
    let process = thread::spawn(move || {
        let (watching, answered) = watching.take().answer(reply.take(), answer);
        let left = watching.is_some();
        if let Some(waker) = watching.and_then(|watching| watching.down::<O>(&WHY)) {
            waker.wake();
        }
        (left, answered.err())
    });
    let mut polled = Poll::Pending;
    for _ in 0..looks {
        polled = look(&mut requested, &woken);
        if polled.is_ready() {
            break;
        }
    }
    drop(requested);
    let (left, back) = process.join().unwrap();
    let outcome = match (&polled, back.is_some(), left) {
        (Poll::Ready(Ok(_)), false, true) => "taken, with a waker",
        (Poll::Ready(Ok(_)), false, false) => "taken",
        (Poll::Pending, true, true) => "returned",
        (Poll::Pending, false, true) => "abandoned, with a waker",
        (Poll::Pending, false, false) => "abandoned",
        _ => panic!("an answer in two places or none, or a watch that finished before the answer"),
    };
    drop((polled, back));
    assert_eq!(ends.load(Ordering::Relaxed), 1, "the answer ends once");
    assert_eq!(Arc::strong_count(&woken), 1, "no waker is left");
    drop(woken);
    assert_eq!(wakers.load(Ordering::Relaxed), 1);
    outcome
}

/// A watch whose request is not answered is not settled: it reports the death.
fn not_settled<O: Orders>() -> &'static str {
    let (reply, watching, requested) = request_with::<Canary, O>().unwrap();
    let (reply, watching, mut requested) =
        (LeakOnPanic::new(reply), LeakOnPanic::new(watching), LeakOnPanic::new(requested));
    let (woken, _) = Woken::new();
    let watcher = thread::spawn(move || {
        let waker = watching.take().settle::<O>(None).and_then(|watching| watching.down::<O>(&WHY));
        waker.into_iter().for_each(Waker::wake);
    });
    let mut polled = look(&mut requested, &woken);
    let outcome = if polled.is_pending() { "waited" } else { "ready at once" };
    watcher.join().unwrap();
    if polled.is_pending() {
        assert!(woken.calls() > 0, "a waiting caller is woken");
        polled = look(&mut requested, &woken);
    }
    assert!(matches!(polled, Poll::Ready(Err(RequestError::Down(why))) if why == WHY));
    drop(reply);
    outcome
}

/// A caller that learned of the dropped reply waits for the death, with another waker.
fn waits_again<O: Orders>() -> &'static str {
    let (reply, watching, requested) = request_with::<Canary, O>().unwrap();
    let (reply, watching, mut requested) =
        (LeakOnPanic::new(reply), LeakOnPanic::new(watching), LeakOnPanic::new(requested));
    let (first, second) = (LeakOnPanic::new(Woken::new().0), LeakOnPanic::new(Woken::new().0));
    let answerer = thread::spawn(move || drop(reply));
    let mut told = false;
    for _ in 0..2 {
        match look(&mut requested, &first) {
            Poll::Pending => {}
            Poll::Ready(Err(RequestError::ReplyDropped)) => told = true,
            other => panic!("{other:?}"),
        }
    }
    let waits = told && look(&mut requested, &second).is_pending();
    answerer.join().unwrap();
    let waker = watching.take().down::<O>(&WHY);
    assert!(waker.is_some() || !waits, "a waiting caller is woken");
    waker.into_iter().for_each(Waker::wake);
    assert!(!waits || second.calls() == 1, "a waiting caller is woken by its last waker");
    assert!(matches!(look(&mut requested, &second), Poll::Ready(Err(RequestError::Down(why))) if why == WHY));
    if waits { "waited" } else { "loss not seen" }
}

#[test]
fn abandons() {
    explore("request: answer || dies || abandon", Some(3), &["abandoned"], || three::<Shipped>(0, false, true, Dies));
    explore("request: no answer || dies || abandon", Some(3), &["abandoned"], || {
        three::<Shipped>(0, false, false, Dies)
    });
    explore("request: answer || goes || abandon", Some(3), &["abandoned"], || three::<Shipped>(0, false, true, Goes));
    explore("request: no answer || goes || abandon", Some(3), &["abandoned"], || {
        three::<Shipped>(0, false, false, Goes)
    });
    explore("request: answer || settles || abandon", Some(3), &["abandoned"], || {
        three::<Shipped>(0, false, true, Settles)
    });
    explore("request: no answer || settles || abandon", Some(3), &["abandoned"], || {
        three::<Shipped>(0, false, false, Settles)
    });
}

const ANSWERED: &[&str] = &["answered", "down", "abandoned"];
const UNANSWERED: &[&str] = &["down", "abandoned"];

#[test]
fn looks_and_abandons() {
    explore("request: answer || dies || look", BOUND, ANSWERED, || three::<Shipped>(1, false, true, Dies));
    explore("request: no answer || dies || look", BOUND, UNANSWERED, || three::<Shipped>(1, false, false, Dies));
    explore("request: answer || goes || look", BOUND, &["answered", "abandoned"], || {
        three::<Shipped>(1, false, true, Goes)
    });
    explore("request: no answer || goes || look", BOUND, &["abandoned", "no reply"], || {
        three::<Shipped>(1, false, false, Goes)
    });
    explore("request: answer || settles || look", BOUND, ANSWERED, || three::<Shipped>(1, false, true, Settles));
    explore("request: no answer || settles || look", BOUND, &["down", "abandoned", "no reply"], || {
        three::<Shipped>(1, false, false, Settles)
    });
}

/// Each further preemption multiplies the search time by eight.
const BOUND: Option<usize> = Some(2);

#[test]
fn looks_and_waits() {
    explore("request: answer || dies || wait", BOUND, &["answered", "down"], || three::<Shipped>(1, true, true, Dies));
    explore("request: no answer || dies || wait", BOUND, &["down"], || three::<Shipped>(1, true, false, Dies));
    explore("request: answer || goes || wait", BOUND, &["answered"], || three::<Shipped>(1, true, true, Goes));
    explore("request: no answer || goes || wait", BOUND, &["no reply"], || three::<Shipped>(1, true, false, Goes));
    explore("request: answer || settles || wait", BOUND, &["answered", "down"], || {
        three::<Shipped>(1, true, true, Settles)
    });
    explore("request: no answer || settles || wait", BOUND, &["down", "no reply"], || {
        three::<Shipped>(1, true, false, Settles)
    });
    explore("request: answer || dies || look, wait", BOUND, &["answered", "down"], || {
        three::<Shipped>(2, true, true, Dies)
    });
    explore("request: no answer || dies || look, wait", BOUND, &["down"], || three::<Shipped>(2, true, false, Dies));
    explore("request: no answer || dies || look twice, wait", Some(2), &["down"], || {
        three::<Shipped>(3, true, false, Dies)
    });
}

#[test]
fn the_process_answers_itself() {
    explore("request: answers itself || abandon", Some(3), &["returned", "abandoned"], || answers_itself::<Shipped>(0));
    let outcomes = &["returned", "abandoned", "abandoned, with a waker", "taken", "taken, with a waker"];
    explore("request: answers itself || look, abandon", Some(3), &outcomes[..4], || answers_itself::<Shipped>(1));
    explore("request: answers itself || look twice, abandon", Some(3), outcomes, || answers_itself::<Shipped>(2));
}

#[test]
fn foreign_values_end_with_the_caller() {
    explore("request: answer || look, abandon, watched", Some(3), &["returned", "abandoned", "taken"], || {
        leaves_nothing::<Shipped>(true)
    });
    explore("request: goes || look, abandon, not answered", Some(3), &["abandoned"], || {
        leaves_nothing::<Shipped>(false)
    });
    explore(
        "request: no answer || look, wait for death",
        Some(3),
        &["loss not seen", "waited"],
        waits_again::<Shipped>,
    );
    explore("request: not settled || look", Some(3), &["ready at once", "waited"], not_settled::<Shipped>);
}

#[test]
fn mutants() {
    macro_rules! wrong {
        ($text:literal, $model:expr, $($constant:ident: $type:ty = $value:expr),*) => {{
            #[derive(Debug)]
            struct Wrong;
            impl Orders for Wrong {
                $(const $constant: $type = $value;)*
            }
            let model: fn(Of<Wrong>) -> &'static str = $model;
            mutant(concat!("request, ", $text), Some(3), move || _ = model(Of(PhantomData)));
        }};
    }
    wrong!("an event that is not released", |of| of.three(1, true, true, Dies), EVENT: Ordering = Ordering::Acquire);
    wrong!("an event that acquires no waker", |of| of.three(1, true, true, Goes), EVENT: Ordering = Ordering::Release);
    wrong!(
        "a look that acquires nothing", |of| of.three(1, true, true, Goes),
        LOOK: Ordering = Ordering::Relaxed, REGISTER: Ordering = Ordering::Release
    );
    wrong!("a waker that is not released", |of| of.three(1, true, true, Goes), REGISTER: Ordering = Ordering::Acquire);
    wrong!("a last step that releases nothing", |of| of.three(1, false, true, Goes), OUT: Ordering = Ordering::Acquire);
    wrong!("a last step that acquires nothing", |of| of.three(1, false, true, Goes), OUT: Ordering = Ordering::Release);
    wrong!(
        "a watch that frees and has seen nothing", |of| of.three(0, false, true, Settles),
        SETTLE: Ordering = Ordering::Relaxed
    );
    wrong!("an event for a caller that has gone", |of| of.leaves_nothing(true), HEEDS_GONE: bool = false);
    wrong!("a death for a caller that has gone", |of| of.three(0, false, false, Dies), HEEDS_GONE: bool = false);
    wrong!("the watch is ignored", |of| of.three(0, false, true, Dies), HEEDS_THE_WATCH: bool = false);
    wrong!("an answer is left in the cell", |of| of.leaves_nothing(true), TAKES_THE_REST: bool = false);
    wrong!("a waker is left in the cell", |of| of.leaves_nothing(false), TAKES_ITS_WAKER: bool = false);
    wrong!("a waker is left that came too late", |of| of.leaves_nothing(true), TAKES_BACK: bool = false);
    wrong!("settled without an answer", |of| of.not_settled(), HEEDS_THE_ANSWERER: bool = false);
    wrong!("done with a waker still held", |of| of.three(1, false, true, Goes), HEEDS_WAITING: bool = false);
    wrong!(
        "a watch that is taken after it is done", |of| of.answers_itself(0), TAKES_THE_WATCH_FIRST: bool = false
    );
    wrong!("a watch that is lost", |of| of.answers_itself(1), PUTS_THE_WATCH_BACK: bool = false);
    wrong!("an answer that is stored, abandoned", |of| of.answers_itself(0), EXCHANGES: bool = false);
    wrong!("an answer that is stored, waited for", |of| of.answers_itself(1), EXCHANGES: bool = false);
    wrong!("a second waker before the responder is done", |of| of.waits_again(), HEEDS_OUT: bool = false);
}

/// The models with other orderings.
struct Of<O>(PhantomData<O>);

impl<O: Orders> Of<O> {
    fn three(&self, looks: usize, waits: bool, answers: bool, watch: Watch) -> &'static str {
        three::<O>(looks, waits, answers, watch)
    }

    fn leaves_nothing(&self, answers: bool) -> &'static str {
        leaves_nothing::<O>(answers)
    }

    fn answers_itself(&self, looks: usize) -> &'static str {
        answers_itself::<O>(looks)
    }

    fn waits_again(&self) -> &'static str {
        waits_again::<O>()
    }

    fn not_settled(&self) -> &'static str {
        not_settled::<O>()
    }
}
