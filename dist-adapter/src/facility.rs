//! [`DistributionMonitorFacility`]: the interface of remote monitors for process code, over raw
//! pids.
//!
//! A language runtime gives the facility to its interpreter as an `Arc<dyn …>`, and the interpreter
//! does not depend on a plane. The interpreter's tests use [`MockFacility`], which records its
//! calls.

use alloc::vec::Vec;

use crate::control_plane::ControlPlane;
use crate::model::PlaneRules;
use crate::outbound::MonitorError;
use crate::pid::{Node, RemotePid};
use crate::reference::{References, RemoteReference};
use crate::sync::Mutex;

/// Remote monitors for processes identified by raw pids.
pub trait DistributionMonitorFacility: Send + Sync {
    /// Monitors a remote process and returns the reference as an integer; see
    /// [`ControlPlane::monitor_remote`].
    fn monitor_remote(&self, caller: u64, target: RemotePid) -> Result<u64, MonitorError>;

    /// Withdraws a monitor and returns `true` if it was active; see
    /// [`ControlPlane::demonitor_remote`].
    fn demonitor_remote(&self, caller: u64, reference: u64) -> bool;
}

impl<R: PlaneRules> DistributionMonitorFacility for ControlPlane<R> {
    fn monitor_remote(&self, caller: u64, target: RemotePid) -> Result<u64, MonitorError> {
        ControlPlane::monitor_remote(self, caller, target).map(RemoteReference::to_raw)
    }

    fn demonitor_remote(&self, caller: u64, reference: u64) -> bool {
        ControlPlane::demonitor_remote(self, caller, RemoteReference::from_raw(reference))
    }
}

/// A recorded call of a [`MockFacility`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FacilityCall {
    /// A call of `monitor_remote`.
    MonitorRemote {
        /// The calling process.
        caller: u64,
        /// The process to monitor.
        target: RemotePid,
    },
    /// A call of `demonitor_remote`.
    DemonitorRemote {
        /// The calling process.
        caller: u64,
        /// The monitor to withdraw.
        reference: u64,
    },
}

/// A facility without a plane: it records the calls, and no monitor ever fires.
#[derive(Debug)]
pub struct MockFacility {
    references: References,
    /// The nodes that it has connections to.
    nodes: Vec<Node>,
    calls: Mutex<Vec<FacilityCall>>,
    /// The active monitors, as pairs of caller and reference.
    held: Mutex<Vec<(u64, u64)>>,
}

impl MockFacility {
    /// Creates a mock that is connected to these nodes.
    pub fn new(nodes: &[Node]) -> Self {
        let references = References::starting_at(RemoteReference::FIRST);
        Self { references, nodes: nodes.to_vec(), calls: Mutex::default(), held: Mutex::default() }
    }

    /// Returns the calls since the last `drain`, in order.
    pub fn drain(&self) -> Vec<FacilityCall> {
        core::mem::take(&mut *self.calls.lock())
    }
}

impl DistributionMonitorFacility for MockFacility {
    fn monitor_remote(&self, caller: u64, target: RemotePid) -> Result<u64, MonitorError> {
        self.calls.lock().push(FacilityCall::MonitorRemote { caller, target });
        if !self.nodes.contains(&target.node) {
            return Err(MonitorError::NoConnection);
        }
        let reference = self.references.next().ok_or(MonitorError::ReferenceExhausted)?.to_raw();
        self.held.lock().push((caller, reference));
        Ok(reference)
    }

    fn demonitor_remote(&self, caller: u64, reference: u64) -> bool {
        self.calls.lock().push(FacilityCall::DemonitorRemote { caller, reference });
        let mut held = self.held.lock();
        let found = held.iter().position(|holding| *holding == (caller, reference));
        found.map(|index| held.swap_remove(index)).is_some()
    }
}
