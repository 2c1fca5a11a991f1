//! Models of requests on the whole kernel. The caller sees exactly one of an answer and a Down with
//! the reason, whatever happens to the receiver. It sees neither, and nothing is left over, when it
//! dies or abandons the request, for every kind of responder. An EXIT precedes the Down of the same
//! death.
#![cfg(loom)]

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use atropos_kernel::internals::life;
use atropos_kernel::{BodyPoll, Cx, Peek, Pid, Reason, Received, Reply, RequestError, RequestFuture, SpawnOptions};
use atropos_loom::host::{LeakOnPanic, Woken, body};
use atropos_loom::mutant;
use atropos_loom::platform::{Known, Mutation, Stage, explore};

const WHY: Reason = Reason::SHUTDOWN;

/// An event of a request that its caller has seen.
#[derive(Clone, PartialEq, Debug)]
enum Seen {
    Answer(u8),
    Lost(RequestError),
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// Polls until there is nothing more to see.
fn look(cx: &Cx<'_, u8>, requested: &mut Option<RequestFuture<u8>>, log: &Log) {
    let Some(open) = requested.as_mut() else { return };
    let waker = cx.waker();
    let task = &mut Context::from_waker(&waker);
    while let Poll::Ready(polled) = open.poll(task) {
        let seen = match polled {
            Ok(answer) => Seen::Answer(answer),
            Err(lost) => Seen::Lost(lost),
        };
        let over = seen != Seen::Lost(RequestError::ReplyDropped);
        log.lock().unwrap().push(seen);
        if over {
            *requested = None;
            return;
        }
    }
}

/// Returns a process that makes a request in its first slice and yields, and polls for its answer
/// in every later slice. It calls `before` before each poll.
fn requester(
    to: Known<Pid>,
    log: &Log,
    mut before: impl FnMut(&Cx<'_, u8>, &mut Option<RequestFuture<u8>>, u32) -> Option<BodyPoll> + Send + 'static,
) -> impl FnMut(&Cx<'_, u8>) -> BodyPoll + Send + 'static {
    let (log, mut slice, mut requested) = (log.clone(), 0, None);
    move |cx| {
        slice += 1;
        if slice == 1 {
            requested = cx.request(to.get().unwrap(), |reply: Reply<u8>| reply).ok();
            return BodyPoll::Yield;
        }
        if let Some(resumed) = before(cx, &mut requested, slice) {
            return resumed;
        }
        look(cx, &mut requested, &log);
        BodyPoll::Wait
    }
}

/// Starts a process that receives a request, and calls `then` in the next slice.
fn server(
    stage: &Stage,
    core: usize,
    mut then: impl FnMut(&Cx<'_, Reply<u8>>, Reply<u8>) -> BodyPoll + Send + 'static,
) -> Pid {
    let mut reply = None;
    let body = body(move |cx: &Cx<'_, Reply<u8>>| {
        if let Some(reply) = reply.take() {
            return then(cx, reply);
        }
        match cx.receive() {
            Some(Received::Message(received)) => {
                reply = Some(received);
                BodyPoll::Yield
            }
            _ => BodyPoll::Wait,
        }
    });
    stage.host().spawn(&SpawnOptions::new().core(core), body).unwrap().pid
}

/// Ends the stage, and checks that no reference to its kernel is left.
fn end(stage: Stage) {
    let lives = life::of(&stage.kernel);
    stage.end();
    assert!(!lives(), "a reference to the kernel is left");
}

/// The receiver dies of its own accord while a request comes: the request is refused, or waits in
/// its mailbox.
fn asks_the_dying(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, refused): (Log, _) = (Log::default(), Known::new());
    let mut ran = false;
    let dies = body(
        move |_: &Cx<'_, Reply<u8>>| {
            if std::mem::replace(&mut ran, true) { BodyPoll::Exit(WHY) } else { BodyPoll::Yield }
        },
    );
    let to = stage.host().spawn(&SpawnOptions::new().core(1), dies).unwrap().pid;
    let (sees, says, mut slice, mut requested) = (log.clone(), refused.clone(), 0, None);
    stage.start(0, move |cx| {
        slice += 1;
        match slice {
            1 => return BodyPoll::Yield,
            2 => {
                requested = cx.request(to, |reply: Reply<u8>| reply).ok();
                says.set(requested.is_none());
            }
            _ => {}
        }
        look(cx, &mut requested, &sees);
        BodyPoll::Wait
    });
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let seen = std::mem::take(&mut *log.lock().unwrap());
    let outcome = match (refused.get().unwrap(), &*seen) {
        (true, []) => "noproc",
        (false, [Seen::Lost(RequestError::Down(why))]) if *why == WHY => "down",
        other => panic!("neither refused nor answered by a Down: {other:?}"),
    };
    end(stage);
    outcome
}

/// The caller's action at the same time.
#[derive(Clone, Copy, PartialEq)]
enum RequesterAction {
    Looks,
    LetsGo,
    Dies,
}

/// The fate of a received request.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// Its receiver dies with it.
    Dies,
    /// Its receiver answers, and dies.
    AnswersAndDies,
    /// Its receiver drops it, and lives on.
    Drops,
    /// Its receiver answers, and lives on.
    Answers,
}

