//! [`Start`]: how a server is started.

use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;

use atropos_kernel::{Context, Host, Overflow, Priority, ReplyFuture, SpawnOptions};

use super::rebirth::{MailPolicy, RestartInPlace};
use super::serve::Birth;
use super::{Envelope, Server, ServerRef, serve};
use crate::report::ReportHook;
use crate::start::{Ack, Confirmed, Launched, Ready, StartError, Tie, launch, ready, up};
use crate::supervisor::{History, Intensity};

/// A server that is to be started, and how: by a process ([`Start::start_link`], [`Start::start`]), the host
/// ([`Start::start_from_host`]), or a supervisor ([`crate::ChildStarter::server`]).
pub struct Start<'n, S: Server> {
    state: S,
    rebirth: Option<RestartInPlace<S>>,
    options: SpawnOptions<'static>,
    name: Option<&'n str>,
    init_timeout: Option<Duration>,
    hook: Option<ReportHook>,
}

impl<S: Server> From<S> for Start<'_, S> {
    fn from(state: S) -> Self {
        Self::new(state)
    }
}

impl<S: Server> fmt::Debug for Start<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'n, S: Server> Start<'n, S> {
    /// Of this value.
    pub fn new(state: S) -> Self {
        Self { state, rebirth: None, options: SpawnOptions::new(), name: None, init_timeout: None, hook: None }
    }

