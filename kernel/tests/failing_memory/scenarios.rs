//! The scenarios.

use std::sync::atomic::Ordering;
use std::time::Duration;

use atropos_kernel::{
    Alias, Asked, Behalf, BehalfError, Body, Cx, Dead, Ended, InLine, Pid, Reason, Received, Reference, RegisterError,
    Resumed, Said, SendError, SpawnError, SpawnOptions, reply,
};

use crate::allocator::{self, Refuse};
use crate::stage::{Books, Does, Letter, Scenario, Stage, get, sweep, waits};

const MANY: usize = 24;

/// What a call that promised nothing said.
fn refused<T, E>(books: &Books, result: Result<T, E>) -> Option<T> {
    books.promises(result, 0)
}

#[test]
fn messages() {
    sweep(&Scenario {
        name: "messages",
        play: |stage| {
            let books = stage.books;
            let counts = move || {
                Does(move |cx: &Cx<'_, Letter>| {
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
                Does(move |cx: &Cx<'_, Letter>| {
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

/// Three wait for room in a mailbox for one message. Who finds no memory, for its message or its place in the line, tries
/// again for a while; nobody waits for ever for a place that another has given back.
#[test]
fn room() {
    sweep(&Scenario {
        name: "room",
        play: |stage| {
            let books = stage.books;
            let counts = move || {
                Does(move |cx: &Cx<'_, Letter>| match cx.receive() {
                    Some(_) => {
                        books.comes();
                        Resumed::Yield
                    }
                    None => Resumed::Wait,
                })
            };
            let Some(to) = stage.start(&SpawnOptions::new().mailbox_limit(1), counts) else { return };
            let sends = move || {
                let (mut line, mut left, mut fails) = (InLine::new(), MANY, 0);
                Does(move |cx: &Cx<'_, Letter>| {
                    while left > 0 && fails < 8 {
                        match cx.send_in_line(&mut line, to, Letter::new(books)) {
                            Err(SendError::Full(_)) => return Resumed::Wait,
                            sent @ Ok(()) => {
                                books.promises(sent, 1);
                                (left, fails) = (left - 1, 0);
                            }
                            sent => {
                                assert!(matches!(sent, Err(SendError::NoMemory(_))));
                                books.promises(sent, 1);
                                fails += 1;
                                return Resumed::Yield;
                            }
                        }
                    }
                    Resumed::Exit(Reason::NORMAL)
                })
            };
            for _ in 0..3 {
                stage.start(&SpawnOptions::new(), sends);
            }
            stage.settle();
        },
        check: |stage| {
            stage.settle();
            assert_eq!(get(&stage.books.came), get(&stage.books.promised), "what was sent was received");
            assert!(stage.kernel.process_count() <= 1, "somebody waits for ever");
        },
    });
}

/// Watches `MANY` children in all ways, tells them to die, and counts what comes.
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
        // Linked already: it promises nothing more.
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

    fn resume(&mut self, cx: &Cx<'_, Letter>) -> Resumed {
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
                // Of the dead: a link is an EXIT, a monitor a DOWN, at once.
                let Some(dead) = self.children[1] else { return Resumed::Yield };
                self.books.promises(cx.link(dead), 1);
                self.books.promises(cx.monitor(dead), 1);
                self.books.promises(cx.monitor_name("nobody"), 1);
            }
            _ => return Resumed::Wait,
        }
        Resumed::Yield
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
fn timers() {
    sweep(&Scenario {
        name: "timers",
        play: |stage| {
            let books = stage.books;
            let other = stage.start(&SpawnOptions::new().name("other"), waits);
            let starts = move || {
                let mut left = MANY as u64;
                Does(move |cx: &Cx<'_, Letter>| {
                    while let Some(received) = cx.receive() {
                        assert!(matches!(received, Received::Message(_) | Received::Timer { .. }));
                        books.comes();
                    }
                    if left == 0 {
                        return Resumed::Wait;
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
                    Resumed::Yield
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

const NAMES: [&str; 8] = ["a", "b", "c", "a rather longer name", "e", "f", "g", "h"];

#[test]
fn names() {
    sweep(&Scenario {
        name: "names",
        play: |stage| {
            let books = stage.books;
            for name in NAMES {
                let spawned = stage.host().spawn(&SpawnOptions::new().name(name), waits());
                let there = stage.host().whereis(name);
                match spawned {
                    Ok(spawned) => assert_eq!(there, Some(spawned.pid)),
                    Err(error) => {
                        let memory = matches!(error, SpawnError::NoMemory | SpawnError::Name(RegisterError::NoMemory));
                        assert!(memory, "{error:?}");
                        assert_eq!(there, None, "a name without its process");
                    }
                }
            }
            let registers = move || {
                let mut done = false;
                Does(move |cx: &Cx<'_, Letter>| {
                    while cx.receive().is_some() {}
                    if !std::mem::replace(&mut done, true) {
                        for name in NAMES {
                            let before = cx.whereis(name);
                            match cx.register(name, cx.pid()) {
                                Ok(()) => assert_eq!((before, cx.whereis(name)), (None, Some(cx.pid()))),
                                Err(_) => assert_eq!(cx.whereis(name), before),
                            }
                            refused(books, cx.monitor_name(name));
                            refused(books, cx.register("taken", cx.pid()));
                            if before.is_none() {
                                let held = cx.whereis(name).is_some();
                                assert_eq!(cx.unregister(name), held);
                            }
                        }
                    }
                    Resumed::Wait
                })
            };
            stage.start(&SpawnOptions::new(), registers);
            stage.settle();
        },
        check: |stage| {
            for name in NAMES {
                if let Some(holder) = stage.host().whereis(name) {
                    stage.host().exit(holder, Reason::KILL).expect("a kill needs no memory");
                }
            }
            stage.settle();
            for name in NAMES {
                assert_eq!(stage.host().whereis(name), None);
                stage.host().spawn(&SpawnOptions::new().name(name), waits()).expect("the name is free again");
            }
        },
    });
}

/// Starts linked branches, which start linked and monitored leaves.
fn root(books: &'static Books) -> impl Body<Message = Letter> {
    let mut left = 2;
    Does(move |cx: &Cx<'_, Letter>| {
        while cx.receive().is_some() {}
        while left > 0 {
            left -= 1;
            refused(books, cx.spawn(&SpawnOptions::new().link(), branch(books)));
        }
        Resumed::Wait
    })
}

fn branch(books: &'static Books) -> impl Body<Message = Letter> {
    let mut left = 8;
    Does(move |cx: &Cx<'_, Letter>| {
        while left > 0 {
            left -= 1;
            refused(books, cx.spawn(&SpawnOptions::new().link().monitor(), waits()));
        }
        while cx.receive().is_some() {}
        Resumed::Wait
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

/// Keeps its workers alive: starts those that are missing, as soon as there is memory.
struct Keeper {
    books: &'static Books,
    workers: [Option<Pid>; WORKERS],
}

/// Waits, and crashes when it is told to.
fn worker() -> impl Body<Message = Letter> {
    Does(|cx: &Cx<'_, Letter>| match cx.receive() {
        Some(_) => Resumed::Exit(Reason::crash("told to")),
        None => Resumed::Wait,
    })
}

impl Body for Keeper {
    type Message = Letter;

    fn resume(&mut self, cx: &Cx<'_, Letter>) -> Resumed {
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
        // Without memory for an alarm, it tries again by turns.
        if self.workers.contains(&None) && refused(self.books, cx.alarm(Duration::from_millis(1))).is_none() {
            return Resumed::Yield;
        }
        Resumed::Wait
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
                assert_eq!(get(&books.noted), WORKERS, "all are started again");
                assert_eq!(stage.kernel.process_count(), WORKERS + 1);
            }
        },
    });
}

#[test]
fn questions() {
    sweep(&Scenario {
        name: "questions",
        play: |stage| {
            let books = stage.books;
            let Some(asked) = stage.start(&SpawnOptions::new().name("asked"), waits) else { return };
            for _ in 0..3 {
                let host = stage.host();
                let asks =
                    host.spawn_async(&SpawnOptions::new(), move |mut cx: atropos_kernel::Context<Letter>| async move {
                        let _ = cx.link(asked);
                        let _ = cx.monitor(asked);
                        if let Ok(Some(info)) = cx.info(asked).await {
                            assert_eq!(info.pid, asked);
                        }
                        if cx.is_alive(asked).await {
                            books.comes();
                        }
                        if let Ok(info) = cx.self_info() {
                            assert!(info.is_some_and(|info| info.monitors.len() <= 1));
                        }
                        cx.sleep(Duration::from_millis(1)).await;
                        // Nothing, or the end of `asked` with another asker that had no memory.
                        let received = cx.recv_timeout(Duration::from_millis(1)).await;
                        assert!(matches!(received, None | Some(Received::Down(_))), "{received:?}");
                    });
                refused(books, asks);
            }
            let asking = stage.host().info(asked);
            if let Some(Asked::Later(answer)) = refused(books, asking) {
                let mut answer = std::pin::pin!(answer);
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(answer.as_mut().poll(&mut context).is_pending());
                stage.settle();
                match answer.as_mut().poll(&mut context) {
                    std::task::Poll::Ready(Said::Info(info)) => assert_eq!(info.pid, asked),
                    std::task::Poll::Ready(Said::NoMemory | Said::Dead) => {}
                    other => panic!("{other:?}"),
                }
            }
            stage.pass(Duration::from_millis(5));
        },
        check: |stage| {
            stage.pass(Duration::from_millis(5));
            // Who had no memory for a question has crashed; who had has returned.
            assert!(stage.kernel.process_count() <= 1);
        },
    });
}

#[test]
fn growth() {
    const PROCESSES: usize = 1100;
    sweep(&Scenario {
        name: "growth",
        play: |stage| {
            // Into the second segment of the table.
            for _ in 0..PROCESSES {
                let spawned = stage.books.promises(stage.host().spawn(&SpawnOptions::new(), waits()), 1);
                if let Some(spawned) = spawned {
                    assert!(stage.host().send(spawned.pid, ()).is_err(), "it takes letters");
                }
            }
        },
        check: |stage| {
            assert_eq!(stage.kernel.process_count(), get(&stage.books.promised), "who was born, lives");
            let spawned = stage.host().spawn(&SpawnOptions::new(), waits()).expect("there is memory again");
            stage.host().send(spawned.pid, Letter::new(stage.books)).expect("it is alive");
            stage.settle();
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
                Does(|cx: &Cx<'_, Letter>| match cx.receive() {
                    Some(_) => Resumed::Exit(Reason::normal_with([7_u64; 8])),
                    None => Resumed::Wait,
                })
            };
            let (Some(killed), Some(returns)) =
                (stage.start(&SpawnOptions::new(), waits), stage.start(&SpawnOptions::new(), returns))
            else {
                return;
            };
            let watch = |stage: &Stage, pid: Pid| {
                let letter = Letter::new(books);
                let told = move |ended: Ended| {
                    let reason = ended.reason.expect("its slot remembers");
                    // What there was no memory for is said to be lost.
                    let result = reason.result::<[u64; 8]>() == Some(&[7; 8]) || reason.has_lost_result();
                    assert!(reason == Reason::KILLED || result, "{reason}");
                    drop(letter);
                    books.comes();
                };
                books.promises(stage.host().watch_exit(pid, told), 1)
            };
            for pid in [killed, returns] {
                let watches: [_; 3] = [(); 3].map(|()| watch(stage, pid));
                if let Some(watch) = &watches[1]
                    && stage.host().withdraw_watch(watch)
                {
                    books.promised.fetch_sub(1, Ordering::Relaxed);
                }
                let suspended = stage.host().suspend(pid);
                let suspended = refused(books, suspended).is_some();
                stage.settle();
                let mut sent = stage.host().send(pid, Letter::new(books)).is_ok();
                // With no memory at all it stays suspended, and is killed.
                let resumed = !suspended || (0..8).any(|_| stage.host().resume(pid).is_ok());
                // Whoever has no memory to be asked to end is killed.
                sent &= resumed && pid == returns;
                if !sent {
                    assert_eq!(stage.host().exit(pid, Reason::KILL), Ok(true));
                }
                stage.settle();
                // The dead can be watched as well.
                watch(stage, pid);
            }
            assert_eq!(get(&books.came), get(&books.promised), "each watch was told once, or withdrawn");
            let (complete, completion) = match refused(books, reply()) {
                Some(both) => both,
                None => return,
            };
            drop(completion);
            assert!(complete.try_send(Letter::new(books)).is_err(), "it comes back");
        },
        check: |_| {},
    });
}
/// What is done for a process by who does not run it: who is told that there is no memory ends the process, as the facilities
/// do. A watcher that lives got all that it was promised.
#[test]
fn promise_1_2_23_a_signal_that_cannot_be_stored_ends_who_asked() {
    fn told<T>(behalf: &Behalf<'_>, result: Result<T, BehalfError>) -> Result<T, BehalfError> {
        result.inspect_err(|error| {
            if *error == BehalfError::NoMemory {
                behalf.end_for_want_of_memory();
            }
        })
    }
    sweep(&Scenario {
        name: "behalf",
        play: |stage| {
            let books = stage.books;
            let counts = move || {
                Does(move |cx: &Cx<'_, Letter>| {
                    while let Some(received) = cx.receive() {
                        if !matches!(received, Received::Message(_)) {
                            books.comes();
                        }
                    }
                    Resumed::Wait
                })
            };
            let Some(watcher) = stage.start(&SpawnOptions::new().trap_exit(true), counts) else { return };
            books.noted.store(watcher.to_raw() as usize, Ordering::Relaxed);
            for round in 0..6 {
                let Some(target) = stage.start(&SpawnOptions::new(), waits) else { return };
                let host = stage.host();
                host.behalf(watcher, |behalf| {
                    books.promises(told(behalf, behalf.monitor(target)), 1);
                    if let Ok(placed) = told(behalf, behalf.monitor(target)) {
                        let removed = told(behalf, behalf.demonitor(placed.reference, true));
                        // What could not be removed stays in force, for a watcher that ends.
                        books.promises(removed, 0);
                    }
                    if books.promises(told(behalf, behalf.link(target, true)), 1).is_some() && round % 2 == 0 {
                        refused(books, told(behalf, behalf.link(target, true)));
                        if refused(books, told(behalf, behalf.unlink(target))).is_some() {
                            books.promised.fetch_sub(1, Ordering::Relaxed);
                        }
                    }
                    refused(books, told(behalf, behalf.is_linked(target)));
                    let options = SpawnOptions::new().link().monitor();
                    if let Some(child) = books.promises(behalf.spawn(&options, waits()), 2) {
                        host.exit(child.pid, Reason::KILL).expect("a kill needs no memory");
                    }
                    if told(behalf, behalf.exit(target, Reason::value(round))).is_err() {
                        host.exit(target, Reason::KILL).expect("a kill needs no memory");
                    }
                });
                drop(host);
                if round % 3 == 0 {
                    stage.settle();
                }
            }
            stage.settle();
        },
        check: |stage| {
            stage.settle();
            let watcher = Pid::from_raw(get(&stage.books.noted) as u64);
            if watcher.is_some_and(|watcher| stage.host().is_alive(watcher)) {
                assert_eq!(
                    get(&stage.books.came),
                    get(&stage.books.promised),
                    "each monitor and link is answered once"
                );
            }
        },
    });
}

/// Who ends for want of memory ends as any other: its slot remembers why, its link and its watcher are told, and nothing of
/// it is left.
#[test]
fn fault_2_2_n_who_ends_for_want_of_memory_ends_whole() {
    let books: &'static Books = Box::leak(Box::default());
    let mut stage = Stage::new(books);
    let counts = move || {
        Does(move |cx: &Cx<'_, Letter>| {
            while let Some(received) = cx.receive() {
                let reason = match received {
                    Received::Exit(exit) => exit.reason,
                    Received::Down(down) => down.reason,
                    Received::Message(_) | Received::Timer { .. } => continue,
                };
                assert_eq!(reason, Reason::KILLED);
                books.comes();
            }
            Resumed::Wait
        })
    };
    let watcher = stage.start(&SpawnOptions::new().trap_exit(true), counts).expect("memory");
    let (asker, target) = (stage.start(&SpawnOptions::new(), waits), stage.start(&SpawnOptions::new(), waits));
    let (asker, target) = (asker.expect("memory"), target.expect("memory"));
    stage.host().behalf(watcher, |behalf| {
        behalf.link(asker, false).expect("memory");
        behalf.monitor(asker).expect("memory");
    });
    stage.settle();
    allocator::refuse(Refuse::From(1, usize::MAX));
    stage.host().behalf(asker, |behalf| {
        assert_eq!(behalf.monitor(target), Err(BehalfError::NoMemory));
        behalf.end_for_want_of_memory();
    });
    stage.settle();
    allocator::refuse(Refuse::Nothing);
    assert_eq!(stage.host().tombstone(asker), Dead::Remembered(Reason::KILLED));
    assert!(stage.host().processes().all(|pid| pid != asker));
    assert_eq!(get(&books.came), 2, "an EXIT and a DOWN");
    for pid in [watcher, target] {
        assert_eq!(stage.host().exit(pid, Reason::KILL), Ok(true));
    }
    stage.settle();
    assert_eq!(stage.kernel.nodes_used(), 0);
}
