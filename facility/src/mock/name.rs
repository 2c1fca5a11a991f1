//! Mocks of names and aliases.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use super::{MockProcesses, next};
use crate::alias::{AliasFacility, AliasMode};
use crate::log::CallLog;
use crate::name::{NameError, NameFacility};
use crate::record::{AliasRecord, NameRecord};
use crate::supervision::{MonitorResult, SupervisionError};
use crate::sync::AtomicUsize;

/// A mock of [`NameFacility`] that records its calls; it does not store registrations except those
/// that it was created with.
#[derive(Debug, Default)]
pub struct MockNames {
    cast: MockProcesses,
    named: Vec<(&'static str, u64)>,
    references: AtomicUsize,
    log: CallLog<NameRecord>,
}

impl MockNames {
    /// Creates a mock with these processes, some of which have names.
    pub fn new(cast: MockProcesses, named: &[(&'static str, u64)]) -> Self {
        Self { cast, named: named.to_vec(), ..Self::default() }
    }

    /// Returns the calls since the last drain, in order.
    pub fn drain(&self) -> Vec<NameRecord> {
        self.log.drain()
    }

    fn caller(&self, caller: u64) -> Result<(), NameError> {
        if self.cast.lives(caller) { Ok(()) } else { Err(NameError::NoCaller) }
    }
}

impl NameFacility for MockNames {
    fn register(&self, caller: u64, name: &str, pid: u64) -> Result<(), NameError> {
        self.log.write(NameRecord::Register { caller, name: name.to_string(), pid });
        self.caller(caller)?;
        match () {
            () if self.whereis(name).is_some() => Err(NameError::InUse),
            () if !self.cast.lives(pid) => Err(NameError::NoProc),
            () if self.named.iter().any(|(_, named)| *named == pid) => Err(NameError::AlreadyNamed),
            () => Ok(()),
        }
    }

    fn unregister(&self, caller: u64, name: &str) -> Result<bool, NameError> {
        self.log.write(NameRecord::Unregister { caller, name: name.to_string() });
        self.caller(caller).map(|()| self.whereis(name).is_some())
    }

    fn whereis(&self, name: &str) -> Option<u64> {
        self.named.iter().find(|(known, _)| *known == name).map(|(_, pid)| *pid)
    }

    fn monitor_name(&self, caller: u64, name: &str) -> Result<MonitorResult, NameError> {
        self.log.write(NameRecord::Monitor { caller, name: name.to_string() });
        self.caller(caller)?;
        let immediate_down = !self.whereis(name).is_some_and(|pid| self.cast.lives(pid));
        Ok(MonitorResult { reference: next(&self.references), immediate_down })
    }
}

/// A mock of [`AliasFacility`] that records its calls.
#[derive(Debug, Default)]
pub struct MockAliases {
    cast: MockProcesses,
    references: AtomicUsize,
    log: CallLog<AliasRecord>,
}

impl MockAliases {
    /// Creates a mock with these processes.
    pub fn new(cast: MockProcesses) -> Self {
        Self { cast, ..Self::default() }
    }

    /// Returns the calls since the last drain, in order.
    pub fn drain(&self) -> Vec<AliasRecord> {
        self.log.drain()
    }

    fn caller(&self, caller: u64) -> Result<(), SupervisionError> {
        if self.cast.was(caller) { Ok(()) } else { Err(SupervisionError::NoCaller) }
    }
}

impl AliasFacility for MockAliases {
    fn alias(&self, caller: u64, reply: bool) -> Result<u64, SupervisionError> {
        self.log.write(AliasRecord::Alias { caller, reply });
        self.caller(caller).map(|()| next(&self.references))
    }

    fn unalias(&self, caller: u64, alias: u64) -> Result<Option<bool>, SupervisionError> {
        self.log.write(AliasRecord::Unalias { caller, alias });
        self.caller(caller).map(|()| None)
    }

    fn monitor_alias(&self, caller: u64, target: u64, mode: AliasMode) -> Result<MonitorResult, SupervisionError> {
        self.log.write(AliasRecord::Monitor { caller, target, mode });
        self.caller(caller)?;
        if !self.cast.was(target) {
            return Err(SupervisionError::NoProc);
        }
        let immediate_down = self.cast.lives(caller) && !self.cast.lives(target);
        Ok(MonitorResult { reference: next(&self.references), immediate_down })
    }
}
