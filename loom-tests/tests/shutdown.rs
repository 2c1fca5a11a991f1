//! Models of shutdown and of the process limit. Once a closed kernel is empty, no process can
//! start. There are never more processes than the limit (`kernel`).
#![cfg(loom)]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atropos_kernel::reclaim::Participant;
use atropos_kernel::{BodyPoll, Core, Cx, Host, Kernel, Limits, Options, Reason, SpawnError, SpawnOptions};
use atropos_loom::host::{body, core, kernel, member, spawn, with};
use atropos_loom::{model, mutant};
use loom::thread;

/// Number of live bodies, and the highest number so far.
#[derive(Default, Debug)]
struct Bodies {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A value that counts itself while it lives.
struct Counted(Arc<Bodies>);

impl Counted {
    fn new(bodies: &Arc<Bodies>) -> Self {
        let now = bodies.now.fetch_add(1, Ordering::Relaxed) + 1;
        bodies.most.fetch_max(now, Ordering::Relaxed);
        Self(bodies.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts a process that waits for its end.
fn start(kernel: &Kernel, member: &Participant, bodies: &Arc<Bodies>) -> Result<(), SpawnError> {
    let counted = Counted::new(bodies);
    let waits = body(move |_: &Cx<'_, ()>| {
        let _ = &counted;
        BodyPoll::Wait
    });
    Host::new(kernel, member).spawn(&SpawnOptions::new(), waits).map(drop)
}

/// Plays `Runtime::shutdown`, and drives the only core in the same thread: sends each process one
/// exit, and runs the core, until `empty` returns `true`.
fn shut_down(kernel: &Kernel, member: &Participant, core: &mut Core, empty: impl Fn(&Host<'_>) -> bool) {
    kernel.close();
    let mut told = HashSet::new();
    loop {
        let host = Host::new(kernel, member);
        for pid in host.processes() {
            if told.insert(pid) {
                host.exit(pid, Reason::SHUTDOWN).unwrap();
            }
        }
        if empty(&host) {
            return;
        }
        drop(host);
        let _ = core.run(4);
        thread::yield_now();
    }
}

/// A host starts a process while the kernel closes: the spawn is refused, or the process is shut
/// down. `counts`: the closer also waits for processes that are being started, and not only for
/// those that it sees.
fn spawn_or_close(counts: bool) {
    let (kernel, _) = kernel(1, 4);
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let mut core = core(&kernel, 0);
    let bodies = Arc::new(Bodies::default());
    let host = {
        let (kernel, bodies) = (kernel.clone(), bodies.clone());
        thread::spawn(move || {
            let started = start(&kernel, &theirs, &bodies);
            assert!(matches!(started, Ok(()) | Err(SpawnError::Closing)));
            theirs
        })
    };
    shut_down(
        &kernel,
        &ours,
        &mut core,
        |host| if counts { kernel.is_empty() } else { host.processes().next().is_none() },
    );
    drop(core);
    drop(host.join().unwrap());
    assert!(Host::new(&kernel, &ours).processes().next().is_none(), "left behind");
    assert_eq!(bodies.now.load(Ordering::Relaxed), 0, "every body is dropped");
    assert_eq!(start(&kernel, &ours, &bodies), Err(SpawnError::Closing));
}

/// A process starts another while the kernel closes, on a thread other than the closer's: the child
/// is shut down as well, although its parent is dead.
fn parent_or_close() {
    let (kernel, _) = kernel(1, 4);
    let (ours, bodies) = (member(&kernel), Arc::new(Bodies::default()));
    let mut core = core(&kernel, 0);
    let counts = bodies.clone();
    let _ = spawn(&kernel, &ours, 0, move |cx: &Cx<'_, ()>| {
        let counted = Counted::new(&counts);
        let child = body(move |_: &Cx<'_, ()>| {
            let _ = &counted;
            BodyPoll::Wait
        });
        assert!(matches!(cx.spawn(&SpawnOptions::new(), child), Ok(_) | Err(SpawnError::Closing)));
        BodyPoll::Exit(Reason::NORMAL)
    });
    let driver = thread::spawn(move || {
        let _ = core.run(2);
        core
    });
    kernel.close();
    let early = kernel.is_empty();
    let mut core = driver.join().unwrap();
    let left = Host::new(&kernel, &ours).processes().count();
    assert!(!early || left == 0, "the kernel was empty, and then was not");
    shut_down(&kernel, &ours, &mut core, |_| kernel.is_empty());
    assert!(Host::new(&kernel, &ours).processes().next().is_none());
    assert_eq!(bodies.now.load(Ordering::Relaxed), 0);
}

/// Two hosts start processes, one more than the limit allows, while a live one dies. `checks`: the
/// kernel enforces the limit; otherwise the hosts count first, and the kernel has no limit.
fn limit(checks: bool) {
    let processes = if checks { 2 } else { 8 };
    let limits = Limits { processes, names: 1, timers: 1, ..Limits::default() };
    let (kernel, _) = with(Options { limits, ..Options::default() });
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let bodies = Arc::new(Bodies::default());
    let mut core = core(&kernel, 0);
    start(&kernel, &ours, &bodies).unwrap();
    let _ = core.run(1);
    let first = Host::new(&kernel, &ours).processes().next().expect("one process is alive");
    Host::new(&kernel, &ours).exit(first, Reason::SHUTDOWN).unwrap();
    let start_one = move |kernel: &Kernel, member: &Participant, bodies: &Arc<Bodies>| {
        if checks || kernel.process_count() < 2 { start(kernel, member, bodies) } else { Err(SpawnError::TooMany) }
    };
    let host = {
        let (kernel, bodies) = (kernel.clone(), bodies.clone());
        thread::spawn(move || (start_one(&kernel, &theirs, &bodies), theirs))
    };
    let mine = start_one(&kernel, &ours, &bodies);
    let alive = Host::new(&kernel, &ours).processes().count();
    assert!(alive <= 2, "{alive} of 2");
    let _ = core.run(1);
    let (other, theirs) = host.join().unwrap();
    for started in [mine, other] {
        assert!(matches!(started, Ok(()) | Err(SpawnError::TooMany)));
    }
    assert!(mine.is_ok() || other.is_ok(), "the limit allowed one more process");
    let _ = core.run(4);
    let started = usize::from(mine.is_ok()) + usize::from(other.is_ok());
    assert_eq!((kernel.process_count(), bodies.now.load(Ordering::Relaxed)), (started, started), "counted exactly");
    drop(theirs);
}

#[test]
fn protocol() {
    model("shutdown: close, spawn by a host", Some(2), || spawn_or_close(true));
    model("shutdown: close, spawn by a process", None, parent_or_close);
    model("limit: spawn, spawn, exit", Some(3), || limit(true));
}

#[test]
fn mutants() {
    mutant("shutdown, waits only for visible processes", Some(2), || spawn_or_close(false));
    mutant("limit, checked before the spawn", Some(2), || limit(false));
}
