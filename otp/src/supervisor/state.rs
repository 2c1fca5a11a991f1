//! The state of a supervisor's process: [`SupervisorState`].

use atropos_kernel::{Context, Pid, Reason};

use super::backoff::Backoff;
use super::child_spec::Template;
use super::children::{ChildKey, Children, State};
use super::protocol::Request;
use crate::report::{Offender, Report, ReportHook};
use crate::restart_intensity::{History, Intensity};
use crate::spec::{AutoShutdown, Strategy};

/// The decision of a handler: whether the supervisor continues.
#[derive(Debug)]
#[must_use = "the supervisor may have to end"]
pub(super) enum Flow {
    Go,
    /// Continue with the restart of a child, which has been counted.
    Restart(ChildKey),
    Stop(Reason),
}

/// The state of the supervisor's process.
pub(super) struct SupervisorState {
    pub(super) cx: Context<Request>,
    pub(super) parent: Option<Pid>,
    /// During the first start of its children: its parent, whose EXIT aborts the start. No process
    /// waits for the start then.
    pub(super) heeds: Option<Option<Pid>>,
    pub(super) strategy: Strategy,
    pub(super) intensity: Intensity,
    pub(super) auto: AutoShutdown,
    pub(super) history: History,
    /// Declared before the template, so that it is dropped first (`Template::factory`).
    pub(super) children: Children,
    pub(super) template: Option<Template>,
    pub(super) backoff: Option<Backoff>,
    pub(super) hook: Option<ReportHook>,
    /// The number of the last restart attempt.
    pub(super) attempts: u64,
    /// `true` if the message of a restart attempt could not be sent, for lack of memory.
    pub(super) unsent: bool,
    /// The state of the random numbers of the back-off.
    pub(super) random: u64,
}

impl SupervisorState {
    /// Marks a child that is down and will not be restarted: a dynamic or temporary one is deleted.
    pub(super) fn forget(&mut self, place: ChildKey) {
        let Some(child) = self.children.get(place) else { return };
        if self.strategy == Strategy::Dynamic || child.is_temporary() {
            self.remove(place);
        } else {
            self.set(place, State::Down);
        }
    }

    /// Changes the state of a child.
    #[inline(always)]
    pub(super) fn set(&mut self, place: ChildKey, state: State) {
        if let Some(spent) = self.children.set(place, state) {
            self.discard(spent);
        }
    }

    /// Deletes a child.
    pub(super) fn remove(&mut self, place: ChildKey) {
        let child = self.children.remove(place);
        self.discard(child);
    }

    /// Drops a user value (a start function, its arguments). A panic of its destructor does not hit
    /// the supervisor.
    pub(super) fn discard<T>(&self, what: T) {
        self.cx.with(|cx| cx.drop_caught(what));
    }

    /// Emits a report about a child.
    pub(super) fn tell(&self, place: ChildKey, pid: Option<Pid>, report: impl FnOnce(Pid, Offender) -> Report) {
        if let Some(child) = self.children.get(place) {
            ReportHook::emit(self.hook.as_ref(), &self.cx, || report(self.cx.pid(), child.offender(pid)));
        }
    }
}
