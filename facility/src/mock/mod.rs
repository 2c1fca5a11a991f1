//! Facilities without a kernel, for unit tests of built-in functions. Each records its calls, and
//! answers from a [`MockProcesses`] of pids that the test has chosen.

mod name;

pub use name::{MockAliases, MockNames};

use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::time::Duration;

use atropos_kernel::Reason;

use crate::link::{LinkError, LinkFacility, LinkQuery};
use crate::log::CallLog;
use crate::output::{OutputError, OutputFacility};
use crate::record::{LinkRecord, OutputRecord, SpawnRecord, SupervisionRecord, TimerRecord};
use crate::spawn::{EntryPoint, SpawnError, SpawnFacility, SpawnFlags, SpawnResult};
use crate::supervision::{MonitorResult, SupervisionError, SupervisionFacility};
use crate::sync::{AtomicUsize, Ordering};
use crate::timer::{RemainingTime, TimerError, TimerFacility};

/// The live and the dead pids of a test; all other pids were never allocated.
#[derive(Clone, Debug, Default)]
pub struct MockProcesses {
    alive: Vec<u64>,
    dead: Vec<u64>,
}

impl MockProcesses {
    /// Creates a cast of these live and dead pids.
    pub fn new(alive: &[u64], dead: &[u64]) -> Self {
        Self { alive: alive.to_vec(), dead: dead.to_vec() }
    }

    fn lives(&self, pid: u64) -> bool {
        self.alive.contains(&pid)
    }

    fn was(&self, pid: u64) -> bool {
        self.lives(pid) || self.dead.contains(&pid)
    }
}

/// Returns the next number of a counter, from 1 on.
fn next(counter: &AtomicUsize) -> u64 {
    // Relaxed: the counter orders no other memory access.
    counter.fetch_add(1, Ordering::Relaxed) as u64 + 1
}

/// A mock of [`SupervisionFacility`] that records its calls.
#[derive(Debug, Default)]
pub struct MockSupervision {
    cast: MockProcesses,
    references: AtomicUsize,
    log: CallLog<SupervisionRecord>,
}

impl MockSupervision {
    /// Creates a mock with these processes.
    pub fn new(cast: MockProcesses) -> Self {
        Self { cast, ..Self::default() }
    }

    /// Returns the calls since the last drain, in order.
    pub fn drain(&self) -> Vec<SupervisionRecord> {
        self.log.drain()
    }

    fn caller(&self, caller: u64) -> Result<(), SupervisionError> {
        if self.cast.was(caller) { Ok(()) } else { Err(SupervisionError::NoCaller) }
    }
}

impl SupervisionFacility for MockSupervision {
    fn monitor(&self, caller: u64, target: u64) -> Result<MonitorResult, SupervisionError> {
        self.log.write(SupervisionRecord::Monitor { caller, target });
        self.caller(caller)?;
        if !self.cast.was(target) {
            return Err(SupervisionError::NoProc);
        }
        let immediate_down = self.cast.lives(caller) && !self.cast.lives(target);
        Ok(MonitorResult { reference: next(&self.references), immediate_down })
    }

    fn demonitor_with(&self, caller: u64, reference: u64, _flush: bool) -> Result<Option<bool>, SupervisionError> {
        self.log.write(SupervisionRecord::Demonitor { caller, reference });
        self.caller(caller).map(|()| None)
    }

    fn exit_signal(&self, caller: u64, target: u64, reason: Reason) -> Result<(), SupervisionError> {
        self.log.write(SupervisionRecord::ExitSignal { caller, target, reason });
        self.caller(caller)
    }
}

/// A mock of [`LinkFacility`] that records its calls; it does not store links.
#[derive(Debug, Default)]
pub struct MockLinks {
    cast: MockProcesses,
    log: CallLog<LinkRecord>,
}

impl MockLinks {
    /// Creates a mock with these processes.
    pub fn new(cast: MockProcesses) -> Self {
        Self { cast, ..Self::default() }
    }

    /// Returns the calls since the last drain, in order.
    pub fn drain(&self) -> Vec<LinkRecord> {
        self.log.drain()
    }

    fn caller(&self, caller: u64) -> Result<(), LinkError> {
        if self.cast.lives(caller) { Ok(()) } else { Err(LinkError::NoCaller) }
    }
}

impl LinkFacility for MockLinks {
    fn link(&self, caller: u64, target: u64) -> Result<(), LinkError> {
        self.log.write(LinkRecord::Link { caller, target });
        self.caller(caller)?;
        if self.cast.lives(target) { Ok(()) } else { Err(LinkError::NoProc) }
    }

