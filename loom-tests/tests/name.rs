//! Models of names. A name never leads to a dead process for good, no lookup reaches freed memory,
//! a name is free when the holder's DOWN arrives, and a message by name goes to one holder
//! (`name`).
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::name::{self, Steps};
use atropos_kernel::reclaim::Participant;
use atropos_kernel::{
    BodyPoll, Cx, Host, Kernel, Limits, MaybeReady, Options, Pid, Reason, Received, RegisterError, SpawnError,
    SpawnOptions,
};
use atropos_loom::host::{body, core, flush, kernel, member, spawn, with};
use atropos_loom::platform::{Mutation, explore};
use atropos_loom::{model, mutant};
use loom::thread;

/// Starts a process that does not run: the model plays its death.
fn still(kernel: &Kernel, member: &Participant) -> Pid {
    spawn(kernel, member, 0, |_: &Cx<'_, u8>| BodyPoll::Wait)
}

/// A registrar, and the steps of the named process's death that concern the name. Once they are
/// done no lookup finds the process by the name, not even for a moment: the process is retired
/// next, and a thread that pins after that must not reach it. (The mailbox stays open here, or a
/// dead holder would not show.)
fn register_or_die<S: Steps>() {
    let (kernel, _) = kernel(1, 4);
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let dying = still(&kernel, &ours);
    let entry = name::intern(&kernel, "n").unwrap();
    let registrar = register::<S>(&kernel, theirs, dying);
    let guard = ours.pin();
    name::die::<S>(name::find(&kernel, dying, &guard).unwrap());
    assert!(entry.holder(&guard).is_none(), "found after its death");
    drop(guard);
    let (theirs, _) = registrar.join().unwrap();
    let guard = ours.pin();
    assert!(entry.holder(&guard).is_none(), "a dead process has no name");
    drop(guard);
    drop(theirs);
}

fn register<S: Steps>(
    kernel: &Arc<Kernel>,
    member: Participant,
    pid: Pid,
) -> thread::JoinHandle<(Participant, Result<(), RegisterError>)> {
    let kernel = kernel.clone();
    thread::spawn(move || {
        let guard = member.pin();
        let process = name::find(&kernel, pid, &guard).unwrap();
        let registered = name::intern(&kernel, "n").unwrap().register_by::<S>(process);
        drop(guard);
        (member, registered)
    })
}

/// Two registrars of a process, and its death. Each registrar learns that the process is gone or
/// that the name was taken, or registered the name before the death. The reservation of one
/// registrar is never mistaken for that of the other (A2).
fn two_register_or_die() {
    let (kernel, _) = kernel(1, 4);
    let (ours, first, second) = (member(&kernel), member(&kernel), member(&kernel));
    let dying = still(&kernel, &ours);
    let entry = name::intern(&kernel, "n").unwrap();
    let registrars = [register::<Shipped>(&kernel, first, dying), register::<Shipped>(&kernel, second, dying)];
    let guard = ours.pin();
    name::die::<Shipped>(name::find(&kernel, dying, &guard).unwrap());
    assert!(entry.holder(&guard).is_none(), "found after its death");
    drop(guard);
    let ended: Vec<_> = registrars.into_iter().map(|registrar| registrar.join().unwrap()).collect();
    assert!(ended.iter().filter(|(_, registered)| registered.is_ok()).count() <= 1);
    let guard = ours.pin();
    assert!(entry.holder(&guard).is_none(), "a dead process has no name");
    drop(guard);
    drop(ended);
}

/// A live process gets the name although a death mistakes its reservation for the dead process's;
/// or the other registrar was registering the name at that time.
fn register_or_another_dies() {
    let (kernel, _) = kernel(1, 4);
    let (ours, first, second) = (member(&kernel), member(&kernel), member(&kernel));
    let (living, dying) = (still(&kernel, &ours), still(&kernel, &ours));
    let entry = name::intern(&kernel, "n").unwrap();
    let registrars = [register::<Shipped>(&kernel, first, living), register::<Shipped>(&kernel, second, dying)];
    let guard = ours.pin();
    name::die::<Shipped>(name::find(&kernel, dying, &guard).unwrap());
    let ended: Vec<_> = registrars.into_iter().map(|registrar| registrar.join().unwrap()).collect();
    let holds = entry.holder(&guard).map(name::pid);
    match ended[0].1 {
        Ok(()) => assert_eq!(holds, Some(living)),
        other => assert_eq!((other, holds), (Err(RegisterError::InUse), None), "refused during the other registration"),
    }
    drop(guard);
    drop(ended);
}

/// A thread takes the name from its current holder, while the holder dies and another process takes
/// the name over.
fn unregister_or_die() {
    let (kernel, _) = kernel(1, 4);
    let (ours, first, second) = (member(&kernel), member(&kernel), member(&kernel));
    let (next, dying) = (still(&kernel, &ours), still(&kernel, &ours));
    let entry = name::intern(&kernel, "n").unwrap();
    let guard = ours.pin();
    entry.register(name::find(&kernel, dying, &guard).unwrap()).unwrap();
    let registrar = register::<Shipped>(&kernel, first, next);
    let unregistrar = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            let guard = second.pin();
            let done = name::intern(&kernel, "n").unwrap().unregister(&guard);
            drop(guard);
            (second, done)
        })
    };
    name::die::<Shipped>(name::find(&kernel, dying, &guard).unwrap());
    let (first, registered) = registrar.join().unwrap();
    let (second, _) = unregistrar.join().unwrap();
    let holds = entry.holder(&guard).map(name::pid);
    assert!(holds.is_none() || (holds == Some(next) && registered == Ok(())));
    // With or without a holder now, the name can be taken away and given again.
    assert_eq!(entry.unregister(&guard), holds.is_some());
    entry.register(name::find(&kernel, next, &guard).unwrap()).unwrap();
    drop(guard);
    drop((first, second));
}

