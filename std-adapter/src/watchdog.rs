//! A watchdog for bodies that occupy a core: [`LongSlice`].
//!
//! Each core notes by two plain stores which slice it runs. The watchdog thread samples these notes
//! while any core is busy. It reports a slice that it has seen for longer than the threshold, and
//! again each time that the duration doubles. When all cores have been idle for a few samples, it
//! parks, until a worker that leaves its own park finds it parked. So an idle runtime causes no
//! wake-ups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use atropos_kernel::{CatchDrop, Host, Kernel, Pid};

use crate::epoch_participant;
use crate::panics::catch_panic;

/// A report of a body that has occupied its core for too long without yielding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LongSlice {
    /// The core's index.
    pub core: usize,
    /// The process whose slice it is.
    pub pid: Pid,
    /// How long the watchdog has seen it running.
    pub since: Duration,
}

/// The hook that receives a report.
pub type Report = CatchDrop<Box<dyn Fn(LongSlice) + Send + Sync>>;

/// The number of samples without a busy core before the watchdog parks.
const QUIET_LOOKS: u32 = 8;

/// The shortest time between two samples, however small the threshold.
const SHORTEST_LOOK: Duration = Duration::from_micros(100);

#[derive(Default)]
pub(crate) struct Flags {
    parked: AtomicBool,
    stop: AtomicBool,
}

pub(crate) struct Watchdog {
    flags: Arc<Flags>,
    thread: Option<JoinHandle<()>>,
}

/// The workers' side of the watchdog: wakes it when it is parked.
#[derive(Clone)]
pub(crate) struct WatchdogWaker {
    flags: Arc<Flags>,
    thread: Thread,
}

impl WatchdogWaker {
    /// Wakes the watchdog if it is parked: a worker starts to work.
    pub(crate) fn ring(&self) {
        // Pairs with the fence in `watchdog`: either this thread sees it parked, or it sees this
        // core busy.
        fence(Ordering::SeqCst);
        if self.flags.parked.load(Ordering::Relaxed) && self.flags.parked.swap(false, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

impl Watchdog {
    pub(crate) fn start(kernel: Arc<Kernel>, threshold: Duration, report: Report) -> std::io::Result<Self> {
        let flags = Arc::new(Flags::default());
        let shared = flags.clone();
        let watch = move || watch(&kernel, &shared, threshold, &report);
        let thread = thread::Builder::new().name("atropos-watch".into()).spawn(watch)?;
        Ok(Self { flags, thread: Some(thread) })
    }

    pub(crate) fn bell(&self) -> Option<WatchdogWaker> {
        let thread = self.thread.as_ref()?.thread().clone();
        Some(WatchdogWaker { flags: self.flags.clone(), thread })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.flags.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A report that shuts the runtime down does not wait for itself. A panic of the thread
            // would be the hook's, and has been printed.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// The last sample of a core.
#[derive(Clone, Copy)]
struct Seen {
    slice: usize,
    first: Instant,
    report_at: Duration,
}

fn watch(kernel: &Kernel, flags: &Flags, threshold: Duration, report: &Report) {
    let mut seen: Vec<Option<Seen>> = vec![None; kernel.cores()];
    let mut quiet = 0;
    while !flags.stop.load(Ordering::Acquire) {
        for (core, seen) in seen.iter_mut().enumerate() {
            look(kernel, core, seen, threshold, report);
        }
        let busy = (0..kernel.cores()).any(|core| !kernel.is_idle(core));
        quiet = if busy { 0 } else { quiet + 1 };
        if quiet < QUIET_LOOKS {
            thread::park_timeout((threshold / 2).max(SHORTEST_LOOK));
            continue;
        }
        flags.parked.store(true, Ordering::Release);
        // Pairs with the fence in `ring`.
        fence(Ordering::SeqCst);
        let still_quiet = (0..kernel.cores()).all(|core| kernel.is_idle(core));
        while still_quiet && flags.parked.load(Ordering::Acquire) && !flags.stop.load(Ordering::Acquire) {
            thread::park();
        }
        flags.parked.store(false, Ordering::Relaxed);
        quiet = 0;
    }
}

fn look(kernel: &Kernel, core: usize, seen: &mut Option<Seen>, threshold: Duration, report: &Report) {
    let running = epoch_participant::with(|participant| Host::new(kernel, participant).running(core));
    let now = Instant::now();
    match (running, *seen) {
        (None, _) => *seen = None,
        (Some((slice, pid)), Some(before)) if before.slice == slice => {
            let since = now - before.first;
            if since >= before.report_at {
                // The hook may panic; the next long slice is reported regardless.
                let _ = catch_panic(|| report(LongSlice { core, pid, since }));
                *seen = Some(Seen { report_at: since * 2, ..before });
            }
        }
        (Some((slice, _)), _) => *seen = Some(Seen { slice, first: now, report_at: threshold }),
    }
}
