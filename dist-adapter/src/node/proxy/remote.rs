//! Names for processes of other nodes, of the types that ordinary processes use: [`Node::remote`],
//! [`Node::remote_pid`], [`Node::remote_server`].

use std::fmt;

use atropos::otp::ServerRef;
use atropos::{Address, AnyMessage, Context, Pid, SpawnError, SpawnOptions};
use serde::Serialize;

use super::forward::Gate;
use super::process::Proxy;
use super::server::RemoteServer;
use super::table::{Standing, Table};
use crate::machine::Object;
use crate::node::cx::Destination;
use crate::node::identity::ProcessId;
use crate::node::inner::Node;
use crate::term::{Atom, ErlPid, Term};

/// Why a process of another node has no proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RemoteError {
    /// An alias is no process.
    Alias,
    /// No process of this node has the name.
    NoName,
    /// The processes of that node have as many proxies as the limit allows.
    TooMany,
    /// The runtime cannot start the proxy.
    Spawn(SpawnError),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alias => f.write_str("an alias is no process"),
            Self::NoName => f.write_str("no process of this node has the name"),
            Self::TooMany => f.write_str("the limit of proxies is reached"),
            Self::Spawn(error) => write!(f, "no proxy can be started: {error}"),
        }
    }
}

impl std::error::Error for RemoteError {}

impl From<(Atom, Atom)> for Destination {
    fn from((name, node): (Atom, Atom)) -> Self {
        Self::RemoteName(name, node)
    }
}

impl From<Pid> for Destination {
    fn from(pid: Pid) -> Self {
        Self::Process(ProcessId::Local(pid))
    }
}

impl From<ErlPid> for ProcessId {
    /// Takes the pid as that of another node, or of an earlier life of this one. [`Node::process`]
    /// tells them apart.
    fn from(pid: ErlPid) -> Self {
        Self::Remote(pid)
    }
}

impl Node {
    /// Returns the pid by which ordinary processes of this node name a process: that of its proxy,
    /// or its own if it is one of this node. While the process lives, the proxy is the same.
    ///
    /// # Errors
    /// [`RemoteError`] if a new proxy is needed and cannot be made.
    pub fn remote_pid(&self, process: &ProcessId) -> Result<Pid, RemoteError> {
        match process {
            ProcessId::Local(pid) => Ok(*pid),
            ProcessId::Remote(pid) => self.proxy_of(Object::Pid(pid.clone())),
        }
    }

    /// Returns the pid by which ordinary processes name what a destination names. The proxy of
    /// `{Name, Node}` stands for the process that has the name when the other node gets the
    /// proxy's monitor, and ends with it. Links with it are not made at the other node, and exit
    /// signals end the proxy: see [`Node::remote_whereis`].
    ///
    /// # Errors
    /// [`RemoteError`] for an alias, for a name of this node that no process has, and if a new
    /// proxy is needed and cannot be made.
    pub fn remote_name(&self, to: &Destination) -> Result<Pid, RemoteError> {
        match to {
            Destination::Process(process) => self.remote_pid(process),
            Destination::Name(name) => self.runtime().whereis(name.as_str()).ok_or(RemoteError::NoName),
            Destination::RemoteName(name, node) if node == self.name() => {
                self.runtime().whereis(name.as_str()).ok_or(RemoteError::NoName)
            }
            Destination::RemoteName(name, node) => self.proxy_of(Object::Name(name.clone(), node.clone())),
            Destination::Alias(_) => Err(RemoteError::Alias),
        }
    }

    /// Returns the address of a process that takes the terms of `M`, here or at another node. A
    /// message is encoded when it has reached the proxy. One that has no term is counted
    /// ([`Node::conversion_errors`]) and dropped.
    ///
    /// # Errors
    /// As for [`Node::remote_name`].
    pub fn remote<M: Serialize + Send + 'static>(&self, to: impl Into<Destination>) -> Result<Address<M>, RemoteError> {
        self.0.proxies.encoders.add_messages::<M>();
        self.remote_name(&to.into()).map(Address::new)
    }

    /// Returns the handle of a server, here or at another node, where it is a `gen_server` or a
    /// server that was exported ([`Node::export_server`]). Calls have the errors of ordinary calls:
    /// `noconnection` is [`CallError::Down`](atropos::otp::CallError::Down) with that reason.
    ///
    /// # Errors
    /// As for [`Node::remote_name`].
    pub fn remote_server<S: RemoteServer>(&self, to: impl Into<Destination>) -> Result<ServerRef<S>, RemoteError> {
        self.0.proxies.encoders.add_server::<S>();
        self.remote_name(&to.into()).map(ServerRef::new)
    }

    /// Returns the pid that a process has at all nodes: for a proxy, that of the process that it
    /// stands for. The last thousand proxies that have ended are known as well, for those that are
    /// told of their end.
    pub fn process_of(&self, pid: Pid) -> ProcessId {
        match self.0.proxies.object(pid) {
            Some(Object::Pid(remote)) => ProcessId::Remote(remote),
            _ => ProcessId::Local(pid),
        }
    }

    /// Returns the term of a process, as all nodes know it; see [`Node::process_of`].
    pub fn term_of_pid(&self, pid: Pid) -> Term {
        self.pid_term(&self.process_of(pid))
    }

    /// Returns how many proxies there are.
    pub fn proxy_count(&self) -> usize {
        self.0.proxies.count()
    }

    /// Returns how many calls through proxies have no answer yet.
    pub fn open_calls(&self) -> usize {
        self.0.proxies.answers.len()
    }

    /// Returns `true` if a peer's processes may have one more proxy (P5).
    pub(super) fn has_room_for_proxy(&self, table: &Table, node: &Atom) -> bool {
        table.has_room(node, self.0.options.peer_proxies)
    }

    /// Returns the proxy of a process of another node, which is made if there is none (P1).
    pub(in crate::node) fn proxy_of(&self, object: Object) -> Result<Pid, RemoteError> {
        let mut table = self.0.proxies.table();
        if let Some(pid) = table.find(&object) {
            return Ok(pid);
        }
        if !self.has_room_for_proxy(&table, object.node()) {
            return Err(RemoteError::TooMany);
        }
        let (node, stands_for) = (self.clone(), object.clone());
        let start = async move |cx: Context<AnyMessage>| Proxy::new(cx, node, stands_for).run().await;
        let started = self.runtime().spawn_with(&self.proxy_options(), start);
        let pid = started.map_err(RemoteError::Spawn)?.pid();
        table.insert(pid, Standing::For(object.clone()));
        drop(table);
        let raw = pid.to_raw();
        if object.node() == self.name() {
            // A pid of an earlier life (W4).
            self.end_proxy(raw, &Term::atom("noproc"));
        } else {
            self.connect_to(object.node());
            self.event(|machine| {
                let reference = machine.new_reference();
                machine.monitor(raw, reference, object);
            });
        }
        Ok(pid)
    }

    /// Lets the messages to proxies go out where they are sent.
    pub(in crate::node) fn open_gate(&self) {
        self.runtime().add_forwarder(std::sync::Arc::new(Gate::new(self)));
    }

    pub(super) fn proxy_options(&self) -> SpawnOptions<'static> {
        SpawnOptions::new().proxy().mailbox_limit(self.0.options.proxy_mailbox)
    }
}
