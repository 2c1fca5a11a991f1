//! Waiting for a process's end, ending it, suspending it: [`Handle::wait`] and its like.
//!
//! Who waits is woken from the core on which the process died, by its waker, and not by the thread of the callbacks: so a
//! process can wait for another as well, and no callback delays it. A wait that is dropped withdraws its watch.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use atropos_kernel::{MaybeReady, NoMemory, Pid, PreparedWatch, Reason, ReplyFuture, QueryReply, reply};

use crate::exits::{ExitWatch, Outcome, PrepareError, WatchError};
use crate::join;
use crate::role::may_block;
use crate::runtime::Handle;
use crate::world::poll_proceed;

/// Why a wait brought no outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// The process is not watched.
    Watch(WatchError),
    /// It has not ended in time.
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

/// Waits for a process's end: a future. In force from when it was made; dropping it withdraws it.
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
                // Every watch that is not withdrawn fires; only memory that is out of order could lose the answer.
                outcome.map_err(|_| match watch.pid() {
                    Some(pid) => WatchError::Refused(pid, PrepareError::Closed),
                    None => unreachable!("it was installed"),
                })
            }),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Ok((_, watch)) = &self.0 {
            watch.withdraw_if_there();
        }
    }
}

impl Handle {
    /// Waits for a process's end, from a thread's or another process's async code. One that has ended already is
    /// ready at once, with what its slot remembers.
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

    /// Blocks this thread until the process has ended, or the time is over.
    ///
    /// # Panics
    /// Inside a process, which has [`Handle::wait`], and monitors.
    #[track_caller]
    pub fn wait_blocking(&self, pid: impl Into<Pid>, within: Duration) -> Result<Outcome, WaitError> {
        may_block();
        let pid = pid.into();
        Self::block_for(pid, Wait(Ok(self.start_wait(pid)?)), within)
    }

    #[track_caller]
    fn block_for(pid: Pid, wait: Wait, within: Duration) -> Result<Outcome, WaitError> {
        match join::wait_until(wait, Instant::now().checked_add(within)) {
            Some(outcome) => Ok(outcome?),
            None => Err(WaitError::TimedOut(pid)),
        }
    }

    /// Kills a process, and blocks this thread until it has ended, or the time is over: a body that never
    /// lets go ends when it does. The outcome is of whatever it died of first.
    ///
    /// # Panics
    /// Inside a process, before it kills anybody: a process has [`Handle::exit`] and [`Handle::wait`].
    #[track_caller]
    pub fn terminate(&self, pid: impl Into<Pid>, within: Duration) -> Result<Outcome, WaitError> {
        may_block();
        let pid = pid.into();
        let wait = Wait(Ok(self.start_wait(pid)?));
        // A kill needs no memory; and who is dead already is the wait's to say.
        let _ = self.exit(pid, Reason::KILL);
        Self::block_for(pid, wait, within)
    }

    /// Suspends a process, and waits until it has met that, among its other signals: from then on its body is not
    /// resumed until [`Handle::resume`] has been called as often as this. Exits and kills act on it as
    /// ever, messages wait. Its answer is how often it is suspended now; `None` when it is dead.
    ///
    /// A process meets signals between slices, and when it receives: in the latter case the slice goes on to its end.
    pub async fn suspend(&self, pid: impl Into<Pid>) -> Result<Option<u32>, NoMemory> {
        Self::suspended(self.host(|host| host.suspend(pid.into()))?).await
    }

    /// Takes one [`Handle::suspend`] back, and waits until the process has met that: its answer is how often it is suspended
    /// still; `None` when it is dead.
    pub async fn resume(&self, pid: impl Into<Pid>) -> Result<Option<u32>, NoMemory> {
        Self::suspended(self.host(|host| host.resume(pid.into()))?).await
    }

    async fn suspended(asked: MaybeReady<Option<u32>>) -> Result<Option<u32>, NoMemory> {
        poll_fn(poll_proceed).await;
        match asked {
            MaybeReady::Ready(times) => Ok(times),
            MaybeReady::Pending(answer) => match answer.await {
                QueryReply::Suspended(times) => Ok(Some(times)),
                QueryReply::NoMemory => Err(NoMemory),
                QueryReply::Dead | QueryReply::Alive | QueryReply::Info(_) | QueryReply::Linked(_) => Ok(None),
            },
        }
    }

    /// [`Handle::suspend`] for a thread, which it blocks.
    ///
    /// # Panics
    /// Inside a process, which awaits instead.
    #[track_caller]
    pub fn suspend_blocking(&self, pid: impl Into<Pid>) -> Result<Option<u32>, NoMemory> {
        may_block();
        join::wait(self.suspend(pid))
    }

    /// [`Handle::resume`] for a thread, which it blocks.
    ///
    /// # Panics
    /// Inside a process, which awaits instead.
    #[track_caller]
    pub fn resume_blocking(&self, pid: impl Into<Pid>) -> Result<Option<u32>, NoMemory> {
        may_block();
        join::wait(self.resume(pid))
    }
}
