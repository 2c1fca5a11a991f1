//! Collections of open calls.

use std::time::Duration;

use crate::common::Bed;
use atropos_kernel::{Context, Reason};
use atropos_otp::{CallError, RequestSet, Server};

use crate::{Ask, Slow, either, ms};

/// Issue 14, 28: replies are returned in order of arrival, however late they are collected.
#[test]
fn n28_calls_return_replies_in_order_of_arrival() {
    let mut bed = Bed::new(2, 7);
    bed.run(async |cx: Context<()>| {
        let mut calls = RequestSet::new();
        for time in [60, 20, 90, 40, 10] {
            let server = Slow.start().start(&cx).await.unwrap();
            calls.add(time, server.request(&cx, |reply| Ask::Slow(time, reply)).unwrap());
        }
        cx.sleep(ms(70)).await;
        let mut got = Vec::new();
        while let Some((label, answer)) = calls.next(&cx, None).await {
            assert_eq!(Ok(label.unwrap()), answer);
            got.push(label.unwrap());
        }
        assert_eq!(got, [10, 20, 40, 60, 90]);
    });
}

/// Issue 14, 28: one deadline for all; a loop over the collection ends.
#[test]
fn n28_a_collection_of_calls_has_one_deadline() {
    let mut bed = Bed::new(2, 7);
    bed.run(async |cx: Context<()>| {
        let mut calls = RequestSet::new();
        for time in [20, 40, 60, 80] {
            let server = Slow.start().start(&cx).await.unwrap();
            calls.add(time, server.request(&cx, |reply| Ask::Slow(time, reply)).unwrap());
        }
        let silent = Slow.start().start(&cx).await.unwrap();
        calls.add(0, silent.request(&cx, Ask::Never).unwrap());
        let start = cx.with(|cx| cx.now());
        let mut got = Vec::new();
        while let Some((label, answer)) = calls.next(&cx, ms(50)).await {
            got.push((label, answer));
        }
        assert_eq!(got, [(Some(20), Ok(20)), (Some(40), Ok(40)), (None, Err(CallError::TimedOut))]);
        let spent = Duration::from_nanos(cx.with(|cx| cx.now()) - start);
        assert!(spent < ms(60), "{spent:?}");
        // The requests stay open; replies that have arrived are kept, and a new deadline can be
        // set.
        assert_eq!(calls.len(), 3);
        cx.sleep(ms(20)).await;
        assert_eq!(calls.next(&cx, ms(50)).await, Some((Some(60), Ok(60))));
        assert_eq!(calls.next(&cx, ms(50)).await, None);
        calls.reset_deadline();
        assert_eq!(calls.next(&cx, ms(50)).await, Some((Some(80), Ok(80))));
        assert_eq!(calls.next(&cx, ms(50)).await, Some((None, Err(CallError::TimedOut))));
        assert_eq!(calls.next(&cx, ms(50)).await, None);
        cx.exit(silent.pid(), Reason::KILL).unwrap();
        calls.reset_deadline();
        assert_eq!(calls.next(&cx, None).await, Some((Some(0), Err(CallError::Down(Reason::KILLED)))));
        assert_eq!(calls.next(&cx, None).await, None);
    });
}

/// Issue 14, 28 and 16: a collection whose `next` is dropped has lost nothing.
#[test]
fn n28_collection_that_loses_a_select_loses_no_reply() {
    let mut bed = Bed::new(2, 7);
    bed.run(async |cx: Context<()>| {
        let mut calls = RequestSet::new();
        for time in [30, 10, 50] {
            let server = Slow.start().start(&cx).await.unwrap();
            calls.add(time, server.request(&cx, |reply| Ask::Slow(time, reply)).unwrap());
        }
        let mut got = Vec::new();
        while got.len() < 3 {
            if let Ok(Some((Some(label), Ok(_)))) = either(calls.next(&cx, None), cx.sleep(ms(1))).await {
                got.push(label);
            }
        }
        assert_eq!(got, [10, 30, 50]);
        let info = cx.own_info().unwrap().unwrap();
        assert_eq!(info.timers, 0);
    });
}
