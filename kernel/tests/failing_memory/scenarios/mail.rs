//! Messages by pid, by name and by alias, and the capacity for them.

use core::task::{Context, Poll};

use atropos_kernel::{
    Alias, BodyPoll, Cx, Reason, Received, Reply, RequestError, RequestFuture, SendError, SendReservation, SpawnOptions,
};

use super::{MANY, refused};
use crate::common::does;
use crate::stage::{Letter, Scenario, get, sweep};

#[test]
fn messages() {
    sweep(&Scenario {
        name: "messages",
        play: |stage| {
            let books = stage.books;
            let counts = move || {
                does(move |cx: &Cx<'_, Letter>| {
                    while let Some(Received::Message(_)) = cx.receive() {
                        books.comes();
                    }
                    BodyPoll::Wait
                })
            };
            let Some(to) = stage.start(&SpawnOptions::new().name("receiver"), counts) else { return };
            let sends = move || {
                let mut alias: Option<Alias> = None;
                let mut left = MANY;
                does(move |cx: &Cx<'_, Letter>| {
                    while let Some(Received::Message(_)) = cx.receive() {
                        books.comes();
                    }
                    if left > 0 {
                        left -= 1;
                        books.promises(cx.send(to, Letter::new(books)), 1);
                        books.promises(cx.send_name("receiver", Letter::new(books)), 1);
                        alias = refused(books, cx.alias(left.is_multiple_of(2))).or(alias);
                        if let Some(alias) = alias {
                            // An alias for one reply drops, after that reply, the next message
                            // without an error.
                            let valid = books.promises(cx.send_alias(alias, Letter::new(books)), 1);
                            if valid.is_some() && left.is_multiple_of(3) {
                                cx.unalias(alias);
                            }
                        }
                        alias = None;
                        return BodyPoll::Yield;
                    }
                    BodyPoll::Wait
                })
            };
            stage.start(&SpawnOptions::new(), sends);
            for _ in 0..MANY {
                stage.books.promises(stage.host().send(to, Letter::new(books)), 1);
            }
            stage.settle();
        },
        check: |stage| {
            stage.settle();
            let (promised, came) = (get(&stage.books.promised), get(&stage.books.came));
            // A message to an alias that has ended may be dropped.
            assert!(came <= promised && came + MANY / 3 >= promised, "{came} of {promised} messages came");
        },
    });
}

/// Three senders wait for capacity in a mailbox for one message. A sender that finds no memory, for
/// its message or its reservation, tries again for a while. No sender waits for ever for a slot
/// that another sender has released.
#[test]
fn room() {
    sweep(&Scenario {
        name: "room",
        play: |stage| {
            let books = stage.books;
            let counts = move || {
                does(move |cx: &Cx<'_, Letter>| match cx.receive() {
                    Some(_) => {
                        books.comes();
                        BodyPoll::Yield
                    }
                    None => BodyPoll::Wait,
                })
            };
            let Some(to) = stage.start(&SpawnOptions::new().mailbox_limit(1), counts) else { return };
            let sends = move || {
                let (mut line, mut left, mut fails) = (SendReservation::new(), MANY, 0);
                does(move |cx: &Cx<'_, Letter>| {
                    while left > 0 && fails < 8 {
                        match cx.send_or_enqueue(&mut line, to, Letter::new(books)) {
                            Err(SendError::Full(_)) => return BodyPoll::Wait,
                            sent @ Ok(()) => {
                                books.promises(sent, 1);
                                (left, fails) = (left - 1, 0);
                            }
                            sent => {
                                assert!(matches!(sent, Err(SendError::NoMemory(_))));
                                books.promises(sent, 1);
                                fails += 1;
                                return BodyPoll::Yield;
                            }
                        }
                    }
                    BodyPoll::Exit(Reason::NORMAL)
                })
            };
            for _ in 0..3 {
                stage.start(&SpawnOptions::new(), sends);
            }
            stage.settle();
        },
        check: |stage| {
            stage.settle();
            assert_eq!(get(&stage.books.came), get(&stage.books.promised), "every sent message was received");
            assert!(stage.kernel.process_count() <= 1, "a sender waits for ever");
        },
    });
}

/// Requests to a server that answers some, drops others, and dies with the rest: each request that
/// was sent has one outcome, and a refused request has none.
#[test]
fn requests() {
    sweep(&Scenario {
        name: "requests",
        play: |stage| {
            let books = stage.books;
            let serves = move || {
                let mut kept = [const { None }; MANY];
                let mut number = 0;
                does(move |cx: &Cx<'_, (Letter, Reply<Letter>)>| {
                    while let Some(Received::Message((letter, reply))) = cx.receive() {
                        number += 1;
                        match number % 3 {
                            0 => drop(reply),
                            1 => reply.send(letter),
                            _ => kept[number % MANY] = Some(reply),
                        }
                    }
                    BodyPoll::Wait
                })
            };
            let Some(to) = stage.start(&SpawnOptions::new().name("server"), serves) else { return };
            let asks = move || {
                let mut open: [Option<RequestFuture<Letter>>; MANY] = [const { None }; MANY];
                let mut left = MANY;
                does(move |cx: &Cx<'_, Letter>| {
                    let waker = cx.waker();
                    let mut task = Context::from_waker(&waker);
                    for place in &mut open {
                        let polled = place.as_mut().map(|requested| requested.poll(&mut task));
                        if matches!(polled, Some(Poll::Ready(ref polled)) if !matches!(polled, Err(RequestError::ReplyDropped)))
                        {
                            books.comes();
                            *place = None;
                        }
                    }
                    if left > 0 {
                        left -= 1;
                        let requested = cx.request(to, |reply| (Letter::new(books), reply));
                        open[left] = books.promises(requested, 1);
                        return BodyPoll::Yield;
                    }
                    BodyPoll::Wait
                })
            };
            stage.start(&SpawnOptions::new(), asks);
            stage.settle();
        },
        check: |stage| {
            if let Some(server) = stage.host().whereis("server") {
                stage.host().exit(server, Reason::KILL).unwrap();
            }
            stage.settle();
            assert_eq!(get(&stage.books.came), get(&stage.books.promised), "each request has one outcome");
        },
    });
}
