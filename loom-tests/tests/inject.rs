//! Work from outside, while the core goes to sleep: when the core says it is idle and its driver has not been woken,
//! everything has been done (`kernel`, `sched/core`, `runq/idle`).
#![cfg(loom)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use atropos_kernel::internals::mutate::Mutation;
use atropos_kernel::reclaim::Participant;
use atropos_kernel::{Core, Cx, Host, Kernel, Options, Pid, Reason, Resumed, SpawnOptions};
use atropos_loom::host::{Still, body, core, kernel, member, with};
use atropos_loom::{model, mutant};
use loom::thread;

/// What comes from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// A new process.
    Spawn,
    /// A message to one that sleeps.
    Send,
    /// A waker of one that sleeps.
    Wake,
    /// A kill of one that sleeps.
    Kill,
}

/// A process that counts the slices in which it is asked for something, and ends with the first.
fn sleeper(kernel: &Kernel, options: &SpawnOptions<'_>, done: &Arc<AtomicUsize>) -> (Pid, Arc<Mutex<Option<Waker>>>) {
    let held = Arc::new(Mutex::new(None));
    let (place, done, mut first) = (held.clone(), Ends(done.clone()), true);
    let sleeps = body(move |cx: &Cx<'_, ()>| {
        let _ = &done;
        if std::mem::take(&mut first) {
            let waker = cx.waker();
            *place.lock().unwrap() = Some(waker);
            return Resumed::Wait;
        }
        Resumed::Exit(Reason::NORMAL)
    });
    (Host::new(kernel, &member(kernel)).spawn(options, sleeps).unwrap().pid, held)
}

/// Counts when it is dropped: what was to be done has been done.
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
                Resumed::Exit(Reason::NORMAL)
            });
            Host::new(kernel, theirs).spawn(options, dies).unwrap();
        }
        From::Send => Host::new(kernel, theirs).send(pid, ()).unwrap(),
        From::Wake => waker.unwrap().wake(),
        From::Kill => assert!(Host::new(kernel, theirs).exit(pid, Reason::KILL).is_ok()),
    }
}

/// What a driver does after `run`: nothing while the core is idle and nobody has woken it. `heeds`: a wake that came
/// before it went to sleep keeps it awake.
fn drive(kernel: &Kernel, world: &Still, core: &mut Core, wakes: usize, heeds: bool) {
    if !kernel.is_idle(core.id()) {
        let woken = world.wakes() > wakes;
        assert!(woken, "claimed, and not woken");
        if heeds {
            let _ = core.run(4);
        }
    }
}

/// One core.
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
    assert_eq!(done.load(Ordering::Relaxed), 1, "asleep, with work, and nobody wakes it");
    // Who has had a waker holds the kernel until it is dead.
    let _ = Host::new(&kernel, &theirs).exit(pid, Reason::KILL).unwrap();
    let _ = core.run(4);
}

/// A process that ends at once, from a host, for any core.
fn any_core(kernel: &Kernel, member: &Participant, done: &Arc<AtomicUsize>) {
    let ends = Ends(done.clone());
    let dies = body(move |_: &Cx<'_, ()>| {
        let _ = &ends;
        Resumed::Exit(Reason::NORMAL)
    });
    Host::new(kernel, member).spawn(&SpawnOptions::new(), dies).unwrap();
}

/// Two cores, one of which sleeps, and the other goes to sleep while a process comes: for that one (`number` 0), or
/// for the sleeper.
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
    assert_eq!(done.load(Ordering::Relaxed), number + 1, "both asleep, with work, and nobody wakes them");
}

/// Two cores after one process that has come: one of them runs it, once, and neither waits for the other.
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

/// Two processes come, for one core each, while one core looks for work and the other sleeps, and a core that has begun one never comes
/// back. What the first core was counted on to find it does not keep from the second.
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
    assert_eq!(done.load(Ordering::Relaxed), 2, "a core sleeps, and work waits behind the other's");
    drop(ours);
}

/// A process starts two in its slice while the other core goes to sleep, and its core never comes back: one of the two others may
/// take, and nobody sleeps on it.
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
                Resumed::Exit(Reason::NORMAL)
            });
            cx.spawn(&SpawnOptions::new(), dies).unwrap();
        }
        Resumed::Exit(Reason::NORMAL)
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
    assert_eq!(done.load(Ordering::Relaxed), 1, "asleep, and work waits behind the other core's");
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
    // With a bound of 2 it takes 40,000 iterations, and is complete as well.
    model("two born in a slice, another core sleeps", Some(1), || queued_in_a_slice(None));
}

#[test]
fn mutants() {
    mutant("inject, the driver forgets a wake", Some(2), || one_core(From::Spawn, false, false));
    mutant("two born in a slice, no look when it ends", Some(1), || queued_in_a_slice(Some(Mutation::NeverLooksBack)));
    mutant("inject, a claim is not passed on", Some(2), || one_each(Some(Mutation::KeepsTheClaim)));
}
