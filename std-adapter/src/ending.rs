//! [`Ending`]: how a runtime ends.
//!
//! - **E1, the order is OTP's** (`init:stop`). First the roots (`roots`): the last started first, one after the other, each told
//!   `shutdown` and waited for, so that a supervisor stops its children by its own rules while all that was started before it is there. (A
//!   server that takes longer than a supervisor would let it is not waited for any more, and goes on ending.) Then the trees that processes have
//!   started, by their owners (`trees`). Meanwhile processes may be started, by a child that is stopped for one. Then no more; what is left is told `shutdown` at
//!   once; and what is left of that when the time is over is killed.
//! - **E2, the time bounds all of it.** When it is over nobody is told any more, but killed. A killed process dies when its slice
//!   lets go: [`GRACE`] is waited for the next of them to go, [`LONGEST`] for all. Then the rest is left behind, which the
//!   error says, and ends when it can. Without an end (a time too long for the clock) E1 is waited out.
//! - **E3, nobody waits for itself.** A job of the pool, a callback, and the report of a long slice may end the runtime: their own thread
//!   is not waited for. A process may, too, and so may what a core drops (a message, a reason): then the end is brought
//!   about by a thread of its own, and who asked for it goes on at once.
//! - **E4, a dropped runtime** ends in the same way, within [`GRACE`].

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use atropos_kernel::{NoMemory, Pid, Reason};

use crate::panics::catch_panic;
use crate::role::Role;
use crate::roots::Root;
use crate::runtime::Handle;
use crate::trees::end_trees;
use crate::watch::Watchdog;
use crate::{join, participant};

/// How long a dropped runtime has, and how long the next of the killed may take to go.
pub(crate) const GRACE: Duration = Duration::from_millis(500);
/// How long all of the killed may take to go.
const LONGEST: Duration = Duration::from_secs(5);

/// What a shutdown had to leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShutdownError {
    /// Processes whose bodies never let go; their threads run on, detached.
    pub processes: usize,
    /// Threads of the blocking pool that are still busy, detached.
    pub blocking: usize,
    /// The thread of the callbacks is in one that has not come back; it goes on, detached.
    pub callbacks: bool,
    /// It was called inside a process of the runtime's, which is one of those that must end: a thread of its own ends the
    /// runtime, within the time that was given. `processes` is how many there were.
    pub inside: bool,
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inside {
            return f.write_str("called inside a process of this runtime, which ends in the background");
        }
        write!(f, "{} processes and {} blocking jobs did not end in time", self.processes, self.blocking)?;
        if self.callbacks { f.write_str("; a callback is busy still") } else { Ok(()) }
    }
}

impl std::error::Error for ShutdownError {}

/// What has to be brought to an end; see the module.
pub(crate) struct Ending {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
    watchdog: Option<Watchdog>,
}

/// Looks at something that nothing signals, with pauses that grow.
pub(crate) struct Pauses(Duration);

impl Pauses {
    pub(crate) const fn new() -> Self {
        Self(Duration::from_micros(20))
    }

    pub(crate) fn pause(&mut self) {
        thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_millis(5));
    }
}

pub(crate) fn is_over(end: Option<Instant>) -> bool {
    end.is_some_and(|end| Instant::now() >= end)
}

/// The earlier of two ends, of which `None` never comes.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Ending {
    pub(crate) fn new(handle: Handle, watchdog: Option<Watchdog>) -> Self {
        Self { handle, threads: Vec::new(), watchdog }
    }

    pub(crate) fn add_thread(&mut self, thread: JoinHandle<()>) {
        self.threads.push(thread);
    }

    /// Whether this thread drives a core of the runtime.
    pub(crate) fn is_inside(&self) -> bool {
        Role::here().is_worker_of(Arc::as_ptr(&self.handle.inner().shared))
    }

    /// Ends the runtime within this time, by a thread of its own; here and now, if there is none to be had.
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

    /// Ends the runtime within this time.
    pub(crate) fn stop(mut self, within: Duration) -> Result<(), ShutdownError> {
        let end = Instant::now().checked_add(within);
        self.end_roots(end);
        if !is_over(end) {
            end_trees(&self.handle, end);
        }
        self.handle.kernel().close();
        let ended = self.end_all(&Reason::SHUTDOWN, |_| is_over(end)).or_else(|_| self.kill_all());
        let left = ended.err().unwrap_or(0);
        let stuck = self.end_workers(left, end);
        drop(self.watchdog.take());
        // The cores are gone: what they have retired can be freed now. A flush frees a few bags,
        // and an epoch takes two.
        participant::with(|participant| {
            for _ in 0..256 {
                // What is freed is foreign: its destructor's panic is no reason not to free the rest.
                let _ = catch_panic(|| participant.flush());
            }
        });
        let inner = self.handle.inner();
        inner.alarms.close();
        let blocking = inner.pool.shutdown(end);
        // Nothing fires any more, unless somebody is stuck: then what it will fire is waited for by nobody.
        let soon = Instant::now() + GRACE;
        let called = stuck > 0 || inner.world.callbacks().finish(end.map(|end| end.max(soon)));
        if stuck == 0 {
            inner.world.streams().close();
        }
        match (stuck, blocking, called) {
            (0, 0, true) => Ok(()),
            // A worker without a process is in a destructor of one that was.
            _ => Err(ShutdownError {
                processes: if left > 0 { left } else { stuck },
                blocking,
                callbacks: !called,
                inside: false,
            }),
        }
    }

    /// E1: ends one root after the other, for as long as there is time.
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
        // Without memory for a signal it is told when there is some, or killed.
        while self.handle.exit(pid, Reason::SHUTDOWN) == Err(NoMemory) && !is_over(until) {
            pauses.pause();
        }
        self.wait_for(pid, until);
    }

    /// Waits for the end of a process, until then at the latest.
    fn wait_for(&self, pid: Pid, until: Option<Instant>) {
        if join::wait_for_end(self.handle.wait(pid), until).is_some_and(|ended| ended.is_ok()) {
            return;
        }
        // There was no memory for the wait, or it is not over.
        let mut pauses = Pauses::new();
        while self.handle.is_alive(pid) && !is_over(until) {
            pauses.pause();
        }
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

    /// Tells every process once, also those that were being started when the kernel was closed, and waits until none
    /// is left, nor about to come, or it is over, as it is told how many are left; an error is how many. Polls: nothing signals it.
    fn end_all(&self, reason: &Reason, mut is_over: impl FnMut(usize) -> bool) -> Result<(), usize> {
        let mut told = HashSet::new();
        let mut pauses = Pauses::new();
        loop {
            let processes = self.handle.processes();
            for pid in &processes {
                // Without memory for a signal it is told the next time, or killed.
                if !told.contains(pid) && self.handle.exit(*pid, reason.clone()).is_ok() {
                    told.insert(*pid);
                }
            }
            if self.handle.kernel().is_empty() {
                return Ok(());
            }
            if is_over(processes.len()) {
                // At least the one that is not listed any more, and not yet at its end.
                return Err(processes.len().max(1));
            }
            pauses.pause();
        }
    }

    /// Ends the threads of the cores; how many do not end. One that has no process may be in a destructor of the program's.
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
                // A worker's panic is a fault of ours; it has been printed.
                let _ = thread.join();
            } else {
                stuck += 1;
            }
        }
        stuck
    }
}
