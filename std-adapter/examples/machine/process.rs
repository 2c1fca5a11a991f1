//! [`Machine`]: a process that interprets a program, one slice at a time.
//!
//! Each instruction is a reduction. After [`Services::quantum`] of them, or when the kernel's slice
//! is used up, the process yields. Signals that have arrived by then, such as a kill, are handled
//! before it goes on. An error in the program is a crash that names the line.

use std::sync::Arc;
use std::time::Duration;

use atropos::facility::{EntryPoint, Facilities, LinkError, Reason, SpawnFlags};
use atropos::{Body, BodyPoll, Cx, MonitorTarget, Pid, Received, Reference};

use super::program::{Instruction, Program, SLOTS};
use super::services::{MODULE, Services};
use super::value::Value;

/// A bytecode process.
pub(crate) struct Machine {
    program: Arc<Program>,
    services: Arc<Services>,
    at: usize,
    stack: Vec<Value>,
    slots: Vec<Value>,
    /// The timer of the receive that it waits in.
    patience: Option<Reference>,
}

/// The effect of an instruction.
enum Did {
    Next,
    Goes(usize),
    Waits,
    Ends(Reason),
}

/// The cause of a crash.
type Crash = String;

type Me<'a> = Cx<'a, Value>;

fn number(value: &Value) -> Result<i64, Crash> {
    if let Value::Number(number) = value { Ok(*number) } else { Err(format!("{value} is not a number")) }
}

fn pid(value: &Value) -> Result<u64, Crash> {
    if let Value::Pid(pid) = value { Ok(*pid) } else { Err(format!("{value} is not a process")) }
}

fn reference(value: &Value) -> Result<u64, Crash> {
    if let Value::Reference(raw) = value { Ok(*raw) } else { Err(format!("{value} is not a reference")) }
}

fn milliseconds(value: &Value) -> Result<Duration, Crash> {
    let text = |_| format!("{value} is not a time in milliseconds");
    u64::try_from(number(value)?).map(Duration::from_millis).map_err(text)
}

fn says(error: impl std::fmt::Display) -> Crash {
    error.to_string()
}

impl Machine {
    pub(crate) fn new(program: Arc<Program>, services: Arc<Services>, at: usize, stack: Vec<Value>) -> Self {
        Self { program, services, at, stack, slots: vec![Value::Number(0); SLOTS], patience: None }
    }

