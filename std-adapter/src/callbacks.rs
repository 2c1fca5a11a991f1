//! The thread that runs the callbacks for exited processes.
//!
//! There is one thread per runtime, however many processes are watched. The first watch starts it.
//! It is parked whenever no watch has fired; only the exit of a watched process, or the shutdown,
//! wakes it. A dying core pushes the fired watch on a queue and unparks the thread, and never
//! waits. So a callback that blocks delays other callbacks, and no process. A callback's panic is
//! caught and reported.
//!
//! At the shutdown, when all processes are dead, the thread runs what has fired, closes the queue
//! and ends. A watch that fires later (one of a process that is dead already) runs where it fires,
//! which is then a host thread. If some processes could not be ended, the thread lives on,
//! detached, until the last of them releases the runtime.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use atropos_kernel::{CatchDrop, ExitQueue, FiredWatch, Pid};

use crate::panics::catch_panic;

/// The length of one wait, when there is no deadline.
const LONG: Duration = Duration::from_secs(3600);

/// A report of a callback that has panicked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallbackPanic {
    /// The process whose exit the callback was called for.
    pub pid: Option<Pid>,
    /// The text of the panic.
    pub text: String,
}

/// The hook that receives a callback's panic.
pub(crate) type Report = CatchDrop<Box<dyn Fn(&CallbackPanic) + Send + Sync>>;

/// The callback thread of a runtime, and its queue.
pub(crate) struct Callbacks {
    queue: ExitQueue,
    thread: OnceLock<Thread>,
    state: Mutex<State>,
    ended: Condvar,
    /// `true` once every process is dead: only watches of dead processes can still fire.
    stop: AtomicBool,
    stack: Option<usize>,
    report: Report,
}

#[derive(Default)]
struct State {
    handle: Option<JoinHandle<()>>,
    closed: bool,
    ended: bool,
}

/// Why there is no callback thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoThread {
    /// The operating system refused a thread.
    Refused(std::io::ErrorKind),
    /// The runtime has been shut down.
    Closed,
}

impl Callbacks {
    pub(crate) fn new(stack: Option<usize>, report: Report) -> Self {
        Self {
            queue: ExitQueue::new(),
            thread: OnceLock::new(),
            state: Mutex::default(),
            ended: Condvar::new(),
            stop: AtomicBool::new(false),
            stack,
            report,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of the user runs under the lock, so a poisoned value is intact.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread, unless it runs already.
    pub(crate) fn start(self: &Arc<Self>) -> Result<(), NoThread> {
        if self.stop.load(Ordering::Acquire) {
            return Err(NoThread::Closed);
        }
        if self.thread.get().is_some() {
            return Ok(());
        }
        let mut state = self.lock();
        if state.closed {
            return Err(NoThread::Closed);
        }
        if self.thread.get().is_none() {
            let callbacks = self.clone();
            let named = thread::Builder::new().name("atropos-exits".into());
            let named = self.stack.into_iter().fold(named, thread::Builder::stack_size);
            let handle = named.spawn(move || callbacks.work()).map_err(|error| NoThread::Refused(error.kind()))?;
            // The lock is held and the cell was empty, so no other thread sets it.
            let _ = self.thread.set(handle.thread().clone());
            state.handle = Some(handle);
        }
        Ok(())
    }

    /// Queues a fired watch. Lock-free.
    pub(crate) fn fired(&self, fired: FiredWatch) {
        let Some(thread) = self.thread.get() else {
            // The watch was made through the kernel directly, without `start`: no thread would take
            // it from the queue.
            return self.run(fired);
        };
        match self.queue.push(fired) {
            Ok(()) => thread.unpark(),
            Err(fired) => self.run(fired),
        }
    }

    fn run(&self, fired: FiredWatch) {
        let pid = fired.pid();
        if let Err(text) = catch_panic(|| fired.run()) {
            // The hook may panic too, and that panic has no further receiver.
            let _ = catch_panic(|| (self.report)(&CallbackPanic { pid, text }));
        }
    }

    fn work(&self) {
        loop {
            let mut idle = true;
            for fired in self.queue.take() {
                idle = false;
                self.run(fired);
            }
            if self.stop.load(Ordering::Acquire) {
                break;
            }
            // A push between the check and this line has left its unpark token.
            if idle {
                thread::park();
            }
        }
        self.queue.close().for_each(|fired| self.run(fired));
        self.lock().ended = true;
        self.ended.notify_all();
    }

    /// Asks the thread to end: all processes are dead, and what they fired is in the queue.
    pub(crate) fn stop(&self) {
        self.lock().closed = true;
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Waits until the thread has run everything and ended. Returns `false` if it is in a callback
    /// at the deadline, if there is one. A callback that shuts the runtime down does not wait for
    /// itself.
    pub(crate) fn finish(&self, deadline: Option<Instant>) -> bool {
        self.stop();
        let mut state = self.lock();
        let Some(handle) = state.handle.take() else { return true };
        if handle.thread().id() == thread::current().id() {
            return true;
        }
        while !state.ended {
            let left = deadline.map_or(LONG, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        // The thread catches panics of user code, and it has ended.
        let _ = handle.join();
        true
    }
}
