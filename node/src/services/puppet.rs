//! Puppets: processes that do what other nodes tell them.
//!
//! A puppet takes commands as calls, which it answers when it has done them, and as casts. All else
//! that it gets it passes on to its owner, in order, as `{puppet, Puppet, Message}`.

use std::time::Duration;

use atropos::{AliasMode, LinkError, Reason};
use atropos_dist::machine::{NodeTypes, Subscription};
use atropos_dist::node::{
    CallError, Destination, Incoming, MonitorOptions, Node, NodeCx, ProcessId, Raised, Request, RpcError, SendOptions,
    SendOutcome, SpawnOptions, reason_of, unknown_request,
};
use atropos_dist::term::{Atom, Term, TermBuilder, TermRef};

/// The process that gets what a puppet passes on.
#[derive(Clone, Debug)]
pub(super) struct Owner(Option<ProcessId>);

impl Owner {
    /// Reads a pid or `none`.
    pub(super) fn read(node: &Node, term: TermRef<'_>) -> Option<Self> {
        match term.as_pid() {
            Some(pid) => Some(Self(Some(node.process(pid)))),
            None => term.is_atom("none").then_some(Self(None)),
        }
    }
}

/// What came of a command.
enum Done {
    Answer(Term),
    /// The process ends.
    Ends(Reason),
}

/// Returns the reason of a process that ends itself with a term.
pub(super) fn end(reason: &Term) -> Reason {
    if reason.view().is_atom("kill") { Reason::KILL } else { reason_of(reason) }
}

/// Runs a puppet.
pub(super) async fn run(mut cx: NodeCx, owner: Owner) -> Reason {
    perform(&mut cx, owner).await
}

/// Runs a puppet in a process that has begun already.
pub(super) async fn perform(cx: &mut NodeCx, mut owner: Owner) -> Reason {
    loop {
        let message = match cx.recv().await {
            Incoming::Message(message) => message,
            other => {
                let message = other.to_term(cx.node());
                pass_on(cx, &owner, &message).await;
                continue;
            }
        };
        let done = match Request::read(cx.node(), message) {
            Request::Call(call, command) => match obey(cx, &mut owner, &command).await {
                Done::Answer(answer) => {
                    let (to, answer) = call.answer(&answer);
                    cx.send(to, answer).await;
                    continue;
                }
                ends => ends,
            },
            Request::Cast(command) => obey(cx, &mut owner, &command).await,
            Request::System(_, _) => continue,
            Request::Other(message) => {
                pass_on(cx, &owner, &message).await;
                continue;
            }
        };
        if let Done::Ends(reason) = done {
            return reason;
        }
    }
}

async fn pass_on(cx: &NodeCx, Owner(owner): &Owner, message: &Term) {
    if let Some(owner) = owner {
        let whole = TermBuilder::new().tuple(3).atom("puppet").term(&cx.own_term()).term(message).finish();
        cx.send(&Destination::Process(owner.clone()), whole).await;
    }
}

async fn obey(cx: &mut NodeCx, owner: &mut Owner, command: &Term) -> Done {
    let parts: Vec<TermRef<'_>> = match command.view().as_tuple() {
        Some(tuple) => tuple.iter().collect(),
        None => vec![command.view()],
    };
    let Some(kind) = parts.first().and_then(|kind| kind.as_atom()) else {
        return Done::Answer(unknown_request(command));
    };
    let arguments: Vec<Term> = parts[1..].iter().map(|part| command.part(*part)).collect();
    let answer = match (kind, arguments.as_slice()) {
        ("owner", [to]) => Owner::read(cx.node(), to.view()).map(|new| {
            *owner = new;
            ok()
        }),
        ("die", [reason]) => return Done::Ends(end(reason)),
        ("panic", [text]) => match text.view().as_binary() {
            Some(text) => panic!("{}", String::from_utf8_lossy(text)),
            None => None,
        },
        ("self" | "nodes", [])
        | ("trap_exit" | "link" | "unlink" | "alias" | "unalias", [_])
        | ("monitor" | "demonitor", _)
        | ("exit" | "group_leader", [_, _])
        | ("register" | "unregister" | "nodes", [_]) => relate(cx, kind, &arguments),
        ("monitor_nodes", _) | ("monitor_node", [_, _]) => watch_nodes(cx, kind, &arguments),
        _ => act(cx, kind, &arguments).await.unwrap_or_else(|| Some(unknown_request(command))),
    };
    Done::Answer(answer.unwrap_or_else(|| error("badarg")))
}

fn ok() -> Term {
    Term::atom("ok")
}

