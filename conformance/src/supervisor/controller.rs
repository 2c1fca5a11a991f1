//! Performs the ops of a case of supervisors, one at a time.
//!
//! After each op the controller waits until the system is quiescent and every live supervisor has
//! answered a call, so that no supervisor is waiting for a slow child.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use atropos::otp::{CallError, ChildKind, ChildState, ControlError, DynamicRef, StartChildError, SupervisorRef};
use atropos::{Context, Pid, Received, SpawnOptions};
use serde_json::{Value, json};

use super::case::{Case, Op, Spec};
use super::log::Log;
use super::tree::{EndWith, child, note_refusal, show_start, supervisor_of};
use crate::driver::Driver;
use crate::{controller, reason};

/// A command to the parent of a top supervisor.
#[derive(Debug)]
enum Told {
    /// Send an exit signal to the supervisor.
    Signal(atropos::Reason),
    /// Exit with this reason.
    Exit(atropos::Reason),
}

struct Run<'w, W> {
    world: &'w mut W,
    log: Log,
    /// The top supervisors and their parents.
    parents: Vec<(String, Pid)>,
    /// The ids of all supervisors.
    supervisors: Vec<String>,
}

/// Replays a case. Returns the observation, in the format of the expectation.
pub fn replay<W: Driver>(world: &mut W, case: &Case) -> Result<Value> {
    let mut run = Run { world, log: Log::default(), parents: Vec::new(), supervisors: Vec::new() };
    let observed = run.case(case).with_context(|| format!("case {}", case.id));
    controller::clear(run.world).with_context(|| format!("after case {}", case.id))?;
    observed
}

fn error(word: impl Into<String>) -> Value {
    json!({"error": word.into()})
}

fn called(error: &CallError) -> Value {
    match error {
        CallError::Down(_) => json!("dead"),
        other => json!({"call": other.to_string()}),
    }
}

fn started(result: Result<Option<Pid>, StartChildError>) -> Value {
    match result {
        Ok(Some(_)) => json!("ok"),
        Ok(None) => json!("ignored"),
        Err(StartChildError::AlreadyStarted(_)) => error("already_started"),
        Err(StartChildError::AlreadyPresent) => error("already_present"),
        Err(StartChildError::Spec(_)) => error("bad_spec"),
        Err(StartChildError::Start(why)) => error(show_start(&why)),
        Err(StartChildError::Call(why)) => called(&why),
        Err(other) => error(other.to_string()),
    }
}

fn controlled<T>(result: Result<T, ControlError>, done: impl FnOnce(T) -> Value) -> Value {
    match result {
        Ok(value) => done(value),
        Err(ControlError::NotFound) => error("not_found"),
        Err(ControlError::Running) => error("running"),
        Err(ControlError::Restarting) => error("restarting"),
        Err(ControlError::Start(why)) => error(show_start(&why)),
        Err(ControlError::Dynamic) => error("simple_one_for_one"),
        Err(ControlError::Call(why)) => called(&why),
        Err(other) => error(other.to_string()),
    }
}

fn all_supervisors(id: &str, spec: &Spec, into: &mut Vec<String>) {
    into.push(id.to_owned());
    for child in &spec.children {
        if let Some(spec) = &child.sup {
            all_supervisors(&child.id, spec, into);
        }
    }
}