/// The receiver does `then`, while the caller polls and sleeps, abandons the request and sleeps, or
/// dies.
fn received(then: Then, does: RequesterAction, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, to) = (Log::default(), Known::new());
    let crossing = stage.crossing.clone();
    let before = move |_: &Cx<'_, u8>, requested: &mut Option<RequestFuture<u8>>, slice: u32| {
        crossing.pass();
        match does {
            RequesterAction::LetsGo => *requested = None,
            RequesterAction::Dies if slice == 2 => return Some(BodyPoll::Exit(WHY)),
            _ => {}
        }
        None
    };
    let answered = Arc::new(Mutex::new(None));
    let tells = answered.clone();
    stage.start(0, requester(to.clone(), &log, before));
    to.set(server(&stage, 1, move |cx, reply| match then {
        Then::Dies => {
            // The body still holds the reply when it is dropped.
            drop(reply);
            BodyPoll::Exit(WHY)
        }
        Then::AnswersAndDies => {
            reply.send(7);
            BodyPoll::Exit(WHY)
        }
        Then::Drops => {
            drop(reply);
            assert!(cx.receive().is_none());
            BodyPoll::Wait
        }
        Then::Answers => {
            *tells.lock().unwrap() = Some(reply.try_send(7).is_ok());
            BodyPoll::Wait
        }
    }));
    stage.run(1, 1);
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    let seen = std::mem::take(&mut *log.lock().unwrap());
    let down = |seen: &Seen| *seen == Seen::Lost(RequestError::Down(WHY));
    let outcome = match (then, &*seen) {
        (Then::Answers, []) if *answered.lock().unwrap() == Some(false) => "returned",
        (Then::Answers, []) if does != RequesterAction::Looks => "discarded",
        (Then::Answers, [Seen::Answer(7)]) => "answered",
        (_, []) if does == RequesterAction::Dies => "the caller is dead",
        (Then::Dies, [last]) if down(last) => "down",
        (Then::Dies, [Seen::Lost(RequestError::ReplyDropped), last]) if down(last) => "dropped, down",
        (Then::AnswersAndDies, [Seen::Answer(7)]) => "answered",
        (Then::Drops, [Seen::Lost(RequestError::NoReply)]) => "no reply",
        // The caller now checks if the receiver is alive.
        (Then::Drops, [Seen::Lost(RequestError::ReplyDropped), Seen::Lost(RequestError::NoReply)]) => {
            "dropped, no reply"
        }
        (Then::Drops, [Seen::Lost(RequestError::ReplyDropped)]) => "dropped",
        (_, other) => panic!("not an allowed outcome: {other:?}"),
    };
    end(stage);
    outcome
}