    /// Registered under a name from before its `init` on.
    pub fn name<'m>(self, name: &'m str) -> Start<'m, S>
    where
        'n: 'm,
    {
        Start { name: Some(name), ..self }
    }

    /// Whether it traps exits: then it hears of its parent's end, by `terminate`.
    pub fn trap_exit(mut self, trap: bool) -> Self {
        self.options = self.options.trap_exit(trap);
        self
    }

    /// How urgent it is.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options = self.options.priority(priority);
        self
    }

    /// The only core that may run it.
    pub fn core(mut self, core: usize) -> Self {
        self.options = self.options.core(core);
        self
    }

    /// Requests that may wait at a time; a call or cast beyond is refused, unless [`Start::overflow`] says otherwise. EXITs and
    /// DOWNs are not counted. What is asked of the loop itself ([`ServerRef::suspend`] and the like) is.
    pub fn mailbox_limit(mut self, messages: u32) -> Self {
        self.options = self.options.mailbox_limit(messages);
        self
    }

    /// What becomes of a request that is one too many, if there is a limit; see [`SpawnOptions::overflow`]. The caller of one
    /// that is dropped gets [`CallError::NoReply`](crate::CallError::NoReply); a cast's sender hears nothing. Urgent
    /// messages are dropped like any: a mailbox does not know them.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.options = self.options.overflow(overflow);
        self
    }

    /// It must be up in this time, or it is killed.
    pub fn init_timeout(mut self, time: Duration) -> Self {
        self.init_timeout = Some(time);
        self
    }

    /// When a callback panics, the server lives on with a new state, in the same process; see [`MailPolicy`]. `intensity` says
    /// how often.
    pub fn restart_in_place(
        mut self,
        make: impl FnMut() -> S + Send + 'static,
        mail: MailPolicy<S::Message>,
        intensity: Intensity,
    ) -> Self {
        self.rebirth = Some(RestartInPlace { make: Box::new(make), mail, intensity, history: History::default() });
        self
    }

    /// Who is told of a crash.
    pub fn on_report(mut self, hook: ReportHook) -> Self {
        self.hook = Some(hook);
        self
    }

    /// As [`Start::on_report`], if nobody is told yet.
    pub(crate) fn inherit(mut self, hook: Option<&ReportHook>) -> Self {
        if self.hook.is_none() {
            self.hook = hook.cloned();
        }
        self
    }

    /// How long its start may take.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.init_timeout
    }

    /// Starts it, linked with the caller, when the future is first polled, which waits until it is up. `None`: it had nothing to do.
    /// A future that is dropped before it has ended has started nothing: see [`Start::start`].
    pub fn start_link_optional<'c, M: Send + 'static>(
        self,
        cx: &'c Context<M>,
    ) -> impl Future<Output = Result<Option<ServerRef<S>>, StartError>> + Send + use<'c, S, M> {
        self.linked().start_optional(cx)
    }

    /// As [`Start::start_link_optional`], not linked.
    pub fn start_optional<'c, M: Send + 'static>(
        self,
        cx: &'c Context<M>,
    ) -> impl Future<Output = Result<Option<ServerRef<S>>, StartError>> + Send + use<'c, S, M> {
        let init_timeout = self.init_timeout;
        // The future holds nothing of the caller's but the context.
        let name = self.name.map(Box::<str>::from);
        let start = Start { name: None, ..self };
        async move {
            let launched = Start { name: name.as_deref(), ..start }.launch(cx, Tie::Free)?;
            match up(cx, launched, init_timeout).await? {
                (Confirmed::Ignored, _) => Ok(None),
                (Confirmed::Up, pid) => Ok(Some(ServerRef::new(pid))),
            }
        }
    }

    /// Starts it, linked with the caller; see [`Start::start`]. One that ignores is an error here.
    pub fn start_link<'c, M: Send + 'static>(
        self,
        cx: &'c Context<M>,
    ) -> impl Future<Output = Result<ServerRef<S>, StartError>> + Send + use<'c, S, M> {
        self.linked().start(cx)
    }

    /// Starts it, not linked, when the future is first polled, which waits until it is up. Dropped before it has ended (it has lost a
    /// `select!`, or was in a timeout of another library), the start is undone: the process is killed, and no monitor, DOWN or EXIT is left;
    /// if it sleeps in its `init`, its name is free at once. One that ignores is an error here.
    pub fn start<'c, M: Send + 'static>(
        self,
        cx: &'c Context<M>,
    ) -> impl Future<Output = Result<ServerRef<S>, StartError>> + Send + use<'c, S, M> {
        let up = self.start_optional(cx);
        async move { up.await?.ok_or_else(ignored) }
    }

    /// Starts it if nobody has its name; otherwise, whoever has. Never both, and without a gap in between: the name is
    /// taken by the spawn itself. The other one may be on its way to be up, or to its end.
    pub fn start_or_find<'c, M: Send + 'static>(
        self,
        cx: &'c Context<M>,
    ) -> impl Future<Output = Result<ServerRef<S>, StartError>> + Send + use<'c, S, M> {
        let up = self.start(cx);
        async move {
            match up.await {
                Err(StartError::AlreadyStarted(pid)) => Ok(ServerRef::new(pid)),
                started => started,
            }
        }
    }

    /// Starts the process, monitored, and linked if the options say so.
    pub(crate) fn launch<M: Send + 'static>(self, cx: &Context<M>, tie: Tie) -> Result<Launched, StartError> {
        let Self { state, rebirth, options, name, hook, .. } = self;
        let birth = Birth { state, rebirth, hook };
        let body = move |cx: Context<Envelope<S>>, ready: Ready| serve(cx, ready, birth);
        let launched = match name {
            Some(name) => launch(cx, &options.name(name), tie, body),
            None => launch(cx, &options, tie, body),
        };
        launched.map_err(|error| StartError::of_spawn(error, cx, name))
    }

    fn linked(mut self) -> Self {
        self.options = self.options.link();
        self
    }

    /// As a supervisor's child.
    pub(crate) fn supervised(mut self) -> Self {
        self.options = self.options.supervised();
        self
    }

    /// Starts it from the host. The second value says when it is up; a host thread can block on it, or not care.
    pub fn start_from_host(self, host: &Host<'_>) -> Result<(ServerRef<S>, Starting), StartError> {
        let Self { state, rebirth, options, name, hook, .. } = self;
        let options = match name {
            Some(name) => options.name(name),
            None => options,
        };
        let birth = Birth { state, rebirth, hook };
        let (ready, ack) = ready(None)?;
        let server = host.spawn_async(&options, move |cx| serve(cx, ready, birth))?;
        Ok((ServerRef::new(server.pid()), Starting(ack)))
    }
}

fn ignored() -> StartError {
    StartError::Refused(atropos_kernel::Reason::value("ignore"))
}

/// A start of the host's under way: a future. `true`: it is up; `false`: it had nothing to do.
#[derive(Debug)]
#[must_use = "it says whether the process is up"]
pub struct Starting(pub(crate) ReplyFuture<Ack>);

impl core::future::Future for Starting {
    type Output = Result<bool, StartError>;

    fn poll(mut self: core::pin::Pin<&mut Self>, task: &mut core::task::Context<'_>) -> core::task::Poll<Self::Output> {
        core::pin::Pin::new(&mut self.0).poll(task).map(|said| match said {
            Ok(Ack::Up) => Ok(true),
            Ok(Ack::Ignore) => Ok(false),
            Ok(Ack::Failed(reason)) => Err(StartError::Refused(reason)),
            Err(_) => Err(StartError::Crashed(atropos_kernel::Reason::NOPROC)),
        })
    }
}
