//! Functions that peers may call and spawn: [`Exported`], by module, name and number of arguments.
//!
//! A function runs in a process of its own, which it has as a [`NodeCx`]. It returns a term, or
//! what it raises, as a function of Erlang does. Its panic is the end of the process, except for a
//! call by `erpc` or `rpc`, which tells its caller.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use atropos::{Context, Pid, Reason, SpawnError, SpawnOptions};

use crate::term::{Atom, Term, TermBuilder};

use super::cx::NodeCx;
use super::identity::ProcessId;
use super::inner::Node;
use super::mail::Mail;
use super::reason::{reason_of, term_of};

/// What a function raises in place of a result.
#[derive(Clone, PartialEq, Debug)]
pub enum Raised {
    /// `throw(Term)`.
    Throw(Term),
    /// `exit(Reason)`.
    Exit(Term),
    /// `error(Reason)`, with a stack of this function.
    Error(Term),
    /// `error(Reason)`, with this stack: a list that is not empty.
    ErrorAt(Term, Term),
}

/// The arguments of a call: a proper list.
#[derive(Clone, PartialEq, Debug)]
pub struct Arguments {
    module: Atom,
    function: Atom,
    list: Term,
    items: Vec<Term>,
}

impl Arguments {
    /// Returns the arguments in order.
    pub fn items(&self) -> &[Term] {
        &self.items
    }

    /// Returns what a function raises if it is called with arguments that are not right.
    pub fn badarg(&self) -> Raised {
        Raised::ErrorAt(Term::atom("badarg"), self.stack())
    }

    fn stack(&self) -> Term {
        let (module, function) = (self.module.as_str(), self.function.as_str());
        let entry = TermBuilder::new().list(1).tuple(4).atom(module).atom(function).term(&self.list).nil().nil();
        entry.finish()
    }
}

/// The future of a function.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<Term, Raised>> + Send + 'a>>;

/// A function that peers may call.
pub trait Exported: Send + Sync {
    /// Runs the function in a process.
    fn run<'a>(&'a self, cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a>;
}

impl<F> Exported for F
where
    F: for<'a> Fn(&'a mut NodeCx, &'a Arguments) -> Running<'a> + Send + Sync,
{
    fn run<'a>(&'a self, cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
        self(cx, arguments)
    }
}

/// All functions of a node.
#[derive(Clone, Default)]
pub(super) struct Exports(HashMap<(&'static str, &'static str, usize), Arc<dyn Exported>>);

impl Exports {
    pub(super) fn add(
        &mut self,
        module: &'static str,
        function: &'static str,
        arity: usize,
        exported: Arc<dyn Exported>,
    ) {
        self.0.insert((module, function, arity), exported);
    }

    fn find(&self, module: &str, function: &str, arity: usize) -> Option<Arc<dyn Exported>> {
        self.0.get(&(module, function, arity)).cloned()
    }
}

impl NodeCx {
    /// Calls a function in this process. A panic ends the process.
    pub async fn apply(&mut self, module: Atom, function: Atom, list: Term) -> Result<Term, Raised> {
        let items = list.view().as_list().map(|items| items.map(|item| list.part(item)).collect::<Vec<_>>());
        let is_list = items.is_some();
        let arguments = Arguments { module, function, list, items: items.unwrap_or_default() };
        let (module, function) = (arguments.module.as_str(), arguments.function.as_str());
        let found = self.node().0.exports.find(module, function, arguments.items.len());
        match found.filter(|_| is_list) {
            Some(exported) => exported.run(self, &arguments).await,
            None => Err(Raised::ErrorAt(Term::atom("undef"), arguments.stack())),
        }
    }

    /// Calls a function in this process, and catches its panic, which becomes an exit.
    pub async fn apply_caught(&mut self, module: Atom, function: Atom, list: Term) -> Result<Term, Raised> {
        let mut running = Box::pin(self.apply(module, function, list));
        poll_fn(|task| {
            let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(task)));
            polled.unwrap_or_else(|panic| {
                let text = text_of(&*panic);
                // The destructor of the panic's value may panic.
                std::mem::forget(panic);
                std::task::Poll::Ready(Err(Raised::Exit(term_of(&Reason::crash(text)))))
            })
        })
        .await
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&'static str>().copied()).unwrap_or("a panic without text").to_owned()
}

/// Returns the reason with which a process ends that has run a function.
pub(super) fn end_of(result: Result<Term, Raised>) -> Reason {
    let (reason, stack) = match result {
        Ok(_) => return Reason::NORMAL,
        Err(Raised::Exit(reason)) if reason.view().is_atom("kill") => return Reason::KILL,
        Err(Raised::Exit(reason)) => return reason_of(&reason),
        Err(Raised::Throw(term)) => (TermBuilder::new().tuple(2).atom("nocatch").term(&term).finish(), None),
        Err(Raised::Error(reason)) => (reason, None),
        Err(Raised::ErrorAt(reason, stack)) => (reason, Some(stack)),
    };
    reason_of(&TermBuilder::new().tuple(2).term(&reason).term(&stack.unwrap_or_else(some_stack)).finish())
}

/// Returns a stack for an error that has none of its own.
pub(super) fn some_stack() -> Term {
    TermBuilder::new().list(1).tuple(4).atom("atropos").atom("error").integer(1).nil().nil().finish()
}

impl Node {
    /// Starts a process that waits until it may begin, and then runs a function.
    pub(super) fn start_exported(
        &self,
        module: Atom,
        function: Atom,
        arguments: Term,
        leader: ProcessId,
    ) -> Result<Pid, &'static str> {
        let started = self.start(&SpawnOptions::new(), Some(leader), async move |mut cx: NodeCx| {
            cx.begin().await;
            let result = cx.apply(module, function, arguments).await;
            end_of(result)
        });
        started.map_err(|error| match error {
            SpawnError::TooMany => "system_limit",
            SpawnError::Closing => "noconnection",
            _ => "system_limit",
        })
    }

    /// Starts a process of the node.
    pub(super) fn start<S, F>(
        &self,
        options: &SpawnOptions<'_>,
        leader: Option<ProcessId>,
        body: S,
    ) -> Result<Pid, SpawnError>
    where
        S: FnOnce(NodeCx) -> F + Send + 'static,
        F: Future<Output = Reason> + Send + 'static,
    {
        let node = self.clone();
        let address = self.runtime().spawn_with(options, move |cx: Context<Mail>| {
            let pid = cx.pid();
            node.begin_process(pid, leader.unwrap_or(ProcessId::Local(pid)));
            body(NodeCx::new(cx, node))
        })?;
        Ok(address.pid())
    }

    /// Starts a process of the node.
    ///
    /// # Errors
    /// [`SpawnError`] if the runtime cannot start one.
    pub fn spawn<S, F>(&self, body: S) -> Result<Pid, SpawnError>
    where
        S: FnOnce(NodeCx) -> F + Send + 'static,
        F: Future<Output = Reason> + Send + 'static,
    {
        self.start(&SpawnOptions::new(), None, body)
    }
}
