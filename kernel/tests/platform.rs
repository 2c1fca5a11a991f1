//! How the kernel handles a platform that does not catch panics correctly (issue 14, item 3): it
//! runs code twice, or never, or hides a panic. The kernel loses no more than the platform has
//! lost, and touches nothing that it does not own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atropos_kernel::reclaim::Domain;
use atropos_kernel::{Context, Core, Host, Kernel, Options, Reason, RunOutcome, SpawnOptions};
use atropos_sim::{Environment, SimPlatform};

#[derive(Clone, Copy, PartialEq, Debug)]
enum How {
    /// Runs the code, and again after it has returned.
    Twice,
    /// Runs the code, and again after it has panicked.
    AgainAfterPanic,
    /// Runs nothing, and reports success.
    Never,
    /// Runs nothing, and reports a panic.
    NeverAndFails,
    /// Hides every panic.
    Secretly,
    /// Reports every run as a panic.
    Alarmed,
}

struct Wrong(How);

/// It breaks the contract of `catch_panic` in every way that needs no `unsafe`.
impl Environment for Wrong {
    fn now(&self) -> u64 {
        0
    }
    fn wake(&self, _: usize) {}
    fn catch_panic(&self, code: &mut dyn FnMut()) -> Result<(), Reason> {
        let mut caught = || catch_unwind(AssertUnwindSafe(&mut *code)).map_err(|_| Reason::crash("a panic"));
        match self.0 {
            How::Twice => caught().and(caught()),
            How::AgainAfterPanic => caught().or_else(|_| caught()),
            How::Never => Ok(()),
            How::NeverAndFails => Err(Reason::crash("it says")),
            How::Secretly => {
                let _ = caught();
                Ok(())
            }
            How::Alarmed => {
                let _ = caught();
                Err(Reason::crash("it says"))
            }
        }
    }
}

/// Counts how often it is dropped.
struct Canary(Arc<AtomicUsize>);
impl Drop for Canary {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Number of values that must be dropped: four bodies, and a message.
const ALL: usize = 5;

/// Runs processes that end, panic, receive, and wait to be killed, on such a platform. Returns how
/// often their values were dropped in the end.
fn live_in(how: How) -> usize {
    let dropped = Arc::new(AtomicUsize::new(0));
    let kernel = Kernel::new(Options::default(), Domain::new(), Arc::new(SimPlatform::new(Wrong(how))));
    let participant = kernel.register();
    let host = Host::new(&kernel, &participant);
    for kind in 0..4 {
        let canary = Canary(dropped.clone());
        let body = async move |cx: Context<Canary>| {
            let _canary = canary;
            match kind {
                0 => {}
                1 => panic!("a body's"),
                2 => drop(cx.recv().await),
                _ => std::future::pending::<()>().await,
            }
        };
        let pid = host.spawn_async(&SpawnOptions::new(), body).unwrap().pid();
        if kind == 2 {
            let _ = host.send(pid, Canary(dropped.clone()));
        }
    }
    drop(host);
    let mut core = Core::new(kernel.clone(), 0);
    for _ in 0..20 {
        // On a platform that runs no code, the kernel may panic.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _: RunOutcome = core.run(10);
        }));
    }
    let host = Host::new(&kernel, &participant);
    for pid in host.processes().collect::<Vec<_>>() {
        let _ = host.exit(pid, Reason::KILL);
    }
    drop(host);
    for _ in 0..20 {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _: RunOutcome = core.run(10);
        }));
    }
    let _ = catch_unwind(AssertUnwindSafe(|| drop(core)));
    drop(participant);
    let _ = catch_unwind(AssertUnwindSafe(|| drop(kernel)));
    dropped.load(Ordering::Relaxed)
}

/// Issue 14, item 3: foreign code runs once, whatever the platform does with it.
#[test]
fn n03_foreign_code_runs_once() {
    assert_eq!(live_in(How::Twice), ALL);
    assert_eq!(live_in(How::AgainAfterPanic), ALL);
}

/// Issue 14, item 3: the kernel itself detects whether a body has panicked.
#[test]
fn n03_hidden_panic_is_detected() {
    assert_eq!(live_in(How::Secretly), ALL);
    assert_eq!(live_in(How::Alarmed), ALL);
}

/// Issue 14, item 3: a value whose code never ran is not dropped twice either.
#[test]
fn n03_what_is_never_run_is_lost_and_no_more() {
    assert!(live_in(How::Never) <= ALL);
    assert!(live_in(How::NeverAndFails) <= ALL);
}
