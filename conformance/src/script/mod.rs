//! A scripted process: performs the controller's commands, which it gets out of band. Otherwise it
//! waits and receives nothing.
//!
//! The controller stores a command and calls the process's waker: a signal like an async waker's,
//! which shows in no mailbox ([`Shared`]). The names of the case are shared as well ([`Names`]).
//! `ops` performs each op.

mod names;
mod ops;
mod shared;
pub mod through;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use atropos::{Body, BodyPoll, Cursor, Cx, NoMemory, Peek, Pid, ProcessInfo, QueryFuture, Received, Reference};
use serde_json::{Value, json};

use crate::case::{Op, Wanted};
use crate::reason;

pub use names::Names;
pub use shared::{Shared, lock};

/// The message type of scripted processes.
#[derive(Clone, Debug)]
pub struct Letter {
    from: String,
    tag: String,
    timer: Option<String>,
}

/// A receive in progress.
struct Receiving {
    wanted: Wanted,
    cursor: Cursor,
    /// The timeout, or `None` to wait for ever.
    patience: Option<Patience>,
}

enum Patience {
    NotStarted(u64),
    Alarm(Reference),
}

enum Pending {
    Receive(Receiving),
    Alive(QueryFuture<bool>),
    Info(QueryFuture<Result<Option<Box<ProcessInfo>>, NoMemory>>, String),
}

/// The outcome of an op.
enum Did {
    Returns(Value),
    Waits(Pending),
    Ends(BodyPoll),
}

/// A process that performs a case's ops.
pub struct Scripted {
    name: String,
    shared: Arc<Shared>,
    /// The children's shared state, for the controller.
    children: Arc<Mutex<BTreeMap<String, Arc<Shared>>>>,
    ops: VecDeque<Op>,
    returns: Vec<Value>,
    is_sequence: bool,
    pending: Option<Pending>,
    blocked: Option<Receiving>,
    started: bool,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").field("name", &self.name).finish_non_exhaustive()
    }
}

type Me<'a> = Cx<'a, Letter>;

impl Scripted {
    /// Creates a process that begins with `init`.
    pub fn new(
        name: &str,
        shared: Arc<Shared>,
        children: Arc<Mutex<BTreeMap<String, Arc<Shared>>>>,
        init: Vec<Op>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            shared,
            children,
            ops: init.into(),
            returns: Vec::new(),
            is_sequence: true,
            pending: None,
            blocked: None,
            started: false,
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        lock(&self.shared.names)
    }

    fn pid(&self, name: Option<&String>) -> Pid {
        let name = name.expect("the op names a process");
        self.names().pid(name).unwrap_or_else(|| panic!("{name} was not started"))
    }

    /// Returns a mailbox entry in the cases' notation.
    fn entry(&self, peek: &Peek<'_, Letter>) -> Value {
        let names = self.names();
        match peek {
            Peek::Message(letter) | Peek::Timer { message: letter, .. } => match &letter.timer {
                Some(timer) => json!({"k": "timer", "timer": timer, "tag": letter.tag}),
                None => json!({"k": "msg", "from": letter.from, "tag": letter.tag}),
            },
            Peek::Exit(exit) => {
                let from = exit.from.map_or(Value::Null, |from| names.name_of(from));
                json!({"k": "exit", "from": from, "reason": reason::show(&exit.reason)})
            }
            Peek::Down(down) => json!({
                "k": "down",
                "ref": names.reference_name(down.reference),
                "obj": names.object(&down.target),
                "reason": reason::show(&down.reason),
            }),
        }
    }

    fn received(&self, received: Received<Letter>) -> Value {
        match received {
            Received::Message(letter) => self.entry(&Peek::Message(&letter)),
            Received::Timer { timer, message } => self.entry(&Peek::Timer { timer, message: &message }),
            Received::Exit(exit) => self.entry(&Peek::Exit(exit)),
            Received::Down(down) => self.entry(&Peek::Down(down)),
        }
    }

