//! Links, monitors and exit watches of a body, and its flag that traps exits.

use crate::api::caller::ActAsError;
use crate::api::cx::Cx;
use crate::ops::host_watch::{ExitWatch, PreparedWatch};
use crate::ops::relations::monitor::{self, MonitorBy};
use crate::ops::relations::{LinkError, MonitorError, link};
use crate::pid::{Pid, Reference};
use crate::process::alias::AliasMode;
use crate::process::relation::WatchError;
use crate::signal::target::SendTarget;
use crate::sync::Ordering;

impl<M: Send + 'static> Cx<'_, M> {
    /// Links with another process. Lock-free; amortised O(1).
    ///
    /// # Errors
    /// A [`LinkError`] if no link was made.
    pub fn link(&self, to: Pid) -> Result<(), LinkError> {
        self.alive(LinkError::Dying)?;
        self.pay(1);
        self.slice.has_sent_itself();
        self.slice.with_owned(|owned| link::link(owned, &self.slice.kernel_cx, to, true))
    }

    /// Links like [`Cx::link`]. Unless `as_otp`, a dead target is an error even if the caller traps
    /// exits.
    pub(crate) fn link_as(&self, to: Pid, as_otp: bool) -> Result<(), ActAsError> {
        self.pay(1);
        self.slice.has_sent_itself();
        let linked = self.slice.with_owned(|owned| link::link(owned, &self.slice.kernel_cx, to, as_otp));
        linked.map_err(|error| match error {
            LinkError::NoProc => ActAsError::NoProc,
            LinkError::NoMemory => ActAsError::NoMemory,
            LinkError::Dying => ActAsError::NoCaller,
        })
    }

    /// Monitors with this reference. Returns `true` if the DOWN is already in the mailbox.
    pub(crate) fn monitor_as(
        &self,
        target: MonitorBy<'_>,
        reference: Reference,
        alias: Option<AliasMode>,
    ) -> Result<bool, MonitorError> {
        self.pay(1);
        let kernel_cx = &self.slice.kernel_cx;
        let immediate_down =
            self.slice.with_owned(|owned| monitor::monitor(owned, kernel_cx, target, reference, alias))?;
        if immediate_down {
            self.slice.has_sent_itself();
        }
        Ok(immediate_down)
    }

    /// Ends a link, and does nothing if there is none. Lock-free; amortised O(1).
    pub fn unlink(&self, to: Pid) {
        if !self.is_dying() {
            self.pay(1);
            self.slice.with_owned(|owned| link::unlink(owned, &self.slice.kernel_cx, to));
        }
    }

    /// Monitors a process. Lock-free; amortised O(1).
    ///
    /// # Errors
    /// A [`MonitorError`] if no monitor was made.
    pub fn monitor(&self, target: Pid) -> Result<Reference, MonitorError> {
        self.monitor_with(SendTarget::Pid(target), None)
    }

    /// Monitors the process that has the name now. If no process has it, a DOWN with `noproc` is
    /// sent at once.
    ///
    /// # Errors
    /// A [`MonitorError`] if no monitor was made.
    pub fn monitor_name(&self, name: &str) -> Result<Reference, MonitorError> {
        self.monitor_with(SendTarget::Name(name), None)
    }

    /// Monitors a process and, with `alias`, makes the reference an alias as well.
    ///
    /// # Errors
    /// A [`MonitorError`] if no monitor was made.
    pub fn monitor_with(&self, target: SendTarget<'_>, alias: Option<AliasMode>) -> Result<Reference, MonitorError> {
        self.alive(MonitorError::Dying)?;
        self.pay(1);
        let kernel_cx = &self.slice.kernel_cx;
        let target = match target {
            SendTarget::Pid(pid) => MonitorBy::Pid(pid),
            SendTarget::Name(name) => MonitorBy::Name(kernel_cx.kernel.names.intern(name)?),
        };
        let reference = self.reference().ok_or(MonitorError::NoMemory)?;
        if self.slice.with_owned(|owned| monitor::monitor(owned, kernel_cx, target, reference, alias))? {
            self.slice.has_sent_itself();
        }
        Ok(reference)
    }

    /// Ends a monitor. Returns `true` if it was still active (OTP's `info`). With `flush`, a DOWN
    /// that has arrived is removed, and none arrives later. Lock-free; amortised O(1).
    pub fn demonitor(&self, monitor: Reference, flush: bool) -> bool {
        if self.is_dying() {
            return false;
        }
        self.assert_not_scanning();
        self.pay(1);
        self.slice.with_owned(|owned| monitor::demonitor(owned, &self.slice.kernel_cx, monitor, flush))
    }

    /// Watches a process as a host does ([`crate::Host::install_watch`]). The notification is no
    /// signal, and any thread may wait for it. Lock-free.
    ///
    /// # Errors
    /// A [`WatchError`] if no watch was installed.
    pub fn install_watch(&self, pid: Pid, watch: PreparedWatch) -> Result<ExitWatch, WatchError> {
        self.pay(1);
        self.slice.with_owned(|_| watch.install(&self.slice.kernel_cx, pid))
    }

    /// Sets whether EXITs arrive as messages, and returns the old value.
    pub fn trap_exit(&self, trap: bool) -> bool {
        // Relaxed: as in `Header::trap_exit`.
        self.slice.process().trap_exit.swap(trap, Ordering::Relaxed)
    }
}
