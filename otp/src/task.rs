//! A process that computes one value: [`Task`] (Elixir's `Task`).
//!
//! A task is linked with its starter, or not linked ([`Task::start`]), or a child of a supervisor
//! ([`TaskSupervisor`]). Its value goes to the holder of the [`Task`]; if it exits without a value,
//! the holder gets its exit reason instead.
//!
//! - **K1, a task belongs to its holder.** Any process may join a task, also one that did not start
//!   it: it learns of the exit by a watch ([`atropos_kernel::ExitWatch`]), which is not a monitor.
//!   A task therefore never sends a DOWN, and nothing that is dropped leaves a message in a
//!   mailbox.
//! - **K2, a cancelled join ends the task**, and so does the join's own timeout. `join`,
//!   `join_all`, `try_join_all` and `shutdown` consume the task, so its value would be unreachable.
//!   [`Task::wait`] only borrows it and may be cancelled.
//! - **K3, a dropped task keeps running**, linked as it was (Elixir's stays linked with its owner),
//!   and its value is dropped. [`Task::detach`] unlinks it.
//! - **K4, the value takes precedence.** A value that was sent is never lost to the exit that
//!   follows it, to a timeout, or to a `shutdown`.
//!
//! ```
//! use atropos_otp::Task;
//! # async fn example(cx: &atropos_kernel::Context<()>) -> Result<(), Box<dyn std::error::Error>> {
//! let squares = (0..10_u64).map(|n| Task::start_link(cx, move |_| async move { n * n }));
//! let squares = Task::join_all(cx, squares.collect::<Result<Vec<_>, _>>()?, None).await;
//! # Ok(()) }
//! ```

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll};
use core::time::Duration;

use atropos_kernel::{
    CatchDrop, Context, ExitInfo, NoMemory, Pid, PreparedWatch, Reason, Reply, ReplyFuture, SpawnError, SpawnOptions,
    WatchError, reply,
};

use crate::call::CallError;
use crate::start::StartError;
use crate::supervisor::{ChildStarter, DynamicRef, DynamicSupervisor, StartChildError, StartedChild};
use crate::wait::{Deadline, KILL_TIMEOUT, yield_if_exhausted};

/// A running task, for the process that waits for its value.
#[derive(Debug)]
#[must_use = "join the task for its value, or `abandon` it"]
pub struct Task<T> {
    pid: Pid,
    /// The future of the value; `None` after it has resolved. A panic of the destructor of a value
    /// that was not taken is caught.
    answer: Option<CatchDrop<ReplyFuture<T>>>,
    end: ReplyFuture<ExitInfo>,
    /// The exit reason, when it is known.
    ended: Option<Reason>,
}

/// The parts that a watch needs, allocated before the task is spawned so that what can fail fails
/// before.
struct Prepared(PreparedWatch, ReplyFuture<ExitInfo>);

impl Prepared {
    fn new() -> Result<Self, NoMemory> {
        let (told, end) = reply()?;
        let watch = PreparedWatch::try_inline(move |ended| told.send(ended))?;
        Ok(Self(watch, end))
    }

    fn watch<M: Send + 'static, T>(
        self,
        cx: &Context<M>,
        pid: Pid,
        answer: ReplyFuture<T>,
    ) -> Result<Task<T>, WatchError> {
        let answer = cx.with(|cx| {
            cx.install_watch(pid, self.0)?;
            Ok(cx.catch_drop(answer))
        })?;
        Ok(Task { pid, answer: Some(answer), end: self.1, ended: None })
    }
}

