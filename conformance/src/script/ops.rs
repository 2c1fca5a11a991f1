//! The effect of each op of a case.

use std::time::Duration;

use atropos::facility::SpawnFlags;
use atropos::kernel::MaybeReady;
use atropos::{Alias, AliasMode, BodyPoll, Cursor, LinkError, Reference, SendTarget, SpawnOptions};
use serde_json::{Value, json};

use super::shared::{Shared, lock};
use super::{Did, Letter, Me, Patience, Pending, Receiving, Scripted};
use crate::case::Op;
use crate::reason;

impl Scripted {
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
        // The lock is held during the spawn: the child may run at once and look up names.
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
            Some(name) => SendTarget::Name(name),
            None => SendTarget::Pid(self.pid(op.to.as_ref())),
        };
        let reference = match (&self.shared.through, target, mode) {
            (Some(through), SendTarget::Pid(target), None) => through.monitor(cx.pid(), target),
            (Some(through), SendTarget::Pid(target), Some(mode)) => through.monitor_alias(cx.pid(), target, mode),
            (Some(through), SendTarget::Name(name), None) => through.monitor_name(cx.pid(), name),
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
        let who = self.pid(op.who.as_ref());
        let registered = match &self.shared.through {
            Some(through) => through.register(cx.pid(), name, who),
            None => cx.register(name, who).is_ok(),
        };
        if registered { json!(true) } else { json!({"error": "badarg"}) }
    }

    fn timer(&self, op: &Op) -> Reference {
        let name = op.timer.as_ref().expect("the op names a timer");
        self.names().timers.get(name).copied().expect("the timer was started")
    }

    fn send_after(&self, cx: &Me<'_>, op: &Op) -> Value {
        let letter =
            Letter { from: self.name.clone(), tag: op.tag.clone().unwrap_or_default(), timer: op.timer.clone() };
        let dest = match &op.name {
            Some(name) => SendTarget::Name(name),
            None => SendTarget::Pid(self.pid(op.to.as_ref())),
        };
        let after = Duration::from_millis(op.ms);
        let timer = match (&self.shared.through, dest) {
            (Some(through), SendTarget::Pid(to)) => through.send_after(cx.pid(), to, after, letter),
            (_, dest) => cx.send_after(dest, after, letter).expect("a timer"),
        };
        self.names().timers.insert(op.timer.clone().expect("the op names a timer"), timer);
        json!(true)
    }

    fn info(&self, cx: &Me<'_>, op: &Op) -> Did {
        let item = op.item.clone().unwrap_or_default();
        match cx.info(self.pid(op.of.as_ref())) {
            MaybeReady::Ready(Ok(None) | Err(_)) => Did::Returns(json!("undefined")),
            MaybeReady::Ready(Ok(Some(info))) => Did::Returns(self.names().item(&info, &item)),
            MaybeReady::Pending(waiting) => Did::Waits(Pending::Info(waiting, item)),
        }
    }

    pub(super) fn perform(&mut self, cx: &Me<'_>, op: &Op) -> Did {
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
                return Did::Ends(BodyPoll::Exit(why));
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
            "unregister" => {
                let name = op.name.as_deref().unwrap_or_default();
                let had = match &self.shared.through {
                    Some(through) => through.unregister(cx.pid(), name),
                    None => cx.unregister(name),
                };
                if had { json!(true) } else { json!({"error": "badarg"}) }
            }
            "whereis" => {
                let name = op.name.as_deref().unwrap_or_default();
                let holder = match &self.shared.through {
                    Some(through) => through.whereis(name),
                    None => cx.whereis(name),
                };
                holder.map_or(json!("undefined"), |pid| self.names().name_of(pid))
            }
            "alive" => match cx.is_alive(self.pid(op.to.as_ref())).expect("memory") {
                MaybeReady::Ready(alive) => json!(alive),
                MaybeReady::Pending(waiting) => return Did::Waits(Pending::Alive(waiting)),
            },
            "info" => return self.info(cx, op),
            "alias" => {
                let alias = match &self.shared.through {
                    Some(through) => through.alias(cx.pid(), op.reply),
                    None => cx.alias(op.reply).expect("memory"),
                };
                self.names().aliases.insert(op.alias.clone().expect("the op names an alias"), alias);
                json!(true)
            }
            "unalias" => {
                let name = op.alias.as_ref().expect("the op names an alias");
                let alias = self.names().aliases.get(name).copied();
                json!(alias.is_some_and(|alias| match &self.shared.through {
                    // If the reference belongs to another process, the call has no effect, as with
                    // `Cx`.
                    Some(through) => through.unalias(cx.pid(), alias),
                    None => cx.unalias(alias),
                }))
            }
            "send_after" => self.send_after(cx, op),
            "cancel_timer" | "read_timer" => {
                let (timer, cancel) = (self.timer(op), op.op == "cancel_timer");
                let left = match &self.shared.through {
                    Some(through) => through.time_left(cx.pid(), timer, cancel),
                    None if cancel => cx.cancel_timer(timer),
                    None => cx.read_timer(timer),
                };
                left.map_or(json!(false), |_| json!("left"))
            }
            // An op of the controller itself: the mailbox at the end of a case.
            "look" => {
                let mut entries = Vec::new();
                cx.for_each_waiting(|peek| entries.push(self.entry(&peek)));
                json!(entries)
            }
            other => panic!("an unknown op: {other}"),
        })
    }
}
