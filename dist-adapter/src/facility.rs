//! What process code sees of all this: [`DistributionMonitorFacility`], over raw pids.
//!
//! A language runtime gives its interpreter the facility as an `Arc<dyn …>`, and the interpreter knows no plane: in its
//! tests it has [`MockFacility`], which writes down what it was asked.

use alloc::vec::Vec;

use crate::outbound::MonitorError;
use crate::pid::{Node, RemotePid};
use crate::plane::ControlPlane;
use crate::reference::{References, RemoteReference};
use crate::rules::Rules;
use crate::sync::Mutex;

/// Remote monitors for processes named by raw pids.
pub trait DistributionMonitorFacility: Send + Sync {
    /// See [`ControlPlane::monitor_remote`]; the reference as an integer.
    fn monitor_remote(&self, caller: u64, target: RemotePid) -> Result<u64, MonitorError>;

    /// See [`ControlPlane::demonitor_remote`].
    fn demonitor_remote(&self, caller: u64, reference: u64) -> bool;
}

impl<R: Rules> DistributionMonitorFacility for ControlPlane<R> {
    fn monitor_remote(&self, caller: u64, target: RemotePid) -> Result<u64, MonitorError> {
        ControlPlane::monitor_remote(self, caller, target).map(RemoteReference::to_raw)
    }

    fn demonitor_remote(&self, caller: u64, reference: u64) -> bool {
        ControlPlane::demonitor_remote(self, caller, RemoteReference::from_raw(reference))
    }
}

/// What a mock was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FacilityCall {
    /// `monitor_remote`.
    MonitorRemote {
        /// Who asked.
        caller: u64,
        /// Of whom.
        target: RemotePid,
    },
    /// `demonitor_remote`.
    DemonitorRemote {
        /// Who asked.
        caller: u64,
        /// Which.
        reference: u64,
    },
}

/// A facility without a plane: nothing ever ends, and calls are written down.
#[derive(Debug)]
pub struct MockFacility {
    references: References,
    /// Nodes that it has connections to.
    nodes: Vec<Node>,
    calls: Mutex<Vec<FacilityCall>>,
    /// Who holds what.
    held: Mutex<Vec<(u64, u64)>>,
}

impl MockFacility {
    /// A mock that is connected to these nodes.
    pub fn new(nodes: &[Node]) -> Self {
        let references = References::starting_at(RemoteReference::FIRST);
        Self { references, nodes: nodes.to_vec(), calls: Mutex::default(), held: Mutex::default() }
    }

    /// What it was asked since the last time, in order.
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
