//! The module `atropos` as other nodes see it: what they may call and spawn.

use std::sync::Arc;
use std::time::Duration;

use atropos_dist::node::{Arguments, Builder, NodeCx, Raised, Running, term_of};
use atropos_dist::term::{Term, TermBuilder};

use super::puppet::{self, Owner};

/// Exports the functions.
pub(crate) fn export(builder: Builder) -> Builder {
    let module = "atropos";
    builder
        .export(module, "echo", 1, Arc::new(echo))
        .export(module, "throw", 1, Arc::new(throw))
        .export(module, "exit", 1, Arc::new(exit))
        .export(module, "die", 1, Arc::new(exit))
        .export(module, "error", 1, Arc::new(error))
        .export(module, "panic", 1, Arc::new(panics))
        .export(module, "sleep", 1, Arc::new(sleep))
        .export(module, "puppet", 1, Arc::new(puppets))
        .export(module, "stats", 0, Arc::new(stats))
}

fn echo<'a>(_: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async { Ok(arguments.items()[0].clone()) })
}

fn throw<'a>(_: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async { Err(Raised::Throw(arguments.items()[0].clone())) })
}

fn exit<'a>(_: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async { Err(Raised::Exit(arguments.items()[0].clone())) })
}

fn error<'a>(_: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async { Err(Raised::Error(arguments.items()[0].clone())) })
}

fn panics<'a>(_: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async {
        match arguments.items()[0].view().as_binary() {
            Some(text) => panic!("{}", String::from_utf8_lossy(text)),
            None => Err(arguments.badarg()),
        }
    })
}

fn sleep<'a>(cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async {
        let time = arguments.items()[0].view().as_u64().ok_or_else(|| arguments.badarg())?;
        cx.context().sleep(Duration::from_millis(time)).await;
        Ok(Term::atom("ok"))
    })
}

fn puppets<'a>(cx: &'a mut NodeCx, arguments: &'a Arguments) -> Running<'a> {
    Box::pin(async {
        let owner = Owner::read(cx.node(), arguments.items()[0].view()).ok_or_else(|| arguments.badarg())?;
        Err(Raised::Exit(term_of(&puppet::perform(cx, owner).await)))
    })
}

fn stats<'a>(cx: &'a mut NodeCx, _: &'a Arguments) -> Running<'a> {
    Box::pin(async {
        let counts = cx.node().counts();
        let processes = cx.node().runtime().process_count();
        let pairs = [
            ("connections", counts.connections),
            ("processes", processes),
            ("remote_links", counts.links),
            ("remote_monitors", counts.monitors),
            ("remote_monitored_by", counts.monitored_by),
        ];
        let mut map = TermBuilder::new().map(pairs.len());
        for (key, number) in pairs {
            map = map.atom(key).integer(number as u64);
        }
        Ok(map.finish())
    })
}
