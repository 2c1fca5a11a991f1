//! [`Runtime`]: the owner of the threads, and of their shutdown.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use atropos_kernel::{Context, NoMemory, Pid, ProcessInfo, Reason};

use crate::deadline::GRACE;
use crate::handle::Handle;
use crate::role::{Role, may_block};
use crate::shutdown::{Ending, ShutdownError};
use crate::{block_on, scoped};

/// A runtime: processes on the threads that it owns.
///
/// Dropping it shuts it down like [`Runtime::shutdown`], with a timeout of half a second.
pub struct Runtime {
    handle: Handle,
    /// The shutdown, taken by the first caller that starts it.
    ending: Option<Ending>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl std::ops::Deref for Runtime {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Runtime {
    pub(crate) fn new(handle: Handle, ending: Ending) -> Self {
        Self { handle, ending: Some(ending) }
    }

    /// Returns a handle, for use on other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs `main` as a process, and blocks until that process is dead: its names are free, and its
    /// links and monitors have been notified. Returns what it returned; the error is its exit
    /// reason if it ended otherwise. It may borrow from the caller.
    ///
    /// ```
    /// # use atropos::prelude::*;
    /// let runtime = Runtime::builder().cores(1).build()?;
    /// let names = vec!["a".to_owned()];
    /// assert_eq!(runtime.block_on(async |_: Context<()>| names.len()), Ok(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// Panics if the process cannot be started. Panics inside a process, which awaits
    /// [`Handle::run`] instead, and inside a task of a current-thread Tokio runtime.
    #[track_caller]
    pub fn block_on<M, T, S, F>(&self, main: S) -> Result<T, Reason>
    where
        M: Send + 'static,
        T: Send,
        S: FnOnce(Context<M>) -> F + Send,
        F: Future<Output = T> + Send,
    {
        may_block();
        self.inner().born.check();
        match scoped::run(self, main) {
            Ok((main, value)) => {
                // The process has dropped its body: it is dying. Its names and relations are gone
                // when it is dead.
                let reason = self.exit_reason(main.pid());
                value.ok_or(reason)
            }
            Err(error) => panic!("the main process could not be started: {error}"),
        }
    }

    /// Shuts the runtime down in OTP's order, within the timeout. Supervisors and servers that were
    /// started from outside are stopped first, last started first, each by its own rules. Then
    /// every process that is left is asked to shut down. At the timeout, the rest is killed. Any
    /// timeout is valid: [`Duration::MAX`] waits until all processes have ended.
    ///
    /// Inside a process of this runtime, the call returns at once with an error that says so, and
    /// the runtime shuts down in the background.
    ///
    /// # Errors
    /// Reports what could not be ended. It is abandoned, and ends when it can.
    pub fn shutdown(mut self, within: Duration) -> Result<(), ShutdownError> {
        // Checked before `shutdown` is taken: in a forked child, the destructor then knows that it
        // has nothing to shut down.
        self.inner().born.check();
        let Some(ending) = self.ending.take() else { return Ok(()) };
        if ending.is_inside() {
            let processes = self.process_count();
            ending.in_background(within);
            return Err(ShutdownError { processes, blocking: 0, callbacks: false, inside: true });
        }
        ending.stop(within)
    }

    /// Calls [`Handle::process_info`] and blocks this thread until it resolves.
    ///
    /// # Panics
    /// Panics inside a process, which awaits [`Handle::process_info`] instead.
    #[track_caller]
    pub fn process_info_blocking(&self, pid: impl Into<Pid>) -> Result<Option<ProcessInfo>, NoMemory> {
        may_block();
        block_on::wait(self.process_info(pid.into()))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        if self.inner().born.is_gone() {
            // Its threads belong to the parent of the fork.
            std::mem::forget(ending);
        } else if Role::here().is_worker() {
            // A worker of any runtime: the core must not be blocked.
            ending.in_background(GRACE);
        } else {
            let _ = ending.stop(GRACE);
        }
    }
}
