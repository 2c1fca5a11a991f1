//! A body's links and monitors.

use super::{Cx, SendTarget};
use crate::alias::AliasMode;
use crate::behalf::ActAsError;
use crate::name::NameEntry;
use crate::pid::{Pid, Reference};
use crate::process::ties::{self, LinkError, MonitorError};
use crate::sync::Ordering;
use crate::watcher::{ExitWatch, PreparedWatch, WatchError};

impl<M: Send + 'static> Cx<'_, M> {
    /// Links with another process. Lock-free; amortised O(1).
    pub fn link(&self, to: Pid) -> Result<(), LinkError> {
        self.alive(LinkError::Dying)?;
        self.pay(1);
        let _inside = self.slice.enter();
        self.slice.has_sent_itself();
        ties::link(self.slice.process(), &self.slice.hand, to, true)
    }

    /// As [`Cx::link`]; but unless `as_otp` the dead are an error also to who traps exits.
    pub(crate) fn link_as(&self, to: Pid, as_otp: bool) -> Result<(), ActAsError> {
        self.pay(1);
        let _inside = self.slice.enter();
        self.slice.has_sent_itself();
        ties::link(self.slice.process(), &self.slice.hand, to, as_otp).map_err(|error| match error {
            LinkError::NoProc => ActAsError::NoProc,
            LinkError::NoMemory => ActAsError::NoMemory,
            LinkError::Dying => ActAsError::NoCaller,
        })
    }

    /// Monitors by this reference: whether the DOWN waits already.
    pub(crate) fn monitor_as(
        &self,
        target: Result<Pid, &NameEntry>,
        reference: Reference,
        alias: Option<AliasMode>,
    ) -> Result<bool, MonitorError> {
        self.pay(1);
        let _inside = self.slice.enter();
        let immediate_down = ties::monitor(self.slice.process(), &self.slice.hand, target, reference, alias)?;
        if immediate_down {
            self.slice.has_sent_itself();
        }
        Ok(immediate_down)
    }

    /// Ends a link; without one, nothing happens. Lock-free; amortised O(1).
    pub fn unlink(&self, to: Pid) {
        if !self.is_dying() {
            self.pay(1);
            let _inside = self.slice.enter();
            ties::unlink(self.slice.process(), &self.slice.hand, to);
        }
    }

    /// Monitors a process. Lock-free; amortised O(1).
    pub fn monitor(&self, target: Pid) -> Result<Reference, MonitorError> {
        self.monitor_with(SendTarget::Pid(target), None)
    }

    /// Monitors whoever has the name now; DOWN `noproc` at once when nobody has.
    pub fn monitor_name(&self, name: &str) -> Result<Reference, MonitorError> {
        self.monitor_with(SendTarget::Name(name), None)
    }

    /// Monitors, and makes the reference an alias as well.
    pub fn monitor_with(&self, target: SendTarget<'_>, alias: Option<AliasMode>) -> Result<Reference, MonitorError> {
        self.alive(MonitorError::Dying)?;
        self.pay(1);
        let _inside = self.slice.enter();
        let hand = &self.slice.hand;
        let target = match target {
            SendTarget::Pid(pid) => Ok(pid),
            SendTarget::Name(name) => Err(hand.kernel.names.intern(name)?),
        };
        let reference = self.reference().ok_or(MonitorError::NoMemory)?;
        if ties::monitor(self.slice.process(), hand, target, reference, alias)? {
            self.slice.has_sent_itself();
        }
        Ok(reference)
    }

    /// Ends a monitor: true when it was still in force (OTP's `info`). With `flush` a DOWN that
    /// has come is removed, and none comes any more. Lock-free; amortised O(1).
    pub fn demonitor(&self, monitor: Reference, flush: bool) -> bool {
        if self.is_dying() {
            return false;
        }
        self.must_not_look();
        self.pay(1);
        let _inside = self.slice.enter();
        ties::demonitor(self.slice.process(), &self.slice.hand, monitor, flush)
    }

    /// Watches a process from outside, as a host does ([`crate::Host::install_watch`]): what comes of it is no signal, and anybody may wait
    /// for it. Lock-free.
    pub fn install_watch(&self, pid: Pid, watch: PreparedWatch) -> Result<ExitWatch, WatchError> {
        self.pay(1);
        let _inside = self.slice.enter();
        watch.install(&self.slice.hand, pid)
    }

    /// Sets whether EXITs come as messages; the old value.
    pub fn trap_exit(&self, trap: bool) -> bool {
        // Relaxed: as in `Header::trap_exit`.
        self.slice.process().trap_exit.swap(trap, Ordering::Relaxed)
    }
}
