//! Three nodes that drive each other, each a program of its own, without anything of Erlang's. The
//! first starts the other two, calls them, and kills one.
//!
//! ```sh
//! cargo run -p atropos-dist --features node --example three_nodes
//! ```

use std::error::Error;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atropos::{Reason, Runtime};
use atropos_dist::node::{Destination, Incoming, MonitorOptions, Node, NodeCx, Options, Request};
use atropos_dist::term::{Atom, Term};

const NAMES: [&str; 3] = ["a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<u16> = std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    match arguments[..] {
        // A node that the first has started: its place, and all ports.
        [index, a, b, c] => wait(&start(usize::from(index), [a, b, c])?),
        _ => drive(),
    }
}

/// Starts a node that counts the calls it gets. Returns it with what it needs.
fn start(index: usize, ports: [u16; 3]) -> Result<(Runtime, tokio::runtime::Runtime, Node), Box<dyn Error>> {
    let runtime = Runtime::builder().build()?;
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let address = |port| ("127.0.0.1".to_owned(), port);
    let options = Options {
        listen: Ipv4Addr::LOCALHOST.into(),
        port: ports[index],
        // Nodes of Atropos find each other by this table.
        epmd: false,
        peers: NAMES.iter().zip(ports).map(|(name, port)| ((*name).to_owned(), address(port))).collect(),
        ..Options::default()
    };
    let node = Node::builder(NAMES[index]).cookie("secret").options(options);
    let node = tokio.block_on(node.start(&runtime.handle()))?;
    node.keep("counter", counter)?;
    Ok((runtime, tokio, node))
}

/// Answers each call with the number of calls so far.
async fn counter(mut cx: NodeCx) -> Reason {
    let mut calls = 0_i64;
    loop {
        let Incoming::Message(message) = cx.recv().await else { continue };
        if let Request::Call(call, _) = Request::read(cx.node(), message) {
            calls += 1;
            call.reply(&cx, &Term::from(calls));
        }
    }
}

fn counter_of(name: &str) -> Result<Destination, Box<dyn Error>> {
    Ok(Destination::RemoteName(Atom::new("counter")?, Atom::new(name)?))
}

/// Runs a node until the program that has started it ends.
fn wait(_node: &(Runtime, tokio::runtime::Runtime, Node)) -> Result<(), Box<dyn Error>> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn drive() -> Result<(), Box<dyn Error>> {
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // All are bound at once, so that they differ.
    let listeners = [free()?, free()?, free()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    drop(listeners);
    let child = |index: usize| -> std::io::Result<Child> {
        let arguments = std::iter::once(index.to_string()).chain(ports.map(|port| port.to_string()));
        Command::new(std::env::current_exe()?).args(arguments).stdin(Stdio::piped()).spawn()
    };
    let (mut b, mut c) = (child(1)?, child(2)?);
    let (_runtime, _tokio, node) = start(0, ports)?;
    let (done, result) = std::sync::mpsc::channel();
    let mut killer = move || c.kill().and_then(|()| c.wait());
    let servers = [counter_of(NAMES[1])?, counter_of(NAMES[2])?];
    node.spawn(move |mut cx: NodeCx| async move {
        for server in &servers {
            // A node that is still starting refuses the connection.
            let reply = loop {
                match cx.call(server, &Term::atom("count"), None).await {
                    Ok(reply) => break reply,
                    Err(_) => cx.context().sleep(Duration::from_millis(50)).await,
                }
            };
            println!("a: {server:?} has counted {reply}");
        }
        let monitor = cx.monitor(&servers[1], MonitorOptions::default());
        // The call shows that the monitor has arrived.
        let reply = cx.call(&servers[1], &Term::atom("count"), None).await;
        println!("a: c has counted {:?}; now it is killed", reply.map(|reply| reply.to_string()));
        let killed = killer();
        let down = loop {
            if let Incoming::Down { reason, .. } = cx.recv().await {
                break reason;
            }
        };
        println!("a: the counter of c is down: {down}");
        let reply = cx.call(&servers[0], &Term::atom("count"), None).await;
        println!("a: b has counted {:?}", reply.map(|reply| reply.to_string()));
        let _ = done.send(monitor.is_ok() && killed.is_ok() && down.view().is_atom("noconnection"));
        Reason::NORMAL
    })?;
    let is_right = result.recv()?;
    // Its input ends, and so does it.
    drop(b.stdin.take());
    b.wait()?;
    if is_right { Ok(()) } else { Err("the counter of c did not go down with its node".into()) }
}
