//! [`Callbacks`]: the thread that runs what is to be done when processes have ended.
//!
//! One thread for a runtime, however many processes are watched; it is started with the first watch, and parked
//! whenever nothing has fired: nothing wakes it but a death that somebody watches, or the end. A dying core pushes the
//! watch on a queue and unparks the thread: it waits for nobody, so a callback that blocks delays other
//! callbacks, and no process. A callback's panic is contained and reported.
//!
//! The end: when all processes are dead the thread runs what has fired, closes the queue and ends. What fires later still (a
//! watch of a process that is dead already) is run where it fires, which is then a thread of the host's. Where processes
//! could not be ended the thread lives on, detached, until the last of them lets go of the runtime.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use atropos_kernel::{ExitQueue, FiredWatch, Pid};

use crate::panics::catch_panic;

/// For so long who has no deadline waits at a time.
const LONG: Duration = Duration::from_secs(3600);

/// A callback has panicked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallbackPanic {
    /// Of whose exit it was told.
    pub pid: Option<Pid>,
    /// What the panic said.
    pub text: String,
}

/// Who is told.
pub(crate) type Report = Box<dyn Fn(&CallbackPanic) + Send + Sync>;

/// See the module.
pub(crate) struct Callbacks {
    queue: ExitQueue,
    thread: OnceLock<Thread>,
    state: Mutex<State>,
    ended: Condvar,
    /// Nothing will fire any more but what is dead already.
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

/// Why there is no thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoThread {
    /// The operating system gave none.
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
        // Nothing foreign runs under the lock, so a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that there is a thread.
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
            // Under the lock, and it was not set: nobody else sets it.
            let _ = self.thread.set(handle.thread().clone());
            state.handle = Some(handle);
        }
        Ok(())
    }

    /// A watch has fired. Lock-free.
    pub(crate) fn fired(&self, fired: FiredWatch) {
        let Some(thread) = self.thread.get() else {
            // Made by the kernel's own means, past `start`: nobody would take it.
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
            // Who is told may panic too; there is nobody left to tell that.
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
            // A push between the look and this has left its token.
            if idle {
                thread::park();
            }
        }
        self.queue.close().for_each(|fired| self.run(fired));
        self.lock().ended = true;
        self.ended.notify_all();
    }

    /// All processes are dead, and what they fired is in the queue: the thread is to end.
    pub(crate) fn stop(&self) {
        self.lock().closed = true;
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Waits until the thread has run everything and ended; false when it is in a callback at the deadline, if there is one. A callback
    /// that ends the runtime does not wait for itself.
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
        // It contains what is foreign; and it is over.
        let _ = handle.join();
        true
    }
}
