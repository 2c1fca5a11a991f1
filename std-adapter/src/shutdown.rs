//! [`Ending`]: the shutdown of a runtime.
//!
//! - **E1, the order is OTP's** (`init:stop`). First the root processes (`roots`) are stopped, last
//!   started first, one at a time: each gets an exit signal `shutdown` and is waited for. So a
//!   supervisor stops its children by its own rules while everything that was started before it is
//!   still there. (If a server takes longer than a supervisor would allow it, the shutdown stops
//!   waiting, and the server goes on ending.) Then the trees that processes have started are
//!   stopped by their owners (`trees`). Until here, processes can still be started, for example by
//!   a child that is being stopped. Then spawning is closed. Every process that is left gets
//!   `shutdown` at once, and is killed if it is still there at the timeout.
//! - **E2, the timeout bounds all of it.** After it, processes are killed rather than asked to shut
//!   down. A killed process dies when its slice ends: the shutdown waits at most [`GRACE`] for the
//!   next of them to die, and [`LONGEST`] for all. The rest is abandoned, which the error reports,
//!   and ends when it can. Without a deadline (a timeout too long for the clock), E1 is waited for
//!   without bound.
//!   At the timeout, before anything is killed, the hook for stalled shutdowns gets a dump.
//! - **E3, no thread waits for itself.** A blocking job, a callback, and the report of a long slice
//!   may shut the runtime down: their own thread is not waited for. A process may do so too, and so
//!   may a value that a core drops (a message, a reason). In that case a separate thread does the
//!   shutdown, and the caller continues at once.
//! - **E4, a dropped runtime** is shut down in the same way, within [`GRACE`].

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use atropos_kernel::{NoMemory, Pid, Reason};

use crate::deadline::{GRACE, Pauses, earlier, is_over};
use crate::dump::{SignalDump, StallHook};
use crate::handle::Handle;
use crate::panics::catch_panic;
use crate::role::Role;
use crate::roots::Root;
use crate::trees::end_trees;
use crate::watchdog::Watchdog;
use crate::{block_on, epoch_participant};

/// The longest wait for all killed processes to die.
const LONGEST: Duration = Duration::from_secs(5);

/// What a shutdown had to abandon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShutdownError {
    /// Processes whose bodies never yielded; their threads run on, detached.
    pub processes: usize,
    /// Threads of the blocking pool that are still busy; they run on, detached.
    pub blocking: usize,
    /// `true` if the callback thread is in a callback that has not returned; the thread runs on,
    /// detached.
    pub callbacks: bool,
    /// `true` if the shutdown was called inside a process of this runtime, which is itself one of
    /// those that must end. A separate thread ends the runtime, within the given timeout.
    /// `processes` is the number of processes at the call.
    pub inside: bool,
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inside {
            return f.write_str("called inside a process of this runtime; the runtime shuts down in the background");
        }
        write!(f, "{} processes and {} blocking jobs did not end in time", self.processes, self.blocking)?;
        if self.callbacks { f.write_str("; a callback is still running") } else { Ok(()) }
    }
}

impl std::error::Error for ShutdownError {}

/// A runtime that is being shut down, with its threads (E1 to E4).
pub(crate) struct Ending {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
    observers: Observers,
}

/// What observes a runtime until its end.
pub(crate) struct Observers {
    pub(crate) watchdog: Option<Watchdog>,
    /// The dump by a signal. It works until the shutdown has ended, also while the shutdown hangs.
    #[allow(dead_code, reason = "only its destructor is used")]
    pub(crate) signal: Option<SignalDump>,
    /// The hook for a shutdown whose deadline has passed.
    pub(crate) stalled: Option<StallHook>,
}

impl Ending {
    pub(crate) fn new(handle: Handle, observers: Observers) -> Self {
        Self { handle, threads: Vec::new(), observers }
    }

    pub(crate) fn add_thread(&mut self, thread: JoinHandle<()>) {
        self.threads.push(thread);
    }

    /// Returns `true` if this thread drives a core of the runtime.
    pub(crate) fn is_inside(&self) -> bool {
        Role::here().is_worker_of(Arc::as_ptr(&self.handle.inner().shared))
    }

    /// Shuts the runtime down within the timeout, on a thread of its own, or on this thread if the
    /// system gives none.
    pub(crate) fn in_background(self, within: Duration) {
        let place = Arc::new(Mutex::new(Some(self)));
        let take = |place: &Mutex<Option<Self>>| place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let there = place.clone();
        let ends = move || {
            if let Some(ending) = take(&there) {
                let _ = ending.stop(within);
            }
        };
        if thread::Builder::new().name("atropos-end".into()).spawn(ends).is_err()
            && let Some(ending) = take(&place)
        {
            let _ = ending.stop(within);
        }
    }