    fn pop(&mut self) -> Result<Value, Crash> {
        self.stack.pop().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, Crash> {
        let from = self.stack.len().checked_sub(count);
        let from = from.ok_or_else(|| format!("there are {} values on the stack, not {count}", self.stack.len()))?;
        Ok(self.stack.split_off(from))
    }

    fn push(&mut self, value: Value) -> Result<Did, Crash> {
        self.stack.push(value);
        Ok(Did::Next)
    }

    fn receive(&mut self, cx: &Me<'_>, on_timeout: Option<usize>) -> Result<Did, Crash> {
        if let Some(received) = cx.receive() {
            if let Some(alarm) = self.patience.take() {
                cx.cancel_timer(alarm);
            }
            return self.push(match received {
                Received::Message(message) | Received::Timer { message, .. } => message,
                Received::Exit(exit) => Value::of_exit(&exit),
                Received::Down(down) => {
                    let process = if let MonitorTarget::Pid(pid) = down.target { pid.to_raw() } else { 0 };
                    Value::of_down(down.reference.to_raw(), process, &down.reason)
                }
            });
        }
        let Some(on_timeout) = on_timeout else { return Ok(Did::Waits) };
        match self.patience {
            Some(alarm) if cx.read_timer(alarm).is_none() => {
                self.patience = None;
                Ok(Did::Goes(on_timeout))
            }
            _ => Ok(Did::Waits),
        }
    }

    /// Receives with a timeout. The time is on the stack when the receive starts, and is popped
    /// only then.
    fn receive_within(&mut self, cx: &Me<'_>, on_timeout: usize) -> Result<Did, Crash> {
        if self.patience.is_none() {
            let time = milliseconds(&self.pop()?)?;
            self.patience = Some(cx.alarm(time).map_err(says)?);
        }
        self.receive(cx, Some(on_timeout))
    }

    fn spawn(
        &mut self,
        facilities: &Facilities<'_, Value>,
        me: u64,
        at: usize,
        flags: SpawnFlags,
    ) -> Result<Did, Crash> {
        let Instruction::Spawn { arguments, .. } = self.program.instructions[self.at] else {
            unreachable!("only called for a spawn");
        };
        let stack = self.pop_many(arguments)?;
        let function = self.program.label_at(at).unwrap_or_default();
        let entry = EntryPoint { module: MODULE, function, arguments: Box::new(stack) };
        let spawned = facilities.spawn().map_err(says)?.spawn(me, entry, flags).map_err(says)?;
        self.stack.push(Value::Pid(spawned.pid));
        if let Some(monitor) = spawned.monitor {
            self.stack.push(Value::Reference(monitor));
        }
        Ok(Did::Next)
    }

    /// Carries out an instruction that calls the facilities.
    fn ask(&mut self, cx: &Me<'_>, instruction: &Instruction) -> Result<Did, Crash> {
        let services = self.services.clone();
        let (facilities, me) = (services.bundle(), cx.pid().to_raw());
        match instruction {
            Instruction::Spawn { at, link, monitor, .. } => {
                let flags = SpawnFlags { link: *link, monitor: *monitor, trap_exit: false };
                self.spawn(&facilities, me, *at, flags)
            }
            Instruction::Link => {
                let target = pid(&self.pop()?)?;
                match facilities.link().map_err(says)?.link_as_otp(me, target) {
                    Err(LinkError::NoProc) => Ok(Did::Ends(Reason::NOPROC)),
                    linked => linked.map(|()| Did::Next).map_err(says),
                }
            }
            Instruction::Unlink => {
                let target = pid(&self.pop()?)?;
                facilities.link().map_err(says)?.unlink(me, target).map(|()| Did::Next).map_err(says)
            }
            Instruction::TrapExit => {
                let trap = number(&self.pop()?)? != 0;
                let before = facilities.link().map_err(says)?.set_trap_exit(me, trap).map_err(says)?;
                self.push(Value::truth(before))
            }
            Instruction::Monitor => {
                let target = pid(&self.pop()?)?;
                let made = facilities.supervision().map_err(says)?.monitor(me, target).map_err(says)?;
                self.push(Value::Reference(made.reference))
            }
            Instruction::Demonitor => {
                let monitor = reference(&self.pop()?)?;
                let info = facilities.supervision().map_err(says)?.demonitor_with(me, monitor, true).map_err(says)?;
                self.push(Value::truth(info == Some(true)))
            }
            Instruction::Signal => {
                let reason = self.pop()?.to_reason();
                let target = pid(&self.pop()?)?;
                facilities.supervision().map_err(says)?.exit_signal(me, target, reason).map_err(says)?;
                Ok(Did::Next)
            }
            Instruction::After => {
                let message = self.pop()?;
                let target = pid(&self.pop()?)?;
                let after = milliseconds(&self.pop()?)?;
                let timer = facilities.timers().map_err(says)?.start(me, target, after, message).map_err(says)?;
                self.push(Value::Reference(timer))
            }
            Instruction::Cancel => {
                let timer = reference(&self.pop()?)?;
                let left = facilities.timers().map_err(says)?.cancel(me, timer).map_err(says)?;
                // The calling process runs on this core, so the answer is available at once.
                self.push(Value::truth(left.known().flatten().is_some()))
            }
            Instruction::Print => {
                let text = self.pop()?.to_string();
                facilities.output().map_err(says)?.write(me, text.as_bytes()).map(|()| Did::Next).map_err(says)
            }
            other => unreachable!("{other:?} calls no facility"),
        }
    }

    fn step(&mut self, cx: &Me<'_>) -> Result<Did, Crash> {
        let program = self.program.clone();
        let instruction = program.instructions.get(self.at).ok_or("the program ends without halt")?;
        match instruction {
            Instruction::Push(value) => self.push(value.clone()),
            Instruction::Pop => self.pop().map(|_| Did::Next),
            Instruction::Duplicate => {
                let value = self.stack.last().ok_or("the stack is empty")?.clone();
                self.push(value)
            }
            Instruction::Load(slot) => self.push(self.slots[*slot].clone()),
            Instruction::Store(slot) => {
                self.slots[*slot] = self.pop()?;
                Ok(Did::Next)
            }
            Instruction::Add | Instruction::Subtract | Instruction::Less => {
                let (b, a) = (number(&self.pop()?)?, number(&self.pop()?)?);
                self.push(match instruction {
                    Instruction::Add => Value::Number(a.wrapping_add(b)),
                    Instruction::Subtract => Value::Number(a.wrapping_sub(b)),
                    _ => Value::truth(a < b),
                })
            }
            Instruction::Equal => {
                let (b, a) = (self.pop()?, self.pop()?);
                self.push(Value::truth(a == b))
            }
            Instruction::Jump(to) => Ok(Did::Goes(*to)),
            Instruction::JumpIfZero(to) => Ok(if number(&self.pop()?)? == 0 { Did::Goes(*to) } else { Did::Next }),
            Instruction::Tuple(count) => {
                let values = self.pop_many(*count)?;
                self.push(Value::Tuple(values.into()))
            }
            Instruction::Item(at) => match self.pop()? {
                Value::Tuple(values) if *at < values.len() => self.push(values[*at].clone()),
                other => Err(format!("{other} has no item {at}")),
            },
            Instruction::Me => self.push(Value::Pid(cx.pid().to_raw())),
            Instruction::Send => {
                let message = self.pop()?;
                let target = Pid::from_raw(pid(&self.pop()?)?);
                // Sending to a dead process is not an error.
                let _ = target.map(|target| cx.send(target, message));
                Ok(Did::Next)
            }
            Instruction::Receive => self.receive(cx, None),
            Instruction::ReceiveWithin(on_timeout) => self.receive_within(cx, *on_timeout),
            Instruction::Exit => Ok(Did::Ends(self.pop()?.to_reason())),
            Instruction::Halt => Ok(Did::Ends(Reason::NORMAL)),
            asks => self.ask(cx, asks),
        }
    }
}

impl Body for Machine {
    type Message = Value;

    fn resume(&mut self, cx: &Me<'_>) -> BodyPoll {
        for _ in 0..self.services.quantum {
            if !cx.spend(1) {
                return BodyPoll::Yield;
            }
            match self.step(cx) {
                // The process has sent an exit signal to itself.
                Ok(_) if cx.is_dying() => return BodyPoll::Wait,
                Ok(Did::Next) => self.at += 1,
                Ok(Did::Goes(to)) => self.at = to,
                Ok(Did::Waits) => return BodyPoll::Wait,
                Ok(Did::Ends(reason)) => return BodyPoll::Exit(reason),
                Err(what) => {
                    let lines = &self.program.lines;
                    let line = lines.get(self.at).or(lines.last()).copied().unwrap_or_default();
                    return BodyPoll::Exit(Reason::crash(format!("line {line}: {what}")));
                }
            }
        }
        BodyPoll::Yield
    }
}
