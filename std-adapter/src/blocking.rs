//! A pool of threads for work that blocks, so that it keeps no core.
//!
//! A thread is started when there is work and none is free, up to a limit, and ends when it has
//! had nothing to do for a while. Locks are fine here: whoever comes here is about to block.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::thread;
use std::time::{Duration, Instant};

use crate::panics::catch_panic;
use crate::role::Role;
use crate::world::poll_proceed;

type Job = Box<dyn FnOnce() + Send>;

/// The pool; see the module.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
    max: usize,
    keep: Duration,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    free: usize,
    closed: bool,
}

/// Why blocking work brought no result.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BlockingError {
    /// It panicked, with this text.
    Panicked(String),
    /// The runtime shuts down, or the system gave no thread.
    Closed,
}

impl fmt::Display for BlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(text) => write!(f, "the blocking work panicked: {text}"),
            Self::Closed => f.write_str("there is no thread for blocking work: the runtime shuts down"),
        }
    }
}

impl std::error::Error for BlockingError {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing foreign runs under these locks, so a poisoned one is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(crate) fn new(max: usize, keep: Duration) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            max: max.max(1),
            keep,
        }))
    }

    /// Whether the job was taken.
    fn run(&self, job: Job) -> bool {
        let mut state = lock(&self.0.state);
        if state.closed {
            return false;
        }
        state.jobs.push_back(job);
        if state.free >= state.jobs.len() {
            self.0.work.notify_one();
            return true;
        }
        if state.threads < self.0.max {
            state.threads += 1;
            let inner = self.0.clone();
            let started = thread::Builder::new().name("atropos-blocking".into()).spawn(move || work(&inner));
            if started.is_err() {
                state.threads -= 1;
                if state.threads == 0 {
                    let job = state.jobs.pop_back();
                    drop(state);
                    drop(job);
                    return false;
                }
            }
        }
        true
    }

    /// Takes no more work and drops what has not begun; threads that are still busy at the end, if there is one. A job that ends the
    /// runtime does not wait for itself.
    pub(crate) fn shutdown(&self, end: Option<Instant>) -> usize {
        let own = usize::from(Role::here().is_in_pool(Arc::as_ptr(&self.0)));
        let mut state = lock(&self.0.state);
        state.closed = true;
        let dropped = std::mem::take(&mut state.jobs);
        self.0.work.notify_all();
        drop(state);
        // Before the wait: who is busy may wait for one of these.
        for job in dropped {
            // What it owns is foreign: its destructor's panic is no reason not to drop the next.
            let _ = catch_panic(|| drop(job));
        }
        let mut state = lock(&self.0.state);
        while state.threads > own {
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() && state.free == 0 {
                break;
            }
            // A free thread ends at once; a busy one is waited for until the deadline.
            let wait = left.clamp(Duration::from_millis(1), Duration::from_secs(3600));
            state = self.0.ended.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.threads - own
    }
}

fn work(pool: &Inner) {
    Role::Pool(std::ptr::from_ref(pool).cast()).take_on();
    let mut state = lock(&pool.state);
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            // The work's own panic is its result (`spawn_blocking`). What is left to panic here is the
            // destructor of a result that nobody awaits any more: the hook has printed it, the thread goes on.
            let _ = catch_panic(job);
            state = lock(&pool.state);
            continue;
        }
        if state.closed {
            break;
        }
        state.free += 1;
        let (after, waited) = pool.work.wait_timeout(state, pool.keep).unwrap_or_else(PoisonError::into_inner);
        state = after;
        state.free -= 1;
        if waited.timed_out() && state.jobs.is_empty() {
            break;
        }
    }
    state.threads -= 1;
    pool.ended.notify_all();
}

enum Slot<T> {
    Waits(Option<Waker>),
    Done(Result<T, BlockingError>),
    Taken,
}

/// The result of blocking work, to be awaited. Dropping it lets the work go on.
pub struct BlockingHandle<T>(Arc<Mutex<Slot<T>>>);

impl<T> fmt::Debug for BlockingHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}

/// Brings the result, also when the job is dropped without having run.
struct JoinFuture<T>(Arc<Mutex<Slot<T>>>);