    /// Shuts the runtime down within the timeout.
    pub(crate) fn stop(mut self, within: Duration) -> Result<(), ShutdownError> {
        let end = Instant::now().checked_add(within);
        self.end_roots(end);
        if !is_over(end) {
            end_trees(&self.handle, end);
        }
        self.handle.kernel().close();
        let ended = self.end_all(&Reason::SHUTDOWN, |_| is_over(end));
        let stalled = ended.is_err();
        if stalled {
            self.report_stall();
        }
        let left = ended.or_else(|_| self.kill_all()).err().unwrap_or(0);
        let stuck = self.end_workers(left, end);
        if stuck > 0 && !stalled {
            self.report_stall();
        }
        drop(self.observers.watchdog.take());
        // The cores are gone, so what they have retired can be freed now. A flush frees a few bags,
        // and an epoch takes two flushes.
        epoch_participant::with(|participant| {
            for _ in 0..256 {
                // The freed values are the user's: a panic in one destructor must not keep the rest
                // from being freed.
                let _ = catch_panic(|| participant.flush());
            }
        });
        let inner = self.handle.inner();
        inner.alarms.close();
        let blocking = inner.pool.shutdown(end);
        // No watch fires after this, unless a worker is stuck: in that case the shutdown does not
        // wait for what that worker may still fire.
        let soon = Instant::now() + GRACE;
        let called = stuck > 0 || inner.world.callbacks().finish(end.map(|end| end.max(soon)));
        if stuck == 0 {
            inner.world.subscribers().close();
        }
        match (stuck, blocking, called) {
            (0, 0, true) => Ok(()),
            // A stuck worker without a process is in a destructor of a process that has ended.
            _ => Err(ShutdownError {
                processes: if left > 0 { left } else { stuck },
                blocking,
                callbacks: !called,
                inside: false,
            }),
        }
    }

    /// Stops the root processes one after the other, until the deadline (E1).
    fn end_roots(&self, end: Option<Instant>) {
        let roots = &self.handle.inner().roots;
        roots.close();
        while !is_over(end)
            && let Some(root) = roots.pop()
        {
            self.end_root(root, end);
        }
    }

    fn end_root(&self, root: Root, end: Option<Instant>) {
        let Root { pid, patience } = root;
        let until = earlier(end, patience.and_then(|patience| Instant::now().checked_add(patience)));
        let mut pauses = Pauses::new();
        // If there is no memory for the signal, it is sent once there is some, or the process is
        // killed later.
        while self.handle.exit(pid, Reason::SHUTDOWN) == Err(NoMemory) && !is_over(until) {
            pauses.pause();
        }
        self.wait_for(pid, until);
    }

    /// Waits until the process exits, or until the deadline.
    fn wait_for(&self, pid: Pid, until: Option<Instant>) {
        if block_on::wait_for_end(self.handle.wait(pid), until).is_some_and(|ended| ended.is_ok()) {
            return;
        }
        // The wait could not be allocated, or it has not resolved.
        let mut pauses = Pauses::new();
        while self.handle.is_alive(pid) && !is_over(until) {
            pauses.pause();
        }
    }

    fn report_stall(&self) {
        self.handle.report_stall(self.observers.stalled.as_ref());
    }

    fn kill_all(&self) -> Result<(), usize> {
        let (begin, mut last, mut least) = (Instant::now(), Instant::now(), usize::MAX);
        self.end_all(&Reason::KILL, |left| {
            if left < least {
                (least, last) = (left, Instant::now());
            }
            last.elapsed() >= GRACE || begin.elapsed() >= LONGEST
        })
    }

    /// Sends `reason` to every process once, and waits until none is left.
    ///
    /// This includes processes that were being started when the kernel was closed. `is_over` gets
    /// the number of processes that are left, and ends the wait when it returns `true`; the error
    /// is then that number. The function polls, since no signal announces the last exit.
    fn end_all(&self, reason: &Reason, mut is_over: impl FnMut(usize) -> bool) -> Result<(), usize> {
        let mut told = HashSet::new();
        let mut pauses = Pauses::new();
        loop {
            let processes = self.handle.processes();
            for pid in &processes {
                // If there is no memory for the signal, it is sent in the next round, or the
                // process is killed later.
                if !told.contains(pid) && self.handle.exit(*pid, reason.clone()).is_ok() {
                    told.insert(*pid);
                }
            }
            if self.handle.kernel().is_empty() {
                return Ok(());
            }
            if is_over(processes.len()) {
                // At least one process is left: it is no longer listed, and has not finished its
                // exit.
                return Err(processes.len().max(1));
            }
            pauses.pause();
        }
    }

    /// Stops the worker threads, and returns how many do not end. A worker without a process may be
    /// in a destructor of the user's.
    fn end_workers(&mut self, left: usize, end: Option<Instant>) -> usize {
        self.handle.inner().shared.stop.store(true, Ordering::Release);
        self.threads.iter().for_each(|thread| thread.thread().unpark());
        let end = match left {
            0 => end.map(|end| end.max(Instant::now() + GRACE)),
            _ => Some(Instant::now()),
        };
        let mut pauses = Pauses::new();
        while !self.threads.iter().all(JoinHandle::is_finished) && !is_over(end) {
            pauses.pause();
        }
        let mut stuck = 0;
        for thread in self.threads.drain(..) {
            if thread.is_finished() {
                // A worker's panic is a bug of this crate; it has been printed.
                let _ = thread.join();
            } else {
                stuck += 1;
            }
        }
        stuck
    }
}
