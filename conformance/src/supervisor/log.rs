//! [`Log`]: the starts and deaths of a case.
//!
//! The destructor of a value in the body ([`Life`]) records a death where it happens. The kernel
//! runs it before it notifies any other process of the death. The reason is not known there, so the
//! log reads it from the process's slot when the system is at rest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use atropos::kernel::Tombstone;
use atropos::{Pid, Reason};
use serde_json::{Value, json};

use super::tree::show;
use crate::driver::Driver;

/// An instance of a process: its id, and the number of the attempt that started it.
type Instance = (String, usize);

#[derive(Debug)]
enum Event {
    Start { instance: Instance, result: String },
    Stop { instance: Instance, reason: Option<Reason> },
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    attempts: BTreeMap<String, usize>,
    /// The last instance of each id.
    instances: BTreeMap<String, usize>,
    pids: BTreeMap<Instance, Pid>,
}

/// The events, in order. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<State>>);

/// A value in a process's body: its drop records the death of the instance.
#[derive(Debug)]
pub struct Life {
    log: Log,
    instance: Instance,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.log.state().events.push(Event::Stop { instance: self.instance.clone(), reason: None });
    }
}

impl Log {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more attempt to start a process, and returns its number.
    pub fn attempt(&self, id: &str) -> usize {
        let mut state = self.state();
        let attempt = state.attempts.entry(id.to_owned()).or_default();
        *attempt += 1;
        *attempt
    }

    /// Records an attempt that started no process.
    pub fn failed(&self, id: &str, n: usize, result: &str) {
        self.state().events.push(Event::Start { instance: (id.to_owned(), n), result: result.to_owned() });
    }

    /// Records an attempt that starts a process, which holds the returned [`Life`].
    pub fn started(&self, id: &str, n: usize) -> Life {
        let instance = (id.to_owned(), n);
        let mut state = self.state();
        state.events.push(Event::Start { instance: instance.clone(), result: "ok".into() });
        state.instances.insert(id.to_owned(), n);
        Life { log: self.clone(), instance }
    }

    /// Records that a supervisor has refused its specification. OTP's supervisor runs its `init` in
    /// a process of its own, which exits with that reason. Atropos refuses before there is a
    /// process. So the log records the reason that the process would have exited with.
    pub fn refused(&self, id: &str, n: usize, why: &Reason) {
        for event in &mut self.state().events {
            if let Event::Stop { instance, reason: reason @ None } = event
                && instance.0 == id
                && instance.1 == n
            {
                *reason = Some(why.clone());
            }
        }
    }

    /// Records the process of an instance.
    pub fn bind(&self, id: &str, n: usize, pid: Pid) {
        self.state().pids.insert((id.to_owned(), n), pid);
    }

    /// Returns the process of the last instance of an id.
    pub fn pid(&self, id: &str) -> Option<Pid> {
        let state = self.state();
        let n = *state.instances.get(id)?;
        state.pids.get(&(id.to_owned(), n)).copied()
    }

    /// Returns the number of events.
    pub fn len(&self) -> usize {
        self.state().events.len()
    }

    /// Returns `true` if there are no events.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the exit reasons of the dead from their slots.
    pub fn learn(&self, world: &impl Driver) -> Result<()> {
        let State { events, pids, .. } = &mut *self.state();
        for event in events {
            if let Event::Stop { instance, reason: reason @ None } = event {
                let pid = *pids.get(instance).with_context(|| format!("{instance:?} has no process"))?;
                match world.host(|host| host.tombstone(pid)) {
                    Tombstone::Known(why) => *reason = Some(why),
                    _ => bail!("the slot of {instance:?} has forgotten it"),
                }
            }
        }
        Ok(())
    }

    /// Returns the events in the cases' notation.
    pub fn events(&self) -> Value {
        let state = self.state();
        let event = |event: &Event| match event {
            Event::Start { instance: (id, n), result } => json!({"ev": "start", "id": id, "n": n, "result": result}),
            Event::Stop { instance: (id, n), reason } => {
                json!({"ev": "stop", "id": id, "n": n, "reason": reason.as_ref().map(show)})
            }
        };
        state.events.iter().map(event).collect()
    }

    /// Returns the final states of the last instances.
    pub fn last(&self) -> Value {
        let state = self.state();
        let mut last = serde_json::Map::new();
        for (id, n) in &state.instances {
            let instance = (id.clone(), *n);
            let stop = state.events.iter().find_map(|event| match event {
                Event::Stop { instance: stopped, reason } if *stopped == instance => Some(reason.as_ref()),
                _ => None,
            });
            last.insert(
                id.clone(),
                match stop {
                    None => json!({"state": "alive", "n": n}),
                    Some(reason) => json!({"state": "exited", "n": n, "reason": reason.map(show)}),
                },
            );
        }
        Value::Object(last)
    }
}
