//! Spawn requests of a process.

use crate::machine::{SpawnOutcome, SpawnRequest};
use crate::term::{Atom, Term};

use super::relation::{MonitorOptions, RelationError};
use super::{Keeper, Monitoring, NodeCx};
use crate::node::identity::{ProcessId, atom};
use crate::node::mail::{Mail, MonitorObject};
use crate::node::reason::term_of;

/// A spawn request to a node.
#[derive(Clone, Debug)]
pub struct SpawnOptions {
    /// The reply of a process that was started is passed on.
    pub reply_ok: bool,
    /// The reply of a request that failed is passed on.
    pub reply_error: bool,
    /// What stands in place of `spawn_reply`.
    pub reply_tag: Option<Term>,
    /// The options of the monitor, if there is one.
    pub monitor: Option<MonitorOptions>,
    /// The processes are linked.
    pub link: bool,
    /// All options, as the other node gets them.
    pub terms: Term,
}

impl NodeCx {
    /// Asks a node for a process. Returns the request's reference; the reply comes as
    /// `Incoming::Spawned`.
    ///
    /// # Errors
    /// [`RelationError`] if the kernel has no memory for it.
    pub fn spawn_request(
        &mut self,
        node: &Atom,
        (module, function): (Atom, Atom),
        arguments: Term,
        options: SpawnOptions,
    ) -> Result<u64, RelationError> {
        let alias = options.monitor.as_ref().and_then(|monitor| monitor.alias);
        let reference = self.new_reference(alias)?;
        if let Some(MonitorOptions { alias, tag }) = options.monitor.clone() {
            if alias.is_some() {
                self.node.add_alias(reference, self.pid());
            }
            self.monitors.insert(reference, Monitoring { keeper: Keeper::Machine, alias, tag });
        }
        let leader = self.node.group_leader(self.pid()).unwrap_or(ProcessId::Local(self.pid()));
        let arity = arguments.view().as_list().map_or(0, |items| items.count());
        let request = SpawnRequest {
            parent: self.pid().to_raw(),
            leader: self.node.pid_term(&leader),
            module,
            function,
            arguments,
            arity: u32::try_from(arity).unwrap_or(u32::MAX),
            options: sent_options(&options.terms),
        };
        let link = options.link;
        self.spawns.insert(reference, options);
        if node == self.node.name() {
            self.spawn_here(reference, request, leader, link);
        } else {
            self.node.connect_to(node);
            self.node.event(|machine| machine.spawn(node, reference, request));
        }
        Ok(reference)
    }

    /// Starts a process of this node for a request of this process.
    fn spawn_here(&mut self, reference: u64, request: SpawnRequest, leader: ProcessId, link: bool) {
        let SpawnRequest { module, function, arguments, .. } = request;
        let own = self.pid().to_raw();
        let outcome = match self.node.start_exported(module, function, arguments, leader) {
            Ok(child) => {
                if link {
                    // The child has not begun, so it is alive. If it was killed, the EXIT comes.
                    let _ = self.cx.link(child);
                }
                if let Some(monitoring) = self.monitors.get_mut(&reference) {
                    let node = self.node.clone();
                    let object = MonitorObject::Process(ProcessId::Local(child));
                    let told = move |outcome: atropos::Outcome| {
                        let reason = outcome.reason.as_ref().map_or_else(|| Term::atom("noproc"), term_of);
                        node.deliver(own, Mail::Down(reference, object, reason));
                    };
                    if let Ok(watch) = self.node.runtime().on_exit(child, told) {
                        monitoring.keeper = Keeper::Watch(watch);
                    }
                }
                let external = self.node.external(child);
                self.node.deliver(own, Mail::Spawned(reference, SpawnOutcome::Ok(external)));
                self.node.deliver(child.to_raw(), Mail::Begin);
                return;
            }
            Err(why) => SpawnOutcome::Error(atom(why)),
        };
        self.node.deliver(own, Mail::Spawned(reference, outcome));
    }
}

/// Returns the options as they are sent. What concerns only this node is left out, as in Erlang,
/// which refuses the rest as unknown.
fn sent_options(options: &Term) -> Term {
    let mut sent = Vec::new();
    for option in options.view().as_list().into_iter().flatten() {
        match option.as_array().and_then(|[key, _]| key.as_atom()) {
            Some("reply" | "reply_tag") => {}
            Some("monitor") => sent.push(Term::atom("monitor")),
            _ => sent.push(options.part(option)),
        }
    }
    Term::list(&sent)
}
