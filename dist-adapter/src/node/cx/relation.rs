//! The relations of a process: links, monitors, aliases, names, and being told of nodes.

use atropos::{AliasMode, LinkError, Peek, Reference, RegisterError, SendTarget};

use crate::machine::{Object, Subscription};
use crate::term::{Atom, Term};

use super::send::Destination;
use super::{Keeper, Monitoring, NodeCx};
use crate::node::identity::ProcessId;
use crate::node::mail::{Mail, remote_object};

/// The options of a monitor.
#[derive(Clone, Default, Debug)]
pub struct MonitorOptions {
    /// The monitor's reference is an alias of the process as well.
    pub alias: Option<AliasMode>,
    /// What stands in place of `'DOWN'`.
    pub tag: Option<Term>,
}

/// Why a process was not monitored, or not asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelationError {
    /// An alias, which is no process.
    Alias,
    /// The kernel has no memory for it, or the process is dying.
    NoMemory,
}

impl std::fmt::Display for RelationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Alias => "an alias is no process that could be monitored",
            Self::NoMemory => "out of memory",
        })
    }
}

impl std::error::Error for RelationError {}

impl From<atropos::MonitorError> for RelationError {
    fn from(_: atropos::MonitorError) -> Self {
        Self::NoMemory
    }
}

impl NodeCx {
    /// Links with a process.
    ///
    /// # Errors
    /// [`LinkError`] if the other is a process of this node that is dead, and this process does not
    /// trap exits.
    pub fn link(&self, to: &ProcessId) -> Result<(), LinkError> {
        match to {
            ProcessId::Local(pid) => self.cx.link(*pid),
            ProcessId::Remote(pid) if pid.node == *self.node.name() => {
                self.node.deliver_exit(self.pid().to_raw(), pid.clone(), &Term::atom("noproc"));
                Ok(())
            }
            ProcessId::Remote(pid) => {
                self.node.connect_to(&pid.node);
                self.node.event(|machine| machine.link(self.pid().to_raw(), pid));
                Ok(())
            }
        }
    }

    /// Ends a link.
    pub fn unlink(&self, from: &ProcessId) {
        match from {
            ProcessId::Local(pid) => self.cx.unlink(*pid),
            ProcessId::Remote(pid) => self.node.event(|machine| machine.unlink(self.pid().to_raw(), pid)),
        }
    }

    /// Monitors a process, or the process that has a name. Returns the monitor's reference.
    ///
    /// # Errors
    /// [`RelationError`] if the target is an alias, or the kernel has no memory.
    pub fn monitor(&mut self, target: &Destination, options: MonitorOptions) -> Result<u64, RelationError> {
        let alias = options.alias;
        let (reference, keeper) = match target {
            Destination::Process(ProcessId::Local(pid)) => {
                let target = SendTarget::Pid(*pid);
                (self.cx.with(|cx| cx.monitor_with(target, alias))?.to_raw(), Keeper::Kernel)
            }
            Destination::Name(name) => {
                let target = SendTarget::Name(name.as_str());
                (self.cx.with(|cx| cx.monitor_with(target, alias))?.to_raw(), Keeper::Kernel)
            }
            Destination::Process(ProcessId::Remote(pid)) => {
                (self.monitor_remote(Object::Pid(pid.clone()), alias)?, Keeper::Machine)
            }
            Destination::RemoteName(name, node) => {
                (self.monitor_remote(Object::Name(name.clone(), node.clone()), alias)?, Keeper::Machine)
            }
            // An alias is no process.
            Destination::Alias(_) => return Err(RelationError::Alias),
        };
        if alias.is_some() {
            self.node.add_alias(reference, self.pid());
        }
        self.monitors.insert(reference, Monitoring { keeper, alias, tag: options.tag });
        Ok(reference)
    }

