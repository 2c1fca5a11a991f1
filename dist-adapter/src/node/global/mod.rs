//! `global`: names and locks of a whole cluster, in the protocol (version 8) of OTP 25's `global`.
//!
//! Each visible node has the registered process `global_name_server`. When two nodes meet, their
//! servers agree on one table of names:
//!
//! 1. Each server casts `init_connect` with a *tag*, a number for this meeting. All later messages
//!    of the meeting carry the receiver's tag, so that those of an earlier meeting are recognized.
//! 2. The *lockers* of both nodes set the lock `global` on the greatest known node, then on each
//!    other, then on all nodes that either knows, and say so by `lock_set`.
//! 3. Under the lock, both servers send their names (`exchange`). The smaller node decides which
//!    process keeps a name that both have. Each sends the changes that the other must make, and the
//!    nodes that it knows (`resolved`).
//! 4. Each server enters the names, connects to the other's known nodes, and tells its own known
//!    nodes (`new_nodes`). Then the lockers release the lock.
//!
//! Changes of names between meetings are made under the same lock, on all known nodes, by the
//! *registrar* of the node on which they are asked for.
//!
//! Overlapping partitions are prevented as in OTP: a node that loses a connection tells all others
//! (`lost_connection`), and each of them disconnects from the lost node.
//!
//! | noun | module |
//! | --- | --- |
//! | names, locks and known nodes, which all processes of the node can read | `tables` |
//! | the process `global_name_server` | `server`; its names and locks: `holdings`; its meetings: `meeting`, `agree`; lost connections: `partition` |
//! | the process that sets the lock for a meeting | `locker` |
//! | the process that changes names | `registrar` |
//! | which process keeps a name | `conflict` |
//! | calls to several nodes, and locks on them | `calls` |

mod agree;
mod calls;
mod conflict;
mod holdings;
mod locker;
mod meeting;
mod partition;
mod registrar;
mod server;
mod tables;

use std::sync::Arc;

use crate::term::{Term, TermBuilder};

use super::call::CallError;
use super::cx::{Destination, NodeCx};
use super::exports::{Arguments, Exported, Exports, Running};
use super::identity::atom;
use super::inner::Node;

pub(super) use tables::Tables;

/// The registered name of the server.
const SERVER: &str = "global_name_server";
/// The registered name of the process that changes names.
const REGISTRAR: &str = "global_name_registrar";

impl Node {
    /// Starts the processes of `global`.
    ///
    /// # Errors
    /// [`atropos::SpawnError`] if one cannot be started.
    pub(super) fn start_global(&self) -> Result<(), atropos::SpawnError> {
        self.keep(REGISTRAR, registrar::run)?;
        self.keep(SERVER, server::run).map(drop)
    }

    /// Returns the pid that has a global name, as a term. A local process that is dead has none.
    pub fn global_whereis(&self, name: &Term) -> Option<Term> {
        let pid = self.0.global.whereis(name)?;
        let is_dead = pid.view().as_pid().and_then(|pid| self.local(pid)).is_some_and(|pid| {
            // A process of an earlier life is not `local`.
            !self.runtime().is_alive(pid)
        });
        (!is_dead).then_some(pid)
    }

    /// Returns all global names.
    pub fn global_names(&self) -> Vec<Term> {
        self.0.global.names().into_iter().map(|(name, _)| name).collect()
    }
}

impl NodeCx {
    /// Gives a process a global name. Returns `true` if it has the name now on all known nodes, and
    /// `false` if another process has it or the process has another name.
    ///
    /// # Errors
    /// [`CallError`] if the registrar has ended in the course of it.
    pub async fn global_register(&mut self, name: &Term, pid: &Term) -> Result<bool, CallError> {
        let request = TermBuilder::new().tuple(3).atom("register").term(name).term(pid).finish();
        let answer = self.call(&Destination::Name(atom(REGISTRAR)), &request, None).await?;
        Ok(answer.view().is_atom("yes"))
    }

    /// Takes a global name back, on all known nodes.
    ///
    /// # Errors
    /// [`CallError`] if the registrar has ended in the course of it.
    pub async fn global_unregister(&mut self, name: &Term) -> Result<(), CallError> {
        let request = TermBuilder::new().tuple(2).atom("unregister").term(name).finish();
        self.call(&Destination::Name(atom(REGISTRAR)), &request, None).await.map(drop)
    }

    /// Waits until this node has agreed with all visible nodes that are connected now.
    ///
    /// # Errors
    /// [`CallError`] if the server has ended in the course of it.
    pub async fn global_sync(&mut self) -> Result<(), CallError> {
        self.call(&Destination::Name(atom(SERVER)), &Term::atom("sync"), None).await.map(drop)
    }
}

/// A function of `global`, which does not wait.
type Function = fn(&NodeCx, &[Term]) -> Term;

/// Adds the functions of `global` that peers call.
pub(super) fn add(exports: &mut Exports) {
    struct Plain(Function);

    impl Exported for Plain {
        fn run<'a>(&'a self, cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
            Box::pin(std::future::ready(Ok((self.0)(cx, arguments.items()))))
        }
    }

    let functions: [(&str, usize, Function); 3] = [
        ("whereis_name", 1, |cx, items| cx.node().global_whereis(&items[0]).unwrap_or_else(|| Term::atom("undefined"))),
        ("registered_names", 0, |cx, _| Term::list(&cx.node().global_names())),
        // A peer asks the node of the process that has the name.
        ("resolve_it", 4, |cx, items| {
            let [method, name, pid, other] = items else { return Term::atom("none") };
            conflict::resolve(cx, method, name, pid, other).unwrap_or_else(|| Term::atom("none"))
        }),
    ];
    for (function, arity, run) in functions {
        exports.add("global", function, arity, Arc::new(Plain(run)));
    }
}