impl<T> JoinFuture<T> {
    fn bring(&self, result: Result<T, BlockingError>) {
        let before = std::mem::replace(&mut *lock(&self.0), Slot::Done(result));
        if let Slot::Waits(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Drop for JoinFuture<T> {
    fn drop(&mut self) {
        if matches!(*lock(&self.0), Slot::Waits(_)) {
            self.bring(Err(BlockingError::Closed));
        }
    }
}

pub(crate) fn spawn_blocking<T: Send + 'static>(pool: &Pool, work: impl FnOnce() -> T + Send + 'static) -> BlockingHandle<T> {
    let slot = Arc::new(Mutex::new(Slot::Waits(None)));
    let bring = JoinFuture(slot.clone());
    // A job that is not taken is dropped, and says so.
    pool.run(Box::new(move || {
        bring.bring(catch_panic(work).map_err(BlockingError::Panicked));
    }));
    BlockingHandle(slot)
}

impl<T> Future for BlockingHandle<T> {
    type Output = Result<T, BlockingError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_proceed(task));
        // Wakers are foreign: none is cloned or dropped under the lock.
        let waker = task.waker().clone();
        let mut slot = lock(&self.0);
        match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Done(result) => Poll::Ready(result),
            Slot::Waits(before) => {
                *slot = Slot::Waits(Some(waker));
                drop(slot);
                drop(before);
                Poll::Pending
            }
            Slot::Taken => panic!("polled after it was ready"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::wait;

    #[test]
    fn brings_results_and_panics_and_ends() {
        let pool = Pool::new(2, Duration::from_secs(60));
        let jobs: Vec<_> = (0..20).map(|i| spawn_blocking(&pool, move || i * 2)).collect();
        let results: Vec<_> = jobs.into_iter().map(wait).collect();
        assert_eq!(results, (0..20).map(|i| Ok(i * 2)).collect::<Vec<_>>());
        let panicked = wait(spawn_blocking(&pool, || -> () { panic!("no") }));
        assert_eq!(panicked, Err(BlockingError::Panicked("no".into())));
        assert!(lock(&pool.0.state).threads <= 2);
        assert_eq!(pool.shutdown(in_a_minute()), 0);
        assert_eq!(wait(spawn_blocking(&pool, || 1)), Err(BlockingError::Closed));
    }

    fn in_a_minute() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(60))
    }

    /// Panics when it is dropped.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn survives_what_panics_when_it_is_dropped() {
        let pool = Pool::new(1, Duration::from_secs(60));
        for _ in 0..3 {
            // Whoever is last has the result to drop: the thread, or this one.
            let _ = catch_panic(|| drop(spawn_blocking(&pool, || Bomb)));
        }
        let panicked = wait(spawn_blocking(&pool, || -> () { std::panic::panic_any(Bomb) }));
        assert!(matches!(panicked, Err(BlockingError::Panicked(_))), "{panicked:?}");
        assert_eq!(wait(spawn_blocking(&pool, || 1)), Ok(1), "the thread goes on");
        assert_eq!(pool.shutdown(None), 0);
    }

    #[test]
    fn says_what_is_still_busy() {
        let pool = Pool::new(1, Duration::from_secs(60));
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let busy = spawn_blocking(&pool, move || gone.recv().is_err());
        while lock(&pool.0.state).threads == 0 || !lock(&pool.0.state).jobs.is_empty() {
            thread::yield_now();
        }
        assert_eq!(pool.shutdown(Some(Instant::now())), 1);
        drop(go);
        assert_eq!(wait(busy), Ok(true));
        assert_eq!(pool.shutdown(in_a_minute()), 0);
    }

    /// A job that has begun waits for one that never will: at the shutdown it is told so, and does not wait out the deadline.
    #[test]
    fn drops_what_has_not_begun_before_it_waits() {
        let pool = Pool::new(1, Duration::from_secs(60));
        let inner = pool.clone();
        let (tell, told) = std::sync::mpsc::channel();
        let first = spawn_blocking(&pool, move || {
            let second = spawn_blocking(&inner, || 1);
            tell.send(()).expect("it is waited for");
            wait(second)
        });
        told.recv().expect("the first has begun");
        // Without a deadline: it would wait for ever.
        assert_eq!(pool.shutdown(None), 0);
        assert_eq!(wait(first), Ok(Err(BlockingError::Closed)));
    }
}
