//! `global` among nodes of Atropos in one program, on loopback, without epmd: meetings, names,
//! conflicts, the mesh, and what is left of it when a line is cut.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use atropos::{Context, Reason, Runtime};
use atropos_dist::machine::Subscription;
use atropos_dist::node::{Incoming, Node, NodeCx, NodeType, Options};
use atropos_dist::term::{Atom, Term};

const PATIENCE: Duration = Duration::from_secs(30);

/// The time for which a node's core runs something else while the node starts.
const BUSY: Duration = Duration::from_millis(300);

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

/// Nodes that know where the others are, and are not connected yet.
struct Cluster {
    tokio: tokio::runtime::Runtime,
    nodes: Vec<Node>,
}

impl Cluster {
    fn start(count: usize) -> Self {
        Self::start_with(count, |_, _, _| {})
    }

    /// Starts nodes; `prepare` gets the number of each, its runtime, and the nodes before it.
    fn start_with(count: usize, prepare: impl Fn(usize, &Runtime, &Self)) -> Self {
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        // Ports that are free now.
        let address = own_address();
        let listeners: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind((address, 0)).expect("a free port")).collect();
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().expect("bound").port()).collect();
        drop(listeners);
        let name = |index: usize| format!("n{index}@127.0.0.1");
        let peers: BTreeMap<_, _> =
            ports.iter().enumerate().map(|(index, port)| (name(index), (address.to_string(), *port))).collect();
        let mut cluster = Self { tokio, nodes: Vec::new() };
        for (index, port) in ports.iter().enumerate() {
            let runtime = Runtime::builder().cores(1).build().expect("threads");
            prepare(index, &runtime, &cluster);
            let options = Options {
                listen: address.into(),
                port: *port,
                epmd: false,
                peers: peers.clone(),
                ..Options::default()
            };
            let node = Node::builder(name(index)).cookie("c").options(options);
            let node = cluster.tokio.block_on(node.start(&runtime.handle())).expect("a free port");
            // The runtimes live as long as the program.
            std::mem::forget(runtime);
            cluster.nodes.push(node);
        }
        cluster
    }

    fn connect(&self, from: usize, to: usize) {
        assert!(self.tokio.block_on(self.nodes[from].connect(self.nodes[to].name())));
    }

    /// Runs a process at a node, and returns what it returns.
    fn run<T: Send + 'static, F>(&self, node: usize, body: impl FnOnce(NodeCx) -> F + Send + 'static) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.begin(node, body).recv_timeout(PATIENCE).expect("the process ends in time")
    }

    fn begin<T: Send + 'static, F>(
        &self,
        node: usize,
        body: impl FnOnce(NodeCx) -> F + Send + 'static,
    ) -> mpsc::Receiver<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (done, result) = mpsc::channel();
        let spawned = self.nodes[node].spawn(move |cx| {
            let body = body(cx);
            async move {
                let _ = done.send(body.await);
                Reason::NORMAL
            }
        });
        spawned.expect("a process");
        result
    }

    /// Starts a process that waits at a node. Returns its pid.
    fn idle(&self, node: usize) -> Term {
        let pid = self.nodes[node].spawn(|mut cx| async move {
            loop {
                cx.recv().await;
            }
        });
        Term::from(&self.nodes[node].external(pid.expect("a process")))
    }

    /// Gives a process a name, and returns `true` if it has it.
    fn register(&self, node: usize, name: &Term, pid: &Term) -> bool {
        let (name, pid) = (name.clone(), pid.clone());
        self.run(node, async move |mut cx: NodeCx| cx.global_register(&name, &pid).await.expect("the registrar runs"))
    }

    fn sync(&self, node: usize) {
        self.run(node, async |mut cx: NodeCx| cx.global_sync().await.expect("the server runs"));
    }

    fn whereis(&self, name: &Term) -> Vec<Option<Term>> {
        self.nodes.iter().map(|node| node.global_whereis(name)).collect()
    }

    /// Waits until something holds.
    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns the nodes that a node is connected with, sorted.
    fn connected(&self, node: usize) -> Vec<Atom> {
        let mut connected = self.nodes[node].nodes(NodeType::Visible);
        connected.sort();
        connected
    }

    fn is_mesh(&self) -> bool {
        (0..self.nodes.len()).all(|node| self.connected(node).len() == self.nodes.len() - 1)
    }

    fn stop(self) {
        self.tokio.block_on(async {
            for node in &self.nodes {
                node.stop().await;
            }
        });
    }
}

