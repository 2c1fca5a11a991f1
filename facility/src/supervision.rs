//! [`SupervisionFacility`]: monitors, and exit signals.

use core::fmt;

use atropos_kernel::Reason;

/// Why nothing was done. There are these two cases, and there will be no other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SupervisionError {
    /// The target was never given out.
    NoProc,
    /// The caller was never given out; or there was no memory for what it asked, and it ends (F4).
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

/// A monitor that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MonitorResult {
    /// Its name: what its DOWN carries.
    pub reference: u64,
    /// The target was dead, and the DOWN waits in the caller's mailbox already. False as well when there is nobody who could
    /// receive it.
    pub immediate_down: bool,
}

/// Monitors and exit signals, for processes named by raw pids.
pub trait SupervisionFacility: Send + Sync {
    /// Monitors `target`. One that is dead gives its DOWN at once: with the reason that it died of where the kernel keeps
    /// tombstones and its slot has not been used again, else `noproc`.
    fn monitor(&self, caller: u64, target: u64) -> Result<MonitorResult, SupervisionError>;

    /// Ends a monitor of the caller's, as OTP's `demonitor/1`: a DOWN that has been received stays. One that does not exist, is
    /// over, or is another's, is `Ok`, and stays as it is.
    fn demonitor(&self, caller: u64, reference: u64) -> Result<(), SupervisionError> {
        self.demonitor_with(caller, reference, false).map(drop)
    }

    /// As [`SupervisionFacility::demonitor`]; with `flush` its DOWN, if it has come, is removed. `Some` is OTP's `info`: whether
    /// it was in force. `None` when the caller does not run here: it is done when the caller next looks, and known to it then.
    fn demonitor_with(&self, caller: u64, reference: u64, flush: bool) -> Result<Option<bool>, SupervisionError>;

    /// Sends an exit signal that comes from the caller. To the dead and to who never was it is `Ok`, and nothing happens.
    fn exit_signal(&self, caller: u64, target: u64, reason: Reason) -> Result<(), SupervisionError>;
}
