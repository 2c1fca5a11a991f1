//! Models of order on the whole kernel. The signals from one process to another arrive in the order
//! in which they were sent, the sender's death included, while the receiver runs on another core. A
//! process that sends an exit and then links to or monitors the target finds it dead.
#![cfg(loom)]

use atropos_kernel::{BodyPoll, Cx, Pid, Reason};
use atropos_loom::mutant;
use atropos_loom::platform::{Known, Mutation, Stage, act, explore, waits};
use atropos_loom::seen::{Event, Log, waiting};

const WHY: Reason = Reason::SHUTDOWN;

fn nothing(_: &Cx<'_, u8>) {}

/// The relations between the receiver and the sender.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tied {
    Linked,
    Monitors,
    Both,
}

/// A sender sends two messages and dies, while the receiver looks. `relayed`: the second message
/// goes through a third process, for which no order is promised.
fn messages_then_death(tied: Tied, relayed: bool) -> &'static str {
    let mut stage = Stage::new(2, None);
    let (log, sender, seen) = (Log::new(), Known::<Pid>::new(), Known::<usize>::new());
    let ties = {
        let sender = sender.clone();
        move |cx: &Cx<'_, u8>| {
            let sender = sender.get().unwrap();
            if tied != Tied::Monitors {
                assert_eq!(cx.link(sender), Ok(()));
            }
            if tied != Tied::Linked {
                assert!(cx.monitor(sender).is_ok());
            }
        }
    };
    let looks = {
        let (seen, crossing) = (seen.clone(), stage.crossing.clone());
        move |cx: &Cx<'_, u8>| {
            crossing.pass();
            seen.set(waiting(cx).len());
        }
    };
    let receiver = stage.start_trapping(0, act(&log, ties, looks));
    let relay = stage.start(1, move |cx| {
        for event in waiting(cx) {
            let Event::Message(message) = event else { unreachable!("the relay receives only messages") };
            assert!(cx.send(receiver, message).is_ok());
        }
        BodyPoll::Wait
    });
    let mut ran = false;
    sender.set(stage.start(1, move |cx| {
        if !std::mem::replace(&mut ran, true) {
            return BodyPoll::Yield;
        }
        assert!(cx.send(receiver, 1_u8).is_ok());
        assert!(cx.send(if relayed { relay } else { receiver }, 2_u8).is_ok());
        BodyPoll::Exit(WHY)
    }));
    stage.run(0, 1);
    stage.run(1, 2);
    stage.race(&[1, 1]);
    stage.settle();
    let from = sender.get();
    let events = log.events();
    let ends = match tied {
        Tied::Linked => matches!(&events[2..], [Event::Exit(who, why)] if *who == from && *why == WHY),
        Tied::Monitors => matches!(&events[2..], [Event::Down(_, why)] if *why == WHY),
        // As in OTP, EXIT before DOWN.
        Tied::Both => matches!(&events[2..], [Event::Exit(..), Event::Down(..)]),
    };
    assert!(
        events[..2] == [Event::Message(1), Event::Message(2)] && ends,
        "signals are out of the sender's order: {events:?}"
    );
    stage.end();
    match seen.get().unwrap() {
        0 => "nothing",
        1 => "the first message",
        2 => "the messages",
        _ => "its death",
    }
}

/// A process sends an exit to another and then links to it or monitors it, while the target runs:
/// EXIT and DOWN report `noproc`.
fn exit_then_tie(monitors: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let log = Log::new();
    let target = stage.start(1, act(&Log::new(), nothing, nothing));
    let crossing = stage.crossing.clone();
    let exits_and_ties = move |cx: &Cx<'_, u8>| {
        assert_eq!(cx.exit(target, WHY), Ok(()));
        crossing.pass();
        if monitors {
            assert!(cx.monitor(target).is_ok());
        } else {
            assert_eq!(cx.link(target), Ok(()));
        }
    };
    stage.start_trapping(0, act(&log, nothing, exits_and_ties));
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    assert_eq!(stage.died_of(target), Some(WHY));
    let told = if monitors { log.downs() } else { log.exits(target) };
    assert_eq!(told, [Reason::NOPROC], "the exit arrives first");
    stage.end();
    "noproc"
}

/// A kill, and then a query: the target is dead.
fn kill_then_ask() -> &'static str {
    let mut stage = Stage::new(2, None);
    let target = stage.start(1, waits);
    let killer = act(&Log::new(), nothing, move |cx| assert_eq!(cx.exit(target, Reason::KILL), Ok(())));
    stage.start(0, killer);
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    assert_eq!(stage.died_of(target), Some(Reason::KILLED));
    stage.end();
    "dead"
}

#[test]
fn protocol() {
    let seen = ["nothing", "the first message", "the messages", "its death"];
    explore("order: messages, EXIT", Some(2), &seen, || messages_then_death(Tied::Linked, false));
    explore("order: messages, DOWN", Some(2), &seen, || messages_then_death(Tied::Monitors, false));
    explore("order: messages, EXIT, DOWN", Some(2), &seen, || messages_then_death(Tied::Both, false));
    explore("order: exit, link", Some(2), &["noproc"], || exit_then_tie(false, None));
    explore("order: exit, monitor", Some(2), &["noproc"], || exit_then_tie(true, None));
    explore("order: kill of a sleeping process", Some(2), &["dead"], kill_then_ask);
}

#[test]
fn mutants() {
    let wrong = |name, mutation, f: fn(Option<Mutation>) -> &'static str| {
        mutant(name, Some(2), move || _ = f(Some(mutation)));
    };
    mutant("order, a message that goes through a relay", Some(2), || _ = messages_then_death(Tied::Linked, true));
    wrong("order, the fast path to link", Mutation::AlwaysShort, |m| exit_then_tie(false, m));
    wrong("order, the fast path to monitor", Mutation::AlwaysShort, |m| exit_then_tie(true, m));
}
