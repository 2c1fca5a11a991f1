//! Requests (`Cx::request`) whose ends are lost: the references that each end holds, the ends that
//! are notified, the order of notifications, and the state that a panic in foreign code leaves
//! behind. Stepped: the order of events is fixed.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Wake, Waker};

use atropos_kernel::internals::life;
use atropos_kernel::{
    BodyPoll, Cursor, Cx, Options, Overflow, Pid, Reason, Received, Reply, RequestError, RequestFuture, SendError,
    SpawnOptions,
};
use common::{Stage, does};

const WHY: Reason = Reason::SHUTDOWN;

type Place<T> = Arc<Mutex<Option<T>>>;

fn stage() -> Stage {
    Stage::new(Options { cores: 1, ..Options::default() })
}

fn start<M: Send + 'static>(stage: &Stage, act: impl FnMut(&Cx<'_, M>) -> BodyPoll + Send + 'static) -> Pid {
    stage.host().spawn(&SpawnOptions::new(), does(act)).unwrap().pid
}

/// Starts a process that acts in its first slice, and then waits.
fn once<M: Send + 'static>(stage: &Stage, act: impl FnOnce(&Cx<'_, M>) + Send + 'static) -> Pid {
    let mut act = Some(act);
    start(stage, move |cx: &Cx<'_, M>| {
        if let Some(act) = act.take() {
            act(cx);
        }
        BodyPoll::Wait
    })
}

/// Starts a process that takes requests, and never looks at them.
fn deaf(stage: &Stage) -> Pid {
    start(stage, |_: &Cx<'_, Reply<u8>>| BodyPoll::Wait)
}

/// Starts a process that stores the replies it receives where the test finds them.
fn keeper(stage: &Stage) -> (Pid, Arc<Mutex<Vec<Reply<u8>>>>) {
    let kept: Arc<Mutex<Vec<Reply<u8>>>> = Arc::default();
    let keeps = kept.clone();
    let pid = start(stage, move |cx: &Cx<'_, Reply<u8>>| {
        while let Some(received) = cx.receive() {
            if let Received::Message(reply) = received {
                keeps.lock().unwrap().push(reply);
            }
        }
        BodyPoll::Wait
    });
    (pid, kept)
}

/// Starts a process that sends a request to another process and stores its end of the request where
/// the test finds it.
fn asks(stage: &mut Stage, to: Pid) -> (Pid, Place<RequestFuture<u8>>) {
    let place: Place<RequestFuture<u8>> = Arc::default();
    let puts = place.clone();
    let pid = once(stage, move |cx: &Cx<'_, ()>| {
        *puts.lock().unwrap() = Some(cx.request(to, |reply: Reply<u8>| reply).unwrap());
    });
    stage.settle();
    (pid, place)
}

fn poll(requested: &mut RequestFuture<u8>) -> Poll<Result<u8, RequestError>> {
    requested.poll(&mut Task::from_waker(Waker::noop()))
}

fn taken<T>(place: &Place<T>) -> T {
    place.lock().unwrap().take().unwrap()
}

/// Drops the kernel handle. Returns `true` if the kernel is gone then.
fn ends(stage: Stage) -> bool {
    let lives = life::of(&stage.kernel);
    drop(stage);
    !lives()
}

/// A waker that counts its calls, and may panic in them.
struct Counting {
    calls: AtomicUsize,
    panics: bool,
}

fn counting(panics: bool) -> Arc<Counting> {
    Arc::new(Counting { calls: AtomicUsize::new(0), panics })
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics, "a waker that panics");
    }
}

#[test]
fn dropped_request_holds_no_kernel() {
    // The request is in the mailbox of a process that never reads it.
    let mut stage = stage();
    let to = deaf(&stage);
    let (_, place) = asks(&mut stage, to);
    drop(taken(&place));
    assert!(ends(stage));
    // The request is with the caller, which dies.
    let mut stage = self::stage();
    let to = deaf(&stage);
    let mut requested = None;
    let requester = start(&stage, move |cx: &Cx<'_, ()>| {
        requested = requested.take().or_else(|| cx.request(to, |reply: Reply<u8>| reply).ok());
        BodyPoll::Wait
    });
    stage.settle();
    stage.host().exit(requester, Reason::KILL).unwrap();
    stage.settle();
    assert!(ends(stage));
    // The request is dropped within the slice that has sent it.
    let mut stage = self::stage();
    let to = deaf(&stage);
    once(&stage, move |cx: &Cx<'_, ()>| {
        for _ in 0..3 {
            drop(cx.request(to, |reply: Reply<u8>| reply).unwrap());
        }
    });
    stage.settle();
    assert!(ends(stage));
}

