//! Models of work from outside while the core goes to sleep. When the core reports that it is idle
//! and its driver has not been woken, everything has been done (`kernel`, `sched/core`,
//! `runq/idle`).
#![cfg(loom)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use atropos_kernel::internals::mutation::Mutation;
use atropos_kernel::reclaim::Participant;
use atropos_kernel::{BodyPoll, Core, Cx, Host, Kernel, Options, Pid, Reason, SpawnOptions};
use atropos_loom::host::{body, core, kernel, member, with};
use atropos_loom::{model, mutant};
use atropos_sim::VirtualPlatform;
use loom::thread;

/// The work that comes from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// A new process.
    Spawn,
    /// A message to a sleeping process.
    Send,
    /// A wake of a sleeping process by its waker.
    Wake,
    /// A kill of a sleeping process.
    Kill,
}

/// Starts a process that waits after its first slice, and ends when it is resumed. Its end is
/// counted.
fn sleeper(kernel: &Kernel, options: &SpawnOptions<'_>, done: &Arc<AtomicUsize>) -> (Pid, Arc<Mutex<Option<Waker>>>) {
    let held = Arc::new(Mutex::new(None));
    let (place, done, mut first) = (held.clone(), Ends(done.clone()), true);
    let sleeps = body(move |cx: &Cx<'_, ()>| {
        let _ = &done;
        if std::mem::take(&mut first) {
            let waker = cx.waker();
            *place.lock().unwrap() = Some(waker);
            return BodyPoll::Wait;
        }
        BodyPoll::Exit(Reason::NORMAL)
    });
    (Host::new(kernel, &member(kernel)).spawn(options, sleeps).unwrap().pid, held)
}

/// A counter of drops: a drop shows that the work has been done.
struct Ends(Arc<AtomicUsize>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn inject(
    kernel: &Kernel,
    theirs: &Participant,
    from: From,
    options: &SpawnOptions<'_>,
    done: &Arc<AtomicUsize>,
    (pid, waker): (Pid, Option<Waker>),
) {
    match from {
        From::Spawn => {
            let done = Ends(done.clone());
            let dies = body(move |_: &Cx<'_, ()>| {
                let _ = &done;
                BodyPoll::Exit(Reason::NORMAL)
            });
            Host::new(kernel, theirs).spawn(options, dies).unwrap();
        }
        From::Send => Host::new(kernel, theirs).send(pid, ()).unwrap(),
        From::Wake => waker.unwrap().wake(),
        From::Kill => assert!(Host::new(kernel, theirs).exit(pid, Reason::KILL).is_ok()),
    }
}

/// Plays a driver after `run`: it does nothing while the core is idle and no thread has woken it.
/// `heeds`: a wake that came before the driver went to sleep keeps it awake.
fn drive(kernel: &Kernel, world: &VirtualPlatform, core: &mut Core, wakes: usize, heeds: bool) {
    if !kernel.is_idle(core.id()) {
        let woken = world.wakes() > wakes;
        assert!(woken, "claimed, and not woken");
        if heeds {
            let _ = core.run(4);
        }
    }
}

/// Work comes from outside for a kernel of one core.
fn one_core(from: From, pinned: bool, heeds: bool) {
    let (kernel, world) = kernel(1, 4);
    let mut core = core(&kernel, 0);
    let options = if pinned { SpawnOptions::new().core(0) } else { SpawnOptions::new() };
    let done = Arc::new(AtomicUsize::new(0));
    let (pid, held) = sleeper(&kernel, &options, &done);
    let _ = core.run(2);
    let waker = held.lock().unwrap().take();
    let (waker, spare) = if from == From::Wake { (waker, None) } else { (None, waker) };
    drop(spare);
    let wakes = world.wakes();
    let host = {
        let (kernel, theirs, done) = (kernel.clone(), member(&kernel), done.clone());
        let pinned = options.clone();
        thread::spawn(move || {
            inject(&kernel, &theirs, from, &pinned, &done, (pid, waker));
            theirs
        })
    };
    let _ = core.run(4);
    let theirs = host.join().unwrap();
    drive(&kernel, &world, &mut core, wakes, heeds);
    assert_eq!(done.load(Ordering::Relaxed), 1, "the core sleeps although it has work");
    // A process that has had a waker keeps the kernel alive until it is dead.
    let _ = Host::new(&kernel, &theirs).exit(pid, Reason::KILL).unwrap();
    let _ = core.run(4);
}

/// Starts, from a host, a process for any core that ends in its first slice.
fn any_core(kernel: &Kernel, member: &Participant, done: &Arc<AtomicUsize>) {
    let ends = Ends(done.clone());
    let dies = body(move |_: &Cx<'_, ()>| {
        let _ = &ends;
        BodyPoll::Exit(Reason::NORMAL)
    });
    Host::new(kernel, member).spawn(&SpawnOptions::new(), dies).unwrap();
}

