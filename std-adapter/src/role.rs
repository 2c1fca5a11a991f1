//! [`Role`]: what a thread is to a runtime; and [`may_block`], the check of every call that blocks
//! a thread.
//!
//! - **R1, a worker is never blocked.** Every blocking function of this crate calls [`may_block`]
//!   before anything else. It panics on a thread that processes or Tokio's tasks need to make
//!   progress, because what the call waits for may be waiting for this thread. It panics even where
//!   other threads could have helped, so that whether a program hangs does not depend on the number
//!   of cores.
//! - **R2, a shutdown is not a wait.** Shutting a runtime down ([`crate::Runtime::shutdown`], its
//!   drop) is allowed on every thread. On one of the runtime's own workers, a separate thread does
//!   it (`shutdown`), because the calling process is one of those that must end.
//!
//! A thread that is already unwinding is let through: a second panic would abort the program.

use std::cell::Cell;
use std::ptr;

/// The role of a thread in a runtime.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// A thread of the program.
    Outside,
    /// A thread that drives a core of the runtime with this `worker::Shared`. The address is
    /// compared, never dereferenced.
    Worker(*const ()),
    /// A thread that runs jobs of the pool at this address. The address is compared, never
    /// dereferenced.
    Pool(*const ()),
}

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::Outside) };
}

impl Role {
    /// Returns the role of this thread.
    pub(crate) fn here() -> Self {
        // While the thread's locals are being dropped, it keeps its role; `Cell` needs no
        // destructor.
        ROLE.with(Cell::get)
    }

    /// Sets the role of this thread, for as long as it runs.
    pub(crate) fn take_on(self) {
        ROLE.with(|role| role.set(self));
    }

    /// Returns `true` for a thread that drives a core, of any runtime.
    pub(crate) fn is_worker(self) -> bool {
        matches!(self, Self::Worker(_))
    }

    /// Returns `true` for a thread that drives a core of the runtime with `shared`.
    pub(crate) fn is_worker_of<T>(self, shared: *const T) -> bool {
        matches!(self, Self::Worker(of) if ptr::eq(of, shared.cast()))
    }

    /// Returns `true` for a thread that runs jobs of this pool.
    pub(crate) fn is_in_pool<T>(self, pool: *const T) -> bool {
        matches!(self, Self::Pool(of) if ptr::eq(of, pool.cast()))
    }
}

/// Checks that this thread may be blocked.
///
/// # Panics
/// Panics if this thread drives a core of a runtime, or the tasks of a current-thread Tokio runtime
/// (R1).
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

/// Returns `true` if this thread is polling a task, or the main future, of a current-thread Tokio
/// runtime.
///
/// Tokio has no query for this, but everything that it polls has a coop budget, and nothing else
/// has. (A thread of its blocking pool is in the runtime's context as well, and may block.)
#[cfg(feature = "tokio")]
fn drives_tokio() -> bool {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use tokio::runtime::{Handle, RuntimeFlavor};

    /// A number above Tokio's coop budget of a task.
    const MORE_THAN_A_BUDGET: usize = 1024;

    if !Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::CurrentThread) {
        return false;
    }
    let mut task = Context::from_waker(Waker::noop());
    (0..MORE_THAN_A_BUDGET).any(|_| pin!(tokio::task::coop::consume_budget()).poll(&mut task).is_pending())
}
