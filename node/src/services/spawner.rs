//! `spawner`: starts puppets and children, and counts how many of them live.

use std::collections::HashSet;
use std::time::Duration;

use atropos::{Pid, Reason, SpawnError};
use atropos_dist::node::{Incoming, MonitorObject, MonitorOptions, NodeCx, ProcessId, Request, unknown_request};
use atropos_dist::term::{Term, TermBuilder, TermRef};

use super::puppet::{self, Owner};

pub(super) async fn run(mut cx: NodeCx) -> Reason {
    let mut children = HashSet::new();
    loop {
        match cx.recv().await {
            Incoming::Message(message) => {
                if let Request::Call(call, request) = Request::read(cx.node(), message) {
                    let reply = answer(&mut cx, &request, &mut children).unwrap_or_else(|| unknown_request(&request));
                    call.reply(&cx, &reply);
                }
            }
            Incoming::Down { object: MonitorObject::Process(ProcessId::Local(pid)), .. } => {
                children.remove(&pid);
            }
            _ => {}
        }
    }
}

fn answer(cx: &mut NodeCx, request: &Term, children: &mut HashSet<Pid>) -> Option<Term> {
    if request.view().is_atom("count") {
        return Some(Term::from(children.len()));
    }
    let parts: Vec<TermRef<'_>> = request.view().as_tuple()?.iter().collect();
    let node = cx.node().clone();
    let mut watched = |started: Result<Pid, SpawnError>| -> Result<Term, SpawnError> {
        let pid = started?;
        let to = ProcessId::Local(pid).into();
        // Without memory for a monitor the child is not counted.
        if cx.monitor(&to, MonitorOptions::default()).is_ok() {
            children.insert(pid);
        }
        Ok(Term::from(&node.external(pid)))
    };
    let started = match parts.as_slice() {
        [kind, owner] if kind.is_atom("puppet") => {
            let owner = Owner::read(&node, *owner)?;
            watched(node.spawn(move |cx| puppet::run(cx, owner)))
        }
        [kind, owner, number] if kind.is_atom("puppets") => {
            let owner = Owner::read(&node, *owner)?;
            let puppets = (0..number.as_u64()?).map(|_| {
                let owner = owner.clone();
                watched(node.spawn(move |cx| puppet::run(cx, owner)))
            });
            puppets.collect::<Result<Vec<_>, _>>().map(|puppets| Term::list(&puppets))
        }
        [kind, program] if kind.is_atom("child") => {
            let program = Program::read(request, *program)?;
            watched(node.spawn(move |cx| program.run(cx)))
        }
        _ => return None,
    };
    Some(match started {
        Ok(started) => TermBuilder::new().tuple(2).atom("ok").term(&started).finish(),
        Err(_) => TermBuilder::new().tuple(2).atom("error").atom("system_limit").finish(),
    })
}

/// What a child does.
enum Program {
    Exit(Term),
    Panic(String),
    Sleep(Duration),
    ExitAfter(Duration, Term),
}

impl Program {
    fn read(whole: &Term, program: TermRef<'_>) -> Option<Self> {
        let parts: Vec<TermRef<'_>> = program.as_tuple()?.iter().collect();
        let time = |part: &TermRef<'_>| part.as_u64().map(Duration::from_millis);
        match parts.as_slice() {
            [kind, reason] if kind.is_atom("exit") => Some(Self::Exit(whole.part(*reason))),
            [kind, text] if kind.is_atom("panic") => {
                Some(Self::Panic(String::from_utf8_lossy(text.as_binary()?).into_owned()))
            }
            [kind, wait] if kind.is_atom("sleep") => Some(Self::Sleep(time(wait)?)),
            [kind, wait, reason] if kind.is_atom("exit_after") => {
                Some(Self::ExitAfter(time(wait)?, whole.part(*reason)))
            }
            _ => None,
        }
    }

    async fn run(self, cx: NodeCx) -> Reason {
        match self {
            Self::Exit(reason) => puppet::end(&reason),
            Self::Panic(text) => panic!("{text}"),
            Self::Sleep(time) => {
                cx.context().sleep(time).await;
                Reason::NORMAL
            }
            Self::ExitAfter(time, reason) => {
                cx.context().sleep(time).await;
                puppet::end(&reason)
            }
        }
    }
}
