//! The functions of Erlang that a node offers to peers: those of `erlang`, `init` and `net_adm`
//! that make sense without Erlang's code.

use std::sync::Arc;

use atropos::Pid;

use crate::machine::Object;
use crate::term::{Atom, Term, TermBuilder};

use super::cx::NodeCx;
use super::exports::{Arguments, Exports, Raised, Running};
use super::identity::{ProcessId, atom};
use super::inner::Node;

/// What a function without waiting returns.
type Value = Result<Term, Raised>;

/// Adds a function that does not wait.
fn plain(
    exports: &mut Exports,
    module: &'static str,
    function: &'static str,
    arity: usize,
    run: fn(&NodeCx, &Arguments) -> Value,
) {
    let run = move |cx: &mut NodeCx, arguments: &Arguments| -> Running<'static> {
        let result = run(cx, arguments);
        Box::pin(std::future::ready(result))
    };
    exports.add(module, function, arity, Arc::new(Plain(run)));
}

/// A function that does not wait.
struct Plain<F>(F);

impl<F> super::exports::Exported for Plain<F>
where
    F: Fn(&mut NodeCx, &Arguments) -> Running<'static> + Send + Sync,
{
    fn run<'a>(&'a self, cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
        (self.0)(cx, arguments)
    }
}

pub(super) fn add(exports: &mut Exports) {
    plain(exports, "erlang", "node", 0, |cx, _| Ok(Term::from(cx.node().name())));
    plain(exports, "erlang", "nodes", 0, |cx, _| Ok(names(&cx.node().nodes(NodeType::Visible))));
    plain(exports, "erlang", "nodes", 1, nodes);
    plain(exports, "erlang", "self", 0, |cx, _| Ok(cx.own_term()));
    plain(exports, "erlang", "whereis", 1, whereis);
    plain(exports, "erlang", "registered", 0, |cx, _| {
        let registered: Vec<Term> = cx.node().registered().iter().map(|name| Term::atom(name)).collect();
        Ok(Term::list(&registered))
    });
    plain(exports, "erlang", "processes", 0, |cx, _| {
        let pid = |pid: Pid| Term::from(&cx.node().external(pid));
        let all: Vec<Term> = cx.node().runtime().processes().into_iter().map(pid).collect();
        Ok(Term::list(&all))
    });
    plain(exports, "erlang", "is_process_alive", 1, |cx, arguments| match cx.process(&arguments.items()[0]) {
        Some(ProcessId::Local(pid)) => Ok(Term::from(cx.node().runtime().is_alive(pid))),
        Some(ProcessId::Remote(pid)) if pid.node == *cx.node().name() => Ok(Term::from(false)),
        _ => Err(arguments.badarg()),
    });
    exports.add("erlang", "process_info", 2, Arc::new(process_info));
    plain(exports, "erlang", "exit", 1, |_, arguments| Err(Raised::Exit(arguments.items()[0].clone())));
    plain(exports, "erlang", "exit", 2, |cx, arguments| {
        let process = cx.process(&arguments.items()[0]).ok_or_else(|| arguments.badarg())?;
        cx.exit(&process, &arguments.items()[1]);
        Ok(Term::from(true))
    });
    exports.add("erlang", "send", 2, Arc::new(send));
    exports.add("erlang", "apply", 3, Arc::new(apply));
    plain(exports, "erlang", "group_leader", 0, |cx, _| {
        let leader = cx.node().group_leader(cx.pid()).unwrap_or(ProcessId::Local(cx.pid()));
        Ok(cx.node().pid_term(&leader))
    });
    plain(exports, "erlang", "system_info", 1, |cx, arguments| match arguments.items()[0].view().as_atom() {
        Some("creation") => Ok(Term::from(u64::from(cx.node().creation()))),
        Some("otp_release") => Ok(Term::list(&[Term::from(50_i32), Term::from(53_i32)])),
        Some("process_count") => Ok(Term::from(cx.node().runtime().process_count())),
        _ => Err(arguments.badarg()),
    });
    for (module, function, arity) in [("erlang", "halt", 0), ("erlang", "halt", 1), ("init", "stop", 0)] {
        plain(exports, module, function, arity, |cx, _| {
            // The caller gets the answer of a process that has ended before the node does.
            cx.node().stop_after(cx.pid());
            Ok(Term::atom("ok"))
        });
    }
    exports.add("net_adm", "ping", 1, Arc::new(ping));
}

/// Which nodes [`Node::nodes`] returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeType {
    /// Visible nodes that are connected.
    Visible,
    /// Hidden nodes that are connected.
    Hidden,
    /// All nodes that are connected.
    Connected,
    /// This node.
    This,
    /// This node, and all to which there is or was a connection.
    Known,
}

impl NodeType {
    pub(super) fn read(text: &str) -> Option<Self> {
        Some(match text {
            "visible" => Self::Visible,
            "hidden" => Self::Hidden,
            "connected" => Self::Connected,
            "this" => Self::This,
            "known" => Self::Known,
            _ => return None,
        })
    }
}

impl Node {
    /// Returns the nodes of a kind.
    pub fn nodes(&self, kind: NodeType) -> Vec<Atom> {
        let connected = || self.event(|machine| machine.connected());
        match kind {
            NodeType::This => vec![self.name().clone()],
            NodeType::Known => {
                let mut known = self.event(|machine| machine.known());
                known.push(self.name().clone());
                known
            }
            NodeType::Connected => connected().into_iter().map(|(node, _)| node).collect(),
            NodeType::Visible => connected().into_iter().filter(|(_, hidden)| !hidden).map(|(node, _)| node).collect(),
            NodeType::Hidden => connected().into_iter().filter(|(_, hidden)| *hidden).map(|(node, _)| node).collect(),
        }
    }

