//! Models of contexts. A process's context keeps the process's memory, and nothing else, until it
//! is dropped, in its process's own slice or elsewhere (`process/header`, P5). Issue 14, 2.
//!
//! Its address is therefore an identity. Memory that could be taken for another process's would be
//! memory that was freed while a context was left, and the allocator reveals a use of freed memory
//! (`host`).
#![cfg(loom)]

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use atropos_kernel::internals::{life, name};
use atropos_kernel::{Context, Core, Host, Kernel, Pid, Reason, SpawnOptions};
use atropos_loom::host::{core, kernel, member};
use atropos_loom::{model, mutant};
use loom::thread;

/// A value that counts its drops. As the reason of a death, the slot holds it, and so does the
/// process until the table releases the process's memory (P6).
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A place in which a process leaves its context, and a waker.
type Left = Arc<Mutex<(Option<Context<()>>, Option<Waker>)>>;

/// Starts a process that leaves its context (or keeps it, and leaves a waker), and ends when it
/// receives a message.
fn process(kernel: &Arc<Kernel>, core: &mut Core, keeps: bool) -> (Pid, Left, Arc<AtomicUsize>) {
    let ours = member(kernel);
    let (left, drops) = (Left::default(), Arc::new(AtomicUsize::new(0)));
    let (place, why) = (left.clone(), Counted(drops.clone()));
    let body = move |cx: Context<()>| {
        let (mut cx, mut why, mut first) = (Some(cx), Some(why), true);
        poll_fn(move |_| {
            if !std::mem::take(&mut first) {
                return Poll::Ready(Reason::value(why.take().unwrap()));
            }
            // The kernel takes no step while this lock is held.
            if keeps {
                let waker = cx.as_ref().map(|cx| cx.with(|cx| cx.waker()));
                place.lock().unwrap().1 = waker;
            } else {
                place.lock().unwrap().0 = cx.take();
            }
            Poll::Pending
        })
    };
    let pid = Host::new(kernel, &ours).spawn_async(&SpawnOptions::new().core(0), body).unwrap().pid();
    let _ = core.run(2);
    Host::new(kernel, &ours).send(pid, ()).unwrap();
    (pid, left, drops)
}

/// Lets the process die and its kernel be dropped, while another thread does `act` with what the
/// process has left.
fn die_under(keeps: bool, act: fn(Left)) {
    die(keeps, false, act);
}

/// Runs [`die_under`] with a fault. `early`: the context is recorded as gone while it still exists,
/// so its reference is released with the table's.
fn die(keeps: bool, early: bool, act: fn(Left)) {
    let (kernel, _) = kernel(1, 2);
    let mut core = core(&kernel, 0);
    let (pid, left, drops) = process(&kernel, &mut core, keeps);
    if early {
        let ours = member(&kernel);
        let guard = ours.pin();
        // SAFETY: none. The mutant records the context as gone although it is not.
        unsafe { name::find(&kernel, pid, &guard).unwrap().record_context_gone() };
    }
    let lives = life::of(&kernel);
    let other = thread::spawn(move || act(left));
    let _ = core.run(4);
    drop((core, kernel));
    other.join().unwrap();
    assert!(!lives(), "a context does not keep the kernel alive");
    assert_eq!(drops.load(Ordering::Relaxed), 1, "the reason of the death is dropped once");
}

fn take(left: &Left) -> Context<()> {
    left.lock().unwrap().0.take().unwrap()
}

#[test]
fn protocol() {
    model("context: dropped elsewhere, death", Some(2), || die_under(false, |left| drop(take(&left))));
    // The context is dropped with the body, and the last reference is the table's or the waker's.
    model("context: kept, a waker dropped, death", Some(2), || {
        die_under(true, |left| {
            let waker = left.lock().unwrap().1.take();
            drop(waker.unwrap());
        });
    });
}

#[test]
fn mutants() {
    mutant("context, its reference released too early", Some(2), || die(false, true, |left| drop(take(&left))));
    mutant("context, dropped twice", Some(2), || {
        die_under(false, |left| {
            let context = take(&left);
            // SAFETY: none. The mutant releases the context's reference twice.
            drop(unsafe { std::ptr::read(&raw const context) });
            drop(context);
        });
    });
}
