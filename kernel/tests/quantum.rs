//! How long processes that wake each other, or spawn one another, may run while others wait
//! (`runq/quantum`).

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atropos_kernel::internals::config::SLICE;
use atropos_kernel::{Body, BodyPoll, Cx, Options, Pid, Priority, Reason, Received, RunOutcome, SpawnOptions};

use common::{Stage, does, yields};

/// Answers each message with one message.
fn talks(words: Arc<AtomicUsize>) -> impl Body<Message = Pid> {
    does(move |cx: &Cx<'_, Pid>| {
        while let Some(Received::Message(from)) = cx.receive() {
            words.fetch_add(1, Ordering::Relaxed);
            cx.send(from, cx.pid()).unwrap();
        }
        BodyPoll::Wait
    })
}

/// Never waits, and counts its slices.
fn never_rests(slices: Arc<AtomicUsize>) -> impl Body<Message = ()> {
    does(move |cx: &Cx<'_, ()>| {
        slices.fetch_add(1, Ordering::Relaxed);
        while cx.spend(1) {}
        BodyPoll::Yield
    })
}

/// Returns how many messages a ping-pong pair sends for each slice of a busy process, over `slices`
/// slices.
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

/// A ping-pong pair shares the slice of the process that started it: the pair does not wait for a
/// busy process at every few messages, and the busy process gets one slice for two slices of the
/// pair.
#[test]
fn ping_pong_pair_shares_a_slice() {
    let words = words_for_each_of(100, &SpawnOptions::new());
    assert!((500..3000).contains(&words), "{words} words for each slice of the busy process");
}

/// A busy process of low priority has its share of time, and gets no more because of a ping-pong
/// pair: the pair is not limited for its sake.
#[test]
fn ping_pong_pair_does_not_wait_for_low_priority() {
    let words = words_for_each_of(10, &SpawnOptions::new().priority(Priority::Low));
    assert!(words > 50_000, "{words} words for each slice of the process of low priority");
}

/// A ping-pong pair runs beside a pinned busy process. When it is the pinned process's turn, the
/// pair could continue on another core, and a sleeping core is woken for it.
#[test]
fn pair_queued_behind_a_pinned_process_wakes_a_core() {
    let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
    let on_first = SpawnOptions::new().core(0);
    let [first, second] =
        [(); 2].map(|()| stage.host().spawn(&SpawnOptions::new(), talks(Arc::default())).unwrap().pid);
    stage.settle();
    stage.host().spawn(&on_first, never_rests(Arc::default())).unwrap();
    let starts = does(move |cx: &Cx<'_, ()>| {
        cx.send(first, second).unwrap();
        BodyPoll::Exit(Reason::NORMAL)
    });
    stage.host().spawn(&on_first, starts).unwrap();
    let _ = stage.cores[1].run(1);
    assert!(stage.cores[0].kernel().is_idle(1), "the second core sleeps");
    let _ = stage.cores[0].run(1000);
    assert!(!stage.cores[0].kernel().is_idle(1), "no core has woken it");
}

/// Many clients call one server, each again as soon as it is answered, and get their turns one
/// after the other. No client keeps the server for a whole slice while the other clients wait,
/// which need only a few messages each.
#[test]
fn clients_of_one_server_take_turns() {
    const CLIENTS: usize = 20;
    let mut stage = Stage::new(Options::default());
    let answers = does(|cx: &Cx<'_, Pid>| {
        while let Some(Received::Message(from)) = cx.receive() {
            cx.send(from, ()).unwrap();
        }
        BodyPoll::Wait
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
            BodyPoll::Wait
        });
        stage.host().spawn(&SpawnOptions::new(), asks).unwrap();
    }
    for round in 1..=50 {
        let _ = stage.cores[0].run(4 * CLIENTS as u32);
        let answered: Vec<_> = answered.iter().map(|answered| answered.load(Ordering::Relaxed)).collect();
        let (least, most) = (answered.iter().min().unwrap(), answered.iter().max().unwrap());
        assert!(*most <= 2 * least + 4, "in round {round} one client has {least} answers and one {most}");
    }
}

/// A process that starts another process like itself, and ends.
struct Heir {
    births: Arc<AtomicUsize>,
}

impl Body for Heir {
    type Message = ();

    fn resume(&mut self, cx: &Cx<'_, ()>) -> BodyPoll {
        self.births.fetch_add(1, Ordering::Relaxed);
        let _ = cx.spawn(&SpawnOptions::new(), Self { births: self.births.clone() });
        BodyPoll::Exit(Reason::NORMAL)
    }
}

/// The newest processes run first. But a chain of spawns that never ends does not delay the
/// processes born before it, nor those that have waited longer: all get their turns when the chain
/// has used up its shared budget.
#[test]
fn newborns_do_not_starve_older_processes() {
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
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new(), parent).unwrap();
    stage.host().spawn(&SpawnOptions::new(), yields(others.clone())).unwrap();
    // The chain of one such budget ends after as many births as the budget pays for.
    let _ = stage.cores[0].run(2 * SLICE / 10 + 2 + ELDERS as u32);
    assert!(others.load(Ordering::Relaxed) > 0, "the process queued before still waits");
    assert!(elders.iter().all(|turns| turns.load(Ordering::Relaxed) > 0), "each older process has had its turn");
}