#[test]
fn answered_request_holds_no_kernel() {
    for from_outside in [false, true] {
        let mut stage = stage();
        let (to, kept) = keeper(&stage);
        let (_, place) = asks(&mut stage, to);
        let reply = kept.lock().unwrap().pop().unwrap();
        if from_outside {
            std::thread::spawn(move || reply.send(7)).join().unwrap();
        } else {
            once(&stage, move |_: &Cx<'_, ()>| reply.send(7));
            stage.settle();
        }
        let mut requested = taken(&place);
        assert_eq!(poll(&mut requested), Poll::Ready(Ok(7)));
        drop(requested);
        assert!(ends(stage));
    }
}

#[test]
fn unwanted_reply_outlives_its_kernel() {
    let mut stage = stage();
    let (to, kept) = keeper(&stage);
    let (_, place) = asks(&mut stage, to);
    drop(taken(&place));
    let reply = kept.lock().unwrap().pop().unwrap();
    assert!(!reply.is_wanted());
    assert!(ends(stage));
    assert_eq!(reply.try_send(7), Err(7));
}

#[test]
fn spare_reference_is_released_at_any_end_of_the_slice() {
    for how in 0..4 {
        let mut stage = stage();
        let (to, _kept) = keeper(&stage);
        let mut left = 2_i32;
        let pid = start(&stage, move |cx: &Cx<'_, ()>| {
            let refused = cx.request(to, |reply: Reply<u8>| (reply, "of another type"));
            assert!(matches!(refused, Err(SendError::WrongType(()))));
            left -= 1;
            assert!(left >= 0, "resumed for the reply of a request that was refused");
            match how {
                0 => BodyPoll::Wait,
                1 if left > 0 => BodyPoll::Yield,
                1 => BodyPoll::Wait,
                2 => BodyPoll::Exit(WHY),
                _ => panic!("behind a request"),
            }
        });
        stage.settle();
        assert_eq!(stage.host().is_alive(pid), how < 2);
        assert_eq!(stage.world.unhandled_panics(), 0);
        assert!(ends(stage), "{how}");
    }
}

struct PanicsWhenDropped;
impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[test]
fn reply_whose_destructor_panics_holds_nothing() {
    // Answered before the caller drops its end, while the watch is in transit and afterwards.
    for receives in [false, true] {
        let mut stage = stage();
        let to = start(&stage, move |cx: &Cx<'_, Reply<PanicsWhenDropped>>| {
            if let Some(Received::Message(reply)) = cx.receive() {
                reply.send(PanicsWhenDropped);
                if receives {
                    assert!(cx.receive().is_none());
                }
            }
            BodyPoll::Wait
        });
        let mut requested = None;
        let requester = start(&stage, move |cx: &Cx<'_, ()>| match requested.take() {
            None => {
                requested = cx.request(to, |reply: Reply<PanicsWhenDropped>| reply).ok();
                BodyPoll::Wait
            }
            Some(answered) => {
                drop(answered);
                BodyPoll::Wait
            }
        });
        stage.settle();
        assert!(stage.host().is_alive(requester), "the panic of an untaken answer is caught");
        assert_eq!(stage.world.unhandled_panics(), 1);
        assert!(ends(stage));
    }
}

#[test]
fn request_whose_message_is_not_created_leaves_nothing() {
    let mut stage = stage();
    let to = deaf(&stage);
    let requester = once(&stage, move |cx: &Cx<'_, ()>| {
        _ = cx.request(to, |_: Reply<u8>| -> Reply<u8> { panic!("no message") });
    });
    stage.settle();
    assert!(!stage.host().is_alive(requester));
    assert!(stage.host().is_alive(to));
    assert!(ends(stage));
}

#[test]
fn message_whose_destructor_panics_still_answers_the_caller() {
    struct Bomb(Reply<u8>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(self.0.is_wanted(), "the caller waits");
            panic!("in a destructor");
        }
    }
    let mut stage = stage();
    let to = start(&stage, |_: &Cx<'_, Bomb>| BodyPoll::Wait);
    let place: Place<RequestFuture<u8>> = Arc::default();
    let puts = place.clone();
    once(&stage, move |cx: &Cx<'_, ()>| *puts.lock().unwrap() = cx.request(to, Bomb).ok());
    stage.settle();
    stage.host().exit(to, WHY).unwrap();
    stage.settle();
    let mut requested = taken(&place);
    assert_eq!(poll(&mut requested), Poll::Ready(Err(RequestError::Down(WHY))));
    drop(requested);
    assert_eq!(stage.world.unhandled_panics(), 1);
    assert!(ends(stage));
}

#[test]
fn exit_is_reported_to_the_new_holder_of_a_moved_request() {
    let mut stage = stage();
    let (to, kept) = keeper(&stage);
    let (requester, place) = asks(&mut stage, to);
    let mut requested = taken(&place);
    let (first, second) = (counting(false), counting(false));
    let look = |requested: &mut RequestFuture<u8>, woken: &Arc<Counting>| {
        requested.poll(&mut Task::from_waker(&Waker::from(woken.clone())))
    };
    assert!(look(&mut requested, &first).is_pending());
    // The caller is gone. The new holder of the request is notified first of the dropped reply,
    // then of the exit.
    stage.host().exit(requester, Reason::KILL).unwrap();
    stage.settle();
    kept.lock().unwrap().clear();
    assert_eq!(first.calls.load(Ordering::Relaxed), 1);
    assert_eq!(look(&mut requested, &first), Poll::Ready(Err(RequestError::ReplyDropped)));
    assert!(look(&mut requested, &first).is_pending());
    assert!(look(&mut requested, &second).is_pending());
    stage.host().exit(to, WHY).unwrap();
    stage.settle();
    assert_eq!((first.calls.load(Ordering::Relaxed), second.calls.load(Ordering::Relaxed)), (1, 1));
    assert_eq!(look(&mut requested, &second), Poll::Ready(Err(RequestError::Down(WHY))));
    drop(requested);
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1), "no waker is left");
    assert!(ends(stage));
}

