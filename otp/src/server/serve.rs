//! The receive loop of a server: takes the next signal, calls the callback, and does what the
//! callback returned.
//!
//! The order of the loop: first the message of `Next::Continue`, then urgent messages if the server
//! has any, then the mailbox. An EXIT of the parent or of the host ends the server. As in OTP it is
//! handled in its turn, or at once while the server is suspended.
//!
//! The whole loop runs inside one `catch_unwind`, so that each poll pays for it once, for all the
//! messages that it handles. A callback that panics ends the loop, and after `terminate` the
//! server; or the server restarts in place (`restart_in_place`) and its loop starts again. The
//! state, and what the loop keeps for its successor, are stored outside of it, in `serve`.

use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use atropos_kernel::{CatchDrop, Context, Cursor, Exit, Peek, Pid, Reason, Received};

use super::restart_in_place::{MailboxPolicy, RestartInPlace};
use super::system::{Content, Envelope, Event, Statistics, System, Tracer};
use super::{InitError, Next, Server, ServerCx};
use crate::catch_unwind::catch_unwind;
use crate::report::{Report, ReportHook};
use crate::start::InitSender;
use crate::wait::{Deadline, TimeoutFired, first, poll_search, yield_if_exhausted};

/// The parts with which a server's process starts. The panic of each part's destructor is caught,
/// also if the process is refused or dies before its first slice.
pub(crate) struct Startup<S: Server> {
    pub(super) state: CatchDrop<S>,
    pub(super) restart_in_place: Option<RestartInPlace<S>>,
    pub(super) hook: Option<ReportHook>,
}

struct ServerLoop<S: Server> {
    cx: Context<Envelope<S>>,
    parent: Option<Pid>,
    statistics: Statistics,
    tracer: Option<CatchDrop<Tracer<S>>>,
    hook: Option<ReportHook>,
    restart_in_place: Option<RestartInPlace<S>>,
    /// A copy of the message that is being handled: the poison message, if the state crashes on it.
    handled: Option<CatchDrop<S::Message>>,
    /// The message on which the last state crashed, which this state handles again.
    poison: Option<CatchDrop<S::Message>>,
    /// The position up to which the mailbox was searched for urgent messages.
    urgent: Cursor,
}

/// Runs a server's process; returns its exit reason.
pub(crate) async fn serve<S: Server>(cx: Context<Envelope<S>>, ready: InitSender, startup: Startup<S>) -> Reason {
    let Startup { state, restart_in_place, hook } = startup;
    let statistics = Statistics { started: cx.with(|cx| cx.now()), ..Statistics::default() };
    let parent = ready.parent();
    let container = cx.panic_catcher();
    let urgent = Cursor::new();
    let mut server = ServerLoop {
        cx,
        parent,
        statistics,
        tracer: None,
        hook,
        restart_in_place,
        handled: None,
        poison: None,
        urgent,
    };
    // Declared after the loop's own part, so that it is dropped first.
    let mut state = state;
    let serving = server.serving();
    let begun = catch_unwind(&container, pin!(async { state.init(serving).await })).await;
    let mut next = match begun {
        Ok(Ok(next)) => next,
        Ok(Err(InitError::Ignore)) => {
            drop(state);
            ready.ignore(&server.cx);
            return Reason::NORMAL;
        }
        Ok(Err(InitError::Stop(reason))) | Err(reason) => {
            drop(state);
            ready.fail(&server.cx, reason.clone());
            return reason;
        }
    };
    ready.up();
    loop {
        let (reason, crashed) = match catch_unwind(&container, pin!(server.run(&mut state, next))).await {
            Ok(reason) => (reason, false),
            Err(reason) => (reason, true),
        };
        if crashed {
            report(&server.cx, server.hook.as_ref(), &reason);
            // A poison message that still waits is mail. It goes before the `Continue` message of
            // its state's own `init`, on which the state crashed.
            let handled = server.handled.take();
            if server.poison.is_none() {
                server.poison = handled;
            }
        }
        server.trace(Event::Stopping(&reason));
        let serving = server.serving();
        let terminated = catch_unwind(&container, pin!(async { state.terminate(&reason, serving).await })).await;
        if let Err(crash) = &terminated {
            report(&server.cx, server.hook.as_ref(), crash);
        }
        let reason = terminated.map_or_else(|crash| crash, |()| reason);
        // The state is dropped before its successor is made, which may need what it holds. If its
        // destructor panics and the server exits, that is its crash; it does not prevent a restart
        // in place.
        let dropped = container.catch_panic(|| drop(state.into_inner()));
        if crashed && let Some((reborn, first)) = server.restart_in_place().await {
            (state, next) = (reborn, first);
            continue;
        }
        return dropped.map_or_else(|crash| crash, |()| reason);
    }
}