/// A host thread holds the reply, and answers.
fn from_outside(does: RequesterAction, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(1, mutation);
    let (log, to) = (Log::default(), Known::new());
    let crossing = stage.crossing.clone();
    let before = move |_: &Cx<'_, u8>, requested: &mut Option<RequestFuture<u8>>, slice: u32| {
        crossing.pass();
        match does {
            RequesterAction::LetsGo => *requested = None,
            RequesterAction::Dies if slice == 2 => return Some(BodyPoll::Exit(WHY)),
            _ => {}
        }
        None
    };
    let kept: Arc<Mutex<Option<Reply<u8>>>> = Arc::default();
    let keeps = kept.clone();
    let keeper = body(move |cx: &Cx<'_, Reply<u8>>| {
        if let Some(Received::Message(reply)) = cx.receive() {
            *keeps.lock().unwrap() = Some(reply);
        }
        BodyPoll::Wait
    });
    to.set(stage.host().spawn(&SpawnOptions::new(), keeper).unwrap().pid);
    stage.run(0, 1);
    stage.start(0, requester(to.clone(), &log, before));
    stage.run(0, 1);
    stage.run(0, 1);
    let reply = kept.lock().unwrap().take().unwrap();
    let answered = Arc::new(Mutex::new(None));
    let tells = answered.clone();
    stage.race_host(&[1], move |_| {
        let given = reply.try_send(7).is_ok();
        *tells.lock().unwrap() = Some(given);
    });
    stage.settle();
    let seen = std::mem::take(&mut *log.lock().unwrap());
    let outcome = match (answered.lock().unwrap().unwrap(), &*seen) {
        (true, [Seen::Answer(7)]) => "taken",
        (true, []) => "discarded",
        (false, []) => "returned",
        other => panic!("an answer in two places, or none: {other:?}"),
    };
    end(stage);
    outcome
}

/// The action of a thread other than the caller on the caller's end of the request.
#[derive(Clone, Copy, PartialEq)]
enum Elsewhere {
    /// The thread polls, and waits with a waker of its own.
    Looks,
    /// The thread drops it.
    LetsGo,
    /// The thread polls, leaves its waker, and drops it.
    LooksAndLetsGo,
    /// The thread polls, and returns the end to the process, which polls when it is resumed.
    GivesBack,
}

