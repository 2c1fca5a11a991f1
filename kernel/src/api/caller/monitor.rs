//! Monitors that other code makes for a process, and the process's aliases.
//!
//! A name is looked up at the call, as the process itself would do; a process that gets the name
//! afterwards is not monitored. An alias that belongs to a monitor is queued before it: no process
//! knows the reference yet, so nothing can come between.

use core::ptr::NonNull;

use crate::api::caller::{ActAsError, Caller, CallerRoute, MonitorOutcome};
use crate::memory::{self, NoMemory};
use crate::mutation::Mutation;
use crate::ops::owner_op::OpKind;
use crate::ops::relations::monitor;
use crate::pid::{Alias, Pid, Reference};
use crate::process::alias::{AliasMode, AliasRecord};
use crate::process::header::Header;
use crate::process::name::{NameEntry, RegisterError};
use crate::process::relation::monitor::Monitor;
use crate::signal::target::SendTarget;

impl From<NoMemory> for ActAsError {
    fn from(NoMemory: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl Caller<'_> {
    /// Monitors a process. A watcher that is dead gets a reference, and never a DOWN.
    pub fn monitor(&self, target: Pid) -> Result<MonitorOutcome, ActAsError> {
        self.monitor_with(SendTarget::Pid(target), None)
    }

    /// Monitors the process that holds the name now. Without a holder the watcher gets a DOWN
    /// `noproc` immediately. DOWNs contain the name.
    pub fn monitor_name(&self, name: &str) -> Result<MonitorOutcome, ActAsError> {
        self.monitor_with(SendTarget::Name(name), None)
    }

    /// Monitors, and makes the reference an alias of the caller as well.
    pub fn monitor_with(&self, target: SendTarget<'_>, alias: Option<AliasMode>) -> Result<MonitorOutcome, ActAsError> {
        if let CallerRoute::NeverAllocated = self.way {
            return Err(ActAsError::NoCaller);
        }
        let target = match target {
            SendTarget::Pid(pid) if !self.was_allocated(pid) => return Err(ActAsError::NoProc),
            SendTarget::Pid(pid) => Ok(pid),
            SendTarget::Name(name) => match self.kernel_cx.kernel.names.intern(name) {
                Ok(entry) => Err(entry),
                Err(RegisterError::TableFull) => return Err(ActAsError::TableFull),
                Err(_) => return Err(ActAsError::NoMemory),
            },
        };
        let reference = self.reference()?;
        let immediate_down = match self.way {
            CallerRoute::Running(cx) => cx.monitor_as(target, reference, alias).map_err(|_| ActAsError::NoMemory)?,
            CallerRoute::Elsewhere(process) => self.monitor_remote_caller(process, target, reference, alias)?,
            CallerRoute::Dead | CallerRoute::NeverAllocated => false,
        };
        Ok(MonitorOutcome { reference, immediate_down })
    }

    fn monitor_remote_caller(
        &self,
        process: &Header,
        target: Result<Pid, &NameEntry>,
        reference: Reference,
        alias: Option<AliasMode>,
    ) -> Result<bool, ActAsError> {
        let kernel_cx = &self.kernel_cx;
        if let Some(mode) = alias
            && !self.order_alias(process, reference, mode)?
        {
            return Ok(false);
        }
        let (name, holder) = match target {
            Ok(pid) => (None, kernel_cx.find(pid).ok_or(Some(pid))),
            Err(entry) => (Some(entry), entry.holder(kernel_cx.guard).ok_or(None)),
        };
        let pid = holder.map_or_else(|pid| pid, |other| Some(other.pid));
        // A process's monitor of itself is a reference that never fires.
        if pid == Some(self.caller) {
            return Ok(false);
        }
        let monitor = Monitor::try_new(kernel_cx, reference, self.caller, pid, name)?;
        if kernel_cx.kernel.mutated(Mutation::PlacedFirst) {
            // SAFETY: the target side's reference is ours; on no list and in no queue.
            let immediate_down = unsafe { monitor::place_monitor(monitor, kernel_cx, holder) };
            let _ = self.order(process, OpKind::Monitor(monitor));
            return Ok(immediate_down);
        }
        let pushed = self.order(process, OpKind::Monitor(monitor));
        if pushed != Ok(true) {
            for _share in 0..2 {
                // SAFETY: X2: the operation was refused, so both references are still ours.
                unsafe { Monitor::release(monitor, kernel_cx.pool()) };
            }
            return Ok(pushed?);
        }
        // SAFETY: the target side's reference is ours; on no list and in no queue.
        Ok(unsafe { monitor::place_monitor(monitor, kernel_cx, holder) })
    }

    /// Makes an alias of the caller; with `reply` the first message through it ends it. An alias of
    /// a dead process receives nothing.
    pub fn alias(&self, reply: bool) -> Result<Alias, ActAsError> {
        let mode = if reply { AliasMode::Reply } else { AliasMode::ExplicitUnalias };
        match self.way {
            CallerRoute::Running(cx) => Ok(cx.alias(reply)?),
            CallerRoute::Elsewhere(process) => {
                let reference = self.reference()?;
                self.order_alias(process, reference, mode)?;
                Ok(Alias { pid: self.caller, reference })
            }
            CallerRoute::Dead => Ok(Alias { pid: self.caller, reference: self.reference()? }),
            CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// Ends an alias of the caller; another process's alias is left alone. `Some` says if it was in
    /// force, which is known only for a caller that runs here. For other callers it is still in
    /// force when this returns, and ends when the caller next fetches.
    pub fn unalias(&self, reference: Reference) -> Result<Option<bool>, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(Some(cx.unalias(Alias { pid: self.caller, reference }))),
            CallerRoute::Elsewhere(process) => Ok(self.order(process, OpKind::Unalias(reference)).map(|_| None)?),
            CallerRoute::Dead => Ok(Some(false)),
            CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// Queues an alias. Returns `false` if the process is dead.
    fn order_alias(&self, process: &Header, reference: Reference, mode: AliasMode) -> Result<bool, NoMemory> {
        let alias: NonNull<AliasRecord> = AliasRecord::try_new(reference, mode)?;
        let pushed = self.order(process, OpKind::Alias(alias));
        if pushed != Ok(true) {
            // SAFETY: X2: the operation was refused, so the record is still ours.
            unsafe { memory::drop_and_free(alias) };
        }
        pushed
    }
}
