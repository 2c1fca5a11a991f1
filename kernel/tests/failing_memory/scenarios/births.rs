//! Spawning: under names, and of more processes than one segment of the table holds.

use atropos_kernel::{BodyPoll, Cx, Reason, RegisterError, SpawnError, SpawnOptions};

use super::refused;
use crate::common::does;
use crate::stage::{Letter, Scenario, get, sweep, waits};

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
                does(move |cx: &Cx<'_, Letter>| {
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
                    BodyPoll::Wait
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
            assert_eq!(stage.kernel.process_count(), get(&stage.books.promised), "every spawned process is alive");
            let spawned = stage.host().spawn(&SpawnOptions::new(), waits()).expect("there is memory again");
            stage.host().send(spawned.pid, Letter::new(stage.books)).expect("it is alive");
            stage.settle();
        },
    });
}
