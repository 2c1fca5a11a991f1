//! Supervisors and servers, from a thread that is no process: starting them, and calling ([`Ask`]).
//!
//! Each has two forms. The blocking one is for a thread that may wait. The other is a future for any executor's task: it is under way from when it is
//! made, blocks nobody, and when it is dropped it is given up: a start stops what it started, an answer finds nobody.

use std::any::TypeId;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use atropos_kernel::{Host, Pid, Reason, ReplyFuture, SpawnError};
use atropos_otp::application::Applications;
use atropos_otp::{CallError, Reply, Server, ServerRef, StartError, Starting, Supervisor, SupervisorRef};

use crate::alarm::Sleep;
use crate::join;
use crate::role::may_block;
use crate::roots::Root;
use crate::runtime::Handle;

/// What was asked from outside the processes, and will come: a future for any executor. Dropped, it is given up.
#[must_use = "what was asked comes from the future"]
pub struct Ask<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T> fmt::Debug for Ask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

impl<T> Ask<T> {
    pub(crate) fn new(asks: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Box::pin(asks))
    }
}

impl<T> Future for Ask<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<T> {
        self.0.as_mut().poll(task)
    }
}

/// Kills a process when it is dropped, unless it was let go before.
pub(crate) struct Leash {
    handle: Handle,
    pid: Option<Pid>,
}

impl Leash {
    pub(crate) fn new(handle: Handle, pid: Pid) -> Self {
        Self { handle, pid: Some(pid) }
    }

    pub(crate) fn let_go(mut self) {
        self.pid = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(pid) = self.pid
            && !self.handle.inner().born.is_gone()
        {
            // A kill needs no memory.
            let _ = self.handle.exit(pid, Reason::KILL);
        }
    }
}

/// For how long a shutdown waits for a server before it goes on with what was started before it: what a supervisor gives a child.
const SERVER_PATIENCE: Duration = Duration::from_secs(5);

/// A start from outside that is under way.
struct Begun<R> {
    what: R,
    starting: Starting,
    leash: Leash,
}

impl<R> Begun<R> {
    /// `None`: it had nothing to do.
    async fn up(self) -> Result<Option<R>, StartError> {
        let up = self.starting.await;
        self.leash.let_go();
        Ok(up?.then_some(self.what))
    }
}

impl Handle {
    fn begin<R: Copy + Into<Pid>>(
        &self,
        patience: Option<Duration>,
        start: impl FnOnce(&Host<'_>) -> Result<(R, Starting), StartError>,
    ) -> Result<Begun<R>, StartError> {
        let roots = &self.inner().roots;
        let closing = || StartError::Spawn(SpawnError::Closing);
        if roots.is_closed() {
            return Err(closing());
        }
        let (what, starting) = self.host(start)?;
        let pid = what.into();
        let leash = Leash::new(self.clone(), pid);
        // Refused, the leash ends it.
        let added = roots.add(Root { pid, patience }, |pid| self.is_alive(pid));
        added.then_some(Begun { what, starting, leash }).ok_or_else(closing)
    }

    fn begin_supervisor(&self, supervisor: Supervisor) -> Result<Begun<SupervisorRef>, StartError> {
        self.begin(None, |host| supervisor.start_from_host(host))
    }

    fn begin_server<S: Server>(
        &self,
        server: atropos_otp::server::Start<'_, S>,
    ) -> Result<Begun<ServerRef<S>>, StartError> {
        // The manager of applications has trees of its own, which take as long as they take.
        let is_manager = TypeId::of::<S>() == TypeId::of::<Applications>();
        self.begin((!is_manager).then_some(SERVER_PATIENCE), |host| server.start_from_host(host))
    }

    /// Starts a supervisor that has no parent but the host, and waits until its children are up. The runtime's shutdown ends
    /// it, by its own rules, before what was started before it.
    ///
    /// # Panics
    /// Inside a process, which has [`Handle::start_supervisor_async`].
    #[track_caller]
    pub fn start_supervisor(&self, supervisor: impl Into<Supervisor>) -> Result<SupervisorRef, StartError> {
        may_block();
        let begun = self.begin_supervisor(supervisor.into())?;
        let supervisor = begun.what;
        join::wait(begun.up())?;
        Ok(supervisor)
    }

    /// As [`Handle::start_supervisor`], for any executor's task.
    pub fn start_supervisor_async(&self, supervisor: impl Into<Supervisor>) -> Ask<Result<SupervisorRef, StartError>> {
        let begun = self.begin_supervisor(supervisor.into());
        Ask::new(async move {
            let begun = begun?;
            let supervisor = begun.what;
            begun.up().await?;
            Ok(supervisor)
        })
    }

    /// Starts a server that has no parent but the host, and waits until it is up. `None`: it had nothing to do. The runtime's
    /// shutdown ends it before what was started before it.
    ///
    /// # Panics
    /// Inside a process, which has [`Handle::start_server_async`].
    #[track_caller]
    pub fn start_server<'n, S: Server>(
        &self,
        server: impl Into<atropos_otp::server::Start<'n, S>>,
    ) -> Result<Option<ServerRef<S>>, StartError> {
        may_block();
        join::wait(self.begin_server(server.into())?.up())
    }

