//! For how long those go on that wake each other, or are born one of the other, while others wait (`runq/quantum`).

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atropos_kernel::internals::config::SLICE;
use atropos_kernel::{Body, Cx, Options, Pid, Priority, RunOutcome, Reason, Received, Resumed, SpawnOptions};

use common::{Stage, does, yields};

/// Answers each word with one.
fn talks(words: Arc<AtomicUsize>) -> impl Body<Message = Pid> {
    does(move |cx: &Cx<'_, Pid>| {
        while let Some(Received::Message(from)) = cx.receive() {
            words.fetch_add(1, Ordering::Relaxed);
            cx.send(from, cx.pid()).unwrap();
        }
        Resumed::Wait
    })
}

/// Never rests, and counts its slices.
fn never_rests(slices: Arc<AtomicUsize>) -> impl Body<Message = ()> {
    does(move |cx: &Cx<'_, ()>| {
        slices.fetch_add(1, Ordering::Relaxed);
        while cx.spend(1) {}
        Resumed::Yield
    })
}

/// How many words two that talk in turn say for each slice of one that never rests, of so many slices.
fn words_for_each_of(slices: usize, of: &SpawnOptions<'_>) -> usize {
    let mut stage = Stage::new(Options::default());
    let (had, words) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let [first, second] = [(); 2].map(|()| stage.host().spawn(&SpawnOptions::new(), talks(words.clone())).unwrap().pid);
    stage.host().spawn(of, never_rests(had.clone())).unwrap();
    stage.host().send(first, second).unwrap();
    while had.load(Ordering::Relaxed) < slices {
        assert_eq!(stage.cores[0].run(1000), RunOutcome::Worked);
    }
    words.load(Ordering::Relaxed) / had.load(Ordering::Relaxed)
}

/// Two that talk in turn share what one of them has brought: they do not wait for one that never rests at every few words,
/// and it gets a slice of its own for two of theirs.
#[test]
fn who_talks_in_turn_shares_a_slice() {
    let words = words_for_each_of(100, &SpawnOptions::new());
    assert!((500..3000).contains(&words), "{words} words for each slice of the one that never rests");
}

/// One of low priority that never rests has its time, and no more of it because two others talk in turn: it is not for it that they
/// are kept short.
#[test]
fn who_talks_in_turn_does_not_wait_for_the_low() {
    let words = words_for_each_of(10, &SpawnOptions::new().priority(Priority::Low));
    assert!(words > 50_000, "{words} words for each slice of the low one");
}

/// Two talk in turn beside a pinned one that never rests: when it is that one's time, they could go on elsewhere, and a core that
/// sleeps is woken for them.
#[test]
fn who_goes_behind_the_pinned_is_helped() {
    let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
    let on_first = SpawnOptions::new().core(0);
    let [first, second] =
        [(); 2].map(|()| stage.host().spawn(&SpawnOptions::new(), talks(Arc::default())).unwrap().pid);
    stage.settle();
    stage.host().spawn(&on_first, never_rests(Arc::default())).unwrap();
    let starts = does(move |cx: &Cx<'_, ()>| {
        cx.send(first, second).unwrap();
        Resumed::Exit(Reason::NORMAL)
    });
    stage.host().spawn(&on_first, starts).unwrap();
    let _ = stage.cores[1].run(1);
    assert!(stage.cores[0].kernel().is_idle(1), "the second core sleeps");
    let _ = stage.cores[0].run(1000);
    assert!(!stage.cores[0].kernel().is_idle(1), "nobody has called it");
}

/// Many who ask one, each again as soon as it is answered, have their turns one after the other: none talks on with the one for a
/// whole slice while the others wait, who want no more than a few words either.
#[test]
fn who_asks_in_turn_lets_the_others_speak() {
    const CLIENTS: usize = 20;
    let mut stage = Stage::new(Options::default());
    let answers = does(|cx: &Cx<'_, Pid>| {
        while let Some(Received::Message(from)) = cx.receive() {
            cx.send(from, ()).unwrap();
        }
        Resumed::Wait
    });
    let server = stage.host().spawn(&SpawnOptions::new(), answers).unwrap().pid;
    let answered: Vec<_> = (0..CLIENTS).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    for answered in &answered {
        let answered = answered.clone();
        let asks = does(move |cx: &Cx<'_, ()>| {
            while cx.receive().is_some() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            cx.send(server, cx.pid()).unwrap();
            Resumed::Wait
        });
        stage.host().spawn(&SpawnOptions::new(), asks).unwrap();
    }
    for round in 1..=50 {
        let _ = stage.cores[0].run(4 * CLIENTS as u32);
        let answered: Vec<_> = answered.iter().map(|answered| answered.load(Ordering::Relaxed)).collect();
        let (least, most) = (answered.iter().min().unwrap(), answered.iter().max().unwrap());
        assert!(*most <= 2 * least + 4, "in round {round} one has {least} answers and one {most}");
    }
}

/// One that starts another like itself, and ends.
struct Heir {
    births: Arc<AtomicUsize>,
}

impl Body for Heir {
    type Message = ();

    fn resume(&mut self, cx: &Cx<'_, ()>) -> Resumed {
        self.births.fetch_add(1, Ordering::Relaxed);
        let _ = cx.spawn(&SpawnOptions::new(), Self { births: self.births.clone() });
        Resumed::Exit(Reason::NORMAL)
    }
}

/// The youngest run first, but a line that never ends does not keep those waiting who were born before it, nor who has
/// waited longer than that: all have their turns when the line has used up what it shares.
#[test]
fn the_youngest_do_not_keep_their_elders_waiting() {
    const ELDERS: usize = 20;
    let mut stage = Stage::new(Options::default());
    let (births, others) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    let elders: Vec<_> = (0..ELDERS).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let (line, turns, mut begun) = (births, elders.clone(), false);
    let parent = does(move |cx: &Cx<'_, ()>| {
        if !std::mem::replace(&mut begun, true) {
            for turns in &turns {
                cx.spawn(&SpawnOptions::new(), yields(turns.clone())).unwrap();
            }
            cx.spawn(&SpawnOptions::new(), Heir { births: Arc::clone(&line) }).unwrap();
        }
        Resumed::Wait
    });
    stage.host().spawn(&SpawnOptions::new(), parent).unwrap();
    stage.host().spawn(&SpawnOptions::new(), yields(others.clone())).unwrap();
    // The line of one such share ends after as many births as it pays for.
    let _ = stage.cores[0].run(2 * SLICE / 10 + 2 + ELDERS as u32);
    assert!(others.load(Ordering::Relaxed) > 0, "who was queued before waits");
    assert!(elders.iter().all(|turns| turns.load(Ordering::Relaxed) > 0), "each elder has had its turn");
}
