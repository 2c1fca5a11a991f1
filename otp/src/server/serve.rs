//! A server's loop: takes what comes, calls back, and does what the callback says.
//!
//! The loop's order: what a callback wants handled first (`Next::Continue`), then the mailbox. An EXIT of the parent, or of
//! the host, ends the server; it is looked at when its turn comes, as in OTP, or at once while the server is suspended.
//! Each callback runs contained; a crash ends the server with it, after `terminate`.

use core::future::Future;

use atropos_kernel::{Context, Exit, Peek, Pid, Reason, Received};

use super::system::{Content, Envelope, Event, Statistics, System, Tracer};
use super::{Next, Refusal, Server, Serving};
use crate::contained::contained;
use crate::report::{Hook, Report};
use crate::start::Ready;
use crate::wait::{Ring, first};

struct Loop<S: Server> {
    cx: Context<Envelope<S>>,
    parent: Option<Pid>,
    statistics: Statistics,
    tracer: Option<Tracer<S>>,
    hook: Option<Hook>,
}

/// The body of a server's process; the reason that it ends with.
pub(crate) async fn serve<S: Server>(cx: Context<Envelope<S>>, ready: Ready, state: S, hook: Option<Hook>) -> Reason {
    let statistics = Statistics { started: cx.with(|cx| cx.now()), ..Statistics::default() };
    let mut server = Loop { cx, parent: ready.parent(), statistics, tracer: None, hook };
    // After the loop's own part, so that its destructor comes first.
    let mut state = state;
    let serving = server.serving();
    let next = match contained(serving.cx, async { state.init(serving).await }).await {
        Ok(Ok(next)) => next,
        Ok(Err(Refusal::Ignore)) => {
            drop(state);
            ready.ignore(&server.cx);
            return Reason::NORMAL;
        }
        Ok(Err(Refusal::Stop(reason))) | Err(reason) => {
            drop(state);
            ready.fail(&server.cx, reason.clone());
            return reason;
        }
    };
    ready.up();
    let reason = server.run(&mut state, next).await;
    server.trace(Event::Stopping(&reason));
    let serving = server.serving();
    match contained(serving.cx, async { state.terminate(&reason, serving).await }).await {
        Ok(()) => reason,
        Err(crash) => {
            report(&server.cx, server.hook.as_ref(), &crash);
            crash
        }
    }
}