    fn link_as_otp(&self, caller: u64, target: u64) -> Result<(), LinkError> {
        self.link(caller, target)
    }

    fn unlink(&self, caller: u64, target: u64) -> Result<(), LinkError> {
        self.log.write(LinkRecord::Unlink { caller, target });
        Ok(())
    }

    fn set_trap_exit(&self, caller: u64, trap: bool) -> Result<bool, LinkError> {
        self.log.write(LinkRecord::TrapExit { caller, trap });
        self.caller(caller).map(|()| false)
    }

    fn trap_exit(&self, caller: u64) -> Result<bool, LinkError> {
        self.caller(caller).map(|()| false)
    }

    fn is_linked(&self, caller: u64, _other: u64) -> Result<LinkQuery, LinkError> {
        self.caller(caller).map(|()| LinkQuery::Known(false))
    }
}

/// A mock of [`SpawnFacility`] that records its calls: the new processes are mere numbers.
#[derive(Debug, Default)]
pub struct MockSpawner {
    cast: MockProcesses,
    /// The functions that exist; if empty, every spawn is refused.
    functions: Vec<&'static str>,
    pids: AtomicUsize,
    log: CallLog<SpawnRecord>,
}

impl MockSpawner {
    /// Creates a mock with these processes, and these functions as entry points.
    pub fn new(cast: MockProcesses, functions: &[&'static str]) -> Self {
        // New pids are easy to tell from those of a cast.
        Self { cast, functions: functions.to_vec(), pids: AtomicUsize::new(1_000_000), log: CallLog::default() }
    }

    /// Returns the calls since the last drain, in order.
    pub fn drain(&self) -> Vec<SpawnRecord> {
        self.log.drain()
    }
}

impl SpawnFacility for MockSpawner {
    fn spawn(&self, caller: u64, entry: EntryPoint<'_>, flags: SpawnFlags) -> Result<SpawnResult, SpawnError> {
        let (module, function) = (entry.module.to_string(), entry.function.to_string());
        self.log.write(SpawnRecord { caller, module, function, flags });
        if !self.functions.contains(&entry.function) {
            return Err(SpawnError::Unresolved);
        }
        if !self.cast.lives(caller) {
            return Err(SpawnError::NoCaller);
        }
        Ok(SpawnResult { pid: next(&self.pids), monitor: flags.monitor.then(|| next(&self.pids)) })
    }
}

/// A mock of [`TimerFacility`] that records its calls: no timer ever fires.
#[derive(Debug)]
pub struct MockTimers<M> {
    cast: MockProcesses,
    references: AtomicUsize,
    log: CallLog<TimerRecord<M>>,
}

impl<M> MockTimers<M> {
    /// Creates a mock with these processes.
    pub fn new(cast: MockProcesses) -> Self {
        Self { cast, references: AtomicUsize::new(0), log: CallLog::default() }
    }

    /// Returns the calls since the last drain, in order.
    pub fn drain(&self) -> Vec<TimerRecord<M>> {
        self.log.drain()
    }

    fn caller(&self, caller: u64) -> Result<(), TimerError> {
        if self.cast.lives(caller) { Ok(()) } else { Err(TimerError::NoCaller) }
    }
}

impl<M: Send> TimerFacility<M> for MockTimers<M> {
    fn start(&self, caller: u64, target: u64, after: Duration, message: M) -> Result<u64, TimerError> {
        self.log.write(TimerRecord::Start { caller, target, after, message });
        self.caller(caller)?;
        if self.cast.was(target) { Ok(next(&self.references)) } else { Err(TimerError::NoProc) }
    }

    fn cancel(&self, caller: u64, timer: u64) -> Result<RemainingTime, TimerError> {
        self.log.write(TimerRecord::Cancel { caller, timer });
        self.caller(caller).map(|()| RemainingTime::Known(None))
    }

    fn read(&self, caller: u64, timer: u64) -> Result<RemainingTime, TimerError> {
        self.log.write(TimerRecord::Read { caller, timer });
        self.caller(caller).map(|()| RemainingTime::Known(None))
    }
}

/// A mock of [`OutputFacility`] that keeps what was printed.
#[derive(Debug, Default)]
pub struct MockOutput(CallLog<OutputRecord>);

impl MockOutput {
    /// Returns what was printed since the last drain, in order.
    pub fn drain(&self) -> Vec<OutputRecord> {
        self.0.drain()
    }
}

impl OutputFacility for MockOutput {
    fn write(&self, caller: u64, bytes: &[u8]) -> Result<(), OutputError> {
        self.0.write(OutputRecord { caller, bytes: bytes.to_vec() });
        Ok(())
    }
}
