//! Models of slot reuse on the whole kernel. A message to a dead process never reaches the next
//! process in its slot. The epochs are the real ones, warmed, since their first pins are not under
//! test.
#![cfg(loom)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use atropos_kernel::reclaim::Participant;
use atropos_kernel::{
    Alias, Body, BodyPoll, Core, Cx, Host, Kernel, Limits, Options, Pid, Reason, Received, Reference, SpawnOptions,
};
use atropos_loom::host::{self, body, member, spawn, with};
use atropos_loom::{model, mutant};
use loom::thread;

/// A body that counts what it receives, and ends at once if `ends` is set.
struct Counter {
    got: Arc<AtomicUsize>,
    ends: bool,
}

impl Body for Counter {
    type Message = u8;

    fn resume(&mut self, cx: &Cx<'_, u8>) -> BodyPoll {
        while let Some(Received::Message(_)) = cx.receive() {
            self.got.fetch_add(1, Ordering::Relaxed);
        }
        if self.ends { BodyPoll::Exit(Reason::NORMAL) } else { BodyPoll::Wait }
    }
}

/// A body that starts a process, from its own core, which takes the slot that was freed there.
struct Spawner {
    got: Arc<AtomicUsize>,
    spawned: Arc<AtomicUsize>,
}

impl Body for Spawner {
    type Message = ();

    fn resume(&mut self, cx: &Cx<'_, ()>) -> BodyPoll {
        if cx.receive().is_some() {
            let next = Counter { got: self.got.clone(), ends: false };
            let next = cx.spawn(&SpawnOptions::new(), next).unwrap().pid;
            self.spawned.store(next.index() as usize + 1, Ordering::Relaxed);
        }
        BodyPoll::Wait
    }
}

/// A message to a dead process. `by_pid`: the real protocol; otherwise the message is sent as if a
/// pid were only a slot index.
fn stale_send(by_pid: bool) {
    let limits = Limits { processes: 2, names: 1, timers: 1, ..Limits::default() };
    let (kernel, _) = with(Options { limits, ..Options::default() });
    let mut core = Core::new(kernel.clone(), 0);
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let (first, second) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let spawned = Arc::new(AtomicUsize::new(0));
    let spawner = Spawner { got: second.clone(), spawned: spawned.clone() };
    let dying = Counter { got: first.clone(), ends: true };
    let host = Host::new(&kernel, &ours);
    let spawner = host.spawn(&SpawnOptions::new(), spawner).unwrap().pid;
    let dead = host.spawn(&SpawnOptions::new(), dying).unwrap().pid;
    drop(host);

    let sent = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            let host = Host::new(&kernel, &theirs);
            let in_slot = host.processes().find(|pid| pid.index() == dead.index());
            let to = if by_pid { Some(dead) } else { in_slot };
            let sent = to.is_some_and(|to| host.send(to, 7_u8).is_ok());
            drop(host);
            (theirs, sent)
        })
    };
    let _ = core.run(2);
    Host::new(&kernel, &ours).send(spawner, ()).unwrap();
    let _ = core.run(2);

    let (theirs, sent) = sent.join().unwrap();
    let _ = core.run(2);
    assert_eq!(spawned.load(Ordering::Relaxed), dead.index() as usize + 1, "the model is about one slot");
    assert_eq!(second.load(Ordering::Relaxed), 0, "the next process got what was for the dead one");
    assert!(first.load(Ordering::Relaxed) <= usize::from(sent));
    drop(theirs);
}

/// The signal that is sent to the dead process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stale {
    Exit,
    Kill,
    Link,
    Monitor,
    Alias,
}

/// The next process in the slot, which traps exits: how often it was resumed with a signal, and
/// whether it ended.
#[derive(Default)]
struct Next {
    pid: Mutex<Option<Pid>>,
    got: AtomicUsize,
    ended: AtomicUsize,
}

/// A value that counts its drop as the process's end.
struct Ends(Arc<Next>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Starts a process that, on a message, starts another in the slot that is free on its core.
fn respawner(kernel: &Kernel, member: &Participant, next: &Arc<Next>) -> Pid {
    let next = next.clone();
    spawn(kernel, member, 0, move |cx: &Cx<'_, ()>| {
        if cx.receive().is_some() {
            let (ends, got) = (Ends(next.clone()), next.clone());
            let traps = body(move |cx: &Cx<'_, u8>| {
                let _ = &ends;
                while cx.receive().is_some() {
                    got.got.fetch_add(1, Ordering::Relaxed);
                }
                BodyPoll::Wait
            });
            let spawned = cx.spawn(&SpawnOptions::new().core(0).trap_exit(true), traps).unwrap().pid;
            *next.pid.lock().unwrap() = Some(spawned);
        }
        BodyPoll::Wait
    })
}

