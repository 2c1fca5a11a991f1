//! Supervisors and servers, from a host thread: starting them, and calling them ([`HostRequest`]).
//!
//! Each operation has two forms. The blocking form is for a thread that may wait. The other form is
//! a future for a task of any executor. It starts when the future is made, and blocks no thread.
//! Dropping the future cancels it: a start stops the process that it started, and a reply is
//! discarded.

use std::any::TypeId;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use atropos_kernel::{Host, Pid, Reason, ReplyFuture, SpawnError};
use atropos_otp::application::Applications;
use atropos_otp::{CallError, Reply, Server, ServerRef, StartError, StartFuture, Supervisor, SupervisorRef};

use crate::alarm::Sleep;
use crate::block_on;
use crate::handle::Handle;
use crate::platform::poll_proceed;
use crate::role::may_block;
use crate::roots::Root;

/// A future of a request from outside the processes, for any executor. Dropping it cancels the
/// request.
#[must_use = "the result comes from the future"]
pub struct HostRequest<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T> fmt::Debug for HostRequest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

impl<T> HostRequest<T> {
    pub(crate) fn new(asks: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Box::pin(asks))
    }
}

impl<T> Future for HostRequest<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<T> {
        ready!(poll_proceed(task));
        self.0.as_mut().poll(task)
    }
}

/// A guard that kills a process when it is dropped, unless it was disarmed before.
pub(crate) struct Leash {
    handle: Handle,
    pid: Option<Pid>,
}

impl Leash {
    pub(crate) fn new(handle: Handle, pid: Pid) -> Self {
        Self { handle, pid: Some(pid) }
    }

    pub(crate) fn disarm(mut self) {
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

/// How long a shutdown waits for a server before it goes on to what was started earlier: the same
/// time that a supervisor gives a child.
const SERVER_PATIENCE: Duration = Duration::from_secs(5);

/// A start from outside that is in progress.
struct Begun<R> {
    what: R,
    starting: StartFuture,
    leash: Leash,
}

impl<R> Begun<R> {
    /// Waits until the start is complete. Returns `None` if the process had nothing to do (`ignore`
    /// in OTP).
    async fn up(self) -> Result<Option<R>, StartError> {
        let up = self.starting.await;
        self.leash.disarm();
        Ok(up?.then_some(self.what))
    }
}

impl Handle {
    fn begin<R: Copy + Into<Pid>>(
        &self,
        patience: Option<Duration>,
        start: impl FnOnce(&Host<'_>) -> Result<(R, StartFuture), StartError>,
    ) -> Result<Begun<R>, StartError> {
        let roots = &self.inner().roots;
        let closing = || StartError::Spawn(SpawnError::Closing);
        if roots.is_closed() {
            return Err(closing());
        }
        let (what, starting) = self.host(start)?;
        let pid = what.into();
        let leash = Leash::new(self.clone(), pid);
        // If the root is refused, the guard kills the process.
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
        // The application manager has trees of its own, whose shutdown takes as long as they need.
        let is_manager = TypeId::of::<S>() == TypeId::of::<Applications>();
        self.begin((!is_manager).then_some(SERVER_PATIENCE), |host| server.start_from_host(host))
    }

    /// Starts a supervisor without a parent process, and blocks until its children are up. The
    /// runtime's shutdown stops it, by its own rules, before anything that was started earlier.
    ///
    /// # Panics
    /// Panics inside a process. A process uses [`Handle::start_supervisor_async`].
    #[track_caller]
    pub fn start_supervisor(&self, supervisor: impl Into<Supervisor>) -> Result<SupervisorRef, StartError> {
        may_block();
        let begun = self.begin_supervisor(supervisor.into())?;
        let supervisor = begun.what;
        block_on::wait(begun.up())?;
        Ok(supervisor)
    }

    /// Starts a supervisor like [`Handle::start_supervisor`], for a task of any executor.
    pub fn start_supervisor_async(
        &self,
        supervisor: impl Into<Supervisor>,
    ) -> HostRequest<Result<SupervisorRef, StartError>> {
        let begun = self.begin_supervisor(supervisor.into());
        HostRequest::new(async move {
            let begun = begun?;
            let supervisor = begun.what;
            begun.up().await?;
            Ok(supervisor)
        })
    }

    /// Starts a server without a parent process, and blocks until it is up. Returns `None` if the
    /// server had nothing to do. The runtime's shutdown stops it before anything that was started
    /// earlier.
    ///
    /// # Panics
    /// Panics inside a process. A process uses [`Handle::start_server_async`].
    #[track_caller]
    pub fn start_server<'n, S: Server>(
        &self,
        server: impl Into<atropos_otp::server::Start<'n, S>>,
    ) -> Result<Option<ServerRef<S>>, StartError> {
        may_block();
        block_on::wait(self.begin_server(server.into())?.up())
    }

    /// Starts a server like [`Handle::start_server`], for a task of any executor.
    pub fn start_server_async<'n, S: Server>(
        &self,
        server: impl Into<atropos_otp::server::Start<'n, S>>,
    ) -> HostRequest<Result<Option<ServerRef<S>>, StartError>> {
        let begun = self.begin_server(server.into());
        HostRequest::new(async move { begun?.up().await })
    }

    /// Calls a server, and blocks this thread until it has replied or died, or until the timeout.
    ///
    /// # Panics
    /// Panics inside a process. A process uses [`ServerRef::call`] or [`Handle::call_async`].
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
        block_on::wait_until(self.answer(server.pid(), answer), deadline).unwrap_or(Err(CallError::TimedOut))
    }

