//! Servers by their ordinary handles, here and there.

use std::time::Duration;

use atropos::otp::{CallError, Next, Reply, Server, ServerCx, ServerRef};
use atropos::{Context, Reason};
use atropos_dist::node::{InboundRequest, Node, OutboundRequest, RemoteServer, term_of};
use atropos_dist::term::{Atom, SerdeError, Term, from_term};
use serde::{Deserialize, Serialize};

use crate::pair::{Pair, atom, eventually};

/// Counts, and ends if it is told to.
#[derive(Default)]
struct Counter {
    value: i64,
    kept: Vec<Reply<i64>>,
}

enum Message {
    Add(i64),
    Get(Reply<i64>),
    /// Keeps the reply for ever.
    Keep(Reply<i64>),
    Forget(Reply<i64>),
    /// Answers, and ends.
    Last(Reply<i64>),
    Stop(Atom),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wire {
    Add(i64),
    Get,
    Keep,
    Forget,
    Last,
    Stop(Atom),
}

impl Server for Counter {
    type Message = Message;

    async fn handle(&mut self, message: Message, _: ServerCx<'_, Self>) -> Next<Message> {
        match message {
            Message::Add(n) => self.value += n,
            Message::Get(reply) => reply.send(self.value),
            Message::Keep(reply) => self.kept.push(reply),
            Message::Forget(reply) => drop(reply),
            Message::Last(reply) => {
                reply.send(self.value);
                return Next::Stop(Reason::NORMAL);
            }
            Message::Stop(reason) => return Next::Stop(atropos_dist::node::reason_of(&Term::from(&reason))),
        }
        Next::Wait
    }
}

impl RemoteServer for Counter {
    fn to_remote(message: Message) -> Result<OutboundRequest, SerdeError> {
        match message {
            Message::Add(n) => OutboundRequest::cast(&Wire::Add(n)),
            Message::Get(reply) => OutboundRequest::call(&Wire::Get, reply),
            Message::Keep(reply) => OutboundRequest::call(&Wire::Keep, reply),
            Message::Forget(reply) => OutboundRequest::call(&Wire::Forget, reply),
            Message::Last(reply) => OutboundRequest::call(&Wire::Last, reply),
            Message::Stop(reason) => OutboundRequest::message(&Wire::Stop(reason)),
        }
    }

