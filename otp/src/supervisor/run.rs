//! The process of a supervisor, from its start to its end, and its receive loop.

use atropos_kernel::{Context, Down, MonitorTarget, Pid, Reason, Received, Reference};

use super::children::{Child, ChildKey, Children, State};
use super::config::SupervisorConfig;
use super::protocol::Request;
use super::state::{Flow, SupervisorState};
use crate::report::Report;
use crate::restart_intensity::History;
use crate::spec::{AutoShutdown, Restart};
use crate::start::InitSender;

/// A signal that the loop has taken out of its mailbox.
enum LoopEvent {
    /// The mailbox is empty, and a restart attempt could not be sent.
    Nobody,
    /// A signal that the supervisor ignores.
    Nothing,
    /// The DOWN of a process.
    End(Pid, Reference, Reason),
    Stop(Reason),
    /// A request, which is stored in a variable of its own.
    Request,
}

/// Unpacks a received signal into register-sized fields. Moving it as a struct right after it was
/// written would stall on store forwarding.
#[inline(always)]
fn sorted(received: Received<Request>, parent: Option<Pid>, asked: &mut Option<Request>) -> LoopEvent {
    match received {
        Received::Down(Down { target: MonitorTarget::Pid(pid), reference, reason }) => {
            LoopEvent::End(pid, reference, reason)
        }
        Received::Down(_) => LoopEvent::Nothing,
        Received::Message(request) | Received::Timer { message: request, .. } => {
            *asked = Some(request);
            LoopEvent::Request
        }
        // S5: the parent's or the host's. Exit signals of other processes are dropped, and a
        // child's exit is handled by its DOWN.
        Received::Exit(exit) if exit.from.is_none() || exit.from == parent => LoopEvent::Stop(exit.reason),
        Received::Exit(_) => LoopEvent::Nothing,
    }
}

/// Runs a supervisor's process; returns its exit reason.
pub(crate) async fn supervise(cx: Context<Request>, ready: InitSender, config: SupervisorConfig) -> Reason {
    let SupervisorConfig { strategy, intensity, auto, children: specs, template, hook, backoff, carried } = config;
    let now = cx.with(|cx| cx.now());
    let random = now ^ cx.pid().to_raw().rotate_left(32);
    let mut children = Children::new();
    for spec in specs {
        children.add(Child::new(Some(spec.id), spec.traits, spec.factory));
    }
    let mut running = SupervisorState {
        cx,
        parent: ready.parent(),
        heeds: Some(ready.parent()),
        strategy,
        intensity,
        auto,
        history: History::carried(&carried, now),
        children,
        template,
        backoff,
        hook,
        attempts: 0,
        unsent: false,
        random,
    };
    if let Err(failed) = running.start_all().await {
        running.stop_all().await;
        let reason = Reason::shutdown_with(failed);
        ready.fail(&running.cx, reason.clone());
        return reason;
    }
    running.heeds = None;
    ready.up();
    let reason = running.run().await;
    running.stop_all().await;
    reason
}

impl SupervisorState {
    /// Handles signals until the supervisor must exit.
    async fn run(&mut self) -> Reason {
        loop {
            let parent = self.parent;
            // Only a request is stored outside `came`, because only a request makes the loop wait.
            let mut asked = None;
            let came = if self.unsent {
                // The attempt that could not be sent waits until the mailbox is empty.
                self.cx.yield_now().await;
                self.cx.try_recv().map_or(LoopEvent::Nobody, |received| sorted(received, parent, &mut asked))
            } else {
                self.cx.recv_with(|received| sorted(received, parent, &mut asked)).await
            };
            let flow = match came {
                LoopEvent::Nobody => self.try_unsent(),
                LoopEvent::Nothing => Flow::Go,
                LoopEvent::End(pid, monitor, reason) => self.ended(pid, monitor, reason),
                LoopEvent::Stop(reason) => return reason,
                LoopEvent::Request => match asked.take() {
                    Some(request) => self.request(request).await,
                    None => Flow::Go,
                },
            };
            match flow {
                Flow::Go => {}
                Flow::Restart(place) => self.restart_now(place).await,
                Flow::Stop(reason) => return reason,
            }
        }
    }

    /// Handles the exit of a monitored process.
    fn ended(&mut self, pid: Pid, watched_by: Reference, reason: Reason) -> Flow {
        let Some(place) = self.children.by_pid(pid) else { return Flow::Go };
        let Some(child) = self.children.get_mut(place) else { return Flow::Go };
        let State::Up { monitor, since, .. } = child.state else { return Flow::Go };
        if monitor != watched_by {
            return Flow::Go;
        }
        let restart = child.traits.restart;
        if let Some(backoff) = &self.backoff {
            let lived = self.cx.with(|cx| cx.now()).saturating_sub(since);
            child.deaths = backoff.consecutive_failures(child.deaths, core::time::Duration::from_nanos(lived));
        }
        self.set(place, State::Down);
        if restart != Restart::Permanent && reason.is_orderly() {
            return self.ended_for_good(place);
        }
        self.tell(place, Some(pid), |supervisor, child| Report::ChildTerminated { supervisor, child, reason });
        if restart == Restart::Temporary { self.ended_for_good(place) } else { self.restart(place) }
    }

    /// Handles the exit of a child that is not restarted: checks automatic shutdown.
    fn ended_for_good(&mut self, place: ChildKey) -> Flow {
        let significant = self.children.get(place).is_some_and(|child| child.traits.significant);
        self.forget(place);
        let over = significant
            && match self.auto {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self.children.any_significant(),
            };
        if over { Flow::Stop(Reason::SHUTDOWN) } else { Flow::Go }
    }
}
