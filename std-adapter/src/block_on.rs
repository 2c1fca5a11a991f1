//! Blocking a thread on a future.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::role::may_block;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls the future on this thread, which parks in between. Returns `None` at the deadline.
///
/// # Panics
/// Panics inside a process, and inside a task of a current-thread Tokio runtime: what the future
/// waits for may need this very thread.
#[track_caller]
pub fn wait_until<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    may_block();
    wait_for_end(future, deadline)
}

/// Polls the future like [`wait_until`], but on any thread: for the shutdown of a runtime (`role`,
/// R2).
pub(crate) fn wait_for_end<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut task = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut task) {
            return Some(output);
        }
        match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            Some(left) if left.is_zero() => return None,
            Some(left) => thread::park_timeout(left),
            None => thread::park(),
        }
    }
}

/// Polls the future on this thread until it is ready.
///
/// # Panics
/// Panics where [`wait_until`] does.
#[track_caller]
pub fn wait<F: Future>(future: F) -> F::Output {
    wait_until(future, None).expect("no deadline")
}