fn error(what: &str) -> Term {
    TermBuilder::new().tuple(2).atom("error").atom(what).finish()
}

fn reference(cx: &NodeCx, number: u64) -> Term {
    Term::from(&cx.node().reference(number))
}

/// Links, monitors, aliases, names. `None` is `badarg`.
fn relate(cx: &mut NodeCx, kind: &str, arguments: &[Term]) -> Option<Term> {
    let yes = || Some(Term::from(true));
    match (kind, arguments) {
        ("self", []) => Some(cx.own_term()),
        ("trap_exit", [on]) => Some(Term::from(cx.context().trap_exit(on.view().as_bool()?))),
        ("link", [to]) => match cx.link(&cx.process(to)?) {
            Err(LinkError::NoProc) => Some(error("noproc")),
            _ => yes(),
        },
        ("unlink", [from]) => {
            cx.unlink(&cx.process(from)?);
            yes()
        }
        ("monitor", [target]) => monitor(cx, target, MonitorOptions::default()),
        ("monitor", [target, options]) => {
            let options = monitor_options(options)?;
            monitor(cx, target, options)
        }
        ("demonitor", [monitor]) => {
            let number = own_number(cx, monitor)?;
            cx.demonitor(number.unwrap_or(0), false);
            yes()
        }
        ("demonitor", [monitor, options]) => {
            let (mut flush, mut info) = (false, false);
            for option in options.view().as_list()? {
                match option.as_atom()? {
                    "flush" => flush = true,
                    "info" => info = true,
                    _ => return None,
                }
            }
            let was = own_number(cx, monitor)?.is_some_and(|number| cx.demonitor(number, flush));
            Some(Term::from(!info || was))
        }
        ("exit", [to, reason]) => {
            cx.exit(&cx.process(to)?, reason);
            yes()
        }
        ("alias", [options]) => {
            let mut reply = false;
            for option in options.view().as_list()? {
                match option.as_atom()? {
                    "reply" => reply = true,
                    "explicit_unalias" => {}
                    _ => return None,
                }
            }
            cx.alias(reply).ok().map(|number| reference(cx, number))
        }
        ("unalias", [alias]) => {
            let number = own_number(cx, alias)?;
            Some(Term::from(number.is_some_and(|number| cx.unalias(number))))
        }
        ("group_leader", [leader, to]) => {
            cx.node().give_leader(&cx.process(leader)?, &cx.process(to)?);
            yes()
        }
        ("register", [name]) => {
            let name = name.view().as_atom().filter(|name| *name != "undefined")?;
            cx.register(name).ok().map(|()| Term::from(true))
        }
        ("unregister", [name]) => cx.context().unregister(name.view().as_atom()?).then(|| Term::from(true)),
        ("nodes", []) => cx.node().nodes_of(&Term::atom("visible")),
        ("nodes", [kind]) => cx.node().nodes_of(kind),
        _ => None,
    }
}

/// Returns the number of a reference of this node: `None` for no reference, `Some(None)` for one of
/// another node.
fn own_number(cx: &NodeCx, term: &Term) -> Option<Option<u64>> {
    term.view().as_reference().map(|reference| cx.node().own_reference(reference))
}

fn monitor(cx: &mut NodeCx, target: &Term, options: MonitorOptions) -> Option<Term> {
    let to = cx.node().destination(target.view())?;
    cx.monitor(&to, options).ok().map(|number| reference(cx, number))
}

/// Reads the options of a monitor.
fn monitor_options(options: &Term) -> Option<MonitorOptions> {
    let mut read = MonitorOptions::default();
    for option in options.view().as_list()? {
        let [key, value] = option.as_array()?;
        match (key.as_atom()?, value.as_atom()) {
            ("alias", Some("explicit_unalias")) => read.alias = Some(AliasMode::ExplicitUnalias),
            ("alias", Some("demonitor")) => read.alias = Some(AliasMode::Demonitor),
            ("alias", Some("reply_demonitor")) => read.alias = Some(AliasMode::ReplyDemonitor),
            ("tag", _) => read.tag = Some(options.part(value)),
            _ => return None,
        }
    }
    Some(read)
}