/// Issue 14, 4: the caller sleeps, and a thread other than the process holds its end of the
/// request, while the receiver answers.
fn asked_from_elsewhere(does: Elsewhere, looked_at_home: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(1, mutation);
    let (log, answered): (Log, Arc<Mutex<Option<bool>>>) = Default::default();
    let tells = answered.clone();
    let to = server(&stage, 0, move |_, reply| {
        *tells.lock().unwrap() = Some(reply.try_send(7).is_ok());
        BodyPoll::Wait
    });
    stage.run(0, 1);
    let end: Arc<Mutex<Option<RequestFuture<u8>>>> = Arc::default();
    let back: Arc<Mutex<Option<RequestFuture<u8>>>> = Arc::default();
    let gives = end.clone();
    let (takes, sees, mut asked) = (back.clone(), log.clone(), false);
    stage.start(0, move |cx| {
        if !std::mem::replace(&mut asked, true) {
            let mut requested = cx.request(to, |reply: Reply<u8>| reply).ok();
            if looked_at_home {
                look(cx, &mut requested, &sees);
            }
            *gives.lock().unwrap() = requested;
        } else {
            look(cx, &mut takes.lock().unwrap(), &sees);
        }
        BodyPoll::Wait
    });
    // The caller makes the request and sleeps; the receiver receives.
    stage.run(0, 2);
    let mut requested = LeakOnPanic::new(end.lock().unwrap().take().unwrap());
    let (woken, _) = Woken::new();
    let (by, sees, crossing) = (Waker::from(woken.clone()), log.clone(), stage.crossing.clone());
    let left: Arc<Mutex<Option<RequestFuture<u8>>>> = Arc::default();
    let keeps = left.clone();
    stage.race_host(&[1], move |_| {
        crossing.pass();
        if does == Elsewhere::LetsGo {
            return drop(requested);
        }
        match requested.poll(&mut Context::from_waker(&by)) {
            Poll::Ready(polled) => {
                drop(requested);
                return sees.lock().unwrap().push(polled.map_or_else(Seen::Lost, Seen::Answer));
            }
            Poll::Pending => {}
        }
        match does {
            Elsewhere::Looks => *keeps.lock().unwrap() = Some(requested.take()),
            Elsewhere::GivesBack => *back.lock().unwrap() = Some(requested.take()),
            Elsewhere::LetsGo | Elsewhere::LooksAndLetsGo => drop(requested),
        }
    });
    stage.settle();
    let waits = left.lock().unwrap().take();
    if let Some(requested) = waits {
        let mut requested = LeakOnPanic::new(requested);
        assert!(woken.calls() > 0, "the waiting thread is woken");
        let polled = requested.poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(Ok(7)), "the woken thread finds the answer");
        log.lock().unwrap().push(Seen::Answer(7));
    }
    let (given, seen) = (answered.lock().unwrap().unwrap(), std::mem::take(&mut *log.lock().unwrap()));
    let outcome = match (given, &*seen) {
        (true, [Seen::Answer(7)]) => "taken",
        (true, []) => "discarded",
        (false, []) => "returned",
        other => panic!("an answer in two places, or none: {other:?}"),
    };
    assert_eq!(Arc::strong_count(&woken), 1, "no waker is left");
    self::end(stage);
    outcome
}

/// The receiver is linked to the caller, which traps exits, and dies with the request: a caller
/// that sees the Down finds the EXIT.
fn exit_comes_first(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, early) = (Log::default(), Known::new());
    let kept: Arc<Mutex<Option<Reply<u8>>>> = Arc::default();
    let keeps = kept.clone();
    let to = server(&stage, 1, move |_, reply| {
        // The reply is dropped later, because the model is about the Down.
        *keeps.lock().unwrap() = Some(reply);
        BodyPoll::Exit(WHY)
    });
    stage.run(1, 1);
    let (sees, says, crossing) = (log.clone(), early.clone(), stage.crossing.clone());
    let (mut slice, mut requested) = (0, None);
    stage.start_trapping(0, move |cx| {
        slice += 1;
        if slice == 1 {
            cx.link(to).unwrap();
            requested = cx.request(to, |reply: Reply<u8>| reply).ok();
            return BodyPoll::Yield;
        }
        if slice == 2 {
            crossing.pass();
        }
        look(cx, &mut requested, &sees);
        if !sees.lock().unwrap().is_empty() {
            let mut exits = 0;
            cx.for_each_waiting(|signal| exits += usize::from(matches!(signal, Peek::Exit(_))));
            assert_eq!(exits, 1, "the EXIT comes first");
            says.set(slice == 2);
        }
        BodyPoll::Wait
    });
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race(&[1, 1]);
    stage.settle();
    assert_eq!(*log.lock().unwrap(), [Seen::Lost(RequestError::Down(WHY))]);
    drop(kept.lock().unwrap().take());
    let outcome = if early.get().unwrap() { "in the race" } else { "later" };
    end(stage);
    outcome
}

#[test]
fn protocol() {
    explore("request || exit", Some(2), &["down", "noproc"], || asks_the_dying(None));
    explore("death with a request || look", Some(2), &["down", "dropped, down"], || {
        received(Then::Dies, RequesterAction::Looks, None)
    });
    explore("answer, death || look", Some(2), &["answered"], || {
        received(Then::AnswersAndDies, RequesterAction::Looks, None)
    });
    explore("drop, receive || look", Some(2), &["dropped", "dropped, no reply", "no reply"], || {
        received(Then::Drops, RequesterAction::Looks, None)
    });
    explore("EXIT before the Down of a request", Some(2), &["in the race", "later"], || exit_comes_first(None));
}

