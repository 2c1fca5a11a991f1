//! [`Proxy`]: the process that stands for one of another node.

use std::collections::BTreeSet;

use super::forward::{Fence, Waiting};
use atropos::otp::InitSender;
use atropos::{AnyMessage, Context, Exit, ExitCause, Pid, Reason, ReasonKind, Received};

use crate::machine::{Object, SpawnOutcome};
use crate::node::inner::Node;
use crate::node::reason::{reason_of, term_of};
use crate::term::{ErlPid, Term};

/// What the node tells a proxy: the value of the reason of an exit signal of the host, which no
/// full mailbox holds up.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::node) enum Notice {
    /// The process that it stands for has ended, or is out of reach.
    Ended(Term),
    /// That process has linked with this local one, and so has the proxy.
    Linked(Pid),
    /// That process has unlinked this local one.
    Unlinked(Pid),
    /// The reply to its spawn request.
    Spawned(SpawnOutcome),
    /// What waits for the messages before it.
    Fence(Fence),
}

/// The process that stands for one of another node; see the module above.
pub(super) struct Proxy {
    cx: Context<AnyMessage>,
    node: Node,
    /// `None` before the process that has been asked for is there.
    object: Option<Object>,
    /// The supervisor, if the process was asked for as its child: its end is the child's, and its
    /// exit signals come from the proxy, which is the parent that the child knows.
    parent: Option<Pid>,
    /// Acknowledges the start, once the process is there.
    ready: Option<InitSender>,
    /// The processes here that are linked with the one there (P4).
    linked: BTreeSet<Pid>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let pid = self.cx.pid();
        // In this order: `Node::link_by_proxy` makes a link, and then looks for the proxy.
        self.node.0.proxies.ended(pid);
        if let Some(Object::Pid(remote)) = &self.object {
            // Those that are left when the process itself has not ended (P4).
            self.node.event(|machine| machine.end_proxy(pid.to_raw(), remote));
        }
    }
}

impl Proxy {
    /// Creates the proxy of a process that is known.
    pub(super) fn new(cx: Context<AnyMessage>, node: Node, object: Object) -> Self {
        Self { cx, node, object: Some(object), parent: None, ready: None, linked: BTreeSet::new() }
    }

    /// Creates the proxy of a process that has been asked for, the child of a supervisor.
    pub(super) fn of_child(cx: Context<AnyMessage>, node: Node, ready: InitSender) -> Self {
        let parent = ready.parent();
        Self { cx, node, object: None, parent, ready: Some(ready), linked: BTreeSet::new() }
    }

    pub(super) fn context(&self) -> &Context<AnyMessage> {
        &self.cx
    }

    /// Reports that the start of the child has failed.
    pub(super) fn fail(&mut self, reason: Reason) -> Reason {
        if let Some(ready) = self.ready.take() {
            ready.fail(&self.cx, reason.clone());
        }
        reason
    }

    /// Passes on what arrives, until what it stands for ends.
    pub(super) async fn run(mut self) -> Reason {
        loop {
            let end = match self.cx.recv().await {
                Received::Message(message) | Received::Timer { message, .. } => {
                    self.forward(message).await;
                    None
                }
                Received::Exit(exit) => self.exit(exit),
                Received::Down(_) => None,
            };
            if let Some(reason) = end {
                return reason;
            }
        }
    }

    /// Sends a message on that has waited, or that a timer or a host has sent.
    async fn forward(&self, message: AnyMessage) {
        let Some(object) = &self.object else { return };
        let own = self.cx.pid();
        let (sender, message, waited) = match message.downcast::<Waiting>() {
            Ok(waiting) => {
                let Waiting { sender, message, turn } = *waiting;
                (sender, message, Some(turn))
            }
            Err(message) => (None, message, None),
        };
        let busy = self.node.post_encoded(own, sender, object, message);
        // It has gone out: what its sender sends next need not wait here.
        drop(waited);
        if let Some(connection) = busy {
            connection.room().await;
        }
    }

    fn exit(&mut self, exit: Exit) -> Option<Reason> {
        let Some(from) = exit.from else {
            let notice = match exit.reason.kind() {
                ReasonKind::Value(value) => value.downcast_ref::<Notice>().cloned(),
                _ => None,
            };
            // Any other exit signal of the host is for the proxy itself (P2).
            return notice.map_or(Some(exit.reason), |notice| self.notice(notice));
        };
        let is_counted = exit.cause != ExitCause::Link;
        let end = self.signal(from, exit);
        if is_counted {
            self.node.0.proxies.passed_on(self.cx.pid());
        }
        end
    }

    /// Handles a signal of a process.
    fn signal(&mut self, from: Pid, exit: Exit) -> Option<Reason> {
        if exit.cause == ExitCause::Link && self.parent == Some(from) {
            return Some(exit.reason);
        }
        match &self.object {
            Some(Object::Pid(remote)) => {
                let remote = remote.clone();
                self.pass_on(&remote, from, exit);
                None
            }
            // A name is no process that could get the signal.
            Some(Object::Name(..)) | None => match (exit.cause, exit.reason) {
                (ExitCause::Signal, reason) if reason == Reason::KILL => Some(Reason::KILLED),
                (ExitCause::Signal, reason) if !reason.is_normal() => Some(reason),
                _ => None,
            },
        }
    }

    /// Passes a signal of a process on.
    fn pass_on(&mut self, remote: &ErlPid, from: Pid, exit: Exit) {
        let (own, raw) = (self.cx.pid(), from.to_raw());
        match exit.cause {
            ExitCause::Linked => {
                if self.linked.insert(from) {
                    self.node.event(|machine| machine.link_by(own.to_raw(), raw, remote));
                }
            }
            ExitCause::Unlinked => {
                if self.linked.remove(&from) {
                    self.node.event(|machine| machine.unlink(raw, remote));
                }
            }
            ExitCause::Link => {
                // The machine's own watch may be told later, or of a process that is forgotten.
                self.linked.remove(&from);
                self.node.process_has_ended(raw, term_of(&exit.reason));
            }
            _ => {
                let sender = if self.parent == Some(from) { own } else { from };
                self.node.post_exit(sender, remote, &term_of(&exit.reason));
            }
        }
    }

    fn notice(&mut self, notice: Notice) -> Option<Reason> {
        match notice {
            Notice::Ended(reason) => return Some(reason_of(&reason)),
            Notice::Linked(pid) => _ = self.linked.insert(pid),
            Notice::Unlinked(pid) => {
                if !self.is_linked(pid) && self.linked.remove(&pid) {
                    self.cx.unlink(pid);
                }
            }
            Notice::Spawned(SpawnOutcome::Ok(child)) => {
                self.object = Some(Object::Pid(child));
                if let Some(ready) = self.ready.take() {
                    ready.up();
                }
            }
            Notice::Fence(_) => {}
            Notice::Spawned(SpawnOutcome::Error(why)) => return Some(self.fail(reason_of(&Term::from(&why)))),
        }
        None
    }

    /// Returns `true` if the two nodes take the processes to be linked: the link that the notice
    /// was about may have been made again.
    fn is_linked(&self, pid: Pid) -> bool {
        let Some(Object::Pid(remote)) = &self.object else { return false };
        self.node.event(|machine| machine.is_linked(pid.to_raw(), remote))
    }
}