/// `monitor_nodes` and `monitor_node`.
fn watch_nodes(cx: &mut NodeCx, kind: &str, arguments: &[Term]) -> Option<Term> {
    if let ("monitor_node", [node, on]) = (kind, arguments) {
        let node = atom(node)?;
        cx.monitor_node(&node, on.view().as_bool()?);
        return Some(Term::from(true));
    }
    let (on, options) = match arguments {
        [on] => (on, None),
        [on, options] => (on, Some(options)),
        _ => return None,
    };
    let mut subscription = Subscription::default();
    if let Some(options) = options {
        for option in options.view().as_list()? {
            match (option.as_atom(), option.as_array()) {
                (Some("nodedown_reason"), _) => subscription.reason = true,
                (None, Some([key, value])) if key.is_atom("node_type") => {
                    subscription.types = Some(match value.as_atom()? {
                        "visible" => NodeTypes::Visible,
                        "hidden" => NodeTypes::Hidden,
                        "all" => NodeTypes::All,
                        _ => return None,
                    });
                }
                (None, Some([key, value])) if key.is_atom("nodedown_reason") => {
                    subscription.reason = value.as_bool()?;
                }
                _ => return None,
            }
        }
    }
    cx.monitor_nodes(on.view().as_bool()?, subscription);
    Some(ok())
}

fn atom(term: &Term) -> Option<Atom> {
    term.view().as_atom().and_then(|text| Atom::new(text).ok())
}

fn patience(term: &Term) -> Option<Option<Duration>> {
    match term.view().as_u64() {
        Some(time) => Some(Some(Duration::from_millis(time))),
        None => term.view().is_atom("infinity").then_some(None),
    }
}

/// What may wait. `None` is an unknown command, `Some(None)` is `badarg`.
async fn act(cx: &mut NodeCx, kind: &str, arguments: &[Term]) -> Option<Option<Term>> {
    Some(match (kind, arguments) {
        ("send", [to, message]) => send(cx, to, message, None).await,
        ("send", [to, message, options]) => send(cx, to, message, Some(options)).await,
        ("sleep", [time]) => match time.view().as_u64() {
            Some(time) => {
                cx.context().sleep(Duration::from_millis(time)).await;
                Some(ok())
            }
            None => None,
        },
        ("call", [to, request, time]) => call(cx, to, request, time).await,
        ("cast", [to, message]) => match cx.node().destination(to.view()) {
            Some(to) => {
                cx.cast(&to, message).await;
                Some(ok())
            }
            None => None,
        },
        ("rpc", [node, module, function, list, time]) => rpc(cx, [node, module, function, list, time]).await,
        ("burst", [to, first, last, size]) => burst(cx, to, [first, last, size]).await,
        ("spawn_request", [node, module, function, list, options]) => {
            spawn_request(cx, [node, module, function, list, options])
        }
        ("pg_join" | "pg_leave" | "pg_members" | "pg_local_members" | "pg_monitor" | "pg_demonitor", [scope, what]) => {
            groups(cx, kind, scope, Some(what)).await
        }
        ("pg_which_groups" | "pg_monitor_scope", [scope]) => groups(cx, kind, scope, None).await,
        ("global_register" | "global_unregister" | "global_whereis" | "global_sync", names) => {
            global(cx, kind, names).await
        }
        ("connect", [node]) => match atom(node) {
            Some(node) => Some(Term::from(cx.node().clone().connect(&node).await)),
            None => None,
        },
        ("disconnect", [node]) => match atom(node) {
            Some(node) => Some(Term::from(cx.node().clone().disconnect(&node).await)),
            None => None,
        },
        _ => return None,
    })
}

async fn send(cx: &NodeCx, to: &Term, message: &Term, options: Option<&Term>) -> Option<Term> {
    let to = cx.node().destination(to.view())?;
    let mut read = SendOptions::default();
    if let Some(options) = options {
        for option in options.view().as_list()? {
            match option.as_atom()? {
                "noconnect" => read.noconnect = true,
                "nosuspend" => read.nosuspend = true,
                _ => return None,
            }
        }
    }
    if let Destination::Name(name) = &to
        && cx.context().whereis(name.as_str()).is_none()
    {
        return None;
    }
    Some(Term::atom(match cx.send_with(&to, message.clone(), read).await {
        SendOutcome::Ok => "ok",
        SendOutcome::NoConnect => "noconnect",
        SendOutcome::NoSuspend => "nosuspend",
    }))
}

async fn call(cx: &mut NodeCx, to: &Term, request: &Term, time: &Term) -> Option<Term> {
    let to = cx.node().destination(to.view())?;
    let patience = patience(time)?;
    let build = TermBuilder::new().tuple(2);
    Some(match cx.call(&to, request, patience).await {
        Ok(reply) => build.atom("ok").term(&reply).finish(),
        Err(CallError(reason)) => build.atom("exit").term(&reason).finish(),
    })
}