#[test]
fn the_caller_dies() {
    let dead = &["the caller is dead"];
    explore("death with a request || caller's death", Some(2), dead, || {
        received(Then::Dies, RequesterAction::Dies, None)
    });
    explore("answer, death || caller's death", Some(2), dead, || {
        received(Then::AnswersAndDies, RequesterAction::Dies, None)
    });
    explore("drop, receive || caller's death", Some(2), dead, || received(Then::Drops, RequesterAction::Dies, None));
}

/// The receiver of the request answers, and has its watch available, while the caller goes to
/// sleep, abandons the request, or dies.
#[test]
fn answered_by_receiver() {
    explore("answer || look, sleep", Some(3), &["answered"], || received(Then::Answers, RequesterAction::Looks, None));
    explore("answer || abandon, sleep", Some(3), &["returned", "discarded"], || {
        received(Then::Answers, RequesterAction::LetsGo, None)
    });
    explore("answer || death", Some(3), &["returned", "discarded"], || {
        received(Then::Answers, RequesterAction::Dies, None)
    });
}

/// Issue 14, 4: another thread holds the caller's end of the request.
#[test]
fn from_a_thread_that_is_not_the_process() {
    for at_home in [false, true] {
        explore("answer || look elsewhere", Some(3), &["taken"], move || {
            asked_from_elsewhere(Elsewhere::Looks, at_home, None)
        });
        explore("answer || abandon elsewhere", Some(3), &["returned", "discarded"], move || {
            asked_from_elsewhere(Elsewhere::LetsGo, at_home, None)
        });
        explore("answer || look, abandon elsewhere", Some(3), &["returned", "discarded", "taken"], move || {
            asked_from_elsewhere(Elsewhere::LooksAndLetsGo, at_home, None)
        });
        explore("answer || look elsewhere, and at home again", Some(3), &["taken"], move || {
            asked_from_elsewhere(Elsewhere::GivesBack, at_home, None)
        });
    }
}

#[test]
fn answered_by_host_thread() {
    explore("answer from outside || look", Some(2), &["taken"], || from_outside(RequesterAction::Looks, None));
    explore("answer from outside || abandon", Some(2), &["returned", "discarded"], || {
        from_outside(RequesterAction::LetsGo, None)
    });
    explore("answer from outside || caller's death", Some(2), &["returned", "discarded"], || {
        from_outside(RequesterAction::Dies, None)
    });
}

#[test]
fn mutants() {
    let wrong = |name, mutation, f: fn(Option<Mutation>) -> &'static str| {
        mutant(name, Some(2), move || _ = f(Some(mutation)));
    };
    wrong("request, a death is not reported", Mutation::ForgetsRequests, |m| {
        received(Then::Dies, RequesterAction::Looks, m)
    });
    wrong("request, the sleeper's cell is taken, polled", Mutation::TakesTheSleepersCell, |m| {
        asked_from_elsewhere(Elsewhere::Looks, false, m)
    });
    wrong("request, the sleeper's cell is taken, dropped", Mutation::TakesTheSleepersCell, |m| {
        asked_from_elsewhere(Elsewhere::LetsGo, true, m)
    });
    wrong("request, the sleeper's cell is taken, returned", Mutation::TakesTheSleepersCell, |m| {
        asked_from_elsewhere(Elsewhere::LooksAndLetsGo, true, m)
    });
    wrong("request, a waiting request is dropped", Mutation::LateIsDropped, asks_the_dying);
    wrong("request, DOWN before EXIT", Mutation::DownsFirst, exit_comes_first);
}