impl<T: Send + 'static> Task<T> {
    /// Starts a task linked with the caller.
    pub fn start_link<M, S, F>(cx: &Context<M>, work: S) -> Result<Self, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        Self::spawn(cx, &SpawnOptions::new().link(), work)
    }

    /// Starts a task without a link.
    pub fn start<M, S, F>(cx: &Context<M>, work: S) -> Result<Self, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        Self::spawn(cx, &SpawnOptions::new(), work)
    }

    /// Starts a task with options.
    pub fn spawn<M, S, F>(cx: &Context<M>, options: &SpawnOptions<'_>, work: S) -> Result<Self, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let no_memory = |NoMemory| SpawnError::NoMemory;
        let (reply, answer) = reply().map_err(no_memory)?;
        let prepared = Prepared::new().map_err(no_memory)?;
        let (task, _) = cx.spawn_with(options, move |cx| run(cx, work, reply))?;
        prepared.watch(cx, task.pid(), answer).map_err(|_| SpawnError::NoMemory)
    }

    /// Returns the pid of its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<T, CallError>> {
        if let Some(value) = self.poll_value(task) {
            return Poll::Ready(Ok(value));
        }
        if self.ended.is_none() {
            let Poll::Ready(ended) = Pin::new(&mut self.end).poll(task) else { return Poll::Pending };
            // Without a reason it was dead before it was watched, and its slot has been reused.
            let reason = ended.ok().and_then(|ended| ended.reason).unwrap_or(Reason::NOPROC);
            self.ended = Some(reason);
        }
        // It may have sent its value after the first poll, and exited then.
        if let Some(value) = self.poll_value(task) {
            return Poll::Ready(Ok(value));
        }
        Poll::Ready(Err(CallError::Down(self.ended.clone().unwrap_or(Reason::NOPROC))))
    }

    fn poll_value(&mut self, task: &mut TaskContext<'_>) -> Option<T> {
        let Poll::Ready(said) = Pin::new(&mut **self.answer.as_mut()?).poll(task) else { return None };
        self.answer = None;
        said.ok()
    }

    /// Waits for its value by reference. If the future is dropped (in a `select!`, for example)
    /// nothing is lost, and the task may be awaited again.
    ///
    /// # Errors
    ///
    /// [`CallError::Down`] with the exit reason if there is no value; also if the value was taken
    /// before.
    pub async fn wait(&mut self) -> Result<T, CallError> {
        // W1, without a context: what is known before is said in the next slice, and not to a
        // process that was killed.
        let mut known = self.answer.is_none() && self.ended.is_some();
        core::future::poll_fn(|task| {
            if core::mem::take(&mut known) {
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.poll(task)
        })
        .await
    }

    /// Waits as [`Task::wait`] does, until the timeout fires.
    async fn wait_until<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        alarm: &mut Deadline<'_, M>,
    ) -> Option<Result<T, CallError>> {
        core::future::poll_fn(|task| {
            if cx.poll_proceed(task).is_pending() {
                return Poll::Pending;
            }
            match self.poll(task) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => alarm.poll_rung(task, false).map(|()| None),
            }
        })
        .await
    }

    /// Waits for its value. If the future is dropped, the task is killed.
    ///
    /// # Errors
    ///
    /// [`CallError::Down`] with the exit reason if there is no value; [`CallError::TimedOut`], and
    /// then the task is killed.
    pub async fn join<M: Send + 'static>(
        self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Result<T, CallError> {
        Joining::new(cx, self).join(within.into()).await
    }

    /// Waits for its value for this long; returns the task if it takes longer. If the future is
    /// dropped, the task is killed; see [`Task::wait`].
    pub async fn try_join<M: Send + 'static>(
        self,
        cx: &Context<M>,
        within: Duration,
    ) -> Result<Result<T, CallError>, Self> {
        let mut joining = Joining::new(cx, self);
        let looked = match Deadline::start(cx, Some(within)) {
            Ok(mut alarm) => joining.wait_until(&mut alarm).await,
            Err(error) => Some(Err(error.into())),
        };
        match (looked, joining.task.take()) {
            (None, Some(task)) => Err(task),
            (looked, _) => Ok(looked.unwrap_or(Err(CallError::TimedOut))),
        }
    }

    /// Waits for all tasks and returns their results in order. Tasks that take longer than `within`
    /// are killed; if the future is dropped, so are all that are left.
    pub async fn join_all<M: Send + 'static>(
        cx: &Context<M>,
        tasks: Vec<Self>,
        within: impl Into<Option<Duration>>,
    ) -> Vec<Result<T, CallError>> {
        let now = || cx.with(|cx| cx.now());
        let end = within.into().map(|time: Duration| now().saturating_add(nanoseconds(time)));
        let mut results = Vec::with_capacity(tasks.len());
        let mut left: VecDeque<_> = tasks.into_iter().map(|task| Joining::new(cx, task)).collect();
        // W1: the list may be empty.
        yield_if_exhausted(cx).await;
        while let Some(joining) = left.pop_front() {
            let within = end.map(|end| Duration::from_nanos(end.saturating_sub(now())));
            let result = joining.join(within).await;
            results.push(cx.with(|cx| cx.catch_drop(result)));
            yield_if_exhausted(cx).await;
        }
        results.into_iter().map(CatchDrop::into_inner).collect()
    }

    /// Waits for all tasks, or for the first that exits without a value: then returns its error at
    /// once, and the rest are killed (Elixir's `await_many`). They are also killed after `within`,
    /// or if the future is dropped. Each exit of a task costs a poll of all that are left.
    pub async fn try_join_all<M: Send + 'static>(
        cx: &Context<M>,
        tasks: Vec<Self>,
        within: impl Into<Option<Duration>>,
    ) -> Result<Vec<T>, CallError> {
        let mut values: Vec<Option<CatchDrop<T>>> = tasks.iter().map(|_| None).collect();
        let mut left: Vec<_> = tasks.into_iter().enumerate().map(|(n, task)| (n, Joining::new(cx, task))).collect();
        // W1: the list may be empty.
        yield_if_exhausted(cx).await;
        let mut alarm = Deadline::start(cx, within.into())?;
        core::future::poll_fn(|task| {
            if cx.poll_proceed(task).is_pending() {
                return Poll::Pending;
            }
            let mut next = 0;
            while let Some((place, joining)) = left.get_mut(next) {
                match joining.poll(task) {
                    Poll::Pending => next += 1,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(value)) => {
                        values[*place] = Some(cx.with(|cx| cx.catch_drop(value)));
                        joining.task = None;
                        left.swap_remove(next);
                    }
                }
            }
            if left.is_empty() {
                return Poll::Ready(Ok(()));
            }
            alarm.poll_rung(task, false).map(|()| Err(CallError::TimedOut))
        })
        .await?;
        Ok(values.into_iter().flatten().map(CatchDrop::into_inner).collect())
    }

    /// Shuts the task down: sends it `shutdown`, kills it after `within`, and waits for its exit.
    /// Returns its value, if it has sent one before or during the shutdown, or else its exit
    /// reason; `None` if its body does not yield.
    pub async fn shutdown<M: Send + 'static>(self, cx: &Context<M>, within: Duration) -> Option<Result<T, Reason>> {
        let mut joining = Joining::new(cx, self);
        let pid = joining.pid;
        let mut ended = joining.wait_until(&mut Deadline::already(cx)).await;
        if ended.is_none() {
            cx.unlink(pid);
            if cx.exit(pid, Reason::SHUTDOWN).is_ok()
                && let Ok(mut alarm) = Deadline::start(cx, Some(within))
            {
                ended = joining.wait_until(&mut alarm).await;
            }
        }
        if ended.is_none() {
            // A kill needs no memory.
            let _ = cx.exit(pid, Reason::KILL);
            let mut alarm = Deadline::start(cx, Some(KILL_TIMEOUT)).unwrap_or_else(|_| Deadline::never(cx));
            ended = joining.wait_until(&mut alarm).await;
        }
        joining.task = None;
        match ended? {
            Ok(value) => Some(Ok(value)),
            Err(CallError::Down(reason)) => Some(Err(reason)),
            Err(_) => None,
        }
    }

    /// Unlinks the task and lets it run; its value is dropped.
    pub fn detach<M: Send + 'static>(self, cx: &Context<M>) {
        cx.unlink(self.pid);
    }
}

