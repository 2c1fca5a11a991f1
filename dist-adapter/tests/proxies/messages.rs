//! Messages: order, conversion, names, timers.

use std::time::Duration;

use atropos::{Address, Context, Received};
use atropos_dist::node::{ConversionErrors, Destination, RemoteError};
use atropos_dist::term::{Term, to_term};

use crate::pair::{Heard, Pair, Word, atom, eventually};

#[test]
fn messages_keep_the_order_of_their_sender() {
    let pair = Pair::new();
    let heard = pair.both(async |cx, stage| {
        for n in 0..300 {
            // Some go out in parts, and others could pass them.
            let ballast = vec![7; if n % 100 == 50 { 100_000 } else { 0 }];
            stage.tell(&cx, Word::Ping { from: stage.own.clone(), n, ballast });
        }
        let mut heard = Vec::new();
        while heard.len() < 300 {
            let Received::Message(Heard::Pong(n)) = cx.recv().await else { break };
            heard.push(n);
        }
        heard
    });
    assert_eq!(heard, (0..300).collect::<Vec<_>>());
    pair.stop();
}

#[test]
fn a_timer_and_a_waiting_send_reach_a_process() {
    let pair = Pair::new();
    let heard = pair.both(async |cx, stage| {
        let ping = |n| Word::Ping { from: stage.own.clone(), n, ballast: Vec::new() };
        cx.send_after(stage.worker, Duration::from_millis(1), ping(2)).expect("a timer");
        let first = cx.recv().await;
        cx.send_wait(stage.worker, ping(3), None).await.expect("the worker lives");
        [first, cx.recv().await].map(|received| match received {
            Received::Message(heard) => heard,
            other => panic!("{other:?}"),
        })
    });
    assert_eq!(heard, [Heard::Pong(2), Heard::Pong(3)]);
    pair.stop();
}

#[test]
fn a_registered_name_is_found_at_its_node() {
    let pair = Pair::new();
    for (node, name) in [(&pair.first, "there"), (&pair.second, "here")] {
        let at = node.clone();
        let address = node.runtime().spawn(move |cx| crate::pair::worker(at, cx)).expect("a process");
        node.register(name, address).expect("a free name");
        assert!(node.registered().contains(&name.to_owned()));
        assert!(node.register(name, address).is_err(), "the name is taken");
    }
    let second = pair.second.clone();
    let nodes = [("there", pair.first.name().clone()), ("here", second.name().clone())];
    let heard = pair.run(async move |cx: Context<Heard>| {
        let own = second.export(cx.address()).expect("it is watched");
        let mut heard = Vec::new();
        for (name, at) in nodes {
            let by_name = second.remote::<Word>((atom(name), at.clone())).expect("a proxy");
            let pid = second.remote_whereis(&atom(name), &at).await.expect("a proxy").expect("it is registered");
            let monitor = cx.monitor(by_name).expect("memory");
            for (n, to) in [(1, by_name), (2, Address::new(pid))] {
                cx.send(to, Word::Ping { from: own.clone(), n, ballast: Vec::new() }).expect("it lives");
                let Received::Message(Heard::Pong(n)) = cx.recv().await else { panic!("no pong") };
                heard.push(n);
            }
            cx.send(by_name, Word::Die(atom("gone"))).expect("it lives");
            let Received::Down(down) = cx.recv().await else { panic!("no DOWN") };
            assert_eq!(down.reference, monitor);
            assert_eq!(atropos_dist::node::term_of(&down.reason), Term::atom("gone"));
            assert_eq!(second.remote_whereis(&atom(name), &at).await, Ok(None));
        }
        assert_eq!(second.remote_whereis(&atom("x"), &atom("nowhere@127.0.0.1")).await, Ok(None));
        heard
    });
    assert_eq!(heard, [1, 2, 1, 2]);
    assert_eq!(pair.second.remote::<Word>(Destination::Name(atom("nobody"))), Err(RemoteError::NoName));
    pair.stop();
}

#[test]
fn what_cannot_be_converted_is_counted_and_dropped() {
    let pair = Pair::new();
    let worker = Pair::worker_at(&pair.first);
    let second = pair.second.clone();
    pair.run(async move |cx: Context<Heard>| {
        let own = second.export(cx.address()).expect("it is watched");
        let to = second.remote::<Word>(second.process(worker.as_ref())).expect("a proxy");
        // Of a type that no address was made for; then one that has no term; then one that panics.
        cx.send(to.pid(), Unknown).expect("a proxy takes all types");
        let floats = second.remote::<f64>(second.process(worker.as_ref())).expect("a proxy");
        assert_eq!(floats.pid(), to.pid(), "one process has one pid");
        cx.send(floats, f64::NAN).expect("it lives");
        let bomb = second.remote::<Bomb>(second.process(worker.as_ref())).expect("a proxy");
        cx.send(bomb, Bomb).expect("it lives");
        // Terms go as they are; these do not fit the worker's type.
        let terms = Address::<Term>::new(to.pid());
        cx.send(terms, Term::atom("nonsense")).expect("it lives");
        cx.send(floats, 1.5).expect("it lives");
        let ping = Word::Ping { from: own, n: 4, ballast: Vec::new() };
        cx.send(terms, to_term(&ping).expect("it has a term")).expect("it lives");
        let Received::Message(heard) = cx.recv().await else { panic!("no pong") };
        assert_eq!(heard, Heard::Pong(4));
    });
    assert_eq!(pair.second.conversion_errors(), ConversionErrors { unsent: 3, unread: 0 });
    assert_eq!(pair.first.conversion_errors(), ConversionErrors { unsent: 0, unread: 2 });
    // The scenario's process has ended, and is no longer exported; the worker is.
    eventually(|| pair.second.exported_count() == 0);
    assert_eq!(pair.first.exported_count(), 1);
    pair.stop();
}

#[derive(Debug)]
struct Unknown;

#[derive(Debug)]
struct Bomb;

impl serde::Serialize for Bomb {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("a type of the program's own")
    }
}
