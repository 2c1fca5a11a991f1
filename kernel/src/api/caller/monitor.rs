//! Monitors that other code makes for a process, and the process's aliases.
//!
//! A name is looked up at the call, as the process itself would do; a process that gets the name
//! afterwards is not monitored. An alias that belongs to a monitor is queued before it: no process
//! knows the reference yet, so nothing can come between.

use crate::api::caller::{ActAsError, Caller, CallerRoute, MonitorOutcome};
use crate::memory::NoMemory;
use crate::mutation::mutant;
use crate::ops::owner_op::OpKind;
use crate::ops::relations::monitor::{self, MonitorBy};
use crate::pid::{Alias, Pid, Reference};
use crate::process::alias::{AliasMode, AliasRecord};
use crate::process::name::RegisterError;
use crate::process::process_ref::ProcessRef;
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
            SendTarget::Pid(pid) => MonitorBy::Pid(pid),
            SendTarget::Name(name) => match self.kernel_cx.kernel.names.intern(name) {
                Ok(entry) => MonitorBy::Name(entry),
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
        process: ProcessRef<'_>,
        target: MonitorBy<'_>,
        reference: Reference,
        alias: Option<AliasMode>,
    ) -> Result<bool, ActAsError> {
        let kernel_cx = &self.kernel_cx;
        if let Some(mode) = alias
            && !self.order_alias(process, reference, mode)?
        {
            return Ok(false);
        }
        let found = target.find(kernel_cx);
        let pid = found.pid();
        // A process's monitor of itself is a reference that never fires.
        if pid == Some(self.caller) {
            return Ok(false);
        }
        let (watcher, target) = monitor::try_new(kernel_cx, reference, self.caller, pid, target.name())?;
        mutant!(kernel_cx.kernel.mutations, PlacedFirst,
            right => {
                let pushed = self.order(process, OpKind::Monitor(watcher));
                if pushed != Ok(true) {
                    target.release(kernel_cx.pool());
                    return Ok(pushed?);
                }
                Ok(monitor::place_monitor(target, kernel_cx, found))
            },
            wrong => {
                let immediate_down = monitor::place_monitor(target, kernel_cx, found);
                let _ = self.order(process, OpKind::Monitor(watcher));
                Ok(immediate_down)
            },
        )
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
    fn order_alias(&self, process: ProcessRef<'_>, reference: Reference, mode: AliasMode) -> Result<bool, NoMemory> {
        self.order(process, OpKind::Alias(AliasRecord::try_new(reference, mode)?))
    }
}
