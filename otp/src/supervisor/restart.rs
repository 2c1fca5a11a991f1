//! Restarts: counted, delayed by the back-off if there is one, done by strategy, and tried again if
//! they fail.

use atropos_kernel::{Pid, Reason};

use super::backoff::random;
use super::children::{ChildKey, State};
use super::protocol::Request;
use super::start_children::StartProgress;
use super::state::{Flow, SupervisorState};
use crate::error::StartError;
use crate::report::Report;
use crate::spec::Strategy;

impl SupervisorState {
    /// Handles a child that is down or could not be restarted: counts the restart, then restarts
    /// the child (with the siblings that its strategy includes) at once or after its back-off. If
    /// the count exceeds the intensity, the supervisor shuts down.
    pub(super) fn restart(&mut self, place: ChildKey) -> Flow {
        // The time of a restart matters only for an intensity with a period.
        let now = if self.intensity.has_period() { self.cx.with(|cx| cx.now()) } else { 0 };
        if !self.history.add(now, self.intensity) {
            self.tell(place, None, |supervisor, child| Report::GaveUp { supervisor, child });
            self.forget(place);
            return Flow::Stop(Reason::SHUTDOWN);
        }
        if self.backoff.is_some() && self.wait_first(place) { Flow::Go } else { Flow::Restart(place) }
    }

    /// Delays the restart if there is a back-off; without memory for a timer there is no delay.
    fn wait_first(&mut self, place: ChildKey) -> bool {
        let Some(backoff) = self.backoff else { return false };
        let deaths = self.children.get(place).map_or(0, |child| child.deaths);
        let wait = backoff.wait(deaths, random(&mut self.random));
        let attempt = self.next_attempt();
        let request = Request::Try { place, attempt, counted: true };
        let started = self.cx.send_after(self.cx.pid(), wait, request).is_ok();
        if started {
            self.set(place, State::Restarting { attempt });
        }
        started
    }

    fn next_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    /// Restarts a child whose restart has been counted ([`Flow::Restart`]).
    pub(super) async fn restart_now(&mut self, place: ChildKey) {
        let first = match self.strategy {
            Strategy::OneForOne | Strategy::Dynamic => {
                let started = match self.begin(place) {
                    Ok(StartProgress::Waits(launched, within)) => self.confirmed(place, launched, within).await,
                    begun => begun.map(StartProgress::process),
                };
                return self.restarted(place, started);
            }
            Strategy::RestForOne => place,
            Strategy::OneForAll => self.children.first().unwrap_or(place),
        };
        self.set(place, State::Down);
        self.stop_from(first).await;
        // A temporary first child has been deleted by the stop; the child to restart has not.
        let first = if self.strategy == Strategy::OneForAll { self.children.first() } else { Some(place) };
        if let Err((failed, _)) = self.start_from(first).await {
            self.try_later(failed);
        }
    }

    /// Handles the result of the start of a child that is restarted alone.
    fn restarted(&mut self, place: ChildKey, started: Result<Option<Pid>, StartError>) {
        match started {
            Ok(Some(_)) => {}
            Ok(None) => self.ignored(place),
            Err(error) => {
                self.tell(place, None, |supervisor, child| Report::StartError { supervisor, child, error });
                self.try_later(place);
            }
        }
    }

    /// Sends itself a message to try again, after everything that is in the mailbox now.
    fn try_later(&mut self, place: ChildKey) {
        let attempt = self.next_attempt();
        self.set(place, State::Restarting { attempt });
        let request = Request::Try { place, attempt, counted: false };
        if self.cx.send(self.cx.pid(), request).is_err() {
            self.unsent = true;
        }
    }

    /// Handles the message of a restart attempt, or the end of a back-off wait.
    pub(super) fn try_again(&mut self, place: ChildKey, attempt: u64, counted: bool) -> Flow {
        let child = self.children.get(place);
        if child.is_none_or(|child| child.state != State::Restarting { attempt }) {
            // The child was stopped, deleted or restarted together with others in the time between.
            return Flow::Go;
        }
        if counted { Flow::Restart(place) } else { self.restart(place) }
    }

    /// Tries restarts whose messages could not be sent, for lack of memory. Everything that has
    /// arrived is handled first.
    pub(super) fn try_unsent(&mut self) -> Flow {
        self.unsent = false;
        // An attempt whose message or timer is still pending finds its number outdated later.
        let waiting = self.children.iter().find(|(_, child)| matches!(child.state, State::Restarting { .. }));
        match waiting.map(|(place, _)| place) {
            Some(place) => {
                self.unsent = self.another_restarting(place);
                self.restart(place)
            }
            None => Flow::Go,
        }
    }

    fn another_restarting(&self, than: ChildKey) -> bool {
        self.children.iter().any(|(place, child)| place != than && matches!(child.state, State::Restarting { .. }))
    }
}
