//! A process that works out one value: [`Task`] (Elixir's).
//!
//! A task is linked with who started it, or not ([`Task::alone`]), or a child of a supervisor ([`TaskSupervisor`]); its value comes
//! to whoever holds the [`Task`], who hears of its death instead if it has none. What is not waited for is dropped.
//!
//! ```
//! use atropos_otp::Task;
//! # async fn example(cx: &atropos_kernel::Context<()>) -> Result<(), Box<dyn std::error::Error>> {
//! let squares = (0..10_u64).map(|n| Task::link(cx, move |_| async move { n * n }));
//! let squares = Task::join_all(cx, squares.collect::<Result<Vec<_>, _>>()?, None).await;
//! # Ok(()) }
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;

use atropos_kernel::{Context, Pid, Reason, Reference, Replied, Reply, SpawnError, SpawnOptions, reply};

use crate::call::{CallError, Pending};
use crate::start::StartError;
use crate::supervisor::{DynamicRef, DynamicSupervisor, StartChildError, Started, Starter};
use crate::wait::{Alarm, GRACE, end_of};

/// A task under way, for the process that started it.
#[derive(Debug)]
#[must_use = "its value is waited for; `abandon` gives it up"]
pub struct Task<T> {
    pid: Pid,
    monitor: Reference,
    pending: Pending<T>,
}

impl<T: Send + 'static> Task<T> {
    /// Starts one, linked with the caller.
    pub fn link<M, S, F>(cx: &Context<M>, work: S) -> Result<Self, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        Self::spawn(cx, &SpawnOptions::new().link(), work)
    }

    /// Starts one that the caller survives.
    pub fn alone<M, S, F>(cx: &Context<M>, work: S) -> Result<Self, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        Self::spawn(cx, &SpawnOptions::new(), work)
    }

    /// Starts one with options.
    pub fn spawn<M, S, F>(cx: &Context<M>, options: &SpawnOptions<'_>, work: S) -> Result<Self, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (reply, answer) = reply().map_err(|_| SpawnError::NoMemory)?;
        let cursor = cx.cursor_at_end();
        let options = options.clone().monitor();
        let (task, monitor) = cx.spawn_with(&options, move |cx| run(cx, work, reply))?;
        let monitor = monitor.ok_or(SpawnError::NoMemory)?;
        Ok(Self::new(task.pid(), monitor, cursor, answer))
    }

    fn new(pid: Pid, monitor: Reference, cursor: atropos_kernel::Cursor, answer: Replied<T>) -> Self {
        Self { pid, monitor, pending: Pending::monitored(pid, monitor, cursor, answer) }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its value; [`CallError::Down`] says why there is none, [`CallError::TimedOut`] kills it.
    pub async fn join<M: Send + 'static>(
        self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Result<T, CallError> {
        let (pid, result) = (self.pid, self.pending.answer(cx, within).await);
        if matches!(result, Err(CallError::TimedOut)) {
            cx.unlink(pid);
            // A kill needs no memory.
            let _ = cx.exit(pid, Reason::KILL);
        }
        result
    }

    /// Looks for its value for a while; the task back when it takes longer.
    pub async fn join_or_wait<M: Send + 'static>(
        mut self,
        cx: &Context<M>,
        within: Duration,
    ) -> Result<Result<T, CallError>, Self> {
        match self.pending.look(cx, within).await {
            Some(result) => {
                self.pending.abandon(cx);
                Ok(result)
            }
            None => Err(self),
        }
    }

    /// Waits for all, each in its place; those that take longer are killed.
    pub async fn join_all<M: Send + 'static>(
        cx: &Context<M>,
        tasks: Vec<Self>,
        within: impl Into<Option<Duration>>,
    ) -> Vec<Result<T, CallError>> {
        let now = || cx.with(|cx| cx.now());
        let end = within.into().map(|time: Duration| now().saturating_add(nanoseconds(time)));
        let mut results = Vec::with_capacity(tasks.len());
        for task in tasks {
            let left = end.map(|end| Duration::from_nanos(end.saturating_sub(now())));
            results.push(task.join(cx, left).await);
        }
        results
    }

    /// Gives it up: it is told to shut down, killed when it takes longer, and waited for.
    pub async fn shutdown<M: Send + 'static>(self, cx: &Context<M>, within: Duration) -> Option<Reason> {
        cx.unlink(self.pid);
        let mut ended = None;
        if cx.exit(self.pid, Reason::SHUTDOWN).is_ok()
            && let Ok(alarm) = Alarm::start(cx, Some(within))
        {
            ended = end_of(cx, self.pid, self.monitor, &alarm).await;
        }
        if ended.is_none() {
            // A kill needs no memory.
            let _ = cx.exit(self.pid, Reason::KILL);
            let alarm = Alarm::start(cx, Some(GRACE)).unwrap_or_else(|_| Alarm::never(cx));
            ended = end_of(cx, self.pid, self.monitor, &alarm).await;
        }
        self.pending.abandon(cx);
        ended
    }

    /// Lets it go on; nothing comes of it.
    pub fn abandon<M: Send + 'static>(self, cx: &Context<M>) {
        cx.unlink(self.pid);
        self.pending.abandon(cx);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

async fn run<T, S, F>(cx: Context<()>, work: S, reply: Reply<T>)
where
    T: Send + 'static,
    S: FnOnce(Context<()>) -> F + Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    reply.send(work(cx).await);
}

type Work = Box<dyn FnOnce(Context<()>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What a task's supervisor starts: once.
pub struct Job(Option<Work>);

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

/// A supervisor of tasks: they are temporary, stop together, and die with it.
#[derive(Clone, Copy, Debug)]
pub struct TaskSupervisor(DynamicRef<Job>);

impl TaskSupervisor {
    /// One that is to be started, by a process, the host, or a supervisor.
    pub fn builder() -> DynamicSupervisor<Job> {
        DynamicSupervisor::new(start)
    }

    /// A supervisor that the caller knows to be one of tasks.
    pub const fn of(supervisor: DynamicRef<Job>) -> Self {
        Self(supervisor)
    }

    /// The supervisor.
    pub const fn supervisor(self) -> DynamicRef<Job> {
        self.0
    }

    /// Starts a task under it, not linked with the caller.
    pub async fn spawn<M, T, S, F>(self, cx: &Context<M>, work: S) -> Result<Task<T>, StartChildError>
    where
        M: Send + 'static,
        T: Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (reply, answer) = reply().map_err(CallError::from)?;
        let job: Work = Box::new(move |cx| Box::pin(run(cx, work, reply)));
        let pid = self.0.start(cx, Job(Some(job))).await?;
        let pid = pid.ok_or(StartChildError::Start(StartError::Crashed(Reason::NOPROC)))?;
        let cursor = cx.cursor_at_end();
        // It may be over already: then its value is there, and is looked at before its DOWN.
        let monitor = cx.monitor(pid).map_err(CallError::from)?;
        Ok(Task::new(pid, monitor, cursor, answer))
    }

    /// Starts work that nobody waits for.
    pub async fn run<M, S, F>(self, cx: &Context<M>, work: S) -> Result<(), StartChildError>
    where
        M: Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let job: Work = Box::new(move |cx| Box::pin(work(cx)));
        self.0.start(cx, Job(Some(job))).await.map(drop)
    }
}

fn start(starter: &mut Starter<'_>, job: &mut Job) -> Result<Started, StartError> {
    match job.0.take() {
        Some(work) => starter.spawn(work),
        None => Ok(Started::IGNORE),
    }
}