#[test]
fn nodes_that_meet_have_one_table() {
    let cluster = Cluster::start(2);
    let names = [Term::atom("of_the_first"), Term::tuple([&Term::atom("of"), &Term::from(2_i64)])];
    let pids = [cluster.idle(0), cluster.idle(1)];
    for node in 0..2 {
        assert!(cluster.register(node, &names[node], &pids[node]));
    }
    cluster.connect(0, 1);
    cluster.sync(0);
    cluster.sync(1);
    for node in 0..2 {
        assert_eq!(cluster.whereis(&names[node]), [Some(pids[node].clone()), Some(pids[node].clone())]);
    }
    // Names are taken for both, and a process has one name only.
    assert!(!cluster.register(1, &names[0], &cluster.idle(1)));
    assert!(!cluster.register(1, &Term::atom("another"), &pids[1]));
    let name = names[0].clone();
    cluster.run(1, async move |mut cx: NodeCx| cx.global_unregister(&name).await.expect("the registrar runs"));
    assert_eq!(cluster.whereis(&names[0]), [None, None]);
    assert!(cluster.register(1, &names[0], &pids[0]));
    assert_eq!(cluster.whereis(&names[0]), [Some(pids[0].clone()), Some(pids[0].clone())]);
    cluster.stop();
}

