//! Who sends to a server: [`ServerRef`], [`ServerName`].

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

use atropos_kernel::{Context, Host, Pid, Reason, ReplyFuture, Reply, SendError, reply};

use super::Server;
use super::system::{Content, Envelope, Event, Statistics, System};
use crate::call::{Call, CallError, PATIENCE, PendingCall, request, request_monitored, request_waiting};

/// A process that is known to run a server of this type. Cheap to copy; it outlives the server.
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
    /// A process that the caller knows to run such a server. Sending checks it again.
    pub const fn new(pid: Pid) -> Self {
        Self { pid, serves: PhantomData }
    }

    /// Who.
    pub const fn pid(self) -> Pid {
        self.pid
    }

    /// Sends a message and waits for nothing. One that could not be sent comes back.
    pub fn cast<M: Send + 'static>(self, cx: &Context<M>, message: S::Message) -> Result<(), SendError<S::Message>> {
        cx.send(self.pid, Envelope::<S>::message(message)).map_err(unwrapped)
    }

    /// As [`ServerRef::cast`], but at a full mailbox it waits for room, in line with the others that do. After `within` the
    /// message comes back. What one sender sends keeps its order.
    pub async fn cast_wait<M: Send + 'static>(
        self,
        cx: &Context<M>,
        message: S::Message,
        within: impl Into<Option<Duration>>,
    ) -> Result<(), SendError<S::Message>> {
        cx.send_wait(self.pid, Envelope::<S>::message(message), within.into()).await.map_err(unwrapped)
    }

    /// As [`ServerRef::cast`], from the host.
    pub fn cast_from(self, host: &Host<'_>, message: S::Message) -> Result<(), SendError<S::Message>> {
        host.send(self.pid, Envelope::<S>::message(message)).map_err(unwrapped)
    }

    /// Asks, and waits for the answer for 5 s.
    pub fn call<M, T>(
        self,
        cx: &Context<M>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> impl Future<Output = Result<T, CallError>>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.call_within(cx, PATIENCE, make)
    }

    /// Asks, and waits for the answer for this long; `None`: for ever.
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

    /// As [`ServerRef::call_within`], but at a full mailbox it waits for room first; `within` is for both.
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

    /// Asks, and waits later ([`crate::RequestSet`] gathers many).
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

    /// Asks from the host, which can block on the answer or poll it. A server that dies drops its requests, and the
    /// future says so.
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
        request(cx, self.pid, |reply| Envelope::system(make(reply)))?.answer(cx, PATIENCE).await
    }

    /// From now on the server takes no message, until it is resumed; they wait. Given up before the server has met it, it
    /// does nothing.
    pub async fn suspend<M: Send + 'static>(self, cx: &Context<M>) -> Result<(), CallError> {
        self.system(cx, System::Suspend).await
    }

    /// The server goes on.
    pub async fn resume<M: Send + 'static>(self, cx: &Context<M>) -> Result<(), CallError> {
        self.system(cx, System::Resume).await
    }

    /// Looks at the server's state, in its process, between two callbacks; or changes it. If `look` panics the
    /// server goes on and the caller gets [`CallError::NoReply`].
    pub async fn with_state<M, R, F>(self, cx: &Context<M>, look: F) -> Result<R, CallError>
    where
        M: Send + 'static,
        R: Send + 'static,
        F: FnOnce(&mut S) -> R + Send + 'static,
    {
        self.system(cx, |reply| System::Look(Box::new(move |state: &mut S| reply.send(look(state))))).await
    }

    /// A copy of its state.
    pub async fn state<M: Send + 'static>(self, cx: &Context<M>) -> Result<S, CallError>
    where
        S: Clone,
    {
        self.with_state(cx, |state| state.clone()).await
    }

    /// Gives it another state; the old one.
    pub async fn replace_state<M: Send + 'static>(self, cx: &Context<M>, state: S) -> Result<S, CallError> {
        self.with_state(cx, move |old| core::mem::replace(old, state)).await
    }

    /// What it has done so far.
    pub async fn statistics<M: Send + 'static>(self, cx: &Context<M>) -> Result<Statistics, CallError> {
        self.system(cx, System::Statistics).await
    }

    /// From now on `tracer` is told what it is about to do, in its process. One that panics is told no more.
    pub async fn trace<M: Send + 'static>(
        self,
        cx: &Context<M>,
        tracer: impl FnMut(Event<'_, S>) + Send + 'static,
    ) -> Result<(), CallError> {
        self.system(cx, |reply| System::Trace(Box::new((Box::new(tracer), reply)))).await
    }

    /// Ends the tracing.
    pub async fn untrace<M: Send + 'static>(self, cx: &Context<M>) -> Result<(), CallError> {
        self.system(cx, System::TraceNoMore).await
    }

    /// Has it end with a reason, in its turn, after its `terminate`, and waits for its end; why it ended. If its full
    /// mailbox drops the request, [`CallError::NoReply`].
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

/// Whoever is registered under a name, if it runs a server of this type: looked up for each request, so it
/// lives through restarts.
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
    /// The name.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), serves: PhantomData }
    }

    /// Who has it now. A caller who tries again and again while there is nobody lets the others run: among them whoever
    /// starts the server again.
    async fn looked_up<M: Send + 'static>(&self, cx: &Context<M>) -> Result<ServerRef<S>, CallError> {
        cx.checkpoint().await;
        self.find(cx)
    }

    /// Who has it now.
    pub fn find<M: Send + 'static>(&self, cx: &Context<M>) -> Result<ServerRef<S>, CallError> {
        cx.whereis(&self.name).map(ServerRef::new).ok_or(CallError::NoName)
    }

    /// See [`ServerRef::cast`].
    pub fn cast<M: Send + 'static>(&self, cx: &Context<M>, message: S::Message) -> Result<(), SendError<S::Message>> {
        cx.send_name(&self.name, Envelope::<S>::message(message)).map_err(unwrapped)
    }

    /// See [`ServerRef::cast_wait`]. It waits at whoever has the name now, and at nobody else.
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

    /// See [`ServerRef::request`].
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

    /// See [`ServerRef::call`].
    pub async fn call<M, T>(&self, cx: &Context<M>, make: impl FnOnce(Reply<T>) -> S::Message) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.looked_up(cx).await?.call(cx, make).await
    }

    /// See [`ServerRef::call_within`].
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

    /// See [`ServerRef::call_wait`]. As for [`ServerName::cast_wait`].
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
