//! Waiting for a process's exit, terminating it, suspending it: [`Handle::wait`] and its relatives.
//!
//! The core on which the process dies wakes the waiting future by its waker. The callback thread
//! takes no part, so a process can wait for another one, and no callback delays the wake-up.
//! Dropping a wait cancels its watch.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use atropos_kernel::{MaybeReady, NoMemory, Pid, PreparedWatch, Reason, ReplyFuture, reply};

use crate::block_on;
use crate::exit_watch::{ExitWatch, Outcome, PrepareError, WatchError};
use crate::handle::Handle;
use crate::platform::poll_proceed;
use crate::role::may_block;

/// Error of a wait that ends without an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// The process could not be watched.
    Watch(WatchError),
    /// The process did not exit before the timeout.
    TimedOut(Pid),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watch(error) => error.fmt(f),
            Self::TimedOut(pid) => write!(f, "{pid} has not ended in time"),
        }
    }
}

impl std::error::Error for WaitError {}

impl From<WatchError> for WaitError {
    fn from(error: WatchError) -> Self {
        Self::Watch(error)
    }
}

/// A future that resolves when a process exits.
///
/// The watch is installed when the future is made; dropping the future cancels it.
#[derive(Debug)]
#[must_use = "the outcome is in the future"]
pub struct Wait(Result<(ReplyFuture<Outcome>, ExitWatch), WatchError>);

impl Future for Wait {
    type Output = Result<Outcome, WatchError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_proceed(task));
        match &mut self.0 {
            Err(error) => Poll::Ready(Err(*error)),
            Ok((replied, watch)) => Pin::new(replied).poll(task).map(|outcome| {
                // Every watch that is not cancelled fires, so only corrupted memory could lose the
                // answer.
                outcome.map_err(|_| match watch.pid() {
                    Some(pid) => WatchError::Refused(pid, PrepareError::Closed),
                    None => unreachable!("the watch was installed"),
                })
            }),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Ok((_, watch)) = &self.0 {
            watch.cancel_if_there();
        }
    }
}

impl Handle {
    /// Returns a future that resolves when the process exits, for async code of a thread or of
    /// another process.
    ///
    /// For a process that is dead already it is ready at once, with the reason that the process's
    /// slot still remembers.
    pub fn wait(&self, pid: impl Into<Pid>) -> Wait {
        let pid = pid.into();
        Wait(self.start_wait(pid))
    }

    fn start_wait(&self, pid: Pid) -> Result<(ReplyFuture<Outcome>, ExitWatch), WatchError> {
        let no_memory = |NoMemory| WatchError::Refused(pid, PrepareError::NoMemory);
        let (answer, replied) = reply().map_err(no_memory)?;
        let watch = PreparedWatch::try_inline(move |ended| answer.send(Outcome::of(ended))).map_err(no_memory)?;
        let watch = self.host(|host| host.install_watch(pid, watch))?;
        Ok((replied, ExitWatch::new(watch, self.clone())))
    }

    /// Blocks this thread until the process has exited, or until the timeout.
    ///
    /// # Panics
    /// Panics inside a process. A process uses [`Handle::wait`], or a monitor.
    #[track_caller]
    pub fn wait_blocking(&self, pid: impl Into<Pid>, within: Duration) -> Result<Outcome, WaitError> {
        may_block();
        let pid = pid.into();
        Self::block_for(pid, Wait(Ok(self.start_wait(pid)?)), within)
    }

    #[track_caller]
    fn block_for(pid: Pid, wait: Wait, within: Duration) -> Result<Outcome, WaitError> {
        match block_on::wait_until(wait, Instant::now().checked_add(within)) {
            Some(outcome) => Ok(outcome?),
            None => Err(WaitError::TimedOut(pid)),
        }
    }

    /// Kills a process, and blocks this thread until it has exited, or until the timeout. A body
    /// that does not yield exits only when its slice ends. The outcome carries the first cause of
    /// death, which may not be the kill.
    ///
    /// # Panics
    /// Panics inside a process, before it sends the kill. A process uses [`Handle::exit`] and
    /// [`Handle::wait`].
    #[track_caller]
    pub fn terminate(&self, pid: impl Into<Pid>, within: Duration) -> Result<Outcome, WaitError> {
        may_block();
        let pid = pid.into();
        let wait = Wait(Ok(self.start_wait(pid)?));
        // A kill needs no memory. If the process is dead already, the wait returns its outcome.
        let _ = self.exit(pid, Reason::KILL);
        Self::block_for(pid, wait, within)
    }

    /// Suspends a process, and resolves when the process has handled that signal, in order with its
    /// other signals. From then on its body is not resumed until [`Handle::resume`] has been called
    /// as often as `suspend`. Exits and kills still act on it; messages wait. Returns the new
    /// suspend count, or `None` if the process is dead.
    ///
    /// A process handles signals between slices, and when it receives. In the latter case the
    /// current slice runs on to its end.
    pub async fn suspend(&self, pid: impl Into<Pid>) -> Result<Option<u32>, NoMemory> {
        Self::suspension(self.host(|host| host.suspend(pid.into()))?).await
    }

    /// Undoes one [`Handle::suspend`], and resolves when the process has handled that signal.
    /// Returns the remaining suspend count, or `None` if the process is dead.
    pub async fn resume(&self, pid: impl Into<Pid>) -> Result<Option<u32>, NoMemory> {
        Self::suspension(self.host(|host| host.resume(pid.into()))?).await
    }

    async fn suspension(count: MaybeReady<Option<u32>>) -> Result<Option<u32>, NoMemory> {
        poll_fn(poll_proceed).await;
        Ok(count.get().await)
    }

    /// Calls [`Handle::suspend`] and blocks this thread until it resolves.
    ///
    /// # Panics
    /// Panics inside a process, which awaits instead.
    #[track_caller]
    pub fn suspend_blocking(&self, pid: impl Into<Pid>) -> Result<Option<u32>, NoMemory> {
        may_block();
        block_on::wait(self.suspend(pid))
    }

    /// Calls [`Handle::resume`] and blocks this thread until it resolves.
    ///
    /// # Panics
    /// Panics inside a process, which awaits instead.
    #[track_caller]
    pub fn resume_blocking(&self, pid: impl Into<Pid>) -> Result<Option<u32>, NoMemory> {
        may_block();
        block_on::wait(self.resume(pid))
    }
}