    fn monitor_remote(&mut self, object: Object, alias: Option<AliasMode>) -> Result<u64, RelationError> {
        let reference = self.new_reference(alias)?;
        let watcher = self.pid().to_raw();
        if object.node() == self.node.name() {
            // A pid of an earlier life (W4).
            let mail = Mail::Down(reference, remote_object(object), Term::atom("noproc"));
            self.node.deliver(watcher, mail);
            return Ok(reference);
        }
        self.node.connect_to(object.node());
        self.node.event(|machine| machine.monitor(watcher, reference, object));
        Ok(reference)
    }

    /// Returns a reference of this process for the machine, which is an alias if one is wanted.
    pub(super) fn new_reference(&self, alias: Option<AliasMode>) -> Result<u64, RelationError> {
        match alias {
            None => Ok(self.node.event(|machine| machine.new_reference())),
            Some(mode) => {
                let reply = mode == AliasMode::ReplyDemonitor;
                let alias = self.cx.alias(reply).map_err(|_| RelationError::NoMemory)?;
                Ok(alias.reference().to_raw())
            }
        }
    }

    /// Ends a monitor. Returns `true` if it was active. With `flush`, a DOWN that waits is removed.
    /// After this call no DOWN of it arrives.
    pub fn demonitor(&mut self, reference: u64, flush: bool) -> bool {
        let Some(monitoring) = self.forget_monitor(reference) else { return false };
        let watcher = self.pid().to_raw();
        let active = match &monitoring.keeper {
            Keeper::Kernel => {
                let kernels = Reference::from_raw(reference);
                return kernels.is_some_and(|reference| self.cx.demonitor(reference, flush));
            }
            Keeper::Machine => self.node.event(|machine| machine.demonitor(watcher, reference)),
            Keeper::Watch(watch) => watch.cancel(),
            Keeper::Mailbox => false,
        };
        if !active {
            let wanted =
                |peek: Peek<'_, Mail>| matches!(peek, Peek::Message(Mail::Down(other, ..)) if *other == reference);
            if flush {
                self.cx.with(|cx| cx.receive_match(&mut atropos::Cursor::new(), wanted));
            } else {
                // The DOWN waits, and keeps its tag.
                let keeper = Keeper::Mailbox;
                self.monitors.insert(reference, Monitoring { keeper, alias: None, tag: monitoring.tag });
            }
        }
        active
    }

    /// Makes an alias, which ends with the first message if `reply`. Returns its number.
    ///
    /// # Errors
    /// [`atropos::NoMemory`] if the kernel has no memory for it.
    pub fn alias(&mut self, reply: bool) -> Result<u64, atropos::NoMemory> {
        let number = self.cx.alias(reply)?.reference().to_raw();
        self.node.add_alias(number, self.pid());
        self.aliases.insert(number, reply);
        Ok(number)
    }

    /// Ends an alias. Returns `true` if it was active.
    pub fn unalias(&mut self, number: u64) -> bool {
        let known = self.aliases.remove(&number).is_some()
            || self.monitors.get_mut(&number).is_some_and(|monitoring| monitoring.alias.take().is_some());
        if known {
            self.end_alias(number);
        }
        known
    }

    /// Registers this process under a name.
    ///
    /// # Errors
    /// [`RegisterError`] if the name is taken, or this process has one.
    pub fn register(&self, name: &str) -> Result<(), RegisterError> {
        self.cx.register(name, self.pid())?;
        self.node.note_name(name);
        Ok(())
    }

    /// Tells this process of nodes that come and go from now on, or takes back all subscriptions
    /// with these options.
    pub fn monitor_nodes(&self, on: bool, subscription: Subscription) {
        let pid = self.pid().to_raw();
        self.node.event(|machine| match on {
            true => machine.subscribe(pid, subscription),
            false => machine.unsubscribe(pid, subscription),
        });
    }

    /// Tells this process once when the connection to a node is lost or cannot be made, or takes
    /// that back. Connects to the node if it is not connected.
    pub fn monitor_node(&self, node: &Atom, on: bool) {
        let pid = self.pid().to_raw();
        if !on {
            self.node.event(|machine| machine.demonitor_node(pid, node));
        } else if node != self.node.name() {
            self.node.connect_to(node);
            self.node.event(|machine| machine.monitor_node(pid, node));
        }
    }
}