impl<W: Driver> Run<'_, W> {
    fn case(&mut self, case: &Case) -> Result<Value> {
        let mut returns = Vec::new();
        for op in &case.ops {
            returns.push(self.op(op).with_context(|| format!("{op:?}"))?);
            self.rest()?;
        }
        Ok(json!({"ret": returns, "final": self.log.last(), "log": self.log.events()}))
    }

    /// Waits until the system is at rest.
    fn rest(&mut self) -> Result<()> {
        loop {
            self.world.settle()?;
            let before = self.log.len();
            for id in self.supervisors.clone() {
                if let Some(pid) = self.alive(&id) {
                    let ask = move |cx: Context<()>| async move {
                        let _ = SupervisorRef::new(pid).count_children(&cx).await;
                        Value::Null
                    };
                    self.perform(ask)?;
                }
            }
            if self.log.len() == before {
                return self.log.learn(self.world);
            }
        }
    }

    fn alive(&self, id: &str) -> Option<Pid> {
        self.log.pid(id).filter(|pid| self.world.host(|host| host.is_alive(*pid)))
    }

    /// Runs a body in a process of its own, and waits for its result.
    fn perform<S, F>(&mut self, body: S) -> Result<Value>
    where
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = Value> + Send + 'static,
    {
        let slot = Arc::new(Mutex::new(None));
        let place = slot.clone();
        self.world.host(|host| {
            host.spawn_async(&SpawnOptions::new(), move |cx| async move {
                let value = body(cx).await;
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            })
        })?;
        self.wait_for(&slot)
    }

    fn wait_for(&mut self, slot: &Mutex<Option<Value>>) -> Result<Value> {
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            self.world.settle()?;
            if let Some(value) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Ok(value);
            }
            ensure!(Instant::now() < patience, "no answer");
            self.world.sleep_a_little()?;
        }
    }

    fn op(&mut self, op: &Op) -> Result<Value> {
        let word = op.reason.as_deref().unwrap_or("normal");
        match op.op.as_str() {
            "sleep" => {
                self.world.sleep(Duration::from_millis(op.ms))?;
                Ok(json!(true))
            }
            "sup_start" => self.start(op),
            "parent_signal" | "parent_exit" => {
                let sup = op.sup.as_deref().context("no supervisor")?;
                let parent = self.parents.iter().find(|(id, _)| id == sup).context("no parent")?.1;
                if self.alive(sup).is_none() {
                    return Ok(json!("dead"));
                }
                let reason = reason::parse(word);
                let told = if op.op == "parent_exit" { Told::Exit(reason) } else { Told::Signal(reason) };
                self.world.host(|host| host.send(parent, told))?;
                Ok(json!(true))
            }
            "signal" => {
                let Some(pid) = self.alive(op.id.as_deref().context("no process")?) else { return Ok(json!("dead")) };
                let reason = reason::parse(word);
                self.perform(move |cx: Context<()>| async move { json!(cx.exit(pid, reason).is_ok()) })
            }
            "worker_exit" => {
                let Some(pid) = self.alive(op.id.as_deref().context("no worker")?) else { return Ok(json!("dead")) };
                let reason = reason::of_stop(op.how.as_deref().unwrap_or("exit"), word);
                self.world.host(|host| host.send(pid, EndWith(reason)))?;
                Ok(json!(true))
            }
            _ => self.ask(op),
        }
    }

    fn start(&mut self, op: &Op) -> Result<Value> {
        let id = op.sup.clone().context("no supervisor id")?;
        let spec = op.spec.as_ref().context("no specification")?;
        all_supervisors(&id, spec, &mut self.supervisors);
        let slot = Arc::new(Mutex::new(None));
        let n = self.log.attempt(&id);
        let life = self.log.started(&id, n);
        let supervisor = supervisor_of(&self.log, &id, n, life, spec);
        let (log, name, place) = (self.log.clone(), id.clone(), slot.clone());
        let options = SpawnOptions::new().trap_exit(true);
        let parent = self.world.host(|host| {
            host.spawn_async(&options, move |cx: Context<Told>| async move {
                let started = supervisor.start_link(&cx).await;
                note_refusal(&log, &name, n, started.as_ref().err());
                let said = match &started {
                    Ok(supervisor) => {
                        log.bind(&name, n, supervisor.pid());
                        json!("ok")
                    }
                    Err(why) => error(show_start(why)),
                };
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
                loop {
                    match cx.recv().await {
                        Received::Message(Told::Exit(reason)) => return reason,
                        Received::Message(Told::Signal(reason)) => {
                            if let Ok(supervisor) = &started {
                                let _ = cx.exit(*supervisor, reason);
                            }
                        }
                        _ => {}
                    }
                }
            })
        })?;
        self.parents.push((id, parent.pid()));
        self.wait_for(&slot)
    }

    /// Performs an op that is a call to a supervisor.
    fn ask(&mut self, op: &Op) -> Result<Value> {
        let sup = op.sup.clone().context("no supervisor")?;
        let Some(pid) = self.alive(&sup) else { return Ok(json!("dead")) };
        let supervisor = SupervisorRef::new(pid);
        let id = op.id.clone();
        let inst = op.inst.clone();
        match op.op.as_str() {
            "start_child" => match (op.child.clone(), inst) {
                (Some(spec), _) => {
                    let n = self.log.pid(&sup).map(|_| self.log.last()[&sup]["n"].as_u64().unwrap_or(1) as usize);
                    let spec = child(&self.log, (sup, n.unwrap_or(1)), spec);
                    self.perform(move |cx: Context<()>| async move { started(supervisor.start_child(&cx, spec).await) })
                }
                (None, Some(inst)) => self.perform(move |cx: Context<()>| async move {
                    started(DynamicRef::<String>::new(supervisor).start(&cx, inst).await)
                }),
                (None, None) => bail!("nothing to start"),
            },
            "terminate_child" => match inst {
                Some(inst) => {
                    let process = self.log.pid(&inst).context("no instance")?;
                    self.perform(move |cx: Context<()>| async move {
                        controlled(supervisor.terminate_process(&cx, process).await, |()| json!("ok"))
                    })
                }
                None => {
                    let id = id.context("no child")?;
                    self.perform(move |cx: Context<()>| async move {
                        controlled(supervisor.terminate_child(&cx, id).await, |()| json!("ok"))
                    })
                }
            },
            "restart_child" => {
                let id = id.context("no child")?;
                let done = |pid: Option<Pid>| if pid.is_some() { json!("ok") } else { json!("ignored") };
                self.perform(
                    move |cx: Context<()>| async move { controlled(supervisor.restart_child(&cx, id).await, done) },
                )
            }
            "delete_child" => {
                let id = id.context("no child")?;
                self.perform(move |cx: Context<()>| async move {
                    controlled(supervisor.delete_child(&cx, id).await, |()| json!("ok"))
                })
            }
            "which_children" => self.perform(move |cx: Context<()>| async move {
                match supervisor.which_children(&cx).await {
                    Err(why) => called(&why),
                    Ok(children) => children
                        .iter()
                        .map(|child| {
                            json!({
                                "id": child.id.as_ref().map(|id| id.as_str()),
                                "child": match child.state {
                                    ChildState::Up(_) => "alive",
                                    ChildState::Down => "undefined",
                                    ChildState::Restarting => "restarting",
                                },
                                "type": if child.kind == ChildKind::Worker { "worker" } else { "supervisor" },
                            })
                        })
                        .collect(),
                }
            }),
            "count_children" => self.perform(move |cx: Context<()>| async move {
                match supervisor.count_children(&cx).await {
                    Err(why) => called(&why),
                    Ok(counts) => json!({
                        "active": counts.active,
                        "specs": counts.specs,
                        "supervisors": counts.supervisors,
                        "workers": counts.workers,
                    }),
                }
            }),
            other => bail!("an unknown op: {other}"),
        }
    }
}