async fn rpc(cx: &mut NodeCx, [node, module, function, list, time]: [&Term; 5]) -> Option<Term> {
    let (node, function) = (atom(node)?, (atom(module)?, atom(function)?));
    list.view().as_list()?;
    let patience = patience(time)?;
    let build = TermBuilder::new().tuple(2);
    Some(match cx.rpc(&node, function, list, patience).await {
        Ok(value) => build.atom("ok").term(&value).finish(),
        Err(RpcError::Raised(Raised::Throw(term))) => build.atom("throw").term(&term).finish(),
        Err(RpcError::Raised(Raised::Exit(term))) => build.atom("exit").term(&term).finish(),
        Err(RpcError::Raised(Raised::Error(term) | Raised::ErrorAt(term, _))) => {
            build.atom("error").term(&term).finish()
        }
        Err(RpcError::Failed(why)) => build.atom("error").tuple(2).atom("erpc").atom(why.as_str()).finish(),
    })
}

/// Asks a scope of `pg`.
async fn groups(cx: &mut NodeCx, kind: &str, scope: &Term, what: Option<&Term>) -> Option<Term> {
    let scope = atom(scope)?;
    let own = cx.own_term();
    let build = TermBuilder::new();
    let request = match (kind, what) {
        ("pg_join", Some(group)) => build.tuple(3).atom("join_local").term(group).term(&own).finish(),
        ("pg_leave", Some(group)) => build.tuple(3).atom("leave_local").term(group).term(&own).finish(),
        ("pg_members", Some(group)) => build.tuple(2).atom("get_members").term(group).finish(),
        ("pg_local_members", Some(group)) => build.tuple(2).atom("get_local_members").term(group).finish(),
        ("pg_monitor", Some(group)) => build.tuple(2).atom("monitor").term(group).finish(),
        ("pg_demonitor", Some(reference)) => build.tuple(2).atom("demonitor").term(reference).finish(),
        ("pg_which_groups", None) => Term::atom("which_groups"),
        _ => Term::atom("monitor_scope"),
    };
    cx.pg(&scope, &request).await.ok()
}

async fn global(cx: &mut NodeCx, kind: &str, names: &[Term]) -> Option<Term> {
    let own = cx.own_term();
    Some(match (kind, names) {
        ("global_register", [name]) => {
            let is_registered = cx.global_register(name, &own).await.ok()?;
            Term::atom(if is_registered { "yes" } else { "no" })
        }
        ("global_unregister", [name]) => {
            cx.global_unregister(name).await.ok()?;
            ok()
        }
        ("global_whereis", [name]) => cx.node().global_whereis(name).unwrap_or_else(|| Term::atom("undefined")),
        ("global_sync", []) => {
            cx.global_sync().await.ok()?;
            ok()
        }
        _ => return None,
    })
}

async fn burst(cx: &NodeCx, to: &Term, [first, last, size]: [&Term; 3]) -> Option<Term> {
    let to = cx.node().destination(to.view())?;
    let (first, last) = (first.view().as_i64()?, last.view().as_i64()?);
    let bytes = Term::binary(&vec![7; usize::try_from(size.view().as_u64()?).ok()?]);
    for number in first..=last {
        let message = TermBuilder::new().tuple(3).atom("burst").integer(number).term(&bytes).finish();
        cx.send(&to, message).await;
    }
    Some(ok())
}

fn spawn_request(cx: &mut NodeCx, [node, module, function, list, terms]: [&Term; 5]) -> Option<Term> {
    let (node, function) = (atom(node)?, (atom(module)?, atom(function)?));
    list.view().as_list()?;
    let mut options = SpawnOptions {
        reply_ok: true,
        reply_error: true,
        reply_tag: None,
        monitor: None,
        link: false,
        terms: terms.clone(),
    };
    for option in terms.view().as_list()? {
        match (option.as_atom(), option.as_array()) {
            (Some("link"), _) => options.link = true,
            (Some("monitor"), _) => options.monitor = Some(MonitorOptions::default()),
            (None, Some([key, value])) => match (key.as_atom()?, value.as_atom()) {
                ("monitor", _) => options.monitor = Some(monitor_options(&terms.part(value))?),
                ("reply_tag", _) => options.reply_tag = Some(terms.part(value)),
                ("reply", Some("yes")) => {}
                ("reply", Some("no")) => (options.reply_ok, options.reply_error) = (false, false),
                ("reply", Some("error_only")) => options.reply_ok = false,
                ("reply", Some("success_only")) => options.reply_error = false,
                _ => {}
            },
            _ => {}
        }
    }
    cx.spawn_request(&node, function, list.clone(), options).ok().map(|number| reference(cx, number))
}
