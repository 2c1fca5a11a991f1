//! Mass exits: a tree that dies with its root, and workers that are restarted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use atropos_kernel::{Body, BodyPoll, Cx, Pid, Reason, Received, SpawnOptions};

use super::refused;
use crate::common::does;
use crate::stage::{Books, Letter, Scenario, get, sweep, waits};

/// Creates a body that starts linked branches, which start linked and monitored leaves.
fn root(books: &'static Books) -> impl Body<Message = Letter> {
    let mut left = 2;
    does(move |cx: &Cx<'_, Letter>| {
        while cx.receive().is_some() {}
        while left > 0 {
            left -= 1;
            refused(books, cx.spawn(&SpawnOptions::new().link(), branch(books)));
        }
        BodyPoll::Wait
    })
}

fn branch(books: &'static Books) -> impl Body<Message = Letter> {
    let mut left = 8;
    does(move |cx: &Cx<'_, Letter>| {
        while left > 0 {
            left -= 1;
            refused(books, cx.spawn(&SpawnOptions::new().link().monitor(), waits()));
        }
        while cx.receive().is_some() {}
        BodyPoll::Wait
    })
}

#[test]
fn cascade() {
    sweep(&Scenario {
        name: "cascade",
        play: |stage| {
            let books = stage.books;
            let Some(root) = stage.start(&SpawnOptions::new(), || root(books)) else { return };
            stage.settle();
            stage.start(&SpawnOptions::new().name("bystander"), waits);
            stage.settle();
            // With or without memory for the reason.
            let told = stage.host().exit(root, Reason::crash("the root"));
            if told.is_err() {
                stage.host().exit(root, Reason::KILL).expect("a kill needs no memory");
            }
            stage.settle();
            let left = stage.host().processes().count();
            assert!(left <= 1, "{left} processes have outlived their links");
        },
        check: |stage| {
            assert_eq!(stage.host().processes().next(), stage.host().whereis("bystander"));
        },
    });
}

const WORKERS: usize = 4;
const CRASHES: usize = 6;

/// A process that keeps its workers alive: it restarts missing workers as soon as there is memory.
struct Keeper {
    books: &'static Books,
    workers: [Option<Pid>; WORKERS],
}

/// Creates a body that waits, and crashes on request.
fn worker() -> impl Body<Message = Letter> {
    does(|cx: &Cx<'_, Letter>| match cx.receive() {
        Some(_) => BodyPoll::Exit(Reason::crash("told to")),
        None => BodyPoll::Wait,
    })
}

impl Body for Keeper {
    type Message = Letter;

    fn resume(&mut self, cx: &Cx<'_, Letter>) -> BodyPoll {
        while let Some(received) = cx.receive() {
            if let Received::Exit(exit) = received
                && let Some(dead) = self.workers.iter_mut().find(|worker| **worker == exit.from)
            {
                *dead = None;
                self.books.comes();
            }
        }
        let options = SpawnOptions::new().link();
        for missing in self.workers.iter_mut().filter(|worker| worker.is_none()) {
            *missing = refused(self.books, cx.spawn(&options, worker())).map(|worker| worker.pid);
        }
        self.books.noted.store(self.workers.iter().flatten().count(), Ordering::Relaxed);
        // Without memory for an alarm, the process yields and tries again in its next slice.
        if self.workers.contains(&None) && refused(self.books, cx.alarm(Duration::from_millis(1))).is_none() {
            return BodyPoll::Yield;
        }
        BodyPoll::Wait
    }
}

#[test]
fn supervision() {
    sweep(&Scenario {
        name: "supervision",
        play: |stage| {
            let books = stage.books;
            let options = SpawnOptions::new().trap_exit(true).name("keeper");
            stage.start(&options, || Keeper { books, workers: [None; WORKERS] });
            for _ in 0..CRASHES {
                stage.pass(Duration::from_millis(2));
                let keeper = stage.host().whereis("keeper");
                let Some(worker) = stage.host().processes().find(|pid| Some(*pid) != keeper) else { continue };
                books.promises(stage.host().send(worker, Letter::new(books)), 1);
            }
        },
        check: |stage| {
            stage.pass(Duration::from_millis(20));
            let books = stage.books;
            assert_eq!(get(&books.came), get(&books.promised), "each crash was seen");
            if stage.host().whereis("keeper").is_some() {
                assert_eq!(get(&books.noted), WORKERS, "all workers are restarted");
                assert_eq!(stage.kernel.process_count(), WORKERS + 1);
            }
        },
    });
}
