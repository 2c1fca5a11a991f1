//! Monitors and exit signals: [`SupervisionFacility`].

use core::fmt;

use atropos_kernel::Reason;

/// The reason why an operation did nothing. The two cases are exhaustive and will stay so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SupervisionError {
    /// The target was never allocated.
    NoProc,
    /// The caller was never allocated; or its operation ran out of memory, and it is killed (F4).
    NoCaller,
}

impl fmt::Display for SupervisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoProc => "there is no such process to supervise",
            Self::NoCaller => "there is no such process that could ask",
        })
    }
}

impl core::error::Error for SupervisionError {}

/// A new monitor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MonitorResult {
    /// The reference that its DOWN carries.
    pub reference: u64,
    /// `true` if the target was dead, so that the DOWN is in the caller's mailbox already. Also
    /// `false` if no process exists that could receive the DOWN.
    pub immediate_down: bool,
}

/// Monitors and exit signals, for processes identified by raw pids.
pub trait SupervisionFacility: Send + Sync {
    /// Monitors `target`. A dead target sends its DOWN at once. The reason is its exit reason if
    /// the kernel keeps tombstones and its slot was not reused, otherwise `noproc`.
    fn monitor(&self, caller: u64, target: u64) -> Result<MonitorResult, SupervisionError>;

    /// Removes a monitor of the caller, as OTP's `demonitor/1`: a DOWN that was received stays. If
    /// the monitor does not exist, has fired or belongs to another process, this returns `Ok` and
    /// changes nothing.
    fn demonitor(&self, caller: u64, reference: u64) -> Result<(), SupervisionError> {
        self.demonitor_with(caller, reference, false).map(drop)
    }

    /// Removes a monitor as [`SupervisionFacility::demonitor`] does; with `flush` also its DOWN, if
    /// it has arrived. `Some` is OTP's `info`: `true` if the monitor was active. `None` if the
    /// caller does not run here: the removal happens when the caller next checks its mailbox, and
    /// its result is known then.
    fn demonitor_with(&self, caller: u64, reference: u64, flush: bool) -> Result<Option<bool>, SupervisionError>;

    /// Sends an exit signal from the caller. Returns `Ok` without an effect if the target is dead
    /// or was never allocated.
    fn exit_signal(&self, caller: u64, target: u64, reason: Reason) -> Result<(), SupervisionError>;
}
