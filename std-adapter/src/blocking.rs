//! The blocking pool: threads for work that blocks, so that it does not occupy a core.
//!
//! The pool starts a thread when there is work and no thread is idle, up to a limit. A thread ends
//! after it has been idle for a while. A lock is acceptable here, since every caller is about to
//! block.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::thread;
use std::time::{Duration, Instant};

use atropos_kernel::CatchDrop;

use crate::panics::{DROPS, catch_panic};
use crate::platform::poll_proceed;
use crate::role::Role;

type Job = Box<dyn FnOnce() + Send>;

/// A pool of threads for blocking work.
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

/// Error of blocking work that gave no result.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BlockingError {
    /// The work panicked, with this text.
    Panicked(String),
    /// The runtime is shutting down, or the system gave no thread.
    Closed,
}

impl fmt::Display for BlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(text) => write!(f, "the blocking work panicked: {text}"),
            Self::Closed => f.write_str("there is no thread for blocking work: the runtime is shutting down"),
        }
    }
}

impl std::error::Error for BlockingError {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code of the user runs under these locks, so a poisoned value is intact.
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

    /// Queues a job. Returns `false` if the pool did not accept it.
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

    /// Closes the pool and drops the jobs that have not started. Returns the number of threads that
    /// are still busy at the deadline, if there is one. A job that shuts the runtime down does not
    /// wait for itself.
    pub(crate) fn shutdown(&self, end: Option<Instant>) -> usize {
        let own = usize::from(Role::here().is_in_pool(Arc::as_ptr(&self.0)));
        let mut state = lock(&self.0.state);
        state.closed = true;
        let dropped = std::mem::take(&mut state.jobs);
        self.0.work.notify_all();
        drop(state);
        // They are dropped before the wait, because a busy job may wait for one of them.
        for job in dropped {
            // What the job owns is user code: a panic in one destructor must not keep the next from
            // running.
            let _ = catch_panic(|| drop(job));
        }
        let mut state = lock(&self.0.state);
        while state.threads > own {
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() && state.free == 0 {
                break;
            }
            // An idle thread ends at once; a busy one is waited for until the deadline.
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
            // A panic of the work itself is its result (`spawn_blocking`). What can still panic
            // here is the destructor of a result that no caller awaits. The panic hook has printed
            // it, and the thread goes on.
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
    /// The result. The job or the handle drops it, and a panic of its destructor hits neither.
    Done(Result<CatchDrop<T>, BlockingError>),
    Taken,
}

/// The result of blocking work, as a future. Dropping it lets the work go on.
pub struct BlockingHandle<T>(Arc<Mutex<Slot<T>>>);

impl<T> fmt::Debug for BlockingHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockingHandle")
    }
}

/// The sending side of a result. It also completes the result when the job is dropped without
/// having run.
struct JoinFuture<T>(Arc<Mutex<Slot<T>>>);

impl<T> JoinFuture<T> {
    fn bring(&self, result: Result<CatchDrop<T>, BlockingError>) {
        let before = std::mem::replace(&mut *lock(&self.0), Slot::Done(result));
        if let Slot::Waits(Some(waker)) = before {
            // User code, and it may be called while a job that has not run is dropped: the work,
            // which is dropped next, may panic too.
            let _ = catch_panic(|| waker.wake());
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

pub(crate) fn spawn_blocking<T: Send + 'static>(
    pool: &Pool,
    work: impl FnOnce() -> T + Send + 'static,
) -> BlockingHandle<T> {
    let slot = Arc::new(Mutex::new(Slot::Waits(None)));
    let bring = JoinFuture(slot.clone());
    // A job that is not accepted is dropped, which completes the result with an error.
    pool.run(Box::new(move || {
        bring.bring(catch_panic(work).map(|value| DROPS.catch_drop(value)).map_err(BlockingError::Panicked));
    }));
    BlockingHandle(slot)
}

impl<T> Future for BlockingHandle<T> {
    type Output = Result<T, BlockingError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_proceed(task));
        // Wakers are user code: none is cloned or dropped under the lock.
        let waker = task.waker().clone();
        let mut slot = lock(&self.0);
        match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Done(result) => Poll::Ready(result.map(CatchDrop::into_inner)),
            Slot::Waits(before) => {
                *slot = Slot::Waits(Some(waker));
                drop(slot);
                drop(before);
                Poll::Pending
            }
            Slot::Taken => panic!("`Blocking` polled after completion"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_on::wait;

    #[test]
    fn returns_results_and_panics_and_shuts_down() {
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

    /// A value that panics when it is dropped.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn survives_results_that_panic_when_dropped() {
        let pool = Pool::new(1, Duration::from_secs(60));
        for _ in 0..3 {
            // The last holder of the result drops it: the pool thread, or this one.
            let _ = catch_panic(|| drop(spawn_blocking(&pool, || Bomb)));
        }
        let panicked = wait(spawn_blocking(&pool, || -> () { std::panic::panic_any(Bomb) }));
        assert!(matches!(panicked, Err(BlockingError::Panicked(_))), "{panicked:?}");
        assert_eq!(wait(spawn_blocking(&pool, || 1)), Ok(1), "the thread goes on");
        assert_eq!(pool.shutdown(None), 0);
    }

    #[test]
    fn shutdown_returns_number_of_busy_threads() {
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

    /// Checks that a running job which waits for a queued one gets an error at the shutdown, and
    /// does not wait out the deadline.
    #[test]
    fn shutdown_drops_queued_jobs_before_it_waits() {
        let pool = Pool::new(1, Duration::from_secs(60));
        let inner = pool.clone();
        let (tell, told) = std::sync::mpsc::channel();
        let first = spawn_blocking(&pool, move || {
            let second = spawn_blocking(&inner, || 1);
            tell.send(()).expect("the test thread waits");
            wait(second)
        });
        told.recv().expect("the first job has started");
        // No deadline: otherwise the shutdown would wait for ever.
        assert_eq!(pool.shutdown(None), 0);
        assert_eq!(wait(first), Ok(Err(BlockingError::Closed)));
    }
}
