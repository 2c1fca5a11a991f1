//! The controller: performs a case's ops one at a time, waits for quiescence after each, and
//! returns its observations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use atropos::kernel::Tombstone;
use atropos::{Pid, Reason, SpawnOptions};
use serde_json::{Value, json};

use crate::case::{Case, Op};
use crate::driver::Driver;
use crate::reason;
use crate::script::{Names, Scripted, Shared, lock};

/// A case in progress.
struct Run<'w, W> {
    world: &'w mut W,
    names: Arc<Mutex<Names>>,
    processes: Arc<Mutex<BTreeMap<String, Arc<Shared>>>>,
}

/// Replays a case. Returns the observation, in the format of the expectation.
pub fn replay<W: Driver>(world: &mut W, case: &Case) -> Result<Value> {
    let mut run = Run { world, names: Arc::default(), processes: Arc::default() };
    let observed = run.case(case).with_context(|| format!("case {}", case.id));
    clear(run.world).with_context(|| format!("after case {}", case.id))?;
    observed
}

impl<W: Driver> Run<'_, W> {
    fn case(&mut self, case: &Case) -> Result<Value> {
        self.ghost()?;
        let mut returns = Vec::new();
        for op in &case.ops {
            let value = self.op(op)?;
            self.world.settle()?;
            returns.push(value);
        }
        let names: Vec<String> = lock(&self.processes).keys().cloned().collect();
        let mut processes = serde_json::Map::new();
        for name in names {
            let state = self.state(&name)?;
            processes.insert(name, state);
        }
        Ok(json!({"ret": returns, "procs": processes}))
    }

    /// Spawns a process that ends before the case begins.
    fn ghost(&mut self) -> Result<()> {
        let stop = Op { op: "stop".into(), how: Some("return".into()), ..Op::default() };
        self.spawn("ghost", vec![stop], false)?;
        lock(&self.processes).remove("ghost");
        self.world.settle()
    }

    fn spawn(&mut self, name: &str, init: Vec<Op>, trap: bool) -> Result<()> {
        let shared = Shared::new(self.names.clone(), self.world.through());
        lock(&self.processes).insert(name.to_owned(), shared.clone());
        let body = Scripted::new(name, shared, self.processes.clone(), init);
        // The lock is held during the spawn: the process may run at once and look up names.
        let mut names = lock(&self.names);
        let spawned = self.world.host(|host| host.spawn(&SpawnOptions::new().trap_exit(trap), body))?;
        names.bind(name, spawned.pid);
        Ok(())
    }

    fn pid(&self, name: &str) -> Result<Pid> {
        lock(&self.names).pid(name).with_context(|| format!("no process {name}"))
    }

    fn is_alive(&self, name: &str) -> Result<bool> {
        let pid = self.pid(name)?;
        Ok(self.world.host(|host| host.is_alive(pid)))
    }

    fn op(&mut self, op: &Op) -> Result<Value> {
        match (op.op.as_str(), &op.by) {
            ("sleep", _) => {
                self.world.sleep(Duration::from_millis(op.ms))?;
                Ok(json!(true))
            }
            ("spawn", None) => {
                let name = op.p.as_ref().context("a spawn names its process")?;
                self.spawn(name, op.init.clone(), op.trap)?;
                Ok(json!(true))
            }
            ("spawn", Some(by)) => self.tell(&by.clone(), op),
            _ => {
                let p = op.p.clone().with_context(|| format!("{} names a process", op.op))?;
                self.tell(&p, op)
            }
        }
    }

    fn shared(&self, name: &str) -> Result<Arc<Shared>> {
        lock(&self.processes).get(name).cloned().with_context(|| format!("no process {name}"))
    }

    /// Makes a process perform an op, and waits until it has done so or died.
    fn tell(&mut self, name: &str, op: &Op) -> Result<Value> {
        if !self.is_alive(name)? {
            return Ok(json!("dead"));
        }
        let shared = self.shared(name)?;
        if op.op == "recv_result" {
            return Ok(shared.blocked_result());
        }
        shared.tell(op.clone());
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            self.world.settle()?;
            if !self.is_alive(name)? {
                return Ok(Value::Null);
            }
            if let Some(value) = shared.take_result() {
                return Ok(value);
            }
            ensure!(Instant::now() < patience, "{name} did not finish {op:?}");
            self.world.sleep_a_little()?;
        }
    }

    /// Returns the final state of a process.
    fn state(&mut self, name: &str) -> Result<Value> {
        let pid = self.pid(name)?;
        if !self.is_alive(name)? {
            let Tombstone::Known(why) = self.world.host(|host| host.tombstone(pid)) else {
                bail!("the slot of {name} has forgotten it");
            };
            return Ok(json!({"state": "exited", "reason": reason::show(&why)}));
        }
        let mailbox = self.tell(name, &Op { op: "look".into(), ..Op::default() })?;
        let mut state = json!({"state": "alive", "mailbox": mailbox});
        let items = [
            ("trap", "trap_exit"),
            ("name", "registered_name"),
            ("links", "links"),
            ("monitors", "monitors"),
            ("monitored_by", "monitored_by"),
        ];
        for (key, item) in items {
            let op = Op { op: "info".into(), item: Some(item.into()), of: Some(name.to_owned()), ..Op::default() };
            state[key] = self.tell(name, &op)?;
        }
        Ok(state)
    }
}

/// Kills the remaining processes, and checks that none is left.
pub(super) fn clear(world: &mut impl Driver) -> Result<()> {
    let left: Vec<_> = world.host(|host| host.processes().collect());
    for pid in left {
        world.host(|host| host.exit(pid, Reason::KILL))?;
    }
    world.settle()?;
    let count = world.kernel().process_count();
    ensure!(count == 0, "{count} processes are left");
    Ok(())
}
