//! Ordinary processes that take terms in their own types: [`Node::export`], [`Node::register`].

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use atropos::facility::KernelAccess;
use atropos::otp::ServerRef;
use atropos::otp::server::Envelope;
use atropos::{Address, Pid, Reason, RegisterError, SendError, WatchError};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::process::Notice;
use super::server::RemoteServer;
use crate::machine::Object;
use crate::node::inner::Node;
use crate::node::mail::Mail;
use crate::node::reason::reason_of;
use crate::term::{ErlPid, Term, from_term};

/// Puts a term into the mailbox of a process, as a message of its type.
type Decode = dyn Fn(&Node, Pid, Term) -> Result<(), String> + Send + Sync;

/// The processes that take terms in their own types.
#[derive(Default)]
pub(super) struct Exported {
    decoders: RwLock<HashMap<u64, Arc<Decode>>>,
    unsent: AtomicU64,
    unread: AtomicU64,
}

/// How many messages could not be converted, since the start of the node.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ConversionErrors {
    /// Messages of this node that have no term, or whose type is not known.
    pub unsent: u64,
    /// Terms of other nodes that do not fit the type of their receiver.
    pub unread: u64,
}

/// Why a process was not exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ExportError {
    /// It cannot be watched: it never was, or there is no memory.
    Watch(WatchError),
    /// The name cannot be registered.
    Name(RegisterError),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watch(error) => fmt::Display::fmt(error, f),
            Self::Name(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for ExportError {}

impl Node {
    /// Lets a process take what remote processes send to it, in its own type. Returns the pid that
    /// it has there. A term that does not fit the type is counted ([`Node::conversion_errors`]) and
    /// dropped.
    ///
    /// # Errors
    /// [`ExportError`] if the process cannot be watched.
    pub fn export<M: DeserializeOwned + Send + 'static>(&self, address: Address<M>) -> Result<ErlPid, ExportError> {
        let decode = |node: &Node, pid: Pid, term: Term| {
            let message = from_term::<M>(&term).map_err(|error| error.to_string())?;
            // As at Erlang's nodes, what a process does not take is gone.
            let _ = node.runtime().send(pid, message);
            Ok(())
        };
        self.export_with(address.pid(), Arc::new(decode))
    }

    /// Lets a server take the calls, casts and messages of remote processes.
    ///
    /// # Errors
    /// [`ExportError`] if the process cannot be watched.
    pub fn export_server<S: RemoteServer>(&self, server: ServerRef<S>) -> Result<ErlPid, ExportError> {
        let decode = |node: &Node, pid: Pid, term: Term| {
            let message = S::from_remote(node.inbound(pid, term)).map_err(|error| error.to_string())?;
            let message = message.ok_or_else(|| "no request of this server".to_owned())?;
            let _ = node.runtime().send(pid, Envelope::<S>::message(message));
            Ok(())
        };
        self.export_with(server.pid(), Arc::new(decode))
    }

    /// Exports a process, and registers it under a name.
    ///
    /// # Errors
    /// [`ExportError`] if it cannot be exported, or the name is not free.
    pub fn register<M>(&self, name: &str, address: Address<M>) -> Result<(), ExportError>
    where
        M: DeserializeOwned + Send + 'static,
    {
        self.export(address)?;
        self.register_pid(name, address.pid())
    }

    /// Exports a server, and registers it under a name.
    ///
    /// # Errors
    /// [`ExportError`] if it cannot be exported, or the name is not free.
    pub fn register_server<S: RemoteServer>(&self, name: &str, server: ServerRef<S>) -> Result<(), ExportError> {
        self.export_server(server)?;
        self.register_pid(name, server.pid())
    }

    fn register_pid(&self, name: &str, pid: Pid) -> Result<(), ExportError> {
        let mut registered = Err(RegisterError::NoProc);
        self.runtime().enter(&mut |host| registered = host.act_as(pid, |caller| caller.register(name, pid)));
        registered.map_err(ExportError::Name)?;
        self.note_name(name);
        Ok(())
    }

    fn export_with(&self, pid: Pid, decode: Arc<Decode>) -> Result<ErlPid, ExportError> {
        let raw = pid.to_raw();
        let is_new = self.decoders().insert(raw, decode).is_none();
        if is_new {
            let node = self.clone();
            let watched = self.runtime().on_exit(pid, move |_| drop(node.decoders().remove(&raw)));
            if let Err(error) = watched {
                self.decoders().remove(&raw);
                return Err(ExportError::Watch(error));
            }
        }
        Ok(self.external(pid))
    }

    fn decoders(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<u64, Arc<Decode>>> {
        self.0.proxies.exported.decoders.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many processes are exported.
    pub fn exported_count(&self) -> usize {
        self.0.proxies.exported.decoders.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Puts a message into the mailbox of a process of this node, in the type that it takes.
    pub(in crate::node) fn receive(&self, to: Pid, message: Term) {
        if let Err(SendError::WrongType(Mail::Term(message))) = self.runtime().send(to, Mail::Term(message)) {
            self.decode(to, message);
        }
    }

    /// Does the same for the process that has a name.
    pub(in crate::node) fn receive_name(&self, name: &str, message: Term) {
        if let Err(SendError::WrongType(Mail::Term(message))) = self.runtime().send_name(name, Mail::Term(message))
            && let Some(to) = self.runtime().whereis(name)
        {
            self.receive(to, message);
        }
    }

    fn decode(&self, to: Pid, message: Term) {
        let decoders = self.0.proxies.exported.decoders.read().unwrap_or_else(PoisonError::into_inner);
        let Some(decode) = decoders.get(&to.to_raw()).cloned() else { return };
        drop(decoders);
        // The code of a message's type is the program's, and this thread is the connection's.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(self, to, message)));
        let decoded = decoded.unwrap_or_else(|panic| {
            // The destructor of the panic's value may panic.
            std::mem::forget(panic);
            Err("its type has panicked".to_owned())
        });
        if let Err(why) = decoded {
            self.count_unread(&why);
        }
    }

    /// Delivers an exit signal of another node's process to an ordinary process, in the name of the
    /// sender's proxy. Returns `false` if the peer's processes have too many proxies (P5).
    pub(in crate::node) fn deliver_exit_by_proxy(&self, to: Pid, from: ErlPid, reason: &Term) -> bool {
        let Ok(proxy) = self.proxy_of(Object::Pid(from)) else { return false };
        let reason = if reason.view().is_atom("kill") { Reason::KILL } else { reason_of(reason) };
        self.exit_from(proxy, to, &reason);
        true
    }

    /// Links an ordinary process with the proxy of the process of another node that has linked with
    /// it, in the name of the proxy, which need not run for that: what arrives next finds the link.
    pub(in crate::node) fn link_by_proxy(&self, proxy: Pid, from: &ErlPid, to: Pid) {
        self.notify_proxy(proxy.to_raw(), Notice::Linked(to));
        let mut linked = false;
        // The proxy traps exits: a process that has ended gives it an EXIT `noproc`.
        self.runtime().enter(&mut |host| linked = host.act_as(proxy, |caller| caller.link(to, true)).is_ok());
        if !linked || !self.0.proxies.is_there(proxy) {
            self.event(|machine| machine.unlink(to.to_raw(), from));
        }
    }

    /// Returns `true` for a process with a [`NodeCx`](crate::node::NodeCx), which names processes
    /// of other nodes without proxies.
    pub(in crate::node) fn is_node_process(&self, pid: Pid) -> bool {
        let mut takes = None;
        self.runtime().enter(&mut |host| takes = host.takes(pid));
        takes.is_none_or(|takes| takes == std::any::TypeId::of::<Mail>())
    }

    /// Returns how many messages could not be converted.
    pub fn conversion_errors(&self) -> ConversionErrors {
        let Exported { unsent, unread, .. } = &self.0.proxies.exported;
        // Relaxed: only numbers.
        ConversionErrors { unsent: unsent.load(Ordering::Relaxed), unread: unread.load(Ordering::Relaxed) }
    }

    /// Counts a message that has no term.
    pub(super) fn count_unsent(&self, why: &str) {
        self.count(&self.0.proxies.exported.unsent, "a message to another node has no term", why);
    }

    /// Counts a term that does not fit.
    pub(super) fn count_unread(&self, why: &str) {
        self.count(&self.0.proxies.exported.unread, "a term of another node does not fit its receiver", why);
    }

    /// Counts, and writes a line at each power of two: a peer must not fill the log.
    fn count(&self, counter: &AtomicU64, what: &str, why: &str) {
        // Relaxed: only a number.
        let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            warn!(node = self.name().as_str(), count, "{what}: {why:.200}");
        }
    }
}
