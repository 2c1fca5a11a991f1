//! The supervisor's process: its state and its loop.

use atropos_kernel::{Context, Down, MonitorTarget, Pid, Reason, Received, Reference};

use super::backoff::Backoff;
use super::builder::Supervisor;
use super::children::{Child, Children, Place, State};
use super::dynamic::Template;
use super::intensity::{History, Intensity};
use super::requests::Request;
use super::spec::{AutoShutdown, Restart, Strategy};
use crate::report::{ReportHook, Offender, Report};
use crate::start::Ready;

/// Whether the supervisor goes on.
#[derive(Debug)]
#[must_use = "the supervisor may have to end"]
pub(super) enum Flow {
    Go,
    /// With the restart of a child, which is counted.
    Restart(Place),
    Stop(Reason),
}

/// What the loop takes out of its mailbox.
enum Came {
    /// Nobody, while a try could not be sent.
    Nobody,
    /// Nothing that is its own business.
    Nothing,
    /// The DOWN of a process.
    End(Pid, Reference, Reason),
    Stop(Reason),
    /// What was asked, which is kept elsewhere.
    Request,
}

/// What has come, out of its wraps at once, and in words: what is moved as a whole right after it was written is waited for.
#[inline(always)]
fn sorted(received: Received<Request>, parent: Option<Pid>, asked: &mut Option<Request>) -> Came {
    match received {
        Received::Down(Down { object: MonitorTarget::Pid(pid), reference, reason }) => Came::End(pid, reference, reason),
        Received::Down(_) => Came::Nothing,
        Received::Message(request) | Received::Timer { message: request, .. } => {
            *asked = Some(request);
            Came::Request
        }
        // S5: the parent's, or the host's; all others are dropped, and a child's end comes as its DOWN.
        Received::Exit(exit) if exit.from.is_none() || exit.from == parent => Came::Stop(exit.reason),
        Received::Exit(_) => Came::Nothing,
    }
}

/// See the module.
pub(super) struct Running {
    pub(super) cx: Context<Request>,
    parent: Option<Pid>,
    /// While its children are started for the first time: its parent, whose EXIT ends that. Nobody waits for it any more then.
    pub(super) heeds: Option<Option<Pid>>,
    pub(super) strategy: Strategy,
    pub(super) intensity: Intensity,
    pub(super) auto: AutoShutdown,
    pub(super) history: History,
    pub(super) children: Children,
    pub(super) template: Option<Template>,
    pub(super) backoff: Option<Backoff>,
    pub(super) hook: Option<ReportHook>,
    /// The last try of a restart.
    pub(super) attempts: u64,
    /// A try whose message could not be sent, for want of memory.
    pub(super) unsent: bool,
    /// Of the back-off's random parts.
    pub(super) random: u64,
}

/// The body of a supervisor's process; the reason that it ends with.
pub(crate) async fn supervise(cx: Context<Request>, ready: Ready, supervisor: Supervisor) -> Reason {
    let Supervisor { strategy, intensity, auto, children: specs, template, hook, backoff, carried, .. } = supervisor;
    let now = cx.with(|cx| cx.now());
    let random = now ^ cx.pid().to_raw().rotate_left(32);
    let mut children = Children::new();
    for spec in specs {
        let factory = cx.with(|cx| cx.hold(spec.factory));
        children.add(Child::new(Some(spec.id), spec.traits, factory));
    }
    let mut running = Running {
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

impl Running {
    /// Until it has to end.
    async fn run(&mut self) -> Reason {
        loop {
            let parent = self.parent;
            // Only requests have it wait: nothing else is kept meanwhile.
            let mut asked = None;
            let came = if self.unsent {
                // When all that has come is met, a try waits that could not be sent.
                self.cx.yield_now().await;
                self.cx.try_recv().map_or(Came::Nobody, |received| sorted(received, parent, &mut asked))
            } else {
                self.cx.recv_with(|received| sorted(received, parent, &mut asked)).await
            };
            let flow = match came {
                Came::Nobody => self.try_unsent(),
                Came::Nothing => Flow::Go,
                Came::End(pid, monitor, reason) => self.ended(pid, monitor, reason),
                Came::Stop(reason) => return reason,
                Came::Request => match asked.take() {
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

    /// A process that was monitored has ended.
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
            child.deaths = backoff.in_a_row(child.deaths, core::time::Duration::from_nanos(lived));
        }
        self.set(place, State::Down);
        if restart != Restart::Permanent && reason.is_orderly() {
            return self.ended_for_good(place);
        }
        self.tell(place, Some(pid), |supervisor, child| Report::ChildTerminated { supervisor, child, reason });
        if restart == Restart::Temporary { self.ended_for_good(place) } else { self.restart(place) }
    }

    /// A child has ended and is not started again.
    fn ended_for_good(&mut self, place: Place) -> Flow {
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

    /// A child that is down is not to be started again: dynamic and temporary ones are dropped.
    pub(super) fn forget(&mut self, place: Place) {
        let Some(child) = self.children.get(place) else { return };
        if self.strategy == Strategy::Dynamic || child.is_temporary() {
            self.remove(place);
        } else {
            self.set(place, State::Down);
        }
    }

    /// Changes how a child is.
    #[inline(always)]
    pub(super) fn set(&mut self, place: Place, state: State) {
        if let Some(spent) = self.children.set(place, state) {
            self.discard(spent);
        }
    }

    /// Forgets a child.
    pub(super) fn remove(&mut self, place: Place) {
        let child = self.children.remove(place);
        self.discard(child);
    }

    /// Drops what is foreign: a start function, its arguments. Their faults are not the supervisor's.
    pub(super) fn discard<T>(&self, what: T) {
        self.cx.with(|cx| cx.let_go(what));
    }

    /// Reports something of a child.
    pub(super) fn tell(&self, place: Place, pid: Option<Pid>, report: impl FnOnce(Pid, Offender) -> Report) {
        if let Some(child) = self.children.get(place) {
            ReportHook::tell(self.hook.as_ref(), &self.cx, || report(self.cx.pid(), child.offender(pid)));
        }
    }
}
