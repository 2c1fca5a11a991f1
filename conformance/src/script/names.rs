//! [`Names`]: the pids, references, aliases and timers behind the names of a case.

use std::collections::BTreeMap;

use atropos::{Alias, MonitorTarget, Pid, ProcessInfo, Reference};
use serde_json::{Value, json};

/// A map from the names of a case to its pids, references, aliases and timers.
#[derive(Debug, Default)]
pub struct Names {
    pids: BTreeMap<String, Pid>,
    pub(super) references: BTreeMap<String, Reference>,
    pub(super) aliases: BTreeMap<String, Alias>,
    pub(super) timers: BTreeMap<String, Reference>,
}

impl Names {
    /// Returns the process with a name.
    pub fn pid(&self, name: &str) -> Option<Pid> {
        self.pids.get(name).copied()
    }

    /// Gives a process a name.
    pub fn bind(&mut self, name: &str, pid: Pid) {
        self.pids.insert(name.to_owned(), pid);
    }

    pub(super) fn name_of(&self, pid: Pid) -> Value {
        self.pids.iter().find(|(_, p)| **p == pid).map_or(Value::Null, |(name, _)| json!(name))
    }

    fn names_of(&self, pids: &[Pid]) -> Value {
        pids.iter().map(|pid| self.name_of(*pid)).collect()
    }

    pub(super) fn object(&self, object: &MonitorTarget) -> Value {
        match object {
            MonitorTarget::Pid(pid) => self.name_of(*pid),
            MonitorTarget::Name(name) => json!(format!("name:{name}")),
        }
    }

    pub(super) fn reference_name(&self, reference: Reference) -> Value {
        self.references.iter().find(|(_, r)| **r == reference).map_or(Value::Null, |(name, _)| json!(name))
    }

    /// Returns an item of a process's information.
    pub fn item(&self, info: &ProcessInfo, item: &str) -> Value {
        match item {
            "links" => self.names_of(&info.links),
            "monitors" => info.monitors.iter().map(|object| self.object(object)).collect(),
            "monitored_by" => self.names_of(&info.monitored_by),
            "registered_name" => info.name.as_ref().map_or(Value::Null, |name| json!(name.as_str())),
            "message_queue_len" => json!(info.message_queue_len),
            "trap_exit" => json!(info.trap_exit),
            _ => Value::Null,
        }
    }
}
