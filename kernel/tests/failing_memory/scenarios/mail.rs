//! Messages, by pid, by name and by alias.

use atropos_kernel::{Alias, Cx, Received, Resumed, SpawnOptions};

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
                    Resumed::Wait
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
                            // An alias for one reply, whose reply has come, drops the next without a word.
                            let valid = books.promises(cx.send_alias(alias, Letter::new(books)), 1);
                            if valid.is_some() && left.is_multiple_of(3) {
                                cx.unalias(alias);
                            }
                        }
                        alias = None;
                        return Resumed::Yield;
                    }
                    Resumed::Wait
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
            // What was sent to an alias that has ended may be dropped.
            assert!(came <= promised && came + MANY / 3 >= promised, "{came} of {promised} messages came");
        },
    });
}
