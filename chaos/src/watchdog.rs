//! The watchdog: when nothing has moved for a long time, it prints what can be read of every
//! kernel, and ends the program.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use atropos::Handle;

/// The exit status of a hang.
pub(crate) const HANGS: i32 = 3;

/// An activity that must make progress.
pub(crate) struct Pulse {
    what: String,
    beats: AtomicU64,
    over: AtomicBool,
}

impl Pulse {
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the pulse: it need not beat again.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// The watched activities.
#[derive(Default)]
struct Watched {
    pulses: Vec<(Arc<Pulse>, u64, Instant)>,
    handles: Vec<Handle>,
    phase: String,
}

/// A thread that reports a hang and ends the program.
pub(crate) struct Watchdog {
    watched: Arc<Mutex<Watched>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts the watchdog. A pulse that does not beat for `patience` is a hang, and `how` tells
    /// the reader how to reproduce it.
    pub(crate) fn start(patience: Duration, how: String) -> Self {
        let (watched, stop) = (Arc::<Mutex<Watched>>::default(), Arc::new(AtomicBool::new(false)));
        let (look, until) = (watched.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("chaos-watch".into()).spawn(move || {
            while !until.load(Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(200));
                let mut watched = look.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(what) = watched.stuck(patience) {
                    watched.report(&what, patience, &how);
                    std::process::exit(HANGS);
                }
            }
        });
        Self { watched, stop, thread: thread.ok() }
    }

    fn watched<R>(&self, f: impl FnOnce(&mut Watched) -> R) -> R {
        f(&mut self.watched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds an activity that must make progress until it ends.
    pub(crate) fn pulse(&self, what: String) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse { what, beats: AtomicU64::new(0), over: AtomicBool::new(false) });
        self.watched(|watched| watched.pulses.push((pulse.clone(), 0, Instant::now())));
        pulse
    }

    /// Adds a runtime whose state is printed if something hangs.
    pub(crate) fn runtime(&self, handle: Handle) {
        self.watched(|watched| watched.handles.push(handle));
    }

    /// Sets the current phase of the round.
    pub(crate) fn phase(&self, phase: &str) {
        self.watched(|watched| watched.phase = phase.to_owned());
    }

    /// Removes all activities, at the end of a round.
    pub(crate) fn forget(&self) {
        self.watched(|watched| *watched = Watched::default());
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Watched {
    fn stuck(&mut self, patience: Duration) -> Option<String> {
        self.pulses.retain(|(pulse, ..)| !pulse.over.load(Ordering::SeqCst));
        let mut stuck = None;
        for (pulse, seen, since) in &mut self.pulses {
            let beats = pulse.beats.load(Ordering::Relaxed);
            if beats != *seen {
                (*seen, *since) = (beats, Instant::now());
            } else if since.elapsed() > patience {
                stuck = Some(pulse.what.clone());
            }
        }
        stuck
    }

    fn report(&self, what: &str, patience: Duration, how: &str) {
        println!("\nHANGS: {what} has not moved for {patience:?}, while: {}", self.phase);
        for (number, handle) in self.handles.iter().enumerate() {
            match handle.kernel().dump() {
                Ok(dump) => println!("runtime {number}: {dump}"),
                Err(error) => println!("runtime {number}: no memory for a dump: {error}"),
            }
        }
        println!("{how}");
    }
}
