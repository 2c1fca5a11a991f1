//! An ordinary supervisor with a child at another node, which an ordinary process watches. When
//! that node is lost, the child is started at this one. Two nodes in one program.
//!
//! ```sh
//! cargo run -p atropos-dist --features node --example supervised_elsewhere
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use atropos::otp::{ChildState, Intensity, Supervisor, SupervisorRef};
use atropos::{Context, Pid, Received, Runtime};
use atropos_dist::node::{Arguments, Mail, Node, NodeCx, Options, RemoteSpawn, Running};
use atropos_dist::term::{Atom, Term};

/// The function of the child: works until it gets a message.
fn work<'a>(cx: &'a mut NodeCx, _: &'a Arguments) -> Running<'a> {
    Box::pin(async move {
        cx.recv().await;
        Ok(Term::atom("ok"))
    })
}

async fn start(name: &str, runtime: &Runtime, peers: BTreeMap<String, (String, u16)>) -> Result<Node, Box<dyn Error>> {
    let options = Options { listen: Ipv4Addr::LOCALHOST.into(), epmd: false, peers, ..Options::default() };
    let node = Node::builder(name).cookie("secret").options(options).export("example", "work", 0, Arc::new(work));
    Ok(node.start(&runtime.handle()).await?)
}

/// Waits until the child has another pid, and returns it.
async fn next_child(cx: &Context<()>, supervisor: SupervisorRef, old: Option<Pid>) -> Pid {
    loop {
        let children = supervisor.which_children(cx).await.expect("the supervisor lives");
        match children[0].state {
            ChildState::Up(pid) if Some(pid) != old => return pid,
            _ => cx.sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn drive(cx: Context<()>, node: Node, other: Atom) {
    let (starter, mut nodes) = (node.clone(), [other.clone(), other.clone(), node.name().clone()].into_iter());
    let child = starter.remote_child("worker", move || RemoteSpawn {
        node: nodes.next().expect("three starts"),
        module: Atom::new("example").expect("short"),
        function: Atom::new("work").expect("short"),
        arguments: Vec::new(),
    });
    let restarts = Intensity::within(5, Duration::from_secs(1));
    let supervisor = Supervisor::one_for_one().intensity(restarts).child(child);
    let supervisor = supervisor.start_link(&cx).await.expect("it is up");

    // The child is an ordinary process to this one.
    let first = next_child(&cx, supervisor, None).await;
    println!("{first} is {:?}", node.process_of(first));
    cx.monitor(first).expect("memory");
    cx.send(first, Mail::Term(Term::atom("done"))).expect("it lives");
    let Received::Down(down) = cx.recv().await else { unreachable!("it is monitored") };
    println!("it has ended: {}", down.reason);

    // It has been started again, at the same node, which is lost.
    let second = next_child(&cx, supervisor, Some(first)).await;
    println!("{second} is {:?}", node.process_of(second));
    cx.monitor(second).expect("memory");
    node.disconnect(&other).await;
    let Received::Down(down) = cx.recv().await else { unreachable!("it is monitored") };
    println!("it has ended: {}", down.reason);

    let third = next_child(&cx, supervisor, Some(second)).await;
    println!("{third} is {:?}", node.process_of(third));
}

fn main() -> Result<(), Box<dyn Error>> {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let [here, there] = [Runtime::builder().build()?, Runtime::builder().build()?];
    let b = tokio.block_on(start("b@127.0.0.1", &there, BTreeMap::new()))?;
    let peers = BTreeMap::from([("b@127.0.0.1".to_owned(), ("127.0.0.1".to_owned(), b.port()))]);
    let a = tokio.block_on(start("a@127.0.0.1", &here, peers))?;
    let (node, other) = (a.clone(), b.name().clone());
    here.block_on(async move |cx: Context<()>| drive(cx, node, other).await)?;
    tokio.block_on(async {
        a.stop().await;
        b.stop().await;
    });
    here.shutdown(Duration::from_secs(5))?;
    there.shutdown(Duration::from_secs(5))?;
    Ok(())
}