/// A process that finds the holder dead finds its name free, if the death releases the name first.
fn closed_and_free(name_first: bool) {
    let (kernel, _) = kernel(1, 4);
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let (next, dying) = (still(&kernel, &ours), still(&kernel, &ours));
    let guard = ours.pin();
    let process = name::find(&kernel, dying, &guard).unwrap();
    name::intern(&kernel, "n").unwrap().register(process).unwrap();
    let heir = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            let guard = theirs.pin();
            if name::find(&kernel, dying, &guard).unwrap().mailbox.is_closed() {
                let next = name::find(&kernel, next, &guard).unwrap();
                name::intern(&kernel, "n").unwrap().register(next).expect("the name's holder is dead");
            }
            drop(guard);
            theirs
        })
    };
    if name_first {
        name::die::<Shipped>(process);
    }
    // SAFETY: no core runs in this model, so the thread that spawned the process owns it.
    assert!(unsafe { name::close(process) });
    if !name_first {
        name::die::<Shipped>(process);
    }
    drop(guard);
    drop(heir.join().unwrap());
}

/// A process that learns of the holder's death takes the name over: it learns by the DOWN, or by a
/// query.
fn takes_over(by_down: bool) {
    let (kernel, _) = kernel(2, 4);
    let ours = member(&kernel);
    let (mut theirs, mut mine) = (core(&kernel, 0), core(&kernel, 1));
    let dying = {
        let named = SpawnOptions::new().core(0).name("n");
        let dying = body(|cx: &Cx<'_, ()>| match cx.receive() {
            Some(_) => BodyPoll::Exit(Reason::NORMAL),
            None => BodyPoll::Wait,
        });
        Host::new(&kernel, &ours).spawn(&named, dying).unwrap().pid
    };
    let registered = Arc::new(AtomicUsize::new(0));
    let told = registered.clone();
    let heir = spawn(&kernel, &ours, 1, move |cx: &Cx<'_, ()>| {
        let mut down = false;
        match cx.receive() {
            Some(Received::Down(_)) => down = true,
            Some(_) if by_down => {
                let _ = cx.monitor(dying).unwrap();
            }
            Some(_) => down = matches!(cx.is_alive(dying), Ok(MaybeReady::Ready(false))),
            None => {}
        }
        if down {
            cx.register("n", cx.pid()).expect("the name is free once its holder is known to be dead");
            told.fetch_add(1, Ordering::Relaxed);
        }
        BodyPoll::Wait
    });
    let _ = (theirs.run(1), mine.run(1));
    {
        let host = Host::new(&kernel, &ours);
        host.send(dying, ()).unwrap();
        host.send(heir, ()).unwrap();
    }
    let other = thread::spawn(move || {
        let _ = theirs.run(1);
        theirs
    });
    let _ = mine.run(1);
    let theirs = other.join().unwrap();
    let _ = mine.run(2);
    if registered.load(Ordering::Relaxed) == 0 {
        // It queried while the holder lived.
        Host::new(&kernel, &ours).send(heir, ()).unwrap();
        let _ = mine.run(1);
    }
    assert_eq!(Host::new(&kernel, &ours).whereis("n"), Some(heir));
    assert_eq!(registered.load(Ordering::Relaxed), 1);
    drop(theirs);
}

