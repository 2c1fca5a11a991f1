//! What a thread is to a runtime: [`Role`]; and the one guard of everything that blocks a thread ([`may_block`]).
//!
//! - **R1, nobody blocks a worker.** Every blocking function of this crate asks [`may_block`] before it does anything, and that
//!   panics on a thread which processes or Tokio's tasks need to get on: what the call waits for may be waiting for this thread.
//!   It panics also where other threads could have helped out: whether a program hangs does not hang on the number of cores.
//! - **R2, ends are no waits.** Ending a runtime ([`crate::Runtime::shutdown`], its drop) is allowed everywhere. On one of
//!   the runtime's own workers it is done by a thread of its own (`ending`), because the process that asks for it is one of those
//!   that must end.
//!
//! A thread that unwinds already is let through: a second panic would end the program.

use std::cell::Cell;
use std::ptr;

/// What this thread is to a runtime.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// A thread of the program's.
    Outside,
    /// Drives a core of the runtime with this `worker::Shared`. The address is compared, never followed.
    Worker(*const ()),
    /// Runs jobs of the pool at this address. It is compared, never followed.
    Pool(*const ()),
}

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::Outside) };
}

impl Role {
    /// Of this thread.
    pub(crate) fn here() -> Self {
        // While the thread's own variables are being dropped it is what it was; `Cell` needs no destructor.
        ROLE.with(Cell::get)
    }

    /// Says what this thread is, for as long as it runs.
    pub(crate) fn take_on(self) {
        ROLE.with(|role| role.set(self));
    }

    /// Whether it drives a core, of any runtime.
    pub(crate) fn is_worker(self) -> bool {
        matches!(self, Self::Worker(_))
    }

    /// Whether it drives a core of the runtime that has `shared`.
    pub(crate) fn is_worker_of<T>(self, shared: *const T) -> bool {
        matches!(self, Self::Worker(of) if ptr::eq(of, shared.cast()))
    }

    /// Whether it runs jobs of this pool.
    pub(crate) fn is_in_pool<T>(self, pool: *const T) -> bool {
        matches!(self, Self::Pool(of) if ptr::eq(of, pool.cast()))
    }
}

/// Lets a call through that is about to block this thread.
///
/// # Panics
/// When this thread drives a core of a runtime, or the tasks of a current-thread Tokio runtime (R1).
#[track_caller]
pub(crate) fn may_block() {
    if std::thread::panicking() {
        return;
    }
    assert!(
        !Role::here().is_worker(),
        "Cannot block a worker of an Atropos runtime: this call waits, inside a process, for what may need this very core. \
         Await instead (`Handle::call_async`, `Handle::run`, `Handle::wait`, `Handle::process_info`, the methods that take the \
         process's `Context`), or move the call to `Handle::blocking`."
    );
    #[cfg(feature = "tokio")]
    assert!(
        !drives_tokio(),
        "Cannot block the thread of a current-thread Tokio runtime from within its tasks: what this call waits for may need its \
         timers and I/O. Await instead (`Handle::call_async`, `Handle::run`, `Handle::wait`, `Handle::process_info`), or move \
         the call to `tokio::task::spawn_blocking`."
    );
}

/// Whether this thread is polling a task, or the main future, of a current-thread Tokio runtime.
///
/// Tokio does not say so; but whatever it polls has a budget, and nothing else has. (A thread of its blocking pool is in
/// the runtime's context as well, and may block.)
#[cfg(feature = "tokio")]
fn drives_tokio() -> bool {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use tokio::runtime::{Handle, RuntimeFlavor};

    /// More than Tokio gives to a task at a time.
    const MORE_THAN_A_BUDGET: usize = 1024;

    if !Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::CurrentThread) {
        return false;
    }
    let mut task = Context::from_waker(Waker::noop());
    (0..MORE_THAN_A_BUDGET).any(|_| pin!(tokio::task::coop::consume_budget()).poll(&mut task).is_pending())
}
