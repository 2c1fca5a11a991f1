//! The start of children: one, or all in order.

use core::fmt;
use core::time::Duration;

use atropos_kernel::{Pid, Reference};

use super::children::{ChildKey, State};
use super::starter;
use super::state::SupervisorState;
use crate::error::StartError;
use crate::report::Report;
use crate::spec::{ChildId, Strategy};
use crate::start::{InitOutcome, PendingInit, confirm};
use crate::wait::yield_if_exhausted;

/// The value of the reason `{shutdown, {failed_to_start_child, Id, Reason}}`, with which a
/// supervisor exits if a child does not start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedToStart {
    /// The id of the child.
    pub id: Option<ChildId>,
    /// The reason why it did not start.
    pub error: StartError,
}

impl fmt::Display for FailedToStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "the child {id:?} did not start: {}", self.error),
            None => write!(f, "a child did not start: {}", self.error),
        }
    }
}

/// The progress of a start when the start function has returned.
pub(super) enum StartProgress {
    /// The child is up.
    Up(Pid),
    /// The start function returned `ignore`.
    Ignored,
    /// The child acknowledges its start itself, within this time.
    Waits(PendingInit, Option<Duration>),
}

impl StartProgress {
    /// Returns the pid of a child that is up.
    pub(super) fn process(self) -> Option<Pid> {
        match self {
            Self::Up(pid) => Some(pid),
            Self::Ignored | Self::Waits(..) => None,
        }
    }
}

impl SupervisorState {
    /// Starts a child that has no process, and waits until it is up; returns `None` if its start
    /// returned `ignore`. A child that does not start keeps its state.
    pub(super) async fn start(&mut self, place: ChildKey) -> Result<Option<Pid>, StartError> {
        match self.begin(place)? {
            StartProgress::Waits(launched, within) => self.confirmed(place, launched, within).await,
            begun => Ok(begun.process()),
        }
    }

    /// Calls a child's start function.
    pub(super) fn begin(&mut self, place: ChildKey) -> Result<StartProgress, StartError> {
        self.children.reserve()?;
        let Some(child) = self.children.get_mut(place) else { return Ok(StartProgress::Ignored) };
        let Some(factory) = child.factory.as_mut() else { return Ok(StartProgress::Ignored) };
        match starter::start(&self.cx, self.hook.as_ref(), factory)? {
            (None, _) => {
                self.set(place, State::Down);
                Ok(StartProgress::Ignored)
            }
            (Some(PendingInit { pid, monitor, ack: None, .. }), _) => {
                self.is_up(place, pid, monitor);
                Ok(StartProgress::Up(pid))
            }
            (Some(launched), within) => Ok(StartProgress::Waits(launched, within)),
        }
    }

    /// Waits for the acknowledgement of a child that was spawned.
    pub(super) async fn confirmed(
        &mut self,
        place: ChildKey,
        mut launched: PendingInit,
        within: Option<Duration>,
    ) -> Result<Option<Pid>, StartError> {
        let confirmed = confirm(&self.cx, &mut launched, within, self.heeds).await;
        if launched.stuck {
            self.tell(place, Some(launched.pid), |supervisor, child| Report::Stuck { supervisor, child });
        }
        match confirmed? {
            InitOutcome::Ignored => {
                self.set(place, State::Down);
                Ok(None)
            }
            InitOutcome::Up => {
                self.is_up(place, launched.pid, launched.monitor);
                Ok(Some(launched.pid))
            }
        }
    }

    fn is_up(&mut self, place: ChildKey, pid: Pid, monitor: Reference) {
        // Only the back-off needs the time of the start.
        let since = if self.backoff.is_some() { self.cx.with(|cx| cx.now()) } else { 0 };
        self.set(place, State::Up { pid, monitor, since });
        self.tell(place, Some(pid), |supervisor, child| Report::Progress { supervisor, child });
    }

    /// Handles a child whose start returned `ignore`.
    pub(super) fn ignored(&mut self, place: ChildKey) {
        let temporary = self.children.get(place).is_some_and(|child| child.is_temporary());
        if temporary || self.strategy == Strategy::Dynamic {
            self.remove(place);
        }
    }

    /// Starts all children in order; stops at the first that does not start, and returns its id and
    /// the error.
    pub(super) async fn start_all(&mut self) -> Result<(), FailedToStart> {
        let first = self.children.first();
        self.start_from(first).await.map_err(|(place, error)| FailedToStart {
            id: self.children.get(place).and_then(|child| child.id.clone()),
            error,
        })
    }

    /// Starts the child `first`, if there is one, and all after it.
    pub(super) async fn start_from(&mut self, first: Option<ChildKey>) -> Result<(), (ChildKey, StartError)> {
        let mut next = first;
        while let Some(place) = next {
            let started = match self.begin(place) {
                Ok(StartProgress::Waits(launched, within)) => self.confirmed(place, launched, within).await,
                begun => begun.map(StartProgress::process),
            };
            // Read before `ignored` may delete the child.
            next = self.children.after(place);
            match started {
                Ok(Some(_)) => {}
                Ok(None) => self.ignored(place),
                Err(error) => {
                    self.tell(place, None, |supervisor, child| Report::StartError {
                        supervisor,
                        child,
                        error: error.clone(),
                    });
                    return Err((place, error));
                }
            }
            yield_if_exhausted(&self.cx).await;
        }
        Ok(())
    }
}
