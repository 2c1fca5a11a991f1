//! A scripted process: does what it is told, out of band, and otherwise waits and consumes nothing.
//!
//! The controller leaves a command and calls the process's waker: a signal like an async waker's,
//! which shows in no mailbox. The names of a case stand for real pids, references, aliases and
//! timers; the table of names is shared.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use atropos::facility::SpawnFlags;
use atropos::kernel::{Asked, Said};
use atropos::{
    Alias, AliasMode, Body, Cursor, Cx, Dest, LinkError, Object, Peek, Pid, ProcessInfo, Received, Reference, Resumed,
    SpawnOptions, Waiting,
};
use serde_json::{Value, json};

use super::case::{Op, Wanted};
use super::reason;
use super::through::Through;

/// What the scripted processes send each other.
#[derive(Clone, Debug)]
pub struct Letter {
    from: String,
    tag: String,
    timer: Option<String>,
}

/// What the names of a case stand for.
#[derive(Debug, Default)]
pub struct Names {
    pids: BTreeMap<String, Pid>,
    references: BTreeMap<String, Reference>,
    aliases: BTreeMap<String, Alias>,
    timers: BTreeMap<String, Reference>,
}

impl Names {
    /// The process of a name.
    pub fn pid(&self, name: &str) -> Option<Pid> {
        self.pids.get(name).copied()
    }

    /// Gives a process a name.
    pub fn bind(&mut self, name: &str, pid: Pid) {
        self.pids.insert(name.to_owned(), pid);
    }

    fn name_of(&self, pid: Pid) -> Value {
        self.pids.iter().find(|(_, p)| **p == pid).map_or(Value::Null, |(name, _)| json!(name))
    }

    fn names_of(&self, pids: &[Pid]) -> Value {
        pids.iter().map(|pid| self.name_of(*pid)).collect()
    }

    fn object(&self, object: &Object) -> Value {
        match object {
            Object::Pid(pid) => self.name_of(*pid),
            Object::Name(name) => json!(format!("name:{name}")),
        }
    }

    fn reference_name(&self, reference: Reference) -> Value {
        self.references.iter().find(|(_, r)| **r == reference).map_or(Value::Null, |(name, _)| json!(name))
    }

    /// An item of a process's information.
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

/// What the controller and a process share.
#[derive(Debug)]
pub struct Shared {
    /// The case's names.
    pub names: Arc<Mutex<Names>>,
    /// What it asks instead of the kernel itself.
    through: Option<Arc<Through>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    command: Option<Op>,
    result: Option<Value>,
    blocked: Option<Value>,
    waker: Option<Waker>,
}

/// Locks; a scripted process that panicked has left whole data.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// For a process of the case.
    pub fn new(names: Arc<Mutex<Names>>, through: Option<Arc<Through>>) -> Arc<Self> {
        Arc::new(Self { names, through, state: Mutex::default() })
    }

    /// Leaves a command and wakes the process.
    pub fn tell(&self, op: Op) {
        let mut state = lock(&self.state);
        state.command = Some(op);
        state.result = None;
        if let Some(waker) = state.waker.clone() {
            drop(state);
            waker.wake();
        }
    }

    /// What the last command returned, once it has.
    pub fn take_result(&self) -> Option<Value> {
        lock(&self.state).result.take()
    }

    /// What the blocked receive returned, once it has.
    pub fn blocked_result(&self) -> Value {
        lock(&self.state).blocked.clone().unwrap_or_else(|| json!("pending"))
    }
}

/// A receive under way.
struct Receiving {
    wanted: Wanted,
    cursor: Cursor,
    /// `None`: for ever.
    patience: Option<Patience>,
}

enum Patience {
    NotStarted(u64),
    Alarm(Reference),
}

enum Pending {
    Receive(Receiving),
    Alive(Waiting),
    Info(Waiting, String),
}

/// What an op led to.
enum Did {
    Returns(Value),
    Waits(Pending),
    Ends(Resumed),
}

