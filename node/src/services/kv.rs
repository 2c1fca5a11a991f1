//! `kv`: a server with a map of terms.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use atropos::Reason;
use atropos_dist::node::{Call, Incoming, NodeCx, Request, reason_of, unknown_request};
use atropos_dist::term::{Term, TermBuilder};

pub(super) async fn run(mut cx: NodeCx) -> Reason {
    let mut map = HashMap::new();
    // While the server is suspended, what is no system message waits.
    let mut suspended = false;
    let mut waiting = VecDeque::new();
    loop {
        let next = if suspended { None } else { waiting.pop_front() };
        let request = match next {
            Some(request) => request,
            None => {
                let Incoming::Message(message) = cx.recv().await else { continue };
                Request::read(cx.node(), message)
            }
        };
        match request {
            Request::System(call, what) => match system(&cx, &call, &what, &map) {
                System::Suspend => suspended = true,
                System::Resume => suspended = false,
                System::Goes => {}
                System::Ends(reason) => return reason,
            },
            request if suspended => waiting.push_back(request),
            Request::Call(call, request) => serve(&cx, call, &request, &mut map),
            Request::Cast(request) => cast(&request, &mut map),
            Request::Other(_) => {}
        }
    }
}

enum System {
    Goes,
    Suspend,
    Resume,
    Ends(Reason),
}

fn system(cx: &NodeCx, call: &Call, what: &Term, map: &HashMap<Term, Term>) -> System {
    let ok = Term::atom("ok");
    match (what.view().as_atom(), what.view().as_array()) {
        (Some("get_state"), _) => {
            // The state itself, as OTP 25 answers.
            call.reply(cx, &Term::map(map.iter()));
            System::Goes
        }
        (Some("suspend"), _) => {
            call.reply(cx, &ok);
            System::Suspend
        }
        (Some("resume"), _) => {
            call.reply(cx, &ok);
            System::Resume
        }
        (None, Some([kind, reason])) if kind.is_atom("terminate") => {
            call.reply(cx, &ok);
            System::Ends(reason_of(&what.part(reason)))
        }
        _ => {
            call.reply(cx, &unknown_request(what));
            System::Goes
        }
    }
}

fn cast(request: &Term, map: &mut HashMap<Term, Term>) {
    if let Some([kind, key, value]) = request.view().as_array()
        && kind.is_atom("put")
    {
        map.insert(request.part(key).detached(), request.part(value).detached());
    } else if let Some([kind, key]) = request.view().as_array()
        && kind.is_atom("del")
    {
        map.remove(&request.part(key));
    }
}

fn serve(cx: &NodeCx, call: Call, request: &Term, map: &mut HashMap<Term, Term>) {
    let reply = match answer(cx, &call, request, map) {
        Answer::Now(reply) => reply,
        Answer::Later => return,
        Answer::Unknown => unknown_request(request),
    };
    call.reply(cx, &reply);
}

enum Answer {
    Now(Term),
    Later,
    Unknown,
}

fn answer(cx: &NodeCx, call: &Call, request: &Term, map: &mut HashMap<Term, Term>) -> Answer {
    let view = request.view();
    let ok = || Term::atom("ok");
    Answer::Now(match view.as_atom() {
        Some("size") => Term::from(map.len()),
        Some("clear") => {
            map.clear();
            ok()
        }
        Some("never") => return Answer::Later,
        Some("crash") => panic!("kv was asked to crash"),
        Some(_) => return Answer::Unknown,
        None => {
            let parts: Vec<_> = view.as_tuple().map(|tuple| tuple.iter().collect()).unwrap_or_default();
            match parts.as_slice() {
                [kind, key, value] if kind.is_atom("put") => {
                    map.insert(request.part(*key).detached(), request.part(*value).detached());
                    ok()
                }
                [kind, key] if kind.is_atom("get") => match map.get(&request.part(*key)) {
                    Some(value) => TermBuilder::new().tuple(2).atom("ok").term(value).finish(),
                    None => Term::atom("error"),
                },
                [kind, key] if kind.is_atom("del") => Term::from(map.remove(&request.part(*key)).is_some()),
                [kind, time, value] if kind.is_atom("slow") => {
                    let Some(time) = time.as_u64() else { return Answer::Unknown };
                    later(cx, call.clone(), Duration::from_millis(time), request.part(*value));
                    return Answer::Later;
                }
                _ => return Answer::Unknown,
            }
        }
    })
}

/// Answers a call later, by a process of its own.
fn later(cx: &NodeCx, call: Call, time: Duration, value: Term) {
    // Without a process the caller has no answer, as when its time is over.
    let _ = cx.node().spawn(async move |cx| {
        cx.context().sleep(time).await;
        call.reply(&cx, &value);
        Reason::NORMAL
    });
}