/// Exits from a host, or links and monitors from a process on another core, to a process that dies
/// and whose slot is reused. The next process in the slot is not ended, receives nothing, and is
/// attached to no process. A process that links to or monitors the dead one is notified once.
fn stale(what: Stale, by_pid: bool) {
    let limits = Limits { processes: 3, names: 1, timers: 1, ..Limits::default() };
    let tied = matches!(what, Stale::Link | Stale::Monitor);
    let (kernel, _) = with(Options { cores: 1 + usize::from(tied), limits, ..Options::default() });
    let mut core = host::core(&kernel, 0);
    let mut other = tied.then(|| host::core(&kernel, 1));
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let next = Arc::new(Next::default());
    let spawner = respawner(&kernel, &ours, &next);
    let dead = spawn(&kernel, &ours, 0, |cx: &Cx<'_, u8>| {
        while cx.receive().is_some() {}
        BodyPoll::Exit(Reason::NORMAL)
    });
    let (to, told) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
    let tier = tied.then(|| {
        let (to, told) = (to.clone(), told.clone());
        let ties = move |cx: &Cx<'_, ()>| {
            cx.trap_exit(true);
            let to = to.lock().unwrap().take();
            match to {
                Some(to) if what == Stale::Link => cx.link(to).unwrap(),
                Some(to) => drop(cx.monitor(to).unwrap()),
                None => {}
            }
            while cx.receive().is_some() {
                told.fetch_add(1, Ordering::Relaxed);
            }
            BodyPoll::Wait
        };
        spawn(&kernel, &ours, 1, ties)
    });
    let sender = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            let host = Host::new(&kernel, &theirs);
            let in_slot = host.processes().into_iter().find(|pid| pid.index() == dead.index());
            let target = if by_pid { Some(dead) } else { in_slot };
            if let Some(target) = target {
                match what {
                    Stale::Exit => drop(host.exit(target, Reason::SHUTDOWN).unwrap()),
                    Stale::Kill => drop(host.exit(target, Reason::KILL).unwrap()),
                    Stale::Alias => {
                        let alias = Alias::new(target, Reference::from_raw(1 << 40).unwrap());
                        let _ = host.send_alias(alias, 7_u8);
                    }
                    Stale::Link | Stale::Monitor => *to.lock().unwrap() = Some(target),
                }
            }
            drop(host);
            if let Some(other) = &mut other {
                let _ = other.run(2);
            }
            (theirs, other)
        })
    };
    let _ = core.run(2);
    Host::new(&kernel, &ours).send(spawner, ()).unwrap();
    let _ = core.run(2);
    let (theirs, mut other) = sender.join().unwrap();
    let _ = core.run(2);
    if let (Some(other), Some(tier)) = (&mut other, tier) {
        let _ = other.run(2);
        assert_eq!(told.load(Ordering::Relaxed), 1, "an EXIT, or a DOWN");
        // If the caller were attached to the next process, that one would receive a signal at the
        // caller's end.
        let _ = Host::new(&kernel, &ours).exit(tier, Reason::KILL).unwrap();
        let _ = other.run(2);
        let _ = core.run(2);
    }
    let pid = (*next.pid.lock().unwrap()).expect("the next process has been started");
    assert_eq!(pid.index(), dead.index(), "the model is about one slot");
    let (got, ended) = (next.got.load(Ordering::Relaxed), next.ended.load(Ordering::Relaxed));
    assert_eq!((got, ended), (0, 0), "the next process got what was for the dead one");
    drop((theirs, other, core));
}

#[test]
fn protocol() {
    model("slot: stale send, death, respawn", Some(2), || stale_send(true));
    model("slot: stale exit, death, respawn", Some(2), || stale(Stale::Exit, true));
    model("slot: stale kill, death, respawn", Some(2), || stale(Stale::Kill, true));
    model("slot: stale alias, death, respawn", Some(2), || stale(Stale::Alias, true));
    model("slot: stale link, death, respawn", Some(2), || stale(Stale::Link, true));
    model("slot: stale monitor, death, respawn", Some(2), || stale(Stale::Monitor, true));
}

#[test]
fn mutants() {
    mutant("slot, a pid without its generation", Some(2), || stale_send(false));
    mutant("slot, an exit without the generation", Some(2), || stale(Stale::Exit, false));
    mutant("slot, a kill without the generation", Some(2), || stale(Stale::Kill, false));
    mutant("slot, a link without the generation", Some(2), || stale(Stale::Link, false));
    mutant("slot, a monitor without the generation", Some(2), || stale(Stale::Monitor, false));
}
