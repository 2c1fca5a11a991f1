//! Models of wakers. The process sees every wake, a kill is not lost behind a wake, and a waker
//! keeps the memory of its process and the kernel for exactly as long as the waker exists
//! (`ops/waker`).
#![cfg(loom)]

use std::sync::atomic::Ordering as Plain;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::waker::{self, Orders};
use atropos_kernel::internals::{life, name};
use atropos_kernel::{BodyPoll, Core, Cx, Host, Kernel, Pid, Reason};
use atropos_loom::host::{Canary, core, kernel, member, spawn};
use atropos_loom::{model, mutant};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Starts a process that runs `then` whenever it is resumed after its first slice. Returns it with
/// a waker of it.
fn woken<O: Orders>(kernel: &Kernel, core: &mut Core, mut then: impl FnMut() + Send + 'static) -> (Pid, Waker) {
    let ours = member(kernel);
    let mut first = true;
    let held = Arc::new(Mutex::new(None));
    let place = held.clone();
    let pid = spawn(kernel, &ours, 0, move |cx: &Cx<'_, ()>| {
        if std::mem::take(&mut first) {
            // The process's first waker reference is acquired in a slice: the process keeps the
            // kernel alive from then on.
            let waker = cx.waker();
            *place.lock().unwrap() = Some(waker);
        } else {
            then();
        }
        if cx.receive().is_some() { BodyPoll::Exit(Reason::NORMAL) } else { BodyPoll::Wait }
    });
    let _ = core.run(2);
    drop(held.lock().unwrap().take());
    let guard = ours.pin();
    let process = name::find(kernel, pid, &guard).unwrap();
    // SAFETY: the process is in the table of a kernel that exists.
    let waker = unsafe { waker::of_by::<O>(process) };
    drop(guard);
    (pid, waker)
}

/// Several threads act and wake, while the core looks and goes to sleep: the process sees what each
/// has done. `wakes_first`: they wake before they act.
fn wake_or_sleep<O: Orders>(wakers: usize, wakes_first: bool) {
    let (kernel, world) = kernel(1, 2);
    let mut core = core(&kernel, 0);
    let (did, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let (look, tell) = (did.clone(), seen.clone());
    let (pid, waker) = woken::<O>(&kernel, &mut core, move || {
        tell.store(look.load(Ordering::Relaxed), Plain::Relaxed);
    });
    let wakers: Vec<_> = (0..wakers)
        .map(|number| {
            let (did, waker) = (did.clone(), waker.clone());
            thread::spawn(move || {
                // One bit per thread: a load that misses one thread's bit is not compensated by the
                // other's.
                if wakes_first {
                    waker.wake();
                    did.fetch_or(1 << number, Ordering::Relaxed);
                } else {
                    did.fetch_or(1 << number, Ordering::Relaxed);
                    waker.wake();
                }
            })
        })
        .collect();
    let all = (1 << wakers.len()) - 1;
    let _ = core.run(4);
    for waker in wakers {
        waker.join().unwrap();
    }
    if !kernel.is_idle(0) {
        assert!(world.wakes() > 0, "a claimed core is woken");
        let _ = core.run(4);
    }
    assert_eq!(seen.load(Plain::Relaxed), all, "a wake is lost");
    // A process that has had a waker keeps the kernel alive until it is dead.
    let ours = member(&kernel);
    assert_eq!(Host::new(&kernel, &ours).exit(pid, Reason::KILL), Ok(true));
    let _ = core.run(4);
    drop(waker);
}

/// Lets a process die and drops its core and the kernel's handles, while its wakers `act`, each on
/// a thread. In the end everything has been freed.
fn die_under<A: FnOnce(Waker) + Send + 'static>(wakers: impl FnOnce(Waker) -> Vec<Waker>, act: fn() -> A) {
    let (kernel, _) = kernel(1, 2);
    let mut core = core(&kernel, 0);
    let (canary, ends) = Canary::new();
    let (pid, waker) = woken::<Shipped>(&kernel, &mut core, move || canary.sing());
    let ours = member(&kernel);
    Host::new(&kernel, &ours).send(pid, ()).unwrap();
    let lives = life::of(&kernel);
    let threads: Vec<_> = wakers(waker)
        .into_iter()
        .map(|waker| {
            let act = act();
            thread::spawn(move || act(waker))
        })
        .collect();
    let _ = core.run(4);
    drop((core, ours, kernel));
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(ends.load(Plain::Relaxed), 1, "the body is dropped once");
    assert!(!lives(), "a freed process releases the kernel");
}

/// One waker wakes, is cloned and dropped.
fn wake_or_die() {
    die_under(
        |waker| vec![waker],
        || {
            |waker: Waker| {
                waker.wake_by_ref();
                let second = waker.clone();
                drop(waker);
                second.wake();
            }
        },
    );
}

/// Two wakers are dropped.
fn drop_or_die() {
    die_under(|waker| vec![waker.clone(), waker], || drop);
}

/// A waker without a reference to the memory is used after that memory is freed.
fn stray() {
    die_under(
        |waker| {
            // SAFETY: none. The mutant copies the waker without acquiring a reference.
            let stray = unsafe { std::ptr::read(&raw const waker) };
            drop(waker);
            vec![stray]
        },
        || {
            |waker: Waker| {
                let waker = std::mem::ManuallyDrop::new(waker);
                waker.wake_by_ref();
            }
        },
    );
}

/// A waker is never dropped.
fn forgotten() {
    die_under(|waker| vec![waker], || |waker| std::mem::forget(waker));
}

/// A waker and a killer share the wake node: the process is killed, no matter which of the two
/// pushes it.
fn wake_or_kill() {
    let (kernel, _) = kernel(1, 2);
    let mut core = core(&kernel, 0);
    let (pid, waker) = woken::<Shipped>(&kernel, &mut core, || {});
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let killer = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            // False when the waker's push has delivered the kill, and the process is dead already.
            let _ = Host::new(&kernel, &theirs).exit(pid, Reason::KILL).unwrap();
            theirs
        })
    };
    let other = thread::spawn(move || waker.wake());
    let _ = core.run(4);
    other.join().unwrap();
    drop(killer.join().unwrap());
    if !kernel.is_idle(0) {
        let _ = core.run(4);
    }
    assert!(!Host::new(&kernel, &ours).is_alive(pid), "a kill is lost");
}

struct ClaimRelaxed;
impl Orders for ClaimRelaxed {
    const CLAIM: Ordering = Ordering::Relaxed;
}

#[test]
fn protocol() {
    model("waker: wake, sleep", Some(3), || wake_or_sleep::<Shipped>(1, false));
    model("waker: wake, wake, sleep", Some(2), || wake_or_sleep::<Shipped>(2, false));
    model("waker: wake, clone, drop, death", Some(2), wake_or_die);
    model("waker: drop, drop, death", Some(2), drop_or_die);
    model("waker: wake, kill, sleep", Some(2), wake_or_kill);
}

#[test]
fn mutants() {
    mutant("waker, the claim Relaxed", Some(2), || wake_or_sleep::<ClaimRelaxed>(2, false));
    mutant("waker, woken before the act", Some(2), || wake_or_sleep::<Shipped>(1, true));
    mutant("waker, one without a reference", Some(2), stray);
    mutant("waker, one that is never dropped", Some(2), forgotten);
}
