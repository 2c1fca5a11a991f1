//! Starting children: one, or all in their order.

use core::fmt;

use atropos_kernel::Pid;

use super::children::{Place, State};
use super::running::Running;
use super::spec::{ChildId, Strategy};
use super::starter;
use crate::report::Report;
use crate::start::{Confirmed, StartError, confirm};
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

impl Running {
    /// Starts a child that has no process, and waits until it is up; `None` when it has nothing to do. A child that
    /// does not start stays as it is.
    pub(super) async fn start(&mut self, place: Place) -> Result<Option<Pid>, StartError> {
        self.children.reserve()?;
        let Some(child) = self.children.get_mut(place) else { return Ok(None) };
        let Some(factory) = child.factory.as_mut() else { return Ok(None) };
        let (launched, within) = starter::start(&self.cx, self.hook.as_ref(), factory)?;
        let Some(mut launched) = launched else {
            self.set(place, State::Down);
            return Ok(None);
        };
        match confirm(&self.cx, &mut launched, within).await? {
            Confirmed::Ignored => {
                self.set(place, State::Down);
                Ok(None)
            }
            Confirmed::Up => {
                let since = self.cx.with(|cx| cx.now());
                let pid = launched.pid;
                self.set(place, State::Up { pid, monitor: launched.monitor, since });
                self.tell(place, Some(pid), |supervisor, child| Report::Progress { supervisor, child });
                Ok(Some(pid))
            }
        }
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
        match self.children.first() {
            Some(first) => self.start_from(first).await.map_err(|(place, error)| FailedToStart {
                id: self.children.get(place).and_then(|child| child.id.clone()),
                error,
            }),
            None => Ok(()),
        }
    }

    /// Starts the child at `first`, if there is one, and all behind it.
    pub(super) async fn start_from(&mut self, first: Place) -> Result<(), (Place, StartError)> {
        let mut next = self.children.from(first);
        while let Some(place) = next {
            match self.start(place).await {
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
            next = self.children.after(place);
            breathe(&self.cx).await;
        }
        Ok(())
    }
}
