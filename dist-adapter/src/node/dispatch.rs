//! What arrives from a peer: each message to where it belongs.
//!
//! A message that no process receives is dropped. So is a message in the name of another node's
//! process, or of a process of this node. Any other signal in such a name ends the connection.

use atropos::Pid;

use crate::machine::{ExternalOrLocal, LocalObject, Object, SpawnOutcome};
use crate::term::{ErlPid, PidRef, Term};
use crate::wire::{Control, ControlError, Received, SpawnResult, Target};

use super::connection::{Connection, Ending};
use super::identity::{ProcessId, atom};
use super::inner::Node;
use super::mail::Mail;

/// Handles one message.
///
/// # Errors
/// Why the connection has to be ended.
pub(super) fn dispatch(node: &Node, connection: &Connection, received: &Received) -> Result<(), ControlError> {
    let control = received.read()?;
    let peer = connection.node.as_str();
    if control.sender().is_some_and(|sender| sender.node != peer) {
        return match control {
            Control::Send { .. } | Control::SendName { .. } | Control::SendAlias { .. } => Ok(()),
            _ => Err(ControlError::Malformed { operation: 0, what: "in the name of another node's process" }),
        };
    }
    let id = connection.id;
    match control {
        Control::Send { to, message, .. } => {
            if let Some(to) = node.local(to) {
                node.receive(to, message);
            }
        }
        Control::SendName { name, message, .. } => {
            node.receive_name(name, message);
        }
        Control::SendAlias { alias, message, .. } => node.post_alias(&alias.to_owned(), message),
        Control::Link { from, to } => {
            let from = from.to_owned();
            match node.local(to) {
                Some(to) => link_arrived(node, connection, &from, to),
                None => {
                    let to = ExternalOrLocal::External(to.to_owned());
                    node.event(|machine| machine.link_to_nobody(id, &from, to));
                }
            }
        }
        Control::Unlink { id: unlink, from, to } => {
            let (from, to) = (from.to_owned(), addressed(node, to));
            node.event(|machine| machine.unlink_arrived(id, unlink, &from, to));
        }
        Control::UnlinkOld { from, to } => {
            if let Some(to) = node.local(to) {
                let from = from.to_owned();
                node.event(|machine| machine.old_unlink_arrived(id, &from, to.to_raw()));
            }
        }
        Control::UnlinkAck { id: unlink, from, to } => {
            if let Some(to) = node.local(to) {
                let from = from.to_owned();
                node.event(|machine| machine.ack_arrived(id, unlink, &from, to.to_raw()));
            }
        }
        Control::Exit { from, to, reason } => {
            if let Some(to) = node.local(to) {
                let from = from.to_owned();
                node.event(|machine| machine.exit_arrived(id, &from, to.to_raw(), reason));
            }
        }
        Control::Exit2 { from, to, reason } => {
            if let Some(to) = node.local(to) {
                if node.is_node_process(to) {
                    node.deliver_exit2(to, from.to_owned(), &reason);
                } else if !node.deliver_exit_by_proxy(to, from.to_owned(), &reason) {
                    too_many_proxies(connection);
                }
            }
        }
        Control::GroupLeader { leader, to } => {
            if let Some(to) = node.local(to) {
                node.set_group_leader(to, node.process(leader));
            }
        }
        Control::Monitor { from, target, reference } => {
            let (from, reference) = (from.to_owned(), reference.to_owned());
            let (pid, name) = match target {
                Target::Pid(pid) => (node.local(pid), None),
                Target::Name(name) => (node.runtime().whereis(name), Some(atom(name))),
            };
            let Some(pid) = pid else {
                let object = match target {
                    Target::Pid(pid) => LocalObject::Pid(ExternalOrLocal::External(pid.to_owned())),
                    Target::Name(name) => LocalObject::Name(atom(name)),
                };
                node.event(|machine| machine.monitor_of_nobody(id, &from, &reference, object));
                return Ok(());
            };
            let is_alive = || node.runtime().is_alive(pid);
            node.event(|machine| {
                machine.monitor_arrived(id, &from, &reference, pid.to_raw(), name, is_alive());
            });
        }
        Control::Demonitor { from, reference, .. } => {
            let (from, reference) = (from.to_owned(), reference.to_owned());
            node.event(|machine| machine.demonitor_arrived(id, &from, &reference));
        }
        Control::MonitorExit { to, reference, reason, .. } => {
            if let (Some(to), Some(reference)) = (node.local(to), node.own_reference(reference)) {
                node.event(|machine| machine.down_arrived(id, to.to_raw(), reference, reason));
            }
        }
        Control::SpawnRequest { id: request, from, leader, module, function, arity, options, arguments } => {
            let is_right = arguments.view().as_list().is_some_and(|all| all.count() == arity as usize);
            if !is_right {
                return Err(ControlError::Malformed { operation: 29, what: "the arguments are not as many as said" });
            }
            let (request, from) = (request.to_owned(), from.to_owned());
            let Some(options) = Options::read(&options) else {
                node.event(|machine| machine.spawn_refused(id, &request, &from, "badopt"));
                return Ok(());
            };
            let leader = node.process(leader);
            match node.start_exported(atom(module), atom(function), arguments, leader) {
                Ok(child) => {
                    let raw = child.to_raw();
                    node.event(|machine| {
                        machine.spawned_for(id, &request, &from, raw, options.link, options.monitor);
                    });
                    node.deliver(raw, Mail::Begin);
                }
                Err(why) => node.event(|machine| machine.spawn_refused(id, &request, &from, why)),
            }
        }
        Control::SpawnReply { id: request, to, flags, result } => {
            let outcome = match result {
                // The child is one of the peer's, or the reply is a lie.
                SpawnResult::Pid(pid) if pid.node != peer => return Ok(()),
                SpawnResult::Pid(pid) => SpawnOutcome::Ok(pid.to_owned()),
                SpawnResult::Error(why) => SpawnOutcome::Error(atom(why)),
            };
            if let (Some(_), Some(request)) = (node.local(to), node.own_reference(request)) {
                let (link, monitor) = (flags & 1 != 0, flags & 2 != 0);
                node.event(|machine| machine.spawn_reply_arrived(id, request, link, monitor, outcome));
            }
        }
    }
    Ok(())
}

