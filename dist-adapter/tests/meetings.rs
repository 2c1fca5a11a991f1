//! Two nodes that disconnect and dial each other at the same time: each dial ends with a connection
//! that both nodes have, and that carries a call (`node::net::under_way`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use atropos::{Reason, Runtime};
use atropos_dist::node::{Destination, Incoming, Node, NodeCx, NodeType, Options, Request};
use atropos_dist::term::{Atom, Term};

const PATIENCE: Duration = Duration::from_secs(20);
const MEETINGS: usize = 300;

/// Echoes calls.
async fn server(mut cx: NodeCx) -> Reason {
    loop {
        let Incoming::Message(message) = cx.recv().await else { continue };
        if let Request::Call(call, request) = Request::read(cx.node(), message) {
            call.reply(&cx, &request);
        }
    }
}

/// Returns a loopback address of its own for each call, where the system has more than one: no
/// other socket can take a port of it that was free a moment ago.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    let [.., high, low] = std::process::id().to_be_bytes();
    if cfg!(target_os = "linux") {
        // Relaxed: the number only needs to be unique.
        Ipv4Addr::new(127, high, low, NEXT.fetch_add(1, Ordering::Relaxed))
    } else {
        Ipv4Addr::LOCALHOST
    }
}

fn nodes(tokio: &tokio::runtime::Runtime) -> [Node; 2] {
    let address = own_address();
    let listeners = [0, 1].map(|_| TcpListener::bind((address, 0)).expect("a free port"));
    let ports = listeners.each_ref().map(|listener| listener.local_addr().expect("bound").port());
    drop(listeners);
    let name = |index: usize| format!("m{index}@127.0.0.1");
    let peers: BTreeMap<_, _> = (0..2).map(|index| (name(index), (address.to_string(), ports[index]))).collect();
    [0, 1].map(|index| {
        let runtime = Runtime::builder().cores(1).build().expect("threads");
        let (listen, port, peers) = (address.into(), ports[index], peers.clone());
        // Hidden: `global` of visible nodes disconnects by itself.
        let options = Options { listen, port, peers, epmd: false, hidden: true, ..Options::default() };
        let node = Node::builder(name(index)).cookie("c").options(options);
        let node = tokio.block_on(node.start(&runtime.handle())).expect("a free port");
        node.keep("server", server).expect("a process");
        // The runtimes live as long as the program.
        std::mem::forget(runtime);
        node
    })
}

/// Begins a call of the other node's server. The receiver gets `true` if it was answered.
fn begin_call(from: &Node, to: &Node) -> mpsc::Receiver<bool> {
    let (done, answered) = mpsc::channel();
    let server = Destination::RemoteName(Atom::new("server").expect("short"), to.name().clone());
    let caller = from.spawn(move |mut cx| async move {
        let request = Term::atom("hello");
        let answer = cx.call(&server, &request, Some(PATIENCE)).await;
        let _ = done.send(answer.is_ok_and(|answer| answer == request));
        Reason::NORMAL
    });
    caller.expect("a process");
    answered
}

#[test]
fn each_dial_of_nodes_that_meet_carries_a_call() {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let nodes = nodes(&tokio);
    let name = [0, 1].map(|index| nodes[index].name().clone());
    let mut met = 0;
    for meeting in 0..MEETINGS {
        // One node ends the connection and dials at once. The other dials as soon as it has seen
        // the end, unless it sees the new connection first.
        let (ends, sees) = (meeting % 2, 1 - meeting % 2);
        tokio.block_on(nodes[ends].disconnect(&name[sees]));
        let first = begin_call(&nodes[ends], &nodes[sees]);
        let begun = Instant::now();
        let mut second = None;
        let answered = loop {
            if second.is_none() && nodes[sees].nodes(NodeType::Hidden).is_empty() {
                second = Some(begin_call(&nodes[sees], &nodes[ends]));
                met += 1;
            }
            match first.try_recv() {
                Ok(answered) => break answered,
                Err(why) => assert!(begun.elapsed() < PATIENCE, "meeting {meeting}: {why}"),
            }
        };
        assert!(answered, "meeting {meeting}: the node that has ended the connection");
        let second = second.map(|call| call.recv_timeout(PATIENCE));
        assert_ne!(second, Some(Ok(false)), "meeting {meeting}: the node that has seen the end");
        assert!(matches!(second, None | Some(Ok(true))), "meeting {meeting}: {second:?}");
    }
    assert!(met > 0, "both nodes have dialled");
    tokio.block_on(async {
        for node in &nodes {
            node.stop().await;
        }
    });
}