    /// Calls a server like [`Handle::call`], for a task of any executor. The request is sent now;
    /// the future resolves to the reply, or to an error when the server dies or the timeout is
    /// reached. `None` means no timeout.
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
    ) -> HostRequest<Result<T, CallError>>
    where
        S: Server,
        T: Send + 'static,
    {
        let until = within.into().and_then(|within| Instant::now().checked_add(within));
        let (handle, pid, answer) = (self.clone(), server.pid(), self.request(server, make));
        HostRequest::new(async move {
            let answer = handle.answer(pid, answer?);
            handle.until(until, answer).await.unwrap_or(Err(CallError::TimedOut))
        })
    }

    /// Sends a request to a server. The reply can be awaited on any executor, or together with
    /// other futures. It resolves to an error when the server has dropped the request, in most
    /// cases because the server died.
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

    /// Waits for a reply, and turns a missing one into its cause.
    async fn answer<T>(&self, server: Pid, answer: ReplyFuture<T>) -> Result<T, CallError> {
        if let Ok(answer) = answer.await {
            return Ok(answer);
        }
        // The server has dropped the request, in most cases because it is dying. Asking for its
        // info tells a dying server from one that lives on (without memory for the query, the cause
        // stays unknown).
        if let Ok(Some(_)) | Err(_) = self.process_info(server).await {
            return Err(CallError::NoReply);
        }
        let reason = self.wait(server).await.ok().and_then(|outcome| outcome.reason);
        Err(CallError::Down(reason.unwrap_or(Reason::NOPROC)))
    }

    /// Waits for a future until the deadline.
    pub(crate) async fn until<F: Future>(&self, until: Option<Instant>, future: F) -> Option<F::Output> {
        self.inner().born.check();
        let mut future = pin!(future);
        let mut sleep = pin!(Sleep::new(self.inner().alarms.clone(), until));
        poll_fn(poll_proceed).await;
        poll_fn(|task| match future.as_mut().poll(task) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => sleep.as_mut().poll(task).map(|()| None),
        })
        .await
    }

    /// Waits for a future on any executor, until the timeout; then the future is dropped, and the
    /// result is `None`. Needs neither a process nor Tokio's timers.
    pub async fn timeout<F: Future>(&self, within: Duration, future: F) -> Option<F::Output> {
        self.until(Instant::now().checked_add(within), future).await
    }

    /// Sends a message to a server, without waiting. If it cannot be sent, the error returns the
    /// message.
    pub fn cast<S: Server>(
        &self,
        server: ServerRef<S>,
        message: S::Message,
    ) -> Result<(), atropos_kernel::SendError<S::Message>> {
        self.host(|host| server.cast_from(host, message))
    }
}
