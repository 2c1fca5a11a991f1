//! The builder that starts a server: [`Start`].

use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;

use atropos_kernel::{CatchDrop, Context, DropCatcher, Host, Overflow, Priority, SpawnOptions};

use super::restart_in_place::{MailboxPolicy, MakeFn, RestartInPlace};
use super::serve::Startup;
use super::{Envelope, Server, ServerRef, serve};
use crate::report::ReportHook;
use crate::restart_intensity::{History, Intensity};
use crate::start::{InitOutcome, InitSender, PendingInit, StartError, StartFuture, Tie, launch, ready, up};
use crate::wait::yield_if_exhausted;

/// A server that is not started yet, and its options. It is started by a process
/// ([`Start::start_link`], [`Start::start`]), by the host ([`Start::start_from_host`]), or by a
/// supervisor ([`crate::ChildStarter::server`]).
pub struct Start<'n, S: Server> {
    state: CatchDrop<S>,
    restart_in_place: Option<RestartInPlace<S>>,
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
    /// Creates a builder for this server value, with default options.
    pub fn new(state: S) -> Self {
        let (state, options) = (CatchDrop::new(state), SpawnOptions::new());
        Self { state, restart_in_place: None, options, name: None, init_timeout: None, hook: None }
    }

    /// Registers the server under a name, before its `init` runs.
    pub fn name<'m>(self, name: &'m str) -> Start<'m, S>
    where
        'n: 'm,
    {
        Start { name: Some(name), ..self }
    }

    /// Sets whether the server traps exits. If it does, its `terminate` is called when its parent
    /// exits.
    pub fn trap_exit(mut self, trap: bool) -> Self {
        self.options = self.options.trap_exit(trap);
        self
    }

    /// Sets the scheduling priority.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options = self.options.priority(priority);
        self
    }

    /// Pins the server to a core.
    pub fn core(mut self, core: usize) -> Self {
        self.options = self.options.core(core);
        self
    }

    /// Limits the number of requests that wait in the mailbox. A call or cast beyond the limit is
    /// refused, unless [`Start::overflow`] says otherwise. EXITs and DOWNs do not count; system
    /// requests to the loop ([`ServerRef::suspend`] and the like) do.
    pub fn mailbox_limit(mut self, messages: u32) -> Self {
        self.options = self.options.mailbox_limit(messages);
        self
    }

    /// Sets what happens to a request beyond the limit, if there is one, see
    /// [`SpawnOptions::overflow`]. The caller of a dropped request gets
    /// [`CallError::NoReply`](crate::CallError::NoReply); the sender of a dropped cast is not
    /// notified. Urgent messages are dropped like any other: a mailbox does not know which messages
    /// are urgent.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.options = self.options.overflow(overflow);
        self
    }

    /// Sets the time in which the server must be up; otherwise it is killed.
    pub fn init_timeout(mut self, time: Duration) -> Self {
        self.init_timeout = Some(time);
        self
    }

    /// Makes the server survive a panic of a callback: it continues with a new state in the same
    /// process, see [`MailboxPolicy`]. `intensity` limits how often.
    pub fn restart_in_place(
        mut self,
        make: impl FnMut() -> S + Send + 'static,
        mail: MailboxPolicy<S::Message>,
        intensity: Intensity,
    ) -> Self {
        let (make, history) = (CatchDrop::<MakeFn<S>>::new(Box::new(make)), History::default());
        self.restart_in_place = Some(RestartInPlace { make, mail, intensity, history });
        self
    }

    /// Sets the hook that receives a report of each crash.
    pub fn on_report(mut self, hook: ReportHook) -> Self {
        self.hook = Some(hook);
        self
    }

    /// Sets the report hook, if there is none yet.
    pub(crate) fn inherit(mut self, hook: Option<&ReportHook>) -> Self {
        if self.hook.is_none() {
            self.hook = hook.cloned();
        }
        self
    }

    /// Sets how the panics of the user values' destructors are caught, before a process gets them
    /// or they are refused.
    #[inline]
    fn catch_with(&mut self, catcher: DropCatcher) {
        self.state.catch_with(catcher);
        self.state.catch_drops(catcher);
        self.restart_in_place.iter_mut().for_each(|restart_in_place| restart_in_place.make.catch_with(catcher));
        self.hook.iter_mut().for_each(|hook| hook.catch_with(catcher));
    }

    /// Returns the time limit of its start.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.init_timeout
    }

    /// Starts the server, linked with the caller, when the future is first polled; the future waits
    /// until the server is up. It resolves to `None` if `init` returned `ignore`. If it is dropped
    /// before it resolves, the start is undone, see [`Start::start`].
    pub fn start_link_optional<'c, M: Send + 'static>(
        self,
        cx: &'c Context<M>,
    ) -> impl Future<Output = Result<Option<ServerRef<S>>, StartError>> + Send + use<'c, S, M> {
        self.linked().start_optional(cx)
    }

    /// Starts the server as [`Start::start_link_optional`] does, but without a link.
    pub fn start_optional<'c, M: Send + 'static>(
        self,
        cx: &'c Context<M>,
    ) -> impl Future<Output = Result<Option<ServerRef<S>>, StartError>> + Send + use<'c, S, M> {
        let init_timeout = self.init_timeout;
        // The future borrows nothing from the caller except the context.
        let name = self.name.map(Box::<str>::from);
        let mut start = Start { name: None, ..self };
        async move {
            start.catch_with(cx.with(|cx| cx.drop_catcher()));
            // W1: a name that is taken is an error at once.
            yield_if_exhausted(cx).await;
            let launched = Start { name: name.as_deref(), ..start }.launch(cx, Tie::Free)?;
            match up(cx, launched, init_timeout).await? {
                (InitOutcome::Ignored, _) => Ok(None),
                (InitOutcome::Up, pid) => Ok(Some(ServerRef::new(pid))),
            }
        }
    }

    /// Starts the server, linked with the caller, see [`Start::start`]. Here `ignore` is an error.
    pub fn start_link<'c, M: Send + 'static>(
        self,
        cx: &'c Context<M>,
    ) -> impl Future<Output = Result<ServerRef<S>, StartError>> + Send + use<'c, S, M> {
        self.linked().start(cx)
    }

    /// Starts the server, without a link, when the future is first polled; the future waits until
    /// the server is up. If it is dropped before it resolves (it lost a `select!`, or a timeout of
    /// another library expired), the start is undone: the process is killed, and no monitor, DOWN
    /// or EXIT is left. If it sleeps in its `init`, its name is free at once. Here `ignore` is an
    /// error.
    pub fn start<'c, M: Send + 'static>(
        self,
        cx: &'c Context<M>,
    ) -> impl Future<Output = Result<ServerRef<S>, StartError>> + Send + use<'c, S, M> {
        let up = self.start_optional(cx);
        async move { up.await?.ok_or_else(ignored) }
    }

    /// Starts the server if its name is free; otherwise returns the process that has the name. The
    /// spawn itself registers the name, so there is no window in which both or neither could
    /// happen. The process that has the name may still be starting, or may be exiting.
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

    /// Spawns the process, monitored, and linked if the options say so.
    pub(crate) fn launch<M: Send + 'static>(mut self, cx: &Context<M>, tie: Tie) -> Result<PendingInit, StartError> {
        self.catch_with(cx.with(|cx| cx.drop_catcher()));
        let Self { state, restart_in_place, options, name, hook, .. } = self;
        let startup = Startup { state, restart_in_place, hook };
        let body = move |cx: Context<Envelope<S>>, ready: InitSender| serve(cx, ready, startup);
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

    /// Spawns the server as a supervisor's child.
    pub(crate) fn supervised(mut self) -> Self {
        self.options = self.options.supervised();
        self
    }

    /// Starts the server from the host. The second value resolves when the server is up; a host
    /// thread can block on it or ignore it.
    pub fn start_from_host(mut self, host: &Host<'_>) -> Result<(ServerRef<S>, StartFuture), StartError> {
        self.catch_with(host.drop_catcher());
        let Self { state, restart_in_place, options, name, hook, .. } = self;
        let options = match name {
            Some(name) => options.name(name),
            None => options,
        };
        let startup = Startup { state, restart_in_place, hook };
        let (ready, ack) = ready(None)?;
        let server = host.spawn_async(&options, move |cx| serve(cx, ready, startup))?;
        Ok((ServerRef::new(server.pid()), StartFuture(ack)))
    }
}

fn ignored() -> StartError {
    StartError::Refused(atropos_kernel::Reason::value("ignore"))
}
