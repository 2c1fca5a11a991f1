//! Two nodes of Atropos in one program, on loopback, without epmd: what one process does to another
//! over the wire.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::time::Duration;

use atropos::{Reason, Runtime};
use atropos_dist::node::{
    CallError, Destination, Incoming, MonitorOptions, Node, NodeCx, Options, ProcessId, Request, reason_of,
};
use atropos_dist::term::{Atom, Term, TermBuilder};

const PATIENCE: Duration = Duration::from_secs(10);

/// Two nodes, the second of which knows where the first is.
struct Pair {
    tokio: tokio::runtime::Runtime,
    runtime: Runtime,
    first: Node,
    second: Node,
}

fn options() -> Options {
    // Hidden: the groups and global names of visible nodes monitor each other, which would count.
    Options { listen: Ipv4Addr::LOCALHOST.into(), epmd: false, hidden: true, ..Options::default() }
}

fn pair(cookies: [&str; 2]) -> Pair {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    // Names are registered in a runtime, so each node has its own.
    let other = Runtime::builder().cores(1).build().expect("threads");
    let (first, second) = tokio.block_on(async {
        let first = Node::builder("first@127.0.0.1").cookie(cookies[0]).options(options());
        let first = first.start(&other.handle()).await.expect("a free port");
        let peers = BTreeMap::from([("first@127.0.0.1".to_owned(), ("127.0.0.1".to_owned(), first.port()))]);
        let second = Node::builder("second@127.0.0.1").cookie(cookies[1]).options(Options { peers, ..options() });
        (first, second.start(&runtime.handle()).await.expect("a free port"))
    });
    first.keep("server", server).expect("a process");
    // The runtime of the first node lives as long as the program.
    std::mem::forget(other);
    Pair { tokio, runtime, first, second }
}

/// Echoes calls, except `{die, Reason}`.
async fn server(mut cx: NodeCx) -> Reason {
    loop {
        let Incoming::Message(message) = cx.recv().await else { continue };
        if let Request::Call(call, request) = Request::read(cx.node(), message) {
            if let Some([_, reason]) = request.view().as_array() {
                return reason_of(&request.part(reason));
            }
            call.reply(&cx, &request);
        }
    }
}

fn server_of(node: &Node) -> Destination {
    Destination::RemoteName(Atom::new("server").expect("short"), node.name().clone())
}

impl Pair {
    /// Runs a process of the second node, and returns what it returns.
    fn run<T: Send + 'static, F>(&self, body: impl FnOnce(NodeCx) -> F + Send + 'static) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (done, result) = mpsc::channel();
        let spawned = self.second.spawn(move |cx| {
            let body = body(cx);
            async move {
                let _ = done.send(body.await);
                Reason::NORMAL
            }
        });
        spawned.expect("a process");
        result.recv_timeout(PATIENCE).expect("the process ends in time")
    }

    fn stop(self) {
        self.tokio.block_on(async {
            self.second.stop().await;
            self.first.stop().await;
        });
        self.runtime.shutdown(PATIENCE).expect("all processes end");
    }
}

#[test]
fn a_call_goes_there_and_back() {
    let pair = pair(["c", "c"]);
    let server = server_of(&pair.first);
    let large = Term::binary(&vec![1; 1 << 20]);
    let replies = pair.run(async move |mut cx: NodeCx| {
        let mut replies = Vec::new();
        for request in [Term::atom("x"), large.clone()] {
            replies.push(cx.call(&server, &request, None).await == Ok(request));
        }
        replies
    });
    assert_eq!(replies, [true, true]);
    assert_eq!(pair.second.counts().connections, 1);
    pair.stop();
}

#[test]
fn a_monitor_and_a_link_are_told_the_reason() {
    let pair = pair(["c", "c"]);
    let server = server_of(&pair.first);
    let first = pair.first.clone();
    let pid = first.external(first.runtime().whereis("server").expect("it runs"));
    let told = pair.run(async move |mut cx: NodeCx| {
        cx.context().trap_exit(true);
        let process = ProcessId::Remote(pid);
        cx.link(&process).expect("another node's");
        cx.monitor(&server, MonitorOptions::default()).expect("memory");
        let reason = TermBuilder::new().tuple(2).atom("own").integer(7).finish();
        let die = TermBuilder::new().tuple(2).atom("die").term(&reason).finish();
        let ended = cx.call(&server, &die, None).await;
        let (one, two) = (cx.recv().await, cx.recv().await);
        let is_told = [&one, &two].iter().all(|told| match told {
            Incoming::Exit(Some(from), why) => *from == process && *why == reason,
            Incoming::Down { reason: why, .. } => *why == reason,
            _ => false,
        });
        (ended == Err(CallError(reason.clone())), is_told, one != two)
    });
    assert_eq!(told, (true, true, true));
    let counts = pair.second.counts();
    assert_eq!((counts.links, counts.monitors, counts.monitored_by), (0, 0, 0));
    pair.stop();
}

#[test]
fn the_loss_of_a_node_is_told_once_and_leaves_nothing() {
    let pair = pair(["c", "c"]);
    let first = pair.first.clone();
    let pid = first.external(first.runtime().whereis("server").expect("it runs"));
    let name = first.name().clone();
    let (told, rest) = pair.run(async move |mut cx: NodeCx| {
        let process = Destination::Process(ProcessId::Remote(pid));
        for _ in 0..1000 {
            cx.monitor(&process, MonitorOptions::default()).expect("memory");
        }
        let node = cx.node().clone();
        assert!(node.connect(&name).await && node.disconnect(&name).await);
        let mut told = 0;
        while told < 1000 {
            let Incoming::Down { reason, .. } = cx.recv().await else { break };
            assert_eq!(reason, Term::atom("noconnection"));
            told += 1;
        }
        (told, cx.context().try_recv().is_some())
    });
    assert_eq!((told, rest), (1000, false));
    let counts = pair.second.counts();
    assert_eq!((counts.monitors, counts.connections), (0, 0));
    pair.stop();
}

#[test]
fn without_the_cookie_there_is_no_connection() {
    let pair = pair(["c", "another"]);
    let server = server_of(&pair.first);
    let name = pair.first.name().clone();
    let (connected, called) = pair.run(async move |mut cx: NodeCx| {
        let node = cx.node().clone();
        (node.connect(&name).await, cx.call(&server, &Term::atom("x"), None).await)
    });
    let nodedown = TermBuilder::new().tuple(2).atom("nodedown").atom("first@127.0.0.1").finish();
    assert_eq!((connected, called), (false, Err(CallError(nodedown))));
    assert_eq!(pair.first.counts().connections, 0);
    pair.stop();
}
