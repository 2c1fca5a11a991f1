//! Links, monitors, and the exit watches of host threads.

use std::sync::atomic::Ordering;

use atropos_kernel::{Body, BodyPoll, Cx, ExitInfo, Pid, Reason, Received, Reference, SpawnOptions, reply};

use super::{MANY, refused};
use crate::common::does;
use crate::stage::{Books, Letter, Scenario, Stage, get, sweep, waits};

/// A process that watches `MANY` children in all ways, tells them to exit, and counts the signals
/// that arrive.
struct Watcher {
    books: &'static Books,
    children: [Option<Pid>; MANY],
    flushed: [Option<Reference>; MANY],
    step: usize,
}

impl Watcher {
    fn watch(&mut self, cx: &Cx<'_, Letter>, i: usize) {
        let books = self.books;
        let options = SpawnOptions::new().link().monitor();
        let Some(child) = books.promises(cx.spawn(&options, waits()), 2).map(|child| child.pid) else { return };
        self.children[i] = Some(child);
        // The child is linked already: the call promises nothing more.
        refused(books, cx.link(child));
        books.promises(cx.monitor(child), 1);
        self.flushed[i] = refused(books, cx.monitor(child));
        if i.is_multiple_of(3) {
            cx.unlink(child);
            books.promised.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn end(&self, cx: &Cx<'_, Letter>, i: usize) {
        let Some(child) = self.children[i] else { return };
        if let Some(reference) = self.flushed[i] {
            assert!(cx.demonitor(reference, true), "the monitor was there");
        }
        if cx.exit(child, Reason::value(i)).is_err() {
            cx.exit(child, Reason::KILL).expect("a kill needs no memory");
        }
    }
}

impl Body for Watcher {
    type Message = Letter;

    fn resume(&mut self, cx: &Cx<'_, Letter>) -> BodyPoll {
        while let Some(received) = cx.receive() {
            match received {
                Received::Down(down) => {
                    assert!(!self.flushed.contains(&Some(down.reference)), "a DOWN after demonitor with flush");
                    self.books.comes();
                }
                Received::Exit(exit) => {
                    let child = self.children.iter().position(|child| *child == exit.from);
                    assert!(child.is_none_or(|i| i % 3 != 0), "an EXIT after unlink");
                    self.books.comes();
                }
                Received::Message(_) | Received::Timer { .. } => {}
            }
        }
        let step = self.step;
        self.step += 1;
        match step {
            0..MANY => self.watch(cx, step),
            MANY..48 => self.end(cx, step - MANY),
            48 => {
                // A link to a dead process gives an EXIT, a monitor gives a DOWN, at once.
                let Some(dead) = self.children[1] else { return BodyPoll::Yield };
                self.books.promises(cx.link(dead), 1);
                self.books.promises(cx.monitor(dead), 1);
                self.books.promises(cx.monitor_name("nobody"), 1);
            }
            _ => return BodyPoll::Wait,
        }
        BodyPoll::Yield
    }
}

#[test]
fn links_and_monitors() {
    sweep(&Scenario {
        name: "ties",
        play: |stage| {
            let books = stage.books;
            let watcher = || Watcher { books, children: [None; MANY], flushed: [None; MANY], step: 0 };
            stage.start(&SpawnOptions::new().trap_exit(true), watcher);
            stage.settle();
        },
        check: |stage| {
            stage.settle();
            assert_eq!(get(&stage.books.came), get(&stage.books.promised), "EXITs and DOWNs");
        },
    });
}

#[test]
fn watches() {
    sweep(&Scenario {
        name: "watches",
        play: |stage| {
            let books = stage.books;
            let returns = || {
                does(|cx: &Cx<'_, Letter>| match cx.receive() {
                    Some(_) => BodyPoll::Exit(Reason::normal_with([7_u64; 8])),
                    None => BodyPoll::Wait,
                })
            };
            let (Some(killed), Some(returns)) =
                (stage.start(&SpawnOptions::new(), waits), stage.start(&SpawnOptions::new(), returns))
            else {
                return;
            };
            let watch = |stage: &Stage, pid: Pid| {
                let letter = Letter::new(books);
                let told = move |ended: ExitInfo| {
                    let reason = ended.reason.expect("the slot keeps the reason");
                    // A result for which there was no memory is reported as lost.
                    let result = reason.result::<[u64; 8]>() == Some(&[7; 8]) || reason.result_was_dropped();
                    assert!(reason == Reason::KILLED || result, "{reason}");
                    drop(letter);
                    books.comes();
                };
                books.promises(stage.host().watch_exit(pid, told), 1)
            };
            for pid in [killed, returns] {
                let watches: [_; 3] = [(); 3].map(|()| watch(stage, pid));
                if let Some(watch) = &watches[1]
                    && stage.host().cancel_watch(watch)
                {
                    books.promised.fetch_sub(1, Ordering::Relaxed);
                }
                let suspended = stage.host().suspend(pid);
                let suspended = refused(books, suspended).is_some();
                stage.settle();
                let mut sent = stage.host().send(pid, Letter::new(books)).is_ok();
                // With no memory at all the process stays suspended, and is killed.
                let resumed = !suspended || (0..8).any(|_| stage.host().resume(pid).is_ok());
                // A process that cannot be asked to end, for lack of memory, is killed.
                sent &= resumed && pid == returns;
                if !sent {
                    assert_eq!(stage.host().exit(pid, Reason::KILL), Ok(true));
                }
                stage.settle();
                // Dead processes can be watched as well.
                watch(stage, pid);
            }
            assert_eq!(get(&books.came), get(&books.promised), "each watch fired once, or was cancelled");
            let (complete, completion) = match refused(books, reply()) {
                Some(both) => both,
                None => return,
            };
            drop(completion);
            assert!(complete.try_send(Letter::new(books)).is_err(), "the value is returned");
        },
        check: |_| {},
    });
}
