//! Children of ordinary supervisors at other nodes: [`Node::remote_child`].

use atropos::otp::{ChildId, ChildSpec, ChildStarter, InitSender, StartError, StartedChild};
use atropos::{AnyMessage, Context, Reason, SpawnError};

use super::process::Proxy;
use super::table::Standing;
use crate::machine::SpawnRequest;
use crate::node::cx::Destination;
use crate::node::identity::ProcessId;
use crate::node::inner::Node;
use crate::node::mail::Mail;
use crate::term::{Atom, Term, TermBuilder};

/// A process to be started at a node, by a function that is exported there (at a node of Erlang: by
/// any function).
#[derive(Clone, Debug)]
pub struct RemoteSpawn {
    /// The node; also this one.
    pub node: Atom,
    /// The module.
    pub module: Atom,
    /// The function.
    pub function: Atom,
    /// The arguments.
    pub arguments: Vec<Term>,
}

impl Node {
    /// Specifies a child that runs at another node. `place` says for each start where, and what:
    /// so a restart after the loss of a node can go to another one.
    ///
    /// The child is started by a spawn request, and linked with its proxy, which is what the
    /// supervisor knows as its child. It ends with the connection (its node ends it then), and with
    /// the supervisor. The supervisor's exit signals reach it as those of its parent.
    pub fn remote_child<F>(&self, id: impl Into<ChildId>, mut place: F) -> ChildSpec
    where
        F: FnMut() -> RemoteSpawn + Send + 'static,
    {
        let node = self.clone();
        ChildSpec::worker(id, move |starter: &mut ChildStarter<'_>| node.start_child(starter, place()))
    }

    fn start_child(&self, starter: &mut ChildStarter<'_>, spawn: RemoteSpawn) -> Result<StartedChild, StartError> {
        let RemoteSpawn { node: at, module, function, arguments } = spawn;
        let arguments = Term::list(&arguments);
        if at == *self.name() {
            let leader = ProcessId::Local(starter.supervisor_pid());
            let child = self.start_exported(module, function, arguments, leader);
            let child = child.map_err(|_| StartError::Spawn(SpawnError::TooMany))?;
            let started = starter.adopt(child)?;
            self.deliver(child.to_raw(), Mail::Begin);
            return Ok(started);
        }
        if !self.has_room_for_proxy(&self.0.proxies.table(), &at) {
            return Err(StartError::Spawn(SpawnError::TooMany));
        }
        let node = self.clone();
        let body = async move |cx: Context<AnyMessage>, ready: InitSender| -> Reason {
            let pid = cx.pid();
            let proxy = Proxy::of_child(cx, node.clone(), ready);
            node.0.proxies.table().insert(pid, Standing::Asked(at.clone()));
            node.request_child(&proxy, &at, module, function, arguments);
            proxy.run().await
        };
        starter.spawn_ready(&self.proxy_options(), body)
    }

    /// Sends the spawn request of a proxy.
    fn request_child(&self, proxy: &Proxy, at: &Atom, module: Atom, function: Atom, arguments: Term) {
        let own = proxy.context().pid();
        let leader = Term::from(&self.external(own));
        let arity = arguments.view().as_list().map_or(0, |items| items.count());
        let request = SpawnRequest {
            parent: own.to_raw(),
            leader,
            module,
            function,
            arguments,
            arity: u32::try_from(arity).unwrap_or(u32::MAX),
            options: TermBuilder::new().list(2).atom("link").atom("monitor").nil().finish(),
        };
        self.connect_to(at);
        self.event(|machine| {
            let reference = machine.new_reference();
            machine.spawn(at, reference, request);
        });
    }

    /// Looks a name up at a node, and returns the pid of the process that has it: a proxy, or its
    /// own pid if the node is this one. `None` if no process has the name, or the node cannot be
    /// asked.
    ///
    /// # Errors
    /// [`RemoteError`](super::RemoteError) if a new proxy is needed and cannot be made.
    pub async fn remote_whereis(&self, name: &Atom, at: &Atom) -> Result<Option<atropos::Pid>, super::RemoteError> {
        if at == self.name() {
            return Ok(self.runtime().whereis(name.as_str()));
        }
        let (reply, found) = tokio::sync::oneshot::channel();
        let (arguments, at) = (Term::list(&[Term::from(name)]), at.clone());
        let asks = self.spawn(async move |mut cx| {
            let function = (crate::node::identity::atom("erlang"), crate::node::identity::atom("whereis"));
            let _ = reply.send(cx.rpc(&at, function, &arguments, None).await);
            Reason::NORMAL
        });
        asks.map_err(super::RemoteError::Spawn)?;
        let Ok(Ok(term)) = found.await else { return Ok(None) };
        match self.destination(term.view()) {
            Some(Destination::Process(process)) => self.remote_pid(&process).map(Some),
            _ => Ok(None),
        }
    }
}