#[test]
fn panicking_waker_does_not_stop_other_notifications() {
    let mut stage = stage();
    let to = deaf(&stage);
    let mut all: Vec<_> = (0..3).map(|_| taken(&asks(&mut stage, to).1)).collect();
    let wakers = [counting(false), counting(true), counting(false)];
    for (requested, waker) in all.iter_mut().zip(&wakers) {
        assert!(requested.poll(&mut Task::from_waker(&Waker::from(waker.clone()))).is_pending());
    }
    stage.host().exit(to, WHY).unwrap();
    stage.settle();
    assert_eq!(stage.world.unhandled_panics(), 1);
    for (mut requested, waker) in all.into_iter().zip(&wakers) {
        assert_eq!(waker.calls.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut requested), Poll::Ready(Err(RequestError::Down(WHY))));
    }
    assert!(ends(stage));
}

/// Runs on two cores.
#[cfg(feature = "epoch")]
#[test]
fn exit_arrives_before_the_down_of_the_same_process() {
    for traps in [false, true] {
        let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
        let on = |core| SpawnOptions::new().core(core);
        let to = stage.host().spawn(&on(1), does(|_: &Cx<'_, Reply<u8>>| BodyPoll::Wait)).unwrap().pid;
        let (die, dies) = std::sync::mpsc::channel();
        let (dead, died) = std::sync::mpsc::channel();
        let seen: Arc<Mutex<Vec<&'static str>>> = Arc::default();
        let sees = seen.clone();
        let mut requested = None;
        let mut slice = 0;
        let requester = does(move |cx: &Cx<'_, ()>| {
            slice += 1;
            if slice == 1 {
                cx.link(to).unwrap();
                requested = cx.request(to, |reply: Reply<u8>| reply).ok();
                return BodyPoll::Yield;
            }
            if slice > 2 {
                return BodyPoll::Wait;
            }
            // The target dies in the middle of a slice of the caller.
            cx.exit(to, WHY).unwrap();
            die.send(()).unwrap();
            died.recv().unwrap();
            match requested.as_mut().unwrap().poll(&mut Task::from_waker(Waker::noop())) {
                Poll::Ready(Err(RequestError::Down(_))) => sees.lock().unwrap().push("DOWN"),
                _ => sees.lock().unwrap().push("nothing"),
            }
            assert_eq!(cx.is_dying(), !traps);
            cx.for_each_waiting(|signal| {
                assert!(matches!(signal, atropos_kernel::Peek::Exit(_)));
                sees.lock().unwrap().push("EXIT");
            });
            requested = None;
            BodyPoll::Wait
        });
        let requester = stage.host().spawn(&on(0).trap_exit(traps), requester).unwrap().pid;
        assert_eq!(stage.cores[1].run(1), atropos_kernel::RunOutcome::Worked);
        _ = stage.cores[0].run(1);
        _ = stage.cores[1].run(16);
        let mut other = stage.cores.pop().unwrap();
        let other = std::thread::spawn(move || {
            dies.recv().unwrap();
            _ = other.run(16);
            dead.send(()).unwrap();
            other
        });
        _ = stage.cores[0].run(1);
        stage.cores.push(other.join().unwrap());
        stage.settle();
        assert!(!stage.host().is_alive(to));
        assert_eq!(stage.host().is_alive(requester), traps);
        let expected: &[&str] = if traps { &["DOWN", "EXIT"] } else { &["nothing"] };
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}

#[test]
fn request_to_itself() {
    // Answered by the process itself; and not answered, until the process dies.
    for answers in [true, false] {
        let mut stage = stage();
        let place: Place<RequestFuture<u8>> = Arc::default();
        let puts = place.clone();
        let pid = once(&stage, move |cx: &Cx<'_, Reply<u8>>| {
            let mut requested = cx.request(cx.pid(), |reply: Reply<u8>| reply).unwrap();
            let Some(Received::Message(reply)) = cx.receive() else { panic!("the request has not arrived") };
            assert!(poll(&mut requested).is_pending());
            if answers {
                reply.send(7);
                assert_eq!(poll(&mut requested), Poll::Ready(Ok(7)));
            } else {
                drop(reply);
                *puts.lock().unwrap() = Some(requested);
            }
        });
        stage.settle();
        stage.host().exit(pid, WHY).unwrap();
        stage.settle();
        if !answers {
            let mut requested = taken(&place);
            assert_eq!(poll(&mut requested), Poll::Ready(Err(RequestError::Down(WHY))));
        }
        assert!(ends(stage));
    }
}

#[test]
fn full_mailbox_rejects_or_drops_a_request() {
    let ask = |stage: &mut Stage, to| {
        let place: Place<Result<RequestFuture<u8>, SendError<()>>> = Arc::default();
        let puts = place.clone();
        once(stage, move |cx: &Cx<'_, ()>| *puts.lock().unwrap() = Some(cx.request(to, |reply: Reply<u8>| reply)));
        stage.settle();
        taken(&place)
    };
    for overflow in [Overflow::Reject, Overflow::DropNewest, Overflow::DropOldest] {
        let mut stage = stage();
        let options = SpawnOptions::new().mailbox_limit(1).overflow(overflow);
        let to = stage.host().spawn(&options, does(|_: &Cx<'_, Reply<u8>>| BodyPoll::Wait)).unwrap().pid;
        let mut first = ask(&mut stage, to).unwrap();
        let second = ask(&mut stage, to);
        let lives = match overflow {
            Overflow::Reject => {
                assert!(matches!(second, Err(SendError::Full(()))));
                &mut first
            }
            Overflow::DropNewest => {
                // No query is needed to learn whether the receiver is alive.
                assert_eq!(poll(&mut second.unwrap()), Poll::Ready(Err(RequestError::NoReply)));
                &mut first
            }
            _ => {
                assert_eq!(poll(&mut first), Poll::Ready(Err(RequestError::NoReply)));
                &mut second.unwrap()
            }
        };
        assert!(poll(lives).is_pending());
        stage.host().exit(to, WHY).unwrap();
        stage.settle();
        assert_eq!(poll(lives), Poll::Ready(Err(RequestError::Down(WHY))));
    }
}

#[test]
fn selective_receive_releases_open_requests_as_well() {
    let mut stage = stage();
    let to = start(&stage, |cx: &Cx<'_, Reply<u8>>| {
        while cx.receive_match(&mut Cursor::new(), |_| true).is_some() {}
        BodyPoll::Wait
    });
    let (_, place) = asks(&mut stage, to);
    assert_eq!(
        poll(&mut taken(&place)),
        Poll::Ready(Err(RequestError::NoReply)),
        "no query is needed to learn whether it is alive"
    );
}

#[test]
fn thousands_of_requests_are_answered_in_any_order() {
    const MANY: usize = 5_000;
    let mut stage = stage();
    let (to, kept) = keeper(&stage);
    let mut all: Vec<_> = (0..MANY).map(|_| taken(&asks(&mut stage, to).1)).collect();
    let mut replies = std::mem::take(&mut *kept.lock().unwrap());
    assert_eq!(replies.len(), MANY);
    // A third of the requests is never answered, and further requests arrive in between.
    let mut open = Vec::new();
    for step in 0..MANY {
        let reply = replies.swap_remove((step * 7_919) % replies.len());
        match step % 3 {
            0 => drop(reply),
            1 => reply.send(1),
            _ => open.push(reply),
        }
        if step % 10 == 0 {
            all.push(taken(&asks(&mut stage, to).1));
        }
    }
    let polled: Vec<_> = all.iter_mut().map(poll).collect();
    assert_eq!(polled.iter().filter(|polled| **polled == Poll::Ready(Ok(1))).count(), MANY.div_ceil(3));
    assert_eq!(polled.iter().filter(|polled| polled.is_pending()).count(), open.len() + MANY / 10);
    let lost =
        |polled: &Poll<_>| matches!(polled, Poll::Ready(Err(RequestError::ReplyDropped | RequestError::NoReply)));
    assert_eq!(polled.iter().filter(|polled| lost(polled)).count(), MANY.div_ceil(3));
    stage.host().exit(to, WHY).unwrap();
    stage.settle();
    for (requested, polled) in all.iter_mut().zip(&polled) {
        if polled.is_pending() {
            assert_eq!(poll(requested), Poll::Ready(Err(RequestError::Down(WHY))));
        }
    }
    drop((all, open));
    assert!(ends(stage));
}