    /// As [`Handle::start_server`], for any executor's task.
    pub fn start_server_async<'n, S: Server>(
        &self,
        server: impl Into<atropos_otp::server::Start<'n, S>>,
    ) -> Ask<Result<Option<ServerRef<S>>, StartError>> {
        let begun = self.begin_server(server.into());
        Ask::new(async move { begun?.up().await })
    }

    /// Asks a server, and blocks this thread until it has answered, died, or the time is over.
    ///
    /// # Panics
    /// Inside a process, which has [`ServerRef::call`] and [`Handle::call_async`].
    #[track_caller]
    pub fn call<S, T>(
        &self,
        server: ServerRef<S>,
        within: Duration,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<T, CallError>
    where
        S: Server,
        T: Send + 'static,
    {
        may_block();
        let deadline = Instant::now().checked_add(within);
        let answer = self.request(server, make)?;
        join::wait_until(self.answer(server.pid(), answer), deadline).unwrap_or(Err(CallError::TimedOut))
    }

    /// As [`Handle::call`], for any executor's task: the request is sent now, the future brings the answer, the server's
    /// death, or the end of the time; `None` is for ever.
    ///
    /// ```
    /// # use atropos::prelude::*;
    /// # use std::time::Duration;
    /// # struct Doubles;
    /// # impl Server for Doubles {
    /// #     type Message = (u32, Reply<u32>);
    /// #     async fn handle(&mut self, (n, reply): Self::Message, _: ServerCx<'_, Self>) -> Next<Self::Message> {
    /// #         reply.send(2 * n);
    /// #         Next::Wait
    /// #     }
    /// # }
    /// # let runtime = Runtime::builder().cores(1).build()?;
    /// # let doubles = runtime.start_server(Doubles)?.expect("it is up");
    /// # let tokio = tokio::runtime::Builder::new_current_thread().build()?;
    /// let handle = runtime.handle();
    /// let answer = tokio.block_on(async move {
    ///     handle.call_async(doubles, Duration::from_secs(5), |reply| (21, reply)).await
    /// });
    /// assert_eq!(answer, Ok(42));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call_async<S, T>(
        &self,
        server: ServerRef<S>,
        within: impl Into<Option<Duration>>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Ask<Result<T, CallError>>
    where
        S: Server,
        T: Send + 'static,
    {
        let until = within.into().and_then(|within| Instant::now().checked_add(within));
        let (handle, pid, answer) = (self.clone(), server.pid(), self.request(server, make));
        Ask::new(async move {
            let answer = handle.answer(pid, answer?);
            handle.until(until, answer).await.unwrap_or(Err(CallError::TimedOut))
        })
    }

    /// Asks a server; the answer can be awaited on any executor, or together with others. It says so when the server has
    /// dropped the request, mostly because it has died.
    pub fn request<S, T>(
        &self,
        server: ServerRef<S>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<ReplyFuture<T>, CallError>
    where
        S: Server,
        T: Send + 'static,
    {
        self.host(|host| server.request_from(host, make))
    }

    /// An answer, or why there is none.
    async fn answer<T>(&self, server: Pid, answer: ReplyFuture<T>) -> Result<T, CallError> {
        if let Ok(answer) = answer.await {
            return Ok(answer);
        }
        // It has dropped the request; mostly because it dies. A question that keeps its place tells (or, without
        // memory, does not).
        if let Ok(Some(_)) | Err(_) = self.process_info(server).await {
            return Err(CallError::NoReply);
        }
        let reason = self.wait(server).await.ok().and_then(|outcome| outcome.reason);
        Err(CallError::Down(reason.unwrap_or(Reason::NOPROC)))
    }

    /// Waits for a future, but not longer than this.
    pub(crate) async fn until<F: Future>(&self, until: Option<Instant>, future: F) -> Option<F::Output> {
        self.inner().born.check();
        let mut future = pin!(future);
        let mut sleep = pin!(Sleep::new(self.inner().alarms.clone(), until));
        std::future::poll_fn(|task| match future.as_mut().poll(task) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => sleep.as_mut().poll(task).map(|()| None),
        })
        .await
    }

    /// Waits for a future on any executor, but not longer than this: then it is dropped, and the answer is `None`. Needs neither a process nor
    /// Tokio's timers.
    pub async fn timeout<F: Future>(&self, within: Duration, future: F) -> Option<F::Output> {
        self.until(Instant::now().checked_add(within), future).await
    }

    /// Sends a server a message, and waits for nothing. One that could not be sent comes back.
    pub fn cast<S: Server>(
        &self,
        server: ServerRef<S>,
        message: S::Message,
    ) -> Result<(), atropos_kernel::SendError<S::Message>> {
        self.host(|host| server.cast_from(host, message))
    }
}