/// Handles LINK to a process of this life. An ordinary process is linked with the proxy of the
/// other one, which passes everything on.
fn link_arrived(node: &Node, connection: &Connection, from: &ErlPid, to: Pid) {
    let mut proxy = None;
    if !node.is_node_process(to) {
        match node.proxy_of(Object::Pid(from.clone())) {
            Ok(pid) => proxy = Some(pid),
            Err(_) => return too_many_proxies(connection),
        }
    }
    let is_alive = || node.runtime().is_alive(to);
    let linked = node
        .event(|machine| machine.link_arrived(connection.id, from, to.to_raw(), proxy.map(Pid::to_raw), is_alive()));
    if let (true, Some(proxy)) = (linked, proxy) {
        node.link_by_proxy(proxy, from, to);
    }
}

fn too_many_proxies(connection: &Connection) {
    let text = "the peer's processes have more proxies here than the limit".to_owned();
    connection.close(Ending { text, reason: Term::atom("connection_closed") });
}

fn addressed(node: &Node, pid: PidRef<'_>) -> ExternalOrLocal {
    match node.process(pid) {
        ProcessId::Local(pid) => ExternalOrLocal::Local(pid.to_raw()),
        ProcessId::Remote(pid) => ExternalOrLocal::External(pid),
    }
}

/// The options of a peer's spawn request that have an effect.
#[derive(Default)]
struct Options {
    link: bool,
    monitor: bool,
}

impl Options {
    /// Reads the options; `None` if one is not known.
    fn read(options: &Term) -> Option<Self> {
        let mut read = Self::default();
        for option in options.view().as_list()? {
            match (option.as_atom(), option.as_array()) {
                (Some("link"), _) => read.link = true,
                (Some("monitor"), _) => read.monitor = true,
                (None, Some([key, value])) => match key.as_atom()? {
                    "monitor" => {
                        value.as_list()?;
                        read.monitor = true;
                    }
                    "reply" | "reply_tag" | "priority" | "min_heap_size" | "min_bin_vheap_size" | "fullsweep_after"
                    | "max_heap_size" | "message_queue_data" => {}
                    _ => return None,
                },
                _ => return None,
            }
        }
        Some(read)
    }
}
