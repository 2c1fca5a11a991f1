//! Operations for a process by a thread that does not run it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use atropos_kernel::{
    ActAsError, Alias, AliasMode, BodyPoll, Caller, Cx, Pid, Reason, Received, SendTarget, SpawnOptions, Tombstone,
};

use super::refused;
use crate::allocator::{self, Refuse};
use crate::common::does;
use crate::stage::{Books, Letter, Scenario, Stage, get, sweep, waits};

/// Operations for a process by a thread that does not run it: a thread that gets an out-of-memory
/// error ends the process, as the facilities do. A watcher that survives has received everything
/// that it was promised.
#[test]
fn promise_1_2_23_a_signal_that_cannot_be_stored_ends_who_asked() {
    fn told<T>(caller: &Caller<'_>, result: Result<T, ActAsError>) -> Result<T, ActAsError> {
        result.inspect_err(|error| {
            if *error == ActAsError::NoMemory {
                caller.kill_out_of_memory();
            }
        })
    }
    sweep(&Scenario {
        name: "caller",
        play: |stage| {
            let books = stage.books;
            let counts = move || {
                does(move |cx: &Cx<'_, Letter>| {
                    while let Some(received) = cx.receive() {
                        if !matches!(received, Received::Message(_)) {
                            books.comes();
                        }
                    }
                    BodyPoll::Wait
                })
            };
            let Some(watcher) = stage.start(&SpawnOptions::new().trap_exit(true), counts) else { return };
            books.noted.store(watcher.to_raw() as usize, Ordering::Relaxed);
            for round in 0..6 {
                let Some(target) = stage.start(&SpawnOptions::new(), waits) else { return };
                let host = stage.host();
                host.act_as(watcher, |caller| {
                    books.promises(told(caller, caller.monitor(target)), 1);
                    if let Ok(placed) = told(caller, caller.monitor(target)) {
                        let removed = told(caller, caller.demonitor(placed.reference, true));
                        // A monitor that could not be removed stays in force, for a watcher that
                        // ends.
                        books.promises(removed, 0);
                    }
                    if books.promises(told(caller, caller.link(target, true)), 1).is_some() && round % 2 == 0 {
                        refused(books, told(caller, caller.link(target, true)));
                        if refused(books, told(caller, caller.unlink(target))).is_some() {
                            books.promised.fetch_sub(1, Ordering::Relaxed);
                        }
                    }
                    refused(books, told(caller, caller.is_linked(target)));
                    let options = SpawnOptions::new().link().monitor();
                    if let Some(child) = books.promises(caller.spawn(&options, waits()), 2) {
                        host.exit(child.pid, Reason::KILL).expect("a kill needs no memory");
                    }
                    if told(caller, caller.exit(target, Reason::value(round))).is_err() {
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

/// A process that is ended for lack of memory ends like any other: its slot keeps its reason, its
/// link and its watcher are notified, and nothing of it remains.
#[test]
fn fault_2_2_n_who_ends_for_want_of_memory_ends_whole() {
    let books: &'static Books = Box::leak(Box::default());
    let mut stage = Stage::new(books);
    let counts = move || {
        does(move |cx: &Cx<'_, Letter>| {
            while let Some(received) = cx.receive() {
                let reason = match received {
                    Received::Exit(exit) => exit.reason,
                    Received::Down(down) => down.reason,
                    Received::Message(_) | Received::Timer { .. } => continue,
                };
                assert_eq!(reason, Reason::KILLED);
                books.comes();
            }
            BodyPoll::Wait
        })
    };
    let watcher = stage.start(&SpawnOptions::new().trap_exit(true), counts).expect("memory");
    let (requester, target) = (stage.start(&SpawnOptions::new(), waits), stage.start(&SpawnOptions::new(), waits));
    let (requester, target) = (requester.expect("memory"), target.expect("memory"));
    stage.host().act_as(watcher, |caller| {
        caller.link(requester, false).expect("memory");
        caller.monitor(requester).expect("memory");
    });
    stage.settle();
    allocator::refuse(Refuse::From(1, usize::MAX));
    stage.host().act_as(requester, |caller| {
        assert_eq!(caller.monitor(target), Err(ActAsError::NoMemory));
        caller.kill_out_of_memory();
    });
    stage.settle();
    allocator::refuse(Refuse::Nothing);
    assert_eq!(stage.host().tombstone(requester), Tombstone::Known(Reason::KILLED));
    assert!(stage.host().processes().all(|pid| pid != requester));
    assert_eq!(get(&books.came), 2, "an EXIT and a DOWN");
    for pid in [watcher, target] {
        assert_eq!(stage.host().exit(pid, Reason::KILL), Ok(true));
    }
    stage.settle();
    assert_eq!(stage.kernel.nodes_used(), 0);
}

/// Timers, names and aliases by proxy: the caller gets an error and the process continues. Every
/// promised signal arrives, and no message is lost.
#[test]
fn timers_and_aliases_by_proxy() {
    sweep(&Scenario {
        name: "proxies",
        play: |stage| {
            let books = stage.books;
            let counts = move || {
                does(move |cx: &Cx<'_, Letter>| {
                    while let Some(received) = cx.receive() {
                        if !matches!(received, Received::Exit(_)) {
                            books.comes();
                        }
                    }
                    BodyPoll::Wait
                })
            };
            let Some(pid) = stage.start(&SpawnOptions::new(), counts) else { return };
            let Some(target) = stage.start(&SpawnOptions::new(), counts) else { return };
            stage.settle();
            for round in 0..12_u64 {
                let host = stage.host();
                host.act_as(pid, |caller| {
                    let after = Duration::from_millis(round * 7 % 40);
                    books.promises(caller.send_after(target, after, Letter::new(books)), 1);
                    let own = books.promises(caller.send_after(pid, after, Letter::new(books)), 1);
                    // The call may be refused; otherwise it is in time, since no process has run.
                    if let Some(own) = own
                        && round % 3 == 0
                        && books.promises(caller.cancel_timer(own), 0).is_some()
                    {
                        books.promised.fetch_sub(1, Ordering::Relaxed);
                    }
                    refused(books, caller.register("a name", target));
                    if let Some(made) = books.promises(caller.monitor_name("a name"), 0) {
                        // The DOWN for a name without a holder, if the name was not registered.
                        books.promise(usize::from(made.immediate_down));
                        if !made.immediate_down && refused(books, caller.demonitor(made.reference, true)).is_none() {
                            books.promise(1);
                        }
                    }
                    if let Some(alias) = refused(books, caller.alias(true))
                        && books.promises(host.send_alias(alias, Letter::new(books)), 1).is_some()
                    {
                        // The second send finds no process.
                        refused(books, host.send_alias(alias, Letter::new(books)));
                    }
                    let mode = AliasMode::ReplyDemonitor;
                    if let Some(made) = refused(books, caller.monitor_with(SendTarget::Pid(target), Some(mode))) {
                        // The first message through the alias ends it, or the target's exit does.
                        let alias = Alias::new(pid, made.reference);
                        refused(books, host.send_alias(alias, Letter::new(books)));
                        books.promise(1);
                    }
                });
                drop(host);
                if round % 4 == 0 {
                    stage.settle();
                    stage.pass(Duration::from_millis(5));
                }
            }
            stage.settle();
            stage.pass(Duration::from_millis(60));
            books.noted.store(1, Ordering::Relaxed);
            stage.host().exit(target, Reason::KILL).expect("a kill needs no memory");
        },
        check: |stage| {
            stage.settle();
            if get(&stage.books.noted) == 1 {
                assert_eq!(
                    get(&stage.books.came),
                    get(&stage.books.promised),
                    "every promised signal has arrived once"
                );
            }
        },
    });
}
