//! [`NodeCx`]: a process of a node, as its body sees the cluster.
//!
//! It owns the process's [`Context`], and does for processes of any node what the context does for
//! those of the runtime: sends, links, monitors, aliases, exits, spawn requests. What concerns this
//! node only goes to the kernel, what concerns another one to the machine.
//!
//! | noun | module |
//! | --- | --- |
//! | the process, and what it receives | this one |
//! | what it sends | `send` |
//! | links, monitors, aliases, names | `relation` |
//! | spawn requests | `request` |

mod relation;
mod request;
mod send;

use std::collections::HashMap;
use std::time::Duration;

use atropos::{Alias, AliasMode, Context, Peek, Pid, Received, Reference};

use crate::machine::SpawnOutcome;
use crate::term::Term;

use super::identity::ProcessId;
use super::inner::Node;
use super::mail::{Incoming, Mail, MonitorObject, local_object};
use super::reason::term_of;
pub use relation::{MonitorOptions, RelationError};
pub use request::SpawnOptions;
pub use send::{Destination, SendOptions, SendOutcome};

/// What keeps a monitor.
#[derive(Debug)]
enum Keeper {
    /// The kernel, whose reference it has.
    Kernel,
    /// The machine: the target is at another node.
    Machine,
    /// A watch: the target was started here by a spawn request of this process.
    Watch(atropos::ExitWatch),
    /// Nothing: its DOWN waits in the mailbox.
    Mailbox,
}

#[derive(Debug)]
struct Monitoring {
    keeper: Keeper,
    alias: Option<AliasMode>,
    tag: Option<Term>,
}

/// A process of a node; see the module.
#[derive(Debug)]
pub struct NodeCx {
    cx: Context<Mail>,
    node: Node,
    monitors: HashMap<u64, Monitoring>,
    /// The aliases that are not monitors: `true` for those that end with the first message.
    aliases: HashMap<u64, bool>,
    spawns: HashMap<u64, SpawnOptions>,
}

impl Drop for NodeCx {
    fn drop(&mut self) {
        for number in self.aliases.keys() {
            self.node.remove_alias(*number);
        }
        for (number, monitoring) in &self.monitors {
            if monitoring.alias.is_some() {
                self.node.remove_alias(*number);
            }
        }
        self.node.end_process(self.cx.pid());
    }
}

impl NodeCx {
    pub(super) fn new(cx: Context<Mail>, node: Node) -> Self {
        Self { cx, node, monitors: HashMap::new(), aliases: HashMap::new(), spawns: HashMap::new() }
    }

    /// Returns the node of the process.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Returns the context of the process in its runtime.
    pub fn context(&self) -> &Context<Mail> {
        &self.cx
    }

    /// Returns the pid of the process.
    pub fn pid(&self) -> Pid {
        self.cx.pid()
    }

    /// Returns the pid of the process as a term.
    pub fn own_term(&self) -> Term {
        Term::from(&self.node.external(self.cx.pid()))
    }

    /// Receives the oldest message, exit signal or notice.
    pub async fn recv(&mut self) -> Incoming {
        loop {
            let received = self.cx.recv().await;
            if let Some(incoming) = self.take(received) {
                return incoming;
            }
        }
    }

    /// Waits until the node lets the process begin (for a process that a peer asked for).
    pub(super) async fn begin(&mut self) {
        self.cx.recv_match(|peek| matches!(peek, Peek::Message(Mail::Begin))).await;
    }

    /// Receives the oldest mail that `wanted` accepts. `None` after `patience`; `Some(None)` for
    /// mail that is not told, after which the caller goes on with what is left of its patience.
    pub(super) async fn select_once(
        &mut self,
        patience: Option<Duration>,
        wanted: impl Fn(Peek<'_, Mail>) -> bool,
    ) -> Option<Option<Incoming>> {
        let received = self.cx.recv_match_from(atropos::Cursor::new(), patience, wanted).await?;
        Some(self.take(received))
    }

    /// Takes what was received, and ends what ends with it. `None` for what is not told.
    fn take(&mut self, received: Received<Mail>) -> Option<Incoming> {
        match received {
            Received::Message(mail) | Received::Timer { message: mail, .. } => self.take_mail(mail),
            Received::Exit(exit) => {
                let from = exit.from.map(ProcessId::Local);
                let from = from.or_else(|| self.node.exit_sender(self.pid()).map(ProcessId::Remote));
                Some(Incoming::Exit(from, term_of(&exit.reason)))
            }
            Received::Down(down) => {
                let object = local_object(&down.target, &self.node);
                Some(self.down(down.reference.to_raw(), object, term_of(&down.reason)))
            }
        }
    }

    fn take_mail(&mut self, mail: Mail) -> Option<Incoming> {
        match mail {
            Mail::Term(term) => Some(Incoming::Message(term)),
            Mail::Alias(number, term) => {
                self.alias_used(number);
                Some(Incoming::Message(term))
            }
            Mail::Exit(from, reason) => Some(Incoming::Exit(Some(ProcessId::Remote(from)), reason)),
            // One that was withdrawn by a watch may still come.
            Mail::Down(reference, ..) if !self.monitors.contains_key(&reference) => None,
            Mail::Down(reference, object, reason) => Some(self.down(reference, object, reason)),
            Mail::Spawned(reference, outcome) => {
                let options = self.spawns.remove(&reference)?;
                let (result, told) = match outcome {
                    SpawnOutcome::Ok(child) => (Ok(self.node.process(child.as_ref())), options.reply_ok),
                    SpawnOutcome::Error(why) => {
                        self.forget_monitor(reference);
                        (Err(why), options.reply_error)
                    }
                };
                told.then_some(Incoming::Spawned { reference, result, tag: options.reply_tag })
            }
            Mail::Node(event) => Some(Incoming::Node(event)),
            Mail::Begin => None,
        }
    }

    fn down(&mut self, reference: u64, object: MonitorObject, reason: Term) -> Incoming {
        let tag = self.forget_monitor(reference).and_then(|monitoring| monitoring.tag);
        Incoming::Down { reference, object, reason, tag }
    }

    /// Forgets a monitor that has ended, and its alias, unless that lasts.
    fn forget_monitor(&mut self, reference: u64) -> Option<Monitoring> {
        let monitoring = self.monitors.remove(&reference)?;
        match monitoring.alias {
            Some(AliasMode::ExplicitUnalias) => drop(self.aliases.insert(reference, false)),
            Some(_) => self.end_alias(reference),
            None => {}
        }
        Some(monitoring)
    }

    fn alias_used(&mut self, number: u64) {
        if self.aliases.get(&number) == Some(&true) {
            self.aliases.remove(&number);
            self.node.remove_alias(number);
        }
        let mode = self.monitors.get(&number).and_then(|monitoring| monitoring.alias);
        if mode == Some(AliasMode::ReplyDemonitor) {
            self.demonitor(number, false);
        }
    }

    fn end_alias(&self, number: u64) {
        self.node.remove_alias(number);
        if let Some(reference) = Reference::from_raw(number) {
            self.cx.unalias(Alias::new(self.pid(), reference));
        }
    }
}
