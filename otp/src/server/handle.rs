//! The handles through which processes and the host send to a server: [`ServerRef`],
//! [`ServerName`].

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

use atropos_kernel::{Context, Host, Pid, Reason, Reply, ReplyFuture, SendError, reply};

use super::Server;
use super::system::{Content, Envelope, Event, Statistics, System};
use crate::call::{Call, CallError, DEFAULT_TIMEOUT, PendingCall, request, request_monitored, request_waiting};

/// The address of a process that is known to run a server of this type. It is cheap to copy and may
/// outlive the server.
pub struct ServerRef<S> {
    pid: Pid,
    serves: PhantomData<fn() -> S>,
}

impl<S> Clone for ServerRef<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for ServerRef<S> {}

impl<S> PartialEq for ServerRef<S> {
    fn eq(&self, other: &Self) -> bool {
        self.pid == other.pid
    }
}

impl<S> Eq for ServerRef<S> {}

impl<S> fmt::Debug for ServerRef<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.pid)
    }
}

impl<S> From<ServerRef<S>> for Pid {
    fn from(server: ServerRef<S>) -> Self {
        server.pid
    }
}

fn unwrapped<S: Server>(error: SendError<Envelope<S>>) -> SendError<S::Message> {
    type Variant<T> = fn(T) -> SendError<T>;
    let variant: Variant<S::Message> = match &error {
        SendError::WrongType(_) => SendError::WrongType,
        SendError::Full(_) => SendError::Full,
        SendError::NoMemory(_) => SendError::NoMemory,
        SendError::NoName(_) => SendError::NoName,
        SendError::Dying(_) => SendError::Dying,
        _ => SendError::NoProc,
    };
    match error.into_message().0 {
        Content::Message(message) => variant(message),
        Content::System(_) => unreachable!("a cast is a message"),
    }
}

impl<S: Server> ServerRef<S> {
    /// Creates a handle to a process that the caller knows to run such a server. Each send checks
    /// the type again.
    pub const fn new(pid: Pid) -> Self {
        Self { pid, serves: PhantomData }
    }

    /// Returns the pid of the server.
    pub const fn pid(self) -> Pid {
        self.pid
    }

    /// Sends a message without waiting for a reply.
    ///
    /// # Errors
    ///
    /// A message that could not be sent is returned in the error.
    pub fn cast<M: Send + 'static>(self, cx: &Context<M>, message: S::Message) -> Result<(), SendError<S::Message>> {
        cx.send(self.pid, Envelope::<S>::message(message)).map_err(unwrapped)
    }

    /// Sends a message as [`ServerRef::cast`] does; if the mailbox is full, waits for a free slot,
    /// in turn with the other waiters. After `within` the message is returned in the error. The
    /// messages of one sender keep their order.
    pub async fn cast_wait<M: Send + 'static>(
        self,
        cx: &Context<M>,
        message: S::Message,
        within: impl Into<Option<Duration>>,
    ) -> Result<(), SendError<S::Message>> {
        cx.send_wait(self.pid, Envelope::<S>::message(message), within.into()).await.map_err(unwrapped)
    }

    /// Sends a message as [`ServerRef::cast`] does, from the host.
    pub fn cast_from(self, host: &Host<'_>, message: S::Message) -> Result<(), SendError<S::Message>> {
        host.send(self.pid, Envelope::<S>::message(message)).map_err(unwrapped)
    }

    /// Calls the server and waits up to 5 s for the reply.
    pub fn call<M, T>(
        self,
        cx: &Context<M>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> impl Future<Output = Result<T, CallError>>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.call_within(cx, DEFAULT_TIMEOUT, make)
    }

    /// Calls the server and waits up to `within` for the reply; `None` waits without a limit.
    #[inline]
    pub fn call_within<M, T>(
        self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> impl Future<Output = Result<T, CallError>>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        Call::new(cx, self.pid, within.into(), |reply| Envelope::<S>::message(make(reply)))
    }

    /// Calls the server as [`ServerRef::call_within`] does; if the mailbox is full, waits for a
    /// free slot first. `within` limits both waits together.
    pub async fn call_wait<M, T>(
        self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        request_waiting(cx, self.pid, within.into(), |reply| Envelope::<S>::message(make(reply))).await
    }

    /// Sends a request whose reply is awaited later ([`crate::RequestSet`] collects many).
    pub fn request<M, T>(
        self,
        cx: &Context<M>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<PendingCall<T>, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        request(cx, self.pid, |reply| Envelope::<S>::message(make(reply)))
    }

    /// Sends a request from the host, which can block on the reply or poll it. If the server dies
    /// its requests are dropped, and the future resolves to an error.
    pub fn request_from<T: Send + 'static>(
        self,
        host: &Host<'_>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<ReplyFuture<T>, CallError> {
        let (reply, replied) = reply()?;
        host.send(self.pid, Envelope::<S>::message(make(reply))).map_err(|error| error.without_message())?;
        Ok(replied)
    }

    async fn system<M, T>(self, cx: &Context<M>, make: impl FnOnce(Reply<T>) -> System<S>) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        cx.checkpoint().await;
        request(cx, self.pid, |reply| Envelope::system(make(reply)))?.answer(cx, DEFAULT_TIMEOUT).await
    }

    /// Suspends the server: it handles no messages until it is resumed; they wait in the mailbox. A
    /// call that is cancelled before the server has handled it has no effect.
    pub async fn suspend<M: Send + 'static>(self, cx: &Context<M>) -> Result<(), CallError> {
        self.system(cx, System::Suspend).await
    }

    /// Resumes the server.
    pub async fn resume<M: Send + 'static>(self, cx: &Context<M>) -> Result<(), CallError> {
        self.system(cx, System::Resume).await
    }

    /// Runs `look` on the server's state, in the server's process, between two callbacks; `look`
    /// may change the state. If it panics, the server continues and the caller gets
    /// [`CallError::NoReply`].
    pub async fn with_state<M, R, F>(self, cx: &Context<M>, look: F) -> Result<R, CallError>
    where
        M: Send + 'static,
        R: Send + 'static,
        F: FnOnce(&mut S) -> R + Send + 'static,
    {
        self.system(cx, |reply| System::Look(Box::new(move |state: &mut S| reply.send(look(state))))).await
    }

    /// Returns a copy of its state.
    pub async fn state<M: Send + 'static>(self, cx: &Context<M>) -> Result<S, CallError>
    where
        S: Clone,
    {
        self.with_state(cx, |state| state.clone()).await
    }

    /// Replaces its state; returns the old one.
    pub async fn replace_state<M: Send + 'static>(self, cx: &Context<M>, state: S) -> Result<S, CallError> {
        self.with_state(cx, move |old| core::mem::replace(old, state)).await
    }

    /// Returns its statistics so far.
    pub async fn statistics<M: Send + 'static>(self, cx: &Context<M>) -> Result<Statistics, CallError> {
        self.system(cx, System::Statistics).await
    }

    /// Installs a tracer, which is called in the server's process before each thing that the server
    /// does. A tracer that panics is removed.
    pub async fn trace<M: Send + 'static>(
        self,
        cx: &Context<M>,
        tracer: impl FnMut(Event<'_, S>) + Send + 'static,
    ) -> Result<(), CallError> {
        self.system(cx, |reply| System::Trace(Box::new((Box::new(tracer), reply)))).await
    }

    /// Removes the tracer.
    pub async fn untrace<M: Send + 'static>(self, cx: &Context<M>) -> Result<(), CallError> {
        self.system(cx, System::TraceNoMore).await
    }

    /// Requests the server to stop with `reason`, in its turn and after its `terminate`, and waits
    /// until it has exited. Returns its exit reason. If a full mailbox drops the request, the error
    /// is [`CallError::NoReply`].
    pub async fn stop<M: Send + 'static>(
        self,
        cx: &Context<M>,
        reason: Reason,
        within: impl Into<Option<Duration>>,
    ) -> Result<Reason, CallError> {
        cx.checkpoint().await;
        request_monitored(cx, self.pid, |reply| Envelope::<S>::system(System::Stop(reason, reply)))?
            .end(cx, within)
            .await
    }
}

