//! Restarts: counted, perhaps after a wait, by strategy, and tried again when they fail.

use super::backoff::random;
use super::children::{Place, State};
use super::requests::Request;
use super::running::{Flow, Running};
use super::spec::Strategy;
use crate::report::Report;
use atropos_kernel::Reason;

impl Running {
    /// Starts a child again that is down or could not be restarted, with the siblings that go with it. With `waits`
    /// the back-off comes first.
    pub(super) async fn restart(&mut self, place: Place, waits: bool) -> Flow {
        // Nobody asks when the restarts were that are not held against a period.
        let now = if self.intensity.has_period() { self.cx.with(|cx| cx.now()) } else { 0 };
        if !self.history.add(now, self.intensity) {
            self.tell(place, None, |supervisor, child| Report::GaveUp { supervisor, child });
            self.forget(place);
            return Flow::Stop(Reason::SHUTDOWN);
        }
        if waits && self.wait_first(place) {
            return Flow::Go;
        }
        self.restart_now(place).await
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

    async fn restart_now(&mut self, place: Place) -> Flow {
        let first = match self.strategy {
            Strategy::OneForOne | Strategy::Dynamic => {
                match self.start(place).await {
                    Ok(Some(_)) => {}
                    Ok(None) => self.ignored(place),
                    Err(error) => {
                        let tell = |supervisor, child| Report::StartError { supervisor, child, error };
                        self.tell(place, None, tell);
                        self.try_later(place);
                    }
                }
                return Flow::Go;
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
        Flow::Go
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
    pub(super) async fn try_again(&mut self, place: Place, attempt: u64, counted: bool) -> Flow {
        let child = self.children.get(place);
        if child.is_none_or(|child| child.state != State::Restarting { attempt }) {
            // It was stopped, deleted, or restarted with others meanwhile.
            return Flow::Go;
        }
        if counted { self.restart_now(place).await } else { self.restart(place, true).await }
    }

    /// There was no memory for the messages of some tries; all that has come meanwhile is met.
    pub(super) async fn try_unsent(&mut self) -> Flow {
        self.unsent = false;
        // Those whose message or timer is on its way find their attempt gone.
        let waiting = self.children.iter().find(|(_, child)| matches!(child.state, State::Restarting { .. }));
        match waiting.map(|(place, _)| place) {
            Some(place) => {
                self.unsent = self.another_restarting(place);
                self.restart(place, true).await
            }
            None => Flow::Go,
        }
    }

    fn another_restarting(&self, than: Place) -> bool {
        self.children.iter().any(|(place, child)| place != than && matches!(child.state, State::Restarting { .. }))
    }
}