    /// Returns the nodes that a term asks for: the name of a kind, or a list of such names.
    pub fn nodes_of(&self, kind: &Term) -> Option<Term> {
        let view = kind.view();
        if let Some(kind) = view.as_atom() {
            return Some(names(&self.nodes(NodeType::read(kind)?)));
        }
        let mut all = Vec::new();
        for kind in view.as_list()? {
            all.extend(self.nodes(NodeType::read(kind.as_atom()?)?));
        }
        all.sort_unstable();
        all.dedup();
        Some(names(&all))
    }
}

fn names(nodes: &[Atom]) -> Term {
    let names: Vec<Term> = nodes.iter().map(Term::from).collect();
    Term::list(&names)
}

fn nodes(cx: &NodeCx, arguments: &Arguments) -> Value {
    cx.node().nodes_of(&arguments.items()[0]).ok_or_else(|| arguments.badarg())
}

fn whereis(cx: &NodeCx, arguments: &Arguments) -> Value {
    let name = arguments.items()[0].view().as_atom().ok_or_else(|| arguments.badarg())?;
    let found = cx.node().runtime().whereis(name);
    Ok(found.map_or_else(|| Term::atom("undefined"), |pid| Term::from(&cx.node().external(pid))))
}

fn send<'a>(cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async move {
        let to = cx.node().destination(arguments.items()[0].view()).ok_or_else(|| arguments.badarg())?;
        let message = arguments.items()[1].clone();
        cx.send(&to, message.clone()).await;
        Ok(message)
    })
}

fn apply<'a>(cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async move {
        let [module, function, list] = arguments.items() else { return Err(arguments.badarg()) };
        let names = (module.view().as_atom(), function.view().as_atom());
        let (Some(module), Some(function)) = names else { return Err(arguments.badarg()) };
        cx.apply(atom(module), atom(function), list.clone()).await
    })
}

fn ping<'a>(cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async move {
        let node = atom(arguments.items()[0].view().as_atom().ok_or_else(|| arguments.badarg())?);
        let connected = cx.node().clone().connect(&node).await;
        Ok(Term::atom(if connected { "pong" } else { "pang" }))
    })
}

fn process_info<'a>(cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async move {
        let [process, item] = arguments.items() else { return Err(arguments.badarg()) };
        let pid = match cx.process(process) {
            Some(ProcessId::Local(pid)) => pid,
            Some(ProcessId::Remote(pid)) if pid.node == *cx.node().name() => return Ok(Term::atom("undefined")),
            _ => return Err(arguments.badarg()),
        };
        let info = if pid == cx.pid() {
            cx.context().own_info().ok().flatten()
        } else {
            cx.context().info(pid).await.ok().flatten()
        };
        let Some(info) = info else { return Ok(Term::atom("undefined")) };
        let node = cx.node();
        if let Some(item) = item.view().as_atom() {
            let found = info_item(node, pid, &info, item).ok_or_else(|| arguments.badarg())?;
            // Of a process without a name, that item alone is the empty list.
            return Ok(if item == "registered_name" && info.name.is_none() { Term::NIL } else { found });
        }
        let items = item.view().as_list().ok_or_else(|| arguments.badarg())?;
        let found: Option<Vec<Term>> = items.map(|item| info_item(node, pid, &info, item.as_atom()?)).collect();
        Ok(Term::list(&found.ok_or_else(|| arguments.badarg())?))
    })
}

/// Returns `{Item, Value}`.
fn info_item(node: &Node, pid: Pid, info: &atropos::ProcessInfo, item: &str) -> Option<Term> {
    let local = |pid: &Pid| Term::from(&node.external(*pid));
    let raw = pid.to_raw();
    let value = match item {
        "links" => {
            let mut links: Vec<Term> = info.links.iter().map(local).collect();
            links.extend(node.event(|machine| machine.links_of(raw)).iter().map(Term::from));
            Term::list(&links)
        }
        "monitors" => {
            let mut monitors: Vec<Term> = Vec::new();
            for target in &info.monitors {
                let build = TermBuilder::new().tuple(2).atom("process");
                monitors.push(match target {
                    atropos::MonitorTarget::Pid(pid) => build.term(&local(pid)).finish(),
                    atropos::MonitorTarget::Name(name) => {
                        build.tuple(2).atom(name.as_str()).atom(node.name().as_str()).finish()
                    }
                });
            }
            for object in node.event(|machine| machine.monitors_of(raw)) {
                let build = TermBuilder::new().tuple(2).atom("process");
                monitors.push(match object {
                    Object::Pid(pid) => build.pid(pid.as_ref()).finish(),
                    Object::Name(name, at) => build.tuple(2).atom(name.as_str()).atom(at.as_str()).finish(),
                });
            }
            Term::list(&monitors)
        }
        "monitored_by" => {
            let mut watchers: Vec<Term> = info.monitored_by.iter().map(local).collect();
            watchers.extend(node.event(|machine| machine.monitored_by(raw)).iter().map(Term::from));
            Term::list(&watchers)
        }
        "registered_name" => info.name.as_ref().map_or(Term::NIL, |name| Term::atom(name.as_str())),
        "trap_exit" => Term::from(info.trap_exit),
        "group_leader" => node.pid_term(&node.group_leader(pid).unwrap_or(ProcessId::Local(pid))),
        "message_queue_len" => Term::from(info.message_queue_len),
        "status" => Term::atom(if info.suspended > 0 { "suspended" } else { "waiting" }),
        _ => return None,
    };
    Some(TermBuilder::new().tuple(2).atom(item).term(&value).finish())
}