/// A registered name of a server of this type. It is looked up for each request, so it stays valid
/// across restarts.
pub struct ServerName<S> {
    name: Cow<'static, str>,
    serves: PhantomData<fn() -> S>,
}

impl<S> Clone for ServerName<S> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), serves: PhantomData }
    }
}

impl<S> fmt::Debug for ServerName<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerName({:?})", self.name)
    }
}

impl<S: Server> ServerName<S> {
    /// Creates a handle for a name.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), serves: PhantomData }
    }

    /// Returns the server that has the name now. The checkpoint lets other processes run, so a
    /// caller that retries in a loop while the name is free does not block the restart of the
    /// server.
    async fn looked_up<M: Send + 'static>(&self, cx: &Context<M>) -> Result<ServerRef<S>, CallError> {
        cx.checkpoint().await;
        self.find(cx)
    }

    /// Returns the server that has the name now.
    pub fn find<M: Send + 'static>(&self, cx: &Context<M>) -> Result<ServerRef<S>, CallError> {
        cx.whereis(&self.name).map(ServerRef::new).ok_or(CallError::NoName)
    }

    /// Sends a message, see [`ServerRef::cast`].
    pub fn cast<M: Send + 'static>(&self, cx: &Context<M>, message: S::Message) -> Result<(), SendError<S::Message>> {
        cx.send_name(&self.name, Envelope::<S>::message(message)).map_err(unwrapped)
    }

    /// Sends a message, see [`ServerRef::cast_wait`]. It waits for a slot at the server that has
    /// the name now, and does not move on to a successor.
    pub async fn cast_wait<M: Send + 'static>(
        &self,
        cx: &Context<M>,
        message: S::Message,
        within: impl Into<Option<Duration>>,
    ) -> Result<(), SendError<S::Message>> {
        cx.checkpoint().await;
        match self.find(cx) {
            Ok(server) => server.cast_wait(cx, message, within).await,
            Err(_) => Err(SendError::NoName(message)),
        }
    }

    /// Sends a request, see [`ServerRef::request`].
    pub fn request<M, T>(
        &self,
        cx: &Context<M>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<PendingCall<T>, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.find(cx)?.request(cx, make)
    }

    /// Calls the server, see [`ServerRef::call`].
    pub async fn call<M, T>(&self, cx: &Context<M>, make: impl FnOnce(Reply<T>) -> S::Message) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.looked_up(cx).await?.call(cx, make).await
    }

    /// Calls the server, see [`ServerRef::call_within`].
    pub async fn call_within<M, T>(
        &self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.looked_up(cx).await?.call_within(cx, within, make).await
    }

    /// Calls the server, see [`ServerRef::call_wait`]. It waits for a slot at the server that
    /// has the name now, as [`ServerName::cast_wait`] does.
    pub async fn call_wait<M, T>(
        &self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.looked_up(cx).await?.call_wait(cx, within, make).await
    }
}
