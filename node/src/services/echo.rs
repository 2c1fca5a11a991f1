//! `echo`: gives back what it gets.

use atropos::Reason;
use atropos_dist::node::{Incoming, NodeCx, Request};
use atropos_dist::term::Term;

pub(super) async fn run(mut cx: NodeCx) -> Reason {
    loop {
        let Incoming::Message(message) = cx.recv().await else { continue };
        match Request::read(cx.node(), message) {
            Request::Call(call, request) => call.reply(&cx, &request),
            Request::Cast(cast) => {
                if let Some([to, message]) = cast.view().as_array()
                    && to.as_pid().is_some()
                    && let Some(to) = cx.node().destination(to)
                {
                    cx.send_now(&to, cast.part(message));
                }
            }
            Request::Other(message) => {
                if let Some([to, tag, what]) = message.view().as_array()
                    && to.as_pid().is_some()
                    && let Some(to) = cx.node().destination(to)
                {
                    cx.send_now(&to, Term::tuple([&message.part(tag), &message.part(what)]));
                }
            }
            Request::System(..) => {}
        }
    }
}
