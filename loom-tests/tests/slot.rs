//! Slot reuse on the whole kernel: a message to a dead process never reaches the next one in its slot,
//! with the real epochs, warmed (their first pins are not what is looked at).
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atropos_kernel::reclaim::Domain;
use atropos_kernel::{Body, Core, Cx, Host, Kernel, Limits, Options, Reason, Received, Resumed, SpawnOptions};
use atropos_loom::world::Still;
use atropos_loom::{model, mutant};
use loom::thread;

/// Counts what it receives; ends at once if it is told to.
struct Counter {
    got: Arc<AtomicUsize>,
    ends: bool,
}

impl Body for Counter {
    type Message = u8;

    fn resume(&mut self, cx: &Cx<'_, u8>) -> Resumed {
        while let Some(Received::Message(_)) = cx.receive() {
            self.got.fetch_add(1, Ordering::Relaxed);
        }
        if self.ends { Resumed::Exit(Reason::NORMAL) } else { Resumed::Wait }
    }
}

/// Starts a process, from its own core, which takes the slot that was freed there.
struct Spawner {
    got: Arc<AtomicUsize>,
    spawned: Arc<AtomicUsize>,
}

impl Body for Spawner {
    type Message = ();

    fn resume(&mut self, cx: &Cx<'_, ()>) -> Resumed {
        if cx.receive().is_some() {
            let next = Counter { got: self.got.clone(), ends: false };
            let next = cx.spawn(&SpawnOptions::new(), next).unwrap().pid;
            self.spawned.store(next.index() as usize + 1, Ordering::Relaxed);
        }
        Resumed::Wait
    }
}

/// `by_pid`: as it is. Otherwise as if a pid were only a slot's index.
fn stale_send(by_pid: bool) {
    let limits = Limits { processes: 2, names: 1, timers: 1, ..Limits::default() };
    let kernel = Kernel::new(Options { limits, ..Options::default() }, Domain::new(), Arc::new(Still));
    let mut core = Core::new(kernel.clone(), 0);
    let (ours, theirs) = (kernel.register(), kernel.register());
    drop((ours.pin(), theirs.pin()));
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

#[test]
fn protocol() {
    model("slot: stale send, death, respawn", Some(2), || stale_send(true));
}

#[test]
fn mutants() {
    mutant("slot, a pid without its generation", Some(2), || stale_send(false));
}