/// A guard around a task that is being joined; it kills the task if the join is cancelled (K2).
struct Joining<'c, M: Send + 'static, T> {
    cx: &'c Context<M>,
    pid: Pid,
    /// The task; `None` after it was joined.
    task: Option<Task<T>>,
}

impl<'c, M: Send + 'static, T: Send + 'static> Joining<'c, M, T> {
    fn new(cx: &'c Context<M>, task: Task<T>) -> Self {
        Self { cx, pid: task.pid, task: Some(task) }
    }

    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<T, CallError>> {
        match &mut self.task {
            Some(joined) => joined.poll(task),
            None => Poll::Ready(Err(CallError::NoReply)),
        }
    }

    async fn wait_until(&mut self, alarm: &mut Deadline<'_, M>) -> Option<Result<T, CallError>> {
        self.task.as_mut()?.wait_until(self.cx, alarm).await
    }

    /// Waits for the result; the destructor kills a task that has not exited in time.
    async fn join(mut self, within: Option<Duration>) -> Result<T, CallError> {
        let result = match Deadline::start(self.cx, within) {
            Ok(mut alarm) => self.wait_until(&mut alarm).await,
            Err(error) => Some(Err(error.into())),
        };
        let result = result.unwrap_or(Err(CallError::TimedOut));
        if matches!(result, Ok(_) | Err(CallError::Down(_))) {
            self.task = None;
        }
        result
    }
}