    fn from_remote(request: InboundRequest) -> Result<Option<Message>, SerdeError> {
        Ok(match request {
            InboundRequest::Call(term, caller) => match from_term(&term)? {
                Wire::Get => caller.reply().map(Message::Get),
                Wire::Keep => caller.reply().map(Message::Keep),
                Wire::Forget => caller.reply().map(Message::Forget),
                Wire::Last => caller.reply().map(Message::Last),
                _ => None,
            },
            InboundRequest::Cast(term) | InboundRequest::Other(term) => match from_term(&term)? {
                Wire::Add(n) => Some(Message::Add(n)),
                Wire::Stop(reason) => Some(Message::Stop(reason)),
                _ => None,
            },
        })
    }
}

/// Starts a server at a node, under a name, and returns its handle at the second node.
fn server(pair: &Pair, node: &Node, name: &str) -> ServerRef<Counter> {
    let (tell, told) = std::sync::mpsc::channel();
    let start = async move |cx: Context<()>| {
        let _ = tell.send(Counter::default().start().start(&cx).await);
    };
    node.runtime().spawn(start).expect("a process");
    let server = told.recv().expect("it is told").expect("it is up");
    node.register_server(name, server).expect("a free name");
    let pid = node.external(server.pid());
    pair.second.remote_server(pair.second.process(pid.as_ref())).expect("a proxy")
}

#[test]
fn a_server_is_called_by_its_ordinary_handle() {
    let pair = Pair::new();
    let mut seen = Vec::new();
    for node in [&pair.second, &pair.first] {
        let server = server(&pair, node, "counter");
        let by_name: ServerRef<Counter> =
            pair.second.remote_server((atom("counter"), node.name().clone())).expect("a proxy");
        seen.push(pair.run(async move |cx: Context<()>| {
            server.cast(&cx, Message::Add(40)).map_err(|_| "dead").expect("it lives");
            by_name.cast(&cx, Message::Add(2)).map_err(|_| "dead").expect("it lives");
            // The cast by name went another way, and may come later.
            while server.call(&cx, Message::Get).await != Ok(42) {}
            let mut results = vec![by_name.call(&cx, Message::Get).await];
            results.push(server.call_wait(&cx, None, Message::Get).await);
            let many = [(); 3].map(|()| server.request(&cx, Message::Get).expect("it lives"));
            for pending in many {
                results.push(pending.answer(&cx, None).await);
            }
            // The server lives, and does not answer in time.
            results.push(server.call_within(&cx, Duration::from_millis(20), Message::Keep).await);
            // The server ends while a call waits.
            let waits = server.request(&cx, Message::Keep).expect("it lives");
            cx.monitor(server).expect("memory");
            server.cast(&cx, Message::Stop(atom("boom"))).map_err(|_| "dead").expect("it lives");
            results.push(waits.answer(&cx, None).await);
            // A call of the dead.
            cx.recv().await;
            results.push(server.call(&cx, Message::Get).await);
            results.into_iter().map(|result| result.map_err(text)).collect::<Vec<_>>()
        }));
    }
    assert_eq!(seen[0], seen[1]);
    let [Err(late), Err(ended), Err(dead)] = &seen[0][5..] else { panic!("{seen:?}") };
    assert_eq!([late.as_str(), ended, dead], ["no reply in time", "boom", "noproc"]);
    assert!(seen[0][..5].iter().all(|result| *result == Ok(42)));
    pair.stop();
}

fn text(error: CallError) -> String {
    match error {
        CallError::Down(reason) => term_of(&reason).to_string(),
        error => error.to_string(),
    }
}

#[test]
fn an_answer_comes_before_the_end_of_its_server() {
    let pair = Pair::new();
    for round in 0..20 {
        for node in [&pair.second, &pair.first] {
            let server = server(&pair, node, &format!("counter {round}"));
            let said = pair.run(async move |cx: Context<()>| server.call(&cx, Message::Last).await);
            assert_eq!(said, Ok(0), "{round}");
        }
    }
    pair.stop();
}

#[test]
fn the_loss_of_the_node_is_the_end_of_a_call() {
    let pair = Pair::new();
    let server = server(&pair, &pair.first, "counter");
    let (second, name) = (pair.second.clone(), pair.first.name().clone());
    let ended = pair.run(async move |cx: Context<()>| {
        let waits = server.request(&cx, Message::Keep).expect("it lives");
        assert_eq!(server.call(&cx, Message::Get).await, Ok(0));
        assert!(second.disconnect(&name).await);
        waits.answer(&cx, None).await
    });
    assert_eq!(ended, Err(CallError::Down(Reason::NOCONNECTION)));
    eventually(|| pair.second.open_calls() == 0 && pair.second.proxy_count() == 0);
    pair.stop();
}

#[test]
fn a_system_request_to_another_node_is_not_taken() {
    let pair = Pair::new();
    let server = server(&pair, &pair.first, "counter");
    let said = pair.run(async move |cx: Context<()>| {
        let suspended = server.suspend(&cx).await;
        (suspended, server.call(&cx, Message::Get).await)
    });
    assert_eq!(said, (Err(CallError::NoReply), Ok(0)));
    pair.stop();
}

#[test]
fn calls_that_nobody_waits_for_are_forgotten() {
    let pair = Pair::new();
    let server = server(&pair, &pair.first, "counter");
    let open = pair.run(async move |cx: Context<()>| {
        for _ in 0..5000 {
            server.request(&cx, Message::Forget).expect("it lives").abandon(&cx);
        }
        server.call(&cx, Message::Get).await
    });
    assert_eq!(open, Ok(0));
    // At most twice those that were wanted at the last search, and a thousand.
    assert!(pair.second.open_calls() < 3000, "{}", pair.second.open_calls());
    pair.stop();
}
