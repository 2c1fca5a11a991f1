//! Which of two processes keeps a name that both have.

use crate::node::cx::{Destination, NodeCx};
use crate::term::{Kind, Term, TermBuilder};

/// Resolves a conflict by a method, and returns the process that keeps the name. `None` if neither
/// does, or one of the two is no process.
///
/// The methods are those of Erlang's `global`; any other, being a function that only its node has,
/// is treated as `random_exit_name`.
pub(super) fn resolve(cx: &NodeCx, method: &Term, name: &Term, pid: &Term, other: &Term) -> Option<Term> {
    let nodes = [pid.view().as_pid()?.node, other.view().as_pid()?.node];
    let (kept, lost) = if nodes[0] < nodes[1] { (pid, other) } else { (other, pid) };
    let conflict = |with: &[&Term]| {
        let notice = TermBuilder::new().tuple(2 + with.len()).atom("global_name_conflict").term(name);
        with.iter().fold(notice, |notice, with| notice.term(with)).finish()
    };
    let tell = |pid: &Term, message: Term| {
        if let Some(process) = cx.process(pid) {
            cx.send_now(&Destination::Process(process), message);
        }
    };
    match method_name(method) {
        Some("random_notify_name") => tell(lost, conflict(&[])),
        Some("notify_all_name") => {
            tell(pid, conflict(&[other]));
            tell(other, conflict(&[pid]));
            return None;
        }
        _ => {
            tracing::info!(node = cx.node().name().as_str(), "a process loses the global name {name:.200}: {lost}");
            if let Some(process) = cx.process(lost) {
                cx.exit(&process, &Term::atom("kill"));
            }
        }
    }
    Some(kept.clone())
}

/// Returns the function of `global` that a method is: `fun global:Name/3` or `{global, Name}`.
fn method_name(method: &Term) -> Option<&str> {
    match method.kind() {
        Kind::Export(export) if export.module == "global" && export.arity == 3 => Some(export.function),
        Kind::Tuple(_) => {
            let [module, function] = method.view().as_array()?;
            module.is_atom("global").then(|| function.as_atom())?
        }
        _ => None,
    }
}

/// Returns the method of names that are registered here: `fun global:random_exit_name/3`, which
/// peers can call.
pub(super) fn default_method() -> Term {
    TermBuilder::new().export("global", "random_exit_name", 3).finish()
}
