//! Models of a context's futures that are polled with wakers other than the process's, as
//! combinators do. When the awaited event comes from another thread, the future's own waker is
//! called, and no wait is lost (`process/waiters`). Issue 14, 14.
//!
//! The combinator here polls its one future only when that future's waker has been called.
#![cfg(loom)]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Wake, Waker};

use atropos_kernel::internals::mutation::Mutation;
use atropos_kernel::{BodyPoll, Context, Core, Cx, Host, Kernel, Limits, Options, Pid, Reason, SpawnOptions};
use atropos_loom::host::{core, member, with};
use atropos_loom::{model, mutant};
use loom::thread;

/// The waker of the one future.
#[derive(Default)]
struct Flag {
    called: AtomicBool,
    then: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.called.store(true, Ordering::Relaxed);
        // The lock is not held during the kernel's steps.
        let then = self.then.lock().unwrap().clone();
        then.into_iter().for_each(Waker::wake);
    }
}

/// A combinator of one future, which has a waker of its own.
struct Combined<F> {
    future: Pin<Box<F>>,
    flag: Arc<Flag>,
    done: Arc<AtomicUsize>,
}

impl<F: Future> Combined<F> {
    fn new(future: F, done: &Arc<AtomicUsize>) -> Self {
        let flag = Flag { called: AtomicBool::new(true), ..Flag::default() };
        Self { future: Box::pin(future), flag: Arc::new(flag), done: done.clone() }
    }
}

impl<F: Future> Future for Combined<F> {
    type Output = Reason;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Reason> {
        let waker = task.waker().clone();
        let before = self.flag.then.lock().unwrap().replace(waker);
        drop(before);
        if !self.flag.called.swap(false, Ordering::Relaxed) {
            return Poll::Pending;
        }
        let waker = Waker::from(self.flag.clone());
        match self.future.as_mut().poll(&mut Task::from_waker(&waker)) {
            Poll::Ready(_) => {
                self.done.fetch_add(1, Ordering::Relaxed);
                let then = self.flag.then.lock().unwrap().take();
                drop(then);
                Poll::Ready(Reason::NORMAL)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

fn stage(cores: usize, mutation: Option<Mutation>) -> Arc<Kernel> {
    let limits = Limits { processes: 4, names: 1, timers: 1, nodes: 16, kept: 0 };
    with(Options { cores, limits, mutation, ..Options::default() }).0
}

/// Runs the cores until they have nothing left to do.
fn settle(cores: &mut [Core]) {
    for _ in 0..3 {
        for core in &mut *cores {
            let _ = core.run(8);
        }
    }
}

/// Waits for a message, which comes from another thread while the process goes to sleep.
fn receive(mutation: Option<Mutation>) {
    let kernel = stage(1, mutation);
    let mut core = core(&kernel, 0);
    let (ours, theirs, done) = (member(&kernel), member(&kernel), Arc::new(AtomicUsize::new(0)));
    let counts = done.clone();
    let waits = move |cx: Context<()>| {
        Combined::new(
            async move {
                let _ = cx.recv().await;
            },
            &counts,
        )
    };
    let pid: Pid = Host::new(&kernel, &ours).spawn_async(&SpawnOptions::new().core(0), waits).unwrap().pid();
    let sender = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            Host::new(&kernel, &theirs).send(pid, ()).unwrap();
            theirs
        })
    };
    let _ = core.run(4);
    drop(sender.join().unwrap());
    settle(std::slice::from_mut(&mut core));
    let received = done.load(Ordering::Relaxed);
    let _ = Host::new(&kernel, &ours).exit(pid, Reason::KILL).unwrap();
    settle(std::slice::from_mut(&mut core));
    drop((core, ours, kernel));
    assert_eq!(received, 1, "a message came, and the waiting future is not called");
}

/// Waits for free capacity in a mailbox, whose owner receives on another core while the process
/// goes to sleep.
fn send(mutation: Option<Mutation>) {
    let kernel = stage(2, mutation);
    let (mut one, other) = (core(&kernel, 0), core(&kernel, 1));
    let (ours, done) = (member(&kernel), Arc::new(AtomicUsize::new(0)));
    let mut ran = false;
    let full = atropos_loom::host::body(move |cx: &Cx<'_, u8>| {
        // The race is its first slice.
        if std::mem::replace(&mut ran, true) {
            return BodyPoll::Wait;
        }
        let _ = cx.receive();
        BodyPoll::Wait
    });
    let full = Host::new(&kernel, &ours).spawn(&SpawnOptions::new().core(1).mailbox_limit(1), full).unwrap().pid;
    Host::new(&kernel, &ours).send(full, 1_u8).unwrap();
    let counts = done.clone();
    let waits = move |cx: Context<()>| {
        Combined::new(
            async move {
                let _ = cx.send_wait(full, 2_u8, None).await;
            },
            &counts,
        )
    };
    let pid = Host::new(&kernel, &ours).spawn_async(&SpawnOptions::new().core(0), waits).unwrap().pid();
    let receiver = thread::spawn(move || {
        let mut other = other;
        let _ = other.run(1);
        other
    });
    let _ = one.run(1);
    let mut cores = [one, receiver.join().unwrap()];
    settle(&mut cores);
    let sent = done.load(Ordering::Relaxed);
    let host = Host::new(&kernel, &ours);
    let _ = (host.exit(pid, Reason::KILL), host.exit(full, Reason::KILL));
    drop(host);
    settle(&mut cores);
    drop((cores, ours, kernel));
    assert_eq!(sent, 1, "the mailbox has a free slot, and the waiting future is not called");
}

#[test]
fn protocol() {
    model("foreign waker: receive, send", Some(2), || receive(None));
    model("foreign waker: wait for capacity, receive", Some(2), || send(None));
}

#[test]
fn mutants() {
    mutant("foreign waker, a process sleeps on a message", Some(2), || receive(Some(Mutation::SleepsAnyway)));
    mutant("foreign waker, a process sleeps on a notification", Some(2), || send(Some(Mutation::SleepsAnyway)));
}