    /// Continues a receive. Returns its result, or `timeout` if its time is over.
    fn receive(&self, cx: &Me<'_>, receiving: &mut Receiving) -> Option<Value> {
        let wanted = receiving.wanted.clone();
        let got = cx.receive_match(&mut receiving.cursor, |peek| wanted.takes(&self.entry(&peek)));
        if let Some(received) = got {
            if let Some(Patience::Alarm(alarm)) = receiving.patience {
                cx.cancel_timer(alarm);
            }
            return Some(json!({"got": self.received(received)}));
        }
        match receiving.patience {
            None => None,
            Some(Patience::NotStarted(0)) => Some(json!("timeout")),
            Some(Patience::NotStarted(ms)) => {
                let alarm = cx.alarm(Duration::from_millis(ms)).expect("a timer");
                receiving.patience = Some(Patience::Alarm(alarm));
                None
            }
            Some(Patience::Alarm(alarm)) => cx.read_timer(alarm).is_none().then(|| json!("timeout")),
        }
    }

    fn take_all(&self, cx: &Me<'_>) -> Value {
        let mut all = Vec::new();
        while let Some(received) = cx.receive() {
            all.push(self.received(received));
        }
        json!({"all": all})
    }

    /// Continues the pending op.
    fn poll(&self, cx: &Me<'_>, pending: &mut Pending) -> Option<Value> {
        let waker = cx.waker();
        let mut task = Context::from_waker(&waker);
        match pending {
            Pending::Receive(receiving) => self.receive(cx, receiving),
            Pending::Alive(waiting) => match Pin::new(waiting).poll(&mut task) {
                Poll::Pending => None,
                Poll::Ready(alive) => Some(json!(alive)),
            },
            Pending::Info(waiting, item) => match Pin::new(waiting).poll(&mut task) {
                Poll::Pending => None,
                Poll::Ready(Ok(Some(info))) => Some(self.names().item(&info, item)),
                Poll::Ready(_) => Some(json!("undefined")),
            },
        }
    }

    fn finish(&mut self) {
        let returns = std::mem::take(&mut self.returns);
        let value = if self.is_sequence { json!(returns) } else { returns.into_iter().next().unwrap_or(Value::Null) };
        lock(&self.shared.state).result = Some(value);
    }
}

impl Body for Scripted {
    type Message = Letter;

    fn resume(&mut self, cx: &Me<'_>) -> BodyPoll {
        let mut busy = !std::mem::replace(&mut self.started, true);
        if busy {
            // The spawner holds the lock until the process's name is bound.
            drop(self.names());
            lock(&self.shared.state).waker = Some(cx.waker());
        }
        if let Some(mut receiving) = self.blocked.take() {
            match self.receive(cx, &mut receiving) {
                Some(value) => lock(&self.shared.state).blocked = Some(value),
                None => self.blocked = Some(receiving),
            }
        }
        loop {
            if cx.is_dying() {
                return BodyPoll::Wait;
            }
            if let Some(mut pending) = self.pending.take() {
                match self.poll(cx, &mut pending) {
                    Some(value) => self.returns.push(value),
                    None => {
                        self.pending = Some(pending);
                        return BodyPoll::Wait;
                    }
                }
            } else if let Some(op) = self.ops.pop_front() {
                busy = true;
                match self.perform(cx, &op) {
                    Did::Returns(value) => self.returns.push(value),
                    Did::Waits(pending) => self.pending = Some(pending),
                    Did::Ends(resumed) => return resumed,
                }
            } else if busy || !self.returns.is_empty() {
                busy = false;
                self.finish();
                if let Some(receiving) = &mut self.blocked.take() {
                    // A receive that has just begun checks the messages that wait already.
                    let mut receiving = std::mem::replace(
                        receiving,
                        Receiving { wanted: Wanted::default(), cursor: Cursor::new(), patience: None },
                    );
                    match self.receive(cx, &mut receiving) {
                        Some(value) => lock(&self.shared.state).blocked = Some(value),
                        None => self.blocked = Some(receiving),
                    }
                }
            } else {
                let command = lock(&self.shared.state).command.take();
                let Some(command) = command else { return BodyPoll::Wait };
                self.is_sequence = command.op == "seq";
                if self.is_sequence {
                    self.ops = command.ops.into();
                    busy = true;
                } else {
                    self.ops.push_back(command);
                }
            }
        }
    }
}