#[test]
fn a_peer_that_connects_while_a_node_starts_stays_connected() {
    let (tell, events) = mpsc::channel();
    let second = Atom::new("n1@127.0.0.1").expect("an atom");
    let cluster = Cluster::start_with(2, |index, runtime, cluster| {
        if index == 0 {
            return;
        }
        // The services of the second node get no slice for a while, in which the first node dials.
        runtime.handle().spawn(async |_: Context<()>| std::thread::sleep(BUSY)).expect("memory");
        let (tell, peer) = (tell.clone(), second.clone());
        let watches = cluster.nodes[0].spawn(|mut cx| async move {
            cx.monitor_nodes(true, Subscription::default());
            loop {
                if let Incoming::Node(event) = cx.recv().await
                    && event.node == peer
                {
                    let _ = tell.send(event.up);
                }
            }
        });
        watches.expect("a process");
        let (node, peer) = (cluster.nodes[0].clone(), second.clone());
        cluster.tokio.spawn(async move {
            while !node.connect(&peer).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    });
    assert_eq!(events.recv_timeout(PATIENCE), Ok(true));
    (0..2).for_each(|node| cluster.sync(node));
    assert_eq!(events.recv_timeout(BUSY), Err(mpsc::RecvTimeoutError::Timeout), "the connection is kept");
    cluster.stop();
}

#[test]
fn a_name_that_both_have_is_kept_by_one() {
    let cluster = Cluster::start(2);
    let name = Term::atom("both");
    let pids = [cluster.idle(0), cluster.idle(1)];
    for (node, pid) in pids.iter().enumerate() {
        assert!(cluster.register(node, &name, pid));
    }
    cluster.connect(1, 0);
    cluster.sync(0);
    cluster.sync(1);
    let kept = Some(pids[0].clone());
    cluster.until("both agree", || cluster.whereis(&name) == [kept.clone(), kept.clone()]);
    // The other one is dead.
    let lost = cluster.nodes[1].runtime().clone();
    let pid = pids[1].view().as_pid().map(|pid| pid.raw()).and_then(atropos::Pid::from_raw).expect("a pid");
    cluster.until("one is killed", || !lost.is_alive(pid));
    cluster.stop();
}

#[test]
fn one_of_several_that_register_at_once_succeeds() {
    let cluster = Cluster::start(3);
    cluster.connect(0, 1);
    cluster.connect(1, 2);
    cluster.until("a mesh comes about", || cluster.is_mesh());
    (0..3).for_each(|node| cluster.sync(node));
    for round in 0..5 {
        let name = Term::from(round);
        let attempts: Vec<_> = (0..3)
            .map(|node| {
                let (name, pid) = (name.clone(), cluster.idle(node));
                let begun = cluster.begin(node, {
                    let pid = pid.clone();
                    async move |mut cx: NodeCx| cx.global_register(&name, &pid).await == Ok(true)
                });
                (pid, begun)
            })
            .collect();
        let winners: Vec<Term> = attempts
            .into_iter()
            .filter_map(|(pid, begun)| begun.recv_timeout(PATIENCE).expect("an answer").then_some(pid))
            .collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(cluster.whereis(&name), vec![Some(winners[0].clone()); 3]);
    }
    cluster.stop();
}

#[test]
fn a_node_that_meets_one_of_a_mesh_meets_all() {
    let cluster = Cluster::start(4);
    let names: Vec<Term> = (0..4_i64).map(Term::from).collect();
    let pids: Vec<Term> = (0..4).map(|node| cluster.idle(node)).collect();
    for node in 0..4 {
        assert!(cluster.register(node, &names[node], &pids[node]));
    }
    for (from, to) in [(0, 1), (2, 1), (3, 2)] {
        cluster.connect(from, to);
    }
    cluster.until("a mesh comes about", || cluster.is_mesh());
    (0..4).for_each(|node| cluster.sync(node));
    for node in 0..4 {
        let everywhere = vec![Some(pids[node].clone()); 4];
        cluster.until("names are everywhere", || cluster.whereis(&names[node]) == everywhere);
    }
    // It stays so.
    std::thread::sleep(Duration::from_millis(500));
    assert!(cluster.is_mesh());
    cluster.stop();
}

#[test]
fn a_name_goes_with_its_process_and_with_its_node() {
    let mut cluster = Cluster::start(3);
    cluster.connect(0, 1);
    cluster.connect(1, 2);
    cluster.until("a mesh comes about", || cluster.is_mesh());
    (0..3).for_each(|node| cluster.sync(node));
    let (mortal, of_the_last) = (Term::atom("mortal"), Term::atom("of_the_last"));
    let pid = cluster.nodes[0].spawn(|mut cx| async move {
        cx.recv().await;
        Reason::NORMAL
    });
    let pid = pid.expect("a process");
    assert!(cluster.register(1, &mortal, &Term::from(&cluster.nodes[0].external(pid))));
    assert!(cluster.register(2, &of_the_last, &cluster.idle(2)));
    cluster.nodes[0].runtime().exit(pid, Reason::KILL).expect("it runs");
    cluster.until("the name goes with the process", || cluster.whereis(&mortal) == [None, None, None]);
    let last = cluster.nodes.pop().expect("three nodes");
    cluster.tokio.block_on(last.stop());
    cluster.until("the names go with the node", || cluster.whereis(&of_the_last) == [None, None]);
    cluster.stop();
}

/// When one line of a mesh is cut, the two ends of the line do not both stay with the third node.
#[test]
fn what_is_left_of_a_mesh_does_not_overlap() {
    let cluster = Cluster::start(3);
    cluster.connect(0, 1);
    cluster.connect(1, 2);
    cluster.until("a mesh comes about", || cluster.is_mesh());
    (0..3).for_each(|node| cluster.sync(node));
    assert!(cluster.tokio.block_on(cluster.nodes[0].disconnect(cluster.nodes[1].name())));
    let overlaps = || {
        // Each two nodes that have a common one are connected with each other.
        (0..3).any(|common| {
            let others = cluster.connected(common);
            others.len() == 2 && cluster.connected((common + 1) % 3).len() < 2
        })
    };
    cluster.until("the rest does not overlap", || !overlaps() && !cluster.is_mesh());
    std::thread::sleep(Duration::from_millis(500));
    assert!(!overlaps());
    cluster.stop();
}
