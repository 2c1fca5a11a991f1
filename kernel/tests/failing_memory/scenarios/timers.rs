//! Timers: messages that arrive later.

use std::sync::atomic::Ordering;
use std::time::Duration;

use atropos_kernel::{BodyPoll, Cx, Reason, Received, SpawnOptions};

use super::{MANY, refused};
use crate::common::does;
use crate::stage::{Letter, Scenario, get, sweep, waits};

#[test]
fn timers() {
    sweep(&Scenario {
        name: "timers",
        play: |stage| {
            let books = stage.books;
            let other = stage.start(&SpawnOptions::new().name("other"), waits);
            let starts = move || {
                let mut left = MANY as u64;
                does(move |cx: &Cx<'_, Letter>| {
                    while let Some(received) = cx.receive() {
                        assert!(matches!(received, Received::Message(_) | Received::Timer { .. }));
                        books.comes();
                    }
                    if left == 0 {
                        return BodyPoll::Wait;
                    }
                    left -= 1;
                    let after = Duration::from_millis(left * 7 % 40);
                    books.promises(cx.send_after(cx.pid(), after, Letter::new(books)), 1);
                    let timer = books.promises(cx.start_timer(cx.pid(), after, Letter::new(books)), 1);
                    if left.is_multiple_of(2)
                        && let Some(timer) = timer
                        && cx.read_timer(timer).is_some()
                        && cx.cancel_timer(timer).is_some()
                    {
                        books.promised.fetch_sub(1, Ordering::Relaxed);
                    }
                    refused(books, cx.alarm(after));
                    refused(books, cx.send_after("other", after, Letter::new(books)));
                    if let Some(other) = other {
                        refused(books, cx.send_after(other, after, Letter::new(books)));
                    }
                    BodyPoll::Yield
                })
            };
            stage.start(&SpawnOptions::new(), starts);
            stage.settle();
            stage.pass(Duration::from_millis(20));
            if let Some(other) = other {
                stage.host().exit(other, Reason::KILL).expect("a kill needs no memory");
            }
        },
        check: |stage| {
            stage.pass(Duration::from_millis(40));
            assert_eq!(get(&stage.books.came), get(&stage.books.promised), "timers");
        },
    });
}