/// A message by name, while the holder dies and the host names the next process: the message goes
/// to one of them, or is returned.
fn send_by_name() {
    let (kernel, _) = kernel(1, 4);
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let mut core = core(&kernel, 0);
    let counts = [0, 1].map(|_| Arc::new(AtomicUsize::new(0)));
    let start = |which: usize, participant: &Participant| {
        let count = counts[which].clone();
        let counts = body(move |cx: &Cx<'_, u8>| {
            while cx.receive().is_some() {
                count.fetch_add(1, Ordering::Relaxed);
            }
            if which == 0 { BodyPoll::Exit(Reason::NORMAL) } else { BodyPoll::Wait }
        });
        Host::new(&kernel, participant).spawn(&SpawnOptions::new().name("n"), counts)
    };
    start(0, &ours).unwrap();
    let sender = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            let sent = Host::new(&kernel, &theirs).send_name("n", 7_u8).is_ok();
            (theirs, sent)
        })
    };
    let _ = core.run(1);
    start(1, &ours).expect("a dead process holds no name");
    let (theirs, sent) = sender.join().unwrap();
    let _ = core.run(2);
    let got: Vec<usize> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    // A message that the first holder got and did not read is lost with it, as any message to a
    // dead process.
    assert!(got[0] + got[1] <= usize::from(sent), "{got:?}");
    drop(theirs);
}

/// A newborn that is found by name can be reached by its pid.
fn spawn_or_whereis() {
    let (kernel, _) = kernel(1, 4);
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let finder = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            let host = Host::new(&kernel, &theirs);
            if let Some(pid) = host.whereis("n") {
                assert!(
                    host.is_alive(pid) && host.send(pid, 7_u8).is_ok(),
                    "the newborn lives, and its pid leads to it"
                );
            }
            drop(host);
            theirs
        })
    };
    let named = SpawnOptions::new().name("n");
    Host::new(&kernel, &ours).spawn(&named, body(|_: &Cx<'_, u8>| BodyPoll::Wait)).unwrap();
    drop(finder.join().unwrap());
}

/// A host starts a named process while the only core ends, which ends every process that it finds.
/// A newborn that the core finds has no name afterwards: its memory is freed, and a lookup of the
/// name must not reach it. A newborn that the core does not find stays, and a lookup finds it.
fn spawn_or_last_core_ends(mutation: Option<Mutation>) -> &'static str {
    let (kernel, _) = with(Options {
        limits: Limits { processes: 2, names: 2, ..Limits::default() },
        mutation,
        ..Options::default()
    });
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let core = core(&kernel, 0);
    let parent = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            let named = SpawnOptions::new().name("n");
            let spawned = Host::new(&kernel, &theirs).spawn(&named, body(|_: &Cx<'_, u8>| BodyPoll::Wait));
            (theirs, spawned)
        })
    };
    drop(core);
    let (theirs, spawned) = parent.join().unwrap();
    drop(theirs);
    flush(&ours);
    let host = Host::new(&kernel, &ours);
    let holds = host.whereis("n");
    match spawned {
        Err(error) => {
            assert_eq!((error, holds), (SpawnError::Closing, None));
            "refused"
        }
        Ok(spawned) if host.is_alive(spawned.pid) => {
            assert_eq!(holds, Some(spawned.pid));
            "not found"
        }
        Ok(_) => {
            assert_eq!(holds, None, "a dead process has no name");
            "ended"
        }
    }
}

struct NotRevoked;
impl Steps for NotRevoked {
    const REVOKES: bool = false;
}

struct NotAsked;
impl Steps for NotAsked {
    const MAY_BE_REVOKED: bool = false;
}

#[test]
fn protocol() {
    model("name: register, death", None, register_or_die::<Shipped>);
    model("name: register, register, death", Some(3), two_register_or_die);
    model("name: register, another register and death", Some(3), register_or_another_dies);
    model("name: unregister, death, register", Some(3), unregister_or_die);
    model("name: death, closed, register", None, || closed_and_free(true));
    model("name: death, DOWN, register", Some(2), || takes_over(true));
    model("name: death, not alive, register", Some(2), || takes_over(false));
    model("name: send by name, death, respawn", Some(2), send_by_name);
    model("name: spawn, whereis, send", Some(3), spawn_or_whereis);
    let ends = ["ended", "not found", "refused"];
    explore("name: spawn, the last core ends", Some(2), &ends, || spawn_or_last_core_ends(None));
}

#[test]
fn mutants() {
    mutant("name, a death leaves reservations", Some(2), register_or_die::<NotRevoked>);
    mutant("name, a registrar does not check", Some(2), register_or_die::<NotAsked>);
    mutant("name, closed before the name is free", Some(2), || closed_and_free(false));
    let confirms = || {
        let _ = spawn_or_last_core_ends(Some(Mutation::ConfirmsAnyway));
    };
    mutant("name, the last core ends, confirmed anyway", Some(2), confirms);
}