impl<S: Server> ServerLoop<S> {
    fn serving(&self) -> ServerCx<'_, S> {
        ServerCx { cx: &self.cx, parent: self.parent }
    }

    #[inline(always)]
    fn trace(&mut self, event: Event<'_, S>) {
        if self.tracer.is_some() {
            self.tell_tracer(event);
        }
    }

    #[cold]
    fn tell_tracer(&mut self, event: Event<'_, S>) {
        if let Some(tracer) = &mut self.tracer
            && self.cx.with(|cx| cx.catch_panic(|| tracer(event))).is_err()
        {
            // A tracer that panics is removed.
            self.tracer = None;
        }
    }

    /// Returns the next state after a crash, initialized; `None` if the server must exit.
    async fn restart_in_place(&mut self) -> Option<(CatchDrop<S>, Next<S::Message>)> {
        let now = self.cx.with(|cx| cx.now());
        let restart_in_place = self.restart_in_place.as_mut()?;
        if !restart_in_place.history.add(now, restart_in_place.intensity) {
            return None;
        }
        let state = self.cx.with(|cx| cx.catch_panic(|| (restart_in_place.make)())).ok()?;
        let catcher = self.cx.with(|cx| cx.drop_catcher());
        let mut state = catcher.catch_drop(state);
        state.catch_drops(catcher);
        let drops = matches!(restart_in_place.mail, MailboxPolicy::Drop);
        if drops {
            self.drop_mail().await;
        }
        self.statistics.restarts_in_place += 1;
        let serving = self.serving();
        let begun = catch_unwind(&self.cx.panic_catcher(), pin!(async { state.init(serving).await })).await;
        let next = match begun {
            Ok(Ok(next)) => next,
            Ok(Err(_)) | Err(_) => return None,
        };
        Some((state, next))
    }

    /// Drops the waiting messages; system requests, EXITs and DOWNs stay.
    async fn drop_mail(&mut self) {
        let message = |peek: &Peek<'_, Envelope<S>>| match peek {
            Peek::Message(envelope) | Peek::Timer { message: envelope, .. } => {
                matches!(envelope.0, Content::Message(_))
            }
            _ => false,
        };
        while let Some(dropped) = first(&self.cx, TimeoutFired::Already, message).await {
            // A panic of the message's destructor does not hit the server.
            self.cx.with(|cx| cx.drop_caught(dropped));
            yield_if_exhausted(&self.cx).await;
        }
    }

    /// Receives the next signal; returns `None` if nothing arrives in time.
    async fn receive(&mut self, patience: Option<Duration>) -> Option<Received<Envelope<S>>> {
        if !S::URGENT {
            return match patience {
                None => Some(self.cx.recv().await),
                Some(patience) => self.cx.recv_timeout(patience).await,
            };
        }
        // Without memory for a timer it waits without a limit.
        let mut alarm = Deadline::start(&self.cx, patience).unwrap_or_else(|_| Deadline::never(&self.cx));
        let (cx, cursor) = (&self.cx, &mut self.urgent);
        core::future::poll_fn(|task| {
            let urgent = |peek: Peek<'_, Envelope<S>>| match peek {
                Peek::Message(envelope) | Peek::Timer { message: envelope, .. } => match &envelope.0 {
                    Content::Message(message) => S::is_urgent(message),
                    Content::System(_) => false,
                },
                _ => false,
            };
            let found = match poll_search(cx, task, cursor, urgent) {
                Poll::Ready(None) => cx.try_recv(),
                Poll::Ready(found) => found,
                Poll::Pending => return Poll::Pending,
            };
            match found {
                Some(received) => Poll::Ready(Some(received)),
                None => alarm.poll_rung(task, true).map(|()| None),
            }
        })
        .await
    }

    /// Runs the loop until the server stops; returns the reason.
    async fn run(&mut self, state: &mut S, mut next: Next<S::Message>) -> Reason {
        loop {
            let mut other = None;
            // Unpacked at once: the future that waits for a callback stores everything that is
            // alive here.
            let mut sort = |received| match received {
                Received::Message(Envelope(Content::Message(message)))
                | Received::Timer { message: Envelope(Content::Message(message)), .. } => Some(message),
                received => {
                    other = Some(received);
                    None
                }
            };
            let mut patience = None;
            let message = match next {
                Next::Stop(reason) => return reason,
                Next::Continue(message) => {
                    // Nothing is received here, so this is the only point that lets other processes
                    // run (`wait`, W1).
                    yield_if_exhausted(&self.cx).await;
                    Some(message)
                }
                // The last state crashed on it. The `init` of this state, and its `Continue`
                // message, came first.
                Next::Wait | Next::Timeout(_) if self.poison.is_some() => self.poison.take().map(CatchDrop::into_inner),
                Next::Wait if !S::URGENT => self.cx.recv_with(sort).await,
                Next::Wait => self.receive(None).await.and_then(&mut sort),
                Next::Timeout(time) => {
                    patience = Some(time);
                    self.receive(patience).await.and_then(&mut sort)
                }
            };
            next = match message {
                Some(message) => {
                    self.begin(&message);
                    let next = state.handle(message, self.serving()).await;
                    self.end();
                    next
                }
                None => self.other(state, other.take(), patience).await,
            };
        }
    }

    /// Handles whatever is not a plain message.
    async fn other(
        &mut self,
        state: &mut S,
        received: Option<Received<Envelope<S>>>,
        patience: Option<Duration>,
    ) -> Next<S::Message> {
        match received {
            None => {
                self.statistics.timeouts += 1;
                self.trace(Event::Timeout);
                state.timeout(self.serving()).await
            }
            Some(Received::Message(envelope) | Received::Timer { message: envelope, .. }) => match envelope.0 {
                Content::Message(message) => Next::Continue(message),
                Content::System(system) => match self.system(state, system).await {
                    // The timeout starts again, because the server handled a request.
                    Ok(()) => patience.map_or(Next::Wait, Next::Timeout),
                    Err(reason) => Next::Stop(reason),
                },
            },
            Some(Received::Exit(exit)) if self.is_from_parent(&exit) => Next::Stop(exit.reason),
            Some(Received::Exit(exit)) => {
                self.statistics.signals += 1;
                self.trace(Event::Exit(&exit));
                state.exit(exit, self.serving()).await
            }
            Some(Received::Down(down)) => {
                self.statistics.signals += 1;
                self.trace(Event::Down(&down));
                state.down(down, self.serving()).await
            }
        }
    }

    fn is_from_parent(&self, exit: &Exit) -> bool {
        exit.from.is_none() || exit.from == self.parent
    }

    /// Records that a message is about to be handled.
    #[inline]
    fn begin(&mut self, message: &S::Message) {
        self.statistics.messages += 1;
        self.trace(Event::Message(message));
        if self.restart_in_place.is_some() {
            self.handled = self.copy(message);
        }
    }

    /// Records that it was handled without a crash.
    #[inline]
    fn end(&mut self) {
        if self.restart_in_place.is_some() {
            self.handled = None;
        }
    }

    /// Copies a message, for the next state if this one crashes on it.
    #[cold]
    fn copy(&self, message: &S::Message) -> Option<CatchDrop<S::Message>> {
        let restart_in_place = self.restart_in_place.as_ref()?;
        let copy = self.cx.with(|cx| cx.catch_panic(|| restart_in_place.copy(message))).ok().flatten();
        copy.map(|copy| self.cx.with(|cx| cx.catch_drop(copy)))
    }

    /// Handles a system request to the loop; an error ends the loop.
    async fn system(&mut self, state: &mut S, system: System<S>) -> Result<(), Reason> {
        match self.asked(state, system) {
            SystemOutcome::Done => Ok(()),
            SystemOutcome::Stop(reason) => Err(reason),
            SystemOutcome::Suspend => self.suspended(state).await,
        }
    }

    fn asked(&mut self, state: &mut S, system: System<S>) -> SystemOutcome {
        self.statistics.system += 1;
        match system {
            System::Suspend(reply) => {
                // A caller that no longer waits would not resume the server either.
                if reply.try_send(()).is_err() {
                    return SystemOutcome::Done;
                }
                self.statistics.suspended = true;
                self.trace(Event::Suspended);
                return SystemOutcome::Suspend;
            }
            System::Resume(reply) => {
                self.statistics.suspended = false;
                reply.send(());
            }
            // If `look` panics, its caller is at fault: the reply in it is dropped, and the caller
            // gets an error.
            System::Look(look) => drop(self.cx.with(|cx| cx.catch_panic(|| look(state)))),
            System::Statistics(reply) => reply.send(self.statistics),
            System::Trace(tracing) => {
                let (tracer, reply) = *tracing;
                self.tracer = Some(self.cx.with(|cx| cx.catch_drop(tracer)));
                reply.send(());
            }
            System::TraceNoMore(reply) => {
                self.tracer = None;
                reply.send(());
            }
            System::Stop(reason, reply) => {
                reply.send(());
                return SystemOutcome::Stop(reason);
            }
        }
        SystemOutcome::Done
    }

    /// Handles only system requests and the parent's exit, until the server is resumed.
    async fn suspended(&mut self, state: &mut S) -> Result<(), Reason> {
        while self.statistics.suspended {
            let parent = self.parent;
            let received = first(&self.cx, TimeoutFired::Never, |peek| match peek {
                Peek::Message(envelope) => matches!(envelope.0, Content::System(_)),
                Peek::Exit(exit) => exit.from.is_none() || exit.from == parent,
                _ => false,
            })
            .await;
            match received {
                Some(Received::Message(Envelope(Content::System(system)))) => match self.asked(state, system) {
                    SystemOutcome::Stop(reason) => return Err(reason),
                    SystemOutcome::Done | SystemOutcome::Suspend => {}
                },
                Some(Received::Exit(exit)) => return Err(exit.reason),
                _ => {}
            }
        }
        self.trace(Event::Resumed);
        Ok(())
    }
}

fn report<M: Send + 'static>(cx: &Context<M>, hook: Option<&ReportHook>, reason: &Reason) {
    ReportHook::emit(hook, cx, || Report::Crash { pid: cx.pid(), reason: reason.clone() });
}

enum SystemOutcome {
    Done,
    Suspend,
    Stop(Reason),
}
