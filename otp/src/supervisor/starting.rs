//! Starting children: one, or all in their order.

use core::fmt;
use core::time::Duration;

use atropos_kernel::{Pid, Reference};

use super::children::{Place, State};
use super::running::Running;
use super::spec::{ChildId, Strategy};
use super::starter;
use crate::report::Report;
use crate::start::{Confirmed, Launched, StartError, confirm};
use crate::wait::breathe;

/// The value of the reason `{shutdown, {failed_to_start_child, Id, Reason}}`, with which a supervisor ends
/// whose child does not start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedToStart {
    /// The child.
    pub id: Option<ChildId>,
    /// Why it did not.
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

/// How far a start has come when its start function has returned.
pub(super) enum Begun {
    /// It is up.
    Up(Pid),
    /// It has nothing to do.
    Ignored,
    /// It says itself when it is up, for which it has so long.
    Waits(Launched, Option<Duration>),
}

impl Begun {
    /// The process of one that is up.
    pub(super) fn process(self) -> Option<Pid> {
        match self {
            Self::Up(pid) => Some(pid),
            Self::Ignored | Self::Waits(..) => None,
        }
    }
}

impl Running {
    /// Starts a child that has no process, and waits until it is up; `None` when it has nothing to do. A child that
    /// does not start stays as it is.
    pub(super) async fn start(&mut self, place: Place) -> Result<Option<Pid>, StartError> {
        match self.begin(place)? {
            Begun::Waits(launched, within) => self.confirmed(place, launched, within).await,
            begun => Ok(begun.process()),
        }
    }

    /// Has a child's start function start it.
    pub(super) fn begin(&mut self, place: Place) -> Result<Begun, StartError> {
        self.children.reserve()?;
        let Some(child) = self.children.get_mut(place) else { return Ok(Begun::Ignored) };
        let Some(factory) = child.factory.as_mut() else { return Ok(Begun::Ignored) };
        match starter::start(&self.cx, self.hook.as_ref(), factory)? {
            (None, _) => {
                self.set(place, State::Down);
                Ok(Begun::Ignored)
            }
            (Some(Launched { pid, monitor, ack: None, .. }), _) => {
                self.is_up(place, pid, monitor);
                Ok(Begun::Up(pid))
            }
            (Some(launched), within) => Ok(Begun::Waits(launched, within)),
        }
    }

    /// Waits until a child that has been started says that it is up.
    pub(super) async fn confirmed(
        &mut self,
        place: Place,
        mut launched: Launched,
        within: Option<Duration>,
    ) -> Result<Option<Pid>, StartError> {
        let confirmed = confirm(&self.cx, &mut launched, within, self.heeds).await;
        if launched.stuck {
            self.tell(place, Some(launched.pid), |supervisor, child| Report::Stuck { supervisor, child });
        }
        match confirmed? {
            Confirmed::Ignored => {
                self.set(place, State::Down);
                Ok(None)
            }
            Confirmed::Up => {
                self.is_up(place, launched.pid, launched.monitor);
                Ok(Some(launched.pid))
            }
        }
    }

    fn is_up(&mut self, place: Place, pid: Pid, monitor: Reference) {
        // Nobody else asks since when it is.
        let since = if self.backoff.is_some() { self.cx.with(|cx| cx.now()) } else { 0 };
        self.set(place, State::Up { pid, monitor, since });
        self.tell(place, Some(pid), |supervisor, child| Report::Progress { supervisor, child });
    }

    /// A child has said at its start that it has nothing to do.
    pub(super) fn ignored(&mut self, place: Place) {
        let temporary = self.children.get(place).is_some_and(|child| child.is_temporary());
        if temporary || self.strategy == Strategy::Dynamic {
            self.remove(place);
        }
    }

    /// Starts all, in their order; at the first that does not start it says which and why.
    pub(super) async fn start_all(&mut self) -> Result<(), FailedToStart> {
        let first = self.children.first();
        self.start_from(first).await.map_err(|(place, error)| FailedToStart {
            id: self.children.get(place).and_then(|child| child.id.clone()),
            error,
        })
    }

    /// Starts the child `first`, if there is one, and all behind it.
    pub(super) async fn start_from(&mut self, first: Option<Place>) -> Result<(), (Place, StartError)> {
        let mut next = first;
        while let Some(place) = next {
            let started = match self.begin(place) {
                Ok(Begun::Waits(launched, within)) => self.confirmed(place, launched, within).await,
                begun => begun.map(Begun::process),
            };
            // Before it may be forgotten.
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
            breathe(&self.cx).await;
        }
        Ok(())
    }
}