/// Two cores: one sleeps, and the other goes to sleep while a process comes, for the latter
/// (`number` 0) or for the sleeper.
fn one_sleeps(number: usize) {
    let (kernel, world) = kernel(2, 4);
    let (mut one, mut other) = (core(&kernel, 0), core(&kernel, 1));
    let (ours, done) = (member(&kernel), Arc::new(AtomicUsize::new(0)));
    for _ in 0..number {
        any_core(&kernel, &ours, &done);
    }
    let _ = (one.run(2), other.run(2), one.run(2), other.run(2));
    let wakes = world.wakes();
    let host = {
        let (kernel, done) = (kernel.clone(), done.clone());
        thread::spawn(move || {
            any_core(&kernel, &ours, &done);
            ours
        })
    };
    let _ = one.run(4);
    drop(host.join().unwrap());
    drive(&kernel, &world, &mut one, wakes, true);
    drive(&kernel, &world, &mut other, wakes, true);
    assert_eq!(done.load(Ordering::Relaxed), number + 1, "both cores sleep although one has work");
}

/// Two cores look for one process that has come: one of them runs it, once, and neither waits for
/// the other.
fn two_cores() {
    let (kernel, _) = kernel(2, 4);
    let (mut one, mut other) = (core(&kernel, 0), core(&kernel, 1));
    let done = Arc::new(AtomicUsize::new(0));
    any_core(&kernel, &member(&kernel), &done);
    let elsewhere = thread::spawn(move || {
        let _ = other.run(1);
        other
    });
    let _ = one.run(1);
    drop(elsewhere.join().unwrap());
    assert_eq!(done.load(Ordering::Relaxed), 1);
}

/// Two processes come, one for each core, while one core searches for work and the other sleeps. A
/// core that has begun to run one never comes back. The first core is counted on to find a process,
/// but that must not keep the second core from it.
fn one_each(mutation: Option<Mutation>) {
    let (kernel, _) = with(Options { cores: 2, mutation, ..Options::default() });
    let mut cores = [core(&kernel, 0), core(&kernel, 1)];
    let (ours, done) = (member(&kernel), Arc::new(AtomicUsize::new(0)));
    for core in &mut cores {
        let _ = core.run(1);
    }
    let host = {
        let (kernel, done) = (kernel.clone(), done.clone());
        thread::spawn(move || {
            any_core(&kernel, &ours, &done);
            any_core(&kernel, &ours, &done);
            ours
        })
    };
    let _ = cores[0].run(1);
    let ours = host.join().unwrap();
    let mut is_at_one = [done.load(Ordering::Relaxed) == 1, false];
    for _ in 0..3 {
        for (id, core) in cores.iter_mut().enumerate() {
            if !is_at_one[id] && !kernel.is_idle(id) {
                let before = done.load(Ordering::Relaxed);
                let _ = core.run(1);
                is_at_one[id] = done.load(Ordering::Relaxed) > before;
            }
        }
    }
    assert_eq!(done.load(Ordering::Relaxed), 2, "a core sleeps, and work waits at the busy core");
    drop(ours);
}

/// A process spawns two in its slice while the other core goes to sleep, and its own core never
/// comes back. The other core may take one of the two, so it must not sleep.
fn queued_in_a_slice(mutation: Option<Mutation>) {
    let (kernel, _) = with(Options { cores: 2, mutation, ..Options::default() });
    let (mut one, mut other) = (core(&kernel, 0), core(&kernel, 1));
    let (ours, done) = (member(&kernel), Arc::new(AtomicUsize::new(0)));
    let count = done.clone();
    let starts = body(move |cx: &Cx<'_, ()>| {
        for _ in 0..2 {
            let ends = Ends(count.clone());
            let dies = body(move |_: &Cx<'_, ()>| {
                let _ = &ends;
                BodyPoll::Exit(Reason::NORMAL)
            });
            cx.spawn(&SpawnOptions::new(), dies).unwrap();
        }
        BodyPoll::Exit(Reason::NORMAL)
    });
    Host::new(&kernel, &ours).spawn(&SpawnOptions::new().core(0), starts).unwrap();
    let elsewhere = thread::spawn(move || {
        let _ = other.run(4);
        other
    });
    let _ = one.run(1);
    let mut other = elsewhere.join().unwrap();
    for _ in 0..2 {
        if !kernel.is_idle(1) {
            let _ = other.run(4);
        }
    }
    assert_eq!(done.load(Ordering::Relaxed), 1, "a core sleeps, and work waits at the busy core");
    drop(ours);
}

#[test]
fn protocol() {
    for pinned in [false, true] {
        let which = if pinned { "pinned" } else { "free" };
        for (name, from) in [("spawn", From::Spawn), ("send", From::Send), ("wake", From::Wake), ("kill", From::Kill)] {
            model(&format!("inject: {name}, {which}, sleep"), Some(3), move || one_core(from, pinned, true));
        }
    }
    model("inject: spawn for itself, sleep, another sleeps", Some(2), || one_sleeps(0));
    model("inject: spawn for a sleeper, sleep", Some(2), || one_sleeps(1));
    model("inject: one process, two cores", Some(2), two_cores);
    model("inject: two processes, one looks, one sleeps", Some(2), || one_each(None));
    // With a bound of 2 the search takes 40,000 iterations, and is complete as well.
    model("two spawned in a slice, another core sleeps", Some(1), || queued_in_a_slice(None));
}

#[test]
fn mutants() {
    mutant("inject, the driver ignores a wake", Some(2), || one_core(From::Spawn, false, false));
    mutant("two spawned in a slice, no check at its end", Some(1), || {
        queued_in_a_slice(Some(Mutation::NeverLooksBack))
    });
    mutant("inject, a claim is not passed on", Some(2), || one_each(Some(Mutation::KeepsTheClaim)));
}