impl<S: Server> Loop<S> {
    fn serving(&self) -> Serving<'_, S> {
        Serving { cx: &self.cx, parent: self.parent }
    }

    fn trace(&mut self, event: Event<'_, S>) {
        if let Some(tracer) = &mut self.tracer
            && self.cx.with(|cx| cx.contain(|| tracer(event))).is_err()
        {
            // A tracer that panics traces no more.
            self.tracer = None;
        }
    }

    async fn run(&mut self, state: &mut S, mut next: Next<S::Message>) -> Reason {
        loop {
            let patience = match next {
                Next::Stop(reason) => return reason,
                Next::Continue(message) => {
                    next = self.message(state, message).await;
                    continue;
                }
                Next::Timeout(patience) => Some(patience),
                Next::Wait => None,
            };
            let received = match patience {
                None => Some(self.cx.recv().await),
                Some(patience) => self.cx.recv_timeout(patience).await,
            };
            next = match received {
                None => {
                    self.statistics.timeouts += 1;
                    self.trace(Event::Timeout);
                    let serving = self.serving();
                    called::<S>(&self.cx, self.hook.as_ref(), async { state.timeout(serving).await }).await
                }
                Some(Received::Message(envelope) | Received::Timer { message: envelope, .. }) => match envelope.0 {
                    Content::Message(message) => self.message(state, message).await,
                    Content::System(system) => match self.system(state, system).await {
                        // The patience starts anew: the server was spoken to.
                        Ok(()) => patience.map_or(Next::Wait, Next::Timeout),
                        Err(reason) => Next::Stop(reason),
                    },
                },
                Some(Received::Exit(exit)) if self.is_the_parents(&exit) => Next::Stop(exit.reason),
                Some(Received::Exit(exit)) => {
                    self.statistics.signals += 1;
                    self.trace(Event::Exit(&exit));
                    let serving = self.serving();
                    called::<S>(&self.cx, self.hook.as_ref(), async { state.exit(exit, serving).await }).await
                }
                Some(Received::Down(down)) => {
                    self.statistics.signals += 1;
                    self.trace(Event::Down(&down));
                    let serving = self.serving();
                    called::<S>(&self.cx, self.hook.as_ref(), async { state.down(down, serving).await }).await
                }
            };
        }
    }

    fn is_the_parents(&self, exit: &Exit) -> bool {
        exit.from.is_none() || exit.from == self.parent
    }

    async fn message(&mut self, state: &mut S, message: S::Message) -> Next<S::Message> {
        self.statistics.messages += 1;
        self.trace(Event::Message(&message));
        let serving = self.serving();
        called::<S>(&self.cx, self.hook.as_ref(), async { state.handle(message, serving).await }).await
    }

    /// Does what is asked of the loop; an error ends it.
    async fn system(&mut self, state: &mut S, system: System<S>) -> Result<(), Reason> {
        match self.asked(state, system) {
            Asked::Done => Ok(()),
            Asked::Stop(reason) => Err(reason),
            Asked::Suspend => self.suspended(state).await,
        }
    }

    fn asked(&mut self, state: &mut S, system: System<S>) -> Asked {
        self.statistics.system += 1;
        match system {
            System::Suspend(reply) => {
                self.statistics.suspended = true;
                self.trace(Event::Suspended);
                reply.send(());
                return Asked::Suspend;
            }
            System::Resume(reply) => {
                self.statistics.suspended = false;
                reply.send(());
            }
            // A look that panics is its asker's fault: the reply in it is dropped, and the asker told.
            System::Look(look) => drop(self.cx.with(|cx| cx.contain(|| look(state)))),
            System::Statistics(reply) => reply.send(self.statistics),
            System::Trace(tracer, reply) => {
                self.tracer = tracer;
                reply.send(());
            }
            System::Stop(reason) => return Asked::Stop(reason),
        }
        Asked::Done
    }

    /// Takes nothing but what is asked of the loop, and the parent's end, until it is resumed.
    async fn suspended(&mut self, state: &mut S) -> Result<(), Reason> {
        while self.statistics.suspended {
            let parent = self.parent;
            let received = first(&self.cx, Ring::Never, |peek| match peek {
                Peek::Message(envelope) => matches!(envelope.0, Content::System(_)),
                Peek::Exit(exit) => exit.from.is_none() || exit.from == parent,
                _ => false,
            })
            .await;
            match received {
                Some(Received::Message(Envelope(Content::System(system)))) => match self.asked(state, system) {
                    Asked::Stop(reason) => return Err(reason),
                    Asked::Done | Asked::Suspend => {}
                },
                Some(Received::Exit(exit)) => return Err(exit.reason),
                _ => {}
            }
        }
        self.trace(Event::Resumed);
        Ok(())
    }
}

fn report<M: Send + 'static>(cx: &Context<M>, hook: Option<&Hook>, reason: &Reason) {
    Hook::tell(hook, cx, || Report::Crash { pid: cx.pid(), reason: reason.clone() });
}

/// What a callback says, or that it crashed. (Not of the loop: a tracer need not be `Sync`.)
async fn called<S: Server>(
    cx: &Context<Envelope<S>>,
    hook: Option<&Hook>,
    callback: impl Future<Output = Next<S::Message>>,
) -> Next<S::Message> {
    match contained(cx, callback).await {
        Ok(next) => next,
        Err(crash) => {
            report(cx, hook, &crash);
            Next::Stop(crash)
        }
    }
}

enum Asked {
    Done,
    Suspend,
    Stop(Reason),
}