impl<M: Send + 'static, T> Drop for Joining<'_, M, T> {
    fn drop(&mut self) {
        if self.task.take().is_some() {
            // Outside the caller's own slice no signal can be sent.
            let _ = self.cx.try_with(|cx| {
                cx.unlink(self.pid);
                // A kill needs no memory.
                let _ = cx.exit_inline(self.pid, Reason::KILL);
            });
        }
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

type TaskFn = Box<dyn FnOnce(Context<()>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The arguments of a task's start under a supervisor: work that runs once.
pub struct TaskState(Option<TaskFn>);

impl fmt::Debug for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

/// A supervisor of tasks: they are temporary, are stopped together, and exit with it.
#[derive(Clone, Copy, Debug)]
pub struct TaskSupervisor(DynamicRef<TaskState>);

impl TaskSupervisor {
    /// Returns the builder of a task supervisor, to be started by a process, the host, or a
    /// supervisor.
    pub fn builder() -> DynamicSupervisor<TaskState> {
        DynamicSupervisor::new(start)
    }

    /// Wraps a supervisor that the caller knows to be a task supervisor.
    pub const fn of(supervisor: DynamicRef<TaskState>) -> Self {
        Self(supervisor)
    }

    /// Returns the supervisor.
    pub const fn supervisor(self) -> DynamicRef<TaskState> {
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
        let prepared = Prepared::new().map_err(CallError::from)?;
        let job: TaskFn = Box::new(move |cx| Box::pin(run(cx, work, reply)));
        let pid = self.0.start(cx, TaskState(Some(job))).await?;
        let pid = pid.ok_or(StartChildError::Start(StartError::Crashed(Reason::NOPROC)))?;
        // The task may have exited already: then its value is there, and is read before its exit
        // reason.
        prepared.watch(cx, pid, answer).map_err(|_| StartChildError::Call(CallError::NoMemory))
    }

    /// Starts work without a result that a process could wait for.
    pub async fn run<M, S, F>(self, cx: &Context<M>, work: S) -> Result<(), StartChildError>
    where
        M: Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let job: TaskFn = Box::new(move |cx| Box::pin(work(cx)));
        self.0.start(cx, TaskState(Some(job))).await.map(drop)
    }
}

fn start(starter: &mut ChildStarter<'_>, job: &mut TaskState) -> Result<StartedChild, StartError> {
    match job.0.take() {
        Some(work) => starter.spawn(work),
        None => Ok(StartedChild::IGNORE),
    }
}
