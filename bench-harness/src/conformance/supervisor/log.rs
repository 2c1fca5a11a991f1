//! What has happened: [`Log`].
//!
//! A death is noted where it happens: by the destructor of what the body holds ([`Life`]), which the kernel runs before
//! anybody is told of the death. The reason is not known there; it is asked of the slot when the system is at rest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use atropos::kernel::Tombstone;
use atropos::{Pid, Reason};
use serde_json::{Value, json};

use super::super::Driver;
use super::tree::show;

/// An instance of a process: its id, and which attempt to start it was.
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

/// As long as it lives, so does an instance.
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

    /// One more attempt to start something: which one it is.
    pub fn attempt(&self, id: &str) -> usize {
        let mut state = self.state();
        let attempt = state.attempts.entry(id.to_owned()).or_default();
        *attempt += 1;
        *attempt
    }

    /// What came of an attempt that started no process.
    pub fn failed(&self, id: &str, n: usize, result: &str) {
        self.state().events.push(Event::Start { instance: (id.to_owned(), n), result: result.to_owned() });
    }

    /// An attempt starts a process now, which will hold the [`Life`].
    pub fn started(&self, id: &str, n: usize) -> Life {
        let instance = (id.to_owned(), n);
        let mut state = self.state();
        state.events.push(Event::Start { instance: instance.clone(), result: "ok".into() });
        state.instances.insert(id.to_owned(), n);
        Life { log: self.clone(), instance }
    }

    /// A supervisor has refused its specification. OTP's runs its `init` in a process of its own, which ends of that; Atropos refuses before
    /// there is a process, so here it is noted what that one would have ended with.
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

    /// The process of an instance.
    pub fn bind(&self, id: &str, n: usize, pid: Pid) {
        self.state().pids.insert((id.to_owned(), n), pid);
    }

    /// The process of the last instance of an id.
    pub fn pid(&self, id: &str) -> Option<Pid> {
        let state = self.state();
        let n = *state.instances.get(id)?;
        state.pids.get(&(id.to_owned(), n)).copied()
    }

    /// So many events.
    pub fn len(&self) -> usize {
        self.state().events.len()
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks the slots of the dead why they died.
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

    /// As the cases write it.
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

    /// What became of the last instances.
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
