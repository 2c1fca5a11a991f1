//! Restarts: counted, perhaps after a wait, by strategy, and tried again when they fail.

use atropos_kernel::{Pid, Reason};

use super::backoff::random;
use super::children::{Place, State};
use super::requests::Request;
use super::running::{Flow, Running};
use super::spec::Strategy;
use super::starting::Begun;
use crate::report::Report;
use crate::start::StartError;

impl Running {
    /// A child that is down, or could not be restarted, is to be started again, with the siblings that go with it: at once,
    /// or after its back-off; or that is one time too many.
    pub(super) fn restart(&mut self, place: Place) -> Flow {
        // Nobody asks when the restarts were that are not held against a period.
        let now = if self.intensity.has_period() { self.cx.with(|cx| cx.now()) } else { 0 };
        if !self.history.add(now, self.intensity) {
            self.tell(place, None, |supervisor, child| Report::GaveUp { supervisor, child });
            self.forget(place);
            return Flow::Stop(Reason::SHUTDOWN);
        }
        if self.backoff.is_some() && self.wait_first(place) { Flow::Go } else { Flow::Restart(place) }
    }

    /// Has the restart wait, if there is a back-off; without room for a timer it does not.
    fn wait_first(&mut self, place: Place) -> bool {
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

    /// Starts a child again that has been counted ([`Flow::Restart`]).
    pub(super) async fn restart_now(&mut self, place: Place) {
        let first = match self.strategy {
            Strategy::OneForOne | Strategy::Dynamic => {
                let started = match self.begin(place) {
                    Ok(Begun::Waits(launched, within)) => self.confirmed(place, launched, within).await,
                    begun => begun.map(Begun::process),
                };
                return self.restarted(place, started);
            }
            Strategy::RestForOne => place,
            Strategy::OneForAll => self.children.first().unwrap_or(place),
        };
        self.set(place, State::Down);
        self.stop_from(first).await;
        // A temporary one that was the first is forgotten; the one that is restarted is not.
        let first = if self.strategy == Strategy::OneForAll { self.children.first() } else { Some(place) };
        if let Err((failed, _)) = self.start_from(first).await {
            self.try_later(failed);
        }
    }

    /// What has come of the start of a child that is restarted alone.
    fn restarted(&mut self, place: Place, started: Result<Option<Pid>, StartError>) {
        match started {
            Ok(Some(_)) => {}
            Ok(None) => self.ignored(place),
            Err(error) => {
                self.tell(place, None, |supervisor, child| Report::StartError { supervisor, child, error });
                self.try_later(place);
            }
        }
    }

    /// Has a message to itself try again, behind all that has come.
    fn try_later(&mut self, place: Place) {
        let attempt = self.next_attempt();
        self.set(place, State::Restarting { attempt });
        let request = Request::Try { place, attempt, counted: false };
        if self.cx.send(self.cx.pid(), request).is_err() {
            self.unsent = true;
        }
    }

    /// A message to itself has come, or a wait is over.
    pub(super) fn try_again(&mut self, place: Place, attempt: u64, counted: bool) -> Flow {
        let child = self.children.get(place);
        if child.is_none_or(|child| child.state != State::Restarting { attempt }) {
            // It was stopped, deleted, or restarted with others meanwhile.
            return Flow::Go;
        }
        if counted { Flow::Restart(place) } else { self.restart(place) }
    }

    /// There was no memory for the messages of some tries; all that has come meanwhile is met.
    pub(super) fn try_unsent(&mut self) -> Flow {
        self.unsent = false;
        // Those whose message or timer is on its way find their attempt gone.
        let waiting = self.children.iter().find(|(_, child)| matches!(child.state, State::Restarting { .. }));
        match waiting.map(|(place, _)| place) {
            Some(place) => {
                self.unsent = self.another_restarting(place);
                self.restart(place)
            }
            None => Flow::Go,
        }
    }

    fn another_restarting(&self, than: Place) -> bool {
        self.children.iter().any(|(place, child)| place != than && matches!(child.state, State::Restarting { .. }))
    }
}
