//! Several receives and other futures in one process.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use atropos_kernel::{Context, Cursor, Options, Peek, Received};

use crate::common::Stage;
use crate::{either, is_done, ms, run};

/// A heartbeat that continues over several receives, each of which may be cancelled.
#[test]
fn n15_receive_beside_a_sleep_loses_no_message() {
    let mut stage = Stage::new(Options::default());
    let got = Arc::new(Mutex::new(Vec::new()));
    let note = got.clone();
    let (pid, done) = run(&stage, async move |cx: Context<u32>| {
        let mut beats = 0;
        let mut beat = pin!(cx.sleep(ms(10)));
        while beats < 20 {
            match either(cx.recv(), beat.as_mut()).await {
                Ok(Received::Message(number)) => note.lock().unwrap().push(number),
                Ok(other) => panic!("{other:?}"),
                Err(()) => {
                    beats += 1;
                    beat.set(cx.sleep(ms(10)));
                }
            }
        }
    });
    stage.settle();
    for number in 0..100 {
        stage.host().send::<u32>(pid, number).unwrap();
        stage.pass(ms(2));
    }
    assert_eq!(got.lock().unwrap().len(), 100);
    for _ in 0..20 {
        stage.pass(ms(12));
    }
    assert!(is_done(&done));
    assert_eq!(*got.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

/// A receive that was polled before and found nothing is notified of a message that another receive
/// has fetched and does not want.
#[test]
fn n15_receive_sees_messages_fetched_by_another() {
    for plain_first in [false, true] {
        let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
        let (pid, done) = run(&stage, async move |cx: Context<u32>| {
            let me = cx.pid();
            // A message that arrives between the polls of the two futures, as if from another core.
            let mut between = plain_first;
            let mut plain = pin!(cx.recv());
            let mut picky = pin!(cx.recv_match(|peek| matches!(peek, Peek::Message(9))));
            poll_fn(|task| {
                if plain.as_mut().poll(task).is_ready() {
                    return Poll::Ready(());
                }
                if std::mem::take(&mut between) {
                    cx.send(me, 1_u32).unwrap();
                }
                assert!(picky.as_mut().poll(task).is_pending());
                Poll::Pending
            })
            .await;
        });
        stage.settle();
        if !plain_first {
            stage.host().send(pid, 1_u32).unwrap();
            stage.settle();
        }
        assert!(is_done(&done));
    }
}

/// Any number of selective receives over one queue, while other receives take from it: each
/// examines each signal once, in order, and finds the same signal as a plain list.
#[test]
fn n15_cursors_over_a_changing_queue() {
    let mut stage = Stage::new(Options::default());
    let (_, done) = run(&stage, async move |cx: Context<u64>| {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let me = cx.pid();
        let mut model: Vec<u64> = Vec::new();
        let mut sent = 0;
        // The cursors, and the last number that each has examined; the numbers only grow.
        let mut cursors: Vec<(Cursor, Option<u64>)> = vec![(Cursor::new(), None); 5];
        for _ in 0..20_000 {
            match next(8) {
                0..=2 => {
                    for _ in 0..next(4) {
                        cx.send(me, sent).unwrap();
                        model.push(sent);
                        sent += 1;
                    }
                }
                3 => {
                    let got = cx.try_recv();
                    let must = if model.is_empty() { None } else { Some(model.remove(0)) };
                    assert!(matches!((got, must), (None, None)) || must.is_some());
                }
                4 => {
                    let place = next(5) as usize;
                    cursors[place] = (cx.cursor_at_end(), None);
                    // The cursor skips everything fetched so far; signals not yet fetched come
                    // after it.
                    cx.with(|cx| cx.for_each_waiting(|_| ()));
                    cursors[place] = (cx.cursor_at_end(), sent.checked_sub(1));
                }
                _ => {
                    let place = next(5) as usize;
                    let (modulus, rest) = (3 + next(20), next(3));
                    let (cursor, seen) = &mut cursors[place];
                    let mut looked = Vec::new();
                    let found = cx.with(|cx| {
                        cx.receive_match(cursor, |peek| {
                            let Peek::Message(number) = peek else { panic!() };
                            looked.push(*number);
                            number % modulus == rest
                        })
                    });
                    let fresh: Vec<u64> =
                        model.iter().copied().filter(|number| seen.is_none_or(|seen| *number > seen)).collect();
                    let end = fresh.iter().position(|number| number % modulus == rest);
                    assert_eq!(looked, fresh[..end.map_or(fresh.len(), |end| end + 1)]);
                    match (found, end) {
                        (Some(Received::Message(number)), Some(end)) => {
                            assert_eq!(number, fresh[end]);
                            model.retain(|other| *other != number);
                            *seen = if end == 0 { *seen } else { Some(fresh[end - 1]) };
                        }
                        (None, None) => *seen = fresh.last().copied().or(*seen),
                        other => panic!("{other:?}"),
                    }
                }
            }
            cx.checkpoint().await;
        }
    });
    stage.settle();
    assert!(is_done(&done));
}