/// See the module.
pub struct Scripted {
    name: String,
    shared: Arc<Shared>,
    /// The children's shared parts, for the controller.
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
    /// A process that begins with `init`.
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
        self.names().pid(name).unwrap_or_else(|| panic!("the case has started {name}"))
    }

    /// An entry of the mailbox, as the cases write it.
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
                "obj": names.object(&down.object),
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

    /// A step of a receive: what it got, or that it has lost its patience.
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

    fn spawn(&self, cx: &Me<'_>, op: &Op) -> Value {
        let name = op.p.as_ref().expect("a spawn names its process");
        let shared = Shared::new(self.shared.names.clone(), self.shared.through.clone());
        lock(&self.children).insert(name.clone(), shared.clone());
        let body = Self::new(name, shared, self.children.clone(), op.init.clone());
        let mut options = SpawnOptions::new().trap_exit(op.trap);
        if op.link {
            options = options.link();
        }
        if op.monitor.is_some() {
            options = options.monitor();
        }
        // The lock is held over the spawn: the child may run at once and look names up.
        let mut names = self.names();
        let (pid, monitor) = match &self.shared.through {
            Some(through) => {
                let flags = SpawnFlags { link: op.link, monitor: op.monitor.is_some(), trap_exit: op.trap };
                through.spawn(cx.pid(), body, flags)
            }
            None => cx.spawn(&options, body).map(|spawned| (spawned.pid, spawned.monitor)).expect("a process"),
        };
        names.bind(name, pid);
        if let (Some(name), Some(monitor)) = (&op.monitor, monitor) {
            names.references.insert(name.clone(), monitor);
        }
        json!(true)
    }

    fn send(&self, cx: &Me<'_>, op: &Op) -> Value {
        let letter = Letter { from: self.name.clone(), tag: op.tag.clone().unwrap_or_default(), timer: None };
        if let Some(name) = &op.name {
            return match cx.send_name(name, letter) {
                Err(atropos::SendError::NoName(_)) => json!({"error": "badarg"}),
                _ => json!(true),
            };
        }
        if let Some(alias) = &op.alias {
            let alias = self.names().aliases.get(alias).copied().expect("the alias was made");
            let _ = cx.send_alias(alias, letter);
        } else {
            let _ = cx.send(self.pid(op.to.as_ref()), letter);
        }
        json!(true)
    }

    fn monitor(&self, cx: &Me<'_>, op: &Op) -> Value {
        let mode = op.alias.as_deref().map(|mode| match mode {
            "explicit_unalias" => AliasMode::ExplicitUnalias,
            "demonitor" => AliasMode::Demonitor,
            _ => AliasMode::ReplyDemonitor,
        });
        let target = match &op.name {
            Some(name) => Dest::Name(name),
            None => Dest::Pid(self.pid(op.to.as_ref())),
        };
        let reference = match (&self.shared.through, target, mode) {
            (Some(through), Dest::Pid(target), None) => through.monitor(cx.pid(), target),
            // The facilities know neither names nor aliases.
            (_, target, mode) => cx.monitor_with(target, mode).expect("a monitor"),
        };
        let mut names = self.names();
        let name = op.reference.clone().expect("a monitor names its reference");
        if mode.is_some() {
            names.aliases.insert(name.clone(), Alias::new(cx.pid(), reference));
        }
        names.references.insert(name, reference);
        json!(true)
    }

    fn register(&self, cx: &Me<'_>, op: &Op) -> Value {
        let name = op.name.as_ref().expect("register has a name");
        match cx.register(name, self.pid(op.who.as_ref())) {
            Ok(()) => json!(true),
            Err(_) => json!({"error": "badarg"}),
        }
    }

    fn timer(&self, op: &Op) -> Reference {
        let name = op.timer.as_ref().expect("the op names a timer");
        self.names().timers.get(name).copied().expect("the timer was started")
    }

    fn send_after(&self, cx: &Me<'_>, op: &Op) -> Value {
        let letter =
            Letter { from: self.name.clone(), tag: op.tag.clone().unwrap_or_default(), timer: op.timer.clone() };
        let dest = match &op.name {
            Some(name) => Dest::Name(name),
            None => Dest::Pid(self.pid(op.to.as_ref())),
        };
        let timer = cx.send_after(dest, Duration::from_millis(op.ms), letter).expect("a timer");
        self.names().timers.insert(op.timer.clone().expect("the op names a timer"), timer);
        json!(true)
    }

    fn info(&self, cx: &Me<'_>, op: &Op) -> Did {
        let item = op.item.clone().unwrap_or_default();
        match cx.info(self.pid(op.of.as_ref())).expect("memory") {
            Asked::Known(None) => Did::Returns(json!("undefined")),
            Asked::Known(Some(info)) => Did::Returns(self.names().item(&info, &item)),
            Asked::Later(waiting) => Did::Waits(Pending::Info(waiting, item)),
        }
    }

    fn perform(&mut self, cx: &Me<'_>, op: &Op) -> Did {
        Did::Returns(match op.op.as_str() {
            "spawn" => self.spawn(cx, op),
            "link" => {
                let to = self.pid(op.to.as_ref());
                let is_refused = match &self.shared.through {
                    Some(through) => through.link(cx.pid(), to),
                    None => cx.link(to) == Err(LinkError::NoProc),
                };
                if is_refused { json!({"error": "noproc"}) } else { json!(true) }
            }
            "unlink" => {
                let from = self.pid(op.to.as_ref());
                match &self.shared.through {
                    Some(through) => through.unlink(cx.pid(), from),
                    None => cx.unlink(from),
                }
                json!(true)
            }
            "monitor" => self.monitor(cx, op),
            "demonitor" => {
                let name = op.reference.as_ref().expect("demonitor has a reference");
                let reference = self.names().references.get(name).copied();
                let in_force = reference.is_some_and(|reference| match &self.shared.through {
                    Some(through) => through.demonitor(cx.pid(), reference, op.flush),
                    None => cx.demonitor(reference, op.flush),
                });
                json!(if op.info { in_force } else { true })
            }
            "exit" => {
                let why = reason::parse(op.reason.as_deref().unwrap_or("normal"));
                let to = self.pid(op.to.as_ref());
                match &self.shared.through {
                    Some(through) => through.exit(cx.pid(), to, why),
                    None => cx.exit(to, why).expect("memory"),
                }
                json!(true)
            }
            "stop" => {
                let how = op.how.as_deref().unwrap_or("return");
                let why = reason::of_stop(how, op.reason.as_deref().unwrap_or("normal"));
                return Did::Ends(Resumed::Exit(why));
            }
            "trap" => json!(match &self.shared.through {
                Some(through) => through.trap_exit(cx.pid(), op.on),
                None => cx.trap_exit(op.on),
            }),
            "send" => self.send(cx, op),
            "recv" | "recv_start" => {
                let after = match (op.op.as_str(), op.after) {
                    ("recv", after) => Some(after.unwrap_or(0)),
                    (_, after) => after,
                };
                let wanted = op.wanted.clone().unwrap_or_default();
                let patience = after.map(Patience::NotStarted);
                let receiving = Receiving { wanted, cursor: Cursor::new(), patience };
                if op.op == "recv" {
                    return Did::Waits(Pending::Receive(receiving));
                }
                lock(&self.shared.state).blocked = None;
                self.blocked = Some(receiving);
                json!(true)
            }
            "recv_result" => self.shared.blocked_result(),
            "recv_all" => self.take_all(cx),
            "register" => self.register(cx, op),
            "unregister" => match cx.unregister(op.name.as_deref().unwrap_or_default()) {
                true => json!(true),
                false => json!({"error": "badarg"}),
            },
            "whereis" => match cx.whereis(op.name.as_deref().unwrap_or_default()) {
                Some(pid) => self.names().name_of(pid),
                None => json!("undefined"),
            },
            "alive" => match cx.is_alive(self.pid(op.to.as_ref())).expect("memory") {
                Asked::Known(alive) => json!(alive),
                Asked::Later(waiting) => return Did::Waits(Pending::Alive(waiting)),
            },
            "info" => return self.info(cx, op),
            "alias" => {
                let alias = cx.alias(op.reply).expect("memory");
                self.names().aliases.insert(op.alias.clone().expect("the op names an alias"), alias);
                json!(true)
            }
            "unalias" => {
                let name = op.alias.as_ref().expect("the op names an alias");
                let alias = self.names().aliases.get(name).copied();
                json!(alias.is_some_and(|alias| cx.unalias(alias)))
            }
            "send_after" => self.send_after(cx, op),
            "cancel_timer" => cx.cancel_timer(self.timer(op)).map_or(json!(false), |_| json!("left")),
            "read_timer" => cx.read_timer(self.timer(op)).map_or(json!(false), |_| json!("left")),
            // The controller's own: the mailbox at the end of a case.
            "look" => {
                let mut entries = Vec::new();
                cx.for_each_waiting(|peek| entries.push(self.entry(&peek)));
                json!(entries)
            }
            other => panic!("an unknown op: {other}"),
        })
    }

    /// A step of what is under way.
    fn poll(&self, cx: &Me<'_>, pending: &mut Pending) -> Option<Value> {
        let waker = cx.waker();
        let mut task = Context::from_waker(&waker);
        match pending {
            Pending::Receive(receiving) => self.receive(cx, receiving),
            Pending::Alive(waiting) => match Pin::new(waiting).poll(&mut task) {
                Poll::Pending => None,
                Poll::Ready(said) => Some(json!(!matches!(said, Said::Dead))),
            },
            Pending::Info(waiting, item) => match Pin::new(waiting).poll(&mut task) {
                Poll::Pending => None,
                Poll::Ready(Said::Info(info)) => Some(self.names().item(&info, item)),
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

    fn resume(&mut self, cx: &Me<'_>) -> Resumed {
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
                return Resumed::Wait;
            }
            if let Some(mut pending) = self.pending.take() {
                match self.poll(cx, &mut pending) {
                    Some(value) => self.returns.push(value),
                    None => {
                        self.pending = Some(pending);
                        return Resumed::Wait;
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
                    // A receive that has just begun looks at what waits already.
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
                let Some(command) = command else { return Resumed::Wait };
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
